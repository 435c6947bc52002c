/* What the keeper can answer without writing: hosts, white hosts seen again, and early retries of
 * tuples that are on disk. Everything else is queued for the next commit. Keeper's thread. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keeper/keeper_impl.h"

static uint32_t clamp_u32(int64_t value)
{
	if (value < 0) {
		return 0;
	}
	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

struct cache_key keeper_host_key(const struct addr *addr)
{
	struct cache_key key = {{0}};
	memcpy(key.bytes, addr->bytes, sizeof addr->bytes);
	return key;
}

struct cache_key keeper_tuple_key(const struct tuple_key *key)
{
	struct cache_key out;
	static_assert(sizeof key->addr + sizeof key->hash == sizeof out.bytes, "key layout");
	memcpy(out.bytes, key->addr.bytes, sizeof key->addr.bytes);
	memcpy(out.bytes + sizeof key->addr.bytes, key->hash, sizeof key->hash);
	return out;
}

struct cache_entry keeper_entry_of(enum cache_kind kind, const struct grey_record *record)
{
	return (struct cache_entry){
	        .kind = (uint8_t)kind,
	        .is_committed = true,
	        .first_secs = clamp_u32(record->first.secs),
	        .expire_secs = clamp_u32(record->expire.secs),
	        .bcount = record->bcount,
	};
}

struct grey_record keeper_record_of(const struct cache_entry *entry)
{
	struct wall first = {entry->first_secs};
	struct wall expire = {entry->expire_secs};
	return (struct grey_record){
	        .first = first,
	        .pass = entry->kind == CACHE_GREY ? expire : first,
	        .expire = expire,
	        .changed_at = first,
	        .bcount = entry->bcount,
	};
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

static size_t request_bytes(const struct keeper_request *request)
{
	return offsetof(struct keeper_request, strings) + request->helo_len + request->sender_len +
	       request->recipient_len;
}

static void queue_add(struct keeper *keeper, uint32_t port, const struct keeper_request *request,
                      const struct tuple_key *key)
{
	struct pending_queue *queue = &keeper->queue;
	struct pending *pending = pending_queue_at(queue, queue->tail);
	size_t len = offsetof(struct pending, request) + request_bytes(request);
	len = (len + 7) & ~(size_t)7;
	pending->len = (uint32_t)len;
	pending->port = port;
	pending->is_done = false;
	pending->key = *key;
	memcpy(&pending->request, request, request_bytes(request));
	if (queue->n == 0) {
		keeper->gather_since = keeper->now;
	}
	keeper->last_arrival = keeper->now;
	queue->tail += len;
	queue->n++;
}

/* --- hosts ------------------------------------------------------------------------------------ */

bool keeper_host_cached(const struct keeper *keeper, const struct addr *addr,
                        struct cache_entry *out)
{
	struct cache_key key = keeper_host_key(addr);
	return cache_get(keeper->env.hosts, &key, out) && out->expire_secs > keeper->life.secs;
}

struct cache_entry keeper_host_learn(struct keeper *keeper, const struct addr *addr,
                                     const struct grey_record *white,
                                     const struct grey_record *trapped)
{
	/* workers judge it by the wall clock, the keeper by the guard's: it lasts by both */
	int64_t now_secs =
	        keeper->life.secs > keeper->wall.secs ? keeper->life.secs : keeper->wall.secs;
	struct grey_record none = {.first = keeper->wall, .expire = {now_secs + KEEPER_NONE_SECS}};
	struct cache_entry entry = keeper_entry_of(CACHE_NONE, &none);
	if (trapped && grey_record_is_live(trapped, keeper->life)) {
		entry = keeper_entry_of(CACHE_TRAPPED, trapped);
	} else if (white && grey_record_is_live(white, keeper->life)) {
		entry = keeper_entry_of(CACHE_WHITE, white);
	}
	struct cache_key key = keeper_host_key(addr);
	/* cannot fail: no entry of this table is uncommitted */
	(void)cache_put(keeper->env.hosts, &key, &entry, NULL, NULL);
	return entry;
}

/* A host that cannot be read passes for an unknown one this time, and is not remembered as such:
 * the next question reads again. */
static struct cache_entry host_get(struct keeper *keeper, const struct addr *addr)
{
	struct cache_entry entry;
	if (keeper_host_cached(keeper, addr, &entry)) {
		return entry;
	}
	struct grey_record white;
	struct grey_record trapped;
	int n_white = store_reader_host(keeper->reader, addr, RECORD_WHITE, &white);
	int n_trapped = store_reader_host(keeper->reader, addr, RECORD_TRAPPED, &trapped);
	if (n_white < 0 || n_trapped < 0) {
		return (struct cache_entry){.kind = CACHE_NONE};
	}
	return keeper_host_learn(keeper, addr, n_white > 0 ? &white : NULL,
	                         n_trapped > 0 ? &trapped : NULL);
}

void keeper_reassert(struct keeper *keeper, const struct addr *addr, struct cache_entry *entry)
{
	uint32_t stamp = clamp_u32(keeper->wall.secs);
	if (entry->kind != CACHE_WHITE || entry->stamp == stamp) {
		return;
	}
	struct keeper_reassert *message =
	        mailbox_reserve(keeper->env.reasserts, sizeof(struct keeper_reassert));
	if (!message) {
		return; /* full: the host's next connection asks again */
	}
	message->addr = *addr;
	mailbox_post(keeper->env.reasserts);
	entry->stamp = stamp;
	struct cache_key key = keeper_host_key(addr);
	(void)cache_put(keeper->env.hosts, &key, entry, NULL, NULL);
	counters_add(&keeper->counters, COUNTER_hosts_reasserted, 1);
	keeper->must_wake_feeder = true;
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

/* A copy of a record that lives by the guard's time, made to live by the wall clock too. */
static const struct grey_record *revive(const struct keeper *keeper,
                                        const struct grey_record *record, struct grey_record *copy)
{
	if (!grey_record_is_live(record, keeper->life)) {
		return NULL;
	}
	*copy = *record;
	if (copy->expire.secs <= keeper->wall.secs) {
		copy->expire.secs = keeper->wall.secs + 1;
	}
	return copy;
}

/* Records say what happened when by the wall clock; whether they live goes by the guard's time,
 * which stands still after a jump. Ahead of the guard (a jump that nobody has confirmed), what
 * lived lives on; behind it (a step back), new records live longer by the difference. */
enum verdict keeper_attempt(const struct keeper *keeper, const struct greylist_known *known,
                            struct grey_record *tuple, struct grey_record *host)
{
	struct grey_record copies[3];
	struct greylist_known live = {
	        .tuple = revive(keeper, known->tuple, &copies[0]),
	        .white = revive(keeper, known->white, &copies[1]),
	        .trapped = revive(keeper, known->trapped, &copies[2]),
	};
	int64_t behind_secs = keeper->life.secs - keeper->wall.secs;
	behind_secs = behind_secs > 0 ? behind_secs : 0;
	enum verdict verdict = greylist_attempt(&keeper->rules, keeper->wall, &live, tuple, host);
	switch (verdict) {
	case VERDICT_NEW:
		tuple->expire.secs += behind_secs;
		tuple->pass.secs += behind_secs;
		break;
	case VERDICT_PROMOTE:
		host->expire.secs += behind_secs;
		tuple->expire = known->tuple->expire;
		break;
	case VERDICT_EARLY:
		tuple->expire = known->tuple->expire;
		break;
	case VERDICT_WHITE:
	case VERDICT_TRAPPED:
		break;
	}
	return verdict;
}

/* A flood's common case: a tuple that is on disk comes again too early. Costs a counter. */
static bool is_early(struct keeper *keeper, const struct tuple_key *tuple)
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
	if (keeper_attempt(keeper, &known, &after, &host) != VERDICT_EARLY) {
		return false;
	}
	keeper_cache_tuple(keeper, &key, &after, true);
	if (!entry.is_dirty) {
		keeper_dirty_add(&keeper->dirty, &key);
	}
	counters_add(&keeper->counters, COUNTER_tuples_early, 1);
	return true;
}

static struct tuple_key key_of(const struct keeper *keeper, const struct keeper_request *request)
{
	const uint8_t *strings = request->strings;
	struct tuple_text text = {
	        .helo = span_of(strings, request->helo_len),
	        .sender = span_of(strings + request->helo_len, request->sender_len),
	        .recipient = span_of(strings + request->helo_len + request->sender_len,
	                             request->recipient_len),
	};
	return record_tuple_key(store_hash_key(keeper->env.store), &request->addr, &text);
}

static void on_tuple(struct keeper *keeper, uint32_t port, const struct keeper_request *request)
{
	struct cache_entry host = host_get(keeper, &request->addr);
	if (host.kind == CACHE_NONE) {
		struct tuple_key key = key_of(keeper, request);
		if (!is_early(keeper, &key)) {
			queue_add(keeper, port, request, &key);
			return;
		}
	}
	keeper_reassert(keeper, &request->addr, &host);
	keeper_answer(keeper, port, request->conn, KEEPER_ANSWER_STORED, host.kind);
}

/* --- requests --------------------------------------------------------------------------------- */

void keeper_answer(struct keeper *keeper, uint32_t port, struct conn_ref conn,
                   enum keeper_answer_kind kind, uint8_t host)
{
	struct mailbox *answers = keeper->env.ports[port].answers;
	struct keeper_answer *answer = mailbox_reserve(answers, sizeof(struct keeper_answer));
	/* KEEPER_IN_FLIGHT_MAX answers fit, and no worker asks for more at a time */
	ASSERT(answer);
	*answer = (struct keeper_answer){.kind = (uint32_t)kind, .conn = conn, .host = host};
	mailbox_post(answers);
}

static void on_request(struct keeper *keeper, uint32_t port, const struct keeper_request *request)
{
	struct cache_entry host;
	switch ((enum keeper_request_kind)request->kind) {
	case KEEPER_HOST:
		host = host_get(keeper, &request->addr);
		keeper_answer(keeper, port, request->conn, KEEPER_ANSWER_HOST, host.kind);
		return;
	case KEEPER_TUPLE:
		on_tuple(keeper, port, request);
		return;
	case KEEPER_SEEN:
		host = host_get(keeper, &request->addr);
		keeper_reassert(keeper, &request->addr, &host);
		return;
	case KEEPER_CHANGE:
		break;
	}
	ASSERT(!"a request of our own workers has a known kind");
}

/* Requests of one worker in their order. Where a tuple finds no room the worker's later requests
 * wait with it; its mailbox fills and the worker delays its replies. */
static bool drain_port(struct keeper *keeper, uint32_t port)
{
	struct mailbox *requests = keeper->env.ports[port].requests;
	for (int i = 0; i < KEEPER_DRAIN_MAX; i++) {
		size_t len = 0;
		const struct keeper_request *request = mailbox_peek(requests, &len);
		if (!request) {
			return false;
		}
		ASSERT(len >= offsetof(struct keeper_request, strings) &&
		       len >= request_bytes(request));
		ASSERT(request->helo_len <= RECORD_STRING_MAX &&
		       request->sender_len <= RECORD_STRING_MAX &&
		       request->recipient_len <= RECORD_STRING_MAX);
		if (request->kind == KEEPER_TUPLE && !pending_queue_has_room(&keeper->queue)) {
			return false;
		}
		on_request(keeper, port, request);
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
