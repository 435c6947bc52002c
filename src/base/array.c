#include "base/array.h"

#include <stdint.h>
#include <stdlib.h>

void *array_grow(void *items, size_t *n_room, size_t item_bytes, size_t n_first)
{
	if (*n_room > SIZE_MAX / 2) {
		return NULL;
	}
	size_t n = *n_room ? 2 * *n_room : n_first;
	if (n > SIZE_MAX / item_bytes) {
		return NULL;
	}
	void *larger = realloc(items, n * item_bytes);
	if (larger) {
		*n_room = n;
	}
	return larger;
}
