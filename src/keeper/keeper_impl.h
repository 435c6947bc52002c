/* The inside of the keeper, shared by its files: keeper.c (thread, loop, clock), keeper_lookup.c
 * (requests that need no write), keeper_host.c (what a host is), keeper_batch.c (the group commit),
 * keeper_attempt.c (attempts in it), keeper_change.c (trap hits and changes from outside),
 * keeper_note.c (what others may be shown of all that), keeper_dirty.c (counters that are written
 * late). Everything without _Atomic belongs to the keeper's thread. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "keeper/keeper.h"
#include "keeper/latency.h"
#include "policy/clockguard.h"
#include "policy/greylist.h"

enum {
	KEEPER_DRAIN_MAX = 256, /* requests taken from one worker before the next one's turn */
	/* hosts that lists take off the white, a commit: they come by the hundred thousand, in the
	 * order of their records, and nobody waits for one of them alone */
	KEEPER_DELIST_MAX = 2048,
	/* So many requests that wait are a flood: groups become as large as they are many (a larger
	 * one costs less a tuple, and all wait anyway), and new tuples are taken in without their
	 * places (store_take_in). */
	KEEPER_FLOOD = 1024,
	KEEPER_FLOOD_GROUP_MAX = 2000,
	KEEPER_DRAIN_ROUNDS = 16,   /* before a commit that is due */
	KEEPER_SETTLE_SLICE = 1000, /* tuples that get their places in a commit */
	KEEPER_SETTLE_MS = 2,       /* a commit waits this long for another request */
	KEEPER_SWEEP_SLICE = 200,   /* records a commit expires; 1 M rows in one took 20 s */
	KEEPER_SWEEP_SHARE = 4,     /* after a full slice, rest this many times what it took */
	KEEPER_ROOM_TRIES = 16,     /* sweeps in a row to make room in a full store */
	KEEPER_DIRTY_MAX = 65536,   /* tuples remembered as having an unwritten counter */
	KEEPER_DIRTY_SLICE = 200,   /* counters written by one commit */
	KEEPER_DIRTY_MS = 60000,    /* how late a counter is written at most */
	/* Counters of evicted entries waiting for a commit: deciding one group and learning
	 * another may each evict one an attempt. */
	KEEPER_EVICTED_MAX = 2 * KEEPER_FLOOD_GROUP_MAX,
	KEEPER_NONE_SECS = 3600,    /* how long "not in the store" is cached */
	KEEPER_SLOW_MS = 250,       /* a commit slower than this is counted and logged ... */
	KEEPER_SLOW_LOG_MS = 10000, /* ... at most this often */
	KEEPER_HELD_MS = 1,         /* between looks for room for held answers */
	KEEPER_TURN_MS = 1000,      /* the clock is looked at this often at least */
	KEEPER_FINISH_MS = 1000,    /* what the last commits of a clean stop may take */
	KEEPER_TRAP_AGAIN_SECS = 2, /* a hit on a host trapped this recently is not written again */
	KEEPER_QUEUE_BYTES = 4 << 20, /* requests waiting for a commit, a worker */
};

/* Whom a message is about. */
struct whom {
	struct addr group; /* white and tuples go by it */
	struct addr peer;  /* whole: traps go by it */
};

/* A request or change taken from its mailbox, waiting for its commit. */
struct pending {
	uint32_t len; /* of this entry with its message, a multiple of 8 */
	uint32_t port;
	bool is_done;                  /* answered: it turned out to need no write */
	struct tuple_key key;          /* of a tuple */
	_Alignas(8) uint8_t message[]; /* as posted; pending_change, pending_request */
};

enum {
	PENDING_BYTES_MAX = (int)((sizeof(struct pending) + sizeof(struct keeper_change) +
	                           3 * (size_t)RECORD_STRING_MAX + 7) &
	                          ~(size_t)7),
};

/* Bounded queue of struct pending, oldest first, lying one behind the other. */
struct pending_queue {
	uint8_t *bytes;
	size_t size;
	size_t head;
	size_t tail;
	uint32_t n; /* entries not done */
};

/* Keys the open transaction has changed: what is known of them is not committed yet. Open
 * addressing over indexes into keys. */
struct touched {
	struct cache_key *keys;
	uint32_t *slots; /* index + 1; 0 = free */
	uint32_t mask;
	uint32_t n;
};

/* Answers that found no room in their mailbox: a worker that has not looked for a while finds them
 * later. A ring of KEEPER_IN_FLIGHT_MAX, untouched memory until it is used. */
struct held_answers {
	struct keeper_answer *answers;
	uint32_t head;
	uint32_t n;
};

/* What became of a pending entry. */
enum batch_deed {
	DEED_ATTEMPT,           /* as the verdict says; keeper_attempt.c */
	DEED_PEERS_ATTEMPT,     /* likewise */
	DEED_TRAP,              /* its recipient trapped the host */
	DEED_TRAP_LOW_PRIORITY, /* the low-priority MX did */
	DEED_CHANGE,
};

struct batch_result {
	const struct pending *pending;
	enum batch_deed deed;
	enum verdict verdict;
	struct cache_key key;
	struct grey_record tuple;
	struct grey_record host;
	bool is_news;                /* an attempt that is to be written */
	bool is_unseen;              /* nothing is stored of its tuple, not even a tombstone */
	bool is_taken_in;            /* it waits for its place */
	struct change_effect effect; /* of any deed but an attempt */
	bool was_trapped;            /* before a trap hit */
};

struct batch_expired {
	enum record_kind kind;
	struct tuple_key key;
};

/* What a commit changes in memory once it has succeeded. */
struct batch {
	struct batch_result *results;
	uint32_t n_max; /* results that have a place */
	bool is_flood;  /* see KEEPER_FLOOD */
	uint32_t n_results;
	struct touched touched;
	struct batch_expired expired[KEEPER_SWEEP_SLICE];
	uint32_t n_expired;
	uint32_t n_dirty;   /* entries of the dirty ring this commit deals with */
	uint32_t n_evicted; /* and of the evicted ones */
	uint32_t n_writes;
	struct store_settled settled;
	struct mono ended; /* when it was on disk */
	size_t queue_end;  /* queue position behind the last request of the batch */
};

struct dirty_counter {
	struct cache_key key;
	uint32_t bcount;
};

/* Tuples whose bcount in the cache is ahead of the store's. */
struct dirty {
	struct cache_key *keys; /* ring */
	uint32_t head;
	uint32_t n;
	uint32_t n_due; /* of these, to be written as soon as possible */
	struct mono due;
	struct dirty_counter evicted[KEEPER_EVICTED_MAX];
	uint32_t n_evicted;
};

struct keeper {
	struct counters counters;
	struct keeper_env env;
	pthread_t thread;
	int wake; /* eventfd */
	_Atomic bool is_sleeping;
	_Atomic bool must_stop;
	_Atomic bool is_clock_confirmed; /* keeper_clock_ok was called */
	_Atomic bool is_degraded;
	_Atomic bool is_failed;
	_Atomic bool is_clock_paused;
	_Atomic uint32_t n_waiting; /* queue.n, a turn old */
	struct latency latency;     /* of commits */
	struct latency durable;

	struct greylist_conf rules;
	struct store_reader *reader;
	struct clockguard guard;
	struct mono now;
	struct wall wall; /* for records of what happened when */
	struct wall life; /* by which records live and die */
	struct pending_queue queue;
	struct batch batch;
	struct dirty dirty;
	struct held_answers *held; /* by port */
	uint32_t n_held;           /* in all of them */
	uint32_t first_port;
	bool must_wake_feeder;
	bool must_wake_syncer;
	bool must_wake_ports;          /* answers were posted to one that sleeps for them */
	struct mono low_priority_from; /* from now on -M traps */
	struct mono gather_since;      /* oldest waiting request */
	struct mono last_arrival;      /* newest one */
	struct mono sweep_due;
	uint32_t sweep_slice;   /* records; smaller while the store has no room for more */
	struct mono settle_due; /* tuples that wait get their places */
	struct mono retry_at;
	struct mono sync_ask_due;
	struct mono slow_log_due;
	uint64_t n_retries; /* since the store began to fail */
	uint64_t n_slow;    /* slow commits since the last line about them */
};

/* --- keeper_lookup.c -------------------------------------------------------------------------- */

/* Takes requests from all workers, each in turn, and answers what needs no commit. True when a
 * worker has more than its share. */
bool keeper_drain(struct keeper *keeper);
void keeper_answer(struct keeper *keeper, uint32_t port, const struct keeper_answer *answer);
/* Posts what keeper_answer had to hold back, as far as there is room. */
void keeper_post_held(struct keeper *keeper);
/* To a worker: its tuple is on disk, and this is what the host is by now. */
void keeper_answer_stored(struct keeper *keeper, const struct pending *pending, uint32_t host);
/* Whether peers are to hear of an early attempt now, the newest that they heard of being `last`. */
bool keeper_is_news(const struct keeper *keeper, struct wall last);
/* Puts a committed tuple into the cache. */
void keeper_cache_tuple(struct keeper *keeper, const struct cache_key *key,
                        const struct grey_record *record, bool is_dirty);
struct cache_key keeper_tuple_key(const struct tuple_key *key);

int pending_queue_init(struct pending_queue *queue, size_t size_bytes);
void pending_queue_fini(struct pending_queue *queue);
/* Room for one more request of any length. */
bool pending_queue_has_room(struct pending_queue *queue);
struct pending *pending_queue_at(const struct pending_queue *queue, size_t pos);
bool pending_is_change(const struct pending *pending);
const struct keeper_request *pending_request(const struct pending *pending);
const struct keeper_change *pending_change(const struct pending *pending);
bool pending_is_delist(const struct pending *pending);
struct tuple_text keeper_tuple_text(const struct keeper_request *request);
struct whom whom_of_request(const struct keeper_request *request);

/* --- keeper_host.c ---------------------------------------------------------------------------- */

/* What the client is: white, trapped, or none of it. txn: the open transaction, whose changes
 * count; NULL: as committed. When it cannot be read: a negative code, and NONE in *out. */
int keeper_host_get(struct keeper *keeper, struct store_txn *txn, const struct whom *whom,
                    struct cache_entry *out);
/* A group has been promoted. */
void keeper_host_learn_white(struct keeper *keeper, const struct addr *addr,
                             const struct grey_record *white);
/* Registers have been changed (effect->has_host). */
void keeper_host_learn_effect(struct keeper *keeper, const struct change_effect *effect);
/* Asks the feeder to assert a white host again, once a second at most. */
void keeper_reassert(struct keeper *keeper, const struct addr *addr, struct cache_entry *entry);
/* The part of a record that a cache entry keeps. */
struct cache_entry keeper_entry_of(enum cache_kind kind, const struct grey_record *record);
struct grey_record keeper_record_of(const struct cache_entry *entry);
struct cache_key keeper_host_key(const struct addr *addr);

/* --- keeper_batch.c --------------------------------------------------------------------------- */

enum keeper_part {
	KEEPER_PART_SWEEP = 1,
	KEEPER_PART_REQUESTS = 2,
	KEEPER_PART_COUNTERS = 4,
	KEEPER_PART_PLACES = 8, /* of tuples that wait for them; not in a flood */
	KEEPER_PART_ALL = 15,
};

int keeper_batch_init(struct batch *batch, uint32_t commit_max);
void keeper_batch_fini(struct batch *batch);
/* Builds and commits one transaction of the parts named (enum keeper_part bits) and makes it known.
 * When the store fails (its code) nothing happened and everything is kept for the next try. */
int keeper_commit(struct keeper *keeper, unsigned parts);
bool keeper_is_touched(const struct batch *batch, const struct cache_key *key);
void keeper_touch(struct batch *batch, const struct cache_key *key);

/* --- keeper_attempt.c ------------------------------------------------------------------------- */

/* greylist_attempt or, with the time that a peer tells, greylist_peer_attempt under the guarded
 * clock; `known` may hold records that have expired. */
enum verdict keeper_attempt(const struct keeper *keeper, const struct wall *peers_at,
                            const struct greylist_known *known, struct grey_record *tuple,
                            struct grey_record *host);
/* True when it needs no place among the results: it has been answered. */
bool keeper_decide_attempt(struct keeper *keeper, struct store_txn *txn,
                           const struct pending *pending, struct batch_result *result);
/* After the commit; answered. */
void keeper_learn_attempt(struct keeper *keeper, const struct batch_result *result);
void keeper_learn_peers_attempt(struct keeper *keeper, const struct batch_result *result);

/* --- keeper_change.c -------------------------------------------------------------------------- */

/* Before the thread runs: all spamtrap addresses of the store into the workers' set. */
int keeper_load_traps(struct keeper *keeper);
/* By the whole address. */
bool keeper_is_listed(const struct keeper *keeper, const struct addr *peer);
/* A trap that ends then was written just now: another hit would change nothing that counts. */
bool keeper_is_fresh_trap(const struct keeper *keeper, int64_t expire_secs);
/* Whether an attempt by the low-priority MX is a trap hit: nothing at all is known of the host. */
bool keeper_is_low_priority_hit(const struct keeper *keeper, struct store_txn *txn,
                                const struct addr *group);
/* Carry a trap hit or a change out in the transaction. */
void keeper_decide_trap(struct keeper *keeper, struct store_txn *txn, const struct pending *pending,
                        struct batch_result *result);
void keeper_decide_change(struct keeper *keeper, struct store_txn *txn,
                          const struct pending *pending, struct batch_result *result);
/* After the commit. A change is answered, a trap hit is left to the caller. */
void keeper_learn_trap(struct keeper *keeper, const struct batch_result *result);
void keeper_learn_change(struct keeper *keeper, const struct batch_result *result);
/* What became durable, in the log. */
void keeper_log_new(const struct whom *whom, const struct tuple_text *text);
void keeper_log_promotion(const struct keeper *keeper, const struct whom *whom);
void keeper_log_trap(const struct keeper *keeper, const struct batch_result *result);
/* Of a peer's host that was a stranger here. */
void keeper_log_told(const struct batch_result *result);
/* Answers and counts it. */
void keeper_answer_change(struct keeper *keeper, const struct pending *pending, int ret);
struct tuple_text keeper_change_text(const struct keeper_change *message);
struct whom keeper_whom_of_change(const struct keeper *keeper, const struct keeper_change *message);

/* --- keeper_note.c ---------------------------------------------------------------------------- */

/* Notes for `miredctl why`; see keeper/events.h. */
void keeper_note_attempt(struct keeper *keeper, const struct whom *whom, bool is_peers,
                         enum verdict verdict, struct span recipient);
void keeper_note_trap(struct keeper *keeper, const struct batch_result *result);
/* What a change from outside has done. */
void keeper_note_change(struct keeper *keeper, const struct batch_result *result);
void keeper_note_expired(struct keeper *keeper, enum record_kind kind, const struct addr *addr);
void keeper_note_reasserted(struct keeper *keeper, const struct addr *addr);

/* --- keeper_dirty.c --------------------------------------------------------------------------- */

int keeper_dirty_init(struct dirty *dirty, struct mono now);
void keeper_dirty_fini(struct dirty *dirty);
/* The cache entry of this tuple has become dirty. */
void keeper_dirty_add(struct dirty *dirty, const struct cache_key *key);
/* A dirty entry had to leave the cache. */
void keeper_dirty_evicted(struct dirty *dirty, const struct cache_key *key, uint32_t bcount);
/* Writes what was evicted into the transaction: before requests are decided, for the next retry
 * counts from there, and with keeper_dirty_write again. */
void keeper_dirty_write_evicted(struct keeper *keeper, struct store_txn *txn);
/* Writes a slice of what is due into the transaction; keeper_dirty_written after its commit. */
void keeper_dirty_write(struct keeper *keeper, struct store_txn *txn);
void keeper_dirty_written(struct keeper *keeper);
