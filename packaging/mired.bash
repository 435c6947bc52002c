# bash completion for mired, miredctl, miredb, mired-setup, mired-logd and mired-tproxy -*- sh -*-
#
# Options and commands are what the installed program's own --help says, so they are never out of
# date; the names of lists come from the running daemon, if it answers.
# shellcheck shell=bash

# _mired_help PROGRAM: a line "option NAME VALUE" each, VALUE empty where none is taken; and a line
# "command NAME ARGUMENT" each.
_mired_help() {
	"$1" --help 2>&1 </dev/null | awk '
		/^ +-/ {
			n = split($0, words, /,? +/)
			for (i = 2; i <= n && words[i] ~ /^-/; i++) {
			}
			value = i <= n && words[i] ~ /^([A-Z:\[\]]+|file)$/ ? words[i] : ""
			for (j = 2; j < i; j++) {
				print "option", words[j], value
			}
			next
		}
		/^  [a-z]/ {
			print "command", $1, $2 ~ /^[A-Z]+$/ ? $2 : ""
		}
		/^(usage:)? *(mired|spamd)[a-z-]* / {
			sub(/^usage:/, "")
			gsub(/\[[^]]*\]/, "")
			if ($2 ~ /^[a-z][a-z-]*$/) {
				print "command", $2, ""
			}
		}'
}

# _mired_given OPTION...: the last value on the line of one of these options
_mired_given() {
	local i option value=""
	for ((i = 1; i < COMP_CWORD - 1; i++)); do
		for option in "$@"; do
			if [[ ${COMP_WORDS[i]} == "$option" ]]; then
				value=${COMP_WORDS[i + 1]}
				[[ $value == = ]] && value=${COMP_WORDS[i + 2]}
			fi
		done
	done
	printf %s "$value"
}

# _mired_lists PROGRAM: the lists in force, of the daemon that the line is about
_mired_lists() {
	local options=() file socket
	file=$(_mired_given -f --config)
	socket=$(_mired_given --socket)
	[[ $file ]] && options+=(-f "$file")
	[[ $socket ]] && options+=(--socket "$socket")
	"$1" "${options[@]}" lists 2>/dev/null </dev/null | awk 'NR > 1 { print $1 }'
}

# _mired_value OPTION VALUE CURRENT: what this option takes, as far as it can be known
_mired_value() {
	case $1:$2 in
	--*-file:* | --*-dir:* | --*-socket:* | --sync-key:* | *:FILE | *:file | *:PATH)
		compopt -o filenames 2>/dev/null
		compgen -f -- "$3"
		;;
	--*-user:* | --user:*) compgen -u -- "$3" ;;
	--*-group:*) compgen -g -- "$3" ;;
	--interface:* | -i:*) compgen -W "$(cd /sys/class/net && echo *)" -- "$3" ;;
	esac
}

# _mired_argument PROGRAM COMMAND ARGUMENT CURRENT: what this command takes
_mired_argument() {
	case $2:$3 in
	drop-list:*) compgen -W "$(_mired_lists "$1")" -- "$4" ;;
	*:FILE | export:* | import:*)
		compopt -o filenames 2>/dev/null
		compgen -f -- "$4"
		;;
	esac
}

_mired() {
	local program=$1 cur=${COMP_WORDS[COMP_CWORD]} i words kind name value chosen="" argument=""
	local option=${COMP_WORDS[COMP_CWORD - 1]} options=() commands=()
	local -A takes=() wants=()
	if [[ $cur == = ]]; then
		cur=""
	elif [[ $option == = ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	while read -r kind name value; do
		if [[ $kind == option ]]; then
			options+=("$name")
			takes[$name]=$value
		else
			commands+=("$name")
			wants[$name]=$value
		fi
	done < <(_mired_help "$program")
	for ((i = 1; i < COMP_CWORD; i++)); do
		name=${COMP_WORDS[i]}
		if [[ -n $name && -n ${wants[$name]+is} && -z ${takes[${COMP_WORDS[i - 1]}]-} ]]; then
			chosen=$name
			argument=${wants[$name]}
		fi
	done
	COMPREPLY=()
	if [[ -n ${takes[$option]-} ]]; then
		mapfile -t COMPREPLY < <(_mired_value "$option" "${takes[$option]}" "$cur")
	elif [[ $cur == -* ]]; then
		words="${options[*]}"
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	elif [[ -n $chosen ]]; then
		mapfile -t COMPREPLY < <(_mired_argument "$program" "$chosen" "$argument" "$cur")
	else
		words="${commands[*]}"
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	fi
}

complete -F _mired mired miredctl miredb mired-setup mired-logd mired-tproxy mired-shape \
	spamd spamdb spamd-setup spamlogd
