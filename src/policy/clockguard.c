/* Rules of the guard, in the order of the code:
 *
 *   1. The wall clock is compared with what monotonic time says it should be. More than
 *      CLOCKGUARD_JUMP_SECS ahead: expiry_now stands still until somebody confirms. Behind by more
 *      than rounding: noticed; expiry_now waits until the clock has caught up.
 *   2. While paused: the kernel's word that the clock is synchronised ends the pause; so does a
 *      step back that undoes the jump.
 *   3. Not paused: expiry_now follows the wall clock, but never back.
 */
#include "policy/clockguard.h"

/* Whole seconds of two clocks differ by one through rounding; a slewed clock by less a turn. */
enum { BACK_STEP_SECS = 2 };

static int64_t ahead_secs(struct wall a, struct wall b)
{
	return a.secs - b.secs;
}

static void follow(struct clockguard *guard, struct wall wall)
{
	if (ahead_secs(wall, guard->expiry_now) > 0) {
		guard->expiry_now = wall;
	}
}

void clockguard_init(struct clockguard *guard, struct wall wall, struct mono mono,
                     struct wall newest_stored)
{
	bool has_newest = newest_stored.secs != 0;
	*guard = (struct clockguard){
	        .expiry_now = has_newest ? newest_stored : wall,
	        .last_wall = wall,
	        .last_mono = mono,
	};
	guard->is_paused = ahead_secs(wall, guard->expiry_now) > CLOCKGUARD_JUMP_SECS;
	if (!guard->is_paused) {
		follow(guard, wall);
	}
}

bool clockguard_turn(struct clockguard *guard, struct wall wall, struct mono mono,
                     bool is_synchronised)
{
	int64_t elapsed_secs = (mono.ns - guard->last_mono.ns) / NS_PER_SEC;
	int64_t drift_secs = ahead_secs(wall, guard->last_wall) - elapsed_secs;
	bool was_paused = guard->is_paused;
	bool is_forward = drift_secs > CLOCKGUARD_JUMP_SECS;
	bool is_backward = drift_secs < -BACK_STEP_SECS;
	guard->last_wall = wall;
	guard->last_mono = mono;
	guard->is_paused = was_paused || is_forward;
	bool is_undone = is_backward && ahead_secs(wall, guard->expiry_now) <= CLOCKGUARD_JUMP_SECS;
	if (was_paused && !is_forward && (is_synchronised || is_undone)) {
		guard->is_paused = false;
	}
	if (!guard->is_paused) {
		follow(guard, wall);
	}
	return is_forward || is_backward;
}

void clockguard_confirm(struct clockguard *guard, struct wall wall)
{
	guard->is_paused = false;
	follow(guard, wall);
}
