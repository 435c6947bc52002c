/* Private to src/store: what its LMDB files share. Nobody else includes this. */
#pragma once

#include <lmdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "store/record.h"
#include "store/store.h"
#include "store/tagmap.h"

enum store_db { DB_META, DB_HOST, DB_TUPLE, DB_EXPIRY, DB_JOURNAL, DB_TRAP, DB_INTAKE, DB_COUNT };

enum {
	DOOR_MODE = 0600,
	DOOR_DBS_MAX = 16,
	/* Expiry rows of a transaction wait here to be put in key order; a full list is put early.
	 */
	PENDING_MAX = 2048,
	/* A check whose child gives no sign of life for so long has hung on damage. */
	CHECK_STALL_MS = 60000,
};

/* What the writer knows of the tuples that wait for their places; see store_intake.c. */
struct intake {
	struct tagmap tuples; /* tag of its key -> number of its row */
	struct tagmap hosts;  /* tag of an address -> how many rows it has */
	uint64_t last_seq;
	struct intake_step *steps; /* of the open transaction */
	size_t n_steps;
	size_t n_steps_max;
	struct intake_item *items; /* of the group that gets its places */
	/* No row before this number is of that host: deleting its tuples one by one does not walk
	 * over what others have waiting again and again. */
	struct addr looked_for;
	uint64_t looked_from;
	bool has_looked;
};

/* Immutable after store_open but for the fields of the writer and n_bad. */
struct store {
	MDB_env *env;
	MDB_dbi dbi[DB_COUNT];
	char *dir;
	uint64_t journal_max;
	struct store_meta meta;
	bool was_clean;
	bool read_only;
	int lock_fd; /* flock of the one writer, -1 for tools */
	_Atomic uint64_t n_bad;
	/* writer only */
	bool is_marked_open; /* the clean mark on disk is off */
	bool is_panicked;
	bool is_tight; /* this transaction may not add records: see store_begin */
	struct wall newest;
	struct mono readers_check_due;
	struct record_key *pending;
	unsigned n_pending;
	int64_t n_buried[DB_COUNT]; /* in this transaction, less those that went */
	/* Of this address all tuples before it are tombstones: deleting a host's tuples one by one
	 * does not pass them again and again. */
	struct tuple_key live_from;
	bool has_live_from;
	struct intake intake;
};

struct store_reader {
	struct store *store;
	MDB_txn *txn;      /* reset between calls */
	sigset_t old_mask; /* of a tool, while the transaction is open */
};

/* Writes the message, cut to its room. */
void door_explain(char why[static STORE_WHY_MAX], const char *format, ...) PRINTF(2, 3);
/* LMDB's or the system's code as one of ours. EIO and ENOSPC of a full disk are ERR_FULL: a short
 * write of LMDB says EIO. */
int door_error(const struct store *store, int rc);
/* Opens an environment of DIR with the flags every opener must share. On failure nothing is open
 * and the code is LMDB's. */
MUST_USE int door_env_open(MDB_env **out, const char *dir, uint64_t map_bytes, unsigned readers_max,
                           unsigned extra_flags);
/* ERR_CORRUPT when the file ends before the last page its meta page names: reading there would be
 * SIGBUS, and LMDB does not look. */
MUST_USE int door_check_size(MDB_env *env, char why[static STORE_WHY_MAX]);
/* Opens the databases into dbi[]; flags 0 or MDB_CREATE. LMDB's code. */
MUST_USE int door_open_dbs(MDB_txn *txn, MDB_dbi dbi[static DB_COUNT], unsigned flags);
/* Writes the meta record with this clean mark into the transaction. LMDB's code. */
MUST_USE int door_mark(struct store *store, MDB_txn *txn, bool is_clean);
/* Counts a bad record, and logs the 1st, 2nd, 4th, 8th …: no clock is needed for that limit. */
void door_bad_record(struct store *store, const char *db, struct span key);
/* How many rows are tombstones; none where the count is missing or damaged. */
struct record_counts door_tombstones(const struct store *store, MDB_txn *txn);
/* Pages that wait for reuse: each row of LMDB's free list (database 0) begins with a count. */
uint64_t door_free_pages(MDB_txn *txn);
/* One short look at the store: every door_reader_begin that returned 0 has its door_reader_end. ^Z
 * does not stop a tool in between. */
MUST_USE int door_reader_begin(struct store_reader *reader);
void door_reader_end(struct store_reader *reader);
/* Keeps the file longer than LMDB needs; see store_lmdb.c. */
void door_keep_margin(MDB_env *env);

const char *door_db_name(enum store_db db);

/* --- the directory: store_files.c for store_lmdb.c ------------------------------------------- */

#define DOOR_DATA_FILE   "data.mdb"
#define DOOR_MARKER_FILE "installed" /* a store was made here once */

/* There, a directory (made if conf says so) and the caller's own. */
MUST_USE int door_check_dir(const struct store_conf *conf, char why[static STORE_WHY_MAX]);
/* ERR_BUSY: another process writes. The lock goes with store->lock_fd. */
MUST_USE int door_lock_writer(struct store *store, char why[static STORE_WHY_MAX]);
/* *is_new: there is no data file and one may be made. */
MUST_USE int door_check_data_file(const struct store_conf *conf, bool *is_new,
                                  char why[static STORE_WHY_MAX]);
/* Whether a store was made here once; and that there is one now. */
bool door_has_marker(const char *dir);
MUST_USE int door_write_marker(const char *dir, char why[static STORE_WHY_MAX]);

/* --- a write transaction: store_txn.c for store_write.c -------------------------------------- */

/* Keeps the first error (LMDB's code). */
void txn_note(struct store_txn *txn, int rc);
/* Rows of the expiry index; those put wait until txn_expiry_flush or the commit. */
void txn_expiry_put(struct store_txn *txn, const struct record_key *row);
void txn_expiry_delete(struct store_txn *txn, const struct record_key *row);
void txn_expiry_flush(struct store_txn *txn);
/* Numbers and dates the change. */
void txn_journal_add(struct store_txn *txn, struct journal_change *change);
bool door_key_equal(const struct record_key *a, const struct record_key *b);

/* --- tuples that wait: store_intake.c --------------------------------------------------------- */

/* Reads the tables back at the start; the environment must not be written to meanwhile. */
MUST_USE int intake_load(struct store *store, MDB_txn *txn);
void intake_abort(struct intake *intake);
void intake_committed(struct intake *intake);
void intake_fini(struct intake *intake);
/* A row's parts: the tuple's key, its bytes, and the value that is stored under it. ERR_SYNTAX. */
MUST_USE int door_intake_split(const MDB_val *data, struct tuple_key *key, struct span *row,
                               struct span *value);
/* Whether the tuple waits; *value points into the database until the next write. */
bool txn_intake_get(struct store_txn *txn, const struct tuple_key *key, struct span *value);
/* The value of a tuple that waits, which waits on. */
void txn_intake_rewrite(struct store_txn *txn, const struct tuple_key *key, struct span value);
/* Takes the tuple out if it waits; false: it does not. */
bool txn_intake_drop(struct store_txn *txn, const struct tuple_key *key);
/* Takes out at most max of the oldest rows, as long as their lives have ended; returns how many. */
unsigned txn_intake_sweep(struct store_txn *txn, struct wall expiry_now, unsigned max,
                          store_expired *expired, void *ctx);
/* A tuple that waits gets its place now; ERR_FULL while the map is tight: it takes room. */
void txn_settle(struct store_txn *txn, const struct tuple_key *key);
bool txn_intake_has_host(const struct store_txn *txn, const struct addr *addr);
/* The oldest tuple of the host that waits. Walks the intake when there is one: 0.1 us a row, once
 * for a host whose tuples are taken out one after the other. */
bool txn_intake_first(struct store_txn *txn, const struct addr *addr, struct tuple_key *key);
/* A live tuple has come: store_first_tuple is not to pass it over. store_write.c */
void txn_look_from(struct store *store, const struct tuple_key *key);

static inline MDB_val door_val(const void *bytes, size_t len)
{
	return (MDB_val){len, (void *)(uintptr_t)bytes};
}

static inline MDB_val door_key(const struct record_key *key)
{
	return door_val(key->bytes, key->len);
}

static inline struct span door_span(const MDB_val *val)
{
	return (struct span){val->mv_data, val->mv_size};
}

/* store_check with its patience as an argument, for the tests. */
MUST_USE int store_check_within(const char *dir, uint64_t map_bytes, int stall_ms,
                                char why[static STORE_WHY_MAX]);
