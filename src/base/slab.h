/* Bounded pool of equal objects, in chunks that are never given back before slab_free. An object
 * has an index (stable while taken) and an address. One owner thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define SLAB_NONE UINT32_MAX

struct slab;

/* Pool of at most n_max objects of size bytes. NULL when memory is short. */
struct slab *slab_new(size_t size, uint32_t n_max);
void slab_free(struct slab *slab);
/* Index of a free object (contents undefined), or SLAB_NONE at the bound or without memory. */
uint32_t slab_take(struct slab *slab);
void slab_give(struct slab *slab, uint32_t idx);
/* Address of a taken object. */
void *slab_at(struct slab *slab, uint32_t idx);
/* Objects taken now. */
uint32_t slab_used(const struct slab *slab);
