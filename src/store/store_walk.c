/* Walks in slices: one short transaction a call, resumed behind the last key seen. With bounds the
 * databases that are ordered by address are entered at the first address and left behind the last,
 * so a walk costs what it finds. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "store/lmdb_door.h"

enum {
	/* the clock is read once in so many rows */
	ROWS_PER_LOOK = 64,
	/* strings of one slice; a slice ends early when they might not fit */
	WALK_TEXT_BYTES = 256 * 1024,
};

static_assert(WALK_TEXT_BYTES > 3 * RECORD_STRING_MAX, "one row always fits");

struct store_walk {
	struct store_reader *reader;
	size_t part; /* index of parts_in_order; ARRAY_LEN of it: at the end */
	unsigned parts;
	bool has_first;
	bool has_last;
	struct addr first_addr;
	struct addr last_addr;
	struct record_key last; /* of the part; len 0 = none yet */
	int n_rows;
	size_t n_text;
	uint64_t n_bad;
	struct store_row rows[STORE_SLICE_ROWS];
	uint8_t text[WALK_TEXT_BYTES];
};

/* A row as its record is stored: the key that its checksum covers, and the value. */
struct walk_pair {
	struct span key;
	struct span value;
};

static int decode_host(struct walk_pair *pair, struct store_row *row)
{
	return record_host_key_decode(pair->key, &row->key.addr, &row->kind);
}

static int decode_tuple(struct walk_pair *pair, struct store_row *row)
{
	row->kind = RECORD_GREY;
	return record_grey_key_decode(pair->key, &row->key);
}

static int decode_trap(struct walk_pair *pair, struct store_row *row)
{
	row->kind = RECORD_TRAP_ADDRESS;
	return record_trap_key_decode(pair->key, row->key.hash);
}

static int decode_waiting(struct walk_pair *pair, struct store_row *row)
{
	MDB_val data = door_val(pair->value.ptr, pair->value.len);
	row->kind = RECORD_GREY;
	return door_intake_split(&data, &row->key, &pair->key, &pair->value);
}

static const struct {
	unsigned part;
	enum store_db db;
	bool is_by_address; /* keys begin with one */
	int (*decode)(struct walk_pair *pair, struct store_row *row);
} parts_in_order[] = {
        {STORE_WALK_HOSTS, DB_HOST, true, decode_host},
        /* before the others: one that gets its place meanwhile comes twice, not never */
        {STORE_WALK_TUPLES, DB_INTAKE, false, decode_waiting},
        {STORE_WALK_TUPLES, DB_TUPLE, true, decode_tuple},
        {STORE_WALK_TRAP_ADDRESSES, DB_TRAP, false, decode_trap},
};

/* To the next part that is wanted, from `part` on. */
static void enter_part(struct store_walk *walk, size_t part)
{
	while (part < ARRAY_LEN(parts_in_order) && !(walk->parts & parts_in_order[part].part)) {
		part++;
	}
	walk->part = part;
	walk->last.len = 0;
}

struct store_walk *store_walk_new(struct store_reader *reader, unsigned parts,
                                  const struct addr *first, const struct addr *last)
{
	struct store_walk *walk = malloc(sizeof *walk);
	if (!walk) {
		return NULL;
	}
	walk->reader = reader;
	walk->parts = parts;
	walk->has_first = first != NULL;
	walk->has_last = last != NULL;
	if (first) {
		walk->first_addr = *first;
	}
	if (last) {
		walk->last_addr = *last;
	}
	enter_part(walk, 0);
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

static bool decode_row(const struct store_walk *walk, const MDB_val *key, const MDB_val *data,
                       struct store_row *row)
{
	struct walk_pair pair = {door_span(key), door_span(data)};
	*row = (struct store_row){.kind = RECORD_GREY};
	return parts_in_order[walk->part].decode(&pair, row) == 0 &&
	       record_decode(pair.key, pair.value, row->kind, &row->record, &row->text) == 0;
}

/* Only rows that lie in another order get so far. */
static bool is_outside(const struct store_walk *walk, const struct addr *addr)
{
	return parts_in_order[walk->part].db == DB_INTAKE &&
	       ((walk->has_first &&
	         memcmp(addr->bytes, walk->first_addr.bytes, sizeof addr->bytes) < 0) ||
	        (walk->has_last &&
	         memcmp(addr->bytes, walk->last_addr.bytes, sizeof addr->bytes) > 0));
}

/* Its texts may go when the slice ends. */
static void keep_row(struct store_walk *walk, struct store_row *row)
{
	if ((row->record.is_deleted && !(walk->parts & STORE_WALK_DELETED)) ||
	    is_outside(walk, &row->key.addr)) {
		return;
	}
	row->text.helo = keep_text(walk, row->text.helo);
	row->text.sender = keep_text(walk, row->text.sender);
	row->text.recipient = keep_text(walk, row->text.recipient);
	walk->n_rows++;
}

static void take_row(struct store_walk *walk, const MDB_val *key, const MDB_val *data)
{
	struct store_row *row = &walk->rows[walk->n_rows];
	if (decode_row(walk, key, data, row)) {
		keep_row(walk, row);
	} else {
		walk->n_bad++;
		door_bad_record(walk->reader->store, door_db_name(parts_in_order[walk->part].db),
		                door_span(key));
	}
	walk->last.len =
	        key->mv_size < sizeof walk->last.bytes ? key->mv_size : sizeof walk->last.bytes;
	memcpy(walk->last.bytes, key->mv_data, walk->last.len);
}

/* To the first row behind the last one seen. */
static int walk_seek(const struct store_walk *walk, MDB_cursor *cursor, MDB_val *key, MDB_val *data)
{
	if (walk->last.len == 0) {
		bool is_bounded = walk->has_first && parts_in_order[walk->part].is_by_address;
		*key = door_val(walk->first_addr.bytes, sizeof walk->first_addr.bytes);
		return mdb_cursor_get(cursor, key, data, is_bounded ? MDB_SET_RANGE : MDB_FIRST);
	}
	*key = door_key(&walk->last);
	int rc = mdb_cursor_get(cursor, key, data, MDB_SET_RANGE);
	if (rc == 0 && key->mv_size == walk->last.len &&
	    memcmp(key->mv_data, walk->last.bytes, walk->last.len) == 0) {
		rc = mdb_cursor_get(cursor, key, data, MDB_NEXT);
	}
	return rc;
}

static bool is_beyond(const struct store_walk *walk, const MDB_val *key)
{
	size_t n = sizeof walk->last_addr.bytes;
	return walk->has_last && parts_in_order[walk->part].is_by_address && key->mv_size >= n &&
	       memcmp(key->mv_data, walk->last_addr.bytes, n) > 0;
}

static bool is_slice_full(const struct store_walk *walk, unsigned n_seen, struct mono since)
{
	return n_seen >= STORE_SLICE_ROWS ||
	       walk->n_text > WALK_TEXT_BYTES - 3 * RECORD_STRING_MAX ||
	       (n_seen % ROWS_PER_LOOK == 0 && mono_diff_ms(clock_mono(), since) >= STORE_SLICE_MS);
}

/* One transaction: rows of one part until the slice is full. MDB_NOTFOUND: no more of them. */
static int walk_slice(struct store_walk *walk)
{
	MDB_cursor *cursor = NULL;
	MDB_val key;
	MDB_val data;
	struct mono since = clock_mono();
	const struct store *store = walk->reader->store;
	int rc = mdb_cursor_open(walk->reader->txn, store->dbi[parts_in_order[walk->part].db],
	                         &cursor);
	if (rc) {
		return rc;
	}
	rc = walk_seek(walk, cursor, &key, &data);
	for (unsigned n = 1; rc == 0; n++) {
		if (is_beyond(walk, &key)) {
			rc = MDB_NOTFOUND;
			break;
		}
		take_row(walk, &key, &data);
		if (is_slice_full(walk, n, since)) {
			break;
		}
		rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	return rc;
}

int store_walk_next(struct store_walk *walk, const struct store_row **rows, uint64_t *n_bad)
{
	walk->n_rows = 0;
	walk->n_text = 0;
	walk->n_bad = 0;
	/* a slice of nothing but bad records or tombstones is no end */
	while (walk->n_rows == 0 && walk->part < ARRAY_LEN(parts_in_order)) {
		int ret = door_reader_begin(walk->reader);
		if (ret) {
			return ret;
		}
		int rc = walk_slice(walk);
		door_reader_end(walk->reader);
		if (rc == MDB_NOTFOUND) {
			enter_part(walk, walk->part + 1);
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
