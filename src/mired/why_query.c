/* Parser of what is asked about. */
#include "mired/why_query.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

enum { SHOWN_MAX = 80 }; /* of a wrong word */

/* Length of the word at the head: up to the `>` that ends it, or up to a blank. */
static size_t word_len(struct span text)
{
	bool is_bracketed = text.len > 0 && text.ptr[0] == '<';
	for (size_t i = 0; i < text.len; i++) {
		bool ends_here = i + 1 == text.len || text.ptr[i + 1] == ' ';
		if (is_bracketed ? ends_here && text.ptr[i] == '>' : text.ptr[i] == ' ') {
			return i + is_bracketed;
		}
	}
	return text.len;
}

static struct span take_word(struct span *text)
{
	*text = span_trim(*text);
	size_t len = word_len(*text);
	struct span word = span_of(text->ptr, len);
	*text = span_skip(*text, len);
	return word;
}

static int refuse(char why[static WHY_QUERY_ERROR_MAX], struct span word, const char *reason)
{
	char text[SHOWN_MAX];
	(void)snprintf(why, WHY_QUERY_ERROR_MAX, "%s%s", span_escape(word, text, sizeof text),
	               reason);
	return ERR_SYNTAX;
}

static int parse_address(struct span word, struct addr *out, char why[static WHY_QUERY_ERROR_MAX])
{
	if (word.len == 0) {
		return refuse(why, word, "why needs an IP address");
	}
	if (memchr(word.ptr, '/', word.len)) {
		return refuse(why, word, " is a network: ask for one address of it");
	}
	if (addr_parse(word, out) != 0) {
		return refuse(why, word, " is no IP address (names are not looked up)");
	}
	return 0;
}

int why_query_parse(struct span args, struct why_query *out, char why[static WHY_QUERY_ERROR_MAX])
{
	struct why_query query = {.has_mail = false};
	struct span rest = args;
	int ret = parse_address(take_word(&rest), &query.addr, why);
	if (ret != 0) {
		return ret;
	}
	query.sender = take_word(&rest);
	query.recipient = take_word(&rest);
	query.has_mail = query.sender.len > 0;
	if (query.has_mail && query.recipient.len == 0) {
		return refuse(why, query.sender, " is a sender without a recipient");
	}
	rest = span_trim(rest);
	if (rest.len > 0) {
		return refuse(why, rest, " is too much: put an address with blanks into <>");
	}
	*out = query;
	return 0;
}
