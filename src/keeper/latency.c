/* Fine buckets by the position of the highest bit of the microseconds and the two bits below it;
 * round ones by a table. */
#include "keeper/latency.h"

#include <assert.h>

enum { SUB_BITS = 2, SUB_COUNT = 1 << SUB_BITS };

#define US_MAX    ((UINT64_C(1) << 40) - 1)
#define US_NS     1000
#define MS_IN_US  1000.0
#define SEC_IN_US 1e6

/* From a commit to memory to one that hangs for store-wait. */
static const uint32_t edges_us[] = {500,    1000,   2500,   5000,    10000,   25000,   50000,
                                    100000, 250000, 500000, 1000000, 2500000, 10000000};
static_assert(ARRAY_LEN(edges_us) == LATENCY_EDGES, "each round bucket has its edge");

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

static unsigned round_bucket_of(uint64_t us)
{
	unsigned i = 0;
	while (i < LATENCY_EDGES && us > edges_us[i]) {
		i++;
	}
	return i;
}

/* relaxed: one writer, figures only */
static void add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n,
	                      memory_order_relaxed);
}

void latency_add(struct latency *latency, int64_t ns)
{
	uint64_t us = ns > 0 ? (uint64_t)ns / US_NS : 0;
	us = us < US_MAX ? us : US_MAX;
	add(&latency->n[bucket_of(us)], 1);
	add(&latency->n_round[round_bucket_of(us)], 1);
	add(&latency->sum_us, us);
}

double latency_edge_secs(size_t edge)
{
	return edges_us[edge] / SEC_IN_US;
}

void latency_figures_get(const struct latency *latency, struct latency_figures *out)
{
	*out = (struct latency_figures){.n = 0};
	for (size_t i = 0; i <= LATENCY_EDGES; i++) {
		out->n += atomic_load_explicit(&latency->n_round[i], memory_order_relaxed);
		if (i < LATENCY_EDGES) {
			out->n_within[i] = out->n;
		}
	}
	out->sum_secs =
	        (double)atomic_load_explicit(&latency->sum_us, memory_order_relaxed) / SEC_IN_US;
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
