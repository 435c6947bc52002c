/* How two gateways' records of the same thing become one, whatever the order and grouping in which
 * records meet: each function is commutative, associative and idempotent. Records may be tombstones
 * (is_deleted). Pure.
 *
 *   host register  later changed_at wins whole (pass, expire, live or deleted); at equal time live
 *                  beats deleted, then the larger expire, then the larger pass. first: the earlier;
 *                  counters: the larger
 *   tuple          first, and pass of those that have one: the earlier; expire, bcount, pcount,
 *                  last: the larger; deleted when the later changed_at is a deletion's (equal:
 * live) spamtrap       the same, with nothing but first and whether it is deleted in it
 *
 * A first of 0 is unknown and loses against any. */
#pragma once

#include "policy/greylist.h"

struct grey_record merge_host(const struct grey_record *a, const struct grey_record *b);
struct grey_record merge_tuple(const struct grey_record *a, const struct grey_record *b);
struct grey_record merge_spamtrap(const struct grey_record *a, const struct grey_record *b);
