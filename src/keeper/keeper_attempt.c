/* Attempts: one deferred RCPT each, a client's here or one that a peer tells of. Judged by the
 * greylist rules in the group commit, written into its transaction, and known to caches and to
 * whoever asked once that is durable. Keeper's thread.
 *
 *                  a client's here                    a peer's
 *   new tuple      put, peers are told                put
 *   early          counted in memory; the first one   put, if it is later than the newest that
 *                  of a second is put and told when   counted (tuple.last); else it is stale and
 *                  peers are there to be told         changes nothing
 *   qualified      tuple and host put, both told      tuple and host put
 *   white host     asserted again                     nothing
 *   trapped host   nothing                            nothing
 *   low priority   may trap                           never
 *
 * A peer's attempt that counts is always put before it is answered: one that only memory knew would
 * count again, sent once more, after a crash. */
#include "base/err.h"
#include "base/log.h"
#include "keeper/keeper_impl.h"
#include "policy/guarded.h"

/* One attempt, whoever tells of it. The text points into its message. */
struct attempt {
	struct whom whom;
	struct tuple_text text;
	bool is_low_priority;
	bool is_peers;
	struct wall at; /* a peer's: by its clock */
};

static struct attempt attempt_of(const struct keeper *keeper, const struct pending *pending)
{
	if (pending_is_change(pending)) {
		const struct keeper_change *change = pending_change(pending);
		return (struct attempt){
		        .whom = keeper_whom_of_change(keeper, change),
		        .text = keeper_change_text(change),
		        .is_peers = true,
		        .at = change->change.record.changed_at,
		};
	}
	const struct keeper_request *request = pending_request(pending);
	return (struct attempt){
	        .whom = whom_of_request(request),
	        .text = keeper_tuple_text(request),
	        .is_low_priority = (request->flags & KEEPER_IS_LOW_PRIORITY) != 0,
	};
}

/* --- the rules under the guarded clock -------------------------------------------------------- */

enum verdict keeper_attempt(const struct keeper *keeper, const struct wall *peers_at,
                            const struct greylist_known *known, struct grey_record *tuple,
                            struct grey_record *host)
{
	const struct guarded_now now = {
	        .wall = keeper->wall, .life = keeper->life, .peers_at = peers_at};
	return guarded_attempt(&keeper->rules, &now, known, tuple, host);
}

/* --- deciding --------------------------------------------------------------------------------- */

/* The stored tuple, or its tombstone, with the count that the cache may be ahead with. */
static bool stored_tuple(struct keeper *keeper, struct store_txn *txn,
                         const struct batch_result *result, struct grey_record *out)
{
	struct cache_entry entry;
	if (!store_get_tuple_register(txn, &result->pending->key, out)) {
		return false;
	}
	if (!keeper_is_touched(&keeper->batch, &result->key) &&
	    cache_get(keeper->env.tuples, &result->key, &entry) && entry.is_dirty &&
	    entry.bcount > out->bcount) {
		out->bcount = entry.bcount;
	}
	return true;
}

/* A listed host does not pass, however patient it is; but its attempt counts. */
static void keep_listed_grey(const struct keeper *keeper, const struct attempt *attempt,
                             const struct grey_record *tuple, struct batch_result *result)
{
	if (result->verdict == VERDICT_PROMOTE && keeper_is_listed(keeper, &attempt->whom.peer)) {
		struct wall last = result->tuple.last;
		result->verdict = VERDICT_EARLY;
		result->tuple = *tuple;
		result->tuple.bcount += tuple->bcount < UINT32_MAX;
		result->tuple.last = last;
	}
}

/* Whether a peer's attempt is one that we know of, or that was made before its tuple was deleted.
 * The tuple may be dead: what counted in one life counts in no other. */
static bool is_stale(const struct attempt *attempt, const struct grey_record *tuple)
{
	return attempt->at.secs <= tuple->last.secs ||
	       (tuple->is_deleted && attempt->at.secs <= tuple->changed_at.secs);
}

/* Whether what the verdict asks for is to be written. tuple: NULL if there is none. */
static bool is_news(const struct keeper *keeper, const struct attempt *attempt,
                    const struct grey_record *tuple, enum verdict verdict)
{
	if (attempt->is_peers && tuple && is_stale(attempt, tuple)) {
		return false;
	}
	switch (verdict) {
	case VERDICT_NEW:
	case VERDICT_PROMOTE:
		return true;
	case VERDICT_EARLY:
		return attempt->is_peers || (tuple && keeper_is_news(keeper, tuple->last));
	case VERDICT_WHITE:
	case VERDICT_TRAPPED:
		return false;
	}
	return false;
}

/* The rules over what is known of host and tuple. */
static void judge(struct keeper *keeper, struct store_txn *txn, const struct attempt *attempt,
                  struct cache_entry *host, struct batch_result *result)
{
	struct grey_record tuple;
	/* a failure sticks to txn */
	(void)keeper_host_get(keeper, txn, &attempt->whom, host);
	bool has_tuple = stored_tuple(keeper, txn, result, &tuple);
	result->is_unseen = !has_tuple;
	struct grey_record host_record = keeper_record_of(host);
	struct greylist_known known = {
	        .tuple = has_tuple ? &tuple : NULL,
	        .white = host->kind == CACHE_WHITE ? &host_record : NULL,
	        .trapped = host->kind == CACHE_TRAPPED ? &host_record : NULL,
	};
	const struct wall *peers_at = attempt->is_peers ? &attempt->at : NULL;
	result->verdict = keeper_attempt(keeper, peers_at, &known, &result->tuple, &result->host);
	keep_listed_grey(keeper, attempt, &tuple, result);
	result->is_news = is_news(keeper, attempt, known.tuple, result->verdict);
	if (result->verdict == VERDICT_EARLY && !result->is_news) {
		result->tuple.last = tuple.last; /* as on disk, so that the next one is news */
	}
	bool is_unknown = result->verdict == VERDICT_NEW || result->verdict == VERDICT_TRAPPED;
	if (is_unknown && attempt->is_low_priority &&
	    keeper_is_low_priority_hit(keeper, txn, &attempt->whom.group)) {
		result->deed = DEED_TRAP_LOW_PRIORITY;
	}
}

/* In a flood a client's new tuple waits for its place. */
static void write_new(struct keeper *keeper, struct store_txn *txn, const struct attempt *attempt,
                      struct batch_result *result)
{
	const struct tuple_key *key = &result->pending->key;
	bool may_wait = keeper->batch.is_flood && !attempt->is_peers && result->is_unseen &&
	                store_n_waiting(keeper->env.store) < keeper->env.conf->burst_max;
	result->is_taken_in = may_wait && store_take_in(txn, key, &result->tuple, &attempt->text);
	if (result->is_taken_in) {
		return;
	}
	if (result->is_unseen) {
		store_add_tuple(txn, key, &result->tuple, &attempt->text);
	} else {
		store_put_tuple(txn, key, &result->tuple, &attempt->text);
	}
}

/* Writes what the verdict asks for into the transaction. */
static void write_result(struct keeper *keeper, struct store_txn *txn,
                         const struct attempt *attempt, struct batch_result *result)
{
	struct batch *batch = &keeper->batch;
	const struct tuple_key *key = &result->pending->key;
	struct cache_key host_key = keeper_host_key(&attempt->whom.group);
	txn->origin = attempt->is_peers ? ORIGIN_SILENT : ORIGIN_ATTEMPT;
	switch (result->verdict) {
	case VERDICT_NEW:
		write_new(keeper, txn, attempt, result);
		break;
	case VERDICT_EARLY:
		store_update_tuple(txn, key, &result->tuple, result->is_news && !attempt->is_peers);
		break;
	case VERDICT_PROMOTE:
		store_update_tuple(txn, key, &result->tuple, true);
		txn->origin = attempt->is_peers ? ORIGIN_SILENT : ORIGIN_PROMOTION;
		store_put_host(txn, &attempt->whom.group, RECORD_WHITE, &result->host);
		keeper_touch(batch, &host_key);
		break;
	case VERDICT_WHITE:
	case VERDICT_TRAPPED:
		return;
	}
	keeper_touch(batch, &result->key);
	batch->n_writes++;
}

/* Only the count has changed: it is written late. */
static void count_early(struct keeper *keeper, const struct attempt *attempt,
                        const struct batch_result *result)
{
	struct cache_entry entry;
	bool was_dirty = cache_get(keeper->env.tuples, &result->key, &entry) && entry.is_dirty;
	keeper_cache_tuple(keeper, &result->key, &result->tuple, true);
	if (!was_dirty) {
		keeper_dirty_add(&keeper->dirty, &result->key);
	}
	counters_add(&keeper->counters, COUNTER_tuples_early, 1);
	keeper_note_attempt(keeper, &attempt->whom, false, VERDICT_EARLY, attempt->text.recipient);
}

/* Whether it rests on what this transaction has changed. */
static bool is_uncommitted(const struct keeper *keeper, const struct attempt *attempt,
                           const struct batch_result *result)
{
	const struct batch *batch = &keeper->batch;
	struct cache_key group = keeper_host_key(&attempt->whom.group);
	struct cache_key peer = keeper_host_key(&attempt->whom.peer);
	return keeper_is_touched(batch, &result->key) || keeper_is_touched(batch, &group) ||
	       keeper_is_touched(batch, &peer);
}

/* A verdict that changes no record and rests on committed ones is answered at once. */
static bool finish_unwritten(struct keeper *keeper, const struct attempt *attempt,
                             const struct batch_result *result, struct cache_entry *host)
{
	if (attempt->is_peers || result->is_news || is_uncommitted(keeper, attempt, result)) {
		return false;
	}
	if (result->verdict == VERDICT_EARLY) {
		count_early(keeper, attempt, result);
	}
	keeper_reassert(keeper, &attempt->whom.group, host);
	keeper_answer_stored(keeper, result->pending, host->kind);
	return true;
}

bool keeper_decide_attempt(struct keeper *keeper, struct store_txn *txn,
                           const struct pending *pending, struct batch_result *result)
{
	struct attempt attempt = attempt_of(keeper, pending);
	struct cache_entry host;
	result->key = keeper_tuple_key(&pending->key);
	judge(keeper, txn, &attempt, &host, result);
	if (txn->ret != 0) {
		return false; /* what was read means nothing; the whole batch comes again */
	}
	if (result->deed == DEED_TRAP_LOW_PRIORITY) {
		keeper_decide_trap(keeper, txn, pending, result);
		return false;
	}
	if (finish_unwritten(keeper, &attempt, result, &host)) {
		return true;
	}
	if (!attempt.is_peers || result->is_news) {
		write_result(keeper, txn, &attempt, result);
	}
	return false;
}

/* --- what became durable is made known -------------------------------------------------------- */

static void log_result(const struct keeper *keeper, const struct attempt *attempt,
                       enum verdict verdict)
{
	if (verdict == VERDICT_NEW) {
		keeper_log_new(&attempt->whom, &attempt->text);
	} else if (verdict == VERDICT_PROMOTE) {
		keeper_log_promotion(keeper, &attempt->whom);
	}
}

/* Returns what the host is by now. */
static enum cache_kind learn(struct keeper *keeper, const struct attempt *attempt,
                             const struct batch_result *result)
{
	keeper_note_attempt(keeper, &attempt->whom, attempt->is_peers, result->verdict,
	                    attempt->text.recipient);
	switch (result->verdict) {
	case VERDICT_NEW:
	case VERDICT_EARLY:
		keeper_cache_tuple(keeper, &result->key, &result->tuple, false);
		return CACHE_NONE;
	case VERDICT_PROMOTE:
		keeper_cache_tuple(keeper, &result->key, &result->tuple, false);
		keeper_host_learn_white(keeper, &attempt->whom.group, &result->host);
		return CACHE_WHITE;
	case VERDICT_WHITE:
		return CACHE_WHITE;
	case VERDICT_TRAPPED:
		return CACHE_TRAPPED;
	}
	return CACHE_NONE;
}

static void count(struct keeper *keeper, enum verdict verdict)
{
	struct counters *counters = &keeper->counters;
	counters_add(counters, COUNTER_tuples_new, verdict == VERDICT_NEW);
	counters_add(counters, COUNTER_tuples_early, verdict == VERDICT_EARLY);
	counters_add(counters, COUNTER_tuples_passed, verdict == VERDICT_PROMOTE);
	counters_add(counters, COUNTER_hosts_promoted, verdict == VERDICT_PROMOTE);
}

void keeper_learn_attempt(struct keeper *keeper, const struct batch_result *result)
{
	struct attempt attempt = attempt_of(keeper, result->pending);
	log_result(keeper, &attempt, result->verdict);
	enum cache_kind host = learn(keeper, &attempt, result);
	count(keeper, result->verdict);
	counters_add(&keeper->counters, COUNTER_burst_tuples, result->is_taken_in);
	keeper_answer_stored(keeper, result->pending, host);
}

void keeper_learn_peers_attempt(struct keeper *keeper, const struct batch_result *result)
{
	struct attempt attempt = attempt_of(keeper, result->pending);
	if (result->is_news) {
		log_result(keeper, &attempt, result->verdict);
		(void)learn(keeper, &attempt, result);
	}
	keeper_answer_change(keeper, result->pending, result->is_news ? 0 : ERR_BUSY);
}
