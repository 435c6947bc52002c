/* Counters that are written late: an early retry only counts, and its count reaches the disk with a
 * promotion, when its cache entry is evicted, once a minute, or at a clean stop. What is lost when
 * the process dies is at most a minute of such counts, never a record. Keeper's thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keeper/keeper_impl.h"

int keeper_dirty_init(struct dirty *dirty, struct mono now)
{
	dirty->keys = malloc(sizeof(struct cache_key) * KEEPER_DIRTY_MAX);
	dirty->due = mono_add_ms(now, KEEPER_DIRTY_MS);
	return dirty->keys ? 0 : -ENOMEM;
}

void keeper_dirty_fini(struct dirty *dirty)
{
	free(dirty->keys);
}

/* A full ring writes itself out early; a tuple that finds it full (the store is failing, or slower
 * than the flood) keeps its mark in the cache and is written when it is evicted or promoted. */
void keeper_dirty_add(struct dirty *dirty, const struct cache_key *key)
{
	if (dirty->n == KEEPER_DIRTY_MAX) {
		return;
	}
	dirty->keys[(dirty->head + dirty->n) % KEEPER_DIRTY_MAX] = *key;
	dirty->n++;
	if (dirty->n > KEEPER_DIRTY_MAX / 2) {
		dirty->n_due = dirty->n;
	}
}

/* With the store failing and the list full a count is lost: a figure, not a record. */
void keeper_dirty_evicted(struct dirty *dirty, const struct cache_key *key, uint32_t bcount)
{
	if (dirty->n_evicted < KEEPER_EVICTED_MAX) {
		dirty->evicted[dirty->n_evicted++] =
		        (struct dirty_counter){.key = *key, .bcount = bcount};
	}
}

static void write_counter(struct keeper *keeper, struct store_txn *txn,
                          const struct cache_key *cache_key, uint32_t bcount)
{
	struct tuple_key key;
	memcpy(key.addr.bytes, cache_key->bytes, sizeof key.addr.bytes);
	memcpy(key.hash, cache_key->bytes + sizeof key.addr.bytes, sizeof key.hash);
	struct grey_record record;
	if (store_get_tuple(txn, &key, &record) && record.bcount < bcount) {
		record.bcount = bcount;
		store_update_tuple(txn, &key, &record, false);
		keeper->batch.n_writes++;
	}
}

void keeper_dirty_write_evicted(struct keeper *keeper, struct store_txn *txn)
{
	const struct dirty *dirty = &keeper->dirty;
	for (uint32_t *i = &keeper->batch.n_evicted; *i < dirty->n_evicted; (*i)++) {
		write_counter(keeper, txn, &dirty->evicted[*i].key, dirty->evicted[*i].bcount);
	}
}

void keeper_dirty_write(struct keeper *keeper, struct store_txn *txn)
{
	struct dirty *dirty = &keeper->dirty;
	struct batch *batch = &keeper->batch;
	keeper_dirty_write_evicted(keeper, txn);
	batch->n_dirty = dirty->n_due < KEEPER_DIRTY_SLICE ? dirty->n_due : KEEPER_DIRTY_SLICE;
	for (uint32_t i = 0; i < batch->n_dirty; i++) {
		const struct cache_key *key = &dirty->keys[(dirty->head + i) % KEEPER_DIRTY_MAX];
		struct cache_entry entry;
		/* a tuple that this transaction has changed took its count along */
		if (cache_get(keeper->env.tuples, key, &entry) && entry.is_dirty &&
		    !keeper_is_touched(batch, key)) {
			write_counter(keeper, txn, key, entry.bcount);
		}
	}
}

void keeper_dirty_written(struct keeper *keeper)
{
	struct dirty *dirty = &keeper->dirty;
	struct batch *batch = &keeper->batch;
	dirty->n_evicted -= batch->n_evicted;
	memmove(dirty->evicted, dirty->evicted + batch->n_evicted,
	        dirty->n_evicted * sizeof dirty->evicted[0]);
	for (uint32_t i = 0; i < batch->n_dirty; i++) {
		const struct cache_key *key = &dirty->keys[(dirty->head + i) % KEEPER_DIRTY_MAX];
		struct cache_entry entry;
		if (cache_get(keeper->env.tuples, key, &entry) && entry.is_dirty &&
		    !keeper_is_touched(batch, key)) {
			entry.is_dirty = false;
			(void)cache_put(keeper->env.tuples, key, &entry, NULL, NULL);
		}
	}
	dirty->head = (dirty->head + batch->n_dirty) % KEEPER_DIRTY_MAX;
	dirty->n -= batch->n_dirty;
	dirty->n_due -= batch->n_dirty;
}
