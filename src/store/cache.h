/* Bounded lock-free tables of 64-byte slots, read by every worker and written by the keeper alone.
 * Each slot carries a sequence lock: readers copy it between two loads of the sequence and try
 * again when it changed. A full group of slots evicts the earliest expiry that is already
 * committed; no allocation, no grace period. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "policy/greylist.h"

enum { CACHE_KEY_BYTES = 32, CACHE_PROBE_MAX = 8 };

enum cache_kind {
	CACHE_NONE, /* known to be absent from the store */
	CACHE_WHITE,
	CACHE_TRAPPED,
	CACHE_GREY, /* a tuple */
};

/* 16-byte address, then 16 bytes of keyed hash (tuples) or zeros (hosts). */
struct cache_key {
	uint8_t bytes[CACHE_KEY_BYTES];
};

struct cache_entry {
	uint8_t kind;        /* enum cache_kind */
	bool is_committed;   /* its record is on disk as it stands here (bcount apart) */
	bool is_dirty;       /* bcount grew since the record was written */
	uint32_t first_secs; /* wall seconds, 32 bits unsigned (until 2106) */
	uint32_t expire_secs;
	uint32_t bcount;
	/* keeper's own, a wall second: of a host's last re-assertion, of a tuple's newest attempt
	 * on disk */
	uint32_t stamp;
};

struct cache;

/* n_slots is rounded up to a power of two; 64 bytes each, zeroed lazily by the kernel. */
struct cache *cache_new(uint32_t n_slots);
void cache_free(struct cache *cache);
/* Any thread. False: not in the table (which says nothing about the store). */
bool cache_get(const struct cache *cache, const struct cache_key *key, struct cache_entry *out);
/* Keeper only. Inserts or overwrites. Returns false when every slot of the group holds an
 * uncommitted entry (nothing was changed). *evicted (may be NULL, as may evicted_key) tells of a
 * dirty entry that had to go: evicted->is_dirty is set then, and all of it is zero otherwise. */
bool cache_put(struct cache *cache, const struct cache_key *key, const struct cache_entry *entry,
               struct cache_key *evicted_key, struct cache_entry *evicted);
/* Keeper only. */
void cache_delete(struct cache *cache, const struct cache_key *key);
/* Slots in use, a moment's view. */
uint64_t cache_used(const struct cache *cache);
/* Entries evicted since the start, dirty or not. Any thread. */
uint64_t cache_evicted(const struct cache *cache);
