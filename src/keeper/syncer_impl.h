/* The inside of the syncer, shared by its files: syncer.c (thread, socket, the way to the keeper),
 * syncer_out.c (journal to datagrams), syncer_in.c (datagrams to changes), syncer_peers.c (figures
 * and what is logged of peers). What is not under the lock belongs to the syncer's thread. */
#pragma once

#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "keeper/syncer.h"
#include "store/change.h"
#include "sync/sender.h"

enum {
	SYNCER_CHANGES_MAX = 512,  /* journal rows of one turn */
	SYNCER_UNSAVED_MAX = 500,  /* rows nobody is told of, before the cursor is stored; below the
	                            * least journal-max */
	SYNCER_DATAGRAMS_MAX = 32, /* taken with one call */
	SYNCER_RECEIVES_MAX = 16,  /* calls before it is the journal's turn again */
	SYNCER_IN_FLIGHT_MAX = 4096, /* peers' changes the keeper has not answered */
	SYNCER_RETRY_MS = 1000,      /* after the store could not be read or written */
	SYNCER_FULL_MS = 10000,      /* how long a block waits for room in the keeper's mailbox */
	SYNCER_LOG_AGAIN_MS = 60000, /* lines that may come again: one in this time */
	SYNCER_NO_PEER = SYNCER_PEERS_MAX, /* index of a host for which there is no place */
};
static_assert(SYNCER_IN_FLIGHT_MAX + 1 < KEEPER_IN_FLIGHT_MAX, "the way back is never full");

/* Whose change an answer of the keeper is about. */
enum syncer_cookie { SYNCER_COOKIE_PEERS = 1, SYNCER_COOKIE_CURSOR };

enum syncer_out_state {
	OUT_READING, /* the next turn reads the journal */
	OUT_POSTING, /* the new cursor waits for room in the keeper's mailbox */
	OUT_WAITING, /* the keeper has the new cursor */
};

struct syncer_out {
	enum syncer_out_state state;
	uint64_t cursor;     /* all up to it is dealt with */
	uint64_t saved;      /* the stored cursor */
	uint64_t next;       /* what the keeper was asked to store */
	struct mono read_at; /* not before */
	struct mono log_too_long_at;
	bool is_failing; /* the journal could not be read the last time */
	struct wire_packet own;
	uint32_t own_blocks[SYNCER_TYPES_MAX]; /* in `own` */
	/* wait for the cursor to be stored */
	struct wire_packet plain[SYNCER_CHANGES_MAX];
	uint8_t plain_types[SYNCER_CHANGES_MAX];
	size_t n_plain;
	struct journal_change changes[SYNCER_CHANGES_MAX];
	uint8_t texts[STORE_TEXT_BYTES];
	struct sync_sender sender;
};

struct syncer_in {
	uint8_t bytes[SYNCER_DATAGRAMS_MAX][WIRE_BYTES_MAX];
	struct sockaddr_in from[SYNCER_DATAGRAMS_MAX];
	struct iovec vectors[SYNCER_DATAGRAMS_MAX];
	struct mmsghdr messages[SYNCER_DATAGRAMS_MAX];
	size_t n_datagrams;
	size_t datagram;                           /* next to be read */
	struct wire_block blocks[WIRE_BLOCKS_MAX]; /* of the datagram before */
	size_t n_blocks;
	size_t block; /* next to be handed to the keeper */
	size_t peer;  /* whose blocks they are */
	uint32_t addr_be;
	bool is_full; /* there was no room since full_since */
	struct mono full_since;
};

/* What the log has already said of a peer, as bits of the reasons. */
struct syncer_marks {
	uint32_t dropped;
	uint32_t refused;
	struct mono log_key_at; /* another key is not spoken of again before */
};

struct syncer {
	struct counters counters;
	struct syncer_env env;
	pthread_t thread;
	int control; /* eventfd: must_stop is set */
	_Atomic bool must_stop;
	pthread_mutex_t lock; /* figures; nothing else is taken under it */
	struct syncer_figures figures;

	struct store_reader *reader;
	bool is_sending;
	bool is_receiving;
	unsigned n_in_flight;                /* peers' changes */
	bool must_wake_keeper;               /* something was posted in this turn */
	uint32_t addrs_be[SYNCER_PEERS_MAX]; /* of figures.peers */
	size_t n_peers;
	size_t places[CONF_SYNC_PEERS_MAX]; /* of the setup's peers in figures.peers */
	size_t group;                       /* place of the multicast group, or SYNCER_NO_PEER */
	struct syncer_marks marks[SYNCER_PEERS_MAX + 1]; /* the last: all others */
	struct syncer_out out;
	struct syncer_in in;
};

/* --- syncer.c --------------------------------------------------------------------------------- */

/* The time by which records live. */
struct wall syncer_now(const struct syncer *syncer);
/* False: no room now. */
MUST_USE bool syncer_post(struct syncer *syncer, const struct change *change,
                          enum syncer_cookie cookie);

/* --- syncer_out.c ----------------------------------------------------------------------------- */

/* Where this host stands in the journal; before the thread runs. A code of the store. */
MUST_USE int syncer_out_init(struct syncer *syncer);
void syncer_out_turn(struct syncer *syncer);
/* The keeper's answer to the cursor: ret as in keeper_answer. */
void syncer_out_saved(struct syncer *syncer, int ret);

/* --- syncer_in.c ------------------------------------------------------------------------------ */

void syncer_in_init(struct syncer *syncer);
/* False while blocks wait for room: then the socket is not to be read. */
bool syncer_in_has_room(const struct syncer *syncer);
void syncer_in_turn(struct syncer *syncer);

/* --- syncer_peers.c --------------------------------------------------------------------------- */

void syncer_peers_init(struct syncer *syncer);
/* The place of a host, made when there is room; SYNCER_NO_PEER. One that has shown the key takes
 * the place of one that never has. */
size_t syncer_peer_of(struct syncer *syncer, uint32_t addr_be, bool has_key);
void syncer_peer_contact(struct syncer *syncer, size_t peer);
void syncer_peer_took(struct syncer *syncer, size_t peer, uint8_t type);
void syncer_peer_dropped(struct syncer *syncer, size_t peer, uint32_t addr_be,
                         enum wire_drop reason);
void syncer_peer_refused(struct syncer *syncer, size_t peer, uint32_t addr_be,
                         enum syncer_refusal reason);
/* blocks: of a datagram, by syncer_type_index. failed: by the setup's peers. */
void syncer_peers_sent(struct syncer *syncer, const uint32_t blocks[static SYNCER_TYPES_MAX],
                       const bool *failed, bool has_group_failed);
/* One more of a figure. */
void syncer_count(struct syncer *syncer, uint64_t *figure);
void syncer_publish_cursor(struct syncer *syncer);
