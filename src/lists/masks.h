/* The combinations of lists that occur in a table, each once, known by a number. Filled by one
 * thread, then settled and only read. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* All zero is an empty one. */
struct masks {
	uint64_t *list; /* by number */
	size_t n;
	size_t n_room;
	uint32_t *slots; /* hash: number + 1, 0 is free; gone once settled */
};

/* The number of a mask, new or known. -ENOMEM. */
MUST_USE int masks_intern(struct masks *masks, uint64_t mask, uint32_t *number);
/* Frees what only masks_intern needs. */
void masks_settle(struct masks *masks);
void masks_fini(struct masks *masks);
