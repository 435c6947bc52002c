/* What a host is, for the keeper: from the host cache, else from its two registers. Keeper's
 * thread.
 *
 * Traps go by the whole address, white by the group. For IPv4 that is the same, and one cache entry
 * holds what both registers say. For IPv6, workers take an entry TRAPPED under the client's own
 * address, else the one under its group. So a group is cached (WHITE or NONE) only while none of
 * its members is trapped; a mark of the keeper's own spares the others' questions the search. */
#include <errno.h>
#include <string.h>

#include "keeper/keeper_impl.h"
#include "policy/cidr.h"

enum {
	IPV6_BITS = 128,
	SEARCH_SLICES_MAX = 4, /* of a group; expired rows are soon swept */
	SEARCH_AGAIN_SECS = 60,
};

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

struct cache_entry keeper_entry_of(enum cache_kind kind, const struct grey_record *record)
{
	return (struct cache_entry){
	        .stamp = kind == CACHE_GREY ? clamp_u32(record->last.secs) : 0,
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
	struct wall last = {entry->kind == CACHE_GREY ? entry->stamp : 0};
	return (struct grey_record){
	        .first = first,
	        .pass = entry->kind == CACHE_GREY ? expire : first,
	        .expire = expire,
	        .changed_at = first,
	        .last = last,
	        .bcount = entry->bcount,
	};
}

/* --- cache ------------------------------------------------------------------------------------ */

static bool is_cached(const struct keeper *keeper, const struct addr *addr, struct cache_entry *out)
{
	struct cache_key key = keeper_host_key(addr);
	return cache_get(keeper->env.hosts, &key, out) && out->expire_secs > keeper->life.secs;
}

static void put(struct keeper *keeper, const struct addr *addr, const struct cache_entry *entry)
{
	struct cache_key key = keeper_host_key(addr);
	/* cannot fail: no entry of this table is uncommitted */
	(void)cache_put(keeper->env.hosts, &key, entry, NULL, NULL);
}

static void forget(struct keeper *keeper, const struct addr *addr)
{
	struct cache_key key = keeper_host_key(addr);
	cache_delete(keeper->env.hosts, &key);
}

/* --- groups ----------------------------------------------------------------------------------- */

/* Whether members share a cache entry under this (grouped) address. */
static bool is_shared(const struct keeper *keeper, const struct addr *addr)
{
	return !addr_is_v4(addr) && keeper->env.conf->ipv6_prefix < IPV6_BITS;
}

/* Workers never look under this key: "a member of the group is trapped until ...". */
static struct cache_key mark_of(const struct addr *group)
{
	struct cache_key key = keeper_host_key(group);
	key.bytes[sizeof group->bytes] = 1;
	return key;
}

static void mark(struct keeper *keeper, const struct addr *group, struct wall expire)
{
	struct grey_record until = {.first = keeper->wall, .expire = expire};
	struct cache_entry entry = keeper_entry_of(CACHE_TRAPPED, &until);
	struct cache_key key = mark_of(group);
	(void)cache_put(keeper->env.hosts, &key, &entry, NULL, NULL);
}

static bool is_marked(const struct keeper *keeper, const struct addr *group)
{
	struct cache_key key = mark_of(group);
	struct cache_entry entry;
	return cache_get(keeper->env.hosts, &key, &entry) && entry.expire_secs > keeper->life.secs;
}

/* End of the life of a trapped member among the rows; 0 = none. */
static struct wall trapped_until(const struct keeper *keeper, const struct store_row *rows, int n)
{
	struct wall until = {0};
	for (int i = 0; i < n; i++) {
		if (rows[i].kind == RECORD_TRAPPED &&
		    grey_record_is_live(&rows[i].record, keeper->life)) {
			until = rows[i].record.expire;
		}
	}
	return until;
}

/* Looks for a trapped member; 0 = there is none. What cannot be read to its end may have one.
 * Tombstones are among the rows, so that they end a slice: a walk without them passes as many as
 * there are before it comes back. */
static struct wall search(const struct keeper *keeper, const struct addr *group)
{
	struct cidr cidr = {.addr = *group, .bits = (uint8_t)keeper->env.conf->ipv6_prefix};
	struct addr_range range = cidr_range(&cidr);
	struct wall until = {0};
	const struct store_row *rows = NULL;
	struct store_walk *walk = store_walk_new(
	        keeper->reader, STORE_WALK_HOSTS | STORE_WALK_DELETED, &range.first, &range.last);
	int n = walk ? store_walk_next(walk, &rows, NULL) : -ENOMEM;
	for (int i = 0; n > 0 && until.secs == 0 && i < SEARCH_SLICES_MAX; i++) {
		until = trapped_until(keeper, rows, n);
		n = store_walk_next(walk, &rows, NULL);
	}
	store_walk_free(walk);
	if (until.secs == 0 && n != 0) {
		until.secs = keeper->life.secs + SEARCH_AGAIN_SECS;
	}
	return until;
}

static bool has_trapped_member(struct keeper *keeper, const struct addr *group)
{
	if (!is_shared(keeper, group)) {
		return false;
	}
	if (is_marked(keeper, group)) {
		return true;
	}
	struct wall until = search(keeper, group);
	if (until.secs != 0) {
		mark(keeper, group, until);
	}
	return until.secs != 0;
}

/* --- what a commit has changed ---------------------------------------------------------------- */

void keeper_host_learn_white(struct keeper *keeper, const struct addr *addr,
                             const struct grey_record *white)
{
	struct cache_entry entry = keeper_entry_of(CACHE_WHITE, white);
	/* the journal carries it to the kernel: no need to assert it in the same second */
	entry.stamp = clamp_u32(keeper->wall.secs);
	if (!has_trapped_member(keeper, addr)) {
		put(keeper, addr, &entry);
	}
}

static void put_trapped(struct keeper *keeper, const struct addr *addr,
                        const struct cache_entry *entry)
{
	struct addr group = addr_group(addr, keeper->env.conf->ipv6_prefix);
	/* the one address that is its group's name stays out: its members would find it */
	if (!is_shared(keeper, addr) || !addr_equal(addr, &group)) {
		put(keeper, addr, entry);
	}
}

void keeper_host_learn_effect(struct keeper *keeper, const struct change_effect *effect)
{
	struct addr group = addr_group(&effect->trapped_addr, keeper->env.conf->ipv6_prefix);
	struct cache_key key = mark_of(&group);
	forget(keeper, &effect->white_addr);
	forget(keeper, &effect->trapped_addr);
	cache_delete(keeper->env.hosts, &key);
	if (effect->is_trapped_now) {
		struct grey_record trapped = {.first = keeper->wall, .expire = effect->expire};
		struct cache_entry entry = keeper_entry_of(CACHE_TRAPPED, &trapped);
		put_trapped(keeper, &effect->trapped_addr, &entry);
	}
}

/* --- registers -------------------------------------------------------------------------------- */

/* 1, 0, or a negative code when it could not be read. */
static int read_register(struct keeper *keeper, struct store_txn *txn, const struct addr *addr,
                         enum record_kind kind, struct grey_record *out)
{
	if (!txn) {
		return store_reader_host(keeper->reader, addr, kind, out);
	}
	bool is_there = store_get_host(txn, addr, kind, out);
	return txn->ret != 0 ? txn->ret : is_there;
}

static struct cache_entry judge(const struct keeper *keeper, const struct grey_record *white,
                                const struct grey_record *trapped)
{
	if (trapped && grey_record_is_live(trapped, keeper->life)) {
		return keeper_entry_of(CACHE_TRAPPED, trapped);
	}
	if (white && grey_record_is_live(white, keeper->life)) {
		return keeper_entry_of(CACHE_WHITE, white);
	}
	/* workers judge it by the wall clock, the keeper by the guard's: it lasts by both */
	int64_t now_secs =
	        keeper->life.secs > keeper->wall.secs ? keeper->life.secs : keeper->wall.secs;
	struct grey_record none = {.first = keeper->wall, .expire = {now_secs + KEEPER_NONE_SECS}};
	return keeper_entry_of(CACHE_NONE, &none);
}

/* What the open transaction has changed is not for the cache before the commit. */
static bool may_cache(const struct keeper *keeper, const struct store_txn *txn,
                      const struct addr *addr)
{
	struct cache_key key = keeper_host_key(addr);
	return !txn || !keeper_is_touched(&keeper->batch, &key);
}

static bool get_cached(const struct keeper *keeper, const struct store_txn *txn,
                       const struct whom *whom, struct cache_entry *out)
{
	const struct addr *addr = &whom->group;
	const struct addr *peer = &whom->peer;
	if (!addr_equal(addr, peer) && may_cache(keeper, txn, peer) &&
	    is_cached(keeper, peer, out) && out->kind == CACHE_TRAPPED) {
		return true;
	}
	return may_cache(keeper, txn, addr) && is_cached(keeper, addr, out);
}

static void learn(struct keeper *keeper, const struct store_txn *txn, const struct whom *whom,
                  const struct cache_entry *entry)
{
	if (entry->kind == CACHE_TRAPPED) {
		if (may_cache(keeper, txn, &whom->peer)) {
			put_trapped(keeper, &whom->peer, entry);
		}
	} else if (may_cache(keeper, txn, &whom->group) &&
	           !has_trapped_member(keeper, &whom->group)) {
		put(keeper, &whom->group, entry);
	}
}

int keeper_host_get(struct keeper *keeper, struct store_txn *txn, const struct whom *whom,
                    struct cache_entry *out)
{
	struct grey_record white;
	struct grey_record trapped;
	if (get_cached(keeper, txn, whom, out)) {
		return 0;
	}
	*out = (struct cache_entry){.kind = CACHE_NONE};
	int n_white = read_register(keeper, txn, &whom->group, RECORD_WHITE, &white);
	int n_trapped = read_register(keeper, txn, &whom->peer, RECORD_TRAPPED, &trapped);
	if (n_white < 0 || n_trapped < 0) {
		return n_white < 0 ? n_white : n_trapped;
	}
	*out = judge(keeper, n_white > 0 ? &white : NULL, n_trapped > 0 ? &trapped : NULL);
	learn(keeper, txn, whom, out);
	return 0;
}

/* --- white hosts seen here -------------------------------------------------------------------- */

void keeper_reassert(struct keeper *keeper, const struct addr *addr, struct cache_entry *entry)
{
	struct cache_entry old;
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
	if (is_cached(keeper, addr, &old)) {
		put(keeper, addr, entry);
	}
	counters_add(&keeper->counters, COUNTER_hosts_reasserted, 1);
	keeper_note_reasserted(keeper, addr);
	keeper->must_wake_feeder = true;
}
