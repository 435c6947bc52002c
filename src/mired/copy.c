/* Grows by doubling up to its bound. What does not fit is counted, not an error: a kernel with most
 * of the hosts is better than one with none. */
#include "mired/copy.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"

enum {
	SIZE_MIN = 4096,
	/* with more, replacing all costs as little as finding out what they come to */
	COUNTED_CHANGES_MAX = 10000,
	POINTER_BYTES = sizeof(const void *), /* an item of last_changes */
};

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
		struct fw_element *elements =
		        array_grow(list->elements, &list->size, sizeof *elements, SIZE_MIN);
		if (!elements) {
			return false;
		}
		list->elements = elements;
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

static int compare_keys(const struct fw_element *a, const struct fw_element *b)
{
	int order = memcmp(a->addr.bytes, b->addr.bytes, sizeof a->addr.bytes);
	return order ? order : (int)a->set - (int)b->set;
}

/* Of the same key the last one first: they stand in one array. */
static int compare_changes(const void *a, const void *b)
{
	const struct fw_element *x = *(const struct fw_element *const *)a;
	const struct fw_element *y = *(const struct fw_element *const *)b;
	int order = compare_keys(x, y);
	return order ? order : (x < y) - (x > y);
}

static int compare_to_key(const void *key, const void *item)
{
	return compare_keys(key, *(const struct fw_element *const *)item);
}

/* The last change of each key, which says whether the element is there whatever hosts says;
 * ascending. Returns how many. */
static size_t last_changes(const struct copy_list *changes, const struct fw_element **out)
{
	size_t n = 0;
	for (size_t i = 0; i < changes->n; i++) {
		out[i] = &changes->elements[i];
	}
	qsort(out, changes->n, POINTER_BYTES, compare_changes);
	for (size_t i = 0; i < changes->n; i++) {
		if (n == 0 || compare_keys(out[n - 1], out[i]) != 0) {
			out[n++] = out[i];
		}
	}
	return n;
}

static size_t row_of(const struct fw_element *element)
{
	return 2 * (size_t)element->set + (addr_is_v4(&element->addr) ? 0 : 1);
}

bool copy_count(const struct copy *copy, uint32_t counts[static FW_LEARNED_ROWS])
{
	size_t n = 0;
	const struct fw_element **last = NULL;
	memset(counts, 0, FW_LEARNED_ROWS * sizeof counts[0]);
	if (copy->n_left_out > 0 || copy->changes.n > COUNTED_CHANGES_MAX) {
		return false;
	}
	if (copy->changes.n > 0) {
		last = calloc(copy->changes.n, POINTER_BYTES);
		if (!last) {
			return false;
		}
		n = last_changes(&copy->changes, last);
	}
	for (size_t i = 0; i < copy->hosts.n; i++) {
		const struct fw_element *host = &copy->hosts.elements[i];
		bool is_changed = n && bsearch(host, last, n, POINTER_BYTES, compare_to_key);
		counts[row_of(host)] += !is_changed;
	}
	for (size_t i = 0; i < n; i++) {
		counts[row_of(last[i])] += !last[i]->is_deleted;
	}
	free(last);
	return true;
}

void copy_fini(struct copy *copy)
{
	free(copy->hosts.elements);
	free(copy->changes.elements);
	*copy = (struct copy){0};
}
