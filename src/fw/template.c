/* Works line by line: a line is written to the result as it is filled, and taken back when it turns
 * out to be one that is left out. */
#include "fw/template.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

struct output {
	char *bytes; /* TEMPLATE_OUT_MAX + 1 */
	size_t len;
	int ret;
};

static void append(struct output *output, const void *bytes, size_t len)
{
	if (output->ret == 0 && len > TEMPLATE_OUT_MAX - output->len) {
		output->ret = ERR_TOO_LONG;
	}
	if (output->ret == 0) {
		memcpy(output->bytes + output->len, bytes, len);
		output->len += len;
	}
}

static bool is_name_byte(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The name of a placeholder at the start of text ("@NAME@..."), empty if there is none. nft's own
 * set references (@spamd-white) have small letters. */
static struct span placeholder_at(struct span text)
{
	size_t len = 1;
	while (len < text.len && is_name_byte(text.ptr[len])) {
		len++;
	}
	bool is_whole = len > 1 && len < text.len && text.ptr[len] == '@';
	return span_of(text.ptr + 1, is_whole ? len - 1 : 0);
}

static const char *value_of(const struct template_values *values, struct span name)
{
	for (size_t i = 0; i < values->n; i++) {
		if (span_equal(span_of_str(values->values[i].name), name)) {
			return values->values[i].text;
		}
	}
	return NULL;
}

/* 1 = written, 0 = to be left out, ERR_NOT_FOUND with *unknown. */
static int fill_code(struct output *output, struct span code, const struct template_values *values,
                     struct span *unknown)
{
	while (code.len > 0) {
		const uint8_t *at = memchr(code.ptr, '@', code.len);
		size_t plain = at ? (size_t)(at - code.ptr) : code.len;
		append(output, code.ptr, plain);
		code = span_skip(code, plain);
		if (code.len == 0) {
			break;
		}
		struct span name = placeholder_at(code);
		if (name.len == 0) {
			append(output, "@", 1);
			code = span_skip(code, 1);
			continue;
		}
		const char *value = value_of(values, name);
		if (!value) {
			*unknown = name;
			return ERR_NOT_FOUND;
		}
		if (value[0] == '\0') {
			return 0;
		}
		append(output, value, strlen(value));
		code = span_skip(code, name.len + 2);
	}
	return 1;
}

static int fill_lines(struct output *output, struct span text, const struct template_values *values,
                      struct template_fault *fault)
{
	for (unsigned line_no = 1; text.len > 0; line_no++) {
		struct span comment;
		struct span unknown;
		struct span line = span_cut(text, '\n', &text);
		struct span code = span_cut(line, '#', &comment);
		size_t line_at = output->len;
		int ret = fill_code(output, code, values, &unknown);
		if (ret < 0) {
			fault->line_no = line_no;
			(void)span_to_str(unknown, fault->name, sizeof fault->name);
			return ret;
		}
		if (ret == 0) {
			output->len = line_at;
		} else {
			append(output, line.ptr + code.len, line.len - code.len);
		}
		append(output, "\n", 1);
	}
	return output->ret;
}

int template_fill(struct span text, const struct template_values *values, char **out,
                  struct template_fault *fault)
{
	struct output output = {.bytes = malloc(TEMPLATE_OUT_MAX + 1)};
	if (!output.bytes) {
		return -ENOMEM;
	}
	int ret = fill_lines(&output, text, values, fault);
	if (ret) {
		free(output.bytes);
		return ret;
	}
	output.bytes[output.len] = '\0';
	char *exact = realloc(output.bytes, output.len + 1);
	*out = exact ? exact : output.bytes;
	return 0;
}
