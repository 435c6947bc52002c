/* The table of cache.h: groups of eight 64-byte slots; a key lives in the one group its hash names,
 * so a look-up touches at most eight cache lines and a delete leaves no hole to repair. The hash is
 * keyed per table: who chooses addresses cannot choose a group. Owner of all writes: the keeper.
 *
 * Every word of a slot is an atomic. The writer stores an odd sequence (relaxed), then the words
 * (release), then the even sequence (release). A reader that acquires any new word therefore sees
 * at least the odd sequence in its second look and tries again. No fence is needed, which
 * ThreadSanitizer could not follow. */
#include "store/cache.h"

#include <assert.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
	KEY_WORDS = CACHE_KEY_BYTES / 8,
	WORD_STATE = KEY_WORDS, /* kind, flags, first_secs */
	WORD_COUNT,             /* expire_secs, bcount */
	WORD_STAMP,
	N_WORDS,
	/* A writer between its two sequence stores is a few ns away from the end, unless it lost
	 * its processor; then "not here" is the better answer than waiting for it. */
	READ_TRIES_MAX = 1000,
};

enum { STATE_USED = 1, STATE_COMMITTED = 2, STATE_DIRTY = 4 };

struct slot {
	_Atomic uint64_t seq; /* odd while being written */
	_Atomic uint64_t words[N_WORDS];
};

static_assert(sizeof(struct slot) == CACHE_LINE, "one slot, one cache line");

struct cache {
	struct slot *slots;
	size_t n_bytes;
	uint32_t group_mask;
	_Atomic uint64_t n_used;
	_Atomic uint64_t n_evicted;
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
};

/* A slot's content outside the table. */
struct content {
	uint64_t words[N_WORDS];
};

static uint32_t round_up_pow2(uint32_t n)
{
	uint32_t size = CACHE_PROBE_MAX;
	while (size < n && size < UINT32_C(1) << 31) {
		size *= 2;
	}
	return size;
}

/* A look-up is a walk through the page tables but for one line, unless pages are large; kernels
 * without them do no harm. Each is written to at once, because older kernels split one that is read
 * first; hashes lie everywhere, so the first hundred hosts would take them all anyway. */
static void take_large_pages(void *memory, size_t n_bytes)
{
	enum { LARGE_PAGE = 2 << 20 };
	volatile uint8_t *bytes = memory;
	(void)madvise(memory, n_bytes, MADV_HUGEPAGE);
	for (size_t at = 0; at + LARGE_PAGE <= n_bytes; at += LARGE_PAGE) {
		bytes[at] = 0;
	}
}

struct cache *cache_new(uint32_t n_slots)
{
	struct cache *cache = calloc(1, sizeof *cache);
	if (!cache) {
		return NULL;
	}
	uint32_t n = round_up_pow2(n_slots);
	cache->n_bytes = (size_t)n * sizeof(struct slot);
	cache->group_mask = n / CACHE_PROBE_MAX - 1;
	void *slots = mmap(NULL, cache->n_bytes, PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slots == MAP_FAILED) {
		free(cache);
		return NULL;
	}
	take_large_pages(slots, cache->n_bytes);
	cache->slots = slots;
	randombytes_buf(cache->hash_key, sizeof cache->hash_key);
	return cache;
}

void cache_free(struct cache *cache)
{
	if (cache) {
		(void)munmap(cache->slots, cache->n_bytes);
		free(cache);
	}
}

static struct slot *group_of(const struct cache *cache, const struct cache_key *key)
{
	uint64_t hash;
	uint8_t bytes[crypto_shorthash_BYTES];
	(void)crypto_shorthash(bytes, key->bytes, sizeof key->bytes, cache->hash_key);
	memcpy(&hash, bytes, sizeof hash);
	return cache->slots + (hash & cache->group_mask) * CACHE_PROBE_MAX;
}

static struct content pack(const struct cache_key *key, const struct cache_entry *entry)
{
	struct content c;
	memcpy(c.words, key->bytes, sizeof key->bytes);
	uint64_t flags = STATE_USED | (entry->is_committed ? STATE_COMMITTED : 0U) |
	                 (entry->is_dirty ? STATE_DIRTY : 0U);
	c.words[WORD_STATE] =
	        (uint64_t)entry->first_secs << 32 | flags << 8 | (uint64_t)entry->kind;
	c.words[WORD_COUNT] = (uint64_t)entry->expire_secs << 32 | entry->bcount;
	c.words[WORD_STAMP] = entry->stamp;
	return c;
}

static void unpack(const struct content *c, struct cache_entry *entry)
{
	uint64_t state = c->words[WORD_STATE];
	*entry = (struct cache_entry){
	        .kind = (uint8_t)state,
	        .is_committed = state >> 8 & STATE_COMMITTED,
	        .is_dirty = state >> 8 & STATE_DIRTY,
	        .first_secs = (uint32_t)(state >> 32),
	        .expire_secs = (uint32_t)(c->words[WORD_COUNT] >> 32),
	        .bcount = (uint32_t)c->words[WORD_COUNT],
	        .stamp = (uint32_t)c->words[WORD_STAMP],
	};
}

static bool is_used(const struct content *c)
{
	return c->words[WORD_STATE] >> 8 & STATE_USED;
}

static bool has_key(const struct content *c, const struct cache_key *key)
{
	return is_used(c) && memcmp(c->words, key->bytes, sizeof key->bytes) == 0;
}

/* Partner of slot_write. False when the slot could not be read in one piece. */
static bool slot_read(const struct slot *slot, struct content *out)
{
	for (int i = 0; i < READ_TRIES_MAX; i++) {
		uint64_t seq = atomic_load_explicit(&slot->seq, memory_order_acquire);
		if (seq & 1) {
			continue;
		}
		for (int w = 0; w < N_WORDS; w++) {
			out->words[w] = atomic_load_explicit(&slot->words[w], memory_order_acquire);
		}
		if (atomic_load_explicit(&slot->seq, memory_order_relaxed) == seq) {
			return true;
		}
	}
	return false;
}

/* The owner reads its own stores: no sequence needed. */
static struct content slot_own(const struct slot *slot)
{
	struct content c;
	for (int w = 0; w < N_WORDS; w++) {
		c.words[w] = atomic_load_explicit(&slot->words[w], memory_order_relaxed);
	}
	return c;
}

static void slot_write(struct slot *slot, const struct content *c)
{
	uint64_t seq = atomic_load_explicit(&slot->seq, memory_order_relaxed);
	atomic_store_explicit(&slot->seq, seq + 1, memory_order_relaxed);
	for (int w = 0; w < N_WORDS; w++) {
		atomic_store_explicit(&slot->words[w], c->words[w], memory_order_release);
	}
	atomic_store_explicit(&slot->seq, seq + 2, memory_order_release);
}

/* What tells most keys apart: the end of the address, the end of the hash. */
struct tell {
	uint64_t words[2];
};
enum { TELL_ADDR = 1, TELL_HASH = KEY_WORDS - 1 };

static struct tell tell_of(const struct cache_key *key)
{
	struct tell tell;
	memcpy(&tell.words[0], key->bytes + TELL_ADDR * sizeof(uint64_t), sizeof(uint64_t));
	memcpy(&tell.words[1], key->bytes + TELL_HASH * sizeof(uint64_t), sizeof(uint64_t));
	return tell;
}

/* Two loads instead of a copy of the slot: a look-up spends its time on slots of other keys.
 * Without the sequence: a slot keeps its key's words while its entry changes, and one that gets or
 * loses the key at this moment may be seen either way. */
static bool may_have_key(const struct slot *slot, const struct tell *tell)
{
	return atomic_load_explicit(&slot->words[TELL_ADDR], memory_order_relaxed) ==
	               tell->words[0] &&
	       atomic_load_explicit(&slot->words[TELL_HASH], memory_order_relaxed) ==
	               tell->words[1];
}

bool cache_get(const struct cache *cache, const struct cache_key *key, struct cache_entry *out)
{
	const struct slot *group = group_of(cache, key);
	const struct tell tell = tell_of(key);
	struct content c;
	for (int i = 0; i < CACHE_PROBE_MAX; i++) {
		if (may_have_key(&group[i], &tell) && slot_read(&group[i], &c) &&
		    has_key(&c, key)) {
			unpack(&c, out);
			return true;
		}
	}
	return false;
}

static void count(_Atomic uint64_t *counter, int64_t n)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
	atomic_store_explicit(counter, value + (uint64_t)n, memory_order_relaxed);
}

/* The lower, the sooner it is given to another key: free, then committed by expiry; never if not
 * committed. */
static uint64_t rank_of(const struct slot *slot)
{
	uint64_t state = atomic_load_explicit(&slot->words[WORD_STATE], memory_order_relaxed) >> 8;
	uint64_t count = atomic_load_explicit(&slot->words[WORD_COUNT], memory_order_relaxed);
	if ((state & STATE_USED) == 0) {
		return 0;
	}
	return state & STATE_COMMITTED ? 1 + (count >> 32) : UINT64_MAX;
}

/* Where a put goes: the key's own slot, else a free one, else the committed entry that expires
 * first. NULL when all are uncommitted. */
static struct slot *choose(struct slot *group, const struct cache_key *key, struct content *old)
{
	const struct tell tell = tell_of(key);
	struct slot *best = NULL;
	uint64_t best_rank = UINT64_MAX;
	for (int i = 0; i < CACHE_PROBE_MAX; i++) {
		if (may_have_key(&group[i], &tell)) {
			*old = slot_own(&group[i]);
			if (has_key(old, key)) {
				return &group[i];
			}
		}
		uint64_t rank = rank_of(&group[i]);
		if (rank < best_rank) {
			best = &group[i];
			best_rank = rank;
		}
	}
	if (best) {
		*old = slot_own(best);
	}
	return best;
}

bool cache_put(struct cache *cache, const struct cache_key *key, const struct cache_entry *entry,
               struct cache_key *evicted_key, struct cache_entry *evicted)
{
	if (evicted) {
		*evicted = (struct cache_entry){.kind = CACHE_NONE};
	}
	struct content old;
	struct slot *slot = choose(group_of(cache, key), key, &old);
	if (!slot) {
		return false;
	}
	struct cache_entry gone;
	unpack(&old, &gone);
	bool is_eviction = is_used(&old) && !has_key(&old, key);
	if (is_eviction && gone.is_dirty && evicted && evicted_key) {
		memcpy(evicted_key->bytes, old.words, sizeof evicted_key->bytes);
		*evicted = gone;
	}
	count(&cache->n_evicted, is_eviction);
	count(&cache->n_used, !is_used(&old));
	struct content new = pack(key, entry);
	slot_write(slot, &new);
	return true;
}

void cache_delete(struct cache *cache, const struct cache_key *key)
{
	static const struct content none;
	struct slot *group = group_of(cache, key);
	for (int i = 0; i < CACHE_PROBE_MAX; i++) {
		struct content c = slot_own(&group[i]);
		if (has_key(&c, key)) {
			slot_write(&group[i], &none);
			count(&cache->n_used, -1);
			return;
		}
	}
}

uint64_t cache_used(const struct cache *cache)
{
	return atomic_load_explicit(&cache->n_used, memory_order_relaxed);
}

uint64_t cache_evicted(const struct cache *cache)
{
	return atomic_load_explicit(&cache->n_evicted, memory_order_relaxed);
}
