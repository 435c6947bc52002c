/* What connections are held at a moment: counts by class, state and list, those held longest, the
 * networks with most. Filled by one thread while it walks its connections; of bounded size however
 * many there are. Plain data: its owner hands it on as it likes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/span.h"
#include "engine/conn.h"
#include "lists/table.h"
#include "smtp/dialogue.h"

enum {
	HELD_LONGEST_MAX = 100, /* connections told one by one */
	HELD_NETWORKS_MAX = 100,
	HELD_TAG_MAX = 64,      /* bytes of a list's name; the rest is cut */
	HELD_LISTS = LISTS_MAX, /* told by name; a replaced list may have another place */
	HELD_BUCKETS = 512,     /* of networks: */
	HELD_WAYS = 8,          /* each with so many places */
	HELD_V4_BITS = 24,      /* of a network */
	HELD_V6_BITS = 48,
	/* Looks at the lists cost more than all the rest: with more listed connections only every
	 * second, fourth and so on is looked up and counts for as many. */
	HELD_LOOKUPS_MAX = 32768,
	HELD_NO_LIST = UINT8_MAX, /* place of a list */
};

static_assert((int)HELD_LISTS < (int)HELD_NO_LIST, "a place fits into a byte");

enum held_class {
	HELD_UNKNOWN, /* the host is still looked up */
	HELD_GREY,
	HELD_WHITE,
	HELD_LISTED,  /* on a list and not trapped */
	HELD_TRAPPED, /* whatever lists it is on */
	HELD_PASSIVE, /* blacklist-only mode, on no list */
	HELD_CLASS_COUNT
};

/* One of those held longest, or of those asked for. */
struct held_conn {
	struct addr peer;
	uint32_t age_ms;
	uint32_t sent_bytes; /* to the client; 0 when all is said */
	uint8_t cls;         /* enum held_class */
	uint8_t state;       /* enum dialogue_state */
	uint8_t list;        /* place of its first list, HELD_NO_LIST = none */
	uint8_t n_lists;
};

struct held_list {
	uint32_t n;
	uint8_t tag_len;
	uint8_t tag[HELD_TAG_MAX];
};

/* A place for a network: heavy ones keep theirs, light ones push each other out. */
struct held_network {
	uint64_t key;   /* 0 = free */
	uint32_t count; /* at most so many */
	uint32_t error; /* and not fewer than count - error */
};

/* What to look for. */
struct held_query {
	bool has_addr; /* only connections of addr, and nothing but those */
	struct addr addr;
};

struct held {
	struct held_query query;
	uint32_t n; /* connections that were counted */
	uint32_t n_class[HELD_CLASS_COUNT];
	uint32_t n_state[DIALOGUE_STATE_COUNT];
	struct held_list lists[HELD_LISTS];
	uint32_t n_lists;
	uint32_t n_other_lists; /* memberships of lists without a place */
	uint32_t lookup_every;  /* a power of two: so many listed connections share a look-up */
	uint32_t n_lookups_due; /* listed connections so far */
	bool has_estimates;     /* of those on each list, because of it */
	struct held_conn longest[HELD_LONGEST_MAX]; /* oldest first */
	uint32_t n_longest;
	bool is_exact; /* every network has its place */
	struct held_network networks[HELD_BUCKETS][HELD_WAYS];
};

/* n_listed: listed connections, as far as known. */
void held_begin(struct held *held, const struct held_query *query, uint32_t n_listed);

/* The lists in force at this moment, by bit; used up before the table may be replaced. */
struct held_view {
	const struct list_table *table; /* NULL: no lists */
	struct mono_ms now;
	uint8_t places[LISTS_MAX]; /* of each of the table's lists */
};
void held_view_init(struct held_view *view, struct held *held, const struct list_table *table,
                    struct mono_ms now);
/* Counts one open connection, if it is asked for. */
void held_add(struct held *held, const struct held_view *view, const struct conn *conn);
/* Adds what another walk with the same query has found. */
void held_merge(struct held *held, const struct held *other);

struct held_top {
	struct addr network;
	uint8_t bits;
	uint32_t n; /* connections, at least */
};
/* The networks with most connections, most first; returns how many of at most n_max. */
size_t held_top_networks(const struct held *held, struct held_top *out, size_t n_max);
const char *held_class_name(enum held_class cls);
