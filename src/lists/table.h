/* All lists in force as one immutable table: which of them hold this address? Built off the hot
 * path, read by any number of threads at once, swapped as a whole. Pure.
 *
 * Built from disjoint ranges between the ends of all networks, each with the set of lists that
 * cover it: look-up is one step through an index of the leading bits and a short binary search. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/span.h"
#include "lists/ranges.h"
#include "policy/cidr.h"

enum { LISTS_MAX = 64 };

/* The lists that hold an address: bit i is list i in load order. */
typedef uint64_t lists_mask;

struct list_table;

/* One list to build from; borrowed for the call. */
struct list_source {
	struct span tag;
	struct span text; /* stored form, see reply_render_lists */
	const struct list_ranges *ranges;
};

/* n <= LISTS_MAX. -ENOMEM, ERR_TOO_LONG. */
MUST_USE int list_table_build(const struct list_source *sources, size_t n, struct list_table **out);
/* NULL is fine. */
void list_table_free(struct list_table *table);
/* 0: on no list. table may be NULL: no lists. */
lists_mask list_table_find(const struct list_table *table, const struct addr *addr);
/* Whether any address of the range, which is of one family, is on any list. */
bool list_table_has_any(const struct list_table *table, const struct addr_range *range);
size_t list_table_n_lists(const struct list_table *table);
struct span list_table_tag(const struct list_table *table, size_t idx);
struct span list_table_text(const struct list_table *table, size_t idx);
/* Ranges (of the source) of one list, and the memory of all. */
size_t list_table_n_ranges(const struct list_table *table, size_t idx);
size_t list_table_bytes(const struct list_table *table);

/* All that is on any list, as disjoint ranges, IPv4 before IPv6, ascending, not touching: *out is
 * newly allocated (NULL when there is nothing). table may be NULL. -ENOMEM. */
MUST_USE int list_table_union(const struct list_table *table, struct addr_range **out, size_t *n);
