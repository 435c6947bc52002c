/* The worker's thread. A turn: read the clock, take what the kernel reports, take the keeper's
 * answers, serve the connections that are due, arm the accepts, sleep till the next tick in one
 * io_uring_enter. A late turn serves what was missed once and never in a burst: what was due then
 * is next due as much later. */
#include "engine/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/qsbr.h"
#include "base/thread.h"
#include "engine/worker_impl.h"

enum {
	END_WAIT_MS = 1000,    /* for the last completions at the end */
	END_TURN_MS = 20,      /* one wait of those */
	WAKE_EVENTS = 64,      /* so many end a sleep */
	ERROR_PAUSE_US = 1000, /* after an io_uring_enter that failed: memory is short */
};

void worker_count(struct worker *worker, enum counter which)
{
	counters_add(&worker->counters, which, 1);
}

struct ring_tag worker_tag(const struct conn *conn, enum ring_op op, uint32_t slot)
{
	return (struct ring_tag){.op = op, .slot = slot, .generation = conn->generation};
}

/* --- time and the wheel --- */

static int64_t tick_ns(const struct worker *worker)
{
	return (int64_t)worker->env.conf->tick_ms * NS_PER_MS;
}

static void read_clock(struct worker *worker)
{
	worker->now = clock_mono();
	worker->now_ms = mono_to_ms(worker->now);
	worker->wall = clock_wall();
	worker->tick_now = (uint64_t)((worker->now.ns - worker->epoch.ns) / tick_ns(worker));
	worker->late_ns = worker->now.ns - worker->epoch.ns -
	                  (int64_t)(worker->tick_done + 1) * tick_ns(worker);
	if (worker->tick_now > worker->tick_done + WORKER_WHEEL_SLOTS &&
	    !wheel_is_draining(worker->wheel, worker->tick_done + 1)) {
		/* The machine stood still: one revolution finds everything. A slot that is half
		 * drained is finished first, or what was added to it meanwhile waits for another.
		 */
		worker->tick_done = worker->tick_now - WORKER_WHEEL_SLOTS;
	}
}

/* Never the slot being drained twice in one revolution, never a tick that has begun. */
static void add_to_wheel(struct worker *worker, uint32_t slot, uint64_t tick)
{
	if (tick <= worker->tick_now) {
		tick = worker->tick_now + 1;
	}
	if (tick > worker->tick_done + WORKER_WHEEL_SLOTS) {
		tick = worker->tick_done + WORKER_WHEEL_SLOTS;
	}
	wheel_add(worker->wheel, slot, tick);
}

void worker_schedule_next_tick(struct worker *worker, uint32_t slot)
{
	add_to_wheel(worker, slot, worker->tick_now + 1);
}

static bool make_ready(struct worker *worker, uint32_t slot, struct conn *conn)
{
	if (conn->is_ready) {
		return true;
	}
	if (worker->n_ready == WORKER_READY_MAX) {
		return false;
	}
	uint32_t at = (worker->ready_first + worker->n_ready) % WORKER_READY_MAX;
	worker->ready[at] = slot;
	worker->n_ready++;
	conn->is_ready = true;
	return true;
}

void worker_schedule(struct worker *worker, uint32_t slot, struct conn *conn)
{
	int32_t wait_ms = mono_ms_diff(conn->session.due, worker->now_ms);
	worker_pace_note(worker, conn);
	if (wait_ms <= 0 && make_ready(worker, slot, conn)) {
		return;
	}
	if (conn->is_delayed || conn->owes_request || wait_ms <= 0) {
		worker_schedule_next_tick(worker, slot);
		return;
	}
	int64_t at_ns = mono_add_ms(worker->now, wait_ms).ns - worker->epoch.ns;
	add_to_wheel(worker, slot, (uint64_t)((at_ns + tick_ns(worker) - 1) / tick_ns(worker)));
}

/* --- what the kernel reports --- */

static void on_nothing(struct worker *worker, const struct ring_event *event)
{
	(void)worker;
	(void)event;
}

static const struct {
	void (*handle)(struct worker *worker, const struct ring_event *event);
	bool is_of_conn; /* its tag names a connection */
} EVENTS[RING_OP_COUNT] = {
        [RING_OP_NONE] = {on_nothing, false},
        [RING_OP_ACCEPT] = {worker_on_accept, false},
        [RING_OP_NAME] = {worker_on_name, true},
        [RING_OP_BYTE] = {worker_on_io, true},
        [RING_OP_SEND] = {worker_on_io, true},
        [RING_OP_RECV] = {worker_on_io, true},
        [RING_OP_SHUTDOWN] = {worker_on_shutdown, true},
        [RING_OP_CLOSE] = {worker_on_close, true},
        [RING_OP_CANCEL] = {on_nothing, false},
        [RING_OP_WAKE] = {on_nothing, false},
};

/* Every request but a quiet byte was counted when it was queued. */
static bool settle_flight(struct worker *worker, const struct ring_event *event)
{
	if (!conn_is_current(&worker->conns, event->tag.slot, event->tag.generation)) {
		worker_count(worker, COUNTER_stale_completions);
		return false;
	}
	struct conn *conn = conn_at(&worker->conns, event->tag.slot);
	if (event->tag.op != RING_OP_BYTE) {
		conn->n_flight = (conn->n_flight - 1U) & 0xfU;
	}
	return true;
}

void worker_reap(struct worker *worker)
{
	struct ring_event event;
	for (unsigned n = 0; n < WORKER_EVENTS_MAX && ring_next(worker->ring, &event); n++) {
		if (EVENTS[event.tag.op].is_of_conn && !settle_flight(worker, &event)) {
			continue;
		}
		EVENTS[event.tag.op].handle(worker, &event);
	}
}

/* --- the loop --- */

/* The time since the last turn, for each connection held in the tarpit over it. */
static void count_held(struct worker *worker, struct mono since)
{
	uint32_t n_held =
	        atomic_load_explicit(&worker->n_class[SESSION_LISTED], memory_order_relaxed);
	worker->held_ns += n_held * (uint64_t)(worker->now.ns - since.ns);
	counters_add(&worker->counters, COUNTER_tarpit_seconds, worker->held_ns / NS_PER_SEC);
	worker->held_ns %= NS_PER_SEC;
}

static void turn(struct worker *worker)
{
	struct mono since = worker->now;
	worker_take_settings(worker);
	read_clock(worker);
	count_held(worker, since);
	/* The event of wake_fd only ends the sleep: it may fail when memory is short.
	 * acquire: partner of the release in worker_stop */
	worker->is_ending = atomic_load_explicit(&worker->stop, memory_order_acquire);
	worker->turn_left = WORKER_TURN_MAX;
	worker_pace_turn(worker);
	worker_reap(worker);
	worker_take_answers(worker);
	worker_serve(worker);
	acceptors_arm(worker);
	worker_held_turn(worker);
	if (worker->has_posted) {
		worker->has_posted = false;
		keeper_wake(worker->env.keeper);
	}
}

/* Till the next tick; not at all while something could be served now. The clock is read once more
 * here, because serving takes time that must not be added to the sleep. */
static int64_t sleep_ns(const struct worker *worker)
{
	if (worker->n_ready > 0 || worker->tick_done < worker->tick_now) {
		return 0;
	}
	int64_t next_ns = worker->epoch.ns + (int64_t)(worker->tick_now + 1) * tick_ns(worker);
	int64_t left_ns = next_ns - clock_mono().ns;
	return left_ns > 0 ? left_ns : 0;
}

/* Nothing of what others may replace (lists, domains, traps) is held over a sleep. It takes a crowd
 * of new connections to end it before its time: to wake for each costs more than to accept it. What
 * is queued is answered at once, and its events are wanted. */
static void wait_for_events(struct worker *worker, int64_t wait_ns)
{
	unsigned n_events = ring_has_queued(worker->ring) ? 1 : WAKE_EVENTS;
	qsbr_offline();
	if (ring_wait_many(worker->ring, n_events, wait_ns) < 0) {
		(void)usleep(ERROR_PAUSE_US);
	}
	qsbr_online();
}

/* Closes everything, within END_WAIT_MS: the ring's own end would do it too, but some time later.
 */
static void end_all(struct worker *worker)
{
	acceptors_cancel(worker);
	for (uint32_t slot = 0; slot < worker->conns.size; slot++) {
		enum conn_phase phase = (enum conn_phase)conn_at(&worker->conns, slot)->phase;
		if (phase == CONN_OPEN || phase == CONN_NAMING) {
			worker_close(worker, slot);
		}
		if (slot % CHUNK_MAX == 0) {
			worker_reap(worker);
		}
	}
	struct mono until = mono_add_ms(clock_mono(), END_WAIT_MS);
	while ((worker->conns.n_open > 0 || acceptors_are_armed(worker)) &&
	       clock_mono().ns < until.ns) {
		wait_for_events(worker, END_TURN_MS * NS_PER_MS);
		worker_reap(worker);
	}
}

static void *run(void *arg)
{
	struct worker *worker = arg;
	worker->epoch = clock_mono();
	read_clock(worker);
	worker_pace_init(worker);
	worker->start_ret = ring_enable(worker->ring);
	if (worker->start_ret == 0 &&
	    !ring_wake_on(worker->ring, worker->wake_fd, (struct ring_tag){.op = RING_OP_WAKE})) {
		worker->start_ret = -ENOMEM;
	}
	if (worker->start_ret < 0) {
		sem_post(&worker->started);
		return NULL;
	}
	qsbr_register();
	acceptors_arm(worker);
	worker->start_ret = ring_submit(worker->ring);
	sem_post(&worker->started);
	while (!worker->is_ending && worker->start_ret == 0) {
		wait_for_events(worker, sleep_ns(worker));
		turn(worker);
	}
	end_all(worker);
	worker_pace_fini(worker);
	qsbr_unregister();
	return NULL;
}

/* --- start and stop --- */

static int open_parts(struct worker *worker)
{
	char why[RING_WHY_MAX];
	const struct worker_env *env = &worker->env;
	struct ring_options options = {
	        .table_size = env->table_size,
	        .force_fallback = env->conf->accept_feature == CONF_FEATURE_FALLBACK,
	};
	int ret = ring_open(&worker->ring, &options, why);
	if (ret < 0) {
		log_error("worker %u: %s", env->idx, why);
		return ret;
	}
	ret = conn_table_init(&worker->conns, env->table_size);
	if (ret < 0) {
		return ret;
	}
	worker->wheel = wheel_new(WORKER_WHEEL_SLOTS, env->table_size);
	worker->chunk = calloc(1, sizeof *worker->chunk);
	if (!worker->wheel || !worker->chunk) {
		return -ENOMEM;
	}
	worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return worker->wake_fd < 0 ? -errno : acceptors_init(worker);
}

static void free_all(struct worker *worker)
{
	ring_close(worker->ring); /* first: accepts that are left may still name their slots */
	acceptors_fini(worker);
	if (worker->wake_fd >= 0) {
		close(worker->wake_fd);
	}
	free(worker->chunk);
	wheel_free(worker->wheel);
	conn_table_fini(&worker->conns);
	sem_destroy(&worker->started);
	free(worker);
}

static int start_and_wait(struct worker *worker)
{
	char name[16];
	(void)snprintf(name, sizeof name, "worker %u", worker->env.idx % CONF_WORKERS_MAX);
	int ret = thread_start(&worker->thread, name, run, worker);
	if (ret < 0) {
		return ret;
	}
	while (sem_wait(&worker->started) < 0 && errno == EINTR) {
	}
	if (worker->start_ret < 0) {
		pthread_join(worker->thread, NULL);
	}
	return worker->start_ret;
}

int worker_start(struct worker **out, const struct worker_env *env)
{
	if (env->table_size == 0 || env->table_size > RING_TABLE_MAX ||
	    env->n_listeners > WORKER_LISTENERS_MAX || env->conf->tick_ms == 0) {
		return ERR_RANGE;
	}
	struct worker *worker = aligned_alloc(CACHE_LINE, sizeof *worker);
	if (!worker) {
		return -ENOMEM;
	}
	memset(worker, 0, sizeof *worker);
	worker->env = *env;
	worker->session = *env->session;
	worker->env.session = &worker->session;
	worker->wake_fd = -1;
	sem_init(&worker->started, 0, 0);
	int ret = open_parts(worker);
	if (ret == 0) {
		ret = start_and_wait(worker);
	}
	if (ret < 0) {
		log_error("worker %u cannot run: %s", env->idx, err_text(ret));
		free_all(worker);
		return ret;
	}
	*out = worker;
	return 0;
}

void worker_stop(struct worker *worker)
{
	if (!worker) {
		return;
	}
	/* release: partner of the acquire in turn */
	atomic_store_explicit(&worker->stop, true, memory_order_release);
	uint64_t one = 1;
	(void)!write(worker->wake_fd, &one, sizeof one);
	pthread_join(worker->thread, NULL);
	for (uint32_t i = 0; i < worker->env.n_listeners; i++) {
		close(worker->acceptors[i].fd);
	}
	free_all(worker);
}

static uint32_t class_count(const struct worker *worker, enum session_class cls)
{
	return atomic_load_explicit(&worker->n_class[cls], memory_order_relaxed);
}

void worker_figures_get(const struct worker *worker, struct worker_figures *out)
{
	*out = (struct worker_figures){
	        .n_unknown = class_count(worker, SESSION_UNKNOWN),
	        .n_grey = class_count(worker, SESSION_GREY) + class_count(worker, SESSION_PASSIVE),
	        .n_white = class_count(worker, SESSION_WHITE),
	        .n_listed = class_count(worker, SESSION_LISTED),
	        .accept_mode = ring_has_name(worker->ring) ? "multishot" : "single-shot",
	};
	worker_pace_figures(worker, out);
	out->n_now = out->n_unknown + out->n_grey + out->n_white + out->n_listed;
}

const struct counters *worker_counters(const struct worker *worker)
{
	return &worker->counters;
}
