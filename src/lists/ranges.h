/* The addresses of one list, small enough to be kept for as long as the list is in force: 8 bytes
 * for an IPv4 range, 17 for an IPv6 network. Tables are built from it (lists/table.h). Immutable
 * once made: any thread may read. Pure. */
#pragma once

#include <stddef.h>

#include "base/compiler.h"
#include "policy/cidr.h"

struct list_ranges;

/* From networks in any order, overlapping ones are joined. n may be 0. -ENOMEM. */
MUST_USE int list_ranges_new(const struct cidr *cidrs, size_t n, struct list_ranges **out);
/* NULL is fine. */
void list_ranges_free(struct list_ranges *ranges);
/* Elements kept: IPv4 ranges and IPv6 networks. */
size_t list_ranges_count(const struct list_ranges *ranges);
size_t list_ranges_bytes(const struct list_ranges *ranges);
