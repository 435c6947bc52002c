/* Keeps expiry honest when the wall clock jumps. Pure: both clocks are handed in.
 *
 * A forward jump of more than CLOCKGUARD_JUMP_SECS against monotonic time pauses expiry until the
 * jump is confirmed (the kernel reports a synchronised clock, or the administrator says so); a
 * backward step revives and expires nothing: the guard's time never goes back. One owner thread. */
#pragma once

#include <stdbool.h>

#include "base/clock.h"

enum { CLOCKGUARD_JUMP_SECS = 3600 };

struct clockguard {
	struct wall expiry_now; /* the time by which records live and die; never decreases */
	struct wall last_wall;
	struct mono last_mono;
	bool is_paused; /* a forward jump waits for confirmation */
};

/* newest_stored is the time of the newest journal entry, 0 secs if there is none: a wall clock more
 * than CLOCKGUARD_JUMP_SECS ahead of it counts as a jump (a long stop cannot be told from one), a
 * clock behind it is a backward step. */
void clockguard_init(struct clockguard *guard, struct wall wall, struct mono mono,
                     struct wall newest_stored);
/* Once a loop turn. Returns true when this call noticed a jump (either way). `is_synchronised` is
 * the kernel's word (adjtimex), asked only while paused. */
bool clockguard_turn(struct clockguard *guard, struct wall wall, struct mono mono,
                     bool is_synchronised);
/* The administrator's word that the wall clock is right. */
void clockguard_confirm(struct clockguard *guard, struct wall wall);
