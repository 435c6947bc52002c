/* Records, fields and values in the form of termcap. Fields are cut at colons outside of quotes;
 * `\"` neither opens nor closes them. */
#include "lists/caprec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/err.h"

enum { RECORDS_AT_FIRST = 64, CONTROL_MASK = 0x1f, OCTAL_DIGITS_MAX = 3 };

static int add_record(struct caprecs *recs, struct span text, unsigned line_no)
{
	if (recs->n == recs->n_room) {
		struct caprec *list =
		        array_grow(recs->list, &recs->n_room, sizeof *list, RECORDS_AT_FIRST);
		if (!list) {
			return -ENOMEM;
		}
		recs->list = list;
	}
	recs->list[recs->n++] = (struct caprec){text, line_no};
	return 0;
}

static struct span take_line(struct span *text)
{
	struct span line = span_cut(*text, '\n', text);
	if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
		line.len--;
	}
	return line;
}

/* Copies a line and those that continue it; returns what was copied. */
static struct span join_lines(struct span line, struct span *rest, uint8_t *out, unsigned *line_no)
{
	size_t len = 0;
	bool is_continued = true;
	while (is_continued) {
		is_continued = line.len > 0 && line.ptr[line.len - 1] == '\\';
		line.len -= is_continued;
		if (line.len > 0) {
			memcpy(out + len, line.ptr, line.len);
			len += line.len;
		}
		is_continued = is_continued && rest->len > 0;
		if (is_continued) {
			line = take_line(rest);
			++*line_no;
		}
	}
	return span_of(out, len);
}

int caprecs_read(struct span text, struct caprecs *out)
{
	struct caprecs recs = {.text = malloc(text.len + 1)};
	size_t used = 0;
	int ret = recs.text ? 0 : -ENOMEM;
	for (unsigned line_no = 1; text.len > 0 && ret == 0; line_no++) {
		struct span line = take_line(&text);
		if (line.len == 0 || line.ptr[0] == '#') {
			continue;
		}
		unsigned first_no = line_no;
		struct span record = join_lines(line, &text, recs.text + used, &line_no);
		used += record.len;
		ret = add_record(&recs, record, first_no);
	}
	if (ret) {
		caprecs_fini(&recs);
		return ret;
	}
	*out = recs;
	return 0;
}

void caprecs_fini(struct caprecs *recs)
{
	free(recs->text);
	free(recs->list);
	*recs = (struct caprecs){0};
}

/* Cuts one field off; *is_end tells that it was the last. */
static struct span take_field(struct span *rest, bool *is_end)
{
	bool is_quoted = false;
	size_t len = 0;
	while (len < rest->len && (is_quoted || rest->ptr[len] != ':')) {
		bool is_escaped = len > 0 && rest->ptr[len - 1] == '\\';
		is_quoted ^= rest->ptr[len] == '"' && !is_escaped;
		len++;
	}
	struct span field = span_of(rest->ptr, len);
	*is_end = len == rest->len;
	*rest = span_skip(*rest, len + 1);
	return field;
}

static bool has_name(struct span names, struct span name)
{
	struct span rest;
	names = span_cut(names, ':', &rest);
	while (names.len > 0) {
		if (span_equal(span_cut(names, '|', &names), name)) {
			return true;
		}
	}
	return false;
}

const struct caprec *caprecs_find(const struct caprecs *recs, struct span name)
{
	for (size_t i = 0; i < recs->n; i++) {
		if (has_name(recs->list[i].text, name)) {
			return &recs->list[i];
		}
	}
	return NULL;
}

/* Without the names. */
static struct span fields_of(const struct caprec *rec)
{
	struct span fields;
	(void)span_cut(rec->text, ':', &fields);
	return fields;
}

int caprecs_fields(const struct caprecs *recs, const struct caprec *rec, struct capfields *out)
{
	struct span open[CAPREC_DEPTH_MAX + 1] = {fields_of(rec)}; /* what is left at each depth */
	size_t depth = 0;
	size_t n_steps = 0;
	out->n = 0;
	for (;;) {
		bool is_end;
		while (open[depth].len == 0 && depth > 0) {
			depth--;
		}
		if (open[depth].len == 0) {
			return 0;
		}
		if (n_steps++ == CAPREC_FIELDS_MAX) {
			return ERR_TOO_LONG;
		}
		struct span field = take_field(&open[depth], &is_end);
		if (field.len < 3 || memcmp(field.ptr, "tc=", 3) != 0) {
			out->list[out->n++] = field;
			continue;
		}
		const struct caprec *other = caprecs_find(recs, span_skip(field, 3));
		if (!other) {
			return ERR_NOT_FOUND;
		}
		if (depth == CAPREC_DEPTH_MAX) {
			return ERR_RANGE;
		}
		open[++depth] = fields_of(other);
	}
}

/* The first field that begins with the key and has `type` (0: nothing) or @ behind it; what follows
 * is its value. */
static bool find(const struct capfields *fields, struct span key, uint8_t type, struct span *value)
{
	for (size_t i = 0; i < fields->n; i++) {
		struct span field = fields->list[i];
		if (field.len < key.len || memcmp(field.ptr, key.ptr, key.len) != 0) {
			continue;
		}
		struct span rest = span_skip(field, key.len);
		if (rest.len > 0 && rest.ptr[0] == '@') {
			return false;
		}
		if (type == 0 ? rest.len == 0 : rest.len > 0 && rest.ptr[0] == type) {
			*value = span_skip(rest, 1);
			return value->len == 0 || value->ptr[0] != '@';
		}
	}
	return false;
}

bool capfields_has_flag(const struct capfields *fields, struct span key)
{
	struct span value;
	return find(fields, key, 0, &value);
}

bool capfields_string(const struct capfields *fields, struct span key, struct span *value)
{
	return find(fields, key, '=', value);
}

static char escape_of(uint8_t c)
{
	static const struct {
		char letter;
		char means;
	} rows[] = {
	        {'n', '\n'}, {'t', '\t'},   {'b', '\b'}, {'f', '\f'},
	        {'r', '\r'}, {'e', '\033'}, {'c', ':'},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if ((c | 0x20) == rows[i].letter) {
			return rows[i].means;
		}
	}
	return (char)c;
}

static bool is_octal(uint8_t c)
{
	return c >= '0' && c <= '7';
}

/* The escape behind a backslash; *raw is not empty. */
static char take_escape(struct span *raw)
{
	unsigned value = 0;
	size_t n = 0;
	while (n < raw->len && n < OCTAL_DIGITS_MAX && is_octal(raw->ptr[n])) {
		value = value * 8 + (raw->ptr[n] - (unsigned)'0');
		n++;
	}
	if (n > 0) {
		*raw = span_skip(*raw, n);
		return (char)(uint8_t)value;
	}
	uint8_t letter = raw->ptr[0];
	*raw = span_skip(*raw, 1);
	return escape_of(letter);
}

int caprec_decode(struct span raw, char **out)
{
	char *text = malloc(raw.len + 1);
	size_t n = 0;
	if (!text) {
		return -ENOMEM;
	}
	while (raw.len > 0) {
		uint8_t c = raw.ptr[0];
		raw = span_skip(raw, 1);
		if (c != '\\' && c != '^') {
			text[n++] = (char)c;
		} else if (raw.len > 0 && c == '\\') {
			text[n++] = take_escape(&raw);
		} else if (raw.len > 0) {
			text[n++] = (char)(raw.ptr[0] & CONTROL_MASK);
			raw = span_skip(raw, 1);
		}
	}
	text[n] = '\0';
	if (strlen(text) != n) {
		free(text);
		return ERR_SYNTAX;
	}
	*out = text;
	return 0;
}
