/* Pool of equal objects. A free object's first bytes hold the index of the next free one, so the
 * pool needs nothing beside its chunks. */
#include "base/slab.h"

#include <stdlib.h>
#include <string.h>

enum {
	CHUNK_BYTES = 64 * 1024, /* a chunk holds a power of two of objects, about this large */
	OBJECT_ALIGN = 16,
	/* Of a chunk: what is never written to in an object of whole pages costs no memory then.
	 * jemalloc begins large blocks anywhere in a page unless it is told. */
	CHUNK_ALIGN = 4096,
};

struct slab {
	size_t size;    /* of an object, rounded up */
	unsigned shift; /* a chunk holds 1 << shift objects */
	uint32_t n_max;
	uint32_t n_made; /* indexes handed out at least once */
	uint32_t n_used;
	uint32_t first_free;
	uint8_t *chunks[];
};

struct slab *slab_new(size_t size, uint32_t n_max)
{
	ASSERT(size > 0 && n_max < SLAB_NONE);
	size_t rounded = (size + OBJECT_ALIGN - 1) & ~(size_t)(OBJECT_ALIGN - 1);
	unsigned shift = 0;
	while (((size_t)2 << shift) * rounded <= CHUNK_BYTES) {
		shift++;
	}
	size_t n_chunks = ((size_t)n_max >> shift) + 1;
	struct slab *slab = calloc(1, sizeof *slab + n_chunks * sizeof slab->chunks[0]);
	if (slab) {
		slab->size = rounded;
		slab->shift = shift;
		slab->n_max = n_max;
		slab->first_free = SLAB_NONE;
	}
	return slab;
}

void slab_free(struct slab *slab)
{
	if (!slab) {
		return;
	}
	for (uint32_t i = 0; i <= slab->n_max >> slab->shift; i++) {
		free(slab->chunks[i]);
	}
	free(slab);
}

static uint32_t take_new(struct slab *slab)
{
	uint32_t chunk = slab->n_made >> slab->shift;
	if (slab->n_made == slab->n_max) {
		return SLAB_NONE;
	}
	if (!slab->chunks[chunk]) {
		size_t bytes = slab->size << slab->shift;
		bytes = (bytes + CHUNK_ALIGN - 1) & ~(size_t)(CHUNK_ALIGN - 1);
		slab->chunks[chunk] = aligned_alloc(CHUNK_ALIGN, bytes);
		if (!slab->chunks[chunk]) {
			return SLAB_NONE;
		}
	}
	slab->n_used++;
	return slab->n_made++;
}

uint32_t slab_take(struct slab *slab)
{
	uint32_t idx = slab->first_free;
	if (idx == SLAB_NONE) {
		return take_new(slab);
	}
	memcpy(&slab->first_free, slab_at(slab, idx), sizeof slab->first_free);
	slab->n_used++;
	return idx;
}

void slab_give(struct slab *slab, uint32_t idx)
{
	ASSERT(slab->n_used > 0);
	memcpy(slab_at(slab, idx), &slab->first_free, sizeof slab->first_free);
	slab->first_free = idx;
	slab->n_used--;
}

void *slab_at(struct slab *slab, uint32_t idx)
{
	ASSERT(idx < slab->n_made);
	uint32_t in_chunk = idx & ((UINT32_C(1) << slab->shift) - 1);
	return slab->chunks[idx >> slab->shift] + in_chunk * slab->size;
}

uint32_t slab_used(const struct slab *slab)
{
	return slab->n_used;
}
