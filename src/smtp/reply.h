/* All texts mired says, in one table beside their codes, and the two renderers: the banner and the
 * multi-line reply made of list messages. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/span.h"

enum reply_id {
	REPLY_NONE,      /* nothing is said (body lines) */
	REPLY_BANNER,    /* 220 */
	REPLY_HELO,      /* 250 */
	REPLY_HELO_ARG,  /* 501 */
	REPLY_SENDER,    /* 250 */
	REPLY_RECIPIENT, /* 250 */
	REPLY_RESET,     /* 250 */
	REPLY_NOOP,      /* 250 2.0.0 */
	REPLY_DATA,      /* 354 */
	REPLY_UNKNOWN,   /* 500 5.5.1 */
	REPLY_BYE,       /* 221 host */
	REPLY_DEFER,     /* 451 Temporary failure, please try again later. */
	REPLY_LISTED,    /* 450 or 550, rendered per connection into its text */
	REPLY_COUNT
};

/* A list reply has room for the longest message that a list may have, and for many usual ones. */
enum { REPLY_TEXT_MAX = 512, REPLY_LISTED_MAX = 8000 };

/* Rendered replies, each with its CRLF. */
struct reply_set {
	uint8_t bytes[REPLY_COUNT][REPLY_TEXT_MAX];
	uint16_t len[REPLY_COUNT];
};

/* Renders every static reply. banner is the text after "220 ": %h host, %n name, %% percent.
 * ERR_SYNTAX for another escape or a control character, ERR_TOO_LONG. */
MUST_USE int reply_set_init(struct reply_set *set, const char *banner, const char *host,
                            const char *name);
struct span reply_text(const struct reply_set *set, enum reply_id id);

/* What a listed client is told: the messages of the lists that hold it (stored form, with the
 * escapes of spamd.md §8: %A \n \" \\ %% …), the code of the reply, its address. */
struct reply_lists {
	const struct span *messages;
	size_t n;
	unsigned code;
	const struct addr *addr;
};

/* Joins the messages into one multi-line reply "code-text CRLF … code text CRLF". Each starts a
 * line; its enclosing quotes and trailing line breaks are not sent; control characters but LF
 * become spaces. Without any text it is one line of our own. Returns the length; a reply longer
 * than size is cut at a line end (*is_cut, may be NULL), and the last line stays well-formed. size
 * >= 128. */
size_t reply_render_lists(const struct reply_lists *lists, uint8_t *out, size_t size, bool *is_cut);
