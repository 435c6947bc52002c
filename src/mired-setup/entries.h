/* The entries of a list, whichever of the two formats its text has. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "lists/addrlist.h"

enum { ENTRIES_WHY_MAX = 256 };

struct entries_counts {
	uint64_t n_entries;
	uint64_t n_bad;
	uint64_t n_masked; /* networks with host bits; text lists only */
};

/* Who hears of what is in the list; both functions may be NULL. */
struct entries_visitor {
	addrlist_entry *entry;
	cidr_bad_line *bad;
	void *ctx;
};

/* Walks the list. At most n_max entries: ERR_TOO_LONG.
 * ERR_TRUNCATED: the list says itself that it is longer. What entry returned. With why. */
MUST_USE int entries_walk(struct span text, size_t n_max, const struct entries_visitor *visitor,
                          struct entries_counts *counts, char why[static ENTRIES_WHY_MAX]);
