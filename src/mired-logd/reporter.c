/* Takes batches of due sightings, sends each as one `seen` request over a connection of its own,
 * and puts back what could not be delivered. While the daemon is away it tries again with growing
 * pauses; sightings wait in the bounded table meanwhile.
 *
 * Ways to fail: no socket, refused, timeout: put back, try later, said once. Not allowed (the
 * daemon does not know this user): the same, at error level. The daemon's queue full: counted. */
#include "mired-logd/reporter.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "base/thread.h"
#include "ctl/ctl.h"

enum {
	TABLE_MAX = 65536,
	BATCH_MAX = 500,
	LINE_MAX_BYTES = 96, /* "out ADDRESS COUNT LIFE\n" */
	ANSWER_MS = 5000,
	PAUSE_MIN_MS = 100,
	PAUSE_MAX_MS = 10000,
	LAST_MS = 2000, /* what the last reports may take in all */
	SLEEP_MAX_MS = 60000,
};

struct reporter {
	struct reporter_options options;
	pthread_t thread;
	uint32_t pause_ms; /* the thread's; 0: the last report went well */
	/* under lock */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool must_stop;
	bool is_sleeping;
	struct mono stop_by;
	struct sightings *sightings;
	struct reporter_figures figures;
	/* the thread's: the batch under way */
	struct sighting batch[BATCH_MAX];
	char body[BATCH_MAX * LINE_MAX_BYTES];
};

/* --- sending ---------------------------------------------------------------------------------- */

static struct span write_body(struct reporter *reporter, size_t n)
{
	size_t used = 0;
	for (size_t i = 0; i < n; i++) {
		const struct sighting *seen = &reporter->batch[i];
		char text[ADDR_TEXT_MAX];
		used += (size_t)snprintf(reporter->body + used, LINE_MAX_BYTES, "%s %s %u %lld\n",
		                         seen->is_outbound ? "out" : "in",
		                         addr_format(&seen->addr, text), seen->count,
		                         (long long)reporter->options.life_secs);
	}
	return span_of(reporter->body, used);
}

/* Logged at the first of a row of failures. */
static void failed(struct reporter *reporter, const char *reason)
{
	if (reporter->pause_ms == 0) {
		log_error("%s: %s; trying again", reporter->options.socket, reason);
	}
	uint32_t pause_ms = reporter->pause_ms ? 2 * reporter->pause_ms : PAUSE_MIN_MS;
	reporter->pause_ms = pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS;
}

/* A connection for each batch: the daemon closes one that is idle, and may have been started anew.
 */
static int ask(struct reporter *reporter, struct span body, json_t **answer)
{
	struct ctl_link *link;
	int ret = ctl_link_open(&link, reporter->options.socket);
	if (ret != 0) {
		return ret;
	}
	ret = ctl_link_request(link, "seen", body, ANSWER_MS, answer);
	ctl_link_close(link);
	return ret;
}

static uint64_t member(const json_t *answer, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(answer, name));
	return value > 0 ? (uint64_t)value : 0;
}

/* True when the daemon took the batch; *n_refused: all but these of it. */
static bool send_batch(struct reporter *reporter, size_t n, uint64_t *n_refused)
{
	json_t *answer = NULL;
	int ret = ask(reporter, write_body(reporter, n), &answer);
	const char *error = json_string_value(json_object_get(answer, "error"));
	bool is_good = ret == 0 && !error;
	if (!is_good) {
		failed(reporter, ret != 0 ? err_text(ret) : error);
	} else if (reporter->pause_ms > 0) {
		log_info("%s: answers again", reporter->options.socket);
		reporter->pause_ms = 0;
	}
	*n_refused = member(answer, "dropped") + member(answer, "refused");
	*n_refused = *n_refused < n ? *n_refused : n;
	json_decref(answer);
	return is_good;
}

static void tell_peers(struct reporter *reporter, size_t n)
{
	struct herald *herald = reporter->options.herald;
	if (herald) {
		herald_tell(herald, reporter->batch, n, clock_wall(), reporter->options.life_secs);
	}
}

/* --- the thread ------------------------------------------------------------------------------- */

/* Under lock. */
static void sleep_ms(struct reporter *reporter, int64_t ms)
{
	struct mono until = mono_add_ms(clock_mono(), ms < SLEEP_MAX_MS ? ms : SLEEP_MAX_MS);
	struct timespec at = {.tv_sec = until.ns / NS_PER_SEC, .tv_nsec = until.ns % NS_PER_SEC};
	reporter->is_sleeping = true;
	(void)pthread_cond_timedwait(&reporter->wake, &reporter->lock, &at);
	reporter->is_sleeping = false;
}

/* Under lock: the next batch; 0: the program ends. */
static size_t next_batch(struct reporter *reporter)
{
	for (;;) {
		struct mono now = clock_mono();
		size_t n = sightings_take(reporter->sightings, now, reporter->batch, BATCH_MAX);
		if (n > 0 || reporter->must_stop) {
			return n;
		}
		sleep_ms(reporter, sightings_wait_ms(reporter->sightings, now));
	}
}

/* Under lock: a pause after a failure, which a stop cuts short. False: the time of a stop is up. */
static bool pause_after_failure(struct reporter *reporter)
{
	struct mono end = mono_add_ms(clock_mono(), reporter->pause_ms);
	for (struct mono now = clock_mono(); now.ns < end.ns; now = clock_mono()) {
		if (reporter->must_stop && now.ns >= reporter->stop_by.ns) {
			return false;
		}
		sleep_ms(reporter, reporter->must_stop ? PAUSE_MIN_MS : mono_diff_ms(end, now) + 1);
	}
	return !reporter->must_stop || clock_mono().ns < reporter->stop_by.ns;
}

static void put_back(struct reporter *reporter, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		sightings_return(reporter->sightings, &reporter->batch[i], clock_mono());
	}
}

/* Under lock. */
static void count_batch(struct reporter *reporter, size_t n, uint64_t n_refused)
{
	reporter->figures.n_reported += n - n_refused;
	reporter->figures.n_refused += n_refused;
	if (reporter->options.herald) {
		reporter->figures.told = herald_figures_get(reporter->options.herald);
	}
}

static void *reporter_main(void *arg)
{
	struct reporter *reporter = arg;
	bool goes_on = true;
	(void)pthread_mutex_lock(&reporter->lock);
	while (goes_on) {
		size_t n = next_batch(reporter);
		if (n == 0) {
			break;
		}
		uint64_t n_refused = 0;
		(void)pthread_mutex_unlock(&reporter->lock);
		bool is_sent = send_batch(reporter, n, &n_refused);
		if (is_sent && n_refused < n) {
			tell_peers(reporter, n);
		}
		(void)pthread_mutex_lock(&reporter->lock);
		if (is_sent) {
			count_batch(reporter, n, n_refused);
		} else {
			put_back(reporter, n);
			goes_on = pause_after_failure(reporter);
		}
	}
	(void)pthread_mutex_unlock(&reporter->lock);
	return NULL;
}

/* --- start and stop --------------------------------------------------------------------------- */

static void reporter_free(struct reporter *reporter)
{
	sightings_free(reporter->sightings);
	(void)pthread_cond_destroy(&reporter->wake);
	(void)pthread_mutex_destroy(&reporter->lock);
	free(reporter);
}

int reporter_start(struct reporter **out, const struct reporter_options *options)
{
	struct reporter *reporter = calloc(1, sizeof *reporter);
	pthread_condattr_t monotonic;
	if (!reporter) {
		return -ENOMEM;
	}
	reporter->options = *options;
	(void)pthread_mutex_init(&reporter->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&reporter->wake, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	reporter->sightings = sightings_new(TABLE_MAX, options->interval_ms);
	int ret = reporter->sightings
	                  ? thread_start(&reporter->thread, "reporter", reporter_main, reporter)
	                  : -ENOMEM;
	if (ret != 0) {
		reporter_free(reporter);
		return ret;
	}
	*out = reporter;
	return 0;
}

void reporter_stop(struct reporter *reporter, struct reporter_figures *last)
{
	(void)pthread_mutex_lock(&reporter->lock);
	reporter->must_stop = true;
	reporter->stop_by = mono_add_ms(clock_mono(), LAST_MS);
	sightings_hurry(reporter->sightings);
	(void)pthread_cond_signal(&reporter->wake);
	(void)pthread_mutex_unlock(&reporter->lock);
	(void)pthread_join(reporter->thread, NULL);
	*last = reporter->figures;
	reporter_free(reporter);
}

void reporter_add(struct reporter *reporter, const struct addr *addr, bool is_outbound)
{
	const struct sighting seen = {.addr = *addr, .is_outbound = is_outbound, .count = 1};
	struct mono now = clock_mono();
	(void)pthread_mutex_lock(&reporter->lock);
	bool was_waiting = sightings_wait_ms(reporter->sightings, now) == 0;
	reporter->figures.n_forgotten += !sightings_add(reporter->sightings, &seen, now);
	if (reporter->is_sleeping && !was_waiting) {
		(void)pthread_cond_signal(&reporter->wake);
	}
	(void)pthread_mutex_unlock(&reporter->lock);
}

void reporter_figures_get(struct reporter *reporter, struct reporter_figures *out)
{
	(void)pthread_mutex_lock(&reporter->lock);
	*out = reporter->figures;
	(void)pthread_mutex_unlock(&reporter->lock);
}
