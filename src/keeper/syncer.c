/* The syncer's thread, its socket, its way to the keeper, start and stop.
 *
 * One turn: sleep until something was committed, answered or received; take the keeper's answers;
 * send what the journal has; hand what peers tell to the keeper. */
#include "keeper/syncer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/qsbr.h"
#include "base/thread.h"
#include "keeper/knowledge.h"
#include "keeper/syncer_impl.h"

enum {
	STOP_WAIT_MS = 300, /* for the answer to a cursor that was asked for */
};

struct wall syncer_now(const struct syncer *syncer)
{
	/* relaxed: a number of its own */
	int64_t secs = atomic_load_explicit(syncer->env.life_now_secs, memory_order_relaxed);
	return secs > 0 ? (struct wall){secs} : clock_wall();
}

/* --- the way to the keeper -------------------------------------------------------------------- */

bool syncer_post(struct syncer *syncer, const struct change *change, enum syncer_cookie cookie)
{
	bool is_peers = cookie == SYNCER_COOKIE_PEERS;
	if ((is_peers && syncer->n_in_flight >= SYNCER_IN_FLIGHT_MAX) ||
	    !keeper_post_change(syncer->env.port, change, cookie)) {
		return false;
	}
	syncer->n_in_flight += is_peers;
	syncer->must_wake_keeper = true;
	return true;
}

static void wake_keeper(struct syncer *syncer)
{
	if (syncer->must_wake_keeper) {
		syncer->must_wake_keeper = false;
		keeper_wake(syncer->env.keeper);
	}
}

static void take_answers(struct syncer *syncer)
{
	size_t len = 0;
	const struct keeper_answer *next;
	while ((next = mailbox_peek(syncer->env.port->answers, &len)) != NULL) {
		struct keeper_answer answer = *next;
		mailbox_release(syncer->env.port->answers);
		if (answer.cookie == SYNCER_COOKIE_CURSOR) {
			syncer_out_saved(syncer, answer.ret);
		} else {
			syncer->n_in_flight--;
		}
	}
}

/* --- the loop --------------------------------------------------------------------------------- */

static bool must_stop(const struct syncer *syncer)
{
	/* acquire: partner of syncer_stop */
	return atomic_load_explicit(&syncer->must_stop, memory_order_acquire);
}

static void empty_eventfd(int fd)
{
	uint64_t n = 0;
	(void)!read(fd, &n, sizeof n); /* only empties it */
}

/* Nothing of what others replace (domains, traps) is held over the sleep. */
static void wait_events(struct syncer *syncer)
{
	bool is_listening = syncer->is_receiving && syncer_in_has_room(syncer);
	struct pollfd pfds[] = {
	        {.fd = syncer->control, .events = POLLIN},
	        {.fd = syncer->env.wake, .events = POLLIN},
	        {.fd = is_listening ? syncer->env.socket : -1, .events = POLLIN},
	};
	qsbr_offline();
	int n = poll(pfds, ARRAY_LEN(pfds), SYNCER_RETRY_MS);
	qsbr_online();
	if (n > 0 && pfds[1].revents) {
		empty_eventfd(syncer->env.wake);
	}
}

static void take_conf(struct syncer *syncer)
{
	const struct knowledge_conf *live = knowledge_conf(syncer->env.knowledge);
	if (live) {
		syncer->env.conf = &live->conf;
	}
}

static void turn(struct syncer *syncer)
{
	wait_events(syncer);
	take_conf(syncer);
	take_answers(syncer);
	if (syncer->is_sending) {
		syncer_out_turn(syncer);
	}
	if (syncer->is_receiving) {
		syncer_in_turn(syncer);
	}
	wake_keeper(syncer);
}

/* What was committed as sent should leave. */
static void finish(struct syncer *syncer)
{
	struct mono deadline = mono_add_ms(clock_mono(), STOP_WAIT_MS);
	while (syncer->out.state == OUT_WAITING && clock_mono().ns < deadline.ns) {
		struct pollfd pfd = {.fd = syncer->env.wake, .events = POLLIN};
		int64_t left_ms = mono_diff_ms(deadline, clock_mono());
		qsbr_offline();
		int n = poll(&pfd, 1, (int)left_ms + 1);
		qsbr_online();
		if (n > 0) {
			empty_eventfd(syncer->env.wake);
		}
		take_answers(syncer);
	}
}

static void *syncer_main(void *arg)
{
	struct syncer *syncer = arg;
	qsbr_register();
	while (!must_stop(syncer)) {
		turn(syncer);
	}
	finish(syncer);
	qsbr_unregister();
	return NULL;
}

/* --- start and stop --------------------------------------------------------------------------- */

static void syncer_free(struct syncer *syncer)
{
	store_reader_close(syncer->reader);
	if (syncer->control >= 0) {
		(void)close(syncer->control);
	}
	(void)pthread_mutex_destroy(&syncer->lock);
	free(syncer);
}

static int init(struct syncer *syncer)
{
	const struct sync_setup *setup = syncer->env.setup;
	syncer->is_sending = setup->n_peers > 0 || setup->has_group;
	syncer->is_receiving = setup->must_receive;
	syncer->control = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int ret = syncer->control < 0 ? -errno : 0;
	ret = ret ? ret : store_reader_open(syncer->env.store, &syncer->reader);
	if (ret != 0) {
		return ret;
	}
	syncer_peers_init(syncer);
	syncer_in_init(syncer);
	return syncer->is_sending ? syncer_out_init(syncer) : 0;
}

int syncer_start(struct syncer **out, const struct syncer_env *env)
{
	struct syncer *syncer = aligned_alloc(_Alignof(struct syncer), sizeof *syncer);
	if (!syncer) {
		return -ENOMEM;
	}
	memset(syncer, 0, sizeof *syncer);
	syncer->env = *env;
	(void)pthread_mutex_init(&syncer->lock, NULL);
	int ret = init(syncer);
	ret = ret ? ret : thread_start(&syncer->thread, "syncer", syncer_main, syncer);
	if (ret != 0) {
		syncer_free(syncer);
		return ret;
	}
	*out = syncer;
	return 0;
}

void syncer_stop(struct syncer *syncer)
{
	uint64_t one = 1;
	if (!syncer) {
		return;
	}
	/* release: partner of must_stop */
	atomic_store_explicit(&syncer->must_stop, true, memory_order_release);
	(void)!write(syncer->control, &one, sizeof one);
	(void)pthread_join(syncer->thread, NULL);
	(void)close(syncer->env.socket);
	syncer_free(syncer);
}

const struct counters *syncer_counters(const struct syncer *syncer)
{
	return &syncer->counters;
}
