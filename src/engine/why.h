/* What is known of an address, and what would become of it now: judged by the code that judges
 * clients (engine/arrival.h, policy/guarded.h), over what is stored at this moment. For
 * `miredctl why`. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/span.h"
#include "keeper/events.h"
#include "policy/greylist.h"
#include "smtp/reply.h"
#include "smtp/session.h"
#include "store/record.h"

struct engine;

enum {
	WHY_TUPLES_MAX = 32, /* told one by one, and so many more that are asked for */
	WHY_EVENTS_MAX = 20,
	WHY_SLICES_MAX = 100, /* of a thousand rows: tuples beyond them are not looked at */
};

struct why_query {
	struct addr addr;
	bool has_mail;
	struct span sender; /* with or without <>, as clients write it */
	struct span recipient;
};

struct why_tuple {
	const struct tuple_text *text;
	struct grey_record record; /* it may have ended, and wait to be deleted */
	enum verdict verdict;      /* of a retry now */
	struct wall passes_at;     /* the first second in which a retry qualifies */
	bool is_asked;             /* of the query's sender and recipient */
};

/* Who is told one thing after the other: lists, then (the host and its class being known by then)
 * tuples, then events. What is handed over is the engine's and lasts for the call. */
struct why_sink {
	void *ctx;
	void (*list)(void *ctx, struct span tag); /* in load order */
	void (*tuple)(void *ctx, const struct why_tuple *tuple);
	void (*event)(void *ctx, const struct event *event); /* newest first */
};

struct why {
	struct wall now;
	bool is_clock_paused;
	struct addr group; /* by which tuples and white go */
	bool has_white;    /* registers as stored; they may have ended */
	bool has_trapped;
	bool is_white; /* live, and the host is what it says */
	bool is_trapped;
	struct grey_record white;
	struct grey_record trapped;
	enum session_class cls; /* of a connection that reaches mired now */
	uint32_t n_tuples;      /* in a flood some of them may be counted twice */
	uint32_t n_asked;
	bool is_cut; /* there are tuples that were not looked at */
	/* of the query's mail, or of one never seen: what an attempt now comes to, when one
	 * qualifies, and when it is too late (from this second on it begins anew) */
	enum verdict verdict;
	struct wall passes_at;
	struct wall passes_until;
	bool is_spamtrap;       /* the query's recipient */
	bool is_foreign_domain; /* it is in no allowed domain */
	size_t reply_len; /* what a listed or trapped client is told in the end; 0: it is none */
	uint8_t reply[REPLY_LISTED_MAX];
};

/* The caller's one thread, which is no registered reader (base/qsbr.h). Some ms; for an address
 * with 100,000 tuples, and while a million of a flood's wait for their places, 0.1 s. A negative
 * code: the store cannot be read. */
MUST_USE int engine_why(struct engine *engine, const struct why_query *query,
                        const struct why_sink *sink, struct why *out);
