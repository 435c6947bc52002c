/* The thresholds of store_space.h over the figures of store_stats_get. */
#include "store/store_space.h"

enum { PERCENT = 100 };

/* An eighth of the map is kept for deletions, which need pages themselves (store_txn.c). */
enum { FULL_SHARE = 7, FULL_OF = 8 };

static unsigned percent(uint64_t part, uint64_t whole)
{
	return whole == 0 ? 0 : (unsigned)(part / (whole / PERCENT ? whole / PERCENT : 1));
}

unsigned store_used_percent(const struct store_stats *stats)
{
	return percent(stats->used_bytes, stats->map_bytes);
}

unsigned store_free_percent(const struct store_stats *stats)
{
	return percent(stats->free_bytes, stats->used_bytes + stats->free_bytes);
}

enum store_space store_space_of(const struct store_stats *stats)
{
	if (stats->map_bytes > 0 && stats->used_bytes >= stats->map_bytes / FULL_OF * FULL_SHARE) {
		return STORE_SPACE_FULL;
	}
	return store_used_percent(stats) >= STORE_TIGHT_PERCENT ? STORE_SPACE_TIGHT
	                                                        : STORE_SPACE_FINE;
}

const char *store_space_name(enum store_space space)
{
	static const char *const names[] = {[STORE_SPACE_FINE] = "fine",
	                                    [STORE_SPACE_TIGHT] = "tight",
	                                    [STORE_SPACE_FULL] = "full"};
	return names[space];
}

bool store_wants_compaction(const struct store_stats *stats)
{
	return stats->used_bytes + stats->free_bytes >= STORE_COMPACT_MIN_BYTES &&
	       store_free_percent(stats) > STORE_COMPACT_PERCENT;
}
