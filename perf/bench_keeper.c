/* What the keeper carries, one measurement a call, one line of JSON each; perf/tuples runs them.
 *
 *   new N BURST [FIRST]  N new tuples, from number FIRST on, as fast as the keeper takes them: wall
 *                        and CPU time, commits, how long one waits from the request to the answer;
 *                        how many wait for their places then (BURST: key burst-max) and how long
 *   again N              tuples 0 to N - 1 twice again: early retries, from the store, from memory
 *   rate R SECONDS       R new tuples a second
 *   sweep DUE            a sweep with nothing due; then one of the DUE records that expire first
 *   size                 records and bytes
 *
 * usage: bench_keeper DIRECTORY MEASUREMENT   (an empty directory, or a store of tuples_lmdb's) */
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "keeper/keeper.h"
#include "tuples.h"

enum {
	IN_FLIGHT = 12000, /* some less than a worker may have */
	CACHE_SLOTS = 1 << 20,
	A_TICK = 256,
	SWEEP_SLICE = 200, /* as the keeper's */
	N_EMPTY_SWEEPS = 1000,
	N_EMPTY_TURNS = 40,
	DRAIN_SECS_MAX = 600,
};

struct bench {
	struct conf conf;
	struct keeper_port port;
	struct keeper_env env;
	struct keeper *keeper;
	struct mono *posted_at; /* by slot, a ring of IN_FLIGHT */
	double *waits_ms;       /* by answer */
	uint32_t n_posted;
	uint32_t n_answered;
	uint32_t first; /* number of the first tuple */
};

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_keeper: %s\n", what);
	exit(1);
}

static double secs_since(struct mono begun)
{
	return (double)(clock_mono().ns - begun.ns) / (double)NS_PER_SEC;
}

static double cpu_secs(int who)
{
	struct rusage usage;
	(void)getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double own_cpu_secs(void)
{
	return cpu_secs(RUSAGE_THREAD);
}

/* Of all threads but this one: the keeper's. */
static double keeper_cpu_secs(void)
{
	return cpu_secs(RUSAGE_SELF) - cpu_secs(RUSAGE_THREAD);
}

static void start(struct bench *bench, const char *dir, uint32_t burst_max)
{
	bench->conf = (struct conf){.passtime_secs = 1500,
	                            .greyexp_secs = 14400,
	                            .whiteexp_secs = 3110400,
	                            .trapexp_secs = 86400,
	                            .ipv6_prefix = 64,
	                            .store_retry_ms = 2000,
	                            .commit_max = 256,
	                            .commit_wait_ms = 20,
	                            .burst_max = burst_max,
	                            .sweep_ms = 1000};
	bench->port = (struct keeper_port){.requests = mailbox_new(KEEPER_MAILBOX_BYTES),
	                                   .answers = mailbox_new(KEEPER_ANSWER_BYTES),
	                                   .wake = -1};
	bench->env = (struct keeper_env){.conf = &bench->conf,
	                                 .store = tuples_open_store(dir),
	                                 .hosts = cache_new(CACHE_SLOTS),
	                                 .tuples = cache_new(CACHE_SLOTS),
	                                 .ports = &bench->port,
	                                 .n_ports = 1,
	                                 .wake_feeder = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
	                                 .wake_syncer = -1,
	                                 .reasserts = mailbox_new(1 << 16)};
	bench->posted_at = calloc(IN_FLIGHT, sizeof *bench->posted_at);
	if (!bench->posted_at || keeper_start(&bench->keeper, &bench->env) != 0) {
		die("the keeper does not start");
	}
}

static void stop(struct bench *bench)
{
	keeper_stop(bench->keeper);
	store_close(bench->env.store);
	mailbox_free(bench->port.requests);
	mailbox_free(bench->port.answers);
	mailbox_free(bench->env.reasserts);
	cache_free(bench->env.hosts);
	cache_free(bench->env.tuples);
	free(bench->posted_at);
	free(bench->waits_ms);
}

/* --- playing a worker ------------------------------------------------------------------------- */

static bool post(struct bench *bench)
{
	struct tuples_text text;
	uint32_t n = bench->first + bench->n_posted;
	struct addr host = tuples_new_addr(n);
	tuples_text_of(&text, n);
	struct keeper_request *request =
	        mailbox_reserve(bench->port.requests, sizeof *request + text.len);
	if (!request) {
		return false;
	}
	*request = (struct keeper_request){.kind = KEEPER_TUPLE,
	                                   .conn = {.slot = bench->n_posted},
	                                   .addr = host,
	                                   .peer = host,
	                                   .helo_len = (uint16_t)text.spans.helo.len,
	                                   .sender_len = (uint16_t)text.spans.sender.len,
	                                   .recipient_len = (uint16_t)text.spans.recipient.len};
	memcpy(request->strings, text.bytes, text.len);
	mailbox_post(bench->port.requests);
	bench->posted_at[bench->n_posted % IN_FLIGHT] = clock_mono();
	bench->n_posted++;
	return true;
}

static void post_up_to(struct bench *bench, uint32_t n)
{
	for (uint32_t i = 0; i < A_TICK && bench->n_posted < n; i++) {
		if (bench->n_posted - bench->n_answered == IN_FLIGHT || !post(bench)) {
			break;
		}
	}
	keeper_wake(bench->keeper);
}

/* Answers of one port come in the order of its requests, but for the early ones: a wait is a
 * slot's own. */
static uint32_t take_answers(struct bench *bench)
{
	uint32_t n = 0;
	size_t len = 0;
	struct mono now = clock_mono();
	const struct keeper_answer *answer = mailbox_peek(bench->port.answers, &len);
	while (answer) {
		struct mono posted_at = bench->posted_at[answer->conn.slot % IN_FLIGHT];
		bench->waits_ms[bench->n_answered++] =
		        (double)(now.ns - posted_at.ns) / (double)NS_PER_MS;
		mailbox_release(bench->port.answers);
		answer = mailbox_peek(bench->port.answers, &len);
		n++;
	}
	return n;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;
	return (x > y) - (x < y);
}

static void prepare(struct bench *bench, uint32_t first, uint32_t n)
{
	free(bench->waits_ms);
	bench->waits_ms = calloc(n, sizeof *bench->waits_ms);
	bench->first = first;
	bench->n_posted = 0;
	bench->n_answered = 0;
	if (!bench->waits_ms) {
		die("out of memory");
	}
}

/* As many as fit, or `rate` a second; waits between looks as a worker's tick would, but shorter. */
static double run(struct bench *bench, uint32_t n, double rate)
{
	struct mono begun = clock_mono();
	while (bench->n_answered < n) {
		double due = rate > 0 ? rate * secs_since(begun) : n;
		post_up_to(bench, due < n ? (uint32_t)due : n);
		if (take_answers(bench) == 0) {
			struct timespec moment = {.tv_nsec = 100000};
			(void)ppoll(NULL, 0, &moment, NULL);
		}
	}
	return secs_since(begun);
}

static void print_run(struct bench *bench, double secs, double cpu_secs)
{
	uint32_t n = bench->n_answered;
	struct keeper_figures figures;
	keeper_figures_get(bench->keeper, &figures);
	const struct counters *counters = keeper_counters(bench->keeper);
	qsort(bench->waits_ms, n, sizeof *bench->waits_ms, compare_doubles);
	(void)printf(
	        "{\"n\": %u, \"secs\": %.6f, \"cpu_secs\": %.6f, \"p50_ms\": %.4f, \"p99_ms\": "
	        "%.4f, \"commits\": %llu, \"commit_p50_ms\": %.3f, \"commit_p99_ms\": %.3f, "
	        "\"burst\": %llu",
	        n, secs, cpu_secs, bench->waits_ms[n / 2], bench->waits_ms[n - 1 - n / 100],
	        (unsigned long long)counters_get(counters, COUNTER_commits), figures.commit_p50_ms,
	        figures.commit_p99_ms,
	        (unsigned long long)counters_get(counters, COUNTER_burst_tuples));
}

/* --- measurements ----------------------------------------------------------------------------- */

static uint64_t n_waiting(struct bench *bench)
{
	struct store_reader *reader = NULL;
	struct store_stats stats = {.n_waiting = 0};
	if (store_reader_open(bench->env.store, &reader) != 0 ||
	    store_stats_get(reader, &stats) != 0) {
		die("the store cannot be read");
	}
	store_reader_close(reader);
	return stats.n_waiting;
}

/* Until all have their places. */
static void print_drain(struct bench *bench)
{
	struct mono begun = clock_mono();
	double cpu = keeper_cpu_secs();
	uint64_t n = n_waiting(bench);
	while (n_waiting(bench) > 0 && secs_since(begun) < DRAIN_SECS_MAX) {
		(void)poll(NULL, 0, 20);
	}
	(void)printf(", \"waiting\": %llu, \"places_secs\": %.6f, \"places_cpu_secs\": %.6f}\n",
	             (unsigned long long)n, secs_since(begun), keeper_cpu_secs() - cpu);
}

static void bench_new(struct bench *bench, uint32_t n, uint32_t first)
{
	double cpu = keeper_cpu_secs();
	prepare(bench, first, n);
	double secs = run(bench, n, 0);
	print_run(bench, secs, keeper_cpu_secs() - cpu);
	print_drain(bench);
}

static void bench_rate(struct bench *bench, uint32_t rate, uint32_t secs)
{
	double cpu = keeper_cpu_secs();
	/* not those of other runs */
	prepare(bench, TUPLES_OF_RATE + rate * 1000, rate * secs);
	double took_secs = run(bench, rate * secs, rate);
	print_run(bench, took_secs, keeper_cpu_secs() - cpu);
	(void)printf("}\n");
}

static void bench_again(struct bench *bench, uint32_t n)
{
	double cpu = keeper_cpu_secs();
	prepare(bench, 0, n);
	double secs = run(bench, n, 0); /* from the store */
	print_run(bench, secs, keeper_cpu_secs() - cpu);
	cpu = keeper_cpu_secs();
	prepare(bench, 0, n);
	secs = run(bench, n, 0); /* from the cache */
	(void)printf(", \"cached_secs\": %.6f, \"cached_cpu_secs\": %.6f}\n", secs,
	             keeper_cpu_secs() - cpu);
}

static double empty_sweep_us(struct store *store, bool is_looking)
{
	struct mono begun = clock_mono();
	for (int i = 0; i < N_EMPTY_SWEEPS; i++) {
		struct store_txn txn;
		store_begin(store, &txn, clock_wall());
		if (is_looking && store_sweep(&txn, clock_wall(), SWEEP_SLICE, NULL, NULL) != 0) {
			die("something is due");
		}
		store_abort(&txn);
	}
	return secs_since(begun) * 1e6 / N_EMPTY_SWEEPS;
}

static double less(double a, double b)
{
	return a < b ? a : b;
}

/* A sweep that finds nothing due, beside a transaction that does not look: the best of some turns,
 * which is what it costs when nothing comes between. */
static void empty_sweeps(struct store *store, double *with_us, double *without_us)
{
	*with_us = empty_sweep_us(store, true);
	*without_us = empty_sweep_us(store, false);
	for (int i = 1; i < N_EMPTY_TURNS; i++) {
		*with_us = less(*with_us, empty_sweep_us(store, true));
		*without_us = less(*without_us, empty_sweep_us(store, false));
	}
}

static unsigned sweep_slice(struct store *store, uint64_t left)
{
	struct store_txn txn;
	struct wall until = {INT64_MAX};
	store_begin(store, &txn, clock_wall());
	unsigned n = store_sweep(&txn, until, left < SWEEP_SLICE ? (unsigned)left : SWEEP_SLICE,
	                         NULL, NULL);
	if (store_commit(&txn) != 0) {
		die("a sweep fails");
	}
	return n;
}

static void bench_sweep(const char *dir, uint64_t due)
{
	struct store *store = tuples_open_store(dir);
	double with_us = 0;
	double without_us = 0;
	uint64_t n_swept = 0;
	unsigned n = 1;
	empty_sweeps(store, &with_us, &without_us);
	double cpu = own_cpu_secs();
	struct mono begun = clock_mono();
	while (n_swept < due && n > 0) {
		n = sweep_slice(store, due - n_swept);
		n_swept += n;
	}
	(void)printf("{\"n\": %llu, \"secs\": %.6f, \"cpu_secs\": %.6f, \"idle_us\": %.4f, "
	             "\"without_us\": %.4f}\n",
	             (unsigned long long)n_swept, secs_since(begun), own_cpu_secs() - cpu, with_us,
	             without_us);
	store_close(store);
}

static void bench_size(const char *dir)
{
	struct store *store = tuples_open_store(dir);
	struct store_reader *reader = NULL;
	struct store_stats stats = {.n_tuples = 0};
	if (store_reader_open(store, &reader) != 0 || store_stats_get(reader, &stats) != 0) {
		die("the store cannot be read");
	}
	(void)printf("{\"tuples\": %llu, \"journal\": %llu, \"used_bytes\": %llu}\n",
	             (unsigned long long)stats.n_tuples, (unsigned long long)stats.n_journal,
	             (unsigned long long)stats.used_bytes);
	store_reader_close(reader);
	store_close(store);
}

static void with_keeper(const char *dir, const char *what, const uint32_t args[static 3])
{
	static struct bench bench;
	bool is_new = strcmp(what, "new") == 0;
	start(&bench, dir, is_new ? args[1] : 0);
	if (is_new) {
		bench_new(&bench, args[0], args[2]);
	} else if (strcmp(what, "rate") == 0) {
		bench_rate(&bench, args[0], args[1]);
	} else {
		bench_again(&bench, args[0]);
	}
	stop(&bench);
}

int main(int argc, char **argv)
{
	static const char *const measurements[] = {"new", "again", "rate", "sweep", "size"};
	const char *what = argc > 2 ? argv[2] : "";
	uint32_t args[3] = {0};
	bool is_known = false;
	for (int i = 0; i < 3 && i + 3 < argc; i++) {
		args[i] = (uint32_t)strtoul(argv[i + 3], NULL, 10);
	}
	for (size_t i = 0; i < ARRAY_LEN(measurements); i++) {
		is_known |= strcmp(what, measurements[i]) == 0;
	}
	if (!is_known || (args[0] == 0 && strcmp(what, "size") != 0)) {
		die("usage: bench_keeper DIRECTORY (new N BURST [FIRST] | again N | rate R SECONDS "
		    "| sweep DUE | size)");
	}
	if (strcmp(what, "sweep") == 0) {
		bench_sweep(argv[1], args[0]);
	} else if (strcmp(what, "size") == 0) {
		bench_size(argv[1]);
	} else {
		with_keeper(argv[1], what, args);
	}
	return 0;
}
