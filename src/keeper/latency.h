/* A histogram of durations that one thread fills and any thread reads: four buckets an octave, so a
 * quantile is at most a quarter too high. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"

enum { LATENCY_BUCKETS = 160 }; /* up to 2^40 us */

struct latency {
	_Atomic uint64_t n[LATENCY_BUCKETS];
};

/* Owner thread only. */
void latency_add(struct latency *latency, int64_t ns);
/* Upper edge in milliseconds of the bucket that holds the quantile (0..1); 0 while empty. Any
 * thread; a moment's view. */
double latency_quantile_ms(const struct latency *latency, double quantile);
