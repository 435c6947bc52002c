/* Serving connections: at most CHUNK_MAX of them at a time, each with one SEND and one RECV at
 * most, all handed to the kernel in one submission. Both are MSG_DONTWAIT, so they are done when
 * the submission returns; only then are the sessions told what became of them.
 *
 * What may become of a SEND: taken whole (a single byte has no event then); taken in part, or
 * -EAGAIN, -ENOBUFS: the session tries again later; anything else: the client is gone.
 * What may become of a RECV: bytes; 0, the client says no more; -EAGAIN, nothing there; anything
 * else: the client is gone. */
#include <errno.h>
#include <unistd.h>

#include "engine/worker_impl.h"

enum { CHUNK_WAIT_MS = 10, CHUNK_PAUSE_US = 1000 };

/* --- the end of a connection --- */

static void close_now(struct worker *worker, uint32_t slot, struct conn *conn)
{
	if (!ring_close_slot(worker->ring, worker_tag(conn, RING_OP_CLOSE, slot))) {
		worker_schedule_next_tick(worker, slot);
		return;
	}
	conn->n_flight = (conn->n_flight + 1U) & 0xfU;
}

void worker_close(struct worker *worker, uint32_t slot)
{
	struct conn *conn = conn_at(&worker->conns, slot);
	if (conn->phase == CONN_OPEN) {
		worker_log_disconnected(worker, conn);
		worker_leave_class(worker, conn);
	}
	wheel_remove(worker->wheel, slot);
	worker_pace_leave(worker, conn);
	conn->phase = CONN_CLOSING;
	if (conn->n_flight == 0) {
		close_now(worker, slot, conn);
	}
}

void worker_on_close(struct worker *worker, const struct ring_event *event)
{
	struct conn *conn = conn_at(&worker->conns, event->tag.slot);
	if (event->res == -ENOMEM) {
		worker_schedule_next_tick(worker, event->tag.slot);
		return;
	}
	if (conn->is_admitted) {
		atomic_fetch_sub_explicit(worker->env.n_connections, 1, memory_order_relaxed);
		worker_count(worker, COUNTER_closed);
	}
	wheel_remove(worker->wheel, event->tag.slot);
	conn_release(&worker->conns, conn);
}

void worker_on_shutdown(struct worker *worker, const struct ring_event *event)
{
	struct conn *conn = conn_at(&worker->conns, event->tag.slot);
	if (conn->phase == CONN_CLOSING && conn->n_flight == 0) {
		close_now(worker, event->tag.slot, conn);
	}
}

static void end_session(struct worker *worker, uint32_t slot, enum session_end why)
{
	switch (why) {
	case SESSION_END_READ_TIMEOUT:
		worker_count(worker, COUNTER_read_timeouts);
		break;
	case SESSION_END_WRITE_TIMEOUT:
		worker_count(worker, COUNTER_write_timeouts);
		break;
	case SESSION_END_PEER:
		worker_count(worker, COUNTER_peer_closed);
		break;
	case SESSION_END_NO_TEXT:
		worker_count(worker, COUNTER_no_text_memory);
		break;
	case SESSION_END_DONE:
	case SESSION_END_NONE:
		break;
	}
	worker_close(worker, slot);
}

/* --- what became of an entry --- */

static bool is_passing(int32_t res)
{
	return res == -EAGAIN || res == -EINTR || res == -ENOBUFS || res == -ENOMEM;
}

/* False: the client is gone. */
static bool settle_send(struct worker *worker, const struct chunk_entry *entry)
{
	struct conn *conn = conn_at(&worker->conns, entry->slot);
	if (entry->sent < 0 && !is_passing(entry->sent)) {
		return false;
	}
	uint32_t n = entry->sent > 0 ? (uint32_t)entry->sent : 0;
	session_sent(&conn->session, worker->env.session, n, worker->now_ms);
	counters_add(&worker->counters, COUNTER_bytes_sent, n);
	if (entry->n_send == 1) {
		counters_add(&worker->counters, COUNTER_bytes_stuttered, n);
	}
	return true;
}

/* Feeds input, with a larger text where it needs one. False: no text was to be had. */
static bool feed(struct worker *worker, struct conn *conn, struct span input)
{
	bool is_long = false;
	bool has_text = conn->text_size != CONN_TEXT_NONE || session_discards(&conn->session);
	if (!has_text && !conn_text_grow(&worker->conns, conn)) {
		return false;
	}
	for (;;) {
		size_t n = session_input(&conn->session, worker->env.session,
		                         conn_text(&worker->conns, conn), input, &is_long,
		                         worker->now_ms);
		input = span_skip(input, n);
		if (input.len == 0) {
			break;
		}
		if (!conn_text_grow(&worker->conns, conn)) {
			return false;
		}
	}
	if (is_long) {
		worker_count(worker, COUNTER_long_lines);
	}
	return true;
}

static enum session_end settle_recv(struct worker *worker, const struct chunk_entry *entry)
{
	struct conn *conn = conn_at(&worker->conns, entry->slot);
	if (entry->received == 0) {
		session_eof(&conn->session);
	} else if (entry->received < 0) {
		return is_passing(entry->received) ? SESSION_END_NONE : SESSION_END_PEER;
	} else {
		uint32_t n = (uint32_t)entry->received;
		counters_add(&worker->counters, COUNTER_bytes_received, n);
		if (!feed(worker, conn, span_of(entry->input, n))) {
			return SESSION_END_NO_TEXT;
		}
	}
	return SESSION_END_NONE;
}

/* Most of what is read is answered at once, and some clients never say anything worth keeping. */
static void trim_text(struct worker *worker, struct conn *conn)
{
	const struct session_text *text = conn_text(&worker->conns, conn);
	if (text && !session_needs_text(&conn->session, text)) {
		conn_text_drop(&worker->conns, conn);
	}
}

static void settle(struct worker *worker, const struct chunk_entry *entry)
{
	struct conn *conn = conn_at(&worker->conns, entry->slot);
	if (entry->n_send > 0 && !settle_send(worker, entry)) {
		end_session(worker, entry->slot, SESSION_END_PEER);
		return;
	}
	enum session_end end = entry->has_recv ? settle_recv(worker, entry) : SESSION_END_NONE;
	if (end != SESSION_END_NONE) {
		end_session(worker, entry->slot, end);
		return;
	}
	worker_run(worker, entry->slot, conn);
	if (entry->received > 0) {
		trim_text(worker, conn);
	}
	bool has_moved = entry->sent > 0 || (entry->has_recv && entry->received >= 0);
	if (!has_moved && mono_ms_diff(conn->session.due, worker->now_ms) <= 0) {
		worker_schedule_next_tick(worker, entry->slot); /* never spins */
	} else {
		worker_schedule(worker, entry->slot, conn);
	}
}

/* --- chunks --- */

static void flush(struct worker *worker)
{
	struct chunk *chunk = worker->chunk;
	/* What is queued while events are taken (for new connections, say) is not the chunk's: to
	 * wait for that too would never end under a flood of them. */
	bool is_taken = ring_submit(worker->ring) == 0 && !ring_has_queued(worker->ring);
	worker_reap(worker);
	/* Not entered as long as the kernel has memory: everything was done by the submission. The
	 * buffers are the kernel's until then, so there is no way past this. */
	while (!is_taken || chunk->n_awaited > 0) {
		if (ring_wait(worker->ring, CHUNK_WAIT_MS * NS_PER_MS) < 0) {
			(void)usleep(CHUNK_PAUSE_US);
		}
		is_taken = is_taken || !ring_has_queued(worker->ring);
		worker_reap(worker);
	}
	for (uint32_t i = 0; i < chunk->n; i++) {
		settle(worker, &chunk->entries[i]);
	}
	chunk->n = 0;
}

static void await(struct worker *worker, struct conn *conn)
{
	worker->chunk->n_awaited++;
	conn->n_flight = (conn->n_flight + 1U) & 0xfU;
}

static struct ring_tag entry_tag(const struct worker *worker, const struct conn *conn,
                                 enum ring_op op, const struct chunk_entry *entry)
{
	struct ring_tag tag = worker_tag(conn, op, entry->slot);
	tag.entry = (uint8_t)(entry - worker->chunk->entries);
	return tag;
}

static void queue_send(struct worker *worker, struct chunk_entry *entry, struct span bytes)
{
	struct conn *conn = conn_at(&worker->conns, entry->slot);
	bool is_byte = bytes.len == 1;
	struct ring_tag tag = entry_tag(worker, conn, is_byte ? RING_OP_BYTE : RING_OP_SEND, entry);
	entry->n_send = (uint32_t)bytes.len;
	entry->sent = -EAGAIN;
	if (!ring_send(worker->ring, tag, bytes, is_byte)) {
		return;
	}
	if (is_byte) {
		entry->sent = 1; /* unless an event says otherwise */
	} else {
		await(worker, conn);
	}
}

static void queue_recv(struct worker *worker, struct chunk_entry *entry)
{
	struct conn *conn = conn_at(&worker->conns, entry->slot);
	size_t room = session_room(&conn->session, conn_text(&worker->conns, conn));
	entry->received = -EAGAIN;
	if (room > sizeof entry->input) {
		room = sizeof entry->input;
	}
	if (room > 0 && ring_recv(worker->ring, entry_tag(worker, conn, RING_OP_RECV, entry),
	                          entry->input, (uint32_t)room)) {
		entry->has_recv = true;
		await(worker, conn);
	}
}

static struct chunk_entry *add_entry(struct worker *worker, uint32_t slot)
{
	if (worker->chunk->n == CHUNK_MAX) {
		flush(worker);
	}
	struct chunk_entry *entry = &worker->chunk->entries[worker->chunk->n++];
	entry->slot = slot;
	entry->n_send = 0;
	entry->sent = 0;
	entry->received = 0;
	entry->has_recv = false;
	return entry;
}

void worker_on_io(struct worker *worker, const struct ring_event *event)
{
	struct chunk *chunk = worker->chunk;
	struct chunk_entry *entry = &chunk->entries[event->tag.entry % CHUNK_MAX];
	if (event->tag.entry >= chunk->n || entry->slot != event->tag.slot) {
		/* only a quiet byte whose failure came late: the next send will fail as well */
		return;
	}
	if (event->tag.op == RING_OP_RECV) {
		entry->received = event->res;
	} else {
		entry->sent = event->res;
	}
	if (event->tag.op != RING_OP_BYTE) {
		chunk->n_awaited--;
	}
}

/* --- what is due --- */

static void shut(struct worker *worker, uint32_t slot, struct conn *conn)
{
	if (ring_shutdown(worker->ring, worker_tag(conn, RING_OP_SHUTDOWN, slot))) {
		conn->n_flight = (conn->n_flight + 1U) & 0xfU;
	}
	worker_schedule(worker, slot, conn);
}

static void act(struct worker *worker, uint32_t slot, struct conn *conn)
{
	struct session_step step =
	        session_wake(&conn->session, worker->env.session, worker->now_ms);
	struct chunk_entry *entry;
	if (step.is_unstored) {
		worker_count(worker, COUNTER_deferred_unstored);
	}
	switch (step.kind) {
	case SESSION_STEP_SEND:
		entry = add_entry(worker, slot);
		queue_send(worker, entry, step.bytes);
		if (step.read) {
			queue_recv(worker, entry);
		}
		break;
	case SESSION_STEP_LOOK:
		queue_recv(worker, add_entry(worker, slot));
		break;
	case SESSION_STEP_HOLD:
		worker_schedule(worker, slot, conn);
		break;
	case SESSION_STEP_SHUTDOWN:
		shut(worker, slot, conn);
		break;
	case SESSION_STEP_CLOSE:
		end_session(worker, slot, step.why);
		break;
	}
}

static void serve_open(struct worker *worker, uint32_t slot, struct conn *conn)
{
	if (conn->owes_request) {
		worker_request_host(worker, slot, conn);
	}
	if (conn->is_delayed) {
		worker_run(worker, slot, conn);
	}
	if (mono_ms_diff(conn->session.due, worker->now_ms) > 0) {
		worker_schedule(worker, slot, conn); /* early: more than a revolution ahead */
		return;
	}
	act(worker, slot, conn);
}

static void serve(struct worker *worker, uint32_t slot)
{
	struct conn *conn = conn_at(&worker->conns, slot);
	switch ((enum conn_phase)conn->phase) {
	case CONN_FREE:
		break;
	case CONN_NAMING:
		if (conn->n_flight == 0) {
			worker_ask_name(worker, slot);
		}
		break;
	case CONN_OPEN:
		serve_open(worker, slot, conn);
		break;
	case CONN_CLOSING:
		if (conn->n_flight == 0) {
			close_now(worker, slot, conn);
		}
		break;
	}
}

static bool take_ready(struct worker *worker, uint32_t *slot)
{
	if (worker->n_ready == 0) {
		return false;
	}
	*slot = worker->ready[worker->ready_first];
	worker->ready_first = (worker->ready_first + 1) % WORKER_READY_MAX;
	worker->n_ready--;
	conn_at(&worker->conns, *slot)->is_ready = false;
	wheel_remove(worker->wheel, *slot);
	return true;
}

static bool take_due(struct worker *worker, uint32_t *slot)
{
	while (worker->tick_done < worker->tick_now) {
		*slot = wheel_take(worker->wheel, worker->tick_done + 1);
		if (*slot != WHEEL_NONE) {
			return true;
		}
		worker->tick_done++;
	}
	return false;
}

/* In turn, as long as there are both: neither may keep the other waiting. */
static bool take_next(struct worker *worker, uint32_t *slot)
{
	bool is_due_first = worker->turn_left % 2 == 0;
	if (is_due_first && take_due(worker, slot)) {
		return true;
	}
	return take_ready(worker, slot) || (!is_due_first && take_due(worker, slot));
}

void worker_serve(struct worker *worker)
{
	uint32_t slot;
	do {
		while (worker->turn_left > 0 && take_next(worker, &slot)) {
			worker->turn_left--;
			serve(worker, slot);
		}
		if (worker->chunk->n > 0) {
			flush(worker);
		}
	} while (worker->turn_left > 0 && worker->n_ready > 0);
}
