/* How many connections this machine carries, and what stands in the way of more. Pure. */
#include <stdio.h>

#include "engine/capacity.h"
#include "engine/engine.h"
#include "engine/ring.h"

enum {
	DEFAULT_MIN = 800, /* max-connections when nothing is configured: between these two */
	DEFAULT_MAX = 100000,
	/* SO_REUSEPORT spreads by hash, so one ring gets more than its share: by six standard
	 * deviations once in a thousand million. And a connection over the limit is taken before it
	 * is closed and counted. */
	SPREAD_SIGMAS = 6,
	RING_HEADROOM = 256,
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
	uint64_t ring_max; /* connections of one ring, at its fullest */
	uint64_t share;    /* what each of several rings may be counted on for */
	uint64_t by_files;
	uint64_t by_memory;
};

static uint64_t root_of(uint64_t n)
{
	uint64_t root = 0;
	while ((root + 1) * (root + 1) <= n) { /* a few thousand at most */
		root++;
	}
	return root;
}

static uint64_t headroom_of(uint64_t n)
{
	return SPREAD_SIGMAS * root_of(n) + RING_HEADROOM;
}

static bool has_headroom(uint64_t ring_max)
{
	return ring_max > 2 * headroom_of(ring_max);
}

/* Of a ring among others: were all planned full, the one that the hash favours would refuse
 * connections long before the last one has its share. */
static uint64_t sure_share(uint64_t ring_max)
{
	if (!has_headroom(ring_max)) {
		return (ring_max + 1) / 2;
	}
	uint64_t share = ring_max - headroom_of(ring_max);
	while (share + 1 + headroom_of(share + 1) <= ring_max) { /* a few dozen at most */
		share++;
	}
	return share;
}

static uint64_t ring_max_of(uint64_t nofile)
{
	return min_u64(nofile > 0 ? nofile : 1, RING_TABLE_MAX);
}

uint32_t capacity_workers_for(uint64_t n_connections, uint64_t nofile)
{
	uint64_t ring_max = ring_max_of(nofile);
	uint64_t share = sure_share(ring_max);
	uint64_t workers = (n_connections + share - 1) / share;
	bool is_enough = has_headroom(ring_max) && workers <= CONF_WORKERS_MAX;
	return is_enough ? (uint32_t)workers : 0;
}

static struct bounds bounds_of(uint64_t nofile, uint32_t workers, uint64_t memory_bytes)
{
	struct bounds out = {.ring_max = ring_max_of(nofile)};
	out.share = sure_share(out.ring_max);
	out.by_files = workers > 1 ? out.share * workers : out.ring_max;
	out.by_memory = memory_bytes / CAPACITY_MEMORY_SHARE / connection_bytes(1);
	return out;
}

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
		        (unsigned long long)(out->workers > 1 ? bounds->share : bounds->ring_max),
		        out->workers);
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
	uint32_t workers_needed = capacity_workers_for(asked, bounds->ring_max);
	if (asked > bounds->by_files && workers_needed > 0) {
		(void)snprintf(out->limit, sizeof out->limit,
		               "the file limit (hard RLIMIT_NOFILE %u a worker): for %u "
		               "connections set workers = %u or raise it",
		               (uint32_t)bounds->ring_max, (uint32_t)asked, workers_needed);
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
	struct bounds bounds = bounds_of(nofile, out->workers, memory_bytes);
	uint64_t n = conf->max_connections > 0 ? check_asked(conf->max_connections, &bounds, out)
	                                       : choose_default(&bounds, out);
	uint64_t share = (n + out->workers - 1) / out->workers;
	out->max_connections = (uint32_t)n;
	out->max_listed = choose_max_listed(conf, out->max_connections);
	out->per_ring = (uint32_t)min_u64(share + headroom_of(share), bounds.ring_max);
}
