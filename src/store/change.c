/* What a change does to records. A put stores one record as it stands, so that a dump comes back as
 * it was; a merge joins one with what is there (policy/merge.h). What is deleted stays as a
 * tombstone. The grammar is change_parse.c, a host's registers are change_host.c. */
#include "store/change.h"

#include <string.h>

#include "base/err.h"
#include "policy/merge.h"
#include "store/change_impl.h"

enum change_origin change_origin_of(const struct change *change, enum record_kind kind)
{
	static const struct {
		enum change_kind change;
		enum record_kind kind;
		enum change_origin origin;
	} rows[] = {
	        {CHANGE_WHITE, RECORD_WHITE, ORIGIN_MANUAL},
	        {CHANGE_WHITE, RECORD_TRAPPED, ORIGIN_MANUAL}, /* white names only the group */
	        {CHANGE_TRAPPED, RECORD_TRAPPED, ORIGIN_MANUAL},
	        {CHANGE_SPAMTRAP, RECORD_TRAP_ADDRESS, ORIGIN_MANUAL},
	        {CHANGE_DELETE, RECORD_WHITE, ORIGIN_MANUAL},
	        {CHANGE_DELETE, RECORD_TRAPPED, ORIGIN_MANUAL},
	        {CHANGE_DELETE, RECORD_TRAP_ADDRESS, ORIGIN_MANUAL},
	        {CHANGE_TRAP_HIT, RECORD_TRAPPED, ORIGIN_TRAP},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (rows[i].change == change->kind && rows[i].kind == kind && !change->is_peers) {
			return rows[i].origin;
		}
	}
	return ORIGIN_SILENT;
}

bool change_is_told(const struct change *change)
{
	return change->kind == CHANGE_PEER_HOST || change->kind == CHANGE_PEER_MANUAL ||
	       change->kind == CHANGE_PEER_DELETE;
}

struct wall change_later(struct wall a, struct wall b)
{
	return a.secs > b.secs ? a : b;
}

/* A hit that a peer told of is a change of this host's, but never older than what was told: the
 * same again must find that it is known. */
static struct wall stamp_of(const struct change *change, struct wall now)
{
	if (change_is_told(change)) {
		return change->record.changed_at;
	}
	return change->kind == CHANGE_TRAP_HIT && change->is_peers
	               ? change_later(now, change->record.changed_at)
	               : now;
}

/* --- spamtraps -------------------------------------------------------------------------------- */

static void write_spamtrap(const struct change_work *work, const struct grey_record *record)
{
	work->txn->origin = change_origin_of(work->change, RECORD_TRAP_ADDRESS);
	store_put_trap_address(work->txn, work->change->text.recipient, record);
	work->effect->has_spamtrap = true;
	work->effect->is_spamtrap_deleted = record->is_deleted;
	work->effect->n_writes++;
}

static void bury_spamtrap(const struct change_work *work)
{
	work->txn->origin = change_origin_of(work->change, RECORD_TRAP_ADDRESS);
	(void)store_bury_trap_address(work->txn, work->change->text.recipient, work->at);
	work->effect->has_spamtrap = true;
	work->effect->is_spamtrap_deleted = true;
	work->effect->n_writes++;
}

/* A second time is a change, too: it is later than another gateway's deletion. */
static void add_spamtrap(const struct change_work *work)
{
	struct grey_record old;
	struct grey_record record = {.first = work->at, .bcount = 1};
	if (store_get_trap_register(work->txn, work->change->text.recipient, &old) &&
	    !old.is_deleted) {
		record = old;
	}
	record.changed_at = work->at;
	write_spamtrap(work, &record);
}

/* An import changes nothing where nothing is new. */
static void put_spamtrap(const struct change_work *work)
{
	if (store_has_trap_address(work->txn, work->change->text.recipient)) {
		work->effect->has_spamtrap = true;
	} else {
		add_spamtrap(work);
	}
}

static void delete_spamtrap(const struct change_work *work)
{
	if (store_has_trap_address(work->txn, work->change->text.recipient)) {
		bury_spamtrap(work);
	} else {
		work->effect->ret = ERR_NOT_FOUND;
	}
}

static void delete_key(const struct change_work *work)
{
	if (work->change->has_addr) {
		change_host_delete(work);
	} else {
		delete_spamtrap(work);
	}
}

/* --- tuples, puts ----------------------------------------------------------------------------- */

static void delete_grey(const struct change_work *work)
{
	struct addr host = addr_group(&work->change->addr, work->conf->ipv6_prefix);
	struct change_effect *effect = work->effect;
	effect->has_tuple = store_first_tuple(work->txn, &host, &effect->tuple);
	if (!effect->has_tuple) {
		effect->ret = ERR_NOT_FOUND;
		return;
	}
	store_bury_tuple(work->txn, &effect->tuple, work->now);
	effect->n_writes++;
}

static void write_tuple(const struct change_work *work, const struct grey_record *record,
                        const struct tuple_text *text)
{
	store_put_tuple(work->txn, &work->effect->tuple, record, text);
	work->effect->has_tuple = true;
	work->effect->n_writes++;
}

static void name_tuple(const struct change_work *work)
{
	const struct change *change = work->change;
	struct addr host = addr_group(&change->addr, work->conf->ipv6_prefix);
	work->effect->tuple =
	        record_tuple_key(store_hash_key(work->txn->store), &host, &change->text);
}

static void put_tuple(const struct change_work *work)
{
	struct grey_record record = work->change->record;
	record.changed_at = work->now;
	name_tuple(work);
	write_tuple(work, &record, &work->change->text);
}

static void put_record(const struct change_work *work)
{
	switch (work->change->record_kind) {
	case RECORD_WHITE:
	case RECORD_TRAPPED:
		change_host_put(work);
		break;
	case RECORD_GREY:
		put_tuple(work);
		break;
	case RECORD_TRAP_ADDRESS:
		put_spamtrap(work);
		break;
	}
}

/* --- records of another gateway --------------------------------------------------------------- */

bool change_is_same(const struct grey_record *a, const struct grey_record *b)
{
	return a->first.secs == b->first.secs && a->pass.secs == b->pass.secs &&
	       a->expire.secs == b->expire.secs && a->changed_at.secs == b->changed_at.secs &&
	       a->bcount == b->bcount && a->pcount == b->pcount && a->last.secs == b->last.secs &&
	       a->is_deleted == b->is_deleted;
}

static int compare_spans(struct span a, struct span b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int order = len > 0 ? memcmp(a.ptr, b.ptr, len) : 0;
	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_texts(const struct tuple_text *a, const struct tuple_text *b)
{
	int order = compare_spans(a->sender, b->sender);
	return order ? order : compare_spans(a->recipient, b->recipient);
}

/* Texts under one key differ in case and brackets at most: everybody ends with those whose bytes
 * come first. */
static void merge_into_tuple(const struct change_work *work)
{
	const struct change *change = work->change;
	uint8_t buf[STORE_TEXT_BYTES];
	struct grey_record merged = change->record;
	struct grey_record old;
	struct tuple_text text = change->text;
	struct tuple_text old_text = change->text;
	name_tuple(work);
	bool is_known = store_get_tuple_register(work->txn, &work->effect->tuple, &old) &&
	                store_get_tuple_text(work->txn, &work->effect->tuple, buf, &old_text);
	if (is_known) {
		merged = merge_tuple(&old, &change->record);
		text = compare_texts(&old_text, &text) < 0 ? old_text : text;
	}
	if (!is_known || !change_is_same(&merged, &old) || compare_texts(&old_text, &text) != 0) {
		write_tuple(work, &merged, &text);
	}
}

static void merge_into_spamtrap(const struct change_work *work)
{
	const struct change *change = work->change;
	struct grey_record merged = change->record;
	struct grey_record old;
	bool is_known = store_get_trap_register(work->txn, change->text.recipient, &old);
	if (is_known) {
		merged = merge_spamtrap(&old, &change->record);
	}
	if (!is_known || !change_is_same(&merged, &old)) {
		write_spamtrap(work, &merged);
	}
}

static void merge_record(const struct change_work *work)
{
	work->txn->is_merge = true;
	switch (work->change->record_kind) {
	case RECORD_WHITE:
	case RECORD_TRAPPED:
		change_host_merge(work);
		break;
	case RECORD_GREY:
		merge_into_tuple(work);
		break;
	case RECORD_TRAP_ADDRESS:
		merge_into_spamtrap(work);
		break;
	}
}

/* --- what peers tell ---------------------------------------------------------------------------
 */

static void apply_peer_spamtrap(const struct change_work *work)
{
	struct grey_record old;
	bool is_known = store_get_trap_register(work->txn, work->change->text.recipient, &old);
	if (is_known && old.changed_at.secs >= work->at.secs) {
		return;
	}
	if (work->change->kind == CHANGE_PEER_DELETE) {
		bury_spamtrap(work);
	} else {
		add_spamtrap(work);
	}
}

/* What is stale writes nothing. */
static void apply_peer(const struct change_work *work)
{
	switch (work->change->record_kind) {
	case RECORD_WHITE:
	case RECORD_TRAPPED:
		change_host_apply(work);
		break;
	case RECORD_TRAP_ADDRESS:
		apply_peer_spamtrap(work);
		break;
	case RECORD_GREY:
		break; /* attempts are decided with this host's own */
	}
	if (work->effect->n_writes == 0) {
		*work->effect = (struct change_effect){.ret = ERR_BUSY};
	}
}

static void put_cursor(const struct change_work *work)
{
	store_put_cursor(work->txn, CHANGE_SYNC_CURSOR, work->change->seq);
	work->effect->n_writes++;
}

void change_apply(struct store_txn *txn, const struct change_conf *conf, struct wall now,
                  const struct change *change, struct change_effect *effect)
{
	static void (*const applies[CHANGE_KIND_COUNT])(const struct change_work *work) = {
	        [CHANGE_WHITE] = change_host_apply,   [CHANGE_TRAPPED] = change_host_apply,
	        [CHANGE_SPAMTRAP] = add_spamtrap,     [CHANGE_DELETE] = delete_key,
	        [CHANGE_DELETE_GREY] = delete_grey,   [CHANGE_PUT] = put_record,
	        [CHANGE_SEEN] = change_host_apply,    [CHANGE_TRAP_HIT] = change_host_apply,
	        [CHANGE_MERGE] = merge_record,        [CHANGE_PEER_GREY] = apply_peer,
	        [CHANGE_PEER_HOST] = apply_peer,      [CHANGE_PEER_MANUAL] = apply_peer,
	        [CHANGE_PEER_DELETE] = apply_peer,    [CHANGE_CURSOR] = put_cursor,
	        [CHANGE_DELIST] = change_host_delete,
	};
	struct change_work work = {txn, conf, now, change, effect, stamp_of(change, now)};
	*effect = (struct change_effect){.ret = 0};
	ASSERT(change->kind < CHANGE_KIND_COUNT);
	applies[change->kind](&work);
	txn->origin = ORIGIN_SILENT;
	txn->is_merge = false;
}
