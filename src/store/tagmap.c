/* Linear probing from the tag's low bits. A removal moves back what had to step aside, so that no
 * marks of removed slots pile up. */
#include "store/tagmap.h"

#include <errno.h>
#include <stdlib.h>

enum { SLOTS_MIN = 1024 };

/* The tag's slot, or the free one where it belongs. There is always a free one. */
static size_t place_of(const struct tagmap *map, uint64_t tag)
{
	size_t mask = map->n_slots - 1;
	size_t i = (size_t)tag & mask;
	while (map->slots[i].value != 0 && map->slots[i].tag != tag) {
		i = (i + 1) & mask;
	}
	return i;
}

uint64_t tagmap_get(const struct tagmap *map, uint64_t tag)
{
	return map->n > 0 ? map->slots[place_of(map, tag)].value : 0;
}

static int grow(struct tagmap *map)
{
	struct tagmap larger = {.n_slots = map->n_slots ? 2 * map->n_slots : SLOTS_MIN,
	                        .n = map->n};
	larger.slots = calloc(larger.n_slots, sizeof *larger.slots);
	if (!larger.slots) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < map->n_slots; i++) {
		if (map->slots[i].value != 0) {
			larger.slots[place_of(&larger, map->slots[i].tag)] = map->slots[i];
		}
	}
	free(map->slots);
	*map = larger;
	return 0;
}

int tagmap_put(struct tagmap *map, uint64_t tag, uint64_t value)
{
	if (2 * (map->n + 1) > map->n_slots) {
		int ret = grow(map);
		if (ret) {
			return ret;
		}
	}
	struct tagslot *slot = &map->slots[place_of(map, tag)];
	map->n += slot->value == 0;
	*slot = (struct tagslot){tag, value};
	return 0;
}

/* Whether what belongs at `home` and lies at `at` may move to the hole before it: going round from
 * the hole, home does not come before at. */
static bool may_fill(size_t hole, size_t home, size_t at, size_t mask)
{
	return ((at - home) & mask) >= ((at - hole) & mask);
}

void tagmap_remove(struct tagmap *map, uint64_t tag)
{
	if (tagmap_get(map, tag) == 0) {
		return;
	}
	size_t mask = map->n_slots - 1;
	size_t hole = place_of(map, tag);
	for (size_t i = (hole + 1) & mask; map->slots[i].value != 0; i = (i + 1) & mask) {
		if (may_fill(hole, (size_t)map->slots[i].tag & mask, i, mask)) {
			map->slots[hole] = map->slots[i];
			hole = i;
		}
	}
	map->slots[hole].value = 0;
	map->n--;
}

void tagmap_clear(struct tagmap *map)
{
	free(map->slots);
	*map = (struct tagmap){.n = 0};
}
