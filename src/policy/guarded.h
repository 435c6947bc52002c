/* The greylist rules under two clocks. Records say what happened when by the wall clock; whether
 * they live goes by the guard's time (policy/clockguard.h), which stands still after a jump. Ahead
 * of the guard (a jump that nobody has confirmed), what lived lives on; behind it (a step back),
 * new records live longer by the difference. Pure. */
#pragma once

#include "policy/greylist.h"

struct guarded_now {
	struct wall wall;
	struct wall life;            /* the guard's */
	const struct wall *peers_at; /* when a peer saw the attempt, by its clock; NULL: ours */
};

/* greylist_attempt or, with the time that a peer tells, greylist_peer_attempt; `known` may hold
 * records that have expired by either clock. */
enum verdict guarded_attempt(const struct greylist_conf *conf, const struct guarded_now *now,
                             const struct greylist_known *known, struct grey_record *tuple,
                             struct grey_record *host);
