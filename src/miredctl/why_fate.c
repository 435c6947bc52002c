/* One row a fate: the sentence, and the commands that would change it. In these texts %A is the
 * address, %N the nospamd file, %D the file of allowed domains, %R the recipient, %Q the same for a
 * shell, %M the mail that is meant, %F and %U when a retry qualifies and until when, %E when its
 * tuple ends, %T until when the host is trapped. */
#include "miredctl/why_fate.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "miredctl/why_words.h"

static bool is_in_set(const json_t *sets, const char *name)
{
	size_t i;
	json_t *set;
	json_array_foreach(sets, i, set)
	{
		const char *in = json_string_value(json_object_get(set, "set"));
		if (in && strncmp(in, name, strlen(name)) == 0 &&
		    (in[strlen(name)] == '\0' || strcmp(in + strlen(name), "6") == 0)) {
			return true;
		}
	}
	return false;
}

static bool is_in_kernel(const json_t *answer, const char *set)
{
	return is_in_set(json_object_get(json_object_get(answer, "kernel"), "sets"), set);
}

static bool is_text(const json_t *object, const char *name, const char *value)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text && strcmp(text, value) == 0;
}

static bool is_blacklist_only(const json_t *answer)
{
	return is_text(json_object_get(answer, "settings"), "mode", "blacklist");
}

static enum fate fate_of_listed(const json_t *answer)
{
	const json_t *trapped = json_object_get(answer, "trapped");
	bool is_on_list = json_array_size(json_object_get(answer, "lists")) > 0;
	if (is_blacklist_only(answer) || !json_is_true(json_object_get(trapped, "live"))) {
		return FATE_LISTED;
	}
	return is_on_list ? FATE_LISTED_TRAPPED : FATE_TRAPPED;
}

/* By the rules of greylisting. */
static enum fate fate_of_attempt(const json_t *answer)
{
	const json_t *attempt = json_object_get(answer, "attempt");
	if (is_text(attempt, "verdict", "early")) {
		bool passes = why_int(attempt, "passes") < why_int(attempt, "until");
		return passes ? FATE_EARLY : FATE_ENDS;
	}
	return is_text(attempt, "verdict", "passes") ? FATE_PASSES : FATE_NEW;
}

static bool has_firewall(const json_t *answer)
{
	return !json_is_false(json_object_get(json_object_get(answer, "settings"), "firewall"));
}

static enum fate fate_of_white(const json_t *answer)
{
	if (!has_firewall(answer)) {
		return FATE_UNHELPED;
	}
	return is_in_kernel(answer, "spamd-greytrap") ? FATE_MISLED : FATE_LOST;
}

/* Of a connection that reaches mired. */
static enum fate fate_at_mired(const json_t *answer)
{
	const json_t *mail = json_object_get(answer, "mail");
	if (is_text(answer, "class", "listed")) {
		return fate_of_listed(answer);
	}
	if (json_is_true(json_object_get(mail, "spamtrap")) && !is_blacklist_only(answer)) {
		return FATE_TRAPS;
	}
	if (json_is_true(json_object_get(mail, "foreign_domain")) && !is_blacklist_only(answer)) {
		return FATE_FOREIGN;
	}
	return is_text(answer, "class", "white") ? fate_of_white(answer) : fate_of_attempt(answer);
}

static enum fate fate_unasked(const json_t *answer)
{
	if (is_text(answer, "class", "passive")) {
		return FATE_UNLISTED;
	}
	bool is_unchecked = is_text(answer, "class", "white") && has_firewall(answer);
	return is_unchecked ? FATE_UNCHECKED : fate_at_mired(answer);
}

enum fate why_fate_of(const json_t *answer)
{
	const json_t *kernel = json_object_get(answer, "kernel");
	const json_t *sets = json_object_get(kernel, "sets");
	if (!sets) {
		return fate_unasked(answer);
	}
	if (is_in_set(sets, "nospamd")) {
		return FATE_NOSPAMD;
	}
	if (is_blacklist_only(answer)) {
		return is_in_set(sets, "spamd") ? FATE_LISTED : FATE_UNLISTED;
	}
	if (is_in_set(sets, "spamd-white") && !is_in_set(sets, "spamd-greytrap")) {
		return FATE_WHITE;
	}
	return fate_at_mired(answer);
}

/* --- words ------------------------------------------------------------------------------------ */

enum { COMMANDS_MAX = 3 };

static const struct {
	const char *sentence;
	struct {
		const char *command; /* NULL: no more */
		const char *meaning;
	} commands[COMMANDS_MAX];
} rows[FATE_COUNT] = {
        [FATE_NOSPAMD] = {"If it connects now, the mail server gets the connection: a line of "
                          "nospamd exempts it.",
                          {{"edit %N, then: miredctl reload", "it is treated like others"}}},
        [FATE_WHITE] = {"If it connects now, the mail server gets the connection: the kernel has "
                        "it as white.",
                        {{"miredb -d %A", "greylisted again, by the tuples it has"},
                         {"miredb -t -a %A", "trapped"}}},
        [FATE_UNCHECKED] = {"If it connects now, the mail server gets the connection if the kernel "
                            "has it as white, too.",
                            {{"miredb -a %A", "puts it into the kernel again"},
                             {"miredb -d %A", "greylisted again, by the tuples it has"}}},
        [FATE_LOST] = {"If it connects now, it is deferred (451) without stutter, though it is "
                       "white: the kernel has lost its entry, gets it back at once, and the next "
                       "connection passes.",
                       {{"miredb -a %A", "puts it into the kernel now"}}},
        [FATE_UNHELPED] =
                {"If it comes to mired, it is deferred (451) without stutter, though it is "
                 "white.",
                 {{NULL, NULL}}},
        [FATE_MISLED] = {"If it connects now, it is deferred (451) without stutter, though it is "
                         "white: the kernel has it among the trapped.",
                         {{NULL, NULL}}},
        [FATE_UNLISTED] = {"If it connects now, the mail server gets the connection: it is on no "
                           "list, and nobody else is held (blacklist-only).",
                           {{NULL, NULL}}},
        [FATE_LISTED] = {"If it connects now, it is held byte by byte and its mail is refused, "
                         "because it is on a list.",
                         {{"echo %A >> %N && miredctl reload", "passes, whatever list it is on"},
                          {"miredctl drop-list NAME", "without this list until it is loaded "
                                                      "again"}}},
        [FATE_TRAPPED] = {"If it connects now, it is held byte by byte and its mail is refused, "
                          "because it is trapped, until %T.",
                          {{"miredb -d %A", "greylisted again, by the tuples it has"},
                           {"miredb -a %A", "white: passes"},
                           {"echo %A >> %N && miredctl reload", "passes for good"}}},
        [FATE_LISTED_TRAPPED] = {"If it connects now, it is held byte by byte and its mail is "
                                 "refused, because it is on a list and, until %T, trapped.",
                                 {{"echo %A >> %N && miredctl reload", "passes, whatever list it "
                                                                       "is on"},
                                  {"miredb -d %A && miredctl drop-list NAME",
                                   "greylisted until the list is loaded again"}}},
        [FATE_TRAPS] = {"If it sends that mail now, it is trapped: %R is a spamtrap.",
                        {{"miredb -d -T %Q", "it is none any more"}}},
        [FATE_FOREIGN] = {"If it sends that mail now, it is trapped: %R is in no allowed domain.",
                          {{"edit %D, then: miredctl reload", "its domain gets mail here"}}},
        [FATE_NEW] = {"If it connects now, %M is deferred (451). It passes when tried again with "
                      "the same helo, sender and recipient from %F until %U: that retry is "
                      "deferred, too, but makes the host white, and what comes after it passes.",
                      {{"miredb -a %A", "white: passes at once"},
                       {"echo %A >> %N && miredctl reload", "passes for good"}}},
        [FATE_EARLY] = {"If it sends that mail now, it is deferred (451) once more: too early. A "
                        "retry with the same helo from %F until %U is deferred, too, but makes "
                        "the host white, and what comes after it passes.",
                        {{"miredb -a %A", "white: passes at once"},
                         {"echo %A >> %N && miredctl reload", "passes for good"}}},
        [FATE_ENDS] = {"If it sends that mail now, it is deferred (451) once more: too early. Its "
                       "tuple ends before a retry would pass, %E; what comes from then on begins "
                       "anew.",
                       {{"miredb -a %A", "white: passes at once"},
                        {"echo %A >> %N && miredctl reload", "passes for good"}}},
        [FATE_PASSES] = {"If it sends that mail now with the same helo (until %U), it is deferred "
                         "(451) for the last time: the retry makes the host white, and what comes "
                         "after it passes.",
                         {{"miredb -a %A", "white: passes at once"},
                          {"echo %A >> %N && miredctl reload", "passes for good"}}},
};

static bool is_never_seen(const json_t *answer)
{
	static const char *const traces[] = {"lists", "tuples", "events"};
	for (size_t i = 0; i < ARRAY_LEN(traces); i++) {
		if (json_array_size(json_object_get(answer, traces[i])) > 0) {
			return false;
		}
	}
	return !json_is_object(json_object_get(answer, "white")) &&
	       !json_is_object(json_object_get(answer, "trapped"));
}

static const char *mail_meant(const json_t *answer)
{
	if (json_is_object(json_object_get(answer, "mail"))) {
		return "that mail";
	}
	return json_array_size(json_object_get(answer, "tuples")) > 0
	               ? "a mail that is not among these tuples"
	               : "its first mail";
}

/* As one word of a shell. */
static void put_quoted(const char *text, FILE *out)
{
	(void)fputc('\'', out);
	for (const char *c = text ? text : ""; *c; c++) {
		const char one[] = {*c, '\0'};
		why_put(out, *c == '\'' ? "'\\''" : one);
	}
	(void)fputc('\'', out);
}

static const char *recipient_of(const json_t *answer)
{
	return json_string_value(json_object_get(json_object_get(answer, "mail"), "recipient"));
}

static void put_field(const json_t *answer, char field, FILE *out)
{
	const json_t *settings = json_object_get(answer, "settings");
	const json_t *attempt = json_object_get(answer, "attempt");
	int64_t now = why_int(answer, "time");
	switch (field) {
	case 'A':
		why_put(out, json_string_value(json_object_get(answer, "address")));
		return;
	case 'N':
		why_put(out, json_string_value(json_object_get(settings, "nospamd_file")));
		return;
	case 'D':
		why_put(out, json_string_value(json_object_get(settings, "allowed_domains_file")));
		return;
	case 'R':
		why_put(out, recipient_of(answer));
		return;
	case 'Q':
		put_quoted(recipient_of(answer), out);
		return;
	case 'M':
		(void)fputs(mail_meant(answer), out);
		return;
	case 'F':
		why_put_time(out, why_int(attempt, "passes"), now);
		return;
	case 'U':
		why_put_time(out, why_int(attempt, "until") - 1, now);
		return;
	case 'E':
		why_put_time(out, why_int(attempt, "until"), now);
		return;
	case 'T':
		why_put_time(out, why_int(json_object_get(answer, "trapped"), "expire"), now);
		return;
	default:
		(void)fputc(field, out);
	}
}

static void put_text(const json_t *answer, const char *text, FILE *out)
{
	for (; *text; text++) {
		if (*text == '%' && text[1] != '\0') {
			put_field(answer, *++text, out);
		} else {
			(void)fputc(*text, out);
		}
	}
}

/* The row's text in lines of 80 columns at most; a longer word stands alone. */
static void put_wrapped(const char *text, FILE *out)
{
	enum { COLUMNS = 80 };
	size_t column = 0;
	while (*text) {
		size_t len = strcspn(text, " ");
		if (column > 0 && column + 1 + len > COLUMNS) {
			(void)fputc('\n', out);
			column = 0;
		} else if (column > 0) {
			(void)fputc(' ', out);
			column++;
		}
		(void)fwrite(text, 1, len, out);
		column += len;
		text += len;
		text += strspn(text, " ");
	}
	(void)fputc('\n', out);
}

static bool is_asked(const json_t *answer)
{
	return json_object_get(json_object_get(answer, "kernel"), "sets") != NULL;
}

/* keeper_is_low_priority_hit: also what has ended speaks for a host as long as it is stored. */
static bool is_low_priority_hit(const json_t *answer, enum fate fate)
{
	const json_t *settings = json_object_get(answer, "settings");
	return fate == FATE_NEW && json_is_true(json_object_get(settings, "low_priority_mx")) &&
	       json_array_size(json_object_get(answer, "tuples")) == 0 &&
	       !json_is_object(json_object_get(answer, "white"));
}

/* Somebody put it there, or a change was lost: as long as a register is there, it is about to be
 * swept. */
static bool is_astray(const json_t *answer)
{
	bool is_white = json_is_object(json_object_get(answer, "white"));
	bool is_trapped = json_is_object(json_object_get(answer, "trapped"));
	return (!is_white && is_in_kernel(answer, "spamd-white")) ||
	       (!is_trapped && is_in_kernel(answer, "spamd-greytrap"));
}

static bool is_half_looked(const json_t *answer, enum fate fate)
{
	return fate == FATE_NEW && json_is_object(json_object_get(answer, "mail")) &&
	       json_is_true(json_object_get(answer, "more_tuples"));
}

static void put_sentence(const json_t *answer, enum fate fate, FILE *out)
{
	char *text = NULL;
	size_t len = 0;
	FILE *whole = open_memstream(&text, &len);
	if (!whole) {
		return;
	}
	bool is_stranger = fate == FATE_NEW && is_never_seen(answer);
	(void)fputs(is_stranger ? "Never seen, and on no list. " : "", whole);
	put_text(answer, rows[fate].sentence, whole);
	if (is_half_looked(answer, fate)) {
		(void)fputs(" (Not all of its tuples were looked at.)", whole);
	}
	if (is_low_priority_hit(answer, fate)) {
		(void)fputs(" At the low-priority MX it would be trapped.", whole);
	}
	if (is_astray(answer)) {
		(void)fputs(" (The kernel's sets hold what is not stored: systemctl restart mired "
		            "makes them anew.)",
		            whole);
	}
	if (!has_firewall(answer)) {
		(void)fputs(" (firewall = no: who comes to mired is up to rules of your own.)",
		            whole);
	} else if (!is_asked(answer)) {
		(void)fputs(" (The kernel was not asked: it may let it through before.)", whole);
	}
	if (fclose(whole) == 0) {
		put_wrapped(text, out);
	}
	free(text);
}

void why_fate(const json_t *answer, FILE *out)
{
	enum fate fate = why_fate_of(answer);
	(void)fputc('\n', out);
	put_sentence(answer, fate, out);
	for (size_t i = 0; i < COMMANDS_MAX && rows[fate].commands[i].command; i++) {
		(void)fputs("  ", out);
		put_text(answer, rows[fate].commands[i].command, out);
		(void)fprintf(out, "\n      %s\n", rows[fate].commands[i].meaning);
	}
}
