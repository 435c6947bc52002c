/* The durable store: one LMDB environment behind one door. One writer (the keeper) and any number
 * of readers in short transactions. Only committed changes leave: see store_commit and
 * store_journal. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "policy/greylist.h"
#include "store/record.h"

enum {
	STORE_WHY_MAX = 512,
	STORE_SLICE_ROWS = 1000,
	STORE_SLICE_MS = 5,
	STORE_TEXT_BYTES = 3 * RECORD_STRING_MAX, /* the texts of one row */
	STORE_SETTLE_MAX = 1024,                  /* tuples that one store_settle places */
};

struct store;

struct store_conf {
	/* directory of data.mdb and lock.mdb, mode 0700; its owner is the only user who may open */
	const char *dir;
	uint64_t map_bytes;
	uint64_t journal_max;
	unsigned readers_max;
	bool create;    /* a missing data file is created (first start); otherwise it is an error */
	bool read_only; /* tools */
};

/* Opens, checks size and meta record, refuses what is damaged: a corrupt store is never
 * overwritten, and where one was installed (file `installed`) a missing or empty one is not made
 * anew. `why` gets the full message. ERR_CORRUPT, ERR_VERSION, ERR_NOT_FOUND, ERR_BUSY (another
 * process writes), -errno. One store a process; open it after the last fork. */
MUST_USE int store_open(struct store **out, const struct store_conf *conf,
                        char why[static STORE_WHY_MAX]);
/* Sets the clean-shutdown mark if it was open for writing and healthy. NULL is fine. */
void store_close(struct store *store);
/* Whether the last writer closed it cleanly. */
bool store_was_clean(const struct store *store);
const uint8_t *store_hash_key(const struct store *store);
/* Time of the newest journal entry, 0 if there is none. */
struct wall store_newest(const struct store *store);

/* --- writing: the keeper's thread only -------------------------------------------------------- */

/* Sticky transaction: after the first error later calls do nothing; store_commit tells. */
struct store_txn {
	struct store *store;
	void *lmdb;      /* MDB_txn */
	int ret;         /* first error */
	uint64_t seq;    /* journal number of the last change made here */
	struct wall now; /* of the journal entries */
	/* of the changes made from here on; set by the caller, ORIGIN_SILENT at first */
	enum change_origin origin;
	/* they join what is there with what another gateway has; set by the caller, too */
	bool is_merge;
	unsigned n_changes;
};

/* `now` is what store_newest says after the next start: a time that is believed (clockguard's), for
 * records are expired by it then. */
void store_begin(struct store *store, struct store_txn *txn, struct wall now);
/* True and *out when there is a live-or-expired record with a good checksum. What was deleted is
 * not there: its tombstone is seen by the ..._register calls alone, for merges. */
bool store_get_tuple(struct store_txn *txn, const struct tuple_key *key, struct grey_record *out);
bool store_get_host(struct store_txn *txn, const struct addr *addr, enum record_kind kind,
                    struct grey_record *out);
bool store_get_tuple_register(struct store_txn *txn, const struct tuple_key *key,
                              struct grey_record *out);
/* Of a tuple or its tombstone; copied to buf. */
bool store_get_tuple_text(struct store_txn *txn, const struct tuple_key *key,
                          uint8_t buf[static STORE_TEXT_BYTES], struct tuple_text *out);
bool store_get_host_register(struct store_txn *txn, const struct addr *addr, enum record_kind kind,
                             struct grey_record *out);
bool store_get_trap_register(struct store_txn *txn, struct span address, struct grey_record *out);

/* Puts keep the expiry index in step and are journaled. A put over a tombstone revives it; a record
 * that is_deleted is put as a tombstone as it stands (merges), journaled as a deletion if something
 * live was there, else not at all. What is put or buried is stamped with the later of its
 * changed_at and that of what was there, a second later than that if it goes from live to deleted
 * or back and is no merge: on one host the newer fact has the later stamp, whatever its clock does.
 */
void store_put_tuple(struct store_txn *txn, const struct tuple_key *key,
                     const struct grey_record *record, const struct tuple_text *text);
/* The same for a tuple that is not in the store, not even as a tombstone, without a look at it. */
void store_add_tuple(struct store_txn *txn, const struct tuple_key *key,
                     const struct grey_record *record, const struct tuple_text *text);
/* Rewrites the record of a stored tuple, keeping its text; nothing when there is no sound record or
 * a tombstone. is_journaled = false for a mere counter update. */
void store_update_tuple(struct store_txn *txn, const struct tuple_key *key,
                        const struct grey_record *record, bool is_journaled);
void store_put_host(struct store_txn *txn, const struct addr *addr, enum record_kind kind,
                    const struct grey_record *record);
/* Deletes at `at` and leaves a tombstone: of a tuple, if there is one, until its record's end. Of
 * a host until the later of its record's end and `until`, also when nothing is there (its first is
 * 0 then; left out while the map is tight, see store_commit). Journaled only if something live was
 * there. */
void store_bury_tuple(struct store_txn *txn, const struct tuple_key *key, struct wall at);
void store_bury_host(struct store_txn *txn, const struct addr *addr, enum record_kind kind,
                     struct wall at, struct wall until);

/* Spamtrap addresses never expire, nor do their tombstones. address: normalised (policy/trap.h).
 * Has and bury: true when it was there. Burying one that is not there leaves a tombstone, as with
 * hosts. */
bool store_has_trap_address(struct store_txn *txn, struct span address);
void store_put_trap_address(struct store_txn *txn, struct span address,
                            const struct grey_record *record);
bool store_bury_trap_address(struct store_txn *txn, struct span address, struct wall at);
/* A tuple of a host, by its grouped address; false when it has none. The first, or if only waiting
 * ones are left, one of these: which takes a walk over all that wait, 0.1 s a million. */
bool store_first_tuple(struct store_txn *txn, const struct addr *addr, struct tuple_key *key);

/* Whether it has any, waiting ones too; without that walk. */
bool store_has_tuple_of(struct store_txn *txn, const struct addr *addr);

/* A flood's new tuples may wait for their places. One that is taken in is as durable as any, is
 * found by every call that looks for a tuple, and is counted and walked; what it lacks is its
 * expiry row and its row of the journal, so nobody is told of it yet. Any put, journaled update or
 * burial of it gives it its place first; else store_settle does. While the map is tight (see
 * store_commit) there are no places: a put fails with ERR_FULL, an update leaves it waiting, and
 * what is buried goes without a tombstone. */

/* For a tuple of a client's attempt here that is not in the store, not even as a tombstone. False:
 * it was not taken in (no room in memory or map); put it the ordinary way. */
MUST_USE bool store_take_in(struct store_txn *txn, const struct tuple_key *key,
                            const struct grey_record *record, const struct tuple_text *text);
struct store_settled {
	unsigned n_placed;
	unsigned n_expired; /* their life ended while they waited: gone untold */
};
/* Gives the oldest of those that wait their places, at most max and STORE_SETTLE_MAX; none while
 * the map is tight (see store_commit). */
struct store_settled store_settle(struct store_txn *txn, struct wall expiry_now, unsigned max);
/* How many wait, the open transaction counted. */
uint64_t store_n_waiting(const struct store *store);

/* Named place in the journal up to which a reader has dealt with changes. name: see
 * record_cursor_key. */
void store_put_cursor(struct store_txn *txn, const char *name, uint64_t seq);

/* Called for each record the sweep deletes, but for tombstones. They go untold and unjournaled, and
 * so does a tuple that waited for its place. */
typedef void store_expired(void *ctx, enum record_kind kind, const struct tuple_key *key);
/* Deletes at most max records whose life ended at or before expiry_now, oldest first; returns how
 * many. Costs a look-up when nothing is due, and one more while tuples wait. */
unsigned store_sweep(struct store_txn *txn, struct wall expiry_now, unsigned max,
                     store_expired *expired, void *ctx);

/* Durable when it returns 0. On failure nothing of the transaction happened: ERR_FULL (disk or
 * map), -errno. After ERR_PANIC close and open again, and look which of the changes are there.
 * An eighth of the map is kept for deletions: once it is reached, a transaction that adds a record
 * fails with ERR_FULL while updates, deletes and sweeps alone go through; so sweep in a transaction
 * of its own after ERR_FULL. */
MUST_USE int store_commit(struct store_txn *txn);
void store_abort(struct store_txn *txn);

/* --- reading: any thread, one reader each ------------------------------------------------------
 */

struct store_reader;

MUST_USE int store_reader_open(struct store *store, struct store_reader **out);
void store_reader_close(struct store_reader *reader);

struct store_row {
	enum record_kind kind;
	struct tuple_key key; /* hash zero for hosts */
	struct grey_record record;
	/* tuples, and a spamtrap address as text.recipient; points into the walk's own buffer */
	struct tuple_text text;
};

/* A walk in slices: each call is one short transaction of at most STORE_SLICE_ROWS rows or
 * STORE_SLICE_MS, resumed after the last key; not one snapshot: a tuple that gets its place
 * meanwhile (store_settle) may come twice. Never hold anything while writing to a pipe. */
struct store_walk;

/* What a walk visits, in this order. */
enum store_walk_part {
	STORE_WALK_HOSTS = 1,
	STORE_WALK_TUPLES = 2, /* those that wait for their places come first */
	STORE_WALK_TRAP_ADDRESSES = 4,
	STORE_WALK_ALL = 7,
	STORE_WALK_DELETED = 8, /* tombstones, too (record.is_deleted) */
};

/* parts: bits of enum store_walk_part. first, last (NULL: no bound): only hosts and tuples whose
 * key address lies between them, found without reading the others. */
struct store_walk *store_walk_new(struct store_reader *reader, unsigned parts,
                                  const struct addr *first, const struct addr *last);
void store_walk_free(struct store_walk *walk);
/* Next slice: rows stay valid until the next call. Returns the count, 0 at the end, or a negative
 * code. *n_bad (may be NULL) grows by records with a bad checksum. */
MUST_USE int store_walk_next(struct store_walk *walk, const struct store_row **rows,
                             uint64_t *n_bad);

/* Single look-up outside a write transaction. 1: found, *out written. 0: not in the store; a record
 * with a bad checksum is counted and is not there either. Negative: it could not be read, which
 * says nothing about the host. */
MUST_USE int store_reader_host(struct store_reader *reader, const struct addr *addr,
                               enum record_kind kind, struct grey_record *out);

MUST_USE int store_reader_trap_address(struct store_reader *reader, struct span address,
                                       struct grey_record *out);

/* The record that a change of the journal is about, as it stands now; texts are copied to buf. 1, 0
 * or a negative code as store_reader_host. For a deletion it is the tombstone; 0 when the record
 * has been revived since, or for a put, deleted. */
MUST_USE int store_reader_changed(struct store_reader *reader, const struct journal_change *change,
                                  uint8_t buf[static STORE_TEXT_BYTES], struct store_row *out);

/* Changes after `after`, oldest first, at most max. Returns the count or a negative code;
 * ERR_NOT_FOUND when the journal no longer reaches back to `after` + 1: the caller needs a full
 * copy. */
MUST_USE int store_journal_read(struct store_reader *reader, uint64_t after,
                                struct journal_change *out, int max);
/* 1: *seq written; 0: there is no such cursor, or it is damaged (counted); negative: it could not
 * be read. */
MUST_USE int store_reader_cursor(struct store_reader *reader, const char *name, uint64_t *seq);
/* Number of the newest committed change; 0 when there is none or it cannot be read. */
uint64_t store_journal_last(struct store_reader *reader);

/* --- figures and checking --------------------------------------------------------------------- */

struct store_stats {
	uint64_t n_hosts, n_tuples, n_trap_addresses; /* without tombstones */
	uint64_t n_tombstones, n_expiry, n_journal;
	uint64_t n_waiting; /* of the tuples, for their places */
	uint64_t used_bytes, free_bytes, map_bytes;
	uint64_t last_seq;
	uint64_t n_bad_records;
};

/* Any thread with a reader. */
MUST_USE int store_stats_get(struct store_reader *reader, struct store_stats *out);

/* Walks everything in a child process (damage may crash LMDB): keys ascending, counts, checksums,
 * each tuple and host against its expiry row. 0 = sound; ERR_CORRUPT with `why` = what was found.
 * Blocking. */
MUST_USE int store_check(const char *dir, uint64_t map_bytes, char why[static STORE_WHY_MAX]);
