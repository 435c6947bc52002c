/* What the records of spamd.conf mean: `all` names the lists in their order, each list is black or
 * white and says where its addresses come from. The texts of the errors are spamd-setup's. */
#include "lists/capfile.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "lists/caprec.h"

enum { NAME_SHOWN_MAX = 128 };

static_assert((int)CAPFILE_TC_MAX == (int)CAPREC_DEPTH_MAX, "one bound for tc=");

static const char *const method_names[] = {
        [CAPFILE_FILE] = "file", [CAPFILE_HTTP] = "http", [CAPFILE_HTTPS] = "https",
        [CAPFILE_FTP] = "ftp",   [CAPFILE_EXEC] = "exec",
};

/* What is at work on one file. */
struct reader {
	struct caprecs recs;
	struct capfields all;    /* of `all` */
	struct capfields fields; /* of the list at hand */
	const struct caprec *rec;
	struct capfile file;
	char *why;
};

PRINTF(3, 4) static int refuse(const struct reader *reader, int code, const char *format, ...)
{
	char text[CAPFILE_WHY_MAX - 20];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (reader->rec) {
		(void)snprintf(reader->why, CAPFILE_WHY_MAX, "line %u: %s", reader->rec->line_no,
		               text);
	} else {
		(void)snprintf(reader->why, CAPFILE_WHY_MAX, "%s", text);
	}
	return code;
}

/* Finds a record and its fields. */
static int open_record(struct reader *reader, struct span name, struct capfields *fields)
{
	char shown[NAME_SHOWN_MAX];
	(void)span_escape(name, shown, sizeof shown);
	reader->rec = caprecs_find(&reader->recs, name);
	int ret = reader->rec ? caprecs_fields(&reader->recs, reader->rec, fields) : ERR_NOT_FOUND;
	switch (ret) {
	case 0:
		return 0;
	case ERR_NOT_FOUND:
		return refuse(reader, ret, "Can't find \"%s\" in spamd config%s", shown,
		              reader->rec ? " (unresolved tc=)" : "");
	case ERR_RANGE:
		return refuse(reader, ERR_SYNTAX, "tc= loop in \"%s\"", shown);
	default:
		return refuse(reader, ret, "more than %d fields in \"%s\"", CAPREC_FIELDS_MAX,
		              shown);
	}
}

static int decode(const struct reader *reader, struct span raw, const char *name, char **out)
{
	int ret = caprec_decode(raw, out);
	if (ret == ERR_SYNTAX) {
		return refuse(reader, ret, "NUL byte in %s", name);
	}
	return ret ? refuse(reader, ret, "no memory") : 0;
}

/* "text" in quotes, or the name of a file that holds it. */
static int read_message(const struct reader *reader, struct capfile_list *list)
{
	struct span raw;
	if (!capfields_string(&reader->fields, SPAN("msg"), &raw) || raw.len == 0) {
		return refuse(reader, ERR_SYNTAX, "No msg for blacklist \"%s\"", list->name);
	}
	int ret = decode(reader, raw, list->name, &list->message);
	if (ret) {
		return ret;
	}
	list->is_message_file = list->message[0] != '"';
	if (!list->is_message_file) {
		size_t len = strlen(list->message + 1);
		memmove(list->message, list->message + 1, len + 1);
		if (len > 0 && list->message[len - 1] == '"') {
			list->message[len - 1] = '\0';
		}
	}
	return 0;
}

static int read_method(const struct reader *reader, struct capfile_list *list)
{
	struct span raw;
	char shown[NAME_SHOWN_MAX];
	list->method = CAPFILE_FILE;
	if (!capfields_string(&reader->fields, SPAN("method"), &raw)) {
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(method_names); i++) {
		if (span_equal(raw, span_of_str(method_names[i]))) {
			list->method = (enum capfile_method)i;
			return 0;
		}
	}
	return refuse(reader, ERR_SYNTAX, "Unknown method %s",
	              span_escape(raw, shown, sizeof shown));
}

static int read_file(const struct reader *reader, struct capfile_list *list)
{
	struct span raw;
	if (!capfields_string(&reader->fields, SPAN("file"), &raw) || raw.len == 0) {
		return refuse(reader, ERR_SYNTAX, "No file given for %slist %s",
		              list->is_black ? "black" : "white", list->name);
	}
	return decode(reader, raw, list->name, &list->file);
}

static int read_fields(const struct reader *reader, struct capfile_list *list)
{
	list->is_black = capfields_has_flag(&reader->fields, SPAN("black"));
	if (!list->is_black && !capfields_has_flag(&reader->fields, SPAN("white"))) {
		return refuse(reader, ERR_SYNTAX, "Must have \"black\" or \"white\" in %s",
		              list->name);
	}
	int ret = list->is_black ? read_message(reader, list) : 0;
	ret = ret ? ret : read_file(reader, list);
	return ret ? ret : read_method(reader, list);
}

static int read_list(struct reader *reader, struct span name)
{
	if (reader->file.n == CAPFILE_NAMES_MAX) {
		reader->rec = caprecs_find(&reader->recs, SPAN("all"));
		return refuse(reader, ERR_TOO_LONG, "more than %d lists in \"all\"",
		              CAPFILE_NAMES_MAX);
	}
	int ret = open_record(reader, name, &reader->fields);
	if (ret) {
		return ret;
	}
	struct capfile_list *list = &reader->file.lists[reader->file.n++];
	list->name = strndup((const char *)name.ptr, name.len);
	return list->name ? read_fields(reader, list) : refuse(reader, -ENOMEM, "no memory");
}

static bool is_separator(uint8_t c)
{
	return c == ' ' || c == '\t' || c == ':';
}

/* The names in one field of `all`; quotes mean nothing there, so it may hold colons. */
static int read_names(struct reader *reader, struct span field)
{
	int ret = 0;
	while (field.len > 0 && ret == 0) {
		size_t len = 0;
		while (len < field.len && !is_separator(field.ptr[len])) {
			len++;
		}
		ret = len > 0 ? read_list(reader, span_of(field.ptr, len)) : 0;
		field = span_skip(field, len + 1);
	}
	return ret;
}

static int read_all(struct reader *reader)
{
	int ret = open_record(reader, SPAN("all"), &reader->all);
	for (size_t i = 0; i < reader->all.n && ret == 0; i++) {
		ret = read_names(reader, reader->all.list[i]);
	}
	return ret;
}

static int read_text(struct reader *reader, struct span text)
{
	reader->file.lists = calloc(CAPFILE_NAMES_MAX, sizeof *reader->file.lists);
	if (!reader->file.lists || caprecs_read(text, &reader->recs)) {
		return refuse(reader, -ENOMEM, "no memory");
	}
	return read_all(reader);
}

int capfile_parse(struct span text, struct capfile *out, char why[static CAPFILE_WHY_MAX])
{
	*out = (struct capfile){0};
	struct reader *reader = calloc(1, sizeof *reader);
	if (!reader) {
		(void)snprintf(why, CAPFILE_WHY_MAX, "no memory");
		return -ENOMEM;
	}
	reader->why = why;
	int ret = read_text(reader, text);
	if (ret) {
		capfile_fini(&reader->file);
	} else {
		*out = reader->file;
	}
	caprecs_fini(&reader->recs);
	free(reader);
	return ret;
}

void capfile_fini(struct capfile *file)
{
	for (size_t i = 0; i < file->n; i++) {
		free(file->lists[i].name);
		free(file->lists[i].message);
		free(file->lists[i].file);
	}
	free(file->lists);
	*file = (struct capfile){0};
}
