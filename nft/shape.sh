#!/bin/sh
# A class of traffic for what mired sends to the clients it holds, as pf's `queue spamd`: so much
# bandwidth and no more, and all that this host sends otherwise goes before it.
#
#   mired-shape up [option ...] [mired option ...]   sets it up as the configuration says
#   mired-shape down                                 takes all of it back
#   mired-shape status                               shows class and counters; exit code 0: set up
#
# Options of up:
#   --rate RATE        of the link, in kbit, mbit or gbit; default: what the interface says
#   --connections N    room for so many; default: max-connections of the configuration
#   --interface IF     where; default: interface of the configuration; can be repeated
#   --force            replace queueing that somebody else set up
#
# `up` can be repeated; a changed configuration changes what is there. MIRED names the program to
# ask for the configuration; without it that is the mired in the directory of this script.
set -eu

# The wire (Ethernet, IP, TCP with timestamps) carries 66 bytes for a stuttered one. New connections
# need SYN-ACK, replies and end: 600 bytes, and one in 20 of the limit comes each second.
BYTE_ON_WIRE=66
CONNECTION_ON_WIRE=600
NEW_SHARE=20
# 64 kbit/s, say, delay SYN-ACKs until clients give up: 50 connections a second get through.
CLASS_KBIT_MIN=1000
CONNECTIONS_AUTO=100000 # the most that max-connections = auto can become
SYN_SHARE=5             # a part of the class that SYN-ACKs never have to fight for
QUEUE_PER_SEC=4         # what waits in the class waits a quarter of a second at most
QUEUE_BYTES_MIN=16000
BURST_BYTES_MIN=3200
# Handles of our queues, by which they are known; the class has its number from the configuration.
MARK=825
MARK_SYN=826
MARK_REST=827

usage() {
	sed -n '5,7s/^# *//p; 8,13s/^# \{0,1\}//p' "$0"
}

unfinished='' # an interface whose queueing is being made

die() {
	trap '' HUP INT TERM
	echo "mired-shape: $*" >&2
	[ -z "$unfinished" ] || tc qdisc del dev "$unfinished" root
	exit 1
}

misuse() {
	echo "mired-shape: $*" >&2
	usage >&2
	exit 2
}

# --- what the configuration says ------------------------------------------------------------------

# value_of KEY, without quotes
value_of() {
	printf '%s\n' "$conf" | sed -n "s/^$1 = //p" | tr -d "'\""
}

# millisecs DURATION as mired prints it
millisecs() {
	case $1 in
	*ms) echo "${1%ms}" ;;
	*s) echo $((${1%s} * 1000)) ;;
	*m) echo $((${1%m} * 60000)) ;;
	*) die "the configuration says a time of $1" ;;
	esac
}

# kbit RATE
kbit() {
	case $1 in
	*kbit) number=${1%kbit} unit=1 ;;
	*mbit) number=${1%mbit} unit=1000 ;;
	*gbit) number=${1%gbit} unit=1000000 ;;
	*) number='' unit=0 ;;
	esac
	case $number in
	'' | *[!0-9]* | 0* | ????????*) misuse "--rate $1: a number and kbit, mbit or gbit is needed" ;;
	esac
	echo $((number * unit))
}

# What so many connections need, in kbit.
class_kbit() {
	n=$connections
	if [ -z "$n" ]; then
		n=$(value_of max-connections)
		[ "$n" != auto ] || n=$CONNECTIONS_AUTO
	fi
	stutter=$(millisecs "$(value_of stutter)")
	budget=$(value_of byte-budget)
	bytes=0
	[ "$stutter" = 0 ] || bytes=$((n * 1000 / stutter))
	if [ "$budget" != auto ] && [ "$budget" -lt "$bytes" ]; then
		bytes=$budget
	fi
	need=$(((bytes * BYTE_ON_WIRE + n * CONNECTION_ON_WIRE / NEW_SHARE) * 8 / 1000))
	[ "$need" -ge $CLASS_KBIT_MIN ] || need=$CLASS_KBIT_MIN
	echo "$need"
}

# link_kbit INTERFACE
link_kbit() {
	if [ -n "$rate" ]; then
		kbit "$rate"
		return
	fi
	speed=$(cat "/sys/class/net/$1/speed" 2>/dev/null) || speed=
	case $speed in
	'' | -* | 0) die "$1 does not tell the speed of its link: --rate is needed" ;;
	esac
	echo $((speed * 1000))
}

# --- what is there --------------------------------------------------------------------------------

# By the default class, which is there from the first step on: also what a `up` that was killed left.
interfaces_of_ours() {
	tc qdisc show |
		sed -n 's/^qdisc htb [^ ]* dev \([^ ]*\) root .* default 0x[de]001 .*/\1/p'
}

is_ours() {
	interfaces_of_ours | grep -qxF -e "$1"
}

# is_whole INTERFACE: nothing is missing
is_whole() {
	tc qdisc show dev "$1" | grep -q "^qdisc bfifo $MARK: "
}

# The kernel gives handle 0 to what it attaches by itself.
is_untouched() {
	tc qdisc show dev "$1" root | grep -q '^qdisc [^ ]* 0: '
}

# class_of INTERFACE: the parent of the class whose queue has our mark
class_of() {
	child=$(tc qdisc show dev "$1" |
		sed -n "s/^qdisc bfifo $MARK: parent \([^ ]*\) .*/\1/p")
	tc class show dev "$1" | sed -n "s/^class htb $child parent \([^ ]*\) .*/\1/p"
}

# is_same INTERFACE: ours, and its class has the number that the configuration says now
is_same() {
	is_ours "$1" && is_whole "$1" && [ "$(class_of "$1")" = "$major:$minor" ]
}

# --- setting up -----------------------------------------------------------------------------------

# burst KBIT: what may go in a row, a millisecond of it; tc's own is too little for fast links
burst() {
	bytes=$(($1 / 8))
	[ $bytes -ge $BURST_BYTES_MIN ] || bytes=$BURST_BYTES_MIN
	echo $bytes
}

# class INTERFACE PARENT MINOR RATE CEIL PRIO. Without quantum htb's own makes the kernel warn.
class() {
	tc class replace dev "$1" parent "$2" classid "$major:$3" htb rate "$4kbit" ceil "$5kbit" \
		burst "$(burst "$4")" cburst "$(burst "$5")" prio "$6" quantum 3000 ||
		die "$1: class $major:$3 cannot be made"
}

# SYN-ACKs by their flags (IPv4 without options, IPv6 without further headers), then all else.
filter() {
	from="$major:$minor" syn="$major:${base}2" rest="$major:${base}3"
	tc filter add dev "$1" parent "$from" protocol ip prio 1 u32 match u8 0x05 0x0f at 0 \
		match u8 6 0xff at 9 match u8 0x12 0x12 at 33 flowid "$syn" 2>/dev/null &&
		tc filter add dev "$1" parent "$from" protocol ipv6 prio 2 u32 \
			match u8 6 0xff at 6 match u8 0x12 0x12 at 53 flowid "$syn" &&
		tc filter add dev "$1" parent "$from" protocol all prio 3 u32 match u32 0 0 flowid "$rest"
}

# The queue of all else, once: one of another kind cannot be put in its place, and it may be the
# administrator's.
queue_rest() {
	kind=$(cat /proc/sys/net/core/default_qdisc 2>/dev/null || echo pfifo)
	tc qdisc add dev "$1" parent "$major:${base}1" handle $MARK_REST: "$kind" 2>/dev/null ||
		tc qdisc add dev "$1" parent "$major:${base}1" handle $MARK_REST: pfifo limit 1000 ||
		die "$1: no queue for the default class"
}

# The whole tree, or new rates for it.
#   root: MAJOR:BASE0, the link
#     the default class: MAJOR:BASE1, all that nobody gave a class
#     the class of the configuration, with SYN-ACKs (BASE2) and the rest (BASE3)
shape() {
	interface=$1 link=$2 kbits=$3
	if ! is_same "$interface"; then
		is_untouched "$interface" || tc qdisc del dev "$interface" root ||
			die "$interface: its queueing cannot be removed"
		unfinished=$interface
		tc qdisc add dev "$interface" root handle "$major:" htb default "0x${base}1" || {
			unfinished=''
			die "$interface: htb cannot be set up: it takes root, and a kernel with sch_htb"
		}
	fi
	class "$interface" "$major:" "${base}0" "$link" "$link" 0
	class "$interface" "$major:${base}0" "${base}1" $((link - kbits)) "$link" 0
	class "$interface" "$major:${base}0" "$minor" "$kbits" "$kbits" 1
	is_same "$interface" || filter "$interface" ||
		die "$interface: SYN-ACKs cannot be told apart; does this kernel have cls_u32?"
	class "$interface" "$major:$minor" "${base}2" $((kbits / SYN_SHARE)) "$kbits" 0
	class "$interface" "$major:$minor" "${base}3" $((kbits - kbits / SYN_SHARE)) "$kbits" 1
	bytes=$((kbits * 125 / QUEUE_PER_SEC))
	[ $bytes -ge $QUEUE_BYTES_MIN ] || bytes=$QUEUE_BYTES_MIN
	tc qdisc replace dev "$interface" parent "$major:${base}2" handle $MARK_SYN: \
		pfifo limit 1000 || die "$interface: no queue for SYN-ACKs"
	is_whole "$interface" || queue_rest "$interface"
	# last: what has this is whole
	tc qdisc replace dev "$interface" parent "$major:${base}3" handle $MARK: \
		bfifo limit $bytes || die "$interface: no queue for the class"
	unfinished=''
}

# What keeps an interface from being shaped, before any is touched.
check_interface() {
	ip link show dev "$1" >/dev/null 2>&1 || die "$1: no such interface"
	link=$(link_kbit "$1")
	[ "$link" -ge $((2 * CLASS_KBIT_MIN)) ] || die "$1: $link kbit are too few to share"
	is_ours "$1" || is_untouched "$1" || [ -n "$force" ] ||
		die "$1 has queueing that somebody else set up: $(tc qdisc show dev "$1" root |
			head -n 1); --force replaces it"
}

up_interface() {
	link=$(link_kbit "$1")
	kbits=$need
	if [ "$kbits" -gt $((link / 2)) ]; then
		kbits=$((link / 2))
		echo "mired-shape: $1: the class should have $need kbit and gets half of the link," \
			"$kbits: with that many connections mired's answers will be late" >&2
	fi
	shape "$1" "$link" "$kbits"
	echo "$1: class $class of $kbits kbit on a link of $link kbit"
}

read_options() {
	rate='' connections='' interfaces='' force=''
	while [ $# -gt 0 ]; do
		case $1 in
		--rate | --connections | --interface) [ $# -ge 2 ] || misuse "$1 needs a value" ;;
		esac
		case $1 in
		--rate) rate=$2 && shift 2 ;;
		--connections) connections=$2 && shift 2 ;;
		--interface) interfaces="$interfaces $2" && shift 2 ;;
		--force) force=yes && shift ;;
		*) break ;;
		esac
	done
	case $connections in
	*[!0-9]* | ????????*) misuse "--connections $connections: a number is needed" ;;
	esac
	[ -z "$rate" ] || kbit "$rate" >/dev/null
	conf=$("${MIRED:-$(dirname "$0")/mired}" "$@" --print-config) ||
		die "the configuration cannot be read"
	class=$(value_of traffic-class)
	[ -n "$interfaces" ] || interfaces=$(value_of interface | tr -d '{},')
}

up() {
	read_options "$@"
	if [ "$class" = off ]; then
		echo "mired-shape: traffic-class = off; nothing to shape"
		down
		return
	fi
	major=$(printf %x "0x${class%:*}") minor=$(printf %x "0x${class#*:}")
	base=e00
	case $minor in
	e00[0-3]) base=d00 ;;
	esac
	need=$(class_kbit)
	[ -n "$interfaces" ] || die "the configuration names no interface: --interface is needed"
	for interface in $interfaces; do
		check_interface "$interface"
	done
	for interface in $interfaces; do
		up_interface "$interface"
	done
	for interface in $(interfaces_of_ours); do
		case " $interfaces " in
		*" $interface "*) ;;
		*) tc qdisc del dev "$interface" root ;;
		esac
	done
}

down() {
	for interface in $(interfaces_of_ours); do
		tc qdisc del dev "$interface" root || die "$interface: the class cannot be removed"
	done
}

status() {
	there=$(interfaces_of_ours)
	[ -n "$there" ] || {
		echo "not set up"
		return 1
	}
	for interface in $there; do
		is_whole "$interface" || {
			echo "$interface: set up in part; mired-shape up mends it"
			return 1
		}
		echo "$interface:"
		tc -s class show dev "$interface" classid "$(class_of "$interface")"
	done
}

# Two at once would take each other's work for something half done.
begin() {
	for program in tc ip; do
		command -v $program >/dev/null || die "there is no $program(8) here: install iproute2"
	done
	exec 9<"$0"
	flock 9 2>/dev/null || : # without it one has to take care oneself
	trap 'die "interrupted"' HUP INT TERM
}

command=${1-}
[ $# -eq 0 ] || shift
case $command in
up)
	case ${1-} in
	-h | --help) usage ;;
	*)
		begin
		up "$@"
		;;
	esac
	;;
down)
	begin
	down
	;;
status)
	begin
	status
	;;
-h | --help | help) usage ;;
*) misuse "up, down or status is needed" ;;
esac
