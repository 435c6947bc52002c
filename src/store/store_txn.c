/* The frame of a write transaction: begin, the expiry rows and journal rows that belong to its
 * records, commit. Records themselves are in store_write.c. Owner: the keeper's thread.
 *
 * A commit: (1) expiry rows that waited are put in key order (measured: pages fill to 73 % instead
 * of 55 %), (2) the journal loses at most a few rows more than it gained, so that a lowered bound
 * is reached in small steps and no transaction grows, (3) LMDB commits, (4) on failure the
 * environment is asked whether it will go on: after a failed write of a meta page it never does. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "store/lmdb_door.h"

enum {
	/* journal rows a commit may trim beyond those it added */
	TRIM_EXTRA = 16,
	/* dead readers keep pages from being used again; looking for them costs 13 us */
	READER_CHECK_MS = 60000,
	/* a deletion needs fresh pages too: one in so many of the map is kept for it */
	RESERVE_DIVISOR = 8,
};

void txn_note(struct store_txn *txn, int rc)
{
	if (txn->ret == 0 && rc != 0) {
		txn->ret = door_error(txn->store, rc);
	}
}

/* --- expiry rows ------------------------------------------------------------------------------ */

static int compare_keys(const void *a, const void *b)
{
	const struct record_key *x = a;
	const struct record_key *y = b;
	int order = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
	return order ? order : (x->len > y->len) - (x->len < y->len);
}

bool door_key_equal(const struct record_key *a, const struct record_key *b)
{
	return compare_keys(a, b) == 0;
}

void txn_expiry_flush(struct store_txn *txn)
{
	struct store *store = txn->store;
	qsort(store->pending, store->n_pending, sizeof *store->pending, compare_keys);
	for (unsigned i = 0; i < store->n_pending && txn->ret == 0; i++) {
		MDB_val key = door_key(&store->pending[i]);
		MDB_val empty = door_val("", 0);
		txn_note(txn, mdb_put(txn->lmdb, store->dbi[DB_EXPIRY], &key, &empty, 0));
	}
	store->n_pending = 0;
}

void txn_expiry_put(struct store_txn *txn, const struct record_key *row)
{
	struct store *store = txn->store;
	if (store->n_pending == PENDING_MAX) {
		txn_expiry_flush(txn);
	}
	store->pending[store->n_pending++] = *row;
}

/* The row may still wait in this transaction. */
void txn_expiry_delete(struct store_txn *txn, const struct record_key *row)
{
	struct store *store = txn->store;
	for (unsigned i = store->n_pending; i > 0; i--) {
		struct record_key *waiting = &store->pending[i - 1];
		if (compare_keys(waiting, row) == 0) {
			*waiting = store->pending[--store->n_pending];
			return;
		}
	}
	MDB_val key = door_key(row);
	int rc = mdb_del(txn->lmdb, store->dbi[DB_EXPIRY], &key, NULL);
	txn_note(txn, rc == MDB_NOTFOUND ? 0 : rc);
}

/* --- journal ---------------------------------------------------------------------------------- */

void txn_journal_add(struct store_txn *txn, struct journal_change *change)
{
	if (txn->ret) {
		return;
	}
	change->seq = txn->seq + 1;
	change->at = txn->now;
	change->origin = (uint8_t)txn->origin;
	struct record_key row = record_seq_key(change->seq);
	struct record_value value;
	record_change_encode(change, &value);
	MDB_val key = door_key(&row);
	MDB_val data = door_val(value.bytes, value.len);
	txn_note(txn, mdb_put(txn->lmdb, txn->store->dbi[DB_JOURNAL], &key, &data, MDB_APPEND));
	txn->seq++;
	txn->n_changes++;
}

void store_put_cursor(struct store_txn *txn, const char *name, uint64_t seq)
{
	struct record_key row = record_cursor_key(name);
	struct record_value value;
	if (txn->ret) {
		return;
	}
	record_cursor_encode(span_of(row.bytes, row.len), seq, &value);
	MDB_val key = door_key(&row);
	MDB_val data = door_val(value.bytes, value.len);
	txn_note(txn, mdb_put(txn->lmdb, txn->store->dbi[DB_META], &key, &data, 0));
}

static uint64_t count_on(uint64_t n, int64_t by)
{
	return by < 0 && n < (uint64_t)-by ? 0 : n + (uint64_t)by;
}

static void count_tombstones(struct store_txn *txn)
{
	const int64_t *n_buried = txn->store->n_buried;
	struct record_value value;
	if (n_buried[DB_HOST] == 0 && n_buried[DB_TUPLE] == 0 && n_buried[DB_TRAP] == 0) {
		return;
	}
	struct record_counts counts = door_tombstones(txn->store, txn->lmdb);
	counts.n_hosts = count_on(counts.n_hosts, n_buried[DB_HOST]);
	counts.n_tuples = count_on(counts.n_tuples, n_buried[DB_TUPLE]);
	counts.n_trap_addresses = count_on(counts.n_trap_addresses, n_buried[DB_TRAP]);
	record_counts_encode(&counts, &value);
	MDB_val key = door_val(record_counts_key.ptr, record_counts_key.len);
	MDB_val data = door_val(value.bytes, value.len);
	txn_note(txn, mdb_put(txn->lmdb, txn->store->dbi[DB_META], &key, &data, 0));
}

/* Number of the journal's last row; 0 when it is empty. */
static int journal_last(struct store *store, MDB_txn *lmdb, uint64_t *seq)
{
	MDB_cursor *cursor = NULL;
	MDB_val key;
	MDB_val data;
	int rc = mdb_cursor_open(lmdb, store->dbi[DB_JOURNAL], &cursor);
	if (rc) {
		return rc;
	}
	rc = mdb_cursor_get(cursor, &key, &data, MDB_LAST);
	if (rc == 0 && record_seq_key_decode(door_span(&key), seq)) {
		rc = MDB_CORRUPTED;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static void journal_trim(struct store_txn *txn)
{
	MDB_dbi dbi = txn->store->dbi[DB_JOURNAL];
	MDB_stat stats;
	MDB_cursor *cursor = NULL;
	int rc = mdb_stat(txn->lmdb, dbi, &stats);
	if (rc || stats.ms_entries <= txn->store->journal_max) {
		txn_note(txn, rc);
		return;
	}
	size_t n = stats.ms_entries - (size_t)txn->store->journal_max;
	size_t budget = (size_t)txn->n_changes + TRIM_EXTRA;
	rc = mdb_cursor_open(txn->lmdb, dbi, &cursor);
	for (size_t i = 0; i < n && i < budget && rc == 0; i++) {
		MDB_val key;
		MDB_val data;
		rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST);
		rc = rc ? rc : mdb_cursor_del(cursor, 0);
	}
	if (cursor) {
		mdb_cursor_close(cursor);
	}
	txn_note(txn, rc);
}

/* --- begin and commit ------------------------------------------------------------------------- */

/* By monotonic time: the time of a transaction may stand still. */
static void check_readers(struct store *store)
{
	int n_dead = 0;
	struct mono now = clock_mono();
	if (now.ns < store->readers_check_due.ns) {
		return;
	}
	store->readers_check_due = mono_add_ms(now, READER_CHECK_MS);
	if (mdb_reader_check(store->env, &n_dead) == 0 && n_dead > 0) {
		log_warning("store %s: cleared %d readers of dead processes", store->dir, n_dead);
	}
}

/* Pages for reuse, as a reader sees them: LMDB shows a write transaction no free list. */
static uint64_t count_free_pages(struct store *store)
{
	MDB_txn *reader = NULL;
	if (mdb_txn_begin(store->env, NULL, MDB_RDONLY, &reader)) {
		return 0;
	}
	uint64_t n = door_free_pages(reader);
	mdb_txn_abort(reader);
	return n;
}

/* The free list is counted only when the file has come near the end of the map. */
static bool is_map_tight(struct store *store)
{
	MDB_envinfo info;
	MDB_stat stats;
	if (mdb_env_info(store->env, &info) || mdb_env_stat(store->env, &stats)) {
		return false;
	}
	uint64_t n_map = info.me_mapsize / stats.ms_psize;
	uint64_t n_limit = n_map - n_map / RESERVE_DIVISOR;
	uint64_t n_pages = (uint64_t)info.me_last_pgno + 1;
	return n_pages > n_limit && n_pages > n_limit + count_free_pages(store);
}

void store_begin(struct store *store, struct store_txn *txn, struct wall now)
{
	*txn = (struct store_txn){.store = store, .now = now};
	store->n_pending = 0;
	memset(store->n_buried, 0, sizeof store->n_buried);
	if (store->read_only) {
		txn->ret = -EROFS;
		return;
	}
	check_readers(store);
	store->is_tight = is_map_tight(store);
	MDB_txn *lmdb = NULL;
	int rc = mdb_txn_begin(store->env, NULL, 0, &lmdb);
	if (rc) {
		txn_note(txn, rc);
		store->is_panicked |= txn->ret == ERR_PANIC;
		return;
	}
	txn->lmdb = lmdb;
	txn_note(txn, journal_last(store, lmdb, &txn->seq));
	if (!store->is_marked_open) {
		txn_note(txn, door_mark(store, lmdb, false));
	}
}

void store_abort(struct store_txn *txn)
{
	if (txn->lmdb) {
		mdb_txn_abort(txn->lmdb);
		txn->lmdb = NULL;
	}
	intake_abort(&txn->store->intake);
	txn->store->n_pending = 0;
	txn->store->has_live_from = false; /* what was buried is back */
}

/* After a failed commit: will the environment take another transaction? */
static bool is_dead(struct store *store)
{
	MDB_txn *probe = NULL;
	int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &probe);
	if (rc == 0) {
		mdb_txn_abort(probe);
	}
	return rc == MDB_PANIC;
}

static int commit_failed(struct store_txn *txn)
{
	struct store *store = txn->store;
	intake_abort(&store->intake);
	store->has_live_from = false;
	if (is_dead(store)) {
		store->is_panicked = true;
		return ERR_PANIC;
	}
	if (txn->ret == ERR_FULL) {
		int n_dead = 0;
		(void)mdb_reader_check(store->env, &n_dead); /* they may be what fills the map */
	}
	return txn->ret;
}

int store_commit(struct store_txn *txn)
{
	struct store *store = txn->store;
	if (txn->ret == 0) {
		txn_expiry_flush(txn);
	}
	if (txn->ret == 0) {
		count_tombstones(txn);
	}
	if (txn->ret == 0) {
		journal_trim(txn);
	}
	if (txn->ret) {
		store_abort(txn);
		return commit_failed(txn);
	}
	int rc = mdb_txn_commit(txn->lmdb);
	txn->lmdb = NULL;
	if (rc) {
		txn_note(txn, rc);
		return commit_failed(txn);
	}
	intake_committed(&store->intake);
	store->is_marked_open = true;
	if (txn->n_changes > 0) {
		store->newest = txn->now;
	}
	door_keep_margin(store->env);
	return 0;
}
