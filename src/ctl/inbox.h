/* What a control client has sent and nobody has taken yet: request lines, and the body that a line
 * announced. A body's memory grows as its bytes arrive, out of a budget that all clients share; the
 * announced length is not believed before INBOX_BODY_BELIEVED bytes have come. No I/O. Owner: the
 * server's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"
#include "mired/ctl.h"

enum {
	INBOX_BODY_FIRST = 64 << 10, /* bytes of a body's first piece of memory */
	/* From here on a body gets the rest at once, which is address space until its bytes come.
	 * Doubling on, with its copies, kept other clients waiting for 500 ms at 512 MiB. */
	INBOX_BODY_BELIEVED = 4 << 20,
	/* bytes of all bodies together: the largest one and a few small ones beside it */
	INBOX_BODIES_MAX = MIRED_CTL_LIST_MAX + (64 << 20),
};

struct inbox_budget {
	size_t left_bytes;
};

struct inbox {
	struct inbox_budget *budget;
	bool wants_body; /* bytes go to the body until it is complete */
	char *body;
	size_t body_len;
	size_t body_size; /* charged to the budget; one byte more is allocated, for a NUL */
	size_t body_want;
	size_t len; /* of text */
	char text[MIRED_CTL_REQUEST_MAX];
};

/* budget is borrowed until inbox_fini. */
void inbox_init(struct inbox *inbox, struct inbox_budget *budget);
void inbox_fini(struct inbox *inbox);

/* Where the next bytes go: n > 0. ERR_TOO_LONG: a line that does not end; -ENOMEM: no memory, or
 * the budget is used up. */
MUST_USE int inbox_room(struct inbox *inbox, char **room, size_t *n);
/* n bytes were put there. */
void inbox_put(struct inbox *inbox, size_t n);

/* The first complete line, without its LF; valid until it is dropped. */
bool inbox_line(const struct inbox *inbox, struct span *line);
void inbox_drop_line(struct inbox *inbox);
/* Forgets lines and body. */
void inbox_clear(struct inbox *inbox);

/* The line just dropped announced a body of len bytes. -ENOMEM. */
MUST_USE int inbox_expect(struct inbox *inbox, size_t len);
bool inbox_has_body(const struct inbox *inbox);
/* Takes the complete body out, with a NUL behind it: the caller's to free. */
char *inbox_take_body(struct inbox *inbox, size_t *len);
