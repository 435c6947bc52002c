/* Parser of request lines. What came over the socket is checked byte by byte here, so that verbs'
 * handlers get plain text. */
#include "ctl/request.h"

#include <stdbool.h>
#include <string.h>

#include "base/err.h"

static bool is_verb_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static bool is_printable(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < 0x20 || text.ptr[i] >= 0x7f) {
			return false;
		}
	}
	return true;
}

static bool is_verb(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (!is_verb_byte(text.ptr[i])) {
			return false;
		}
	}
	return text.len > 0;
}

int request_parse(struct span line, struct request *out)
{
	struct span args;
	if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
		line.len--;
	}
	if (line.len >= MIRED_CTL_REQUEST_MAX) {
		return ERR_TOO_LONG;
	}
	if (!is_printable(line)) {
		return ERR_SYNTAX;
	}
	struct span verb = span_cut(span_trim(line), ' ', &args);
	if (!is_verb(verb)) {
		return ERR_SYNTAX;
	}
	if (verb.len >= REQUEST_VERB_MAX) {
		return ERR_TOO_LONG;
	}
	(void)span_to_str(verb, out->verb, sizeof out->verb);
	(void)span_to_str(span_trim(args), out->args, sizeof out->args);
	return 0;
}

int request_take_length(struct request *request, size_t max, size_t *len)
{
	char *blank = strrchr(request->args, ' ');
	char *word = blank ? blank + 1 : request->args;
	uint64_t value;
	int ret = span_to_u64(span_of_str(word), max, &value);
	if (ret != 0) {
		return ret;
	}
	*len = (size_t)value;
	*word = '\0';
	struct span left = span_trim(span_of_str(request->args));
	request->args[left.len] = '\0'; /* it begins with no blank */
	return 0;
}
