/* Timer wheel. Each slot has two lists: one that is being drained and one that takes what is added;
 * the start of a drain swaps them. The links live in one anonymous mapping whose zero pages mean
 * "not in the wheel", so an untouched item costs nothing. */
#include "base/wheel.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

struct link {
	uint32_t next; /* circular: the first item's prev is the last one */
	uint32_t prev;
	uint32_t list; /* index of its list + 1, 0 = not in the wheel */
};

struct slot {
	uint32_t heads[2]; /* first item + 1, 0 = empty */
	uint8_t adding;    /* which list takes what is added */
	bool is_draining;
};

struct wheel {
	struct link *links;
	size_t links_bytes;
	uint32_t n_slots;
	uint32_t n_items;
	struct slot slots[];
};

static_assert(sizeof(struct link) == 12, "promised in wheel.h");

struct wheel *wheel_new(uint32_t n_slots, uint32_t n_items)
{
	ASSERT(n_slots > 0 && (n_slots & (n_slots - 1)) == 0 && n_slots <= UINT32_MAX / 4);
	ASSERT(n_items > 0 && n_items < WHEEL_NONE);
	struct wheel *wheel = calloc(1, sizeof *wheel + n_slots * sizeof wheel->slots[0]);
	if (!wheel) {
		return NULL;
	}
	wheel->n_slots = n_slots;
	wheel->n_items = n_items;
	wheel->links_bytes = n_items * sizeof *wheel->links;
	wheel->links = mmap(NULL, wheel->links_bytes, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (wheel->links == MAP_FAILED) {
		free(wheel);
		return NULL;
	}
	return wheel;
}

void wheel_free(struct wheel *wheel)
{
	if (wheel) {
		(void)munmap(wheel->links, wheel->links_bytes);
		free(wheel);
	}
}

static uint32_t *head_of(struct wheel *wheel, uint32_t list)
{
	return &wheel->slots[list / 2].heads[list % 2];
}

static struct slot *slot_of(struct wheel *wheel, uint64_t tick, uint32_t *idx)
{
	*idx = (uint32_t)(tick & (wheel->n_slots - 1));
	return &wheel->slots[*idx];
}

static void append(struct wheel *wheel, uint32_t list, uint32_t item)
{
	uint32_t *head = head_of(wheel, list);
	struct link *link = &wheel->links[item];
	if (*head == 0) {
		*head = item + 1;
		*link = (struct link){item, item, list + 1};
		return;
	}
	struct link *first = &wheel->links[*head - 1];
	*link = (struct link){*head - 1, first->prev, list + 1};
	wheel->links[first->prev].next = item;
	first->prev = item;
}

void wheel_add(struct wheel *wheel, uint32_t item, uint64_t tick)
{
	uint32_t idx;
	wheel_remove(wheel, item);
	struct slot *slot = slot_of(wheel, tick, &idx);
	append(wheel, idx * 2 + slot->adding, item);
}

void wheel_remove(struct wheel *wheel, uint32_t item)
{
	ASSERT(item < wheel->n_items);
	struct link *link = &wheel->links[item];
	if (link->list == 0) {
		return;
	}
	uint32_t *head = head_of(wheel, link->list - 1);
	if (link->next == item) {
		*head = 0;
	} else {
		wheel->links[link->prev].next = link->next;
		wheel->links[link->next].prev = link->prev;
		*head = *head == item + 1 ? link->next + 1 : *head;
	}
	link->list = 0;
}

bool wheel_has(const struct wheel *wheel, uint32_t item)
{
	ASSERT(item < wheel->n_items);
	return wheel->links[item].list != 0;
}

bool wheel_is_draining(const struct wheel *wheel, uint64_t tick)
{
	return wheel->slots[tick & (wheel->n_slots - 1)].is_draining;
}

uint32_t wheel_take(struct wheel *wheel, uint64_t tick)
{
	uint32_t idx;
	struct slot *slot = slot_of(wheel, tick, &idx);
	if (!slot->is_draining) {
		slot->is_draining = true;
		slot->adding ^= 1;
	}
	uint32_t head = slot->heads[slot->adding ^ 1];
	if (head == 0) {
		slot->is_draining = false;
		return WHEEL_NONE;
	}
	wheel_remove(wheel, head - 1);
	return head - 1;
}
