/* Room for one more in an array that grows by doubling. */
#pragma once

#include <stddef.h>

#include "base/compiler.h"

/* Makes room for n_first items at first, for twice as many each further time, and counts it in
 * *n_room. Returns where the items are now, which is the caller's to free; NULL, with nothing
 * changed, when memory is short. */
MUST_USE void *array_grow(void *items, size_t *n_room, size_t item_bytes, size_t n_first);
