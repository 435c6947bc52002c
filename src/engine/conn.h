/* The connections of one worker: one cache line each, at the index of its direct descriptor, and
 * two pools for the texts of dialogues. No socket calls here. Owner: the worker's thread. */
#pragma once

#include <assert.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/slab.h"
#include "smtp/session.h"

enum conn_phase {
	CONN_FREE,    /* no connection; everything else is meaningless */
	CONN_NAMING,  /* accepted, the peer's address is being asked for */
	CONN_OPEN,    /* the session runs */
	CONN_CLOSING, /* to be closed as soon as nothing is under way */
};

enum conn_text_size { CONN_TEXT_NONE, CONN_TEXT_SMALL, CONN_TEXT_LARGE };

struct conn {
	union {
		struct session session;
		struct sockaddr_in6 name; /* CONN_NAMING: the kernel writes here */
	};
	struct addr peer;
	uint32_t text_idx : 22;   /* in the pool that text_size says */
	uint32_t text_size : 2;   /* enum conn_text_size */
	uint32_t phase : 2;       /* enum conn_phase */
	uint32_t cls : 3;         /* enum session_class, as the worker knows it */
	uint32_t is_delayed : 1;  /* has input that could not be answered yet */
	uint32_t is_trapped : 1;  /* its host is, whatever lists it is on */
	uint32_t is_low_prio : 1; /* came in for the low-priority MX */
	uint32_t generation : 22;
	uint32_t pace : 2;         /* enum session_pace, as the worker counts it */
	uint32_t n_flight : 4;     /* requests whose event is still to come */
	uint32_t is_ready : 1;     /* in the worker's list of those to be served at once */
	uint32_t is_admitted : 1;  /* counted in the number of connections */
	uint32_t owes_request : 1; /* a question about its host found no room */
	uint32_t is_v6 : 1;        /* came in by an IPv6 listener */
};

static_assert(sizeof(struct conn) == CACHE_LINE, "one cache line a connection");

enum {
	CONN_GENERATION_MASK = 0x3fffff,
	CONN_TABLE_MAX = 1 << 22, /* the place of a text has so many bits */
	/* Large texts are for long input; one connection in eight may have one, and always so many:
	 */
	CONN_LARGE_SHARE = 8,
	CONN_LARGE_MIN = 64,
};

struct conn_table {
	struct conn *conns; /* anonymous mapping: untouched entries cost nothing */
	uint32_t size;
	uint32_t n_open; /* entries that are not CONN_FREE */
	uint32_t n_used; /* entries from here on have never been open */
	struct slab *small;
	struct slab *large;
};

/* size <= CONN_TABLE_MAX. -ENOMEM. */
MUST_USE int conn_table_init(struct conn_table *table, uint32_t size);
/* A zeroed table is fine too. */
void conn_table_fini(struct conn_table *table);

/* The entry of a slot; slot < table->size. */
struct conn *conn_at(const struct conn_table *table, uint32_t slot);
/* Takes a free entry for a connection just accepted: new generation, no text, CONN_NAMING. */
struct conn *conn_open(struct conn_table *table, uint32_t slot);
/* Gives text and entry back; nothing may be in flight. */
void conn_release(struct conn_table *table, struct conn *conn);
/* True while slot and generation name this very connection. */
bool conn_is_current(const struct conn_table *table, uint32_t slot, uint32_t generation);

/* NULL while it has none. */
struct session_text *conn_text(const struct conn_table *table, const struct conn *conn);
/* From none to small, from small to large (everything moves along). False when the pool is
 * exhausted or it is large already: nothing changed then. */
bool conn_text_grow(struct conn_table *table, struct conn *conn);
/* Gives the text back, if there is one. */
void conn_text_drop(struct conn_table *table, struct conn *conn);
