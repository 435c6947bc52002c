/* How a table reads the ranges it is built from: by family and number, ascending, never overlapping
 * (IPv6 networks may touch). Only for this folder. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lists/ranges.h"
#include "policy/addrnum.h"

struct num_range {
	addrnum first;
	addrnum last;
};

size_t list_ranges_n(const struct list_ranges *ranges, bool is_v4);
struct num_range list_ranges_at(const struct list_ranges *ranges, bool is_v4, size_t idx);
