/* The inside of the feeder, shared by its files: feeder.c (thread and channel), feeder_send.c (what
 * goes to the role). What has no _Atomic and is not under the lock belongs to the feeder's thread.
 */
#pragma once

#include <pthread.h>

#include "base/clock.h"
#include "keeper/feeder.h"
#include "keeper/stopwatch.h"

enum {
	FEEDER_CHANGES_MAX = 512, /* journal rows read in one go */
	FEEDER_RETRY_MS = 1000,   /* after the store could not be read */
};

struct feeder {
	struct counters counters;
	struct feeder_env env;
	pthread_t thread;
	int control; /* eventfd: must_stop or next_channel changed */
	_Atomic bool must_stop;
	pthread_mutex_t lock; /* the fields below up to the gap; nothing else is taken under it */
	int next_channel;     /* -1 = none */
	bool has_next_ranges;
	struct addr_range *next_ranges;
	size_t n_next_ranges;
	struct feeder_figures figures;

	struct store_reader *reader;
	int channel; /* -1 = no role */
	bool must_fill;
	/* the journal's number when it was wanted, or of what the kernel had then: a decision made
	 * since must not wait for its place in the copy */
	uint64_t fill_from;
	struct store_walk *walk; /* of the copy that is being sent; NULL = none is */
	bool has_copy;           /* a complete copy was sent since the role asked for one */
	bool has_done;           /* and it has answered since */
	struct mono fill_at;
	uint64_t cursor; /* the journal is sent up to here */
	uint64_t n_sent; /* messages that will be answered by MSG_DONE carry this seq at most */
	uint64_t n_done; /* seq of the last MSG_DONE */
	struct stopwatch stopwatch;
	struct latency delay; /* any thread may read it */
	struct msg out;       /* being gathered */
	struct msg in;
	struct journal_change changes[FEEDER_CHANGES_MAX];
	/* of the `spamd` sets; a role keeps them when its table is lost */
	bool has_ranges;
	bool must_send_ranges;
	struct addr_range *ranges;
	size_t n_ranges;
};

/* --- feeder.c --------------------------------------------------------------------------------- */

bool feeder_must_stop(const struct feeder *feeder);
/* Sends feeder->out, waiting until the channel takes it. -ECANCELED: a stop or a new channel comes
 * first. */
int feeder_wait_send(struct feeder *feeder);
/* Nothing is known of the kernel's sets until a copy has arrived there. */
void feeder_want_fill(struct feeder *feeder, int64_t wait_ms);

/* --- feeder_send.c ---------------------------------------------------------------------------- */

/* One turn's messages: a slice of a copy, and all changes there are. A code of the channel or of
 * the store. */
int feeder_send_all(struct feeder *feeder);
/* Forgets the copy that is being sent. */
void feeder_end_fill(struct feeder *feeder);
/* Without a role they are worth nothing: a new one gets a complete copy. */
void feeder_forget_reasserts(struct feeder *feeder);
