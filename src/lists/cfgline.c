/* The line in which a list travels and is stored. The reader takes the newest form and the one
 * before 2015, told apart by the word behind the text; the writer knows only the newest. */
#include "lists/cfgline.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum { ITEM_SHOWN_MAX = 64 };

enum family { FAMILY_INET, FAMILY_INET6, FAMILY_COUNT };

static const char *const family_names[FAMILY_COUNT] = {"inet", "inet6"};

struct parser {
	struct span rest; /* behind the text */
	size_t n_max;
	struct cidr *cidrs;
	size_t n;
	char *why;
};

PRINTF(3, 4) static int refuse(char *why, int code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(why, CFGLINE_WHY_MAX, format, args);
	va_end(args);
	return code;
}

static int refuse_item(char *why, int code, struct span item, const char *reason)
{
	char shown[ITEM_SHOWN_MAX];
	return refuse(why, code, "\"%s\": %s", span_escape(item, shown, sizeof shown), reason);
}

static int take_tag(struct span line, struct cfgline *out, struct span *rest, char *why)
{
	struct span tag = span_cut(line, ';', rest);
	if (tag.len == line.len) {
		return refuse(why, ERR_SYNTAX, "no ; behind the name of the list");
	}
	if (tag.len == 0) {
		return refuse(why, ERR_SYNTAX, "no name of the list");
	}
	if (tag.len > CFGLINE_TAG_MAX) {
		return refuse(why, ERR_TOO_LONG, "name of the list too long (at most %d bytes)",
		              CFGLINE_TAG_MAX);
	}
	for (size_t i = 0; i < tag.len; i++) {
		if (tag.ptr[i] < ' ' || tag.ptr[i] == 0x7f) {
			return refuse_item(why, ERR_SYNTAX, tag, "control character in the name");
		}
	}
	out->tag = tag;
	return 0;
}

/* Up to the first quote without a backslash before it. */
static int take_text(struct span *rest, struct cfgline *out, char *why)
{
	if (rest->ptr[0] != '"') {
		return refuse(why, ERR_SYNTAX, "the text does not begin with a quote");
	}
	size_t end = 1;
	while (end < rest->len && (rest->ptr[end] != '"' || rest->ptr[end - 1] == '\\')) {
		end++;
	}
	if (end == rest->len) {
		return refuse(why, ERR_SYNTAX, "the text has no end");
	}
	if (end - 1 > CFGLINE_TEXT_MAX) {
		return refuse(why, ERR_TOO_LONG, "text too long (at most %d bytes)",
		              CFGLINE_TEXT_MAX);
	}
	out->text = span_of(rest->ptr + 1, end - 1);
	*rest = span_skip(*rest, end + 1);
	if (rest->len == 0 || rest->ptr[0] != ';') {
		return refuse(why, ERR_SYNTAX, "no ; behind the text");
	}
	*rest = span_skip(*rest, 1);
	return 0;
}

static int take_item(struct parser *parser, struct cidr *cidr)
{
	struct span item = span_cut(parser->rest, ';', &parser->rest);
	if (item.len == 0) {
		return refuse(parser->why, ERR_SYNTAX, "network %zu is empty", parser->n + 1);
	}
	if (!memchr(item.ptr, '/', item.len)) {
		return refuse_item(parser->why, ERR_SYNTAX, item, "no length");
	}
	int ret = cidr_parse(item, cidr, NULL);
	if (ret) {
		return refuse_item(parser->why, ret, item,
		                   ret == ERR_RANGE ? "length out of range" : "no network");
	}
	if (parser->n == parser->n_max) {
		return refuse(parser->why, ERR_TOO_LONG, "more than %zu networks", parser->n_max);
	}
	parser->cidrs[parser->n++] = *cidr;
	return 0;
}

static int take_family_item(struct parser *parser, enum family family)
{
	struct span item = parser->rest;
	struct cidr cidr;
	int ret = take_item(parser, &cidr);
	if (ret == 0 && addr_is_v4(&cidr.addr) != (family == FAMILY_INET)) {
		return refuse_item(parser->why, ERR_SYNTAX, span_cut(item, ';', &item),
		                   "of the other family");
	}
	return ret;
}

static int take_group(struct parser *parser, enum family family)
{
	uint64_t count;
	struct span digits = span_cut(parser->rest, ';', &parser->rest);
	int ret = span_to_u64(digits, UINT32_MAX, &count);
	if (ret) {
		return refuse_item(parser->why, ret, digits, "no count of networks");
	}
	if (count > parser->n_max - parser->n) {
		return refuse(parser->why, ERR_TOO_LONG, "more than %zu networks", parser->n_max);
	}
	for (uint64_t i = 0; i < count; i++) {
		if (parser->rest.len == 0) {
			return refuse(parser->why, ERR_TRUNCATED, "%llu networks of %llu",
			              (unsigned long long)i, (unsigned long long)count);
		}
		ret = take_family_item(parser, family);
		if (ret) {
			return ret;
		}
	}
	return 0;
}

static enum family family_of(struct span word)
{
	enum family family = FAMILY_INET;
	while (family < FAMILY_COUNT && !span_equal(word, span_of_str(family_names[family]))) {
		family++;
	}
	return family;
}

/* family ; count ; networks, each family at most once. */
static int take_groups(struct parser *parser)
{
	bool is_seen[FAMILY_COUNT] = {false};
	while (parser->rest.len > 0) {
		struct span word = span_cut(parser->rest, ';', &parser->rest);
		enum family family = family_of(word);
		if (family == FAMILY_COUNT) {
			return refuse_item(parser->why, ERR_SYNTAX, word, "no family");
		}
		if (is_seen[family]) {
			return refuse_item(parser->why, ERR_SYNTAX, word, "given twice");
		}
		is_seen[family] = true;
		int ret = take_group(parser, family);
		if (ret) {
			return ret;
		}
	}
	return 0;
}

static int take_networks(struct parser *parser)
{
	while (parser->rest.len > 0) {
		struct cidr cidr;
		int ret = take_item(parser, &cidr);
		if (ret) {
			return ret;
		}
	}
	return 0;
}

/* Room for what the line can hold, so that nothing grows on the way. */
static int make_room(struct parser *parser)
{
	size_t n = 1;
	for (size_t i = 0; i < parser->rest.len; i++) {
		n += parser->rest.ptr[i] == ';';
	}
	n = n < parser->n_max ? n : parser->n_max;
	parser->cidrs = reallocarray(NULL, n ? n : 1, sizeof *parser->cidrs);
	return parser->cidrs ? 0 : refuse(parser->why, -ENOMEM, "no memory for %zu networks", n);
}

static int take_addresses(struct parser *parser)
{
	int ret = make_room(parser);
	if (ret) {
		return ret;
	}
	struct span rest;
	bool is_grouped = family_of(span_cut(parser->rest, ';', &rest)) != FAMILY_COUNT;
	ret = is_grouped ? take_groups(parser) : take_networks(parser);
	if (ret == 0 && parser->n == 0) {
		return refuse(parser->why, ERR_SYNTAX, "no networks");
	}
	return ret;
}

int cfgline_parse(struct span line, size_t n_max, struct cfgline *out,
                  char why[static CFGLINE_WHY_MAX])
{
	struct cfgline parsed = {0};
	struct parser parser = {.n_max = n_max, .why = why};
	int ret = take_tag(line, &parsed, &parser.rest, why);
	if (ret == 0 && parser.rest.len == 0) {
		parsed.is_clear = true;
		*out = parsed;
		return 0;
	}
	ret = ret ? ret : take_text(&parser.rest, &parsed, why);
	ret = ret ? ret : take_addresses(&parser);
	if (ret) {
		free(parser.cidrs);
		return ret;
	}
	parsed.cidrs = parser.cidrs;
	parsed.n = parser.n;
	*out = parsed;
	return 0;
}

void cfgline_fini(struct cfgline *line)
{
	free(line->cidrs);
	*line = (struct cfgline){0};
}

static void write_span(FILE *out, struct span text)
{
	if (text.len > 0) {
		(void)fwrite(text.ptr, 1, text.len, out);
	}
}

static void write_group(FILE *out, enum family family, const struct cidr *cidrs, size_t n)
{
	size_t count = 0;
	for (size_t i = 0; i < n; i++) {
		count += addr_is_v4(&cidrs[i].addr) == (family == FAMILY_INET);
	}
	if (count == 0) {
		return;
	}
	(void)fprintf(out, ";%s;%zu", family_names[family], count);
	for (size_t i = 0; i < n; i++) {
		char text[CIDR_TEXT_MAX];
		if (addr_is_v4(&cidrs[i].addr) == (family == FAMILY_INET)) {
			(void)fputc(';', out);
			(void)fputs(cidr_format(&cidrs[i], text), out);
		}
	}
}

/* The end of a line, and what became of all that was written. */
static int write_end(FILE *out)
{
	errno = 0;
	(void)fputc('\n', out);
	if (fflush(out) == 0 && !ferror(out)) {
		return 0;
	}
	return errno ? -errno : -EIO;
}

static int write_networks(FILE *out, const struct cidr *cidrs, size_t n)
{
	(void)fputc('"', out);
	write_group(out, FAMILY_INET, cidrs, n);
	write_group(out, FAMILY_INET6, cidrs, n);
	return write_end(out);
}

/* Whether the line ends behind p[0]: CR LF is a line end as well. */
static bool is_line_end(const char *p)
{
	return p[0] == '\0' || p[0] == '\n' || (p[0] == '\r' && p[1] == '\n');
}

/* A backslash or % at the end of a line would make a pair with the `\n` behind it, or protect the
 * closing quote: a blank follows it. */
static void write_escaped(FILE *out, const char *text)
{
	for (const char *p = text; *p; p++) {
		bool is_crlf = p[0] == '\r' && p[1] == '\n';
		if (*p == '\n') {
			(void)fputs("\\n", out);
		} else if (*p == '"') {
			(void)fputs("\\\"", out);
		} else if (!is_crlf) {
			(void)fputc(*p, out);
		}
		if ((*p == '\\' || *p == '%') && is_line_end(p + 1)) {
			(void)fputc(' ', out);
		}
	}
}

int cfgline_write_decoded(FILE *out, const char *tag, const char *text, const struct cidr *cidrs,
                          size_t n)
{
	(void)fprintf(out, "%s;\"", tag);
	write_escaped(out, text);
	return write_networks(out, cidrs, n);
}

int cfgline_write(FILE *out, const struct cfgline *line)
{
	write_span(out, line->tag);
	(void)fputc(';', out);
	if (line->is_clear) {
		return write_end(out);
	}
	(void)fputc('"', out);
	write_span(out, line->text);
	return write_networks(out, line->cidrs, line->n);
}
