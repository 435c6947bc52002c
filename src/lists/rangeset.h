/* From the addresses of a black list and of the white lists that follow it to the fewest networks
 * that cover what is left (spamd-setup: events at the ends of ranges; any white wins). Both
 * families. Pure; 128-bit arithmetic, so that the last address is no special case. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "policy/cidr.h"

struct rangeset;

/* At most n_max ranges. NULL: no memory. */
struct rangeset *rangeset_new(size_t n_max);
void rangeset_free(struct rangeset *set);
/* first <= last, of the family that first has. ERR_RANGE otherwise, ERR_TOO_LONG beyond n_max,
 * -ENOMEM. */
MUST_USE int rangeset_add(struct rangeset *set, const struct addr_range *range, bool is_white);
/* Black ranges added so far. */
size_t rangeset_n_black(const struct rangeset *set);
/* The listed networks, IPv4 before IPv6, ascending: *out is newly allocated (NULL when there are
 * none). ERR_TOO_LONG: more than n_max. */
MUST_USE int rangeset_finish(struct rangeset *set, struct cidr **out, size_t *n);
