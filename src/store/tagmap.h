/* A growing hash table from 64-bit tags to numbers that are not 0: open addressing, 16 bytes a
 * slot, at most half of them taken. A tag is a keyed hash already; two things of one tag are one
 * here, so whoever needs to tell them apart compares the things. One owner thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct tagslot {
	uint64_t tag;
	uint64_t value; /* 0 = free */
};

/* Zeroed: empty, without memory. */
struct tagmap {
	struct tagslot *slots;
	size_t n_slots; /* a power of two, or 0 */
	size_t n;
};

/* The value, 0 if there is none. */
uint64_t tagmap_get(const struct tagmap *map, uint64_t tag);
/* Inserts or overwrites; value is not 0. -ENOMEM: nothing was changed. Never fails where a slot was
 * taken and given back before. */
MUST_USE int tagmap_put(struct tagmap *map, uint64_t tag, uint64_t value);
/* Nothing if it is not there. Gives no memory back. */
void tagmap_remove(struct tagmap *map, uint64_t tag);
/* Empties it and gives its memory back. */
void tagmap_clear(struct tagmap *map);
