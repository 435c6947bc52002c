/* A timer wheel over the indexes of a table: doubly linked lists of 32-bit indexes, one list a tick
 * slot. It knows nothing of what the indexes mean; a due time beyond one revolution is the caller's
 * to re-check (an item found early is simply added again). O(1) add and remove. One owner thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

#define WHEEL_NONE UINT32_MAX

struct wheel;

/* A wheel of n_slots (power of two) over n_items items. The links are its own allocation (12 bytes
 * an item), reserved lazily by the kernel. NULL when memory is short. */
struct wheel *wheel_new(uint32_t n_slots, uint32_t n_items);
void wheel_free(struct wheel *wheel);
/* Puts the item into the slot of absolute tick `tick`; an item already in is moved. */
void wheel_add(struct wheel *wheel, uint32_t item, uint64_t tick);
/* Takes the item out, if it is in. */
void wheel_remove(struct wheel *wheel, uint32_t item);
bool wheel_has(const struct wheel *wheel, uint32_t item);
/* Takes one item out of the slot of `tick`, in the order of adding; WHEEL_NONE when the slot's
 * drain is over. The first call fixes what belongs to the drain: items added to the same slot
 * meanwhile come out in its next drain, so an item that is added again a whole revolution ahead
 * cannot make the loop endless. A drain that was left unfinished is continued by the next call for
 * this slot. */
uint32_t wheel_take(struct wheel *wheel, uint64_t tick);
/* Whether a drain of this slot was left unfinished. */
bool wheel_is_draining(const struct wheel *wheel, uint64_t tick);
