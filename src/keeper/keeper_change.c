/* Changes that are no greylisting: trap hits, and what comes from outside the dialogue. Decided in
 * the group commit, in order with the tuples around them; known to caches and to the set of
 * spamtrap addresses once it is durable. Keeper's thread, except where said. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "keeper/keeper_impl.h"
#include "keeper/knowledge.h"

/* --- posting ---------------------------------------------------------------------------------- */

static uint16_t append(uint8_t *strings, size_t *at, struct span text)
{
	size_t len = text.len < RECORD_STRING_MAX ? text.len : RECORD_STRING_MAX;
	if (len > 0) {
		memcpy(strings + *at, text.ptr, len);
	}
	*at += len;
	return (uint16_t)len;
}

bool keeper_post_change(struct keeper_port *port, const struct change *change, uint64_t cookie)
{
	const struct tuple_text *text = &change->text;
	size_t at = 0;
	struct keeper_change *message =
	        mailbox_reserve(port->requests, sizeof *message + text->helo.len +
	                                                text->sender.len + text->recipient.len);
	if (!message) {
		return false;
	}
	*message =
	        (struct keeper_change){.kind = KEEPER_CHANGE, .change = *change, .cookie = cookie};
	message->helo_len = append(message->strings, &at, text->helo);
	message->sender_len = append(message->strings, &at, text->sender);
	message->recipient_len = append(message->strings, &at, text->recipient);
	mailbox_post(port->requests);
	return true;
}

struct tuple_text keeper_change_text(const struct keeper_change *message)
{
	const uint8_t *strings = message->strings;
	return (struct tuple_text){
	        .helo = span_of(strings, message->helo_len),
	        .sender = span_of(strings + message->helo_len, message->sender_len),
	        .recipient = span_of(strings + message->helo_len + message->sender_len,
	                             message->recipient_len),
	};
}

struct whom keeper_whom_of_change(const struct keeper *keeper, const struct keeper_change *message)
{
	const struct addr *peer = &message->change.addr;
	return (struct whom){.group = addr_group(peer, keeper->env.conf->ipv6_prefix),
	                     .peer = *peer};
}

/* --- deciding --------------------------------------------------------------------------------- */

bool keeper_is_listed(const struct keeper *keeper, const struct addr *peer)
{
	const struct knowledge *knowledge = keeper->env.knowledge;
	return knowledge && list_table_find(knowledge_lists(knowledge), peer) != 0;
}

static void apply(struct keeper *keeper, struct store_txn *txn, const struct change *change,
                  struct change_effect *effect)
{
	const struct conf *conf = keeper->env.conf;
	struct batch *batch = &keeper->batch;
	const struct change_conf change_conf = {.whiteexp_secs = conf->whiteexp_secs,
	                                        .trapexp_secs = conf->trapexp_secs,
	                                        .ipv6_prefix = conf->ipv6_prefix};
	change_apply(txn, &change_conf, keeper->life, change, effect);
	batch->n_writes += effect->n_writes;
	if (effect->has_host) {
		struct cache_key white = keeper_host_key(&effect->white_addr);
		struct cache_key trapped = keeper_host_key(&effect->trapped_addr);
		keeper_touch(batch, &white);
		keeper_touch(batch, &trapped);
	}
	if (effect->has_tuple) {
		struct cache_key tuple = keeper_tuple_key(&effect->tuple);
		keeper_touch(batch, &tuple);
	}
}

static bool is_of_peers(const struct change *change)
{
	return change->kind == CHANGE_PEER_GREY || change->kind == CHANGE_PEER_HOST ||
	       change->kind == CHANGE_PEER_MANUAL || change->kind == CHANGE_PEER_DELETE ||
	       (change->kind == CHANGE_TRAP_HIT && change->is_peers);
}

/* What was seen on the wire, here or at a peer, or comes from another gateway's records makes no
 * listed host white; an administrator may. */
static bool makes_white_unasked(const struct keeper *keeper, const struct change *change)
{
	switch (change->kind) {
	case CHANGE_SEEN:
		return true;
	case CHANGE_PUT:
	case CHANGE_MERGE:
	case CHANGE_PEER_HOST:
		return change->record_kind == RECORD_WHITE && !change->record.is_deleted &&
		       grey_record_is_live(&change->record, keeper->life);
	case CHANGE_WHITE:
	case CHANGE_TRAPPED:
	case CHANGE_SPAMTRAP:
	case CHANGE_DELETE:
	case CHANGE_DELETE_GREY:
	case CHANGE_TRAP_HIT:
	case CHANGE_PEER_GREY:
	case CHANGE_PEER_MANUAL:
	case CHANGE_PEER_DELETE:
	case CHANGE_CURSOR:
	case CHANGE_DELIST:
	case CHANGE_KIND_COUNT:
		break;
	}
	return false;
}

static bool is_in_vain(const struct keeper *keeper, const struct change *change)
{
	return makes_white_unasked(keeper, change) && keeper_is_listed(keeper, &change->addr);
}

/* A peer's hit is told later than the trap it makes: the same one again must not prolong it, nor
 * bring back what was deleted since. */
static bool is_stale_hit(struct store_txn *txn, const struct change *change)
{
	struct grey_record trapped;
	return change->kind == CHANGE_TRAP_HIT && change->is_peers &&
	       store_get_host_register(txn, &change->addr, RECORD_TRAPPED, &trapped) &&
	       change->record.changed_at.secs <= trapped.changed_at.secs;
}

void keeper_decide_change(struct keeper *keeper, struct store_txn *txn,
                          const struct pending *pending, struct batch_result *result)
{
	const struct keeper_change *message = pending_change(pending);
	struct change change = message->change;
	change.text = keeper_change_text(message);
	if (is_in_vain(keeper, &change) || is_stale_hit(txn, &change)) {
		result->effect.ret = is_of_peers(&change) ? ERR_BUSY : 0;
		return;
	}
	apply(keeper, txn, &change, &result->effect);
}

bool keeper_is_fresh_trap(const struct keeper *keeper, int64_t expire_secs)
{
	int64_t age_secs = keeper->life.secs + keeper->env.conf->trapexp_secs - expire_secs;
	return age_secs >= 0 && age_secs < KEEPER_TRAP_AGAIN_SECS;
}

void keeper_decide_trap(struct keeper *keeper, struct store_txn *txn, const struct pending *pending,
                        struct batch_result *result)
{
	const struct addr *peer = &pending_request(pending)->peer;
	struct change hit = {.kind = CHANGE_TRAP_HIT, .has_addr = true, .addr = *peer};
	struct grey_record trapped;
	bool is_there = store_get_host(txn, peer, RECORD_TRAPPED, &trapped);
	result->was_trapped = is_there && grey_record_is_live(&trapped, keeper->life);
	if (!is_there || !keeper_is_fresh_trap(keeper, trapped.expire.secs)) {
		apply(keeper, txn, &hit, &result->effect);
	}
}

/* A record that has expired but is not swept yet still speaks for the host. */
bool keeper_is_low_priority_hit(const struct keeper *keeper, struct store_txn *txn,
                                const struct addr *group)
{
	struct grey_record white;
	return keeper->now.ns >= keeper->low_priority_from.ns &&
	       !store_get_host(txn, group, RECORD_WHITE, &white) && !store_has_tuple_of(txn, group);
}

/* --- spamtrap addresses ----------------------------------------------------------------------- */

static int load_rows(struct trapset *traps, const struct store_row *rows, int n)
{
	for (int i = 0; i < n; i++) {
		int ret = trapset_add(traps, rows[i].text.recipient);
		if (ret != 0) {
			return ret;
		}
	}
	return 0;
}

int keeper_load_traps(struct keeper *keeper)
{
	struct trapset *traps = keeper->env.knowledge ? keeper->env.knowledge->traps : NULL;
	const struct store_row *rows = NULL;
	struct mono begun = clock_mono();
	int ret = 0;
	if (!traps) {
		return 0;
	}
	struct store_walk *walk =
	        store_walk_new(keeper->reader, STORE_WALK_TRAP_ADDRESSES, NULL, NULL);
	if (!walk) {
		return -ENOMEM;
	}
	int n = store_walk_next(walk, &rows, NULL);
	while (n > 0 && ret == 0) {
		ret = load_rows(traps, rows, n);
		n = ret == 0 ? store_walk_next(walk, &rows, NULL) : 0;
	}
	store_walk_free(walk);
	ret = ret != 0 ? ret : n;
	if (ret == 0 && trapset_count(traps) > 0) {
		log_info("%zu spamtrap addresses in %zu KiB of memory, read in %lld ms",
		         trapset_count(traps), trapset_bytes(traps) / 1024,
		         (long long)mono_diff_ms(clock_mono(), begun));
	}
	return ret;
}

static void learn_trap_address(struct keeper *keeper, const struct batch_result *result)
{
	struct trapset *traps = keeper->env.knowledge ? keeper->env.knowledge->traps : NULL;
	struct span address = keeper_change_text(pending_change(result->pending)).recipient;
	if (!traps) {
		return;
	}
	if (result->effect.is_spamtrap_deleted) {
		trapset_remove(traps, address);
		return;
	}
	int ret = trapset_add(traps, address);
	if (ret != 0) {
		char text[LOG_LINE_MAX / 2];
		log_error("spamtrap %s is stored but traps nobody before the next start: %s",
		          span_escape(address, text, sizeof text), err_text(ret));
	}
}

/* --- what became durable is made known -------------------------------------------------------- */

static void learn_effect(struct keeper *keeper, const struct batch_result *result)
{
	const struct change_effect *effect = &result->effect;
	if (effect->has_host) {
		keeper_host_learn_effect(keeper, effect);
	}
	if (effect->has_tuple) {
		struct cache_key key = keeper_tuple_key(&effect->tuple);
		cache_delete(keeper->env.tuples, &key);
	}
	if (effect->has_spamtrap) {
		learn_trap_address(keeper, result);
	}
}

static void count_change(struct keeper *keeper, const struct change *change, int ret)
{
	struct counters *counters = &keeper->counters;
	if (is_of_peers(change)) {
		counters_add(counters, ret ? COUNTER_sync_stale : COUNTER_sync_applied, 1);
	} else if (change->kind != CHANGE_CURSOR) {
		counters_add(counters, COUNTER_changes, 1);
	}
}

void keeper_answer_change(struct keeper *keeper, const struct pending *pending, int ret)
{
	const struct keeper_change *message = pending_change(pending);
	count_change(keeper, &message->change, ret);
	keeper_answer(keeper, pending->port,
	              &(struct keeper_answer){.kind = KEEPER_ANSWER_CHANGED,
	                                      .cookie = message->cookie,
	                                      .ret = ret});
}

void keeper_learn_change(struct keeper *keeper, const struct batch_result *result)
{
	learn_effect(keeper, result);
	keeper_note_change(keeper, result);
	keeper_log_told(result);
	keeper_answer_change(keeper, result->pending, result->effect.ret);
}

void keeper_learn_trap(struct keeper *keeper, const struct batch_result *result)
{
	learn_effect(keeper, result);
	keeper_note_trap(keeper, result);
	counters_add(&keeper->counters, COUNTER_hosts_trapped, !result->was_trapped);
	keeper_log_trap(keeper, result);
}
