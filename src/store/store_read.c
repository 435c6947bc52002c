/* Readers: short transactions, renewed for each call and reset before it returns. A transaction
 * that is held makes the file grow by everything committed meanwhile, and it never shrinks. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "store/lmdb_door.h"

enum {
	/* the clock is read once in so many rows */
	ROWS_PER_LOOK = 64,
	/* strings of one slice; a slice ends early when they might not fit */
	WALK_TEXT_BYTES = 256 * 1024,
	/* free-list rows read for the figures: one per transaction whose pages wait for reuse */
	FREE_ROWS_MAX = 100000,
};

static_assert(WALK_TEXT_BYTES > 3 * RECORD_STRING_MAX, "one row always fits");

struct store_reader {
	struct store *store;
	MDB_txn *txn; /* reset between calls */
};

int store_reader_open(struct store *store, struct store_reader **out)
{
	struct store_reader *reader = calloc(1, sizeof *reader);
	if (!reader) {
		return -ENOMEM;
	}
	reader->store = store;
	int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &reader->txn);
	if (rc == MDB_READERS_FULL) {
		int n_dead = 0;
		(void)mdb_reader_check(store->env, &n_dead);
		rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &reader->txn);
	}
	if (rc) {
		free(reader);
		return door_error(store, rc);
	}
	mdb_txn_reset(reader->txn);
	*out = reader;
	return 0;
}

void store_reader_close(struct store_reader *reader)
{
	if (reader) {
		mdb_txn_abort(reader->txn);
		free(reader);
	}
}

/* Every reader_begin that returned 0 has its reader_end. */
static int reader_begin(struct store_reader *reader)
{
	int rc = mdb_txn_renew(reader->txn);
	if (rc == MDB_MAP_RESIZED && reader->store->read_only) {
		/* The daemon has a larger map. A tool has one reader, and it is reset: nothing
		 * points into the old map. The daemon itself is the only writer and never gets
		 * here. */
		rc = mdb_env_set_mapsize(reader->store->env, 0);
		rc = rc ? rc : mdb_txn_renew(reader->txn);
	}
	return door_error(reader->store, rc);
}

static void reader_end(struct store_reader *reader)
{
	mdb_txn_reset(reader->txn);
}

static int decode_host(struct store *store, const MDB_val *key, const MDB_val *data,
                       enum record_kind kind, struct grey_record *out)
{
	if (record_decode(door_span(key), door_span(data), kind, out, NULL) == 0) {
		return 1;
	}
	door_bad_record(store, door_db_name(DB_HOST), door_span(key));
	return 0;
}

int store_reader_host(struct store_reader *reader, const struct addr *addr, enum record_kind kind,
                      struct grey_record *out)
{
	struct record_key row = record_host_key(addr, kind);
	MDB_val key = door_key(&row);
	MDB_val data;
	int ret = reader_begin(reader);
	if (ret) {
		return ret;
	}
	int rc = mdb_get(reader->txn, reader->store->dbi[DB_HOST], &key, &data);
	if (rc == 0) {
		ret = decode_host(reader->store, &key, &data, kind, out);
	} else if (rc != MDB_NOTFOUND) {
		ret = door_error(reader->store, rc);
	}
	reader_end(reader);
	return ret;
}

/* --- walk ------------------------------------------------------------------------------------- */

struct store_walk {
	struct store_reader *reader;
	enum store_db db; /* DB_COUNT: at the end */
	bool has_tuples;
	struct record_key last; /* of db; len 0 = none yet */
	int n_rows;
	size_t n_text;
	uint64_t n_bad;
	struct store_row rows[STORE_SLICE_ROWS];
	uint8_t text[WALK_TEXT_BYTES];
};

struct store_walk *store_walk_new(struct store_reader *reader, bool hosts, bool tuples)
{
	struct store_walk *walk = malloc(sizeof *walk);
	if (walk) {
		walk->reader = reader;
		walk->db = hosts ? DB_HOST : tuples ? DB_TUPLE : DB_COUNT;
		walk->has_tuples = tuples;
		walk->last.len = 0;
	}
	return walk;
}

void store_walk_free(struct store_walk *walk)
{
	free(walk);
}

static struct span keep_text(struct store_walk *walk, struct span text)
{
	uint8_t *copy = walk->text + walk->n_text;
	if (text.len > 0) {
		memcpy(copy, text.ptr, text.len);
	}
	walk->n_text += text.len;
	return span_of(copy, text.len);
}

static bool decode_row(struct store_walk *walk, const MDB_val *key, const MDB_val *data,
                       struct store_row *row)
{
	*row = (struct store_row){.kind = RECORD_GREY};
	int ret = walk->db == DB_HOST
	                  ? record_host_key_decode(door_span(key), &row->key.addr, &row->kind)
	                  : record_grey_key_decode(door_span(key), &row->key);
	if (ret ||
	    record_decode(door_span(key), door_span(data), row->kind, &row->record, &row->text)) {
		return false;
	}
	row->text.helo = keep_text(walk, row->text.helo);
	row->text.sender = keep_text(walk, row->text.sender);
	row->text.recipient = keep_text(walk, row->text.recipient);
	return true;
}

static void take_row(struct store_walk *walk, const MDB_val *key, const MDB_val *data)
{
	if (decode_row(walk, key, data, &walk->rows[walk->n_rows])) {
		walk->n_rows++;
	} else {
		walk->n_bad++;
		door_bad_record(walk->reader->store, door_db_name(walk->db), door_span(key));
	}
	walk->last.len =
	        key->mv_size < sizeof walk->last.bytes ? key->mv_size : sizeof walk->last.bytes;
	memcpy(walk->last.bytes, key->mv_data, walk->last.len);
}

/* To the first row behind the last one seen. */
static int walk_seek(struct store_walk *walk, MDB_cursor *cursor, MDB_val *key, MDB_val *data)
{
	if (walk->last.len == 0) {
		return mdb_cursor_get(cursor, key, data, MDB_FIRST);
	}
	*key = door_key(&walk->last);
	int rc = mdb_cursor_get(cursor, key, data, MDB_SET_RANGE);
	if (rc == 0 && key->mv_size == walk->last.len &&
	    memcmp(key->mv_data, walk->last.bytes, walk->last.len) == 0) {
		rc = mdb_cursor_get(cursor, key, data, MDB_NEXT);
	}
	return rc;
}

static bool is_slice_full(const struct store_walk *walk, unsigned n_seen, struct mono since)
{
	return n_seen >= STORE_SLICE_ROWS ||
	       walk->n_text > WALK_TEXT_BYTES - 3 * RECORD_STRING_MAX ||
	       (n_seen % ROWS_PER_LOOK == 0 && mono_diff_ms(clock_mono(), since) >= STORE_SLICE_MS);
}

/* One transaction: rows of one database until the slice is full. MDB_NOTFOUND: no more of them. */
static int walk_slice(struct store_walk *walk)
{
	MDB_cursor *cursor = NULL;
	MDB_val key;
	MDB_val data;
	struct mono since = clock_mono();
	int rc = mdb_cursor_open(walk->reader->txn, walk->reader->store->dbi[walk->db], &cursor);
	if (rc) {
		return rc;
	}
	rc = walk_seek(walk, cursor, &key, &data);
	for (unsigned n = 1; rc == 0; n++) {
		take_row(walk, &key, &data);
		if (is_slice_full(walk, n, since)) {
			break;
		}
		rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	return rc;
}

static enum store_db next_db(const struct store_walk *walk)
{
	return walk->db == DB_HOST && walk->has_tuples ? DB_TUPLE : DB_COUNT;
}

int store_walk_next(struct store_walk *walk, const struct store_row **rows, uint64_t *n_bad)
{
	walk->n_rows = 0;
	walk->n_text = 0;
	walk->n_bad = 0;
	/* a slice of nothing but bad records is no end */
	while (walk->n_rows == 0 && walk->db != DB_COUNT) {
		int ret = reader_begin(walk->reader);
		if (ret) {
			return ret;
		}
		int rc = walk_slice(walk);
		reader_end(walk->reader);
		if (rc == MDB_NOTFOUND) {
			walk->db = next_db(walk);
			walk->last.len = 0;
		} else if (rc) {
			return door_error(walk->reader->store, rc);
		}
	}
	*rows = walk->rows;
	if (n_bad) {
		*n_bad += walk->n_bad;
	}
	return walk->n_rows;
}

/* --- journal ---------------------------------------------------------------------------------- */

/* Number of the last row, 0 for an empty journal. LMDB's code. */
static int last_seq(MDB_cursor *cursor, uint64_t *seq)
{
	MDB_val key;
	MDB_val data;
	*seq = 0;
	int rc = mdb_cursor_get(cursor, &key, &data, MDB_LAST);
	if (rc == MDB_NOTFOUND) {
		return 0;
	}
	return rc == 0 && record_seq_key_decode(door_span(&key), seq) ? MDB_CORRUPTED : rc;
}

/* The row of exactly that number, or false: trimmed, damaged, or not there yet. */
static bool change_at(struct store *store, MDB_cursor *cursor, uint64_t seq,
                      struct journal_change *out)
{
	struct record_key row = record_seq_key(seq);
	MDB_val key = door_key(&row);
	MDB_val data;
	if (mdb_cursor_get(cursor, &key, &data, MDB_SET_KEY)) {
		return false;
	}
	if (record_change_decode(door_span(&key), door_span(&data), out)) {
		door_bad_record(store, door_db_name(DB_JOURNAL), door_span(&key));
		return false;
	}
	return true;
}

/* A gap is either before the first row wanted, and then the reader is behind, or it ends this
 * portion and is met first by the next call. A reader ahead of the journal belongs to another
 * life of the store and is behind as well. */
static int read_changes(struct store_reader *reader, MDB_cursor *cursor, uint64_t after,
                        struct journal_change *out, int max)
{
	uint64_t last = 0;
	int rc = last_seq(cursor, &last);
	if (rc) {
		return door_error(reader->store, rc);
	}
	if (after > last) {
		return ERR_NOT_FOUND;
	}
	int n = 0;
	while (n < max && after + (uint64_t)n < last &&
	       change_at(reader->store, cursor, after + (uint64_t)n + 1, &out[n])) {
		n++;
	}
	return n == 0 && max > 0 && after < last ? ERR_NOT_FOUND : n;
}

int store_journal_read(struct store_reader *reader, uint64_t after, struct journal_change *out,
                       int max)
{
	MDB_cursor *cursor = NULL;
	int ret = reader_begin(reader);
	if (ret) {
		return ret;
	}
	int rc = mdb_cursor_open(reader->txn, reader->store->dbi[DB_JOURNAL], &cursor);
	if (rc) {
		ret = door_error(reader->store, rc);
	} else {
		ret = read_changes(reader, cursor, after, out,
		                   max < STORE_SLICE_ROWS ? max : STORE_SLICE_ROWS);
		mdb_cursor_close(cursor);
	}
	reader_end(reader);
	return ret;
}

static uint64_t last_seq_of(struct store_reader *reader)
{
	MDB_cursor *cursor = NULL;
	uint64_t seq = 0;
	if (mdb_cursor_open(reader->txn, reader->store->dbi[DB_JOURNAL], &cursor)) {
		return 0;
	}
	if (last_seq(cursor, &seq)) {
		seq = 0;
	}
	mdb_cursor_close(cursor);
	return seq;
}

uint64_t store_journal_last(struct store_reader *reader)
{
	if (reader_begin(reader)) {
		return 0;
	}
	uint64_t seq = last_seq_of(reader);
	reader_end(reader);
	return seq;
}

/* --- figures ---------------------------------------------------------------------------------- */

uint64_t door_free_pages(MDB_txn *txn)
{
	MDB_cursor *cursor = NULL;
	MDB_val key;
	MDB_val data;
	uint64_t n = 0;
	if (mdb_cursor_open(txn, 0, &cursor)) {
		return 0;
	}
	for (int i = 0; i < FREE_ROWS_MAX && mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0;
	     i++) {
		size_t count = 0;
		memcpy(&count, data.mv_data, data.mv_size < sizeof count ? 0 : sizeof count);
		n += count;
	}
	mdb_cursor_close(cursor);
	return n;
}

static int entries(struct store_reader *reader, enum store_db db, uint64_t *n)
{
	MDB_stat stats;
	int rc = mdb_stat(reader->txn, reader->store->dbi[db], &stats);
	*n = rc ? 0 : stats.ms_entries;
	return rc;
}

static int read_stats(struct store_reader *reader, struct store_stats *out)
{
	struct store *store = reader->store;
	MDB_envinfo info;
	MDB_stat stats;
	int rc = 0;
	if ((rc = entries(reader, DB_HOST, &out->n_hosts)) ||
	    (rc = entries(reader, DB_TUPLE, &out->n_tuples)) ||
	    (rc = entries(reader, DB_EXPIRY, &out->n_expiry)) ||
	    (rc = entries(reader, DB_JOURNAL, &out->n_journal)) ||
	    (rc = mdb_env_info(store->env, &info)) || (rc = mdb_env_stat(store->env, &stats))) {
		return rc;
	}
	uint64_t n_pages = (uint64_t)info.me_last_pgno + 1;
	uint64_t n_free = door_free_pages(reader->txn);
	n_free = n_free < n_pages ? n_free : n_pages;
	out->free_bytes = n_free * stats.ms_psize;
	out->used_bytes = (n_pages - n_free) * stats.ms_psize;
	out->map_bytes = info.me_mapsize;
	out->last_seq = last_seq_of(reader);
	out->n_bad_records = atomic_load_explicit(&store->n_bad, memory_order_relaxed);
	return 0;
}

int store_stats_get(struct store_reader *reader, struct store_stats *out)
{
	int ret = reader_begin(reader);
	if (ret) {
		return ret;
	}
	*out = (struct store_stats){0};
	ret = door_error(reader->store, read_stats(reader, out));
	reader_end(reader);
	return ret;
}
