/* miredctl held: the connections held at this moment, all of them or those of an address. */
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "base/span.h"
#include "ctl/ctl.h"
#include "miredctl/call.h"
#include "miredctl/held_text.h"

enum {
	HELD_WAIT_MS = 60000, /* until a million connections were looked at, on a busy machine */
	COLUMNS = 79,
	ROWS_MAX = 100,
	NARROW_COLUMNS = 51, /* of networks and lists */
};

/* The members that are not 0, in a line. */
static void show_counts(const char *title, json_t *counts)
{
	const char *name;
	json_t *n;
	const char *before = "";
	(void)printf("%-12s", title);
	json_object_foreach(counts, name, n)
	{
		char text[TEXT_NAME_MAX];
		if (json_integer_value(n) > 0) {
			(void)printf("%s%s %lld", before,
			             span_escape(span_of_str(name), text, sizeof text),
			             (long long)json_integer_value(n));
			before = ", ";
		}
	}
	(void)printf("%s\n", before[0] ? "" : "-");
}

static void show_table(enum held_table table, size_t width, const json_t *answer)
{
	char text[TEXT_ROW_MAX];
	size_t n = held_table_rows(table, answer);
	if (n == 0) {
		return;
	}
	held_table_title(table, answer, width, text);
	(void)printf("\n%s\n", text);
	for (size_t i = 0; i < n; i++) {
		held_table_row(table, answer, i, width, text);
		(void)puts(text);
	}
}

static void show_sum(const json_t *answer)
{
	(void)printf("%-12s%lld, %.1f s ago\n", "connections",
	             (long long)json_integer_value(json_object_get(answer, "connections")),
	             json_number_value(json_object_get(answer, "age_ms")) / 1000);
}

static void show_all(json_t *answer)
{
	long long n_other = json_integer_value(json_object_get(answer, "other_lists"));
	show_sum(answer);
	show_counts("classes", json_object_get(answer, "classes"));
	show_counts("states", json_object_get(answer, "states"));
	show_table(HELD_LONGEST, COLUMNS, answer);
	show_table(HELD_NETWORKS, NARROW_COLUMNS, answer);
	if (json_is_false(json_object_get(answer, "networks_exact"))) {
		(void)puts("(there are too many networks to count each: at least so many)");
	}
	show_table(HELD_LISTS, NARROW_COLUMNS, answer);
	if (json_is_false(json_object_get(answer, "lists_exact"))) {
		(void)puts("(estimates: there are too many to look up each)");
	}
	if (n_other > 0) {
		(void)printf("(of other lists: %lld)\n", n_other);
	}
}

static void show_address(json_t *answer)
{
	show_sum(answer);
	show_table(HELD_LONGEST, COLUMNS, answer);
}

int run_held(const struct call *call)
{
	char request[MIRED_CTL_REQUEST_MAX];
	struct addr addr;
	json_t *answer = NULL;
	if (call->argument && addr_parse(span_of_str(call->argument), &addr) != 0) {
		(void)call_complain(call->argument, "this is no address");
		return EXIT_USAGE;
	}
	uint64_t n_rows = 0;
	if (call->n_rows && span_to_u64(span_of_str(call->n_rows), ROWS_MAX, &n_rows) != 0) {
		(void)call_complain("-n", "it takes a number of rows, 0 to 100");
		return EXIT_USAGE;
	}
	const char *word = call->argument ? call->argument : call->n_rows ? call->n_rows : "";
	(void)snprintf(request, sizeof request, "held %s", word);
	int ret = call_ask(call, request, (struct span){0}, HELD_WAIT_MS, &answer);
	return ret == EXIT_OK ? call_show(call, answer, call->argument ? show_address : show_all)
	                      : ret;
}
