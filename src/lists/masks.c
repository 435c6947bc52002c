/* A hash with open addressing, twice as large as the list it finds masks in. */
#include "lists/masks.h"

#include <errno.h>
#include <stdlib.h>

enum { ROOM_AT_FIRST = 16, SLOTS_A_MASK = 2 };

/* Where the mask stands, or the free slot where it would. */
static size_t slot_of(const struct masks *masks, uint64_t mask)
{
	size_t n_slots = masks->n_room * SLOTS_A_MASK; /* a power of two */
	size_t slot = (size_t)(mask * 0x9e3779b97f4a7c15U >> 32) & (n_slots - 1);
	while (masks->slots[slot] != 0 && masks->list[masks->slots[slot] - 1] != mask) {
		slot = (slot + 1) & (n_slots - 1);
	}
	return slot;
}

static int grow(struct masks *masks)
{
	size_t n_room = masks->n_room ? 2 * masks->n_room : ROOM_AT_FIRST;
	uint64_t *list = reallocarray(masks->list, n_room, sizeof *list);
	if (!list) {
		return -ENOMEM;
	}
	masks->list = list;
	uint32_t *slots = calloc(n_room * SLOTS_A_MASK, sizeof *slots);
	if (!slots) {
		return -ENOMEM;
	}
	free(masks->slots);
	masks->slots = slots;
	masks->n_room = n_room;
	for (size_t i = 0; i < masks->n; i++) {
		masks->slots[slot_of(masks, masks->list[i])] = (uint32_t)(i + 1);
	}
	return 0;
}

int masks_intern(struct masks *masks, uint64_t mask, uint32_t *number)
{
	if (masks->n == masks->n_room) {
		int ret = grow(masks);
		if (ret) {
			return ret;
		}
	}
	size_t slot = slot_of(masks, mask);
	if (masks->slots[slot] == 0) {
		masks->list[masks->n++] = mask;
		masks->slots[slot] = (uint32_t)masks->n;
	}
	*number = masks->slots[slot] - 1;
	return 0;
}

void masks_settle(struct masks *masks)
{
	free(masks->slots);
	masks->slots = NULL;
	if (masks->n > 0) {
		uint64_t *list = reallocarray(masks->list, masks->n, sizeof *list);
		masks->list = list ? list : masks->list;
		masks->n_room = masks->n;
	}
}

void masks_fini(struct masks *masks)
{
	free(masks->list);
	free(masks->slots);
}
