/* How long a stuttered byte takes while bytes are scarce. Bytes per second are what a machine runs
 * out of first: beyond them ticks would slip for everybody. So the stutter of all listed clients is
 * stretched evenly as far as the budget asks for, and that of greylisted ones only when listed ones
 * at their slowest do not make room enough.
 *
 * The budget holds as long as the machine carries it. When a worker's turns come late although the
 * budget is kept, what was sent meanwhile is taken for what the machine carries; that is forgotten
 * again slowly. Pure: one budget a worker, its owner counts and brings the clock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "smtp/session.h"

enum {
	BUDGET_WINDOW_MS = 500,
	BUDGET_STUTTER_MAX_MS = 60000, /* a byte at least so often, whatever the budget says */
	BUDGET_AUTO_PER_CORE = 100000, /* two thirds of what a core was measured to send */
};

struct budget {
	double bytes_per_sec; /* as configured, this worker's part */
	uint32_t stutter_ms;  /* as configured; 0: there is nothing to stretch */
	uint32_t tick_ms;
	/* outcome */
	double carried_per_sec; /* of bytes_per_sec, what the machine carries at present */
	double sent_per_sec;    /* in the last window */
	double shown_per_sec;   /* the same over some windows, for people */
	uint32_t interval_ms[SESSION_PACE_COUNT]; /* of each kind, stutter_ms or more */
	bool is_stretching; /* begins at a tenth more, ends when that is over for a while */
	/* How late bytes are, at most, since a turn was not late, or since what was due then is
	 * served: session_conf's. */
	uint32_t lag_ms;
	/* the window under way */
	struct mono began;
	uint64_t sent_before;
	int64_t late_ns; /* of n_turns together */
	uint32_t n_turns;
	struct mono lagged; /* when lag_ms was seen */
	/* between windows */
	uint32_t n_late_windows;  /* in a row */
	struct mono patient_till; /* until then the last cut has not shown what it does */
	struct mono stretched;    /* last seen so */
};

void budget_init(struct budget *budget, double bytes_per_sec, uint32_t stutter_ms, uint32_t tick_ms,
                 struct mono now);
/* Other settings. What is stretched stays so many times the stutter until the next window. */
void budget_set(struct budget *budget, double bytes_per_sec, uint32_t stutter_ms);
/* A turn begins whose first tick has been due for late_ns; below 0 none is due yet. */
void budget_late(struct budget *budget, int64_t late_ns, struct mono now);
/* What a window has seen; budget_is_over says when one is. n_saying: connections that stutter at
 * present, by kind; n_sent: stuttered bytes so far. */
bool budget_is_over(const struct budget *budget, struct mono now);
void budget_update(struct budget *budget, const uint32_t n_saying[static SESSION_PACE_COUNT],
                   uint64_t n_sent, struct mono now);
