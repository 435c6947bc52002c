/* Readers: short transactions, renewed for each call and reset before it returns. A transaction
 * that is held makes the file grow by everything committed meanwhile, and it never shrinks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "store/lmdb_door.h"

/* free-list rows read for the figures: one per transaction whose pages wait for reuse */
enum { FREE_ROWS_MAX = 100000 };

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

static int renew(struct store_reader *reader)
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

/* A tool that is stopped with an open transaction makes the file grow until it goes on: ^Z waits
 * for the end of the slice. */
static void hold_stops(struct store_reader *reader)
{
	sigset_t stops;
	if (!reader->store->read_only) {
		return;
	}
	(void)sigemptyset(&stops);
	(void)sigaddset(&stops, SIGTSTP);
	(void)sigaddset(&stops, SIGTTIN);
	(void)sigaddset(&stops, SIGTTOU);
	(void)pthread_sigmask(SIG_BLOCK, &stops, &reader->old_mask);
}

static void let_stops(struct store_reader *reader)
{
	if (reader->store->read_only) {
		(void)pthread_sigmask(SIG_SETMASK, &reader->old_mask, NULL);
	}
}

int door_reader_begin(struct store_reader *reader)
{
	hold_stops(reader);
	int ret = renew(reader);
	if (ret) {
		let_stops(reader);
	}
	return ret;
}

void door_reader_end(struct store_reader *reader)
{
	mdb_txn_reset(reader->txn);
	let_stops(reader);
}

/* What is looked for. */
struct look {
	enum store_db db;
	enum record_kind kind;
	struct record_key key;
	bool is_deleted; /* its tombstone, else the record */
};

/* 1, 0 or a negative code, as store_reader_host says. *text (may be NULL) points into the database.
 */
static int look_up(struct store_reader *reader, const struct look *look, struct grey_record *out,
                   struct tuple_text *text)
{
	struct store *store = reader->store;
	MDB_val key = door_key(&look->key);
	MDB_val data;
	int rc = mdb_get(reader->txn, store->dbi[look->db], &key, &data);
	if (rc) {
		return rc == MDB_NOTFOUND ? 0 : door_error(store, rc);
	}
	if (record_decode(door_span(&key), door_span(&data), look->kind, out, text)) {
		door_bad_record(store, door_db_name(look->db), door_span(&key));
		return 0;
	}
	return out->is_deleted == look->is_deleted;
}

static int look_up_once(struct store_reader *reader, const struct look *look,
                        struct grey_record *out)
{
	int ret = door_reader_begin(reader);
	if (ret == 0) {
		ret = look_up(reader, look, out, NULL);
		door_reader_end(reader);
	}
	return ret;
}

int store_reader_host(struct store_reader *reader, const struct addr *addr, enum record_kind kind,
                      struct grey_record *out)
{
	struct look look = {.db = DB_HOST, .kind = kind, .key = record_host_key(addr, kind)};
	return look_up_once(reader, &look, out);
}

int store_reader_trap_address(struct store_reader *reader, struct span address,
                              struct grey_record *out)
{
	uint8_t hash[RECORD_HASH_BYTES];
	record_trap_hash(reader->store->meta.hash_key, address, hash);
	struct look look = {
	        .db = DB_TRAP, .kind = RECORD_TRAP_ADDRESS, .key = record_trap_key(hash)};
	return look_up_once(reader, &look, out);
}

static struct look look_for(const struct journal_change *change)
{
	struct tuple_key tuple = {.addr = change->addr};
	struct look look = {.kind = (enum record_kind)change->kind,
	                    .is_deleted = change->is_deleted};
	switch (look.kind) {
	case RECORD_GREY:
		memcpy(tuple.hash, change->hash, sizeof tuple.hash);
		look.db = DB_TUPLE;
		look.key = record_grey_key(&tuple);
		break;
	case RECORD_TRAP_ADDRESS:
		look.db = DB_TRAP;
		look.key = record_trap_key(change->hash);
		break;
	case RECORD_WHITE:
	case RECORD_TRAPPED:
		look.db = DB_HOST;
		look.key = record_host_key(&change->addr, look.kind);
		break;
	}
	return look;
}

static struct span keep(uint8_t *buf, size_t *len, struct span text)
{
	uint8_t *copy = buf + *len;
	if (text.len > 0) {
		memcpy(copy, text.ptr, text.len);
	}
	*len += text.len;
	return span_of(copy, text.len);
}

int store_reader_changed(struct store_reader *reader, const struct journal_change *change,
                         uint8_t buf[static STORE_TEXT_BYTES], struct store_row *out)
{
	struct look look = look_for(change);
	struct tuple_text text = {SPAN(""), SPAN(""), SPAN("")};
	size_t len = 0;
	int ret = door_reader_begin(reader);
	if (ret) {
		return ret;
	}
	*out = (struct store_row){.kind = look.kind, .key.addr = change->addr};
	memcpy(out->key.hash, change->hash, sizeof out->key.hash);
	ret = look_up(reader, &look, &out->record, &text);
	if (ret > 0) {
		out->text.helo = keep(buf, &len, text.helo);
		out->text.sender = keep(buf, &len, text.sender);
		out->text.recipient = keep(buf, &len, text.recipient);
	}
	door_reader_end(reader);
	return ret;
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
	int ret = door_reader_begin(reader);
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
	door_reader_end(reader);
	return ret;
}

static int read_cursor(struct store_reader *reader, const char *name, uint64_t *seq)
{
	struct store *store = reader->store;
	struct record_key row = record_cursor_key(name);
	MDB_val key = door_key(&row);
	MDB_val data;
	int rc = mdb_get(reader->txn, store->dbi[DB_META], &key, &data);
	if (rc) {
		return rc == MDB_NOTFOUND ? 0 : door_error(store, rc);
	}
	if (record_cursor_decode(door_span(&key), door_span(&data), seq)) {
		door_bad_record(store, door_db_name(DB_META), door_span(&key));
		return 0;
	}
	return 1;
}

int store_reader_cursor(struct store_reader *reader, const char *name, uint64_t *seq)
{
	int ret = door_reader_begin(reader);
	if (ret == 0) {
		ret = read_cursor(reader, name, seq);
		door_reader_end(reader);
	}
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
	if (door_reader_begin(reader)) {
		return 0;
	}
	uint64_t seq = last_seq_of(reader);
	door_reader_end(reader);
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

struct record_counts door_tombstones(const struct store *store, MDB_txn *txn)
{
	struct record_counts counts = {0};
	MDB_val key = door_val(record_counts_key.ptr, record_counts_key.len);
	MDB_val data;
	if (mdb_get(txn, store->dbi[DB_META], &key, &data) ||
	    record_counts_decode(door_span(&data), &counts)) {
		return (struct record_counts){0};
	}
	return counts;
}

/* Tombstones are told apart from the records. */
static void take_tombstones(struct store_reader *reader, struct store_stats *out)
{
	struct record_counts n = door_tombstones(reader->store, reader->txn);
	out->n_hosts -= n.n_hosts < out->n_hosts ? n.n_hosts : out->n_hosts;
	out->n_tuples -= n.n_tuples < out->n_tuples ? n.n_tuples : out->n_tuples;
	out->n_trap_addresses -= n.n_trap_addresses < out->n_trap_addresses ? n.n_trap_addresses
	                                                                    : out->n_trap_addresses;
	out->n_tombstones = n.n_hosts + n.n_tuples + n.n_trap_addresses;
}

static int entries(struct store_reader *reader, enum store_db db, uint64_t *n)
{
	MDB_stat stats;
	*n = 0;
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
	    (rc = entries(reader, DB_INTAKE, &out->n_waiting)) ||
	    (rc = entries(reader, DB_TRAP, &out->n_trap_addresses)) ||
	    (rc = entries(reader, DB_EXPIRY, &out->n_expiry)) ||
	    (rc = entries(reader, DB_JOURNAL, &out->n_journal)) ||
	    (rc = mdb_env_info(store->env, &info)) || (rc = mdb_env_stat(store->env, &stats))) {
		return rc;
	}
	take_tombstones(reader, out);
	out->n_tuples += out->n_waiting;
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
	int ret = door_reader_begin(reader);
	if (ret) {
		return ret;
	}
	*out = (struct store_stats){0};
	ret = door_error(reader->store, read_stats(reader, out));
	door_reader_end(reader);
	return ret;
}
