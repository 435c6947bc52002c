/* Parser of request lines. What came over the socket is checked byte by byte here, so that verbs'
 * handlers get plain text. */
#include "ctl/request.h"

#include <stdbool.h>

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
