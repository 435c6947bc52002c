/* How long it takes from a commit until the kernel has what it decided. Groups of changes are under
 * way at a time and are done in order; each is as old as its oldest change. Pure; owner: the
 * feeder's thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "keeper/latency.h"

/* Groups; beyond these a group is counted with the one before it, and as that old. */
enum { STOPWATCH_MARKS = 64 };

struct stopwatch {
	struct {
		uint64_t seq;
		struct mono since;
	} marks[STOPWATCH_MARKS]; /* ring, oldest first */
	size_t head;
	size_t n;
};

/* A group that ends with change `seq` has been sent; its oldest change was committed at `since`. */
void stopwatch_start(struct stopwatch *stopwatch, uint64_t seq, struct mono since);
/* All up to `seq` are in the kernel. */
void stopwatch_done(struct stopwatch *stopwatch, uint64_t seq, struct mono now,
                    struct latency *out);
/* What was under way is lost. */
void stopwatch_clear(struct stopwatch *stopwatch);
