/* Keeps committing to a store that no daemon has open, as a busy one would, a number of times a
 * second; says how many commits there were. usage: commitload DIRECTORY SECONDS COMMITS-PER-SECOND
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/err.h"
#include "store/store.h"

enum { ROWS_PER_COMMIT = 10, N_HOSTS = 10000, SECS_MAX = 3600, RATE_MAX = 10000 };

static const uint32_t first_host = 0xac100000; /* 172.16.0.0 */
static const int64_t load_life_secs = INT64_C(36) * 86400;

/* Renews some hosts: a refresh moves an expiry row and adds one to the journal. */
static int commit_one(struct store *store, uint64_t n)
{
	struct wall now = clock_wall();
	struct store_txn txn;
	store_begin(store, &txn, now);
	for (uint64_t i = 0; i < ROWS_PER_COMMIT; i++) {
		uint32_t host = first_host + (uint32_t)((n * ROWS_PER_COMMIT + i) * 7919 % N_HOSTS);
		struct addr addr = addr_from_v4_be(__builtin_bswap32(host));
		struct grey_record record = {
		        .first = now,
		        .pass = now,
		        .expire = {now.secs + load_life_secs + (int64_t)(n % 100)},
		        .changed_at = now,
		        .bcount = 1};
		store_put_host(&txn, &addr, RECORD_WHITE, &record);
	}
	return store_commit(&txn);
}

static void sleep_until(struct mono at)
{
	struct timespec ts = {at.ns / NS_PER_SEC, at.ns % NS_PER_SEC};
	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static int commit_all(struct store *store, long secs, long rate, uint64_t *n)
{
	struct mono start = clock_mono();
	struct mono end = mono_add_ms(start, secs * MS_PER_SEC);
	int ret = 0;
	while (ret == 0 && clock_mono().ns < end.ns) {
		ret = commit_one(store, *n);
		++*n;
		sleep_until((struct mono){start.ns + (int64_t)*n * NS_PER_SEC / rate});
	}
	return ret;
}

int main(int argc, char **argv)
{
	long secs = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
	long rate = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
	if (secs < 1 || secs > SECS_MAX || rate < 1 || rate > RATE_MAX) {
		(void)fprintf(stderr, "usage: commitload DIRECTORY SECONDS COMMITS-PER-SECOND\n");
		return 2;
	}
	struct store_conf conf = {.dir = argv[1],
	                          .map_bytes = UINT64_C(8) << 30,
	                          .journal_max = 1000,
	                          .readers_max = 16};
	struct store *store = NULL;
	uint64_t n = 0;
	char why[STORE_WHY_MAX] = "";
	int ret = store_open(&store, &conf, why);
	if (ret == 0) {
		ret = commit_all(store, secs, rate, &n);
	}
	store_close(store);
	if (ret != 0) {
		(void)fprintf(stderr, "commitload: %s: %s\n", err_text(ret), why);
	}
	printf("%llu\n", (unsigned long long)n);
	return ret != 0;
}
