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

static bool list_add(struct copy_list *list, const struct fw_element *element)
{
	if (list->n == COPY_ELEMENTS_MAX) {
		return false;
	}
	if (list->n == list->size) {
		size_t size = list->size ? list->size * 2 : SIZE_MIN;
		struct fw_element *elements = realloc(list->elements, size * sizeof *elements);
		if (!elements) {
			return false;
		}
		list->elements = elements;
		list->size = size;
	}
	list->elements[list->n++] = *element;
	return true;
}

void copy_add(struct copy *copy, const struct msg_element *in)
{
	struct fw_element element;
	if (!copy_to_element(in, &element) || element.is_deleted ||
	    !list_add(&copy->hosts, &element)) {
		copy->n_left_out++;
	}
}

bool copy_add_change(struct copy *copy, const struct fw_element *change)
{
	return list_add(&copy->changes, change);
}

void copy_fini(struct copy *copy)
{
	free(copy->hosts.elements);
	free(copy->changes.elements);
	*copy = (struct copy){0};
}
