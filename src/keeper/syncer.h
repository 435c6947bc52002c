/* The syncer: one thread that carries committed changes of this host from the store's journal to
 * the peers and what peers tell to the keeper.
 *
 * Out: a cursor of its own in the store (SYNCER_CURSOR). A turn reads the journal behind it, sends
 * mired's own blocks, has the keeper commit the new cursor, and then sends the plain blocks: plain
 * ones leave at most once, own ones at least once (a datagram may still be lost on its way). Only
 * what began here is sent (journal_change.origin). In: datagrams are checked, counted and turned
 * into changes (CHANGE_PEER_*); what the keeper has no room for waits, and then the kernel's buffer
 * drops. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/counters.h"
#include "conf/conf.h"
#include "keeper/keeper.h"
#include "store/store.h"
#include "sync/setup.h"
#include "sync/wire.h"

#define SYNCER_CURSOR CHANGE_SYNC_CURSOR

enum {
	SYNCER_PEERS_MAX = 64, /* the configured ones and, as they come, others */
	SYNCER_TYPES_MAX = 16,
};

struct syncer;
struct knowledge;

/* Borrows all pointers until syncer_stop; owns socket once it has started. */
struct syncer_env {
	const struct conf *conf;
	struct store *store;
	struct keeper *keeper;
	struct keeper_port *port; /* its wake is `wake` */
	int wake;                 /* eventfd: something was committed, or answers wait; borrowed */
	struct knowledge
	        *knowledge; /* local spamtraps and allowed domains apply to peers' tuples */
	const struct sync_setup *setup;
	int socket;
	const _Atomic int64_t *life_now_secs;
};

MUST_USE int syncer_start(struct syncer **out, const struct syncer_env *env);
/* NULL is fine. */
void syncer_stop(struct syncer *syncer);

/* Why a block was not taken although its datagram was sound. */
enum syncer_refusal {
	SYNCER_REFUSED_SKEW, /* clock further off than sync-skew, or a plain block too old */
	SYNCER_REFUSED_FULL, /* the keeper's mailbox was full for too long */
	SYNCER_REFUSED_KIND, /* a kind or address it cannot mean */
	SYNCER_REFUSED_COUNT
};

/* What passed between this host and one other. */
struct syncer_peer_figures {
	uint32_t addr_be;
	char name[SYNC_NAME_MAX];       /* "" = not configured */
	int64_t last_contact_secs;      /* wall; 0 = never: last datagram with a good MAC */
	uint64_t in[SYNCER_TYPES_MAX];  /* blocks taken, by syncer_type_index */
	uint64_t out[SYNCER_TYPES_MAX]; /* blocks sent */
	uint64_t dropped[WIRE_DROP_COUNT];
	uint64_t refused[SYNCER_REFUSED_COUNT];
	uint64_t out_failures;
};

struct syncer_figures {
	bool is_receiving;
	bool is_sending;
	bool is_empty_key;
	uint64_t cursor;              /* last change dealt with */
	uint64_t n_behind;            /* changes between it and the journal's end */
	uint64_t n_too_long;          /* tuples that fit no datagram */
	uint64_t n_lost;              /* times the journal no longer reached back to the cursor */
	uint64_t n_strangers_dropped; /* datagrams of hosts for which there was no place */
	size_t n_peers;
	struct syncer_peer_figures peers[SYNCER_PEERS_MAX];
};
/* Any thread. */
void syncer_figures_get(struct syncer *syncer, struct syncer_figures *out);
const struct counters *syncer_counters(const struct syncer *syncer);
/* The place of a block type in the figures' arrays, and back. */
size_t syncer_type_index(uint8_t type);
uint8_t syncer_type_at(size_t index); /* 0 behind the last */
