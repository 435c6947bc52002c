/* What the keeper carries: new tuples (each group on disk before its answers), early retries of
 * known ones (a counter each), the time one lone tuple waits, and early retries that peers are told
 * of (each written, as new ones are). The baseline is the commit latency the keeper itself
 * measured.
 *
 * usage: bench_keeper DIRECTORY [TUPLES]   (an empty directory on the disk to be measured) */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/utsname.h>

#include "keeper/keeper.h"

enum { IN_FLIGHT = 4000, CACHE_SLOTS = 1 << 20, N_LONE = 200, A_TICK = 64 };

struct bench {
	struct conf conf;
	struct keeper_port port;
	struct keeper_env env;
	struct keeper *keeper;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_keeper: %s\n", what);
	exit(1);
}

static void start(struct bench *bench, const char *dir)
{
	char why[STORE_WHY_MAX];
	struct store_conf store_conf = {.dir = dir,
	                                .map_bytes = UINT64_C(64) << 30,
	                                .journal_max = 1000000,
	                                .readers_max = 16,
	                                .create = true};
	bench->conf = (struct conf){.passtime_secs = 1500,
	                            .greyexp_secs = 14400,
	                            .whiteexp_secs = 3110400,
	                            .trapexp_secs = 86400,
	                            .ipv6_prefix = 64,
	                            .store_retry_ms = 2000,
	                            .commit_max = 256,
	                            .commit_wait_ms = 20,
	                            .sweep_ms = 1000};
	bench->port = (struct keeper_port){.requests = mailbox_new(KEEPER_MAILBOX_BYTES),
	                                   .answers = mailbox_new(KEEPER_ANSWER_BYTES),
	                                   .wake = -1};
	bench->env = (struct keeper_env){.conf = &bench->conf,
	                                 .hosts = cache_new(CACHE_SLOTS),
	                                 .tuples = cache_new(CACHE_SLOTS),
	                                 .ports = &bench->port,
	                                 .n_ports = 1,
	                                 .wake_feeder = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
	                                 .wake_syncer = -1,
	                                 .reasserts = mailbox_new(1 << 16)};
	if (store_open(&bench->env.store, &store_conf, why) != 0) {
		die(why);
	}
	if (keeper_start(&bench->keeper, &bench->env) != 0) {
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
}

/* A tuple of 90 bytes of text; a new host every fourth one. */
static bool post(struct bench *bench, uint32_t n)
{
	char text[128];
	struct addr host = addr_from_v4_be(n / 4 * UINT32_C(2654435761));
	int len = snprintf(
	        text, sizeof text,
	        "mail%08u.example.org<sender-%08u@example.com><recipient-%08u@example.net>", n, n,
	        n);
	struct keeper_request *request =
	        mailbox_reserve(bench->port.requests, sizeof *request + (size_t)len);
	if (!request) {
		return false;
	}
	*request = (struct keeper_request){.kind = KEEPER_TUPLE,
	                                   .conn = {.slot = n},
	                                   .addr = host,
	                                   .peer = host,
	                                   .helo_len = 24,
	                                   .sender_len = 29,
	                                   .recipient_len = (uint16_t)(len - 53)};
	memcpy(request->strings, text, (size_t)len);
	mailbox_post(bench->port.requests);
	return true;
}

static uint32_t take_answers(struct bench *bench)
{
	uint32_t n = 0;
	size_t len = 0;
	while (mailbox_peek(bench->port.answers, &len)) {
		mailbox_release(bench->port.answers);
		n++;
	}
	return n;
}

/* As a worker would: some requests, a wake-up, a look at the answers. */
static double run(struct bench *bench, uint32_t n_tuples)
{
	struct mono begun = clock_mono();
	uint32_t n_posted = 0;
	uint32_t n_answered = 0;
	while (n_answered < n_tuples) {
		for (uint32_t i = 0; i < A_TICK && n_posted < n_tuples &&
		                     n_posted - n_answered < IN_FLIGHT && post(bench, n_posted);
		     i++) {
			n_posted++;
		}
		keeper_wake(bench->keeper);
		uint32_t n = take_answers(bench);
		n_answered += n;
		if (n == 0) {
			(void)poll(NULL, 0, 1);
		}
	}
	return (double)(clock_mono().ns - begun.ns) / (double)NS_PER_SEC;
}

static double lone_ms(struct bench *bench, uint32_t first)
{
	struct mono begun = clock_mono();
	for (uint32_t i = 0; i < N_LONE; i++) {
		(void)post(bench, first + i);
		keeper_wake(bench->keeper);
		while (take_answers(bench) == 0) {
			(void)poll(NULL, 0, 0);
		}
	}
	return (double)(clock_mono().ns - begun.ns) / (double)NS_PER_MS / N_LONE;
}

/* From the next second on, so that every tuple's next retry is told. */
static void tell_peers(struct bench *bench)
{
	keeper_stop(bench->keeper);
	int64_t now = clock_wall().secs;
	while (clock_wall().secs <= now) {
		(void)poll(NULL, 0, 1);
	}
	bench->env.is_sync_sending = true;
	if (keeper_start(&bench->keeper, &bench->env) != 0) {
		die("the keeper does not start again");
	}
}

int main(int argc, char **argv)
{
	static struct bench bench;
	struct utsname uts;
	uint32_t n = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 50000;
	if (argc < 2 || n == 0 || uname(&uts) != 0) {
		die("usage: bench_keeper DIRECTORY [TUPLES]");
	}
	start(&bench, argv[1]);
	(void)printf("%s %s, %u tuples in %s\n", uts.sysname, uts.release, n, argv[1]);
	double new_secs = run(&bench, n);
	struct keeper_figures figures;
	keeper_figures_get(bench.keeper, &figures);
	(void)printf(
	        "commit              p50 %.2f ms, p99 %.2f ms, %llu commits\n",
	        figures.commit_p50_ms, figures.commit_p99_ms,
	        (unsigned long long)counters_get(keeper_counters(bench.keeper), COUNTER_commits));
	(void)printf("new tuples          %.0f /s\n", n / new_secs);
	double early_secs = run(&bench, n);
	(void)printf("early retries       %.0f /s (%.1f times as many)\n", n / early_secs,
	             new_secs / early_secs);
	(void)printf("one tuple alone     %.2f ms\n", lone_ms(&bench, n));
	tell_peers(&bench);
	double told_secs = run(&bench, n);
	(void)printf(
	        "early, peers told   %.0f /s (%.1f times as many as new ones), %llu commits\n",
	        n / told_secs, new_secs / told_secs,
	        (unsigned long long)counters_get(keeper_counters(bench.keeper), COUNTER_commits));
	stop(&bench);
	return 0;
}
