/* Buckets by the position of the highest bit of the microseconds and the two bits below it. */
#include "keeper/latency.h"

enum { SUB_BITS = 2, SUB_COUNT = 1 << SUB_BITS };

#define US_MAX   ((UINT64_C(1) << 40) - 1)
#define US_NS    1000
#define MS_IN_US 1000.0

static unsigned bucket_of(uint64_t us)
{
	if (us < SUB_COUNT) {
		return (unsigned)us;
	}
	unsigned top = 63U - (unsigned)__builtin_clzll(us);
	unsigned sub = (unsigned)(us >> (top - SUB_BITS)) & (SUB_COUNT - 1);
	return (top - SUB_BITS + 1) * SUB_COUNT + sub;
}

static double upper_edge_us(unsigned bucket)
{
	if (bucket < SUB_COUNT) {
		return bucket + 1.0;
	}
	unsigned shift = bucket / SUB_COUNT - 1;
	return (double)((uint64_t)(SUB_COUNT + bucket % SUB_COUNT + 1) << shift);
}

void latency_add(struct latency *latency, int64_t ns)
{
	uint64_t us = ns > 0 ? (uint64_t)ns / US_NS : 0;
	_Atomic uint64_t *n = &latency->n[bucket_of(us < US_MAX ? us : US_MAX)];
	/* relaxed: one writer, figures only */
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
	                      memory_order_relaxed);
}

double latency_quantile_ms(const struct latency *latency, double quantile)
{
	uint64_t counts[LATENCY_BUCKETS];
	uint64_t total = 0;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		counts[i] = atomic_load_explicit(&latency->n[i], memory_order_relaxed);
		total += counts[i];
	}
	uint64_t below = 0;
	for (unsigned i = 0; i < LATENCY_BUCKETS && total > 0; i++) {
		below += counts[i];
		if ((double)below >= quantile * (double)total && below > 0) {
			return upper_edge_us(i) / MS_IN_US;
		}
	}
	return 0;
}
