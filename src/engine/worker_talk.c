/* What a worker tells others: requests to the keeper, log lines; and what the keeper answers.
 *
 * The mailbox to the keeper is bounded in bytes and in unanswered requests. Full means: the
 * connection keeps its input (or its question) and tries again at the next tick. Nothing is lost,
 * unless it stays full for longer than store-wait. */
#include <stddef.h>
#include <string.h>

#include "base/log.h"
#include "engine/worker_impl.h"
#include "store/record.h"

enum {
	REQUEST_MAX = offsetof(struct keeper_request, strings) + 3UL * SESSION_VALUE_MAX,
	LOG_VALUE_MAX = 300, /* of one value from the network in a log line, escaped */
};

/* Names nobody: the answer to a request that no session waits for. */
static const struct conn_ref NOBODY = {.slot = UINT32_MAX, .generation = UINT32_MAX};

/* --- requests --- */

static bool has_room(const struct worker *worker)
{
	return worker->in_flight < KEEPER_IN_FLIGHT_MAX &&
	       mailbox_reserve(worker->env.port->requests, REQUEST_MAX) != NULL;
}

/* Whether a tuple has to wait for room. Not longer than the store may take: a keeper that has
 * answered nothing for store-wait has a store that fails or hangs, and then clients are deferred
 * without a record rather than left without a reply. */
static bool waits_for_room(struct worker *worker)
{
	if (has_room(worker)) {
		worker->is_full = false;
		return false;
	}
	if (!worker->is_full) {
		worker->is_full = true;
		worker->full_since = worker->now_ms;
	}
	return mono_ms_diff(worker->now_ms, worker->full_since) <
	       (int64_t)worker->env.session->store_wait_ms;
}

static struct conn_ref ref_of(const struct conn *conn, uint32_t slot)
{
	return (struct conn_ref){.slot = slot, .generation = conn->generation};
}

static struct addr host_of(const struct worker *worker, const struct conn *conn)
{
	return addr_group(&conn->peer, worker->env.conf->ipv6_prefix);
}

static uint16_t append(uint8_t *strings, size_t *at, struct span text)
{
	size_t len = text.len < SESSION_VALUE_MAX ? text.len : SESSION_VALUE_MAX;
	memcpy(strings + *at, text.ptr, len);
	*at += len;
	return (uint16_t)len;
}

static size_t request_len(const struct tuple_text *text)
{
	return offsetof(struct keeper_request, strings) + text->helo.len + text->sender.len +
	       text->recipient.len;
}

/* Only after has_room. */
static void post(struct worker *worker, struct keeper_request head, const struct tuple_text *text)
{
	struct keeper_request *request =
	        mailbox_reserve(worker->env.port->requests, request_len(text));
	ASSERT(request);
	size_t at = 0;
	memcpy(request, &head, offsetof(struct keeper_request, strings));
	request->helo_len = append(request->strings, &at, text->helo);
	request->sender_len = append(request->strings, &at, text->sender);
	request->recipient_len = append(request->strings, &at, text->recipient);
	mailbox_post(worker->env.port->requests);
	worker->has_posted = true;
	if (head.kind != KEEPER_SEEN) {
		worker->in_flight++;
	}
}

void worker_request_host(struct worker *worker, uint32_t slot, struct conn *conn)
{
	bool is_question = conn->cls == SESSION_UNKNOWN || conn->cls == SESSION_LISTED;
	bool was_delayed = conn->owes_request;
	conn->owes_request = false;
	if (!is_question && conn->cls != SESSION_WHITE) {
		return;
	}
	if (!has_room(worker)) {
		counters_add(&worker->counters, COUNTER_events_delayed, was_delayed ? 0 : 1);
		conn->owes_request = true;
		return;
	}
	struct keeper_request head = {
	        .kind = is_question ? KEEPER_HOST : KEEPER_SEEN,
	        .conn = ref_of(conn, slot),
	        .addr = host_of(worker, conn),
	        .peer = conn->peer,
	};
	post(worker, head, &(struct tuple_text){SPAN(""), SPAN(""), SPAN("")});
}

/* --- caches --- */

static bool is_live(const struct worker *worker, const struct cache_entry *entry)
{
	return (int64_t)entry->expire_secs > worker->wall.secs;
}

static bool get_host(const struct worker *worker, const struct addr *addr, struct cache_entry *out)
{
	struct cache_key key = {0};
	memcpy(key.bytes, addr->bytes, sizeof addr->bytes);
	return cache_get(worker->env.hosts, &key, out) && is_live(worker, out);
}

/* Traps go by the whole address, everything else by the group. */
enum cache_kind worker_look_up_host(const struct worker *worker, const struct addr *peer)
{
	struct addr host = addr_group(peer, worker->env.conf->ipv6_prefix);
	struct cache_entry entry;
	if (!addr_equal(&host, peer) && get_host(worker, peer, &entry) &&
	    entry.kind == CACHE_TRAPPED) {
		return CACHE_TRAPPED;
	}
	return get_host(worker, &host, &entry) ? (enum cache_kind)entry.kind : CACHE_GREY;
}

/* On disk as it is, and this attempt cannot change its fate: nobody has to wait for the keeper. */
static bool is_known_early(const struct worker *worker, const struct addr *host,
                           const struct tuple_text *text)
{
	struct cache_key key;
	struct cache_entry entry;
	struct tuple_key tuple = record_tuple_key(worker->env.hash_key, host, text);
	static_assert(sizeof tuple == sizeof key, "a tuple's key in the cache is its key on disk");
	memcpy(&key, &tuple, sizeof key);
	return cache_get(worker->env.tuples, &key, &entry) && entry.kind == CACHE_GREY &&
	       entry.is_committed && is_live(worker, &entry) &&
	       worker->wall.secs <= (int64_t)entry.first_secs + worker->env.conf->passtime_secs;
}

/* --- events of sessions --- */

/* The field VERDICT: as what the client is treated. */
static const char *verdict_of(const struct conn *conn)
{
	static const char *const verdicts[CLASS_COUNT] = {
	        [SESSION_UNKNOWN] = "GREY",    [SESSION_GREY] = "GREY",
	        [SESSION_WHITE] = "WHITE",     [SESSION_LISTED] = "BLACK",
	        [SESSION_PASSIVE] = "PASSIVE",
	};
	return conn->is_trapped ? "TRAPPED" : verdicts[conn->cls];
}

static void log_mail(struct worker *worker, const struct conn *conn,
                     const struct session_event *event)
{
	char peer[ADDR_TEXT_MAX];
	char sender[LOG_VALUE_MAX];
	char recipient[LOG_VALUE_MAX];
	char tags[TAGS_BYTES_MAX + sizeof " ..."];
	if (!log_takes(LOG_EVENT_attempt)) {
		return;
	}
	const struct log_fields fields = {
	        .client = addr_format(&conn->peer, peer),
	        .sender = span_escape(event->sender, sender, sizeof sender),
	        .recipient = span_escape(event->recipient, recipient, sizeof recipient),
	        .verdict = verdict_of(conn),
	        .list = worker_list_tags(worker, conn, tags),
	};
	log_event(LOG_EVENT_attempt, &fields, "(%s) %s: %s -> %s",
	          conn->cls == SESSION_LISTED ? "BLACK" : "GREY", peer, sender, recipient);
}

static void log_line(const struct conn *conn, const struct session_event *event)
{
	char peer[ADDR_TEXT_MAX];
	char line[LOG_VALUE_MAX];
	bool is_header = event->kind == SESSION_EVENT_HEADER;
	enum log_event kind = is_header ? LOG_EVENT_header : LOG_EVENT_body;
	if ((!is_header && event->line.len == 0) || !log_takes(kind)) {
		return;
	}
	const struct log_fields fields = {
	        .client = addr_format(&conn->peer, peer),
	        .verdict = verdict_of(conn),
	        .line = span_escape(event->line, line, sizeof line),
	};
	log_event(kind, &fields, is_header ? "%s: %s" : "%s: Body: %s", peer, line);
}

/* A RCPT that traps whoever says it, also one who is trapped already. As with tuples, not without
 * HELO. */
static bool is_trap_hit(const struct worker *worker, const struct session_event *event)
{
	return !worker->env.conf->blacklist_only && event->helo.len > 0 &&
	       worker_is_trap(worker, event->recipient);
}

/* The keeper is told of the RCPT; `from` waits for its answer. Without room a connection that waits
 * does so for ever: its deferral ends with store-wait, unstored. */
static void post_tuple(struct worker *worker, const struct conn *conn, struct conn_ref from,
                       const struct session_event *event, bool is_hit)
{
	struct keeper_request head = {
	        .kind = KEEPER_TUPLE,
	        .conn = from,
	        .addr = host_of(worker, conn),
	        .peer = conn->peer,
	        .begun = worker->now,
	        .flags = (uint16_t)((is_hit ? KEEPER_IS_TRAP : 0) |
	                            (conn->is_low_prio ? KEEPER_IS_LOW_PRIORITY : 0)),
	};
	if (has_room(worker)) {
		post(worker, head,
		     &(struct tuple_text){event->helo, event->sender, event->recipient});
	}
}

static void on_tuple(struct worker *worker, uint32_t slot, struct conn *conn,
                     const struct session_event *event)
{
	bool is_hit = is_trap_hit(worker, event);
	struct tuple_text text = {event->helo, event->sender, event->recipient};
	struct addr host = host_of(worker, conn);
	struct conn_ref from = NOBODY;
	if (is_hit || !is_known_early(worker, &host, &text)) {
		from = ref_of(conn, slot);
		session_pending(&conn->session);
	}
	post_tuple(worker, conn, from, event, is_hit);
	if (is_hit) {
		worker_count(worker, COUNTER_trap_hits);
		worker_trap(worker, slot);
	}
	log_mail(worker, conn, event);
}

/* Of a client that makes no tuples; nobody waits for what the keeper makes of a hit. */
static void on_rcpt(struct worker *worker, uint32_t slot, struct conn *conn,
                    const struct session_event *event)
{
	if (is_trap_hit(worker, event)) {
		post_tuple(worker, conn, NOBODY, event, true);
		worker_count(worker, COUNTER_trap_hits);
		worker_trap(worker, slot);
	}
	if (conn->cls != SESSION_WHITE) {
		log_mail(worker, conn, event);
	}
}

static void on_deferred(struct worker *worker, struct conn *conn)
{
	worker_count(worker, COUNTER_deferred);
	if (conn->session.cls == SESSION_LISTED) {
		worker_say_listed(worker, conn);
	}
}

static void on_event(struct worker *worker, uint32_t slot, struct conn *conn,
                     const struct session_event *event)
{
	counters_add(&worker->counters, COUNTER_commands, event->is_command ? 1 : 0);
	counters_add(&worker->counters, COUNTER_bad_commands, event->is_bad ? 1 : 0);
	switch (event->kind) {
	case SESSION_EVENT_NONE:
		break;
	case SESSION_EVENT_TUPLE:
		on_tuple(worker, slot, conn, event);
		break;
	case SESSION_EVENT_NO_HELO:
		worker_count(worker, COUNTER_tuples_no_helo);
		break;
	case SESSION_EVENT_RCPT:
		on_rcpt(worker, slot, conn, event);
		break;
	case SESSION_EVENT_HEADER:
	case SESSION_EVENT_BODY:
		log_line(conn, event);
		break;
	case SESSION_EVENT_DEFERRED:
		on_deferred(worker, conn);
		break;
	}
}

/* By the low-priority MX only the keeper can tell whether a RCPT was a trap hit: what comes behind
 * it is answered as its word has it. */
static bool waits_for_word(const struct worker *worker, const struct conn *conn)
{
	return conn->is_low_prio &&
	       session_may_await_store(&conn->session, worker->env.session, worker->now_ms);
}

void worker_run(struct worker *worker, uint32_t slot, struct conn *conn)
{
	struct session_event event;
	bool was_delayed = conn->is_delayed;
	conn->is_delayed = false;
	if (!conn_text(&worker->conns, conn)) {
		return;
	}
	for (unsigned n = 0; n < WORKER_RUN_MAX; n++) {
		if (waits_for_word(worker, conn)) {
			conn->is_delayed = true;
			return;
		}
		if (session_may_tell_rcpt(&conn->session) && waits_for_room(worker)) {
			counters_add(&worker->counters, COUNTER_events_delayed,
			             was_delayed ? 0 : 1);
			conn->is_delayed = true;
			return;
		}
		/* an event may have moved the text into a larger one */
		struct session_text *text = conn_text(&worker->conns, conn);
		if (!session_run(&conn->session, worker->env.session, text, worker->now_ms,
		                 &event)) {
			return;
		}
		on_event(worker, slot, conn, &event);
	}
	conn->is_delayed = true; /* more lines than one turn may answer */
}

/* --- answers --- */

static enum session_class class_of_answer(uint32_t host)
{
	switch ((enum cache_kind)host) {
	case CACHE_WHITE:
		return SESSION_WHITE;
	case CACHE_TRAPPED:
		return SESSION_LISTED;
	case CACHE_NONE:
	case CACHE_GREY:
		break;
	}
	return SESSION_GREY;
}

static void on_answer(struct worker *worker, const struct keeper_answer *answer)
{
	uint32_t slot = answer->conn.slot;
	worker->in_flight -= worker->in_flight > 0 ? 1 : 0;
	worker->is_full = false; /* the keeper is alive: waiting begins anew */
	if (!conn_is_current(&worker->conns, slot, answer->conn.generation)) {
		return;
	}
	struct conn *conn = conn_at(&worker->conns, slot);
	if (conn->phase != CONN_OPEN) {
		return;
	}
	if (answer->kind == KEEPER_ANSWER_STORED) {
		session_stored(&conn->session, worker->now_ms);
	}
	if (answer->host == CACHE_TRAPPED) {
		worker_trap(worker, slot);
	}
	if (answer->kind == KEEPER_ANSWER_STORED) {
		worker_run(worker, slot, conn);
	} else {
		worker_classify(worker, slot, class_of_answer(answer->host));
	}
	worker_schedule(worker, slot, conn);
}

void worker_take_answers(struct worker *worker)
{
	struct mailbox *answers = worker->env.port->answers;
	for (unsigned n = 0; n < WORKER_ANSWERS_MAX; n++) {
		size_t len;
		const void *message = mailbox_peek(answers, &len);
		if (!message) {
			return;
		}
		struct keeper_answer answer;
		bool is_whole = len == sizeof answer;
		if (is_whole) {
			memcpy(&answer, message, sizeof answer);
		}
		mailbox_release(answers);
		if (is_whole) {
			on_answer(worker, &answer);
		}
	}
}

/* --- log --- */

static uint32_t n_black(const struct worker *worker)
{
	const _Atomic uint32_t *n_listed =
	        worker->env.n_listed ? worker->env.n_listed : &worker->n_class[SESSION_LISTED];
	return atomic_load_explicit(n_listed, memory_order_relaxed);
}

/* CLIENTS and BLACK are of all workers; both include the connection itself. */
void worker_log_connected(struct worker *worker, struct conn *conn)
{
	char peer[ADDR_TEXT_MAX];
	char buf[TAGS_BYTES_MAX + sizeof " ..."];
	if (!log_takes(LOG_EVENT_connected)) {
		return;
	}
	const char *tags = worker_list_tags(worker, conn, buf);
	const struct log_fields fields = {.client = addr_format(&conn->peer, peer),
	                                  .verdict = verdict_of(conn),
	                                  .list = tags};
	log_event(LOG_EVENT_connected, &fields, "%s: connected (%u/%u)%s%s", peer,
	          atomic_load_explicit(worker->env.n_connections, memory_order_relaxed),
	          n_black(worker), *tags ? ", lists:" : "", tags);
}

/* A connection that ended before its host was known has not been logged so far. */
void worker_log_disconnected(struct worker *worker, struct conn *conn)
{
	char peer[ADDR_TEXT_MAX];
	char buf[TAGS_BYTES_MAX + sizeof " ..."];
	if (conn->cls == SESSION_UNKNOWN) {
		worker_log_connected(worker, conn);
	}
	if (!log_takes(LOG_EVENT_disconnected)) {
		return;
	}
	const char *tags = worker_list_tags(worker, conn, buf);
	const struct log_fields fields = {.client = addr_format(&conn->peer, peer),
	                                  .verdict = verdict_of(conn),
	                                  .list = tags};
	log_event(LOG_EVENT_disconnected, &fields, "%s: disconnected after %d seconds.%s%s", peer,
	          mono_ms_diff(worker->now_ms, conn->session.opened) / MS_PER_SEC,
	          *tags ? " lists:" : "", tags);
}
