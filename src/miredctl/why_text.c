/* First what is known, a line or a few each, by the table of parts at the end; then what follows
 * from it (why_fate.c). */
#include "miredctl/why_text.h"

#include <stdbool.h>
#include <string.h>

#include "base/compiler.h"
#include "miredctl/why_fate.h"
#include "miredctl/why_words.h"

enum { TUPLES_SHOWN = 8, EVENTS_SHOWN = 10 };

static void label(FILE *out, const char *name)
{
	(void)fprintf(out, "%-*s", WHY_INDENT, name);
}

/* Of a line that goes on below. */
static void indent(FILE *out)
{
	label(out, "");
}

/* --- lists and registers ---------------------------------------------------------------------- */

static void show_lists(const json_t *answer, FILE *out)
{
	const json_t *lists = json_object_get(answer, "lists");
	size_t i;
	json_t *item;
	label(out, "lists");
	if (json_array_size(lists) == 0) {
		(void)fputs("on none\n", out);
		return;
	}
	(void)fputs("on ", out);
	json_array_foreach(lists, i, item)
	{
		(void)fputs(i > 0 ? ", " : "", out);
		why_put(out, json_string_value(item));
	}
	(void)fputc('\n', out);
}

static void show_reply(const json_t *answer, FILE *out)
{
	size_t i;
	json_t *item;
	json_array_foreach(json_object_get(answer, "reply"), i, item)
	{
		label(out, i == 0 ? "told" : "");
		why_put(out, json_string_value(item));
		(void)fputc('\n', out);
	}
}

static void show_register(const json_t *answer, const char *name, FILE *out)
{
	const json_t *record = json_object_get(answer, name);
	int64_t now = why_int(answer, "time");
	label(out, name);
	if (!json_is_object(record)) {
		(void)fputs("no\n", out);
		return;
	}
	bool is_live = json_is_true(json_object_get(record, "live"));
	(void)fputs(is_live ? "until " : "no longer: ended ", out);
	why_put_time(out, why_int(record, "expire"), now);
	(void)fputs("\n", out);
	indent(out);
	(void)fputs("first seen ", out);
	why_put_time(out, why_int(record, "first"), now);
	int64_t changed = why_int(record, "changed");
	if (changed != why_int(record, "first")) {
		(void)fputs(", renewed ", out); /* the stamp may be a second ahead, for merges */
		why_put_time(out, changed == now + 1 ? now : changed, now);
	}
	(void)fputc('\n', out);
	indent(out);
	why_put_times(out, why_int(record, "deferred"), " deferred, passed ");
	why_put_times(out, why_int(record, "passed"), "\n");
}

static void show_trapped(const json_t *answer, FILE *out)
{
	show_register(answer, "trapped", out);
}

static void show_white(const json_t *answer, FILE *out)
{
	show_register(answer, "white", out);
}

/* --- tuples ----------------------------------------------------------------------------------- */

static void show_retry(const json_t *tuple, int64_t now, FILE *out)
{
	const char *retry = json_string_value(json_object_get(tuple, "retry"));
	int64_t passes = why_int(tuple, "passes");
	int64_t expire = why_int(tuple, "expire");
	if (retry && strcmp(retry, "early") == 0 && passes < expire) {
		(void)fputs("a retry passes from ", out);
		why_put_time(out, passes, now);
		(void)fputs("\n", out);
		indent(out);
		(void)fputs("  until ", out);
		why_put_time(out, expire - 1, now);
	} else if (retry && strcmp(retry, "passes") == 0) {
		(void)fputs("a retry passes now and until ", out);
		why_put_time(out, expire - 1, now);
	} else if (retry && strcmp(retry, "early") == 0) {
		(void)fputs("ends before a retry passes: ", out);
		why_put_time(out, expire, now);
	} else {
		(void)fputs(now < expire ? "until " : "ended ", out);
		why_put_time(out, expire, now);
	}
	(void)fputc('\n', out);
}

static void show_tuple(const json_t *tuple, int64_t now, FILE *out)
{
	indent(out);
	(void)fputs("from ", out);
	why_put(out, json_string_value(json_object_get(tuple, "sender")));
	(void)fputs(" to ", out);
	why_put(out, json_string_value(json_object_get(tuple, "recipient")));
	(void)fputs(", helo ", out);
	why_put(out, json_string_value(json_object_get(tuple, "helo")));
	(void)fputs("\n", out);
	indent(out);
	(void)fputs("  first ", out);
	why_put_time(out, why_int(tuple, "first"), now);
	(void)fputs(", tried ", out);
	why_put_times(out, why_int(tuple, "attempts"), "\n");
	indent(out);
	(void)fputs("  ", out);
	show_retry(tuple, now, out);
}

/* With a mail that is asked for, only its own. */
static void show_tuples(const json_t *answer, FILE *out)
{
	size_t i;
	json_t *tuple;
	int n_shown = 0;
	bool has_mail = json_is_object(json_object_get(answer, "mail"));
	int64_t n = why_int(answer, "n_tuples");
	bool is_more = json_is_true(json_object_get(answer, "more_tuples"));
	label(out, "tuples");
	(void)fprintf(out, "%s%lld%s\n", is_more ? "more than " : "", (long long)n,
	              has_mail ? "; of this mail:" : "");
	json_array_foreach(json_object_get(answer, "tuples"), i, tuple)
	{
		bool is_asked = json_is_true(json_object_get(tuple, "asked"));
		if (has_mail == is_asked && n_shown < TUPLES_SHOWN) {
			show_tuple(tuple, why_int(answer, "time"), out);
			n_shown++;
		}
	}
	if (has_mail && n_shown == 0) {
		indent(out);
		(void)fputs("none\n", out);
	}
	if (!has_mail && n > n_shown) {
		indent(out);
		(void)fputs("others are not shown: name sender and recipient\n", out);
	}
}

static void show_mail(const json_t *answer, FILE *out)
{
	const json_t *mail = json_object_get(answer, "mail");
	if (!json_is_object(mail)) {
		return;
	}
	bool is_trap = json_is_true(json_object_get(mail, "spamtrap"));
	bool is_foreign = json_is_true(json_object_get(mail, "foreign_domain"));
	label(out, "recipient");
	why_put(out, json_string_value(json_object_get(mail, "recipient")));
	if (is_trap) {
		(void)fputs(" is a spamtrap\n", out);
	} else {
		(void)fputs(is_foreign ? " is in no allowed domain: as good as a spamtrap\n"
		                       : " is no spamtrap, and its domain gets mail here\n",
		            out);
	}
}

/* --- kernel, connections, events -------------------------------------------------------------- */

static void show_kernel(const json_t *answer, FILE *out)
{
	const json_t *kernel = json_object_get(answer, "kernel");
	const char *error = json_string_value(json_object_get(kernel, "error"));
	const json_t *sets = json_object_get(kernel, "sets");
	size_t i;
	json_t *set;
	label(out, "kernel");
	if (error || !kernel) {
		(void)fputs("not known: ", out);
		why_put(out, error ? error : "nobody asked it");
		(void)fputc('\n', out);
		return;
	}
	if (json_array_size(sets) == 0) {
		(void)fputs("in none of the sets\n", out);
	}
	json_array_foreach(sets, i, set)
	{
		const json_t *left = json_object_get(set, "timeout_secs");
		if (i > 0) {
			indent(out);
		}
		(void)fputs("in ", out);
		why_put(out, json_string_value(json_object_get(set, "set")));
		if (json_is_integer(left)) {
			(void)fputs(" for another ", out);
			why_put_secs(out, json_integer_value(left));
		}
		(void)fputc('\n', out);
	}
}

static void show_held(const json_t *answer, FILE *out)
{
	const json_t *held = json_object_get(answer, "held");
	if (json_is_integer(held)) {
		label(out, "held");
		long long n = json_integer_value(held);
		(void)fprintf(out, "%lld connection%s now\n", n, n == 1 ? "" : "s");
	}
}

static const struct {
	const char *event;
	const char *words;
	const char *before_text; /* NULL: the text says nothing new */
} event_words[] = {
        {"connected", "connected, met as", " "},
        {"new", "deferred, a new tuple", ", to "},
        {"early", "deferred, tried again too early", ", to "},
        {"passed", "tried again in time: white from then on", ", to "},
        {"trapped", "trapped", ", mail to "},
        {"trapped-low-priority", "trapped: came to the low-priority MX first", ", to "},
        {"white", "white", NULL},
        {"deleted", "deleted", NULL},
        {"delisted", "no longer white: it is on a list", NULL},
        {"expired", "its record expired", NULL},
        {"tuple-expired", "a tuple expired", NULL},
        {"reasserted", "white, but it was here: its kernel entry was put back", NULL},
};

static const struct {
	const char *by;
	const char *words;
} by_words[] = {
        {"peer", ", told by a peer"},
        {"admin", ", by hand"},
        {"traffic", ", for its traffic"},
        {"import", ", by an import"},
};

static void show_event_words(const json_t *event, FILE *out)
{
	const char *name = json_string_value(json_object_get(event, "event"));
	const char *text = json_string_value(json_object_get(event, "text"));
	for (size_t i = 0; i < ARRAY_LEN(event_words); i++) {
		if (!name || strcmp(event_words[i].event, name) != 0) {
			continue;
		}
		(void)fputs(event_words[i].words, out);
		if (event_words[i].before_text && text && text[0] != '\0') {
			(void)fputs(event_words[i].before_text, out);
			why_put(out, text);
			(void)fputs(json_is_true(json_object_get(event, "cut")) ? "..." : "", out);
		}
	}
}

static void show_event(const json_t *event, const char *address, FILE *out)
{
	const char *by = json_string_value(json_object_get(event, "by"));
	const char *of = json_string_value(json_object_get(event, "address"));
	why_put_clock(out, why_int(event, "time"));
	(void)fputs("  ", out);
	show_event_words(event, out);
	for (size_t i = 0; i < ARRAY_LEN(by_words); i++) {
		if (by && strcmp(by_words[i].by, by) == 0) {
			(void)fputs(by_words[i].words, out);
		}
	}
	if (of && address && strcmp(of, address) != 0) {
		(void)fputs(" (", out);
		why_put(out, of);
		(void)fputc(')', out);
	}
	(void)fputc('\n', out);
}

static void show_events(const json_t *answer, FILE *out)
{
	const json_t *events = json_object_get(answer, "events");
	const char *address = json_string_value(json_object_get(answer, "address"));
	size_t i;
	json_t *event;
	label(out, "events");
	if (json_array_size(events) == 0) {
		(void)fputs("none remembered\n", out);
	}
	json_array_foreach(events, i, event)
	{
		if (i == EVENTS_SHOWN) {
			break;
		}
		if (i > 0) {
			indent(out);
		}
		show_event(event, address, out);
	}
}

static void show_clock(const json_t *answer, FILE *out)
{
	if (json_is_true(json_object_get(answer, "clock_paused"))) {
		label(out, "clock");
		(void)fputs("has jumped and is not confirmed: nothing expires until it is\n", out);
		indent(out);
		(void)fputs("(miredctl clock-ok)\n", out);
	}
}

static void show_address(const json_t *answer, FILE *out)
{
	const char *network = json_string_value(json_object_get(answer, "network"));
	why_put(out, json_string_value(json_object_get(answer, "address")));
	if (network) {
		(void)fputs(", known by its network ", out);
		why_put(out, network);
		(void)fputs(" but trapped by itself", out);
	}
	(void)fputc('\n', out);
}

void why_text(const json_t *answer, FILE *out)
{
	static void (*const parts[])(const json_t *answer, FILE *out) = {
	        show_address, show_lists,  show_reply, show_trapped, show_white,  show_tuples,
	        show_mail,    show_kernel, show_held,  show_clock,   show_events, why_fate,
	};
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		parts[i](answer, out);
	}
}
