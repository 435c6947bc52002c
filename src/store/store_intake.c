/* The intake: new tuples that are durable but have not got their places in the store yet. A row is
 * appended (measured: 1 us each in commits of 1,000; a place in a large store costs 15 to 50),
 * which carries a flood; later, when there is time, it gets what any tuple has: its record, its
 * expiry row and its row of the journal, in the transaction that takes it out of the intake. So a
 * tuple is in one of the two, never in both or in none, whenever the process dies.
 *
 *   intake   number BE64 -> tuple's key(32), record as under that key (its checksum, too)
 *
 * Whoever looks for a tuple finds it in either (load() in store_write.c); whoever changes one that
 * waits gives it its place first (txn_settle), but for mere counts (txn_intake_rewrite). What
 * expires meanwhile is swept like any record: a store that fills up while tuples wait has no room
 * to give them places, and would never be rid of them.
 *
 * To find them, two tables in memory: by the tag of the key, the number of the row; by the tag of
 * the address, how many rows it has. They follow the open transaction; an abort takes back what it
 * did. Owner: the writer. */
#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/err.h"
#include "store/lmdb_door.h"

enum { UNDO_FIRST = 256 };

static_assert(RECORD_HASH_KEY_BYTES == crypto_shorthash_KEYBYTES, "one key serves both hashes");

/* What the transaction did to the tables, to be taken back. */
struct intake_step {
	uint64_t tag;
	uint64_t host_tag;
	uint64_t seq;
	bool was_added;
};

/* A row on its way to its place. */
struct intake_item {
	struct tuple_key key;
	uint64_t seq;
};

/* --- tables in memory ------------------------------------------------------------------------- */

static uint64_t tag_of(const struct store *store, const void *bytes, size_t n)
{
	uint64_t tag;
	uint8_t hash[crypto_shorthash_BYTES];
	static_assert(sizeof tag == sizeof hash, "a tag is a whole hash");
	(void)crypto_shorthash(hash, bytes, n, store->meta.hash_key);
	memcpy(&tag, hash, sizeof tag);
	return tag;
}

static struct intake_step step_of(const struct store *store, const struct tuple_key *key,
                                  uint64_t seq, bool is_added)
{
	struct record_key row = record_grey_key(key);
	return (struct intake_step){
	        .tag = tag_of(store, row.bytes, row.len),
	        .host_tag = tag_of(store, key->addr.bytes, sizeof key->addr.bytes),
	        .seq = seq,
	        .was_added = is_added,
	};
}

static int index_add(struct intake *intake, const struct intake_step *step)
{
	uint64_t n = tagmap_get(&intake->hosts, step->host_tag);
	int ret = tagmap_put(&intake->tuples, step->tag, step->seq);
	if (ret == 0 && (ret = tagmap_put(&intake->hosts, step->host_tag, n + 1)) != 0) {
		tagmap_remove(&intake->tuples, step->tag);
	}
	return ret;
}

static void index_remove(struct intake *intake, const struct intake_step *step)
{
	uint64_t n = tagmap_get(&intake->hosts, step->host_tag);
	tagmap_remove(&intake->tuples, step->tag);
	if (n > 1) {
		(void)!tagmap_put(&intake->hosts, step->host_tag, n - 1); /* in its own slot */
	} else {
		tagmap_remove(&intake->hosts, step->host_tag);
	}
}

/* Carries a step out in the tables so that it can be taken back. */
static int take_step(struct intake *intake, const struct intake_step *step)
{
	if (intake->n_steps == intake->n_steps_max) {
		struct intake_step *steps =
		        array_grow(intake->steps, &intake->n_steps_max, sizeof *steps, UNDO_FIRST);
		if (!steps) {
			return -ENOMEM;
		}
		intake->steps = steps;
	}
	int ret = 0;
	if (step->was_added) {
		ret = index_add(intake, step);
	} else {
		index_remove(intake, step);
	}
	if (ret == 0) {
		intake->steps[intake->n_steps++] = *step;
	}
	return ret;
}

void intake_abort(struct intake *intake)
{
	intake->has_looked = false; /* what was taken out is back */
	while (intake->n_steps > 0) {
		const struct intake_step *step = &intake->steps[--intake->n_steps];
		if (step->was_added) {
			index_remove(intake, step);
		} else {
			(void)index_add(intake, step); /* its slots were taken before */
		}
	}
}

void intake_committed(struct intake *intake)
{
	intake->n_steps = 0;
	if (intake->tuples.n == 0) {
		tagmap_clear(&intake->tuples);
		tagmap_clear(&intake->hosts);
	}
}

void intake_fini(struct intake *intake)
{
	tagmap_clear(&intake->tuples);
	tagmap_clear(&intake->hosts);
	free(intake->steps);
	free(intake->items);
}

/* --- rows ------------------------------------------------------------------------------------- */

int door_intake_split(const MDB_val *data, struct tuple_key *key, struct span *row,
                      struct span *value)
{
	struct span whole = door_span(data);
	*row = span_of(whole.ptr, whole.len < RECORD_TUPLE_KEY_BYTES ? 0 : RECORD_TUPLE_KEY_BYTES);
	*value = span_skip(whole, row->len);
	return record_grey_key_decode(*row, key);
}

/* The row of that number; LMDB's code. */
static int read_row(struct store_txn *txn, uint64_t seq, MDB_val *data)
{
	struct record_key number = record_seq_key(seq);
	MDB_val at = door_key(&number);
	return mdb_get(txn->lmdb, txn->store->dbi[DB_INTAKE], &at, data);
}

/* The number of the tuple's row and the row, 0 if it does not wait. */
static uint64_t find(struct store_txn *txn, const struct tuple_key *key, struct span *value)
{
	struct store *store = txn->store;
	struct tuple_key found;
	struct span row;
	MDB_val data;
	if (store->intake.tuples.n == 0 || txn->ret) {
		return 0;
	}
	uint64_t seq = tagmap_get(&store->intake.tuples, step_of(store, key, 0, false).tag);
	int rc = seq == 0 ? MDB_NOTFOUND : read_row(txn, seq, &data);
	if (rc != 0) {
		txn_note(txn, rc == MDB_NOTFOUND ? 0 : rc);
		return 0;
	}
	bool is_it = door_intake_split(&data, &found, &row, value) == 0 &&
	             addr_equal(&found.addr, &key->addr) &&
	             memcmp(found.hash, key->hash, sizeof key->hash) == 0;
	return is_it ? seq : 0;
}

bool txn_intake_get(struct store_txn *txn, const struct tuple_key *key, struct span *value)
{
	return find(txn, key, value) != 0;
}

/* --- in --------------------------------------------------------------------------------------- */

uint64_t store_n_waiting(const struct store *store)
{
	return store->intake.tuples.n;
}

bool store_take_in(struct store_txn *txn, const struct tuple_key *key,
                   const struct grey_record *record, const struct tuple_text *text)
{
	struct store *store = txn->store;
	struct intake *intake = &store->intake;
	struct record_key row = record_grey_key(key);
	struct record_value value;
	uint8_t bytes[RECORD_TUPLE_KEY_BYTES + RECORD_VALUE_MAX];
	struct intake_step step = step_of(store, key, intake->last_seq + 1, true);
	/* of two tuples with one tag the tables could show only one */
	if (txn->ret || store->is_tight || tagmap_get(&intake->tuples, step.tag) != 0 ||
	    take_step(intake, &step) != 0) {
		return false;
	}
	intake->last_seq++;
	record_encode(span_of(row.bytes, row.len), RECORD_GREY, record, text, &value);
	memcpy(bytes, row.bytes, row.len);
	memcpy(bytes + row.len, value.bytes, value.len);
	struct record_key number = record_seq_key(step.seq);
	MDB_val at = door_key(&number);
	MDB_val data = door_val(bytes, row.len + value.len);
	txn_note(txn, mdb_put(txn->lmdb, store->dbi[DB_INTAKE], &at, &data, MDB_APPEND));
	return true;
}

void txn_intake_rewrite(struct store_txn *txn, const struct tuple_key *key, struct span value)
{
	struct span old;
	uint8_t bytes[RECORD_TUPLE_KEY_BYTES + RECORD_VALUE_MAX];
	struct record_key row = record_grey_key(key);
	struct record_key number = record_seq_key(find(txn, key, &old));
	memcpy(bytes, row.bytes, row.len);
	memcpy(bytes + row.len, value.ptr, value.len);
	MDB_val at = door_key(&number);
	MDB_val data = door_val(bytes, row.len + value.len);
	if (txn->ret == 0) {
		txn_note(txn, mdb_put(txn->lmdb, txn->store->dbi[DB_INTAKE], &at, &data, 0));
	}
}

/* --- out -------------------------------------------------------------------------------------- */

/* The place in the store for what waited: the bytes stay as they are. */
static void place(struct store_txn *txn, const struct tuple_key *key, struct span value,
                  const struct grey_record *record)
{
	struct record_key row = record_grey_key(key);
	struct record_key expiry = record_expiry_key(record->expire, RECORD_GREY, &row);
	struct journal_change change = {.kind = RECORD_GREY, .addr = key->addr};
	enum change_origin origin = txn->origin;
	memcpy(change.hash, key->hash, sizeof change.hash);
	change.expire = record->expire;
	MDB_val at = door_key(&row);
	MDB_val data = door_val(value.ptr, value.len);
	txn_look_from(txn->store, key);
	txn_note(txn, mdb_put(txn->lmdb, txn->store->dbi[DB_TUPLE], &at, &data, 0));
	txn_expiry_put(txn, &expiry);
	txn->origin = ORIGIN_ATTEMPT;
	txn_journal_add(txn, &change);
	txn->origin = origin;
}

/* Out of the intake: the row and what the tables know of it. */
static void take_out(struct store_txn *txn, const struct tuple_key *key, uint64_t seq)
{
	struct store *store = txn->store;
	struct record_key number = record_seq_key(seq);
	struct intake_step step = step_of(store, key, seq, false);
	MDB_val at = door_key(&number);
	if (tagmap_get(&store->intake.tuples, step.tag) == seq &&
	    take_step(&store->intake, &step)) {
		txn_note(txn, ENOMEM);
		return;
	}
	txn_note(txn, mdb_del(txn->lmdb, store->dbi[DB_INTAKE], &at, NULL));
}

/* Gives the row its place, unless its life has ended by then or it is damaged. False: ended. */
static bool settle(struct store_txn *txn, const struct intake_item *item, struct wall expiry_now)
{
	uint8_t bytes[RECORD_TUPLE_KEY_BYTES + RECORD_VALUE_MAX];
	struct tuple_key key;
	struct grey_record record;
	struct span row;
	struct span value;
	MDB_val data;
	int rc = read_row(txn, item->seq, &data);
	if (rc != 0 || data.mv_size > sizeof bytes) {
		txn_note(txn, rc == 0 ? MDB_CORRUPTED : rc);
		return true;
	}
	memcpy(bytes, data.mv_data, data.mv_size); /* the next write may move it */
	data.mv_data = bytes;
	bool is_sound = door_intake_split(&data, &key, &row, &value) == 0 &&
	                record_decode(row, value, RECORD_GREY, &record, NULL) == 0;
	take_out(txn, &item->key, item->seq);
	if (!is_sound) {
		struct record_key number = record_seq_key(item->seq);
		door_bad_record(txn->store, door_db_name(DB_INTAKE),
		                span_of(number.bytes, number.len));
		return true;
	}
	if (record.expire.secs <= expiry_now.secs) {
		return false;
	}
	if (txn->ret == 0) {
		place(txn, &key, value, &record);
	}
	return true;
}

void txn_settle(struct store_txn *txn, const struct tuple_key *key)
{
	static const struct wall any_life = {INT64_MIN};
	struct span value;
	struct intake_item item = {.key = *key, .seq = find(txn, key, &value)};
	if (item.seq != 0 && txn->store->is_tight) {
		txn_note(txn, MDB_MAP_FULL);
	} else if (item.seq != 0) {
		(void)settle(txn, &item, any_life);
	}
}

bool txn_intake_drop(struct store_txn *txn, const struct tuple_key *key)
{
	struct span value;
	uint64_t seq = find(txn, key, &value);
	if (seq != 0) {
		take_out(txn, key, seq);
	}
	return seq != 0;
}

/* The oldest rows, at most max. */
static unsigned gather(struct store_txn *txn, unsigned max)
{
	struct store *store = txn->store;
	MDB_cursor *cursor = NULL;
	MDB_val at;
	MDB_val data;
	unsigned n = 0;
	int rc = mdb_cursor_open(txn->lmdb, store->dbi[DB_INTAKE], &cursor);
	rc = rc ? rc : mdb_cursor_get(cursor, &at, &data, MDB_FIRST);
	while (rc == 0 && n < max) {
		struct intake_item *item = &store->intake.items[n++];
		struct span row;
		struct span value;
		*item = (struct intake_item){.seq = 0};
		(void)!door_intake_split(&data, &item->key, &row, &value);
		rc = record_seq_key_decode(door_span(&at), &item->seq)
		             ? MDB_CORRUPTED
		             : mdb_cursor_get(cursor, &at, &data, MDB_NEXT);
	}
	if (cursor) {
		mdb_cursor_close(cursor);
	}
	txn_note(txn, rc == MDB_NOTFOUND ? 0 : rc);
	return n;
}

/* In the order of their places: neighbours share pages. */
static int compare_items(const void *a, const void *b)
{
	const struct intake_item *x = a;
	const struct intake_item *y = b;
	int order = memcmp(x->key.addr.bytes, y->key.addr.bytes, sizeof x->key.addr.bytes);
	return order ? order : memcmp(x->key.hash, y->key.hash, sizeof x->key.hash);
}

struct store_settled store_settle(struct store_txn *txn, struct wall expiry_now, unsigned max)
{
	struct store_settled settled = {.n_placed = 0};
	struct intake *intake = &txn->store->intake;
	if (txn->ret || txn->store->is_tight || intake->tuples.n == 0) {
		return settled;
	}
	if (!intake->items) {
		intake->items = calloc(STORE_SETTLE_MAX, sizeof *intake->items);
	}
	if (!intake->items) {
		return settled;
	}
	unsigned n = gather(txn, max < STORE_SETTLE_MAX ? max : STORE_SETTLE_MAX);
	qsort(intake->items, n, sizeof *intake->items, compare_items);
	for (unsigned i = 0; i < n && txn->ret == 0; i++) {
		bool is_placed = settle(txn, &intake->items[i], expiry_now);
		settled.n_placed += is_placed;
		settled.n_expired += !is_placed;
	}
	return settled;
}

/* The oldest row, if there is any; *is_over: its life has ended, or it is damaged. */
static bool look_at_oldest(struct store_txn *txn, struct wall expiry_now, struct intake_item *item,
                           bool *is_over)
{
	MDB_cursor *cursor = NULL;
	MDB_val at;
	MDB_val data;
	struct grey_record record;
	struct span row;
	struct span value;
	int rc = mdb_cursor_open(txn->lmdb, txn->store->dbi[DB_INTAKE], &cursor);
	rc = rc ? rc : mdb_cursor_get(cursor, &at, &data, MDB_FIRST);
	rc = rc == 0 && record_seq_key_decode(door_span(&at), &item->seq) ? MDB_CORRUPTED : rc;
	if (rc == 0) {
		bool is_sound = door_intake_split(&data, &item->key, &row, &value) == 0 &&
		                record_decode(row, value, RECORD_GREY, &record, NULL) == 0;
		*is_over = !is_sound || record.expire.secs <= expiry_now.secs;
	}
	if (cursor) {
		mdb_cursor_close(cursor);
	}
	txn_note(txn, rc == MDB_NOTFOUND ? 0 : rc);
	return rc == 0;
}

unsigned txn_intake_sweep(struct store_txn *txn, struct wall expiry_now, unsigned max,
                          store_expired *expired, void *ctx)
{
	unsigned n = 0;
	struct intake_item item = {.seq = 0};
	bool is_over = false;
	if (txn->store->intake.tuples.n == 0) {
		return 0;
	}
	while (n < max && txn->ret == 0 && look_at_oldest(txn, expiry_now, &item, &is_over) &&
	       is_over) {
		bool is_expired = !settle(txn, &item, expiry_now);
		if (is_expired && txn->ret == 0 && expired) {
			expired(ctx, RECORD_GREY, &item.key);
		}
		n++;
	}
	return n;
}

/* --- whole hosts ------------------------------------------------------------------------------ */

bool txn_intake_has_host(const struct store_txn *txn, const struct addr *addr)
{
	const struct store *store = txn->store;
	return store->intake.tuples.n > 0 &&
	       tagmap_get(&store->intake.hosts, tag_of(store, addr->bytes, sizeof addr->bytes)) !=
	               0;
}

/* To the first row that may be of the host: behind those that the last look passed. */
static int seek_host(const struct store_txn *txn, MDB_cursor *cursor, const struct addr *addr,
                     MDB_val *at, MDB_val *data)
{
	const struct intake *intake = &txn->store->intake;
	if (!intake->has_looked || !addr_equal(&intake->looked_for, addr)) {
		return mdb_cursor_get(cursor, at, data, MDB_FIRST);
	}
	struct record_key number = record_seq_key(intake->looked_from);
	*at = door_key(&number);
	return mdb_cursor_get(cursor, at, data, MDB_SET_RANGE);
}

/* Rows come behind all others, so those that were passed are none of the host's for good. */
static void remember_look(struct intake *intake, const struct addr *addr, const MDB_val *at)
{
	intake->looked_for = *addr;
	intake->has_looked = record_seq_key_decode(door_span(at), &intake->looked_from) == 0;
}

bool txn_intake_first(struct store_txn *txn, const struct addr *addr, struct tuple_key *key)
{
	MDB_cursor *cursor = NULL;
	MDB_val at;
	MDB_val data;
	bool is_found = false;
	if (txn->ret || !txn_intake_has_host(txn, addr)) {
		return false;
	}
	int rc = mdb_cursor_open(txn->lmdb, txn->store->dbi[DB_INTAKE], &cursor);
	rc = rc ? rc : seek_host(txn, cursor, addr, &at, &data);
	while (rc == 0 && !is_found) {
		struct span row;
		struct span value;
		is_found = data.mv_size > RECORD_TUPLE_KEY_BYTES &&
		           memcmp(data.mv_data, addr->bytes, sizeof addr->bytes) == 0 &&
		           door_intake_split(&data, key, &row, &value) == 0;
		if (is_found) {
			remember_look(&txn->store->intake, addr, &at);
		} else {
			rc = mdb_cursor_get(cursor, &at, &data, MDB_NEXT);
		}
	}
	if (cursor) {
		mdb_cursor_close(cursor);
	}
	txn_note(txn, rc == MDB_NOTFOUND ? 0 : rc);
	return is_found;
}

/* --- at the start ----------------------------------------------------------------------------- */

int intake_load(struct store *store, MDB_txn *txn)
{
	MDB_cursor *cursor = NULL;
	MDB_val at;
	MDB_val data;
	int ret = 0;
	int rc = mdb_cursor_open(txn, store->dbi[DB_INTAKE], &cursor);
	rc = rc ? rc : mdb_cursor_get(cursor, &at, &data, MDB_FIRST);
	while (rc == 0 && ret == 0) {
		struct tuple_key key;
		struct span row;
		struct span value;
		if (record_seq_key_decode(door_span(&at), &store->intake.last_seq) == 0 &&
		    door_intake_split(&data, &key, &row, &value) == 0) {
			struct intake_step step =
			        step_of(store, &key, store->intake.last_seq, true);
			ret = index_add(&store->intake, &step);
		}
		rc = mdb_cursor_get(cursor, &at, &data, MDB_NEXT);
	}
	if (cursor) {
		mdb_cursor_close(cursor);
	}
	return ret || rc == MDB_NOTFOUND ? ret : door_error(store, rc);
}
