/* The thread owns the link; what it shares with the caller stands under a lock. */
#include "miredctl/top_sampler.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/thread.h"
#include "miredctl/call.h"

enum {
	STATUS_WAIT_MS = 10000,
	HELD_WAIT_MS = 60000, /* until a million connections were looked at, on a busy machine */
	REQUEST_MAX = 32,
};

struct top_sampler {
	char path[CALL_PATH_MAX];
	int news;  /* eventfd: there is something to take */
	int nudge; /* eventfd: the order has changed */
	pthread_t thread;
	pthread_mutex_t lock; /* what follows */
	struct top_order order;
	bool is_stopped;
	bool has_answers;
	struct top_answers answers;
};

/* --- once --- */

static void set_trouble(struct top_answers *out, const char *path, const char *why)
{
	(void)snprintf(out->trouble, sizeof out->trouble, "%.200s: %.200s", path, why);
}

static int ask(struct ctl_link *link, const char *request, int wait_ms, json_t **out)
{
	int ret = ctl_link_request(link, request, (struct span){0}, wait_ms, out);
	if (ret != 0) {
		*out = NULL;
	}
	return ret;
}

static int fetch(struct ctl_link *link, size_t n_rows, struct top_answers *out)
{
	char request[REQUEST_MAX];
	(void)snprintf(request, sizeof request, "held %zu", n_rows);
	int ret = ask(link, "status", STATUS_WAIT_MS, &out->status);
	if (ret != 0 || json_object_get(out->status, "error")) {
		return ret;
	}
	out->at_secs = (double)clock_mono().ns / (double)NS_PER_SEC;
	ret = ask(link, request, HELD_WAIT_MS, &out->held);
	if (json_object_get(out->held, "error")) {
		json_decref(out->held);
		out->held = NULL;
	}
	return ret;
}

void top_answers_fini(struct top_answers *answers)
{
	json_decref(answers->status);
	json_decref(answers->held);
	*answers = (struct top_answers){0};
}

void top_fetch(struct ctl_link **link, const char *path, size_t n_rows, struct top_answers *out)
{
	*out = (struct top_answers){0};
	int ret = *link ? 0 : ctl_link_open(link, path);
	ret = ret ? ret : fetch(*link, n_rows, out);
	const char *error = json_string_value(json_object_get(out->status, "error"));
	if (ret == 0 && !error) {
		return;
	}
	char trouble[TOP_TROUBLE_MAX];
	(void)snprintf(trouble, sizeof trouble, "%s", ret ? err_text(ret) : error);
	bool is_refused = ret == 0;
	top_answers_fini(out);
	set_trouble(out, path, trouble);
	out->is_refused = is_refused;
	if (*link) {
		ctl_link_close(*link);
		*link = NULL;
	}
}

/* --- again and again --- */

static void tell(int fd)
{
	uint64_t one = 1;
	(void)!write(fd, &one, sizeof one);
}

static void forget(int fd)
{
	uint64_t n;
	(void)!read(fd, &n, sizeof n);
}

static struct top_order order_now(struct top_sampler *sampler, bool *is_stopped)
{
	(void)pthread_mutex_lock(&sampler->lock);
	struct top_order order = sampler->order;
	*is_stopped = sampler->is_stopped;
	(void)pthread_mutex_unlock(&sampler->lock);
	return order;
}

static void publish(struct top_sampler *sampler, struct top_answers *answers)
{
	(void)pthread_mutex_lock(&sampler->lock);
	top_answers_fini(&sampler->answers);
	sampler->answers = *answers;
	sampler->has_answers = true;
	(void)pthread_mutex_unlock(&sampler->lock);
	tell(sampler->news);
}

/* Till the next look is due, or the order changes so that it is due now. */
static void wait_for_due(struct top_sampler *sampler, struct mono begun, struct top_order last)
{
	bool is_stopped = false;
	struct top_order order = last;
	for (;;) {
		struct pollfd nudge = {.fd = sampler->nudge, .events = POLLIN};
		int64_t left_ms =
		        (int64_t)order.delay_secs * MS_PER_SEC - mono_diff_ms(clock_mono(), begun);
		left_ms = left_ms > 0 ? left_ms : 0;
		if (poll(&nudge, 1, order.is_paused ? -1 : (int)left_ms) == 0) {
			return;
		}
		forget(sampler->nudge);
		bool was_paused = order.is_paused;
		order = order_now(sampler, &is_stopped);
		bool is_other = order.n_rows > last.n_rows || (was_paused && !order.is_paused);
		if (is_stopped || is_other) {
			return;
		}
	}
}

static void sampler_free(struct top_sampler *sampler)
{
	top_answers_fini(&sampler->answers);
	if (sampler->news >= 0) {
		(void)close(sampler->news);
	}
	if (sampler->nudge >= 0) {
		(void)close(sampler->nudge);
	}
	(void)pthread_mutex_destroy(&sampler->lock);
	free(sampler);
}

/* At the end everything here is the thread's own. */
static void *run(void *arg)
{
	struct top_sampler *sampler = arg;
	struct ctl_link *link = NULL;
	for (;;) {
		bool is_stopped = false;
		struct top_answers answers;
		struct top_order order = order_now(sampler, &is_stopped);
		struct mono begun = clock_mono();
		if (is_stopped) {
			break;
		}
		top_fetch(&link, sampler->path, order.n_rows, &answers);
		publish(sampler, &answers);
		wait_for_due(sampler, begun, order);
	}
	if (link) {
		ctl_link_close(link);
	}
	sampler_free(sampler);
	return NULL;
}

int top_sampler_start(struct top_sampler **out, const char *path)
{
	struct top_sampler *sampler = calloc(1, sizeof *sampler);
	if (!sampler) {
		return -ENOMEM;
	}
	*sampler = (struct top_sampler){
	        .order = {.is_paused = false, .delay_secs = 1, .n_rows = 1},
	        .news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	        .nudge = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	(void)pthread_mutex_init(&sampler->lock, NULL);
	(void)snprintf(sampler->path, sizeof sampler->path, "%s", path);
	int ret = sampler->news < 0 || sampler->nudge < 0 ? -errno : 0;
	ret = ret ? ret : thread_start(&sampler->thread, "sampler", run, sampler);
	if (ret != 0) {
		sampler_free(sampler);
		return ret;
	}
	*out = sampler;
	return 0;
}

void top_sampler_stop(struct top_sampler *sampler)
{
	(void)pthread_detach(sampler->thread);
	(void)pthread_mutex_lock(&sampler->lock);
	sampler->is_stopped = true;
	tell(sampler->nudge); /* under the lock: behind it all may be gone */
	(void)pthread_mutex_unlock(&sampler->lock);
}

void top_sampler_set(struct top_sampler *sampler, struct top_order order)
{
	(void)pthread_mutex_lock(&sampler->lock);
	sampler->order = order;
	(void)pthread_mutex_unlock(&sampler->lock);
	tell(sampler->nudge);
}

int top_sampler_fd(const struct top_sampler *sampler)
{
	return sampler->news;
}

bool top_sampler_take(struct top_sampler *sampler, struct top_answers *out)
{
	forget(sampler->news);
	(void)pthread_mutex_lock(&sampler->lock);
	bool has_answers = sampler->has_answers;
	if (has_answers) {
		*out = sampler->answers;
		sampler->answers = (struct top_answers){0};
		sampler->has_answers = false;
	}
	(void)pthread_mutex_unlock(&sampler->lock);
	return has_answers;
}
