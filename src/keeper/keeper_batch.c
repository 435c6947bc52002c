/* The group commit. Keeper's thread.
 *
 * One commit: (1) expired records are swept, (2) waiting requests are decided, each seeing what the
 * ones before it put into the transaction, (3) late counters are written, and outside a flood some
 * of the tuples that wait for their places get them, (4) the transaction becomes durable, (5) only
 * then caches learn of it and workers are answered.
 *
 * A flood: while more requests wait than KEEPER_FLOOD, new tuples are taken in without their places
 * (store_take_in): durable at a fraction of the cost. Nothing else differs: the store finds them
 * like any other, and a change or retry that alters one gives it its place first, in its own turn
 * and transaction; so nothing ever waits for the places to be given but what is told to peers.
 *
 * Ways to fail: any step of the store (sticky in the transaction), full disk or map, I/O error:
 * nothing of (5) happens, the requests stay queued and the same commit is built again later. What
 * needed no write is answered in step 2 even if the commit fails: it rests on committed records. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "keeper/keeper_impl.h"

/* --- keys the open transaction has changed ---------------------------------------------------- */

enum { TOUCHED_PER_RESULT = 3 }; /* a group, a member, a tuple */

int keeper_batch_init(struct batch *batch, uint32_t commit_max)
{
	uint32_t n_max = commit_max > KEEPER_DELIST_MAX ? commit_max : KEEPER_DELIST_MAX;
	uint32_t n_slots = 4;
	while (n_slots < 2 * TOUCHED_PER_RESULT * n_max) {
		n_slots *= 2;
	}
	batch->n_max = n_max;
	batch->results = calloc(n_max, sizeof *batch->results);
	batch->touched.keys =
	        calloc((size_t)n_max * TOUCHED_PER_RESULT, sizeof *batch->touched.keys);
	batch->touched.slots = calloc(n_slots, sizeof *batch->touched.slots);
	batch->touched.mask = n_slots - 1;
	return batch->results && batch->touched.keys && batch->touched.slots ? 0 : -ENOMEM;
}

void keeper_batch_fini(struct batch *batch)
{
	free(batch->results);
	free(batch->touched.keys);
	free(batch->touched.slots);
}

/* FNV-1a. Not keyed: a batch is small, and the worst an attacker gains is a walk over it. */
static uint32_t hash_of(const struct cache_key *key)
{
	uint32_t hash = UINT32_C(2166136261);
	for (size_t i = 0; i < sizeof key->bytes; i++) {
		hash = (hash ^ key->bytes[i]) * UINT32_C(16777619);
	}
	return hash;
}

/* Slot of the key, or the free slot where it belongs: at most half are taken. */
static uint32_t *touched_slot(const struct touched *touched, const struct cache_key *key)
{
	uint32_t i = hash_of(key) & touched->mask;
	while (touched->slots[i] != 0 &&
	       memcmp(&touched->keys[touched->slots[i] - 1], key, sizeof *key) != 0) {
		i = (i + 1) & touched->mask;
	}
	return &touched->slots[i];
}

bool keeper_is_touched(const struct batch *batch, const struct cache_key *key)
{
	return *touched_slot(&batch->touched, key) != 0;
}

void keeper_touch(struct batch *batch, const struct cache_key *key)
{
	struct touched *touched = &batch->touched;
	uint32_t *slot = touched_slot(touched, key);
	if (*slot == 0) {
		touched->keys[touched->n++] = *key;
		*slot = touched->n;
	}
}

static void batch_reset(struct batch *batch)
{
	memset(batch->touched.slots, 0,
	       ((size_t)batch->touched.mask + 1) * sizeof *batch->touched.slots);
	batch->touched.n = 0;
	batch->n_results = 0;
	batch->n_expired = 0;
	batch->n_dirty = 0;
	batch->n_evicted = 0;
	batch->n_writes = 0;
	batch->settled = (struct store_settled){.n_placed = 0};
}

/* --- step 1: sweep ---------------------------------------------------------------------------- */

static void on_expired(void *ctx, enum record_kind kind, const struct tuple_key *key)
{
	struct batch *batch = ctx;
	batch->expired[batch->n_expired++] = (struct batch_expired){.kind = kind, .key = *key};
}

/* Returns how many expiry rows went. */
static unsigned sweep(struct keeper *keeper, struct store_txn *txn)
{
	if (keeper->guard.is_paused || keeper->now.ns < keeper->sweep_due.ns) {
		return 0;
	}
	unsigned n =
	        store_sweep(txn, keeper->life, keeper->sweep_slice, on_expired, &keeper->batch);
	keeper->batch.n_writes += n;
	return n;
}

static void sweep_learn(struct keeper *keeper)
{
	const struct batch *batch = &keeper->batch;
	uint32_t n_tuples = 0;
	for (uint32_t i = 0; i < batch->n_expired; i++) {
		const struct batch_expired *expired = &batch->expired[i];
		struct cache_key key = keeper_tuple_key(&expired->key);
		keeper_note_expired(keeper, expired->kind, &expired->key.addr);
		if (expired->kind == RECORD_GREY) {
			cache_delete(keeper->env.tuples, &key);
			n_tuples++;
		} else {
			/* the other register may hold something: the next look-up will tell */
			cache_delete(keeper->env.hosts, &key);
		}
	}
	counters_add(&keeper->counters, COUNTER_expired_tuples, n_tuples);
	counters_add(&keeper->counters, COUNTER_expired_hosts, batch->n_expired - n_tuples);
}

/* --- step 2: requests ------------------------------------------------------------------------- */

/* What it is on the face of it. */
static enum batch_deed deed_of(const struct pending *pending)
{
	if (pending_is_change(pending)) {
		bool is_attempt = pending_change(pending)->change.kind == CHANGE_PEER_GREY;
		return is_attempt ? DEED_PEERS_ATTEMPT : DEED_CHANGE;
	}
	return pending_request(pending)->flags & KEEPER_IS_TRAP ? DEED_TRAP : DEED_ATTEMPT;
}

static void decide(struct keeper *keeper, struct store_txn *txn, struct pending *pending)
{
	struct batch *batch = &keeper->batch;
	struct batch_result *result = &batch->results[batch->n_results];
	*result = (struct batch_result){.pending = pending, .deed = deed_of(pending)};
	switch (result->deed) {
	case DEED_ATTEMPT:
	case DEED_PEERS_ATTEMPT:
		pending->is_done = keeper_decide_attempt(keeper, txn, pending, result);
		break;
	case DEED_TRAP:
	case DEED_TRAP_LOW_PRIORITY:
		keeper_decide_trap(keeper, txn, pending, result);
		break;
	case DEED_CHANGE:
		keeper_decide_change(keeper, txn, pending, result);
		break;
	}
	txn->origin = ORIGIN_SILENT; /* as what comes next */
	keeper->queue.n -= pending->is_done;
	batch->n_results += !pending->is_done;
}

static bool has_place(const struct keeper *keeper, const struct pending *pending)
{
	const struct batch *batch = &keeper->batch;
	uint32_t n_max = batch->is_flood ? KEEPER_FLOOD_GROUP_MAX : keeper->env.conf->commit_max;
	return batch->n_results < (pending_is_delist(pending) ? batch->n_max : n_max);
}

static void decide_all(struct keeper *keeper, struct store_txn *txn)
{
	struct batch *batch = &keeper->batch;
	struct pending_queue *queue = &keeper->queue;
	batch->queue_end = queue->head;
	while (batch->queue_end < queue->tail && txn->ret == 0) {
		struct pending *pending = pending_queue_at(queue, batch->queue_end);
		if (!has_place(keeper, pending)) {
			break;
		}
		if (!pending->is_done) {
			decide(keeper, txn, pending);
		}
		batch->queue_end += pending->len;
	}
}

/* --- tuples that wait for their places -------------------------------------------------------- */

static void settle(struct keeper *keeper, struct store_txn *txn)
{
	struct batch *batch = &keeper->batch;
	batch->settled = store_settle(txn, keeper->life, KEEPER_SETTLE_SLICE);
	batch->n_writes += batch->settled.n_placed + batch->settled.n_expired;
}

static void settled_learn(struct keeper *keeper)
{
	const struct store_settled *settled = &keeper->batch.settled;
	counters_add(&keeper->counters, COUNTER_expired_tuples, settled->n_expired);
}

/* Without room for places it is tried again now and then. */
static void settle_schedule(struct keeper *keeper, struct mono ended)
{
	const struct store_settled *settled = &keeper->batch.settled;
	if (settled->n_placed + settled->n_expired == 0) {
		keeper->settle_due = mono_add_ms(ended, keeper->env.conf->store_retry_ms);
	}
}

/* --- step 5: what became durable is made known ------------------------------------------------ */

static void time_request(struct keeper *keeper, const struct batch_result *result)
{
	struct mono begun = pending_request(result->pending)->begun;
	if (begun.ns > 0) {
		latency_add(&keeper->durable, keeper->batch.ended.ns - begun.ns);
	}
}

static void learn_result(struct keeper *keeper, const struct batch_result *result)
{
	switch (result->deed) {
	case DEED_ATTEMPT:
		time_request(keeper, result);
		keeper_learn_attempt(keeper, result);
		break;
	case DEED_PEERS_ATTEMPT:
		keeper_learn_peers_attempt(keeper, result);
		break;
	case DEED_TRAP:
	case DEED_TRAP_LOW_PRIORITY:
		time_request(keeper, result);
		keeper_learn_trap(keeper, result);
		keeper_answer_stored(keeper, result->pending, CACHE_TRAPPED);
		break;
	case DEED_CHANGE:
		keeper_learn_change(keeper, result);
		break;
	}
	keeper->queue.n--;
}

static void learn_all(struct keeper *keeper)
{
	struct batch *batch = &keeper->batch;
	struct pending_queue *queue = &keeper->queue;
	sweep_learn(keeper);
	settled_learn(keeper);
	for (uint32_t i = 0; i < batch->n_results; i++) {
		learn_result(keeper, &batch->results[i]);
	}
	keeper_dirty_written(keeper);
	queue->head = batch->queue_end;
	if (queue->head == queue->tail) {
		queue->head = 0;
		queue->tail = 0;
	}
	/* what stays behind has waited through this commit already */
	keeper->gather_since = keeper->now;
}

/* --- the commit ------------------------------------------------------------------------------- */

static void commit_failed(struct keeper *keeper, int ret)
{
	counters_add(&keeper->counters, COUNTER_commit_failures, 1);
	keeper->retry_at = mono_add_ms(clock_mono(), keeper->env.conf->store_retry_ms);
	keeper->n_retries++;
	if (ret == ERR_PANIC || ret == ERR_CORRUPT) {
		if (!atomic_exchange_explicit(&keeper->is_failed, true, memory_order_relaxed)) {
			log_error("store: commit failed: %s; only a new process can mend it",
			          err_text(ret));
		}
	} else if (!atomic_load_explicit(&keeper->is_degraded, memory_order_relaxed)) {
		log_error("store: commit failed: %s; %u requests wait, next try in %u ms. Clients "
		          "are deferred all the same",
		          err_text(ret), keeper->queue.n, keeper->env.conf->store_retry_ms);
	}
	atomic_store_explicit(&keeper->is_degraded, true, memory_order_relaxed);
}

/* A sweep that succeeds does not prove that there is room for new records. */
static void commit_succeeded(struct keeper *keeper, unsigned parts)
{
	if ((parts & KEEPER_PART_REQUESTS) == 0 && keeper->queue.n > 0) {
		return;
	}
	if (atomic_exchange_explicit(&keeper->is_degraded, false, memory_order_relaxed)) {
		log_info("store: commits succeed again after %llu failures",
		         (unsigned long long)keeper->n_retries);
		keeper->n_retries = 0;
	}
}

/* The oldest one stays until the feeder has taken it up. */
static void tell_feeder(struct keeper *keeper, struct mono ended)
{
	int64_t none = 0;
	keeper->must_wake_feeder = true;
	if (keeper->env.committed_ns) {
		/* relaxed: a time for figures, on which nothing hangs; partner in the feeder */
		(void)atomic_compare_exchange_strong_explicit(keeper->env.committed_ns, &none,
		                                              ended.ns, memory_order_relaxed,
		                                              memory_order_relaxed);
	}
}

static void commit_timed(struct keeper *keeper, struct mono begun, struct mono ended)
{
	int64_t ms = mono_diff_ms(ended, begun);
	latency_add(&keeper->latency, ended.ns - begun.ns);
	counters_add(&keeper->counters, COUNTER_commits, 1);
	if (ms <= KEEPER_SLOW_MS) {
		return;
	}
	counters_add(&keeper->counters, COUNTER_commits_slow, 1);
	keeper->n_slow++;
	if (ended.ns >= keeper->slow_log_due.ns) {
		log_warning("store: a commit of %u changes took %lld ms (%llu slow ones since the "
		            "last such line)",
		            keeper->batch.n_writes, (long long)ms,
		            (unsigned long long)keeper->n_slow);
		keeper->n_slow = 0;
		keeper->slow_log_due = mono_add_ms(ended, KEEPER_SLOW_LOG_MS);
	}
}

/* A full slice means more is waiting: go on, but leave the disk to the requests most of the time.
 */
static void sweep_schedule(struct keeper *keeper, unsigned n_swept, struct mono begun,
                           struct mono ended)
{
	if (n_swept == keeper->sweep_slice) {
		keeper->sweep_slice *= keeper->sweep_slice <= KEEPER_SWEEP_SLICE / 2 ? 2U : 1U;
		int64_t took_ns = ended.ns - begun.ns;
		keeper->sweep_due.ns = ended.ns + KEEPER_SWEEP_SHARE * took_ns;
	} else if (keeper->now.ns >= keeper->sweep_due.ns) {
		keeper->sweep_due = mono_add_ms(ended, keeper->env.conf->sweep_ms);
	}
}

/* Nothing written: the transaction is given up, which costs no disk. */
static int finish_txn(struct keeper *keeper, struct store_txn *txn)
{
	if (txn->ret == 0 && keeper->batch.n_writes == 0) {
		store_abort(txn);
		return 0;
	}
	return store_commit(txn);
}

int keeper_commit(struct keeper *keeper, unsigned parts)
{
	struct batch *batch = &keeper->batch;
	struct store_txn txn;
	unsigned n_swept = 0;
	struct mono begun = clock_mono();
	batch_reset(batch);
	batch->queue_end = keeper->queue.head;
	batch->is_flood = keeper->queue.n >= KEEPER_FLOOD;
	bool may_settle = (parts & KEEPER_PART_PLACES) != 0 && !batch->is_flood &&
	                  keeper->now.ns >= keeper->settle_due.ns &&
	                  store_n_waiting(keeper->env.store) > 0;
	/* the guarded time: a restart must not believe a clock that nobody has confirmed */
	store_begin(keeper->env.store, &txn, keeper->life);
	if (parts & KEEPER_PART_SWEEP) {
		n_swept = sweep(keeper, &txn);
	}
	if (parts & KEEPER_PART_COUNTERS) {
		keeper_dirty_write_evicted(keeper, &txn);
	}
	if (parts & KEEPER_PART_REQUESTS) {
		decide_all(keeper, &txn);
	}
	if (parts & KEEPER_PART_COUNTERS) {
		keeper_dirty_write(keeper, &txn);
	}
	if (may_settle) {
		settle(keeper, &txn);
	}
	int ret = finish_txn(keeper, &txn);
	struct mono ended = clock_mono();
	if (ret != 0) {
		commit_failed(keeper, ret);
		return ret;
	}
	if (batch->n_writes > 0) {
		commit_timed(keeper, begun, ended);
		commit_succeeded(keeper, parts);
		tell_feeder(keeper, ended);
		keeper->must_wake_syncer |= txn.n_changes > 0;
	}
	sweep_schedule(keeper, n_swept, begun, ended);
	if (may_settle) {
		settle_schedule(keeper, ended);
	}
	batch->ended = ended;
	learn_all(keeper);
	return 0;
}
