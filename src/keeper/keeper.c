/* The keeper's thread: its loop, its clock, its sleep, start and stop. What a request means is in
 * keeper_lookup.c, how changes become durable in keeper_batch.c. It reads the lists as the workers
 * do, so it is a registered reader (base/qsbr.h). */
#include "keeper/keeper_impl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/qsbr.h"
#include "base/thread.h"
#include "keeper/knowledge.h"

/* --- clock ------------------------------------------------------------------------------------ */

/* The kernel is asked once a second at most, and only while the answer matters. */
static bool is_synchronised(struct keeper *keeper)
{
	if (!keeper->guard.is_paused || keeper->now.ns < keeper->sync_ask_due.ns) {
		return false;
	}
	keeper->sync_ask_due = mono_add_ms(keeper->now, KEEPER_TURN_MS);
	return clock_is_synchronised();
}

static void publish_clock(struct keeper *keeper, bool was_paused)
{
	keeper->life = keeper->guard.expiry_now;
	bool is_paused = keeper->guard.is_paused;
	/* relaxed: figures, and a time that may be a turn old */
	atomic_store_explicit(&keeper->is_clock_paused, is_paused, memory_order_relaxed);
	if (keeper->env.life_now_secs) {
		atomic_store_explicit(keeper->env.life_now_secs, keeper->life.secs,
		                      memory_order_relaxed);
	}
	if (is_paused && !was_paused) {
		log_warning(
		        "the wall clock is far ahead of what was expected: nothing expires until "
		        "the kernel reports a synchronised clock or `miredctl clock-ok`");
	} else if (!is_paused && was_paused) {
		log_info("the wall clock is confirmed: records expire again");
	}
}

static void read_clock(struct keeper *keeper)
{
	bool was_paused = atomic_load_explicit(&keeper->is_clock_paused, memory_order_relaxed);
	keeper->now = clock_mono();
	keeper->wall = clock_wall();
	/* relaxed: the flag is the whole message */
	if (atomic_exchange_explicit(&keeper->is_clock_confirmed, false, memory_order_relaxed)) {
		clockguard_confirm(&keeper->guard, keeper->wall);
	}
	if (clockguard_turn(&keeper->guard, keeper->wall, keeper->now, is_synchronised(keeper))) {
		counters_add(&keeper->counters, COUNTER_clock_jumps, 1);
		log_warning("the wall clock jumped");
	}
	publish_clock(keeper, was_paused);
}

/* --- when to commit --------------------------------------------------------------------------- */

static const struct mono never = {INT64_MAX};

static struct mono earlier(struct mono a, struct mono b)
{
	return a.ns < b.ns ? a : b;
}

static struct mono later(struct mono a, struct mono b)
{
	return a.ns > b.ns ? a : b;
}

static bool is_flag(const _Atomic bool *flag)
{
	return atomic_load_explicit(flag, memory_order_relaxed);
}

/* A batch is complete when it is full, when nothing more came for a moment, or when its first
 * request has waited long enough. */
static struct mono requests_due(const struct keeper *keeper)
{
	const struct conf *conf = keeper->env.conf;
	if (keeper->queue.n == 0) {
		return never;
	}
	if (keeper->queue.n >= conf->commit_max) {
		return keeper->now;
	}
	struct mono settled = mono_add_ms(keeper->last_arrival, KEEPER_SETTLE_MS);
	return earlier(settled, mono_add_ms(keeper->gather_since, conf->commit_wait_ms));
}

static struct mono counters_due(struct keeper *keeper)
{
	struct dirty *dirty = &keeper->dirty;
	if (keeper->now.ns >= dirty->due.ns) {
		dirty->due = mono_add_ms(keeper->now, KEEPER_DIRTY_MS);
		dirty->n_due = dirty->n;
	}
	bool is_now = dirty->n_due > 0 || dirty->n_evicted > KEEPER_EVICTED_MAX / 2;
	return is_now ? keeper->now : dirty->due;
}

static struct mono commit_due(struct keeper *keeper)
{
	if (is_flag(&keeper->is_failed)) {
		return never;
	}
	struct mono due = earlier(requests_due(keeper), counters_due(keeper));
	due = earlier(due, store_n_waiting(keeper->env.store) > 0 ? keeper->settle_due : never);
	if (!keeper->guard.is_paused) {
		due = earlier(due, keeper->sweep_due);
	}
	return is_flag(&keeper->is_degraded) ? later(due, keeper->retry_at) : due;
}

static struct mono wake_due(struct keeper *keeper)
{
	struct mono due = keeper->n_held > 0 ? mono_add_ms(keeper->now, KEEPER_HELD_MS) : never;
	return earlier(due, commit_due(keeper));
}

/* While the store fails the sweep goes first and alone: deleting may be what makes room. Deleting
 * needs pages itself (LMDB copies what it changes), so a full store is swept in ever smaller steps.
 */
static int make_room(struct keeper *keeper)
{
	int ret = 0;
	for (int i = 0; i < KEEPER_ROOM_TRIES; i++) {
		keeper->sweep_due = keeper->now;
		ret = keeper_commit(keeper, KEEPER_PART_SWEEP);
		if (ret == 0 && keeper->batch.n_writes == 0) {
			return 0; /* nothing is due */
		}
		if (ret != 0 && (ret != ERR_FULL || keeper->sweep_slice == 1)) {
			return ret;
		}
		if (ret != 0) {
			keeper->sweep_slice /= 2;
		}
	}
	return ret;
}

static void commit_now(struct keeper *keeper)
{
	if (is_flag(&keeper->is_degraded) && make_room(keeper) != 0) {
		return;
	}
	/* what clients wait for is not to fail with what nobody waits for */
	bool may_settle = !is_flag(&keeper->is_degraded) || keeper->queue.n == 0;
	(void)keeper_commit(keeper,
	                    may_settle ? KEEPER_PART_ALL : KEEPER_PART_ALL & ~KEEPER_PART_PLACES);
}

/* --- sleeping --------------------------------------------------------------------------------- */

static bool has_requests(const struct keeper *keeper)
{
	for (uint32_t i = 0; i < keeper->env.n_ports; i++) {
		if (!mailbox_is_empty(keeper->env.ports[i].requests)) {
			return true;
		}
	}
	return false;
}

/* A mailbox that cannot be drained (the queue is full, the store fails) is no reason to stay awake.
 */
static bool may_sleep(struct keeper *keeper)
{
	return !pending_queue_has_room(&keeper->queue) || !has_requests(keeper);
}

static void wait_until(struct keeper *keeper, struct mono due)
{
	struct mono now = clock_mono();
	int64_t ns = due.ns - now.ns;
	int64_t max_ns = KEEPER_TURN_MS * NS_PER_MS;
	ns = ns < max_ns ? ns : max_ns;
	if (ns <= 0) {
		return;
	}
	struct timespec timeout = {.tv_sec = ns / NS_PER_SEC, .tv_nsec = ns % NS_PER_SEC};
	struct pollfd pfd = {.fd = keeper->wake, .events = POLLIN};
	qsbr_offline();
	if (ppoll(&pfd, 1, &timeout, NULL) > 0) {
		uint64_t n = 0;
		(void)!read(keeper->wake, &n, sizeof n); /* only empties it */
	}
	qsbr_online();
}

/* Going to sleep: (1) say so, (2) look once more, (3) sleep. A worker posts, then exchanges the
 * flag (keeper_wake). Both exchanges are on one variable, so one comes first: if the worker's does,
 * ours acquires its post and step 2 sees it; if ours does, the worker reads true and writes the
 * eventfd. */
static void keeper_sleep(struct keeper *keeper, struct mono due)
{
	(void)atomic_exchange_explicit(&keeper->is_sleeping, true, memory_order_acq_rel);
	if (may_sleep(keeper) && !atomic_load_explicit(&keeper->must_stop, memory_order_acquire)) {
		wait_until(keeper, due);
	}
	atomic_store_explicit(&keeper->is_sleeping, false, memory_order_relaxed);
}

static void wake_up(int eventfd)
{
	uint64_t one = 1;
	/* full (EAGAIN) means that it is readable already */
	(void)!write(eventfd, &one, sizeof one);
}

void keeper_wake(struct keeper *keeper)
{
	/* partner: keeper_sleep */
	if (atomic_exchange_explicit(&keeper->is_sleeping, false, memory_order_acq_rel)) {
		wake_up(keeper->wake);
	}
}

/* --- the loop --------------------------------------------------------------------------------- */

/* Those who sleep for answers are few and not in a hurry for them: all are woken for one. */
static void wake_others(struct keeper *keeper)
{
	for (uint32_t i = 0; i < keeper->env.n_ports && keeper->must_wake_ports; i++) {
		if (keeper->env.ports[i].wake >= 0) {
			wake_up(keeper->env.ports[i].wake);
		}
	}
	keeper->must_wake_ports = false;
	if (keeper->must_wake_feeder) {
		keeper->must_wake_feeder = false;
		wake_up(keeper->env.wake_feeder);
	}
	if (keeper->must_wake_syncer && keeper->env.wake_syncer >= 0) {
		wake_up(keeper->env.wake_syncer);
	}
	keeper->must_wake_syncer = false;
}

/* A worker's share at a time, until a large group is together or nothing more is there. */
static bool drain(struct keeper *keeper)
{
	bool has_more = keeper_drain(keeper);
	for (int i = 1; i < KEEPER_DRAIN_ROUNDS && has_more; i++) {
		if (keeper->queue.n >= KEEPER_FLOOD_GROUP_MAX) {
			break;
		}
		has_more = keeper_drain(keeper);
	}
	return has_more;
}

static void set_rules(struct keeper *keeper)
{
	const struct conf *conf = keeper->env.conf;
	keeper->rules = (struct greylist_conf){.passtime_secs = conf->passtime_secs,
	                                       .greyexp_secs = conf->greyexp_secs,
	                                       .whiteexp_secs = conf->whiteexp_secs};
}

/* Holds for one turn: what is loaded here may be gone after the next sleep. */
static void take_conf(struct keeper *keeper)
{
	qsbr_quiescent();
	const struct knowledge_conf *live =
	        keeper->env.knowledge ? knowledge_conf(keeper->env.knowledge) : NULL;
	if (live) {
		keeper->env.conf = &live->conf;
		set_rules(keeper);
	}
}

static bool turn(struct keeper *keeper)
{
	take_conf(keeper);
	read_clock(keeper);
	bool has_more = drain(keeper);
	if (commit_due(keeper).ns <= keeper->now.ns) {
		commit_now(keeper);
		has_more = true; /* the mailboxes filled meanwhile */
	}
	keeper_post_held(keeper);
	wake_others(keeper);
	/* relaxed: a figure */
	atomic_store_explicit(&keeper->n_waiting, keeper->queue.n, memory_order_relaxed);
	return has_more;
}

/* The last commits: everything asked for, then the late counters. A failing store gets one try; a
 * slow one as long as a clean stop may take. */
static void finish(struct keeper *keeper)
{
	struct mono deadline = mono_add_ms(clock_mono(), KEEPER_FINISH_MS);
	bool has_more = true;
	while (has_more && !is_flag(&keeper->is_failed)) {
		take_conf(keeper);
		read_clock(keeper);
		has_more = keeper_drain(keeper);
		keeper->dirty.n_due = keeper->dirty.n;
		bool is_ok = keeper_commit(keeper, KEEPER_PART_ALL & ~KEEPER_PART_PLACES) == 0;
		has_more |= keeper->queue.n > 0 || keeper->dirty.n > 0;
		has_more &= is_ok && keeper->now.ns < deadline.ns;
	}
	if (keeper->queue.n > 0) {
		log_error(
		        "store: %u requests could not be stored before the stop; none was answered",
		        keeper->queue.n);
	}
	keeper_post_held(keeper);
	keeper->must_wake_feeder = true;
	wake_others(keeper);
}

static void *keeper_main(void *arg)
{
	struct keeper *keeper = arg;
	qsbr_register();
	/* acquire: partner of keeper_stop */
	while (!atomic_load_explicit(&keeper->must_stop, memory_order_acquire)) {
		if (!turn(keeper)) {
			keeper_sleep(keeper, wake_due(keeper));
		}
	}
	finish(keeper);
	qsbr_unregister();
	return NULL;
}

/* --- start and stop --------------------------------------------------------------------------- */

static void keeper_free(struct keeper *keeper)
{
	store_reader_close(keeper->reader);
	keeper_dirty_fini(&keeper->dirty);
	keeper_batch_fini(&keeper->batch);
	pending_queue_fini(&keeper->queue);
	for (uint32_t i = 0; keeper->held && i < keeper->env.n_ports; i++) {
		free(keeper->held[i].answers);
	}
	free(keeper->held);
	if (keeper->wake >= 0) {
		(void)close(keeper->wake);
	}
	free(keeper);
}

static int held_init(struct keeper *keeper)
{
	uint32_t n_ports = keeper->env.n_ports;
	keeper->held = calloc(n_ports ? n_ports : 1, sizeof *keeper->held);
	bool is_ok = keeper->held != NULL;
	for (uint32_t i = 0; is_ok && i < n_ports; i++) {
		keeper->held[i].answers =
		        calloc(KEEPER_IN_FLIGHT_MAX, sizeof(struct keeper_answer));
		is_ok = keeper->held[i].answers != NULL;
	}
	return is_ok ? 0 : -ENOMEM;
}

static int keeper_init(struct keeper *keeper)
{
	const struct conf *conf = keeper->env.conf;
	uint32_t n_ports = keeper->env.n_ports > 0 ? keeper->env.n_ports : 1;
	size_t queue_bytes = (size_t)KEEPER_QUEUE_BYTES * n_ports;
	keeper->now = clock_mono();
	keeper->low_priority_from = mono_add_ms(keeper->now, keeper->env.low_priority_grace_ms);
	keeper->sweep_due = keeper->now;
	keeper->settle_due = keeper->now;
	keeper->sweep_slice = KEEPER_SWEEP_SLICE;
	set_rules(keeper);
	clockguard_init(&keeper->guard, clock_wall(), keeper->now, store_newest(keeper->env.store));
	keeper->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (keeper->wake < 0) {
		return -errno;
	}
	int ret = pending_queue_init(&keeper->queue, queue_bytes);
	ret = ret ? ret : held_init(keeper);
	ret = ret ? ret : keeper_batch_init(&keeper->batch, conf->commit_max);
	ret = ret ? ret : keeper_dirty_init(&keeper->dirty, keeper->now);
	ret = ret ? ret : store_reader_open(keeper->env.store, &keeper->reader);
	return ret ? ret : keeper_load_traps(keeper);
}

int keeper_start(struct keeper **out, const struct keeper_env *env)
{
	struct keeper *keeper = aligned_alloc(_Alignof(struct keeper), sizeof *keeper);
	if (!keeper) {
		return -ENOMEM;
	}
	*keeper = (struct keeper){.env = *env, .wake = -1};
	int ret = keeper_init(keeper);
	if (ret == 0) {
		read_clock(keeper); /* life_now_secs is right before anybody looks */
		ret = thread_start(&keeper->thread, "keeper", keeper_main, keeper);
	}
	if (ret != 0) {
		keeper_free(keeper);
		return ret;
	}
	*out = keeper;
	return 0;
}

void keeper_stop(struct keeper *keeper)
{
	if (!keeper) {
		return;
	}
	/* release: partner of keeper_main; the eventfd ends a sleep that missed it */
	atomic_store_explicit(&keeper->must_stop, true, memory_order_release);
	wake_up(keeper->wake);
	(void)pthread_join(keeper->thread, NULL);
	keeper_free(keeper);
}

void keeper_clock_ok(struct keeper *keeper)
{
	atomic_store_explicit(&keeper->is_clock_confirmed, true, memory_order_relaxed);
	wake_up(keeper->wake);
}

/* Any thread; a moment's view. */
void keeper_figures_get(struct keeper *keeper, struct keeper_figures *out)
{
	*out = (struct keeper_figures){
	        .is_degraded = is_flag(&keeper->is_degraded),
	        .is_clock_paused = is_flag(&keeper->is_clock_paused),
	        .is_failed = is_flag(&keeper->is_failed),
	        .commit_p50_ms = latency_quantile_ms(&keeper->latency, 0.50),
	        .commit_p99_ms = latency_quantile_ms(&keeper->latency, 0.99),
	        .n_waiting = atomic_load_explicit(&keeper->n_waiting, memory_order_relaxed),
	};
	latency_figures_get(&keeper->latency, &out->commit);
	latency_figures_get(&keeper->durable, &out->durable);
}

const struct counters *keeper_counters(const struct keeper *keeper)
{
	return &keeper->counters;
}
