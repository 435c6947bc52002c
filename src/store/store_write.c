/* Records of a write transaction: hosts, tuples and spamtrap addresses, each with its expiry row (a
 * spamtrap has none) and its journal row, together or not at all; and the sweep of what has
 * expired. The transaction's frame is store_txn.c. Owner: the keeper's thread.
 *
 * What is deleted stays as a tombstone in its record's place, with the same key and an expiry row,
 * so that another gateway's older record of it does not come back by a merge. load() sees
 * tombstones; what others are told by goes through get_live(). */
#include <string.h>

#include "base/err.h"
#include "store/lmdb_door.h"

static const struct tuple_text no_text = {
        {(const uint8_t *)"", 0}, {(const uint8_t *)"", 0}, {(const uint8_t *)"", 0}};

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
	bool is_waiting; /* for its place */
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

static struct target target_trap(const struct store *store, struct span address)
{
	struct target t = {.db = DB_TRAP, .kind = RECORD_TRAP_ADDRESS};
	record_trap_hash(store->meta.hash_key, address, t.hash);
	t.key = record_trap_key(t.hash);
	return t;
}

static struct tuple_key tuple_of(const struct target *t)
{
	struct tuple_key key = {.addr = t->addr};
	memcpy(key.hash, t->hash, sizeof key.hash);
	return key;
}

static bool is_waiting(struct store_txn *txn, const struct target *t, struct span *value)
{
	struct tuple_key key = tuple_of(t);
	return t->db == DB_TUPLE && txn_intake_get(txn, &key, value);
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
	struct span value = rc ? span_of(NULL, 0) : door_span(&data);
	stored.is_waiting = rc == MDB_NOTFOUND && is_waiting(txn, t, &value);
	if (rc && !stored.is_waiting) {
		txn_note(txn, rc == MDB_NOTFOUND ? 0 : rc);
		return stored;
	}
	stored.is_there = true;
	stored.is_sound =
	        record_decode(door_span(&key), value, t->kind, &stored.record, &stored.text) == 0;
	if (!stored.is_sound) {
		door_bad_record(txn->store, door_db_name(t->db), door_span(&key));
	}
	return stored;
}

static bool is_tombstone(const struct stored *stored)
{
	return stored->is_sound && stored->record.is_deleted;
}

/* A damaged record may have been a live one. */
static bool may_be_live(const struct stored *stored)
{
	return stored->is_there && !is_tombstone(stored);
}

/* The newer fact of this host has the later stamp, though the clock went back or a peer's is ahead:
 * never earlier than what is there; and what is deleted or comes back is later, for of two facts of
 * one second a merge would believe the live one, a peer the one that it heard first. A merge makes
 * no new facts. */
static struct wall stamp(const struct store_txn *txn, const struct stored *old,
                         const struct grey_record *record)
{
	int64_t least = 0;
	if (old->is_sound) {
		bool is_turn = record->is_deleted != old->record.is_deleted;
		least = old->record.changed_at.secs + (is_turn && !txn->is_merge);
	}
	return (struct wall){record->changed_at.secs > least ? record->changed_at.secs : least};
}

/* A spamtrap lives until it is deleted, and its tombstone for ever. */
static bool can_expire(const struct target *t)
{
	return t->kind != RECORD_TRAP_ADDRESS;
}

static void move_expiry(struct store_txn *txn, const struct target *t, const struct stored *old,
                        struct wall expire)
{
	struct record_key row = record_expiry_key(expire, t->kind, &t->key);
	if (old->is_sound) {
		struct record_key old_row = record_expiry_key(old->record.expire, t->kind, &t->key);
		if (door_key_equal(&old_row, &row)) {
			return;
		}
		txn_expiry_delete(txn, &old_row);
	}
	txn_expiry_put(txn, &row);
}

void txn_look_from(struct store *store, const struct tuple_key *key)
{
	struct tuple_key *from = &store->live_from;
	if (addr_equal(&key->addr, &from->addr) &&
	    memcmp(key->hash, from->hash, sizeof from->hash) < 0) {
		memcpy(from->hash, key->hash, sizeof from->hash);
	}
}

/* Writes the record with its stamp; the expiry index follows. `old` is what load found: its text is
 * dead after this. */
static void save(struct store_txn *txn, const struct target *t, const struct stored *old,
                 const struct grey_record *record, const struct tuple_text *text)
{
	if (txn->store->is_tight && !old->is_there) {
		txn_note(txn, MDB_MAP_FULL);
	}
	if (txn->ret) {
		return;
	}
	struct record_value value;
	struct grey_record stamped = *record;
	stamped.changed_at = stamp(txn, old, record);
	record_encode(span_of(t->key.bytes, t->key.len), t->kind, &stamped, text, &value);
	if (can_expire(t)) {
		move_expiry(txn, t, old, record->expire);
	}
	txn->store->n_buried[t->db] += record->is_deleted - is_tombstone(old);
	if (!record->is_deleted && t->db == DB_TUPLE) {
		struct tuple_key tuple = tuple_of(t);
		txn_look_from(txn->store, &tuple);
	}
	MDB_val key = door_key(&t->key);
	MDB_val data = door_val(value.bytes, value.len);
	txn_note(txn, mdb_put(txn->lmdb, txn->store->dbi[t->db], &key, &data, 0));
}

static void journal_target(struct store_txn *txn, const struct target *t, bool is_deleted,
                           struct wall expire)
{
	struct journal_change change = {.kind = (uint8_t)t->kind,
	                                .is_deleted = is_deleted,
	                                .addr = t->addr,
	                                .expire = expire};
	memcpy(change.hash, t->hash, sizeof change.hash);
	txn_journal_add(txn, &change);
}

static void delete_row(struct store_txn *txn, const struct target *t)
{
	if (txn->ret) {
		return;
	}
	MDB_val key = door_key(&t->key);
	int rc = mdb_del(txn->lmdb, txn->store->dbi[t->db], &key, NULL);
	txn_note(txn, rc == MDB_NOTFOUND ? 0 : rc);
}

/* Saves and journals: a tombstone is a deletion where something was. */
static void put_target(struct store_txn *txn, const struct target *t, const struct stored *old,
                       const struct grey_record *record, const struct tuple_text *text)
{
	bool was_live = may_be_live(old);
	save(txn, t, old, record, text);
	if (!record->is_deleted || was_live) {
		journal_target(txn, t, record->is_deleted, record->expire);
	}
}

/* `old` with a tombstone in its place. Over nothing it stands alone; without room it is left out:
 * the room there is belongs to deletions of what is there. */
static void bury_target(struct store_txn *txn, const struct target *t, const struct stored *old,
                        const struct grey_record *tombstone, const struct tuple_text *text)
{
	if (old->is_there || !txn->store->is_tight) {
		put_target(txn, t, old, tombstone, text);
	}
}

/* Of what is there, or of something unknown. */
static struct grey_record tombstone_of(const struct stored *old, struct wall at)
{
	struct grey_record tombstone = old->record;
	tombstone.is_deleted = true;
	tombstone.changed_at = at;
	return tombstone;
}

static bool get_register(struct store_txn *txn, const struct target *t, struct grey_record *out)
{
	struct stored stored = load(txn, t);
	if (stored.is_sound) {
		*out = stored.record;
	}
	return stored.is_sound;
}

static bool get_live(struct store_txn *txn, const struct target *t, struct grey_record *out)
{
	struct grey_record record;
	bool is_live = get_register(txn, t, &record) && !record.is_deleted;
	if (is_live) {
		*out = record;
	}
	return is_live;
}

/* --- tuples ----------------------------------------------------------------------------------- */

bool store_get_tuple(struct store_txn *txn, const struct tuple_key *key, struct grey_record *out)
{
	struct target t = target_tuple(key);
	return get_live(txn, &t, out);
}

bool store_get_tuple_register(struct store_txn *txn, const struct tuple_key *key,
                              struct grey_record *out)
{
	struct target t = target_tuple(key);
	return get_register(txn, &t, out);
}

static struct span copy_text(uint8_t *buf, struct span text)
{
	if (text.len > 0) {
		memcpy(buf, text.ptr, text.len);
	}
	return span_of(buf, text.len);
}

bool store_get_tuple_text(struct store_txn *txn, const struct tuple_key *key,
                          uint8_t buf[static STORE_TEXT_BYTES], struct tuple_text *out)
{
	struct target t = target_tuple(key);
	struct stored stored = load(txn, &t);
	if (stored.is_sound) {
		out->helo = copy_text(buf, stored.text.helo);
		out->sender = copy_text(buf + RECORD_STRING_MAX, stored.text.sender);
		out->recipient =
		        copy_text(buf + (size_t)2 * RECORD_STRING_MAX, stored.text.recipient);
	}
	return stored.is_sound;
}

void store_put_tuple(struct store_txn *txn, const struct tuple_key *key,
                     const struct grey_record *record, const struct tuple_text *text)
{
	struct target t = target_tuple(key);
	txn_settle(txn, key);
	struct stored old = load(txn, &t);
	put_target(txn, &t, &old, record, text);
}

void store_add_tuple(struct store_txn *txn, const struct tuple_key *key,
                     const struct grey_record *record, const struct tuple_text *text)
{
	static const struct stored nothing;
	struct target t = target_tuple(key);
	put_target(txn, &t, &nothing, record, text);
}

static void rewrite_waiting(struct store_txn *txn, const struct tuple_key *key,
                            const struct stored *old, const struct grey_record *record)
{
	struct record_value value;
	struct record_key row = record_grey_key(key);
	struct grey_record stamped = *record;
	stamped.changed_at = stamp(txn, old, record);
	record_encode(span_of(row.bytes, row.len), RECORD_GREY, &stamped, &old->text, &value);
	txn_intake_rewrite(txn, key, span_of(value.bytes, value.len));
}

void store_update_tuple(struct store_txn *txn, const struct tuple_key *key,
                        const struct grey_record *record, bool is_journaled)
{
	struct target t = target_tuple(key);
	if (is_journaled && !txn->store->is_tight) {
		txn_settle(txn, key);
	}
	struct stored old = load(txn, &t);
	if (!old.is_sound || old.record.is_deleted) {
		return;
	}
	if (old.is_waiting) { /* it will be told of with its place */
		rewrite_waiting(txn, key, &old, record);
		return;
	}
	save(txn, &t, &old, record, &old.text);
	if (is_journaled) {
		journal_target(txn, &t, false, record->expire);
	}
}

void store_bury_tuple(struct store_txn *txn, const struct tuple_key *key, struct wall at)
{
	struct target t = target_tuple(key);
	if (txn->store->is_tight && txn_intake_drop(txn, key)) {
		return; /* nobody was told of it, and there is no room for its tombstone */
	}
	txn_settle(txn, key);
	struct stored old = load(txn, &t);
	if (old.is_sound) {
		struct grey_record tombstone = tombstone_of(&old, at);
		bury_target(txn, &t, &old, &tombstone, &old.text);
	} else if (old.is_there) { /* of a damaged one nobody knows the texts */
		delete_row(txn, &t);
		journal_target(txn, &t, true, txn->now);
	}
}

/* To the first live tuple of its host from *key on. A damaged one counts, too. */
static int seek_live_tuple(MDB_cursor *cursor, struct tuple_key *key)
{
	const struct addr addr = key->addr;
	struct record_key from = record_grey_key(key);
	MDB_val found = door_key(&from);
	MDB_val data;
	struct grey_record record;
	int rc = mdb_cursor_get(cursor, &found, &data, MDB_SET_RANGE);
	while (rc == 0) {
		if (record_grey_key_decode(door_span(&found), key) ||
		    !addr_equal(&key->addr, &addr)) {
			return MDB_NOTFOUND;
		}
		if (record_decode(door_span(&found), door_span(&data), RECORD_GREY, &record,
		                  NULL) ||
		    !record.is_deleted) {
			return 0;
		}
		rc = mdb_cursor_get(cursor, &found, &data, MDB_NEXT);
	}
	return rc;
}

bool store_first_tuple(struct store_txn *txn, const struct addr *addr, struct tuple_key *key)
{
	MDB_cursor *cursor = NULL;
	struct store *store = txn->store;
	if (txn->ret) {
		return false;
	}
	int rc = mdb_cursor_open(txn->lmdb, store->dbi[DB_TUPLE], &cursor);
	if (rc == 0) {
		bool is_seen = store->has_live_from && addr_equal(&store->live_from.addr, addr);
		*key = is_seen ? store->live_from : (struct tuple_key){.addr = *addr};
		rc = seek_live_tuple(cursor, key);
		mdb_cursor_close(cursor);
	}
	store->has_live_from = rc == 0 || rc == MDB_NOTFOUND;
	store->live_from = *key;
	if (rc == MDB_NOTFOUND) { /* none is left */
		store->live_from.addr = *addr;
		memset(store->live_from.hash, UINT8_MAX, sizeof store->live_from.hash);
	}
	txn_note(txn, rc == MDB_NOTFOUND ? 0 : rc);
	return rc == 0 || txn_intake_first(txn, addr, key);
}

bool store_has_tuple_of(struct store_txn *txn, const struct addr *addr)
{
	struct tuple_key key;
	return txn_intake_has_host(txn, addr) || store_first_tuple(txn, addr, &key);
}

/* --- hosts ------------------------------------------------------------------------------------ */

bool store_get_host(struct store_txn *txn, const struct addr *addr, enum record_kind kind,
                    struct grey_record *out)
{
	struct target t = target_host(addr, kind);
	return get_live(txn, &t, out);
}

bool store_get_host_register(struct store_txn *txn, const struct addr *addr, enum record_kind kind,
                             struct grey_record *out)
{
	struct target t = target_host(addr, kind);
	return get_register(txn, &t, out);
}

void store_put_host(struct store_txn *txn, const struct addr *addr, enum record_kind kind,
                    const struct grey_record *record)
{
	struct target t = target_host(addr, kind);
	struct stored old = load(txn, &t);
	put_target(txn, &t, &old, record, NULL);
}

void store_bury_host(struct store_txn *txn, const struct addr *addr, enum record_kind kind,
                     struct wall at, struct wall until)
{
	struct target t = target_host(addr, kind);
	struct stored old = load(txn, &t);
	struct grey_record tombstone = tombstone_of(&old, at);
	if (tombstone.expire.secs < until.secs) {
		tombstone.expire = until;
	}
	bury_target(txn, &t, &old, &tombstone, NULL);
}

/* --- spamtraps -------------------------------------------------------------------------------- */

bool store_has_trap_address(struct store_txn *txn, struct span address)
{
	struct target t = target_trap(txn->store, address);
	struct grey_record record;
	return get_live(txn, &t, &record);
}

bool store_get_trap_register(struct store_txn *txn, struct span address, struct grey_record *out)
{
	struct target t = target_trap(txn->store, address);
	return get_register(txn, &t, out);
}

void store_put_trap_address(struct store_txn *txn, struct span address,
                            const struct grey_record *record)
{
	struct target t = target_trap(txn->store, address);
	struct tuple_text text = no_text;
	struct stored old = load(txn, &t);
	text.recipient = address;
	put_target(txn, &t, &old, record, &text);
}

bool store_bury_trap_address(struct store_txn *txn, struct span address, struct wall at)
{
	struct target t = target_trap(txn->store, address);
	struct tuple_text text = no_text;
	struct stored old = load(txn, &t);
	struct grey_record tombstone = tombstone_of(&old, at);
	bool was_live = may_be_live(&old);
	text.recipient = address;
	tombstone.expire = (struct wall){0};
	bury_target(txn, &t, &old, &tombstone, &text);
	return txn->ret == 0 && was_live;
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
 * left behind when a damaged record was overwritten. Nobody hears of the end of a tombstone. */
static void sweep_record(struct store_txn *txn, const struct due *due, store_expired *expired,
                         void *ctx)
{
	const struct target *t = &due->target;
	struct stored old = load(txn, t);
	if (!old.is_there || (old.is_sound && old.record.expire.secs != due->expire.secs)) {
		return;
	}
	delete_row(txn, t);
	if (is_tombstone(&old)) {
		txn->store->n_buried[t->db]--;
		return;
	}
	journal_target(txn, t, true, due->expire);
	struct tuple_key key = tuple_of(t);
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
		txn_note(txn, rc == MDB_NOTFOUND ? 0 : rc);
		return false;
	}
	*is_sound = due_decode(door_span(&key), due);
	if (*is_sound && due->expire.secs > expiry_now.secs) {
		return false;
	}
	if (!*is_sound) {
		door_bad_record(txn->store, door_db_name(DB_EXPIRY), door_span(&key));
	}
	txn_note(txn, mdb_cursor_del(cursor, 0));
	return txn->ret == 0;
}

unsigned store_sweep(struct store_txn *txn, struct wall expiry_now, unsigned max,
                     store_expired *expired, void *ctx)
{
	MDB_cursor *cursor = NULL;
	unsigned n = 0;
	struct due due;
	bool is_sound = false;
	enum change_origin origin = txn->origin;
	if (txn->ret) {
		return 0;
	}
	txn->origin = ORIGIN_SILENT;
	n = txn_intake_sweep(txn, expiry_now, max, expired, ctx);
	txn_expiry_flush(txn);
	txn_note(txn, mdb_cursor_open(txn->lmdb, txn->store->dbi[DB_EXPIRY], &cursor));
	while (n < max && txn->ret == 0 && sweep_take(txn, cursor, expiry_now, &due, &is_sound)) {
		if (is_sound) {
			sweep_record(txn, &due, expired, ctx);
		}
		n++;
	}
	if (cursor) {
		mdb_cursor_close(cursor);
	}
	txn->origin = origin;
	return txn->ret ? 0 : n;
}
