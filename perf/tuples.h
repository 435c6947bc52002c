/* What the programs of perf/tuples agree on: the store's shape, and which tuples there are. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "store/store.h"

enum { TUPLES_JOURNAL_MAX = 1000000, TUPLES_TURN = 1 << 24, TUPLES_STORED_DAYS = 10 };

/* New tuples are numbered; where those of a measurement begin. */
enum { TUPLES_OF_RATE = 100000000, TUPLES_OF_LOOP = 200000000 };

#define TUPLES_MAP_BYTES (UINT64_C(64) << 30)

struct tuples_text {
	char bytes[128];
	size_t len;
	struct tuple_text spans;
};

/* 90 bytes in three texts. */
static inline void tuples_text_of(struct tuples_text *text, uint32_t n)
{
	text->len = (size_t)snprintf(
	        text->bytes, sizeof text->bytes,
	        "mail%08u.example.org<sender-%08u@example.com><recipient-%08u@example.net>", n, n,
	        n);
	text->spans = (struct tuple_text){span_of(text->bytes, 24), span_of(text->bytes + 24, 29),
	                                  span_of(text->bytes + 53, text->len - 53)};
}

/* Filled ones lie evenly in the even addresses, new ones at random in the odd ones. */
static inline struct addr tuples_stored_addr(uint32_t n, uint64_t n_stored)
{
	uint64_t step = UINT32_MAX / 2 / n_stored;
	return addr_from_v4_be(__builtin_bswap32((uint32_t)(n * step * 2)));
}

/* Four tuples a host. */
static inline struct addr tuples_new_addr(uint32_t n)
{
	return addr_from_v4_be(__builtin_bswap32(n / 4 * UINT32_C(2654435761) | 1U));
}

/* When the first filled tuple ends: after the benchmark. Whole days, so that programs agree. */
static inline struct wall tuples_first_end(void)
{
	int64_t day_secs = 86400;
	return (struct wall){(clock_wall().secs / day_secs + TUPLES_STORED_DAYS) * day_secs};
}

static inline struct store *tuples_open_store(const char *dir)
{
	char why[STORE_WHY_MAX];
	struct store *store = NULL;
	struct store_conf conf = {.dir = dir,
	                          .map_bytes = TUPLES_MAP_BYTES,
	                          .journal_max = TUPLES_JOURNAL_MAX,
	                          .readers_max = 16,
	                          .create = true};
	if (store_open(&store, &conf, why) != 0) {
		(void)fprintf(stderr, "%s\n", why);
		exit(1);
	}
	return store;
}
