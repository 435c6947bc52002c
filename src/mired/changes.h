/* Changes asked for over the control socket: a request's lines are handed to the keeper one by one,
 * as many as it takes at a time, and answered together when the last one is on disk. Knows neither
 * the engine nor the control server. Owner: one thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "store/change.h"

enum {
	/* Requests under way. Fewer than control clients, so that there is always one place left
	 * for who asks how the daemon is doing, however long the store is out. */
	CHANGES_REQUESTS_MAX = 32,
	CHANGES_LINES_A_TURN = 256, /* of one request */
	CHANGES_COOKIE_SEEN = 1,    /* of changes whose outcome nobody waits for */
};

struct changes;

/* Like engine_change: 0, or -EAGAIN when no more can be under way now. */
typedef int changes_post(void *ctx, const struct change *change, uint64_t cookie);

/* NULL: no memory. ctx is borrowed. */
struct changes *changes_new(changes_post *post, void *ctx);
void changes_free(struct changes *changes);

/* A request's lines; text is taken when it returns 0. ERR_TOO_LONG: more than MIRED_CTL_CHANGES_MAX
 * lines; ERR_BUSY: CHANGES_REQUESTS_MAX are under way; -ENOMEM. */
MUST_USE int changes_submit(struct changes *changes, char *text, size_t len, uint64_t ticket);

struct changes_turn {
	bool has_posted; /* the keeper is to be woken */
	bool has_more;   /* another turn can go on at once */
};
/* Hands on what there is room for. */
struct changes_turn changes_turn(struct changes *changes);
/* The outcome of a posted change: 0 or ERR_*. Unknown cookies are ignored. */
void changes_result(struct changes *changes, uint64_t cookie, int ret);
/* The answer of a request that is through; the caller's. False: none. */
bool changes_next_answer(struct changes *changes, uint64_t *ticket, json_t **answer);

/* What a report of seen hosts came to. */
struct changes_seen {
	unsigned n_posted;
	uint64_t n_passed;        /* connections that the lines tell of, but for outbound ones */
	unsigned n_dropped;       /* the keeper had no room */
	unsigned n_refused;       /* lines that are none */
	char why[CHANGE_WHY_MAX]; /* of the first refused line */
};
/* Posts lines `in|out ADDRESS COUNT LIFE`, each as the change `seen …`; nobody waits for them. */
void changes_post_seen(struct changes *changes, struct span text, struct changes_seen *out);
