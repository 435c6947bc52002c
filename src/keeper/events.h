/* What happened to hosts lately, for `miredctl why`: a bounded ring of short notes, the oldest
 * overwritten by the newest. One thread adds (a cache line written: no lock, no allocation, no
 * clock), any thread reads by walking the ring. Nothing of it outlives the process. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/span.h"

enum event_kind {
	EVENT_NONE,      /* an unused place of the ring */
	EVENT_CONNECTED, /* text: its class */
	EVENT_NEW,       /* a tuple began; text: recipient, as with all attempts */
	EVENT_EARLY,     /* a retry came too early */
	EVENT_PASSED,    /* a retry qualified: its host is white */
	EVENT_TRAPPED,   /* text: recipient of a trap hit */
	EVENT_TRAPPED_LOW_PRIORITY,
	EVENT_WHITE,      /* became white or stays so longer */
	EVENT_DELETED,    /* its records, or one of its tuples */
	EVENT_DELISTED,   /* a list took it off the white */
	EVENT_EXPIRED,    /* a register of its */
	EVENT_FORGOTTEN,  /* one of its tuples expired */
	EVENT_REASSERTED, /* white, but it was here: its kernel entry was put back */
	EVENT_KIND_COUNT
};

/* On whose word. */
enum event_by {
	EVENT_BY_CLIENT,
	EVENT_BY_PEER,
	EVENT_BY_ADMIN,
	EVENT_BY_TRAFFIC,
	EVENT_BY_LIST,
	EVENT_BY_IMPORT,
	EVENT_BY_TIME,
	EVENT_BY_COUNT
};

enum { EVENT_TEXT_MAX = 32 };

struct event {
	struct addr addr; /* as far as it was known: whole, or its group */
	struct wall at;
	enum event_kind kind;
	enum event_by by;
	bool is_cut; /* the text goes on */
	uint8_t text_len;
	uint8_t text[EVENT_TEXT_MAX];
};

struct events;

/* n_max is rounded up to a power of two; 64 bytes each, touched as they are used. NULL: no memory.
 */
struct events *events_new(uint32_t n_max);
void events_free(struct events *events);
/* The owner's thread. text: what does not fit is left out. NULL events: nothing. */
void events_add(struct events *events, const struct event *event, struct span text);
/* Any thread. The newest events of an address, or of its group (v6_bits, as in addr_group), newest
 * first; returns how many. Walks the whole ring, 0.3 ms for 64 Ki. NULL events: 0. */
unsigned events_find(const struct events *events, const struct addr *addr, unsigned v6_bits,
                     struct event *out, unsigned max);

/* Short names for machines: "new", "client". */
const char *event_kind_name(enum event_kind kind);
const char *event_by_name(enum event_by by);
