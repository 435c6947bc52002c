/* The keeper: the one thread that owns the write side. It drains the workers' requests, applies the
 * greylist rules, commits groups of changes and only then answers. Nothing it acknowledged is ever
 * lost. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/counters.h"
#include "base/mailbox.h"
#include "conf/conf.h"
#include "keeper/latency.h"
#include "store/cache.h"
#include "store/change.h"
#include "store/store.h"

struct events;

/* Names a connection of a worker; the generation tells a late answer from a fitting one. */
struct conn_ref {
	uint32_t slot;
	uint32_t generation;
};

enum keeper_request_kind {
	KEEPER_HOST,   /* what is this host? answered with KEEPER_ANSWER_HOST */
	KEEPER_TUPLE,  /* one RCPT; answered with KEEPER_ANSWER_STORED when it is on disk */
	KEEPER_SEEN,   /* a white host reached mired: re-assert it; not answered */
	KEEPER_CHANGE, /* a change from outside the dialogue (struct keeper_change instead of struct
	                * keeper_request); answered with KEEPER_ANSWER_CHANGED when it is on disk */
};

enum keeper_flag {
	KEEPER_IS_TRAP = 1,         /* the recipient is a spamtrap or in no allowed domain */
	KEEPER_IS_LOW_PRIORITY = 2, /* came by the low-priority MX: a host never seen is trapped */
};

/* Request in a worker's outgoing mailbox; the strings follow the struct in this order, no NULs. */
struct keeper_request {
	uint32_t kind;
	struct conn_ref conn;
	struct addr addr;  /* grouped */
	struct addr peer;  /* whole: traps go by it */
	struct mono begun; /* of a tuple: when it was said; 0 = not to be timed */
	uint16_t flags;    /* enum keeper_flag, of a tuple */
	uint16_t helo_len;
	uint16_t sender_len;
	uint16_t recipient_len;
	uint8_t strings[];
};

/* A change with its texts (helo, sender, recipient) behind it; the change's spans count for
 * nothing.
 */
struct keeper_change {
	uint32_t kind; /* KEEPER_CHANGE */
	struct change change;
	uint64_t cookie;
	uint16_t helo_len;
	uint16_t sender_len;
	uint16_t recipient_len;
	uint8_t strings[];
};

enum keeper_answer_kind { KEEPER_ANSWER_HOST, KEEPER_ANSWER_STORED, KEEPER_ANSWER_CHANGED };

struct keeper_answer {
	uint32_t kind;
	struct conn_ref conn;
	uint32_t host;   /* enum cache_kind: NONE, WHITE, TRAPPED: what the host is by now */
	uint64_t cookie; /* CHANGED */
	/* CHANGED: 0, or ERR_NOT_FOUND (deletes), ERR_BUSY (a peer's that changed nothing: stale,
	 * or of a host that is white, trapped or listed) */
	int32_t ret;
};

enum {
	KEEPER_MAILBOX_BYTES = 1 << 20,
	/* A worker has at most this many requests unanswered: answers that find its mailbox full
	 * (it takes a burst of them only if it is read) wait in the keeper. */
	KEEPER_IN_FLIGHT_MAX = 16384,
	KEEPER_ANSWER_BYTES = 1 << 20,
	KEEPER_LOW_PRIORITY_GRACE_MS = 60000, /* spamd(8) */
};

/* The two mailboxes between one worker and the keeper. */
struct keeper_port {
	struct mailbox *requests; /* worker writes */
	struct mailbox *answers;  /* keeper writes; the worker looks at each tick */
	int wake;                 /* eventfd written after answers, or -1: nobody sleeps for them */
};

/* Posts a change; false: no room now. The port's writer; call keeper_wake afterwards. */
MUST_USE bool keeper_post_change(struct keeper_port *port, const struct change *change,
                                 uint64_t cookie);

/* What the keeper tells the feeder in `reasserts`: this host is white and was seen here. */
struct keeper_reassert {
	struct addr addr; /* grouped */
};

struct keeper;
struct knowledge;

/* Borrows all pointers until keeper_stop. wake_feeder is an eventfd written after each commit. */
struct keeper_env {
	const struct conf *conf;
	struct store *store;
	struct cache *hosts;
	struct cache *tuples;
	/* what workers know, for the keeper to look at and to keep its part (traps) current; NULL:
	 * no lists, no traps */
	struct knowledge *knowledge;
	struct keeper_port *ports;
	uint32_t n_ports;
	int wake_feeder;
	int wake_syncer;      /* eventfd written when the journal has grown, or -1 */
	bool is_sync_sending; /* attempts that change nothing else are stored and journaled, for
	                         peers */
	/* addresses to assert again without a change of the store; keeper writes, feeder reads */
	struct mailbox *reasserts;
	/* -M traps nobody in this time after the start: it takes a while to learn who is known */
	uint32_t low_priority_grace_ms;
	/* where the keeper publishes the time by which records live (clockguard's, wall seconds);
	 * may be NULL */
	_Atomic int64_t *life_now_secs;
	/* where it says when it made the oldest commit that the feeder has not taken up (struct
	 * mono's ns, 0 = none); may be NULL */
	_Atomic int64_t *committed_ns;
	/* what happened to whom, for those who ask; the keeper adds. Attempts have a ring of their
	 * own, so that a flood of them leaves the rest. NULL: nobody asks */
	struct events *attempts;
	struct events *turns; /* of a host's fate */
};

MUST_USE int keeper_start(struct keeper **out, const struct keeper_env *env);
/* Drains what is there, commits, ends the thread. */
void keeper_stop(struct keeper *keeper);
/* Any worker: call once after a batch of mailbox_post. Cheap when the keeper is awake. */
void keeper_wake(struct keeper *keeper);
void keeper_clock_ok(struct keeper *keeper);

struct keeper_figures {
	bool is_degraded;
	bool is_clock_paused;
	bool is_failed; /* only a new process can mend the store */
	double commit_p50_ms, commit_p99_ms;
	struct latency_figures commit;  /* of each that wrote */
	struct latency_figures durable; /* from RCPT until its tuple or trap was on disk */
	uint32_t n_waiting;             /* requests and changes that wait for a commit */
};
void keeper_figures_get(struct keeper *keeper, struct keeper_figures *out);
const struct counters *keeper_counters(const struct keeper *keeper);
