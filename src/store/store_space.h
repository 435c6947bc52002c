/* How full a store is, and whether copying it anew would pay. Pure. */
#pragma once

#include <stdbool.h>

#include "store/store.h"

enum store_space {
	STORE_SPACE_FINE,
	STORE_SPACE_TIGHT, /* someone should raise store-map or let records go sooner */
	STORE_SPACE_FULL,  /* only what deletes or updates is taken; see store_commit */
};

enum {
	STORE_TIGHT_PERCENT = 80,
	/* of the file; below it a store in use fills its free pages again */
	STORE_COMPACT_PERCENT = 50,
	/* smaller files are not worth a stop of the daemon */
	STORE_COMPACT_MIN_BYTES = 64 << 20,
};

/* Used pages of the map, in percent; 0 when nothing is known. */
unsigned store_used_percent(const struct store_stats *stats);
/* Pages of the file that wait for reuse, in percent. */
unsigned store_free_percent(const struct store_stats *stats);
enum store_space store_space_of(const struct store_stats *stats);
const char *store_space_name(enum store_space space);
/* More than half of a file of some size is free pages. */
bool store_wants_compaction(const struct store_stats *stats);
