/* Entries in one array, found by a chained hash (keyed: senders choose their addresses), each in
 * one of three lists: free, urgent (to be reported now), resting (reported; the oldest first, for
 * the interval is the same for all). */
#include "mired-logd/sightings.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = -1 };

enum list_name { LIST_FREE, LIST_URGENT, LIST_RESTING, LIST_COUNT };

struct entry {
	struct sighting seen; /* count: not yet reported */
	struct mono due;      /* resting: end of the interval */
	int32_t chain;        /* next entry of the same bucket */
	int32_t next, prev;   /* in its list */
	enum list_name list;
};

struct list {
	int32_t first, last;
};

struct sightings {
	uint32_t interval_ms;
	uint32_t mask; /* of buckets */
	int32_t *buckets;
	struct entry *entries;
	struct list lists[LIST_COUNT];
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
};

static void list_remove(struct sightings *s, int32_t idx)
{
	struct entry *entry = &s->entries[idx];
	struct list *list = &s->lists[entry->list];
	*(entry->prev == NONE ? &list->first : &s->entries[entry->prev].next) = entry->next;
	*(entry->next == NONE ? &list->last : &s->entries[entry->next].prev) = entry->prev;
}

static void list_append(struct sightings *s, enum list_name name, int32_t idx)
{
	struct entry *entry = &s->entries[idx];
	struct list *list = &s->lists[name];
	entry->list = name;
	entry->next = NONE;
	entry->prev = list->last;
	*(list->last == NONE ? &list->first : &s->entries[list->last].next) = idx;
	list->last = idx;
}

static void list_move(struct sightings *s, enum list_name to, int32_t idx)
{
	list_remove(s, idx);
	list_append(s, to, idx);
}

static int32_t *bucket_of(const struct sightings *s, const struct sighting *seen)
{
	uint8_t key[sizeof seen->addr.bytes + 1];
	uint64_t hash;
	static_assert(sizeof hash == crypto_shorthash_BYTES, "SipHash-2-4 gives 64 bits");
	memcpy(key, seen->addr.bytes, sizeof seen->addr.bytes);
	key[sizeof key - 1] = seen->is_outbound;
	(void)crypto_shorthash((unsigned char *)&hash, key, sizeof key, s->hash_key);
	return &s->buckets[hash & s->mask];
}

static bool is_same(const struct sighting *a, const struct sighting *b)
{
	return a->is_outbound == b->is_outbound && addr_equal(&a->addr, &b->addr);
}

static int32_t find(const struct sightings *s, const struct sighting *seen)
{
	int32_t idx = *bucket_of(s, seen);
	while (idx != NONE && !is_same(&s->entries[idx].seen, seen)) {
		idx = s->entries[idx].chain;
	}
	return idx;
}

/* Out of its bucket and into the free list. */
static void forget(struct sightings *s, int32_t idx)
{
	int32_t *link = bucket_of(s, &s->entries[idx].seen);
	while (*link != idx) {
		link = &s->entries[*link].chain;
	}
	*link = s->entries[idx].chain;
	list_move(s, LIST_FREE, idx);
}

/* A free entry, or the oldest one of which everything has been reported. */
static int32_t make_room(struct sightings *s)
{
	int32_t idx = s->lists[LIST_RESTING].first;
	if (s->lists[LIST_FREE].first != NONE) {
		return s->lists[LIST_FREE].first;
	}
	if (idx == NONE) {
		return NONE;
	}
	if (s->entries[idx].seen.count > 0) {
		list_move(s, LIST_URGENT, idx); /* early: there will be room after its report */
		return NONE;
	}
	forget(s, idx);
	return idx;
}

static uint32_t add_counts(uint32_t a, uint32_t b)
{
	return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

struct sightings *sightings_new(uint32_t n_max, uint32_t interval_ms)
{
	struct sightings *s = calloc(1, sizeof *s);
	uint32_t n_buckets = 1;
	if (!s) {
		return NULL;
	}
	while (n_buckets < n_max) {
		n_buckets *= 2;
	}
	*s = (struct sightings){.interval_ms = interval_ms, .mask = n_buckets - 1};
	s->buckets = malloc(n_buckets * sizeof *s->buckets);
	s->entries = calloc(n_max, sizeof *s->entries);
	if (!s->buckets || !s->entries) {
		sightings_free(s);
		return NULL;
	}
	crypto_shorthash_keygen(s->hash_key);
	for (uint32_t i = 0; i < n_buckets; i++) {
		s->buckets[i] = NONE;
	}
	for (size_t i = 0; i < LIST_COUNT; i++) {
		s->lists[i] = (struct list){NONE, NONE};
	}
	for (uint32_t i = 0; i < n_max; i++) {
		list_append(s, LIST_FREE, (int32_t)i);
	}
	return s;
}

void sightings_free(struct sightings *s)
{
	if (s) {
		free(s->buckets);
		free(s->entries);
		free(s);
	}
}

static bool add_new(struct sightings *s, const struct sighting *seen)
{
	int32_t idx = make_room(s);
	if (idx == NONE) {
		return false;
	}
	int32_t *bucket = bucket_of(s, seen);
	s->entries[idx].seen = *seen;
	s->entries[idx].chain = *bucket;
	*bucket = idx;
	list_move(s, LIST_URGENT, idx);
	return true;
}

bool sightings_add(struct sightings *s, const struct sighting *seen, struct mono now)
{
	int32_t idx = find(s, seen);
	if (idx == NONE) {
		return add_new(s, seen);
	}
	struct entry *entry = &s->entries[idx];
	bool was_idle = entry->seen.count == 0;
	entry->seen.count = add_counts(entry->seen.count, seen->count);
	if (entry->list == LIST_RESTING && was_idle && mono_diff_ms(entry->due, now) <= 0) {
		list_move(s, LIST_URGENT, idx);
	}
	return true;
}

void sightings_return(struct sightings *s, const struct sighting *seen, struct mono now)
{
	/* what was taken rests; its place may have been given away meanwhile */
	if (sightings_add(s, seen, now)) {
		int32_t idx = find(s, seen);
		if (s->entries[idx].list == LIST_RESTING) {
			list_move(s, LIST_URGENT, idx);
		}
	}
}

static bool head_is_due(const struct sightings *s, struct mono now)
{
	int32_t idx = s->lists[LIST_RESTING].first;
	return idx != NONE && mono_diff_ms(s->entries[idx].due, now) <= 0;
}

/* Whose interval is over: to be reported if they came again, else forgotten. */
static void wake_rested(struct sightings *s, struct mono now, size_t max)
{
	for (size_t i = 0; i < max && head_is_due(s, now); i++) {
		int32_t idx = s->lists[LIST_RESTING].first;
		if (s->entries[idx].seen.count > 0) {
			list_move(s, LIST_URGENT, idx);
		} else {
			forget(s, idx);
		}
	}
}

size_t sightings_take(struct sightings *s, struct mono now, struct sighting *out, size_t max)
{
	size_t n = 0;
	wake_rested(s, now, max);
	while (n < max && s->lists[LIST_URGENT].first != NONE) {
		int32_t idx = s->lists[LIST_URGENT].first;
		struct entry *entry = &s->entries[idx];
		out[n++] = entry->seen;
		entry->seen.count = 0;
		entry->due = mono_add_ms(now, s->interval_ms);
		list_move(s, LIST_RESTING, idx);
	}
	return n;
}

int32_t sightings_wait_ms(const struct sightings *s, struct mono now)
{
	int32_t idx = s->lists[LIST_RESTING].first;
	if (s->lists[LIST_URGENT].first != NONE) {
		return 0;
	}
	if (idx == NONE) {
		return INT32_MAX;
	}
	int64_t ms = mono_diff_ms(s->entries[idx].due, now) + 1; /* the difference is cut */
	return ms <= 0 ? 0 : ms < INT32_MAX ? (int32_t)ms : INT32_MAX;
}

void sightings_hurry(struct sightings *s)
{
	int32_t next;
	for (int32_t idx = s->lists[LIST_RESTING].first; idx != NONE; idx = next) {
		next = s->entries[idx].next;
		if (s->entries[idx].seen.count > 0) {
			list_move(s, LIST_URGENT, idx);
		}
	}
}
