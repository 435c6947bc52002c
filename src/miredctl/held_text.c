/* Widths of columns come from the width of the table: where it is narrow, what says least is left
 * out, and the name's column takes what is left. */
#include "miredctl/held_text.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/span.h"

enum {
	SECS_PER_MIN = 60,
	SECS_PER_HOUR = 3600,
	SECS_PER_DAY = 86400,
	WHOLE_MAX = 999999, /* numbers up to this are written in full */
	STEP = 1000,
	NAME_COLUMNS_MIN = 8,
	ADDRESS_COLUMNS = 39, /* an IPv6 address at its longest */
};

/* The daemon has escaped what came from outside: its backslashes are not escaped again. */
const char *text_of(const json_t *string, char *out, size_t size)
{
	const char *text = json_string_value(string);
	size_t used = 0;
	for (size_t i = 0; i < json_string_length(string); i++) {
		char escaped[sizeof "\\xff"];
		bool is_backslash = text[i] == '\\';
		const char *piece =
		        is_backslash ? "\\"
		                     : span_escape(span_of(text + i, 1), escaped, sizeof escaped);
		size_t len = strlen(piece);
		if (used + len >= size) {
			break;
		}
		memcpy(out + used, piece, len);
		used += len;
	}
	out[used] = '\0';
	return out;
}

const char *text_secs(double secs, char out[static TEXT_NUMBER_MAX])
{
	long long s = secs >= 0 && secs < 1e15 ? (long long)secs : 0;
	if (s >= SECS_PER_DAY) {
		(void)snprintf(out, TEXT_NUMBER_MAX, "%lldd%02lldh", s / SECS_PER_DAY,
		               s / SECS_PER_HOUR % 24);
	} else if (s >= SECS_PER_HOUR) {
		(void)snprintf(out, TEXT_NUMBER_MAX, "%lldh%02lldm", s / SECS_PER_HOUR,
		               s / SECS_PER_MIN % 60);
	} else if (s >= SECS_PER_MIN) {
		(void)snprintf(out, TEXT_NUMBER_MAX, "%lldm%02llds", s / SECS_PER_MIN, s % 60);
	} else {
		(void)snprintf(out, TEXT_NUMBER_MAX, "%llds", s);
	}
	return out;
}

/* Three digits and a unit. */
static const char *scaled(double number, const char *unit, char out[static TEXT_NUMBER_MAX])
{
	static const char *const prefixes[] = {"", "k", "M", "G", "T", "P", "E"};
	size_t i = 0;
	for (; fabs(number) >= STEP - 0.5 && i + 1 < ARRAY_LEN(prefixes); i++) {
		number /= STEP;
	}
	(void)snprintf(out, TEXT_NUMBER_MAX, i > 0 && fabs(number) < 9.95 ? "%.1f%s%s" : "%.0f%s%s",
	               number, prefixes[i], unit);
	return out;
}

const char *text_count(double number, char out[static TEXT_NUMBER_MAX])
{
	if (fabs(number) > WHOLE_MAX || !isfinite(number)) {
		return scaled(number, "", out);
	}
	(void)snprintf(out, TEXT_NUMBER_MAX, "%.0f", number);
	return out;
}

const char *text_bytes(double number, char out[static TEXT_NUMBER_MAX])
{
	return scaled(number, "B", out);
}

/* --- cells: what a member of a row looks like --- */

typedef const char *cell_text(const json_t *value, char *out, size_t size);

static const char *cell_name(const json_t *value, char *out, size_t size)
{
	return text_of(value, out, size);
}

static const char *cell_secs(const json_t *value, char *out, size_t size)
{
	(void)size;
	return text_secs(json_number_value(value), out);
}

static const char *cell_count(const json_t *value, char *out, size_t size)
{
	(void)size;
	return text_count(json_number_value(value), out);
}

static const char *cell_bytes(const json_t *value, char *out, size_t size)
{
	(void)size;
	return text_bytes(json_number_value(value), out);
}

struct column {
	const char *key;
	const char *title;
	cell_text *text;
	size_t columns;     /* 0: the rest, and the text is to the left */
	size_t width_min;   /* of the table, else it is left out */
	size_t columns_max; /* of the one that takes the rest; 0 = any */
	bool is_left;
	bool takes_more; /* what the rest is more than that */
};

enum { COLUMNS_MAX = 8 };

// clang-format off
static const struct {
	const char *key; /* of the array */
	const char *exact_key;     /* whether the counts are exact, NULL: they always are */
	const char *inexact_title; /* of the first column, where they are not */
	struct column columns[COLUMNS_MAX];
} tables[HELD_TABLE_COUNT] = {
	[HELD_LONGEST] = {"longest", NULL, NULL, {
		{"held_secs",  "HELD",    cell_secs,  7,  0,   0, false, false},
		{"address",    "ADDRESS", cell_name,  0,  0,   ADDRESS_COLUMNS, true, false},
		{"class",      "CLASS",   cell_name,  8,  30,  0, true, false},
		{"state",      "STATE",   cell_name,  9,  55,  0, true, false},
		{"sent_bytes", "SENT",    cell_bytes, 6,  45,  0, false, false},
		{"lists",      "LISTS",   cell_count, 5,  100, 0, false, false},
		{"list",       "LIST",    cell_name,  20, 70,  0, true, true},
	}},
	[HELD_NETWORKS] = {"networks", "networks_exact", "NETWORK (at least)", {
		{"network",     "NETWORK", cell_name,  0, 0,  0, true, false},
		{"connections", "HELD",    cell_count, 7, 16, 0, false, false},
	}},
	[HELD_LISTS] = {"lists", "lists_exact", "LIST (estimates)", {
		{"name",        "LIST", cell_name,  0, 0,  0, true, false},
		{"connections", "HELD", cell_count, 7, 16, 0, false, false},
	}},
};
// clang-format on

size_t held_table_rows(enum held_table table, const json_t *answer)
{
	return json_array_size(json_object_get(answer, tables[table].key));
}

static bool is_shown(const struct column *column, size_t width)
{
	return column->title && width >= column->width_min;
}

struct layout {
	size_t rest; /* of the column without a width */
	size_t more; /* what that one does not take */
};

/* What the columns of fixed width leave. */
static struct layout layout_of(enum held_table table, size_t width)
{
	size_t taken = 0;
	size_t max = 0;
	for (size_t i = 0; i < COLUMNS_MAX; i++) {
		const struct column *column = &tables[table].columns[i];
		if (is_shown(column, width)) {
			taken += column->columns + 1;
			max = column->columns_max > max ? column->columns_max : max;
		}
	}
	size_t rest = width + 1 > taken ? width + 1 - taken : 0;
	rest = rest > NAME_COLUMNS_MIN ? rest : NAME_COLUMNS_MIN;
	size_t more = max > 0 && rest > max ? rest - max : 0;
	return (struct layout){.rest = rest - more, .more = more};
}

static size_t columns_of(const struct column *column, struct layout layout)
{
	size_t columns = column->columns > 0 ? column->columns : layout.rest;
	return columns + (column->takes_more ? layout.more : 0);
}

/* Appends one cell; what was cut ends in '~'. */
static void put_cell(char out[static TEXT_ROW_MAX], const char *text, size_t columns, bool is_left)
{
	size_t at = strlen(out);
	int n = (int)(columns < TEXT_ROW_MAX ? columns : TEXT_ROW_MAX - 1);
	bool is_cut = strlen(text) > (size_t)n;
	const char *blank = at > 0 ? " " : "";
	(void)snprintf(out + at, TEXT_ROW_MAX - at, is_left ? "%s%-*.*s%s" : "%s%*.*s%s", blank,
	               is_cut ? n - 1 : n, is_cut ? n - 1 : n, text, is_cut ? "~" : "");
}

static void trim_end(char *text)
{
	size_t len = strlen(text);
	while (len > 0 && text[len - 1] == ' ') {
		text[--len] = '\0';
	}
}

static const char *title_of(enum held_table table, const json_t *answer, size_t column)
{
	const char *key = tables[table].exact_key;
	bool is_inexact = column == 0 && key && json_is_false(json_object_get(answer, key));
	return is_inexact ? tables[table].inexact_title : tables[table].columns[column].title;
}

void held_table_title(enum held_table table, const json_t *answer, size_t width,
                      char out[static TEXT_ROW_MAX])
{
	struct layout layout = layout_of(table, width);
	out[0] = '\0';
	for (size_t i = 0; i < COLUMNS_MAX; i++) {
		const struct column *column = &tables[table].columns[i];
		if (is_shown(column, width)) {
			put_cell(out, title_of(table, answer, i), columns_of(column, layout),
			         column->is_left);
		}
	}
	trim_end(out);
}

void held_table_row(enum held_table table, const json_t *answer, size_t idx, size_t width,
                    char out[static TEXT_ROW_MAX])
{
	const json_t *row = json_array_get(json_object_get(answer, tables[table].key), idx);
	struct layout layout = layout_of(table, width);
	out[0] = '\0';
	for (size_t i = 0; i < COLUMNS_MAX; i++) {
		const struct column *column = &tables[table].columns[i];
		char text[TEXT_NAME_MAX];
		if (is_shown(column, width)) {
			put_cell(out,
			         column->text(json_object_get(row, column->key), text, sizeof text),
			         columns_of(column, layout), column->is_left);
		}
	}
	trim_end(out);
}
