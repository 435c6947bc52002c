/* Grows by doubling up to its bound. What does not fit is counted, not an error: a kernel with most
 * of the hosts is better than one with none. */
#include "mired/copy.h"

#include <stdlib.h>

enum { SIZE_MIN = 4096 };

bool copy_to_element(const struct msg_element *in, struct fw_element *out)
{
	*out = (struct fw_element){.addr = in->addr,
	                           .timeout_secs = in->timeout_secs,
	                           .set = in->set,
	                           .is_deleted = in->is_deleted};
	return in->set < FW_SET_COUNT && (in->is_deleted || in->timeout_secs > 0);
}

static bool grow(struct copy *copy)
{
	size_t size = copy->size ? copy->size * 2 : SIZE_MIN;
	struct fw_element *elements = realloc(copy->elements, size * sizeof *elements);
	if (elements) {
		copy->elements = elements;
		copy->size = size;
	}
	return elements != NULL;
}

void copy_add(struct copy *copy, const struct msg_element *in)
{
	struct fw_element element;
	if (!copy_to_element(in, &element) || element.is_deleted || copy->n == COPY_ELEMENTS_MAX ||
	    (copy->n == copy->size && !grow(copy))) {
		copy->n_left_out++;
		return;
	}
	copy->elements[copy->n++] = element;
}

void copy_fini(struct copy *copy)
{
	free(copy->elements);
	*copy = (struct copy){0};
}
