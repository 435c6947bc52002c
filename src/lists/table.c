/* The table of all lists. Each family is an ascending array of starts; from one start to the next
 * the same lists hold. Which lists that are stands in a dictionary of masks, since few combinations
 * occur. The index cuts the span between the first and the last start into equal slots. */
#include "lists/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "lists/masks.h"
#include "lists/ranges_int.h"

enum {
	INDEX_BITS_MAX = 20,
	INDEX_BITS_LESS = 2, /* a slot for four starts: one byte a start */
};

struct list_meta {
	struct span tag;
	struct span text;
	size_t n_ranges;
};

/* One family. */
struct steps {
	bool is_v4;
	unsigned shift; /* of the distance from the first start to its slot */
	size_t n;
	size_t n_slots;
	uint32_t *v4; /* starts, one of the two arrays; IPv4 without its mapped prefix */
	addrnum *v6;
	uint32_t *class; /* of each step, its place in the dictionary */
	uint32_t *index; /* of each slot, the last step that starts at or before the slot's start;
	                    n_slots + 1 entries */
};

struct list_table {
	struct steps v4;
	struct steps v6;
	struct masks masks;
	struct list_meta *lists;
	size_t n_lists;
	uint8_t *strings; /* of tags and texts */
	size_t n_strings;
};

/* Where one list stands while the steps are made. */
struct cursor {
	const struct list_ranges *ranges;
	size_t idx;
	addrnum next; /* where the list begins or ends to hold */
	unsigned bit;
	bool is_inside;
	bool is_done;
};

static addrnum start_at(const struct steps *steps, size_t idx)
{
	return steps->is_v4 ? steps->v4[idx] : steps->v6[idx];
}

/* The number by which a family's starts are kept. */
static addrnum key_of(const struct steps *steps, addrnum num)
{
	return steps->is_v4 ? (uint32_t)num : num;
}

static void cursor_seek(struct cursor *cursor, bool is_v4)
{
	cursor->is_inside = false;
	cursor->is_done = cursor->idx == list_ranges_n(cursor->ranges, is_v4);
	if (!cursor->is_done) {
		cursor->next = list_ranges_at(cursor->ranges, is_v4, cursor->idx).first;
	}
}

/* Past `next`. A range to the end of the address space has no place where it ends. */
static void cursor_step(struct cursor *cursor, bool is_v4, lists_mask *mask)
{
	lists_mask bit = (lists_mask)1 << cursor->bit;
	if (cursor->is_inside) {
		*mask &= ~bit;
		cursor->idx++;
		cursor_seek(cursor, is_v4);
		return;
	}
	addrnum last = list_ranges_at(cursor->ranges, is_v4, cursor->idx).last;
	*mask |= bit;
	cursor->is_inside = true;
	cursor->is_done = last == addrnum_last(is_v4);
	cursor->next = last + 1;
}

static size_t drop_done(struct cursor *cursors, size_t n)
{
	size_t n_left = 0;
	for (size_t i = 0; i < n; i++) {
		if (!cursors[i].is_done) {
			cursors[n_left++] = cursors[i];
		}
	}
	return n_left;
}

/* The nearest place where any list changes, and the lists that hold from there on. */
static addrnum change_at_next(struct cursor *cursors, size_t n, bool is_v4, lists_mask *mask)
{
	addrnum pos = cursors[0].next;
	for (size_t i = 1; i < n; i++) {
		pos = cursors[i].next < pos ? cursors[i].next : pos;
	}
	for (size_t i = 0; i < n; i++) {
		while (!cursors[i].is_done && cursors[i].next == pos) {
			cursor_step(&cursors[i], is_v4, mask);
		}
	}
	return pos;
}

static int steps_push(struct steps *steps, struct masks *masks, addrnum pos, lists_mask mask)
{
	uint32_t class;
	int ret = masks_intern(masks, mask, &class);
	if (ret || (steps->n == 0 ? mask == 0 : steps->class[steps->n - 1] == class)) {
		return ret;
	}
	if (steps->is_v4) {
		steps->v4[steps->n] = (uint32_t)pos;
	} else {
		steps->v6[steps->n] = pos;
	}
	steps->class[steps->n++] = class;
	return 0;
}

static int steps_fill(struct steps *steps, struct masks *masks, struct cursor *cursors, size_t n)
{
	lists_mask mask = 0;
	int ret = 0;
	for (size_t i = 0; i < n; i++) {
		cursor_seek(&cursors[i], steps->is_v4);
	}
	n = drop_done(cursors, n);
	while (n > 0 && ret == 0) {
		addrnum pos = change_at_next(cursors, n, steps->is_v4, &mask);
		ret = steps_push(steps, masks, pos, mask);
		n = drop_done(cursors, n);
	}
	return ret;
}

static unsigned bits_of(size_t n)
{
	return n ? 64 - (unsigned)__builtin_clzll(n) : 0;
}

static int steps_index(struct steps *steps)
{
	if (steps->n == 0) {
		return 0;
	}
	addrnum first = start_at(steps, 0);
	addrnum distance = start_at(steps, steps->n - 1) - first;
	unsigned bits = bits_of(steps->n);
	/* at least one bit: to shift a whole number out would need 128 places */
	bits = bits > INDEX_BITS_LESS ? bits - INDEX_BITS_LESS : 1;
	bits = bits < INDEX_BITS_MAX ? bits : INDEX_BITS_MAX;
	while (distance >> steps->shift >> bits != 0) {
		steps->shift++;
	}
	steps->n_slots = (size_t)(distance >> steps->shift) + 1;
	steps->index = reallocarray(NULL, steps->n_slots + 1, sizeof *steps->index);
	if (!steps->index) {
		return -ENOMEM;
	}
	size_t at = 0;
	for (size_t slot = 0; slot < steps->n_slots; slot++) {
		addrnum slot_start = first + ((addrnum)slot << steps->shift);
		while (at + 1 < steps->n && start_at(steps, at + 1) <= slot_start) {
			at++;
		}
		steps->index[slot] = (uint32_t)at;
	}
	steps->index[steps->n_slots] = (uint32_t)(steps->n - 1);
	return 0;
}

static void *shrunk(void *array, size_t n, size_t size)
{
	void *smaller = reallocarray(array, n ? n : 1, size);
	return smaller ? smaller : array;
}

static int steps_build(struct steps *steps, struct masks *masks, const struct list_source *sources,
                       size_t n)
{
	struct cursor cursors[LISTS_MAX];
	size_t n_ranges = 0;
	for (size_t i = 0; i < n; i++) {
		n_ranges += list_ranges_n(sources[i].ranges, steps->is_v4);
		cursors[i] = (struct cursor){.ranges = sources[i].ranges, .bit = (unsigned)i};
	}
	if (n_ranges == 0) {
		return 0;
	}
	if (n_ranges > UINT32_MAX / 2) {
		return ERR_TOO_LONG; /* the index counts in 32 bits */
	}
	steps->class = reallocarray(NULL, 2 * n_ranges, sizeof *steps->class);
	if (steps->is_v4) {
		steps->v4 = reallocarray(NULL, 2 * n_ranges, sizeof *steps->v4);
	} else {
		steps->v6 = reallocarray(NULL, 2 * n_ranges, sizeof *steps->v6);
	}
	if (!steps->class || !(steps->is_v4 ? (void *)steps->v4 : (void *)steps->v6)) {
		return -ENOMEM;
	}
	int ret = steps_fill(steps, masks, cursors, n);
	if (ret) {
		return ret;
	}
	steps->class = shrunk(steps->class, steps->n, sizeof *steps->class);
	if (steps->is_v4) {
		steps->v4 = shrunk(steps->v4, steps->n, sizeof *steps->v4);
	} else {
		steps->v6 = shrunk(steps->v6, steps->n, sizeof *steps->v6);
	}
	return steps_index(steps);
}

static struct span keep_string(struct list_table *table, struct span string)
{
	uint8_t *copy = table->strings + table->n_strings;
	if (string.len > 0) {
		memcpy(copy, string.ptr, string.len);
	}
	table->n_strings += string.len;
	return span_of(copy, string.len);
}

static int describe(struct list_table *table, const struct list_source *sources, size_t n)
{
	size_t n_strings = 0;
	for (size_t i = 0; i < n; i++) {
		n_strings += sources[i].tag.len + sources[i].text.len;
	}
	table->lists = calloc(n ? n : 1, sizeof *table->lists);
	table->strings = malloc(n_strings ? n_strings : 1);
	if (!table->lists || !table->strings) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		table->lists[i] = (struct list_meta){
		        .tag = keep_string(table, sources[i].tag),
		        .text = keep_string(table, sources[i].text),
		        .n_ranges = list_ranges_count(sources[i].ranges),
		};
	}
	table->n_lists = n;
	return 0;
}

int list_table_build(const struct list_source *sources, size_t n, struct list_table **out)
{
	if (n > LISTS_MAX) {
		return ERR_TOO_LONG;
	}
	struct list_table *table = calloc(1, sizeof *table);
	if (!table) {
		return -ENOMEM;
	}
	table->v4.is_v4 = true;
	int ret = describe(table, sources, n);
	ret = ret ? ret : steps_build(&table->v4, &table->masks, sources, n);
	ret = ret ? ret : steps_build(&table->v6, &table->masks, sources, n);
	masks_settle(&table->masks);
	if (ret) {
		list_table_free(table);
		return ret;
	}
	*out = table;
	return 0;
}

static void steps_fini(struct steps *steps)
{
	free(steps->v4);
	free(steps->v6);
	free(steps->class);
	free(steps->index);
}

void list_table_free(struct list_table *table)
{
	if (table) {
		steps_fini(&table->v4);
		steps_fini(&table->v6);
		masks_fini(&table->masks);
		free(table->lists);
		free(table->strings);
		free(table);
	}
}

static const struct steps *steps_of(const struct list_table *table, const struct addr *addr)
{
	return addr_is_v4(addr) ? &table->v4 : &table->v6;
}

/* The last step that starts at or before the key, which is not before the first one. */
static size_t step_at(const struct steps *steps, addrnum key)
{
	addrnum distance = (key - start_at(steps, 0)) >> steps->shift;
	size_t slot = distance < steps->n_slots ? (size_t)distance : steps->n_slots - 1;
	size_t low = steps->index[slot]; /* starts at or before key */
	size_t high = steps->index[slot + 1] + (size_t)1;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (start_at(steps, middle) <= key) {
			low = middle;
		} else {
			high = middle;
		}
	}
	return low;
}

static lists_mask find_key(const struct list_table *table, const struct steps *steps, addrnum key)
{
	if (steps->n == 0 || key < start_at(steps, 0)) {
		return 0;
	}
	return table->masks.list[steps->class[step_at(steps, key)]];
}

lists_mask list_table_find(const struct list_table *table, const struct addr *addr)
{
	if (!table) {
		return 0;
	}
	const struct steps *steps = steps_of(table, addr);
	return find_key(table, steps, key_of(steps, addrnum_of(addr)));
}

/* Where the range begins there is a list, or one begins before its end: a step of no list is
 * followed by one of some, and so is the space before the first. */
bool list_table_has_any(const struct list_table *table, const struct addr_range *range)
{
	if (!table) {
		return false;
	}
	const struct steps *steps = steps_of(table, &range->first);
	addrnum first = key_of(steps, addrnum_of(&range->first));
	addrnum last = key_of(steps, addrnum_of(&range->last));
	if (find_key(table, steps, first) != 0) {
		return true;
	}
	bool is_before = steps->n == 0 || first < start_at(steps, 0);
	size_t next = is_before ? 0 : step_at(steps, first) + 1;
	return next < steps->n && start_at(steps, next) <= last;
}

size_t list_table_n_lists(const struct list_table *table)
{
	return table ? table->n_lists : 0;
}

struct span list_table_tag(const struct list_table *table, size_t idx)
{
	return table->lists[idx].tag;
}

struct span list_table_text(const struct list_table *table, size_t idx)
{
	return table->lists[idx].text;
}

size_t list_table_n_ranges(const struct list_table *table, size_t idx)
{
	return table->lists[idx].n_ranges;
}

static size_t steps_bytes(const struct steps *steps)
{
	size_t start_bytes = steps->is_v4 ? sizeof *steps->v4 : sizeof *steps->v6;
	size_t n_index = steps->index ? steps->n_slots + 1 : 0;
	return steps->n * (start_bytes + sizeof *steps->class) + n_index * sizeof *steps->index;
}

size_t list_table_bytes(const struct list_table *table)
{
	if (!table) {
		return 0;
	}
	return sizeof *table + steps_bytes(&table->v4) + steps_bytes(&table->v6) +
	       table->masks.n * sizeof *table->masks.list + table->n_lists * sizeof *table->lists +
	       table->n_strings;
}

/* The ranges between a step on some list and the next on none; out may be NULL to count them. */
static size_t steps_union(const struct list_table *table, const struct steps *steps,
                          struct addr_range *out)
{
	addrnum mapped = steps->is_v4 ? addrnum_last(true) & ~(addrnum)UINT32_MAX : 0;
	size_t n = 0;
	bool is_inside = false;
	for (size_t i = 0; i < steps->n; i++) {
		bool is_listed = table->masks.list[steps->class[i]] != 0;
		addrnum start = mapped | start_at(steps, i);
		if (out && is_listed && !is_inside) {
			out[n].first = addrnum_to_addr(start);
			out[n].last = addrnum_to_addr(addrnum_last(steps->is_v4));
		}
		if (out && !is_listed && is_inside) {
			out[n].last = addrnum_to_addr(start - 1);
		}
		n += is_inside && !is_listed;
		is_inside = is_listed;
	}
	return n + is_inside;
}

int list_table_union(const struct list_table *table, struct addr_range **out, size_t *n)
{
	size_t n_v4 = table ? steps_union(table, &table->v4, NULL) : 0;
	size_t n_v6 = table ? steps_union(table, &table->v6, NULL) : 0;
	*out = NULL;
	*n = 0;
	if (n_v4 + n_v6 == 0) {
		return 0;
	}
	struct addr_range *ranges = reallocarray(NULL, n_v4 + n_v6, sizeof *ranges);
	if (!ranges) {
		return -ENOMEM;
	}
	(void)steps_union(table, &table->v4, ranges);
	(void)steps_union(table, &table->v6, ranges + n_v4);
	*out = ranges;
	*n = n_v4 + n_v6;
	return 0;
}
