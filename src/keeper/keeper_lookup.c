/* What the keeper can answer without writing: hosts, white hosts seen again, early retries of
 * tuples that are on disk, hits on hosts trapped a moment ago. Everything else is queued for the
 * next commit. Keeper's thread. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keeper/keeper_impl.h"

struct cache_key keeper_tuple_key(const struct tuple_key *key)
{
	struct cache_key out;
	static_assert(sizeof key->addr + sizeof key->hash == sizeof out.bytes, "key layout");
	memcpy(out.bytes, key->addr.bytes, sizeof key->addr.bytes);
	memcpy(out.bytes + sizeof key->addr.bytes, key->hash, sizeof key->hash);
	return out;
}

/* --- the queue of requests that need a commit ------------------------------------------------- */

int pending_queue_init(struct pending_queue *queue, size_t size_bytes)
{
	*queue = (struct pending_queue){.size = size_bytes, .bytes = malloc(size_bytes)};
	return queue->bytes ? 0 : -ENOMEM;
}

void pending_queue_fini(struct pending_queue *queue)
{
	free(queue->bytes);
}

struct pending *pending_queue_at(const struct pending_queue *queue, size_t pos)
{
	return (struct pending *)(void *)(queue->bytes + pos);
}

bool pending_queue_has_room(struct pending_queue *queue)
{
	if (queue->size - queue->tail >= PENDING_BYTES_MAX) {
		return true;
	}
	memmove(queue->bytes, queue->bytes + queue->head, queue->tail - queue->head);
	queue->tail -= queue->head;
	queue->head = 0;
	return queue->size - queue->tail >= PENDING_BYTES_MAX;
}

bool pending_is_change(const struct pending *pending)
{
	uint32_t kind = 0;
	memcpy(&kind, pending->message, sizeof kind); /* both messages begin with it */
	return kind == KEEPER_CHANGE;
}

const struct keeper_request *pending_request(const struct pending *pending)
{
	return (const struct keeper_request *)(const void *)pending->message;
}

const struct keeper_change *pending_change(const struct pending *pending)
{
	return (const struct keeper_change *)(const void *)pending->message;
}

static bool is_delist(const void *message)
{
	const struct keeper_change *change = message;
	return change->kind == KEEPER_CHANGE && change->change.kind == CHANGE_DELIST;
}

bool pending_is_delist(const struct pending *pending)
{
	return is_delist(pending->message);
}

static size_t request_bytes(const struct keeper_request *request)
{
	return offsetof(struct keeper_request, strings) + request->helo_len + request->sender_len +
	       request->recipient_len;
}

static size_t change_bytes(const struct keeper_change *change)
{
	return offsetof(struct keeper_change, strings) + change->helo_len + change->sender_len +
	       change->recipient_len;
}

/* key: of a tuple, else NULL. */
static void queue_add(struct keeper *keeper, uint32_t port, const void *message, size_t len,
                      const struct tuple_key *key)
{
	struct pending_queue *queue = &keeper->queue;
	struct pending *pending = pending_queue_at(queue, queue->tail);
	size_t whole = (offsetof(struct pending, message) + len + 7) & ~(size_t)7;
	*pending = (struct pending){.len = (uint32_t)whole, .port = port};
	if (key) {
		pending->key = *key;
	}
	memcpy(pending->message, message, len);
	if (queue->n == 0) {
		keeper->gather_since = keeper->now;
	}
	keeper->last_arrival = keeper->now;
	queue->tail += whole;
	queue->n++;
}

/* --- tuples ----------------------------------------------------------------------------------- */

void keeper_cache_tuple(struct keeper *keeper, const struct cache_key *key,
                        const struct grey_record *record, bool is_dirty)
{
	struct cache_entry entry = keeper_entry_of(CACHE_GREY, record);
	struct cache_key evicted_key;
	struct cache_entry evicted = {.is_dirty = false};
	entry.is_dirty = is_dirty;
	if (cache_put(keeper->env.tuples, key, &entry, &evicted_key, &evicted) &&
	    evicted.is_dirty) {
		keeper_dirty_evicted(&keeper->dirty, &evicted_key, evicted.bcount);
	}
}

bool keeper_is_news(const struct keeper *keeper, struct wall last)
{
	return keeper->env.is_sync_sending && keeper->wall.secs > last.secs;
}

struct tuple_text keeper_tuple_text(const struct keeper_request *request)
{
	const uint8_t *strings = request->strings;
	return (struct tuple_text){
	        .helo = span_of(strings, request->helo_len),
	        .sender = span_of(strings + request->helo_len, request->sender_len),
	        .recipient = span_of(strings + request->helo_len + request->sender_len,
	                             request->recipient_len),
	};
}

struct whom whom_of_request(const struct keeper_request *request)
{
	return (struct whom){.group = request->addr, .peer = request->peer};
}

/* A flood's common case: a tuple that is on disk comes again too early. Costs a counter; once a
 * second a commit, too, when peers are to hear of it. */
static bool is_early(struct keeper *keeper, const struct tuple_key *tuple,
                     const struct keeper_request *request)
{
	struct cache_key key = keeper_tuple_key(tuple);
	struct cache_entry entry;
	if (!cache_get(keeper->env.tuples, &key, &entry) || entry.kind != CACHE_GREY ||
	    !entry.is_committed) {
		return false;
	}
	struct grey_record record = keeper_record_of(&entry);
	struct grey_record after;
	struct grey_record host;
	struct greylist_known known = {.tuple = &record};
	if (keeper_is_news(keeper, record.last) ||
	    keeper_attempt(keeper, NULL, &known, &after, &host) != VERDICT_EARLY) {
		return false;
	}
	after.last = record.last; /* on disk, that is */
	keeper_cache_tuple(keeper, &key, &after, true);
	if (!entry.is_dirty) {
		keeper_dirty_add(&keeper->dirty, &key);
	}
	counters_add(&keeper->counters, COUNTER_tuples_early, 1);
	struct whom whom = whom_of_request(request);
	keeper_note_attempt(keeper, &whom, false, VERDICT_EARLY,
	                    keeper_tuple_text(request).recipient);
	return true;
}

static struct tuple_key key_of(const struct keeper *keeper, const struct addr *group,
                               const struct tuple_text *text)
{
	return record_tuple_key(store_hash_key(keeper->env.store), group, text);
}

/* --- requests --------------------------------------------------------------------------------- */

static bool post_answer(struct keeper *keeper, uint32_t port, const struct keeper_answer *answer)
{
	const struct keeper_port *to = &keeper->env.ports[port];
	struct keeper_answer *message = mailbox_reserve(to->answers, sizeof(struct keeper_answer));
	if (!message) {
		return false;
	}
	*message = *answer;
	mailbox_post(to->answers);
	keeper->must_wake_ports |= to->wake >= 0;
	return true;
}

void keeper_answer(struct keeper *keeper, uint32_t port, const struct keeper_answer *answer)
{
	struct held_answers *held = &keeper->held[port];
	if (held->n == 0 && post_answer(keeper, port, answer)) {
		return;
	}
	ASSERT(held->n < KEEPER_IN_FLIGHT_MAX); /* nobody asks for more at a time */
	held->answers[(held->head + held->n) % KEEPER_IN_FLIGHT_MAX] = *answer;
	held->n++;
	keeper->n_held++;
}

void keeper_post_held(struct keeper *keeper)
{
	for (uint32_t port = 0; port < keeper->env.n_ports && keeper->n_held > 0; port++) {
		struct held_answers *held = &keeper->held[port];
		while (held->n > 0 && post_answer(keeper, port, &held->answers[held->head])) {
			held->head = (held->head + 1) % KEEPER_IN_FLIGHT_MAX;
			held->n--;
			keeper->n_held--;
		}
	}
}

void keeper_answer_stored(struct keeper *keeper, const struct pending *pending, uint32_t host)
{
	keeper_answer(keeper, pending->port,
	              &(struct keeper_answer){.kind = KEEPER_ANSWER_STORED,
	                                      .conn = pending_request(pending)->conn,
	                                      .host = host});
}

static void answer_now(struct keeper *keeper, uint32_t port, const struct keeper_request *request,
                       enum keeper_answer_kind kind, uint8_t host)
{
	keeper_answer(keeper, port,
	              &(struct keeper_answer){
	                      .kind = (uint32_t)kind, .conn = request->conn, .host = host});
}

/* A flood of hits of a host that has just been trapped writes nothing. */
static void on_trap(struct keeper *keeper, uint32_t port, const struct keeper_request *request)
{
	struct whom whom = whom_of_request(request);
	struct cache_entry host;
	(void)keeper_host_get(keeper, NULL, &whom, &host);
	if (host.kind == CACHE_TRAPPED && keeper_is_fresh_trap(keeper, host.expire_secs)) {
		answer_now(keeper, port, request, KEEPER_ANSWER_STORED, host.kind);
		return;
	}
	queue_add(keeper, port, request, request_bytes(request), NULL);
}

/* A host that cannot be read passes for an unknown one here: the commit reads it again. */
static void on_tuple(struct keeper *keeper, uint32_t port, const struct keeper_request *request)
{
	struct whom whom = whom_of_request(request);
	struct cache_entry host;
	(void)keeper_host_get(keeper, NULL, &whom, &host);
	bool may_hit = host.kind == CACHE_TRAPPED && (request->flags & KEEPER_IS_LOW_PRIORITY) != 0;
	if (host.kind == CACHE_NONE || may_hit) {
		struct tuple_text text = keeper_tuple_text(request);
		struct tuple_key key = key_of(keeper, &request->addr, &text);
		if (may_hit || !is_early(keeper, &key, request)) {
			queue_add(keeper, port, request, request_bytes(request), &key);
			return;
		}
	}
	keeper_reassert(keeper, &request->addr, &host);
	answer_now(keeper, port, request, KEEPER_ANSWER_STORED, host.kind);
}

/* A host that cannot be read passes for an unknown one this time, and is not remembered as such:
 * the next question reads again. */
static void on_request(struct keeper *keeper, uint32_t port, const struct keeper_request *request)
{
	struct whom whom = whom_of_request(request);
	struct cache_entry host;
	switch ((enum keeper_request_kind)request->kind) {
	case KEEPER_HOST:
		(void)keeper_host_get(keeper, NULL, &whom, &host);
		answer_now(keeper, port, request, KEEPER_ANSWER_HOST, host.kind);
		return;
	case KEEPER_TUPLE:
		if (request->flags & KEEPER_IS_TRAP) {
			on_trap(keeper, port, request);
		} else {
			on_tuple(keeper, port, request);
		}
		return;
	case KEEPER_SEEN:
		(void)keeper_host_get(keeper, NULL, &whom, &host);
		keeper_reassert(keeper, &request->addr, &host);
		return;
	case KEEPER_CHANGE:
		break;
	}
	ASSERT(!"a request of our own workers has a known kind");
}

static void on_change(struct keeper *keeper, uint32_t port, const struct keeper_change *change)
{
	struct tuple_key key;
	bool is_attempt = change->change.kind == CHANGE_PEER_GREY;
	if (is_attempt) {
		struct whom whom = keeper_whom_of_change(keeper, change);
		struct tuple_text text = keeper_change_text(change);
		key = key_of(keeper, &whom.group, &text);
	}
	queue_add(keeper, port, change, change_bytes(change), is_attempt ? &key : NULL);
}

/* The message's first member says what it is. */
static void on_message(struct keeper *keeper, uint32_t port, const void *message, size_t len)
{
	const struct keeper_request *request = message;
	const struct keeper_change *change = message;
	if (request->kind == KEEPER_CHANGE) {
		ASSERT(len >= sizeof *change && len >= change_bytes(change) &&
		       change_bytes(change) <= sizeof *change + 3 * (size_t)RECORD_STRING_MAX);
		on_change(keeper, port, change);
		return;
	}
	ASSERT(len >= offsetof(struct keeper_request, strings) && len >= request_bytes(request));
	ASSERT(request->helo_len <= RECORD_STRING_MAX && request->sender_len <= RECORD_STRING_MAX &&
	       request->recipient_len <= RECORD_STRING_MAX);
	on_request(keeper, port, request);
}

/* Requests of one worker in their order. Where a tuple finds no room the worker's later requests
 * wait with it; its mailbox fills and the worker delays its replies. */
static bool drain_port(struct keeper *keeper, uint32_t port)
{
	struct mailbox *requests = keeper->env.ports[port].requests;
	unsigned n_delists = 0;
	for (unsigned n = 0; n < KEEPER_DRAIN_MAX && n_delists < KEEPER_DELIST_MAX;) {
		size_t len = 0;
		const uint32_t *kind = mailbox_peek(requests, &len);
		if (!kind) {
			return false;
		}
		bool needs_room = *kind == KEEPER_TUPLE || *kind == KEEPER_CHANGE;
		if (needs_room && !pending_queue_has_room(&keeper->queue)) {
			return false;
		}
		bool is_one = is_delist(kind);
		n_delists += is_one;
		n += !is_one;
		on_message(keeper, port, kind, len);
		mailbox_release(requests);
	}
	return true;
}

bool keeper_drain(struct keeper *keeper)
{
	bool has_more = false;
	uint32_t n = keeper->env.n_ports;
	for (uint32_t i = 0; i < n; i++) {
		has_more |= drain_port(keeper, (keeper->first_port + i) % n);
	}
	keeper->first_port = n > 0 ? (keeper->first_port + 1) % n : 0;
	return has_more;
}
