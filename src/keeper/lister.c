/* The lister's thread: its queue, its start and stop, what it says of itself. What a job does is in
 * lister_jobs.c. */
#include "keeper/lister.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/thread.h"
#include "keeper/lister_impl.h"

enum {
	NICE = 10,             /* the workers' bytes come first */
	CHECK_RETRY_MS = 5000, /* after the white hosts could not be checked */
};

bool lister_must_stop(const struct lister *lister)
{
	/* acquire: partner of lister_stop */
	return atomic_load_explicit(&lister->must_stop, memory_order_acquire);
}

/* --- figures ---------------------------------------------------------------------------------- */

static size_t ranges_bytes(const struct lists *lists)
{
	size_t bytes = 0;
	for (size_t i = 0; i < lists->n; i++) {
		bytes += list_ranges_bytes(lists->at[i]->ranges);
	}
	return bytes;
}

static void publish_figures(struct lister *lister, struct mono begun)
{
	(void)pthread_mutex_lock(&lister->lock);
	struct lister_figures *figures = &lister->figures;
	figures->n_lists = lister->lists.n;
	figures->n_networks = lists_n_networks(&lister->lists);
	figures->table_bytes = (lister->table ? list_table_bytes(lister->table) : 0) +
	                       ranges_bytes(&lister->lists);
	figures->swap_ms = (uint64_t)mono_diff_ms(clock_mono(), begun);
	(void)pthread_mutex_unlock(&lister->lock);
}

/* --- the loop --------------------------------------------------------------------------------- */

static void wake_submitter(const struct lister *lister)
{
	uint64_t one = 1;
	(void)!write(lister->env.done, &one, sizeof one); /* full means readable already */
}

static void post_result(struct lister *lister, const struct lister_result *result)
{
	(void)pthread_mutex_lock(&lister->lock);
	if (result->cookie == 0 || lister_must_stop(lister)) {
		lister->n_owed--;
	} else {
		unsigned at = (lister->first_result + lister->n_results++) % LISTER_QUEUE_MAX;
		lister->results[at] = *result;
	}
	(void)pthread_mutex_unlock(&lister->lock);
	wake_submitter(lister);
}

static void do_job(struct lister *lister, struct lister_job *job)
{
	struct lister_result result = {.cookie = job->cookie};
	struct mono begun = clock_mono();
	lister_do_job(lister, job, &result);
	free(job->text);
	if (job->kind != LISTER_DOMAINS && result.n_lists > 0) {
		publish_figures(lister, begun);
	}
	post_result(lister, &result);
}

/* The wait ends at the time of the next check, if one is due. */
static void wait_for_work(struct lister *lister)
{
	if (!lister->must_check) {
		(void)pthread_cond_wait(&lister->has_work, &lister->lock);
		return;
	}
	struct timespec until = {.tv_sec = lister->check_at.ns / NS_PER_SEC,
	                         .tv_nsec = lister->check_at.ns % NS_PER_SEC};
	(void)pthread_cond_timedwait(&lister->has_work, &lister->lock, &until);
}

static bool is_check_due(const struct lister *lister)
{
	return lister->must_check && clock_mono().ns >= lister->check_at.ns;
}

/* False when there is none, but something else to do. */
static bool next_job(struct lister *lister, struct lister_job *out)
{
	bool has_job = false;
	(void)pthread_mutex_lock(&lister->lock);
	while (lister->n_jobs == 0 && !lister_must_stop(lister) && !is_check_due(lister)) {
		wait_for_work(lister);
	}
	if (lister->n_jobs > 0 && !lister_must_stop(lister)) {
		*out = lister->jobs[lister->first_job];
		lister->first_job = (lister->first_job + 1) % LISTER_QUEUE_MAX;
		lister->n_jobs--;
		has_job = true;
	}
	(void)pthread_mutex_unlock(&lister->lock);
	return has_job;
}

static void check_white(struct lister *lister)
{
	lister->must_check = false;
	int ret = lister_check_white(lister);
	if (ret != 0 && ret != -ECANCELED) {
		log_error("lists: the white hosts could not be checked: %s", err_text(ret));
		lister->must_check = true;
		lister->check_at = mono_add_ms(clock_mono(), CHECK_RETRY_MS);
	}
}

/* Building a table of millions is seconds of work that nobody waits for with a byte due. */
static void lower_priority(void)
{
	struct sched_param param = {.sched_priority = 0};
	/* on Linux `who` 0 is the calling thread alone */
	if (setpriority(PRIO_PROCESS, 0, NICE) < 0 ||
	    sched_setscheduler(0, SCHED_BATCH, &param) < 0) {
		log_warning("lists: the priority of their thread cannot be lowered: %s",
		            err_text(-errno));
	}
}

static void *lister_main(void *arg)
{
	struct lister *lister = arg;
	struct lister_job job;
	lower_priority();
	while (!lister_must_stop(lister)) {
		if (next_job(lister, &job)) {
			do_job(lister, &job);
		}
		if (is_check_due(lister)) {
			check_white(lister);
		}
	}
	return NULL;
}

/* --- start and stop --------------------------------------------------------------------------- */

static int init_lock(struct lister *lister)
{
	pthread_condattr_t attr;
	int ret = pthread_condattr_init(&attr);
	if (ret != 0) {
		return -ret;
	}
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_mutex_init(&lister->lock, NULL);
	ret = pthread_cond_init(&lister->has_work, &attr);
	(void)pthread_condattr_destroy(&attr);
	return -ret;
}

static void lister_free(struct lister *lister)
{
	for (unsigned i = 0; i < lister->n_jobs; i++) {
		free(lister->jobs[(lister->first_job + i) % LISTER_QUEUE_MAX].text);
	}
	for (size_t i = 0; i < lister->lists.n; i++) {
		list_free(lister->lists.at[i]);
	}
	lister_disk_close(lister);
	store_reader_close(lister->reader);
	(void)pthread_cond_destroy(&lister->has_work);
	(void)pthread_mutex_destroy(&lister->lock);
	free(lister);
}

int lister_start(struct lister **out, const struct lister_env *env)
{
	struct lister *lister = aligned_alloc(_Alignof(struct lister), sizeof *lister);
	if (!lister) {
		return -ENOMEM;
	}
	*lister = (struct lister){
	        .env = *env, .dir = -1, .prefixes_max = env->conf->list_prefixes_max};
	int ret = init_lock(lister);
	ret = ret ? ret : store_reader_open(env->store, &lister->reader);
	if (ret == 0) {
		struct mono begun = clock_mono();
		lister_load(lister);
		publish_figures(lister, begun);
		ret = thread_start(&lister->thread, "lister", lister_main, lister);
	}
	if (ret != 0) {
		lister_free(lister);
		return ret;
	}
	*out = lister;
	return 0;
}

void lister_stop(struct lister *lister)
{
	if (!lister) {
		return;
	}
	(void)pthread_mutex_lock(&lister->lock);
	/* release: partner of lister_must_stop */
	atomic_store_explicit(&lister->must_stop, true, memory_order_release);
	(void)pthread_cond_signal(&lister->has_work);
	(void)pthread_mutex_unlock(&lister->lock);
	(void)pthread_join(lister->thread, NULL);
	lister_free(lister);
}

/* --- other threads ---------------------------------------------------------------------------- */

int lister_submit(struct lister *lister, enum lister_job_kind kind, char *text, size_t len,
                  uint64_t cookie)
{
	int ret = -EAGAIN;
	(void)pthread_mutex_lock(&lister->lock);
	if (lister->n_owed < LISTER_QUEUE_MAX) {
		unsigned at = (lister->first_job + lister->n_jobs++) % LISTER_QUEUE_MAX;
		lister->jobs[at] = (struct lister_job){kind, text, len, cookie};
		lister->n_owed++;
		ret = 0;
		(void)pthread_cond_signal(&lister->has_work);
	}
	(void)pthread_mutex_unlock(&lister->lock);
	return ret;
}

bool lister_next_result(struct lister *lister, struct lister_result *out)
{
	(void)pthread_mutex_lock(&lister->lock);
	bool has_one = lister->n_results > 0;
	if (has_one) {
		*out = lister->results[lister->first_result];
		lister->first_result = (lister->first_result + 1) % LISTER_QUEUE_MAX;
		lister->n_results--;
		lister->n_owed--;
	}
	(void)pthread_mutex_unlock(&lister->lock);
	return has_one;
}

void lister_describe(struct lister *lister, lister_describe_one *one, void *ctx)
{
	(void)pthread_mutex_lock(&lister->lock);
	for (size_t i = 0; i < lister->lists.n; i++) {
		const struct list *list = lister->lists.at[i];
		one(ctx, list->tag, list->n_networks, list->loaded_secs);
	}
	(void)pthread_mutex_unlock(&lister->lock);
}

void lister_set_prefixes_max(struct lister *lister, uint32_t max)
{
	atomic_store_explicit(&lister->prefixes_max, max, memory_order_relaxed);
}

void lister_figures_get(struct lister *lister, struct lister_figures *out)
{
	(void)pthread_mutex_lock(&lister->lock);
	*out = lister->figures;
	(void)pthread_mutex_unlock(&lister->lock);
	out->n_delisted = counters_get(&lister->counters, COUNTER_hosts_delisted);
}

const struct counters *lister_counters(const struct lister *lister)
{
	return &lister->counters;
}
