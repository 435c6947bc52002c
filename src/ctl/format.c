/* Text form of nested JSON objects. */
#include "ctl/format.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/compiler.h"
#include "base/span.h"

enum { DEPTH_MAX = 6, NAME_MAX_BYTES = 96, VALUE_MAX = 256, LINES_MAX = 1024 };
enum { COLUMNS = 80, ITEM_INDENT = 4 };

struct level {
	json_t *object;
	void *iter;
	size_t prefix_len; /* of the name, in front of this level's keys */
};

/* A walk over all members that are no objects, in order, without recursion. */
struct walk {
	struct level levels[DEPTH_MAX];
	size_t depth;
	char name[NAME_MAX_BYTES];
	json_t *value;
};

static void walk_enter(struct walk *walk, json_t *object, size_t prefix_len)
{
	walk->levels[walk->depth++] = (struct level){object, json_object_iter(object), prefix_len};
}

static void set_name(struct walk *walk, size_t prefix_len, const char *key)
{
	char escaped[NAME_MAX_BYTES];
	(void)span_escape(span_of_str(key), escaped, sizeof escaped);
	(void)snprintf(walk->name + prefix_len, sizeof walk->name - prefix_len, "%s%s",
	               prefix_len > 0 ? ", " : "", escaped);
}

static bool walk_next(struct walk *walk)
{
	while (walk->depth > 0) {
		struct level *level = &walk->levels[walk->depth - 1];
		if (!level->iter) {
			walk->depth--;
			continue;
		}
		walk->value = json_object_iter_value(level->iter);
		set_name(walk, level->prefix_len, json_object_iter_key(level->iter));
		level->iter = json_object_iter_next(level->object, level->iter);
		if (!json_is_object(walk->value) || walk->depth == DEPTH_MAX) {
			return true;
		}
		walk_enter(walk, walk->value, strlen(walk->name));
	}
	return false;
}

static bool ends_with(const char *name, const char *suffix)
{
	size_t len = strlen(name);
	size_t n = strlen(suffix);
	return len > n && strcmp(name + len - n, suffix) == 0;
}

static void format_secs(double secs, char *out, size_t size)
{
	long long s = (long long)secs;
	if (s >= 86400) {
		(void)snprintf(out, size, "%lldd %lldh %lldm", s / 86400, s / 3600 % 24,
		               s / 60 % 60);
	} else if (s >= 3600) {
		(void)snprintf(out, size, "%lldh %lldm %llds", s / 3600, s / 60 % 60, s % 60);
	} else if (s >= 60) {
		(void)snprintf(out, size, "%lldm %llds", s / 60, s % 60);
	} else {
		(void)snprintf(out, size, "%.6gs", secs);
	}
}

static void format_ms(double ms, char *out, size_t size)
{
	(void)snprintf(out, size, "%.6g ms", ms);
}

static void format_bytes(double bytes, char *out, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	size_t unit = 0;
	for (; bytes >= 1024 && unit + 1 < ARRAY_LEN(units); unit++) {
		bytes /= 1024;
	}
	(void)snprintf(out, size, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

/* Local time; 0 is no moment. */
static void format_moment(double secs, char *out, size_t size)
{
	struct tm tm;
	time_t at = (time_t)secs;
	if (secs <= 0 || !localtime_r(&at, &tm) ||
	    strftime(out, size, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
		(void)snprintf(out, size, "never");
	}
}

static const struct {
	const char *suffix;
	void (*format)(double number, char *out, size_t size);
} units[] = {
        {"_secs", format_secs},
        {"_ms", format_ms},
        {"_bytes", format_bytes},
        {"_at", format_moment},
};

static void format_plain(const json_t *value, char *out, size_t size)
{
	if (json_is_string(value)) {
		(void)span_escape(span_of(json_string_value(value), json_string_length(value)), out,
		                  size);
		return;
	}
	if (json_is_real(value)) {
		(void)snprintf(out, size, "%.6g", json_real_value(value));
		return;
	}
	if (json_is_boolean(value)) {
		(void)snprintf(out, size, "%s", json_is_true(value) ? "yes" : "no");
		return;
	}
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	(void)snprintf(out, size, "%s", text ? text : "?");
	free(text);
}

/* Cuts the unit off the name and gives it to the number. */
static void format_value(char *name, const json_t *value, char *out, size_t size)
{
	for (size_t i = 0; json_is_number(value) && i < ARRAY_LEN(units); i++) {
		if (ends_with(name, units[i].suffix)) {
			units[i].format(json_number_value(value), out, size);
			name[strlen(name) - strlen(units[i].suffix)] = '\0';
			return;
		}
	}
	format_plain(value, out, size);
}

static const char *without_underscores(char *name)
{
	for (char *c = strchr(name, '_'); c; c = strchr(c, '_')) {
		*c = ' ';
	}
	return name;
}

static void print_line(const char *indent, char *name, const json_t *value, FILE *out)
{
	char text[VALUE_MAX];
	format_value(name, value, text, sizeof text);
	(void)fprintf(out, "%s%-*s %s\n", indent, 34 - (int)strlen(indent),
	              without_underscores(name), text);
}

/* --- lists of objects: a line each, wrapped, its first member in front --- */

static bool is_list_of_objects(const json_t *value)
{
	return json_is_object(json_array_get(value, 0));
}

static void print_word(const char *before, const char *key, const json_t *value, FILE *out)
{
	char name[NAME_MAX_BYTES];
	char text[VALUE_MAX];
	(void)span_escape(span_of_str(key), name, sizeof name);
	format_value(name, value, text, sizeof text);
	(void)fprintf(out, "%s%s %s", before, without_underscores(name), text);
}

static void print_words(const char *before, const char *key, json_t *object, FILE *out)
{
	char name[NAME_MAX_BYTES];
	const char *word;
	json_t *value;
	(void)span_escape(span_of_str(key), name, sizeof name);
	(void)fprintf(out, "%s%s", before, without_underscores(name));
	json_object_foreach(object, word, value)
	{
		print_word(" ", word, value, out);
	}
}

static bool is_empty(const json_t *value)
{
	return (json_is_string(value) && json_string_length(value) == 0) ||
	       (json_is_object(value) && json_object_size(value) == 0);
}

static void print_member(const char *before, const char *key, json_t *value, FILE *out)
{
	if (json_is_object(value)) {
		print_words(before, key, value, out);
	} else {
		print_word(before, key, value, out);
	}
}

static void print_members(json_t *item, FILE *out)
{
	char first[VALUE_MAX];
	const char *key;
	json_t *value;
	const char *before = NULL;
	json_object_foreach(item, key, value)
	{
		if (!before) {
			format_plain(value, first, sizeof first);
			(void)fputs(first, out);
			before = ": ";
		} else if (!is_empty(value)) {
			print_member(before, key, value, out);
			before = ", ";
		}
	}
}

/* The blank where a line with room for so many characters ends: behind the last comma, else before
 * the last name. 0: there is none. */
static size_t line_end(const char *text, size_t room)
{
	size_t name = 0;
	size_t comma = 0;
	for (size_t i = 1; i <= room; i++) {
		if (text[i] == ' ' && !isdigit((unsigned char)text[i + 1])) {
			name = i;
			comma = text[i - 1] == ',' ? i : comma;
		}
	}
	return comma > 0 ? comma : name;
}

static void print_wrapped(const char *text, FILE *out)
{
	int indent = ITEM_INDENT;
	size_t end = 0;
	do {
		size_t room = (size_t)(COLUMNS - indent);
		size_t len = strlen(text);
		end = len > room ? line_end(text, room) : 0;
		(void)fprintf(out, "%*s%.*s\n", indent, "", (int)(end > 0 ? end : len), text);
		text += end + 1;
		indent = 2 * ITEM_INDENT;
	} while (end > 0);
}

static void print_item(json_t *item, FILE *out)
{
	char *text = NULL;
	size_t size = 0;
	FILE *memory = open_memstream(&text, &size);
	if (memory) {
		print_members(item, memory);
	}
	if (memory && fclose(memory) == 0) {
		print_wrapped(text, out);
	}
	free(text);
}

static int print_items(char *name, json_t *list, int n_max, FILE *out)
{
	size_t i = 0;
	(void)fprintf(out, "  %s\n", without_underscores(name));
	for (; i < json_array_size(list) && (int)i < n_max; i++) {
		print_item(json_array_get(list, i), out);
	}
	return (int)i + 1;
}

/* Lines printed. */
static int print_section(const char *key, json_t *object, FILE *out)
{
	struct walk walk = {.depth = 0};
	char title[NAME_MAX_BYTES];
	int n_lines = 0;
	(void)fprintf(out, "\n%s\n", span_escape(span_of_str(key), title, sizeof title));
	walk_enter(&walk, object, 0);
	while (n_lines < LINES_MAX && walk_next(&walk)) {
		if (is_list_of_objects(walk.value)) {
			n_lines += print_items(walk.name, walk.value, LINES_MAX - n_lines, out);
			continue;
		}
		print_line("  ", walk.name, walk.value, out);
		n_lines++;
	}
	return n_lines;
}

void format_figures(json_t *object, FILE *out)
{
	const char *key;
	json_t *value;
	int n_lines = 0;
	json_object_foreach(object, key, value)
	{
		char name[NAME_MAX_BYTES];
		if (!json_is_object(value) && n_lines < LINES_MAX) {
			(void)span_escape(span_of_str(key), name, sizeof name);
			print_line("", name, value, out);
			n_lines++;
		}
	}
	json_object_foreach(object, key, value)
	{
		if (json_is_object(value) && n_lines < LINES_MAX) {
			n_lines += print_section(key, value, out) + 1;
		}
	}
}
