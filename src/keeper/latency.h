/* A histogram of durations that one thread fills and any thread reads: four buckets an octave, so a
 * quantile is at most a quarter too high; and a few round buckets, as metrics want them. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum {
	LATENCY_BUCKETS = 160, /* up to 2^40 us */
	LATENCY_EDGES = 13,
};

struct latency {
	_Atomic uint64_t n[LATENCY_BUCKETS];
	_Atomic uint64_t n_round[LATENCY_EDGES + 1];
	_Atomic uint64_t sum_us;
};

/* A moment's view of the round buckets. */
struct latency_figures {
	uint64_t n_within[LATENCY_EDGES]; /* not longer than the edge */
	uint64_t n;
	double sum_secs;
};

/* Owner thread only. */
void latency_add(struct latency *latency, int64_t ns);
/* Upper edge in milliseconds of the bucket that holds the quantile (0..1); 0 while empty. Any
 * thread; a moment's view. */
double latency_quantile_ms(const struct latency *latency, double quantile);
/* Any thread. */
void latency_figures_get(const struct latency *latency, struct latency_figures *out);
/* Upper edge of a round bucket, 0.5 ms to 10 s. */
double latency_edge_secs(size_t edge);
