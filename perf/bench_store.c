/* What the store costs: group commits by size, look-ups, a whole walk, the sweep. The baseline is
 * one write and fdatasync of a page on the same disk: a commit waits for two of them.
 *
 * usage: bench_store DIRECTORY [TUPLES]   (an empty directory on the disk to be measured) */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/err.h"
#include "store/store.h"

enum { FILL_BATCH = 1000, N_COMMITS = 40, N_LOOKUPS = 100000, N_SYNCS = 200, LIFE_SECS = 14400 };

struct bench {
	struct store *store;
	uint32_t n_rows;
	double sync_ms; /* the baseline */
};

static double ms_since(struct mono since)
{
	return (double)(clock_mono().ns - since.ns) / (double)NS_PER_MS;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;
	return (x > y) - (x < y);
}

static double percentile(double *samples, size_t n, double p)
{
	qsort(samples, n, sizeof *samples, compare_doubles);
	return samples[(size_t)(p * (double)(n - 1))];
}

static struct tuple_key row_key(struct store *store, uint32_t n, char sender[static 64],
                                struct tuple_text *text)
{
	int len = snprintf(sender, 64, "<newsletter-%u@bulk.example.org>", n);
	struct addr addr = addr_from_v4_be(n * 2654435761U);
	*text = (struct tuple_text){SPAN("mail-out.example.org"), span_of(sender, (size_t)len),
	                            SPAN("<somebody@example.net>")};
	return record_tuple_key(store_hash_key(store), &addr, text);
}

static void put(struct store_txn *txn, uint32_t n)
{
	char sender[64];
	struct tuple_text text;
	struct grey_record record = {.first = {n}, .expire = {n + LIFE_SECS}, .bcount = 1};
	struct tuple_key key = row_key(txn->store, n, sender, &text);
	store_put_tuple(txn, &key, &record, &text);
}

static void commit_rows(struct bench *bench, uint32_t n)
{
	struct store_txn txn;
	store_begin(bench->store, &txn, (struct wall){bench->n_rows});
	for (uint32_t i = 0; i < n; i++) {
		put(&txn, bench->n_rows++);
	}
	int ret = store_commit(&txn);
	if (ret) {
		(void)fprintf(stderr, "commit: %s\n", err_text(ret));
		exit(1);
	}
}

static void bench_baseline(struct bench *bench, const char *dir)
{
	char path[4096];
	char page[4096] = {1};
	double samples[N_SYNCS];
	(void)snprintf(path, sizeof path, "%s/baseline", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (int i = 0; i < N_SYNCS; i++) {
		struct mono since = clock_mono();
		if (pwrite(fd, page, sizeof page, 0) < 0 || fdatasync(fd)) {
			perror(path);
			exit(1);
		}
		samples[i] = ms_since(since);
	}
	(void)close(fd);
	(void)unlink(path);
	bench->sync_ms = percentile(samples, N_SYNCS, 0.5);
	printf("baseline: 4 KiB write + fdatasync: p50 %.3f ms, p99 %.3f ms\n", bench->sync_ms,
	       percentile(samples, N_SYNCS, 0.99));
}

static void bench_commits(struct bench *bench)
{
	static const uint32_t sizes[] = {1, 10, 100, 256, 1000};
	for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
		double samples[N_COMMITS];
		struct mono start = clock_mono();
		for (int i = 0; i < N_COMMITS; i++) {
			struct mono since = clock_mono();
			commit_rows(bench, sizes[s]);
			samples[i] = ms_since(since);
		}
		double all = ms_since(start);
		double p50 = percentile(samples, N_COMMITS, 0.5);
		printf("commit of %4u: p50 %.2f ms, p99 %.2f ms, %.0f tuples/s, %.1f x baseline\n",
		       sizes[s], p50, percentile(samples, N_COMMITS, 0.99),
		       (double)sizes[s] * N_COMMITS / all * MS_PER_SEC, p50 / bench->sync_ms);
	}
}

static void bench_lookups(struct bench *bench)
{
	struct store_txn txn;
	struct grey_record record;
	uint32_t n_found = 0;
	store_begin(bench->store, &txn, (struct wall){bench->n_rows});
	struct mono since = clock_mono();
	for (uint32_t i = 0; i < N_LOOKUPS; i++) {
		char sender[64];
		struct tuple_text text;
		struct tuple_key key = row_key(bench->store, i * 97 % bench->n_rows, sender, &text);
		n_found += store_get_tuple(&txn, &key, &record);
	}
	printf("tuple look-up: %.2f us (%u of %u found)\n", ms_since(since) * 1000 / N_LOOKUPS,
	       n_found, N_LOOKUPS);
	store_abort(&txn);
}

static void bench_walk(struct bench *bench)
{
	struct store_reader *reader = NULL;
	const struct store_row *rows = NULL;
	if (store_reader_open(bench->store, &reader)) {
		exit(1);
	}
	struct store_walk *walk = store_walk_new(reader, STORE_WALK_ALL, NULL, NULL);
	int64_t n_rows = 0;
	int n = 0;
	struct mono since = clock_mono();
	while (walk && (n = store_walk_next(walk, &rows, NULL)) > 0) {
		n_rows += n;
	}
	double all = ms_since(since);
	printf("walk of %lld tuples: %.0f ms, %.2f us each\n", (long long)n_rows, all,
	       all * 1000 / (double)n_rows);
	store_walk_free(walk);
	store_reader_close(reader);
}

static void bench_sweep(struct bench *bench)
{
	double samples[N_COMMITS];
	struct store_txn txn;
	double swept_ms = 0;
	for (int i = 0; i < N_COMMITS; i++) {
		struct mono since = clock_mono();
		store_begin(bench->store, &txn, (struct wall){bench->n_rows});
		(void)store_sweep(&txn, (struct wall){INT64_C(1) << 40}, 100, NULL, NULL);
		swept_ms += ms_since(since);
		if (store_commit(&txn)) {
			exit(1);
		}
		samples[i] = ms_since(since);
	}
	printf("sweep of 100 in a commit: p50 %.2f ms, p99 %.2f ms, of it before the commit %.2f "
	       "ms\n",
	       percentile(samples, N_COMMITS, 0.5), percentile(samples, N_COMMITS, 0.99),
	       swept_ms / N_COMMITS);
}

int main(int argc, char **argv)
{
	char why[STORE_WHY_MAX];
	struct bench bench = {.n_rows = 0};
	struct utsname un;
	if (argc < 2 || uname(&un)) {
		(void)fprintf(stderr, "usage: bench_store DIRECTORY [TUPLES]\n");
		return 2;
	}
	uint64_t n_tuples = 100000;
	if (argc > 2 && span_to_u64(span_of_str(argv[2]), UINT32_MAX / 2, &n_tuples)) {
		return 2;
	}
	struct store_conf conf = {.dir = argv[1],
	                          .map_bytes = UINT64_C(64) << 30,
	                          .journal_max = 1000000,
	                          .readers_max = 32,
	                          .create = true};
	if (store_open(&bench.store, &conf, why)) {
		(void)fprintf(stderr, "%s\n", why);
		return 1;
	}
	printf("bench_store %s, %s %s, %llu tuples\n", argv[1], un.release, un.machine,
	       (unsigned long long)n_tuples);
	bench_baseline(&bench, argv[1]);
	while (bench.n_rows < n_tuples) {
		commit_rows(&bench, FILL_BATCH);
	}
	bench_commits(&bench);
	bench_lookups(&bench);
	bench_walk(&bench);
	bench_sweep(&bench);
	store_close(bench.store);
	return 0;
}
