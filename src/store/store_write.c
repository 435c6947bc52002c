/* The write transaction: records, their expiry rows and the journal change together or not at all.
 * Owner: the keeper's thread.
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

static const struct tuple_text no_text = {
        {(const uint8_t *)"", 0}, {(const uint8_t *)"", 0}, {(const uint8_t *)"", 0}};

/* Keeps the first error. */
static void note(struct store_txn *txn, int rc)
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

static void expiry_flush(struct store_txn *txn)
{
	struct store *store = txn->store;
	qsort(store->pending, store->n_pending, sizeof *store->pending, compare_keys);
	for (unsigned i = 0; i < store->n_pending && txn->ret == 0; i++) {
		MDB_val key = door_key(&store->pending[i]);
		MDB_val empty = door_val("", 0);
		note(txn, mdb_put(txn->lmdb, store->dbi[DB_EXPIRY], &key, &empty, 0));
	}
	store->n_pending = 0;
}

static void expiry_put(struct store_txn *txn, const struct record_key *row)
{
	struct store *store = txn->store;
	if (store->n_pending == PENDING_MAX) {
		expiry_flush(txn);
	}
	store->pending[store->n_pending++] = *row;
}

/* The row may still wait in this transaction. */
static void expiry_delete(struct store_txn *txn, const struct record_key *row)
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
	note(txn, rc == MDB_NOTFOUND ? 0 : rc);
}

/* --- journal ---------------------------------------------------------------------------------- */

static void journal_add(struct store_txn *txn, struct journal_change *change)
{
	if (txn->ret) {
		return;
	}
	change->seq = txn->seq + 1;
	change->at = txn->now;
	struct record_key row = record_seq_key(change->seq);
	struct record_value value;
	record_change_encode(change, &value);
	MDB_val key = door_key(&row);
	MDB_val data = door_val(value.bytes, value.len);
	note(txn, mdb_put(txn->lmdb, txn->store->dbi[DB_JOURNAL], &key, &data, MDB_APPEND));
	txn->seq++;
	txn->n_changes++;
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
		note(txn, rc);
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
	note(txn, rc);
}

/* --- records ---------------------------------------------------------------------------------- */

/* One record on its way through this file. */
struct target {
	enum store_db db;
	enum record_kind kind;
	struct record_key key;
	struct addr addr;
	uint8_t hash[RECORD_HASH_BYTES]; /* zero for hosts */
};

/* What is stored under the target's key. */
struct stored {
	bool is_there; /* a row, sound or not */
	bool is_sound;
	struct grey_record record;
	struct tuple_text text; /* points into the database until the next write */
};

static struct target target_tuple(const struct tuple_key *key)
{
	struct target t = {.db = DB_TUPLE,
	                   .kind = RECORD_GREY,
	                   .key = record_grey_key(key),
	                   .addr = key->addr};
	memcpy(t.hash, key->hash, sizeof t.hash);
	return t;
}

static struct target target_host(const struct addr *addr, enum record_kind kind)
{
	return (struct target){
	        .db = DB_HOST, .kind = kind, .key = record_host_key(addr, kind), .addr = *addr};
}

static struct stored load(struct store_txn *txn, const struct target *t)
{
	struct stored stored = {.text = no_text};
	if (txn->ret) {
		return stored;
	}
	MDB_val key = door_key(&t->key);
	MDB_val data;
	int rc = mdb_get(txn->lmdb, txn->store->dbi[t->db], &key, &data);
	if (rc) {
		note(txn, rc == MDB_NOTFOUND ? 0 : rc);
		return stored;
	}
	stored.is_there = true;
	stored.is_sound = record_decode(door_span(&key), door_span(&data), t->kind, &stored.record,
	                                &stored.text) == 0;
	if (!stored.is_sound) {
		door_bad_record(txn->store, door_db_name(t->db), door_span(&key));
	}
	return stored;
}

/* Writes the record; the expiry index follows. `old` is what load found: its text is dead after
 * this. */
static void save(struct store_txn *txn, const struct target *t, const struct stored *old,
                 const struct grey_record *record, const struct tuple_text *text)
{
	if (txn->store->is_tight && !old->is_there) {
		note(txn, MDB_MAP_FULL);
	}
	if (txn->ret) {
		return;
	}
	struct record_value value;
	record_encode(span_of(t->key.bytes, t->key.len), t->kind, record, text, &value);
	struct record_key row = record_expiry_key(record->expire, t->kind, &t->key);
	bool is_moved = true;
	if (old->is_sound) {
		struct record_key old_row = record_expiry_key(old->record.expire, t->kind, &t->key);
		is_moved = compare_keys(&old_row, &row) != 0;
		if (is_moved) {
			expiry_delete(txn, &old_row);
		}
	}
	if (is_moved) {
		expiry_put(txn, &row);
	}
	MDB_val key = door_key(&t->key);
	MDB_val data = door_val(value.bytes, value.len);
	note(txn, mdb_put(txn->lmdb, txn->store->dbi[t->db], &key, &data, 0));
}

static void journal_target(struct store_txn *txn, const struct target *t, bool is_deleted,
                           struct wall expire)
{
	struct journal_change change = {.kind = (uint8_t)t->kind,
	                                .is_deleted = is_deleted,
	                                .addr = t->addr,
	                                .expire = expire};
	memcpy(change.hash, t->hash, sizeof change.hash);
	journal_add(txn, &change);
}

static void delete_row(struct store_txn *txn, const struct target *t)
{
	if (txn->ret) {
		return;
	}
	MDB_val key = door_key(&t->key);
	int rc = mdb_del(txn->lmdb, txn->store->dbi[t->db], &key, NULL);
	note(txn, rc == MDB_NOTFOUND ? 0 : rc);
}

static void delete_target(struct store_txn *txn, const struct target *t)
{
	struct stored old = load(txn, t);
	if (!old.is_there) {
		return;
	}
	if (old.is_sound) {
		struct record_key row = record_expiry_key(old.record.expire, t->kind, &t->key);
		expiry_delete(txn, &row);
	}
	delete_row(txn, t);
	journal_target(txn, t, true, old.is_sound ? old.record.expire : txn->now);
}

bool store_get_tuple(struct store_txn *txn, const struct tuple_key *key, struct grey_record *out)
{
	struct target t = target_tuple(key);
	struct stored stored = load(txn, &t);
	if (stored.is_sound) {
		*out = stored.record;
	}
	return stored.is_sound;
}

bool store_get_host(struct store_txn *txn, const struct addr *addr, enum record_kind kind,
                    struct grey_record *out)
{
	struct target t = target_host(addr, kind);
	struct stored stored = load(txn, &t);
	if (stored.is_sound) {
		*out = stored.record;
	}
	return stored.is_sound;
}

void store_put_tuple(struct store_txn *txn, const struct tuple_key *key,
                     const struct grey_record *record, const struct tuple_text *text)
{
	struct target t = target_tuple(key);
	struct stored old = load(txn, &t);
	save(txn, &t, &old, record, text);
	journal_target(txn, &t, false, record->expire);
}

void store_update_tuple(struct store_txn *txn, const struct tuple_key *key,
                        const struct grey_record *record, bool is_journaled)
{
	struct target t = target_tuple(key);
	struct stored old = load(txn, &t);
	if (!old.is_sound) {
		return;
	}
	save(txn, &t, &old, record, &old.text);
	if (is_journaled) {
		journal_target(txn, &t, false, record->expire);
	}
}

void store_put_host(struct store_txn *txn, const struct addr *addr, enum record_kind kind,
                    const struct grey_record *record)
{
	struct target t = target_host(addr, kind);
	struct stored old = load(txn, &t);
	save(txn, &t, &old, record, NULL);
	journal_target(txn, &t, false, record->expire);
}

void store_delete_tuple(struct store_txn *txn, const struct tuple_key *key)
{
	struct target t = target_tuple(key);
	delete_target(txn, &t);
}

void store_delete_host(struct store_txn *txn, const struct addr *addr, enum record_kind kind)
{
	struct target t = target_host(addr, kind);
	delete_target(txn, &t);
}

/* --- sweep ------------------------------------------------------------------------------------ */

/* What one expiry row says. */
struct due {
	struct wall expire;
	struct target target;
};

static bool due_decode(struct span row, struct due *due)
{
	struct target *t = &due->target;
	struct tuple_key tuple;
	*due = (struct due){.target.db = DB_HOST};
	if (record_expiry_key_decode(row, &due->expire, &t->kind, &t->key)) {
		return false;
	}
	struct span key = span_of(t->key.bytes, t->key.len);
	if (t->kind != RECORD_GREY) {
		return record_host_key_decode(key, &t->addr, &t->kind) == 0;
	}
	if (record_grey_key_decode(key, &tuple)) {
		return false;
	}
	*t = target_tuple(&tuple);
	return true;
}

/* Deletes what a due row names, unless the record lives longer than the row says: such a row was
 * left behind when a damaged record was overwritten. */
static void sweep_record(struct store_txn *txn, const struct due *due, store_expired *expired,
                         void *ctx)
{
	const struct target *t = &due->target;
	struct stored old = load(txn, t);
	if (!old.is_there || (old.is_sound && old.record.expire.secs != due->expire.secs)) {
		return;
	}
	delete_row(txn, t);
	journal_target(txn, t, true, due->expire);
	struct tuple_key key = {.addr = t->addr};
	memcpy(key.hash, t->hash, sizeof key.hash);
	if (txn->ret == 0 && expired) {
		expired(ctx, t->kind, &key);
	}
}

/* Takes the oldest row if it is due. */
static bool sweep_take(struct store_txn *txn, MDB_cursor *cursor, struct wall expiry_now,
                       struct due *due, bool *is_sound)
{
	MDB_val key;
	MDB_val data;
	int rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST);
	if (rc) {
		note(txn, rc == MDB_NOTFOUND ? 0 : rc);
		return false;
	}
	*is_sound = due_decode(door_span(&key), due);
	if (*is_sound && due->expire.secs > expiry_now.secs) {
		return false;
	}
	if (!*is_sound) {
		door_bad_record(txn->store, door_db_name(DB_EXPIRY), door_span(&key));
	}
	note(txn, mdb_cursor_del(cursor, 0));
	return txn->ret == 0;
}

unsigned store_sweep(struct store_txn *txn, struct wall expiry_now, unsigned max,
                     store_expired *expired, void *ctx)
{
	MDB_cursor *cursor = NULL;
	unsigned n = 0;
	struct due due;
	bool is_sound = false;
	if (txn->ret) {
		return 0;
	}
	expiry_flush(txn);
	note(txn, mdb_cursor_open(txn->lmdb, txn->store->dbi[DB_EXPIRY], &cursor));
	while (n < max && txn->ret == 0 && sweep_take(txn, cursor, expiry_now, &due, &is_sound)) {
		if (is_sound) {
			sweep_record(txn, &due, expired, ctx);
		}
		n++;
	}
	if (cursor) {
		mdb_cursor_close(cursor);
	}
	return txn->ret ? 0 : n;
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
	if (store->read_only) {
		txn->ret = -EROFS;
		return;
	}
	check_readers(store);
	store->is_tight = is_map_tight(store);
	MDB_txn *lmdb = NULL;
	int rc = mdb_txn_begin(store->env, NULL, 0, &lmdb);
	if (rc) {
		note(txn, rc);
		store->is_panicked |= txn->ret == ERR_PANIC;
		return;
	}
	txn->lmdb = lmdb;
	note(txn, journal_last(store, lmdb, &txn->seq));
	if (!store->is_marked_open) {
		note(txn, door_mark(store, lmdb, false));
	}
}

void store_abort(struct store_txn *txn)
{
	if (txn->lmdb) {
		mdb_txn_abort(txn->lmdb);
		txn->lmdb = NULL;
	}
	txn->store->n_pending = 0;
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
		expiry_flush(txn);
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
		note(txn, rc);
		return commit_failed(txn);
	}
	store->is_marked_open = true;
	if (txn->n_changes > 0) {
		store->newest = txn->now;
	}
	door_keep_margin(store->env);
	return 0;
}
