/* How many connections this machine carries, and what stands in the way of more. Pure. */
#include <stdio.h>

#include "engine/capacity.h"
#include "engine/engine.h"
#include "engine/ring.h"

enum {
	DEFAULT_MIN = 800, /* max-connections when nothing is configured: between these two */
	DEFAULT_MAX = 100000,
	/* SO_REUSEPORT spreads by hash, so one ring may get more than its share; and a connection
	 * over the limit is taken before it is closed and counted */
	RING_HEADROOM = 256,
	RING_HEADROOM_SHARE = 4,
	BYTES_A_MIB = 1 << 20,
	LISTED_SPARE = 100, /* spamd(8): -B is -c less 100 */
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t connection_bytes(uint64_t n)
{
	return n * CAPACITY_CONNECTION_BYTES;
}

struct bounds {
	uint64_t ring_max; /* connections of one ring */
	uint64_t by_files;
	uint64_t by_memory;
};

/* Nothing configured: as many as the machine carries, but no more than is sensible unasked. */
static uint64_t choose_default(const struct bounds *bounds, struct engine_capacity *out)
{
	uint64_t carried = min_u64(bounds->by_files, bounds->by_memory);
	if (carried >= DEFAULT_MAX) {
		return DEFAULT_MAX;
	}
	if (bounds->by_files <= bounds->by_memory) {
		(void)snprintf(
		        out->limit, sizeof out->limit,
		        "the file limit (hard RLIMIT_NOFILE): %llu connections for each of %u "
		        "workers",
		        (unsigned long long)bounds->ring_max, out->workers);
	} else {
		(void)snprintf(out->limit, sizeof out->limit,
		               "memory: half of it carries %llu connections",
		               (unsigned long long)bounds->by_memory);
	}
	return carried > DEFAULT_MIN ? carried : min_u64(DEFAULT_MIN, bounds->by_files);
}

/* Asked for: only the file limit is a wall; memory is the administrator's to judge. */
static uint64_t check_asked(uint64_t asked, const struct bounds *bounds,
                            struct engine_capacity *out)
{
	uint64_t workers_needed = (asked + bounds->ring_max - 1) / bounds->ring_max;
	if (asked > bounds->by_files && workers_needed <= CONF_WORKERS_MAX) {
		(void)snprintf(out->limit, sizeof out->limit,
		               "the file limit (hard RLIMIT_NOFILE %u a worker): for %u "
		               "connections set workers = %u or raise it",
		               (uint32_t)bounds->ring_max, (uint32_t)asked,
		               (uint32_t)workers_needed);
	} else if (asked > bounds->by_files) {
		(void)snprintf(
		        out->limit, sizeof out->limit,
		        "the file limit (hard RLIMIT_NOFILE %llu a worker): %llu connections "
		        "need it raised",
		        (unsigned long long)bounds->ring_max, (unsigned long long)asked);
	} else if (asked > bounds->by_memory) {
		(void)snprintf(out->limit, sizeof out->limit,
		               "memory: %u connections take about %llu MiB, more than half of it",
		               (uint32_t)asked,
		               (unsigned long long)(connection_bytes(asked) / BYTES_A_MIB));
	}
	return min_u64(asked, bounds->by_files);
}

/* Some room is kept for hosts that nobody listed, unless only listed ones come. */
static uint32_t choose_max_listed(const struct conf *conf, uint32_t max_connections)
{
	if (conf->max_listed != CONF_MAX_LISTED_AUTO) {
		return conf->max_listed;
	}
	if (conf->blacklist_only) {
		return max_connections;
	}
	return max_connections > LISTED_SPARE ? max_connections - LISTED_SPARE : 0;
}

void engine_capacity_of(const struct conf *conf, uint64_t nofile, uint32_t cores,
                        uint64_t memory_bytes, struct engine_capacity *out)
{
	uint32_t workers = conf->workers > 0 ? conf->workers : cores;
	workers = workers > 0 ? workers : 1;
	*out = (struct engine_capacity){.workers = (uint32_t)min_u64(workers, CONF_WORKERS_MAX)};
	struct bounds bounds = {.ring_max = min_u64(nofile > 0 ? nofile : 1, RING_TABLE_MAX)};
	bounds.by_files = bounds.ring_max * out->workers;
	bounds.by_memory = memory_bytes / CAPACITY_MEMORY_SHARE / connection_bytes(1);
	uint64_t n = conf->max_connections > 0 ? check_asked(conf->max_connections, &bounds, out)
	                                       : choose_default(&bounds, out);
	uint64_t share = (n + out->workers - 1) / out->workers;
	out->max_connections = (uint32_t)n;
	out->max_listed = choose_max_listed(conf, out->max_connections);
	out->per_ring = (uint32_t)min_u64(share + share / RING_HEADROOM_SHARE + RING_HEADROOM,
	                                  bounds.ring_max);
}
