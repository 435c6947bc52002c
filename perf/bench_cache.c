/* What a look-up in the cache costs, with one reader, two readers, and beside a writer. The
 * baseline is a random read of one cache line in memory of the same size, in large pages like the
 * cache: a look-up cannot be cheaper than that.
 *
 * usage: bench_cache [SLOTS] */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "base/span.h"
#include "store/cache.h"

enum { N_LOOKUPS = 4000000, LARGE_PAGE = 1 << 21 };

struct bench {
	struct cache *cache;
	uint32_t n_keys;
	uint32_t first; /* keys from here on are asked for */
	double ns;      /* result, per look-up */
	_Atomic bool is_over;
};

static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

static double ns_each(struct mono since, uint32_t n)
{
	return (double)(clock_mono().ns - since.ns) / n;
}

static struct cache_key key_of(uint32_t n)
{
	struct cache_key key = {{0}};
	memcpy(key.bytes + 12, &n, sizeof n);
	return key;
}

static void put(struct cache *cache, uint32_t n)
{
	struct cache_key key = key_of(n);
	struct cache_entry entry = {.kind = CACHE_GREY, .is_committed = true, .expire_secs = n};
	(void)cache_put(cache, &key, &entry, NULL, NULL);
}

static void *look_up(void *arg)
{
	struct bench *bench = arg;
	uint32_t x = 2463534242U;
	struct cache_entry entry;
	ASSERT(bench->n_keys > 0);
	struct mono since = clock_mono();
	for (uint32_t i = 0; i < N_LOOKUPS; i++) {
		struct cache_key key = key_of(bench->first + next_random(&x) % bench->n_keys);
		(void)cache_get(bench->cache, &key, &entry);
	}
	bench->ns = ns_each(since, N_LOOKUPS);
	return NULL;
}

static void *keep_writing(void *arg)
{
	struct bench *bench = arg;
	uint32_t x = 88172645U;
	while (!atomic_load_explicit(&bench->is_over, memory_order_relaxed)) {
		put(bench->cache, next_random(&x) % bench->n_keys);
	}
	return NULL;
}

static double bench_baseline(size_t n_lines)
{
	ASSERT(n_lines > 0);
	size_t n_bytes = (n_lines * 64 + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
	uint64_t *lines = aligned_alloc(LARGE_PAGE, n_bytes);
	uint32_t x = 2463534242U;
	uint64_t sum = 0;
	if (!lines) {
		exit(1);
	}
	(void)madvise(lines, n_bytes, MADV_HUGEPAGE);
	for (size_t i = 0; i < n_lines; i++) {
		lines[i * 8] = i;
	}
	struct mono since = clock_mono();
	for (uint32_t i = 0; i < N_LOOKUPS; i++) {
		sum += lines[(next_random(&x) + (sum & 1)) % n_lines * 8]; /* one after the other */
	}
	double ns = ns_each(since, N_LOOKUPS);
	free(lines);
	printf("baseline: random read of a line: %.0f ns (%llx)\n", ns,
	       (unsigned long long)sum & 1);
	return ns;
}

/* Look-ups of keys from `first` on, beside another thread (or NULL). */
static void measure(struct bench *bench, const char *what, void *(*beside)(void *), double baseline)
{
	struct bench other = {.cache = bench->cache, .n_keys = bench->n_keys};
	pthread_t thread;
	if (beside && pthread_create(&thread, NULL, beside, &other)) {
		exit(1);
	}
	(void)look_up(bench);
	atomic_store_explicit(&other.is_over, true, memory_order_relaxed);
	if (beside) {
		(void)pthread_join(thread, NULL);
	}
	printf("%-22s %.0f ns, %.1f x baseline\n", what, bench->ns, bench->ns / baseline);
}

int main(int argc, char **argv)
{
	struct utsname un;
	uint64_t n_slots = 1 << 20;
	if (uname(&un) ||
	    (argc > 1 && span_to_u64(span_of_str(argv[1]), UINT32_MAX / 4, &n_slots))) {
		(void)fprintf(stderr, "usage: bench_cache [SLOTS]\n");
		return 2;
	}
	struct bench bench = {.cache = cache_new((uint32_t)n_slots),
	                      .n_keys = (uint32_t)(n_slots / 2)};
	if (!bench.cache) {
		return 1;
	}
	printf("bench_cache, %s %s, %llu slots, half full\n", un.release, un.machine,
	       (unsigned long long)n_slots);
	double baseline = bench_baseline(n_slots);
	struct mono since = clock_mono();
	for (uint32_t n = 0; n < bench.n_keys; n++) {
		put(bench.cache, n);
	}
	printf("%-22s %.0f ns\n", "insert", ns_each(since, bench.n_keys));
	printf("entries %llu, evicted %llu\n", (unsigned long long)cache_used(bench.cache),
	       (unsigned long long)cache_evicted(bench.cache));
	measure(&bench, "hit", NULL, baseline);
	measure(&bench, "hit, 2 readers", look_up, baseline);
	measure(&bench, "hit, beside a writer", keep_writing, baseline);
	bench.first = bench.n_keys;
	measure(&bench, "miss", NULL, baseline);
	cache_free(bench.cache);
	return 0;
}
