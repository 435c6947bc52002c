/* From a listener to a session: accepting, the bound on connections, what kind of host it is.
 *
 * Ways to fail, and what follows:
 *  - the ring's table is full: -ENFILE, the kernel has closed that connection; counted, armed
 * again;
 *  - descriptors or memory are short (EMFILE, ENFILE, ENOBUFS, ENOMEM): a pause that doubles;
 *  - the client was faster (ECONNABORTED) or the network said no: counted, armed again;
 *  - over the bound on connections: closed before anything else is asked or said. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "engine/arrival.h"
#include "engine/worker_impl.h"
#include "keeper/events.h"

enum { PAUSE_MIN_MS = 100, PAUSE_MAX_MS = 1000 };

/* --- listeners --- */

int acceptors_init(struct worker *worker)
{
	for (uint32_t i = 0; i < worker->env.n_listeners; i++) {
		struct acceptor *acceptor = &worker->acceptors[i];
		struct sockaddr_storage name = {0};
		socklen_t len = sizeof name;
		acceptor->fd = worker->env.listeners[i].fd;
		acceptor->is_low_priority = worker->env.listeners[i].is_low_priority;
		if (getsockname(acceptor->fd, (struct sockaddr *)&name, &len) < 0) {
			return -errno;
		}
		acceptor->is_v6 = name.ss_family == AF_INET6;
		if (ring_has_name(worker->ring)) {
			continue;
		}
		acceptor->slots = calloc(ACCEPTS_ONCE, sizeof *acceptor->slots);
		if (!acceptor->slots) {
			return -ENOMEM;
		}
	}
	return 0;
}

void acceptors_fini(struct worker *worker)
{
	for (uint32_t i = 0; i < worker->env.n_listeners; i++) {
		free(worker->acceptors[i].slots);
	}
}

static struct ring_tag accept_tag(uint32_t listener, uint32_t request)
{
	return (struct ring_tag){.op = RING_OP_ACCEPT, .entry = (uint8_t)listener, .slot = request};
}

static void arm_multishot(struct worker *worker, uint32_t idx)
{
	struct acceptor *acceptor = &worker->acceptors[idx];
	if (acceptor->n_armed == 0 &&
	    ring_accept_multishot(worker->ring, acceptor->fd, accept_tag(idx, 0))) {
		acceptor->n_armed = 1;
	}
}

static void arm_once(struct worker *worker, uint32_t idx)
{
	struct acceptor *acceptor = &worker->acceptors[idx];
	for (uint32_t i = 0; acceptor->n_armed < ACCEPTS_ONCE && i < ACCEPTS_ONCE; i++) {
		struct accept_slot *slot = &acceptor->slots[i];
		if (slot->is_armed) {
			continue;
		}
		if (!ring_accept_once(worker->ring, acceptor->fd, accept_tag(idx, i), &slot->peer,
		                      &slot->peer_len)) {
			return;
		}
		slot->is_armed = true;
		acceptor->n_armed++;
	}
}

void acceptors_arm(struct worker *worker)
{
	for (uint32_t i = 0; i < worker->env.n_listeners; i++) {
		struct acceptor *acceptor = &worker->acceptors[i];
		if (worker->tick_now < acceptor->rearm_tick) {
			continue;
		}
		if (acceptor->slots) {
			arm_once(worker, i);
		} else {
			arm_multishot(worker, i);
		}
	}
}

void acceptors_cancel(struct worker *worker)
{
	for (uint32_t i = 0; i < worker->env.n_listeners; i++) {
		struct ring_tag tag = {.op = RING_OP_CANCEL, .slot = i};
		worker->acceptors[i].rearm_tick = UINT64_MAX;
		(void)ring_cancel_accepts(worker->ring, worker->acceptors[i].fd, tag);
	}
}

bool acceptors_are_armed(const struct worker *worker)
{
	uint32_t n_armed = 0;
	for (uint32_t i = 0; i < worker->env.n_listeners; i++) {
		n_armed += worker->acceptors[i].n_armed;
	}
	return n_armed > 0;
}

static void pause_accepts(struct worker *worker, struct acceptor *acceptor, int ret)
{
	bool is_new = acceptor->pause_ms == 0;
	if (worker->tick_now < acceptor->rearm_tick) {
		return; /* another request of the same burst */
	}
	acceptor->pause_ms = is_new ? PAUSE_MIN_MS : acceptor->pause_ms * 2;
	if (acceptor->pause_ms > PAUSE_MAX_MS) {
		acceptor->pause_ms = PAUSE_MAX_MS;
	}
	acceptor->rearm_tick =
	        worker->tick_now + 1 + acceptor->pause_ms / worker->env.conf->tick_ms;
	if (is_new) {
		log_warning("accepting pauses: %s", err_text(ret));
	}
}

static void on_accept_failure(struct worker *worker, struct acceptor *acceptor, int ret)
{
	if (ret == -ECANCELED && worker->is_ending) {
		return;
	}
	if (ret == -ENFILE && worker->conns.n_open == worker->conns.size) {
		worker_count(worker, COUNTER_ring_full);
		return;
	}
	worker_count(worker, COUNTER_accept_errors);
	if (ret == -EMFILE || ret == -ENFILE || ret == -ENOBUFS || ret == -ENOMEM ||
	    ret == -EINVAL || ret == -EBADF || ret == -EAGAIN) {
		pause_accepts(worker, acceptor, ret);
	}
}

/* --- admission --- */

/* The count is of all workers: added first, taken back when it was one too many. */
static bool admit(struct worker *worker, struct conn *conn)
{
	uint32_t before =
	        atomic_fetch_add_explicit(worker->env.n_connections, 1, memory_order_relaxed);
	if (before >= worker->env.max_connections) {
		atomic_fetch_sub_explicit(worker->env.n_connections, 1, memory_order_relaxed);
		worker_count(worker, COUNTER_over_limit);
		return false;
	}
	conn->is_admitted = true;
	worker_count(worker, COUNTER_accepted);
	return true;
}

void worker_ask_name(struct worker *worker, uint32_t slot)
{
	struct conn *conn = conn_at(&worker->conns, slot);
	socklen_t len = conn->is_v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	if (!ring_name(worker->ring, worker_tag(conn, RING_OP_NAME, slot), &conn->name, len)) {
		worker_schedule_next_tick(worker, slot);
		return;
	}
	conn->n_flight = (conn->n_flight + 1U) & 0xfU;
}

/* --- class --- */

static const enum counter CLASS_COUNTERS[CLASS_COUNT] = {
        [SESSION_UNKNOWN] = COUNTER_COUNT, /* not counted: it will be one of the others */
        [SESSION_GREY] = COUNTER_class_grey,     [SESSION_WHITE] = COUNTER_class_white,
        [SESSION_LISTED] = COUNTER_class_listed, [SESSION_PASSIVE] = COUNTER_class_grey,
};

static void change_class(struct worker *worker, struct conn *conn, enum session_class cls)
{
	atomic_fetch_sub_explicit(&worker->n_class[conn->cls], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&worker->n_class[cls], 1, memory_order_relaxed);
	conn->cls = (unsigned)cls & 7U;
}

void worker_leave_class(struct worker *worker, const struct conn *conn)
{
	atomic_fetch_sub_explicit(&worker->n_class[conn->cls], 1, memory_order_relaxed);
	if (conn->cls == SESSION_LISTED && worker->env.n_listed) {
		atomic_fetch_sub_explicit(worker->env.n_listed, 1, memory_order_relaxed);
	}
}

static void count_class(struct worker *worker, const struct conn *conn)
{
	bool is_trapped = conn->cls == SESSION_LISTED && conn->is_trapped;
	enum counter which = is_trapped ? COUNTER_class_trapped : CLASS_COUNTERS[conn->cls];
	if (which != COUNTER_COUNT) {
		worker_count(worker, which);
	}
}

static const char *const class_words[CLASS_COUNT] = {
        [SESSION_UNKNOWN] = "unknown", [SESSION_GREY] = "grey",       [SESSION_WHITE] = "white",
        [SESSION_LISTED] = "listed",   [SESSION_PASSIVE] = "passive",
};

/* For `miredctl why`. */
static void note_connected(struct worker *worker, const struct conn *conn)
{
	bool is_trapped = conn->cls == SESSION_LISTED && conn->is_trapped;
	const struct event event = {.addr = conn->peer,
	                            .at = worker->wall,
	                            .kind = EVENT_CONNECTED,
	                            .by = EVENT_BY_CLIENT};
	events_add(worker->env.events, &event,
	           span_of_str(is_trapped ? "trapped" : class_words[conn->cls]));
}

/* max-listed bounds those who are stuttered, not those who are refused. */
static bool is_over_listed(struct worker *worker)
{
	const struct worker_env *env = &worker->env;
	if (!env->n_listed) {
		return false;
	}
	uint32_t before = atomic_fetch_add_explicit(env->n_listed, 1, memory_order_relaxed);
	return before >= env->max_listed;
}

static void enter_listed(struct worker *worker, struct conn *conn)
{
	change_class(worker, conn, SESSION_LISTED);
	session_classify(&conn->session, worker->env.session, SESSION_LISTED, worker->now_ms);
	session_list(&conn->session, worker->env.session, worker->now_ms);
	if (is_over_listed(worker)) {
		session_stop_stutter(&conn->session);
		worker_count(worker, COUNTER_listed_unstuttered);
	}
}

void worker_classify(struct worker *worker, uint32_t slot, enum session_class cls)
{
	struct conn *conn = conn_at(&worker->conns, slot);
	if (conn->cls != SESSION_UNKNOWN || cls == SESSION_UNKNOWN) {
		return;
	}
	if (cls == SESSION_LISTED) {
		enter_listed(worker, conn);
	} else {
		change_class(worker, conn, cls);
		session_classify(&conn->session, worker->env.session, cls, worker->now_ms);
	}
	count_class(worker, conn);
	note_connected(worker, conn);
	worker_log_connected(worker, conn);
	if (cls == SESSION_WHITE) {
		worker_request_host(worker, slot, conn);
	}
}

void worker_trap(struct worker *worker, uint32_t slot)
{
	struct conn *conn = conn_at(&worker->conns, slot);
	conn->is_trapped = true;
	worker_classify(worker, slot, SESSION_LISTED); /* one that is not known so far */
	if (conn->cls != SESSION_LISTED) {
		enter_listed(worker, conn);
	}
}

/* Lists come before everything that is known of the host; that is asked nevertheless, because a
 * listed host may be trapped as well. */
static void meet(struct worker *worker, uint32_t slot, struct conn *conn)
{
	bool is_on_list = worker_is_on_list(worker, &conn->peer);
	bool is_blacklist_only = worker->env.conf->blacklist_only;
	enum cache_kind host =
	        is_blacklist_only ? CACHE_NONE : worker_look_up_host(worker, &conn->peer);
	conn->is_trapped = host == CACHE_TRAPPED;
	worker_classify(worker, slot, arrival_class(is_blacklist_only, is_on_list, host));
	if (host == CACHE_GREY) {
		worker_request_host(worker, slot, conn);
	}
}

static void begin_session(struct worker *worker, uint32_t slot, const struct addr *peer)
{
	struct conn *conn = conn_at(&worker->conns, slot);
	conn->peer = *peer;
	conn->phase = CONN_OPEN;
	atomic_fetch_add_explicit(&worker->n_class[SESSION_UNKNOWN], 1, memory_order_relaxed);
	session_start(&conn->session, worker->env.session, SESSION_UNKNOWN, worker->now_ms);
	session_stagger(&conn->session, worker_next_phase(worker));
	meet(worker, slot, conn);
	worker_schedule(worker, slot, conn);
}

/* --- events --- */

static void on_accepted(struct worker *worker, const struct ring_event *event)
{
	uint32_t slot = (uint32_t)event->res;
	struct acceptor *acceptor = &worker->acceptors[event->tag.entry];
	struct conn *conn = conn_open(&worker->conns, slot);
	acceptor->pause_ms = 0;
	conn->is_v6 = acceptor->is_v6;
	conn->is_low_prio = acceptor->is_low_priority;
	if (worker->is_ending || !admit(worker, conn)) {
		worker_close(worker, slot);
		return;
	}
	if (!acceptor->slots) {
		worker_ask_name(worker, slot);
		return;
	}
	struct addr peer;
	const struct accept_slot *request = &acceptor->slots[event->tag.slot];
	if (addr_from_sockaddr((const struct sockaddr *)&request->peer, &peer) < 0) {
		worker_close(worker, slot);
		return;
	}
	begin_session(worker, slot, &peer);
}

void worker_on_accept(struct worker *worker, const struct ring_event *event)
{
	struct acceptor *acceptor = &worker->acceptors[event->tag.entry];
	if (event->res >= 0) {
		on_accepted(worker, event);
	} else {
		on_accept_failure(worker, acceptor, event->res);
	}
	if (event->has_more) {
		return;
	}
	acceptor->n_armed--;
	if (acceptor->slots) {
		acceptor->slots[event->tag.slot].is_armed = false;
	}
}

/* -ENOTCONN: the client has reset the connection already. */
void worker_on_name(struct worker *worker, const struct ring_event *event)
{
	struct conn *conn = conn_at(&worker->conns, event->tag.slot);
	struct sockaddr_in6 name = conn->name;
	struct addr peer;
	if (conn->phase == CONN_CLOSING) {
		worker_close(worker, event->tag.slot);
		return;
	}
	if (event->res < 0 || addr_from_sockaddr((const struct sockaddr *)&name, &peer) < 0) {
		worker_count(worker, COUNTER_peer_closed);
		worker_close(worker, event->tag.slot);
		return;
	}
	begin_session(worker, event->tag.slot, &peer);
}
