/* What a change does to records. The rules for a host's two registers are policy/hosts.h, those for
 * records of another gateway policy/merge.h; here they meet the store. A put stores one record as
 * it stands and leaves the host's other register alone, so that a dump comes back as it was; so
 * does a merge. What is deleted stays as a tombstone. The grammar is change_parse.c. */
#include "store/change.h"

#include <string.h>

#include "base/err.h"
#include "policy/merge.h"

/* --- hosts ------------------------------------------------------------------------------------ */

/* A change being carried out. */
struct work {
	struct store_txn *txn;
	const struct change_conf *conf;
	struct wall now;
	const struct change *change;
	struct change_effect *effect;
	struct wall at; /* the stamp of what is written */
};

/* Both registers as stored. */
struct registers {
	struct grey_record white;
	struct grey_record trapped;
	struct hosts_known known;
};

/* Tombstones are among them, which the rules tell from what lives. */
static void read_registers(const struct work *work, struct registers *out)
{
	const struct change_effect *effect = work->effect;
	struct store_txn *txn = work->txn;
	bool has_white =
	        store_get_host_register(txn, &effect->white_addr, RECORD_WHITE, &out->white);
	bool has_trapped =
	        store_get_host_register(txn, &effect->trapped_addr, RECORD_TRAPPED, &out->trapped);
	out->known = (struct hosts_known){has_white ? &out->white : NULL,
	                                  has_trapped ? &out->trapped : NULL};
}

/* White hosts go by their group, traps by the whole address. */
static void name_host(const struct work *work)
{
	work->effect->has_host = true;
	work->effect->trapped_addr = work->change->addr;
	work->effect->white_addr = addr_group(&work->change->addr, work->conf->ipv6_prefix);
}

static const struct addr *register_addr(const struct work *work, enum record_kind kind)
{
	return kind == RECORD_TRAPPED ? &work->effect->trapped_addr : &work->effect->white_addr;
}

/* Of all that a change writes, what peers are told of. They do the rest by themselves. */
static enum change_origin origin_of(const struct change *change, enum record_kind kind)
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

/* Whether a block says when it happened, by the peer's clock. */
static bool is_told(const struct change *change)
{
	return change->kind == CHANGE_PEER_HOST || change->kind == CHANGE_PEER_MANUAL ||
	       change->kind == CHANGE_PEER_DELETE;
}

static struct wall later(struct wall a, struct wall b)
{
	return a.secs > b.secs ? a : b;
}

/* A hit that a peer told of is a change of this host's, but never older than what was told: the
 * same again must find that it is known. */
static struct wall stamp_of(const struct change *change, struct wall now)
{
	if (is_told(change)) {
		return change->record.changed_at;
	}
	return change->kind == CHANGE_TRAP_HIT && change->is_peers
	               ? later(now, change->record.changed_at)
	               : now;
}

/* Late enough to win over what is there (store_write.c has the rule for one record). */
static struct wall stamp_over(struct wall at, enum hosts_write write, const struct grey_record *old)
{
	if (write == HOSTS_KEEP || !old) {
		return at;
	}
	bool is_turn = old->is_deleted != (write == HOSTS_DELETE);
	return later(at, (struct wall){old->changed_at.secs + is_turn});
}

/* As long as the record may live elsewhere. Over nothing that was ever known here no longer than a
 * trap: strangers are trapped by the hundred thousand a day. Of a listed host it is kept to its own
 * end, which spares a list of hundreds of thousands the moving of that many expiry rows: an older
 * record from elsewhere is not taken while the list is in force. */
static struct wall tombstone_end(const struct work *work, enum record_kind kind,
                                 const struct grey_record *old)
{
	const struct change_conf *conf = work->conf;
	bool was_known =
	        old && old->first.secs != 0; /* a tombstone that stands alone has no first */
	int64_t life_secs =
	        kind == RECORD_WHITE && was_known ? conf->whiteexp_secs : conf->trapexp_secs;
	return (struct wall){work->change->kind == CHANGE_DELIST ? 0 : work->now.secs + life_secs};
}

static void put_register(const struct work *work, enum record_kind kind,
                         const struct grey_record *record)
{
	work->txn->origin = origin_of(work->change, kind);
	store_put_host(work->txn, register_addr(work, kind), kind, record);
	work->effect->n_writes++;
}

static void bury_register(const struct work *work, enum record_kind kind,
                          const struct grey_record *old)
{
	work->txn->origin = origin_of(work->change, kind);
	store_bury_host(work->txn, register_addr(work, kind), kind, work->at,
	                tombstone_end(work, kind, old));
	work->effect->n_writes++;
}

static void write_register(const struct work *work, enum record_kind kind, enum hosts_write write,
                           const struct grey_record *old, const struct grey_record *record)
{
	switch (write) {
	case HOSTS_KEEP:
		break;
	case HOSTS_PUT:
		put_register(work, kind, record);
		break;
	case HOSTS_DELETE:
		bury_register(work, kind, old);
		break;
	}
}

/* Trap first: the journal then never shows a white host that is to be none. */
static void write_outcome(const struct work *work, const struct hosts_known *known,
                          const struct hosts_outcome *outcome)
{
	write_register(work, RECORD_TRAPPED, outcome->trapped, known->trapped,
	               &outcome->trapped_record);
	write_register(work, RECORD_WHITE, outcome->white, known->white, &outcome->white_record);
}

/* What the host is by now, which has these registers. */
static void describe(const struct work *work, const struct hosts_known *known)
{
	struct change_effect *effect = work->effect;
	enum hosts_kind kind = hosts_kind_of(known, work->now);
	effect->is_trapped_now = kind == HOSTS_TRAPPED;
	effect->is_white_now = kind == HOSTS_WHITE;
	const struct grey_record *counts = kind == HOSTS_TRAPPED ? known->trapped : known->white;
	if (kind != HOSTS_NONE && counts) {
		effect->expire = counts->expire;
	}
}

static void describe_host(const struct work *work)
{
	struct registers registers;
	read_registers(work, &registers);
	describe(work, &registers.known);
}

static enum hosts_write delete_if(bool is_so)
{
	return is_so ? HOSTS_DELETE : HOSTS_KEEP;
}

static bool is_there(const struct grey_record *record)
{
	return record && !record->is_deleted;
}

static struct hosts_outcome decide_peer(const struct work *work, const struct hosts_known *known)
{
	struct hosts_peer peer = {.record = work->change->record,
	                          .is_trapped = work->change->record_kind == RECORD_TRAPPED,
	                          .is_manual = work->change->kind == CHANGE_PEER_MANUAL};
	return hosts_peer(&peer, work->now, known);
}

static struct hosts_outcome decide_peer_delete(const struct work *work,
                                               const struct hosts_known *known)
{
	bool is_trapped = work->change->record_kind == RECORD_TRAPPED;
	const struct grey_record *old = is_trapped ? known->trapped : known->white;
	bool is_later = !old || old->changed_at.secs < work->at.secs;
	return (struct hosts_outcome){.white = delete_if(is_later && !is_trapped),
	                              .trapped = delete_if(is_later && is_trapped)};
}

/* The rules' part: nothing known or asked for but the two registers. */
static struct hosts_outcome decide(const struct work *work, const struct hosts_known *known)
{
	const struct change *change = work->change;
	const struct change_conf *conf = work->conf;
	switch (change->kind) {
	case CHANGE_WHITE:
		return hosts_add_white(conf->whiteexp_secs, work->now, known);
	case CHANGE_TRAPPED:
		return hosts_add_trapped(conf->trapexp_secs, work->now, known);
	case CHANGE_SEEN:
		return hosts_seen(change->life_secs, change->count, work->now, known);
	case CHANGE_TRAP_HIT:
		return hosts_trap_hit(conf->trapexp_secs, work->now, known);
	case CHANGE_DELETE:
		return (struct hosts_outcome){.white = delete_if(is_there(known->white)),
		                              .trapped = delete_if(is_there(known->trapped))};
	case CHANGE_DELIST:
		return (struct hosts_outcome){.white = delete_if(is_there(known->white))};
	case CHANGE_PEER_HOST:
	case CHANGE_PEER_MANUAL:
		return decide_peer(work, known);
	case CHANGE_PEER_DELETE:
		return decide_peer_delete(work, known);
	case CHANGE_SPAMTRAP:
	case CHANGE_DELETE_GREY:
	case CHANGE_PUT:
	case CHANGE_MERGE:
	case CHANGE_PEER_GREY:
	case CHANGE_CURSOR:
	case CHANGE_KIND_COUNT:
		break; /* not of a host's registers */
	}
	return (struct hosts_outcome){.white = HOSTS_KEEP};
}

static const struct grey_record *left_by(enum hosts_write write, const struct grey_record *old,
                                         const struct grey_record *written)
{
	if (write == HOSTS_KEEP) {
		return old;
	}
	return write == HOSTS_PUT ? written : NULL;
}

/* Both registers get one stamp: a peer that is told of one is to let it win over all that was
 * changed here. */
static void stamp_outcome(struct work *work, const struct hosts_known *known,
                          struct hosts_outcome *outcome)
{
	if (!is_told(work->change)) {
		work->at = stamp_over(work->at, outcome->white, known->white);
		work->at = stamp_over(work->at, outcome->trapped, known->trapped);
	}
	outcome->white_record.changed_at = work->at;
	outcome->trapped_record.changed_at = work->at;
}

static void apply_to_host(const struct work *asked)
{
	struct work work = *asked;
	struct registers registers;
	const struct hosts_known *known = &registers.known;
	name_host(&work);
	read_registers(&work, &registers);
	struct hosts_outcome outcome = decide(&work, known);
	stamp_outcome(&work, known, &outcome);
	write_outcome(&work, known, &outcome);
	struct hosts_known left = {
	        left_by(outcome.white, known->white, &outcome.white_record),
	        left_by(outcome.trapped, known->trapped, &outcome.trapped_record)};
	if (work.txn->ret == 0) {
		describe(&work, &left);
	}
}

static void delete_from_host(const struct work *work)
{
	apply_to_host(work);
	if (work->effect->n_writes == 0) {
		work->effect->ret = ERR_NOT_FOUND;
	}
}

/* --- spamtraps -------------------------------------------------------------------------------- */

static void write_spamtrap(const struct work *work, const struct grey_record *record)
{
	work->txn->origin = origin_of(work->change, RECORD_TRAP_ADDRESS);
	store_put_trap_address(work->txn, work->change->text.recipient, record);
	work->effect->has_spamtrap = true;
	work->effect->is_spamtrap_deleted = record->is_deleted;
	work->effect->n_writes++;
}

static void bury_spamtrap(const struct work *work)
{
	work->txn->origin = origin_of(work->change, RECORD_TRAP_ADDRESS);
	(void)store_bury_trap_address(work->txn, work->change->text.recipient, work->at);
	work->effect->has_spamtrap = true;
	work->effect->is_spamtrap_deleted = true;
	work->effect->n_writes++;
}

/* A second time is a change, too: it is later than another gateway's deletion. */
static void add_spamtrap(const struct work *work)
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
static void put_spamtrap(const struct work *work)
{
	if (store_has_trap_address(work->txn, work->change->text.recipient)) {
		work->effect->has_spamtrap = true;
	} else {
		add_spamtrap(work);
	}
}

static void delete_spamtrap(const struct work *work)
{
	if (store_has_trap_address(work->txn, work->change->text.recipient)) {
		bury_spamtrap(work);
	} else {
		work->effect->ret = ERR_NOT_FOUND;
	}
}

static void delete_key(const struct work *work)
{
	if (work->change->has_addr) {
		delete_from_host(work);
	} else {
		delete_spamtrap(work);
	}
}

/* --- tuples, puts ----------------------------------------------------------------------------- */

static void delete_grey(const struct work *work)
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

static void put_host(const struct work *work)
{
	const struct change *change = work->change;
	struct grey_record record = change->record;
	record.changed_at = work->now;
	if (change->record_kind == RECORD_TRAPPED) { /* a line tells nothing but its end */
		record.first = work->now;
		record.bcount = 1;
	}
	name_host(work);
	put_register(work, change->record_kind, &record);
	describe_host(work);
}

static void write_tuple(const struct work *work, const struct grey_record *record,
                        const struct tuple_text *text)
{
	store_put_tuple(work->txn, &work->effect->tuple, record, text);
	work->effect->has_tuple = true;
	work->effect->n_writes++;
}

static void name_tuple(const struct work *work)
{
	const struct change *change = work->change;
	struct addr host = addr_group(&change->addr, work->conf->ipv6_prefix);
	work->effect->tuple =
	        record_tuple_key(store_hash_key(work->txn->store), &host, &change->text);
}

static void put_tuple(const struct work *work)
{
	struct grey_record record = work->change->record;
	record.changed_at = work->now;
	name_tuple(work);
	write_tuple(work, &record, &work->change->text);
}

static void put_record(const struct work *work)
{
	switch (work->change->record_kind) {
	case RECORD_WHITE:
	case RECORD_TRAPPED:
		put_host(work);
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

static bool is_same(const struct grey_record *a, const struct grey_record *b)
{
	return a->first.secs == b->first.secs && a->pass.secs == b->pass.secs &&
	       a->expire.secs == b->expire.secs && a->changed_at.secs == b->changed_at.secs &&
	       a->bcount == b->bcount && a->pcount == b->pcount && a->last.secs == b->last.secs &&
	       a->is_deleted == b->is_deleted;
}

static void merge_into_host(const struct work *work)
{
	const struct change *change = work->change;
	struct grey_record merged = change->record;
	struct grey_record old;
	name_host(work);
	bool is_known = store_get_host_register(work->txn, register_addr(work, change->record_kind),
	                                        change->record_kind, &old);
	if (is_known) {
		merged = merge_host(&old, &change->record);
	}
	if (is_known && is_same(&merged, &old)) {
		work->effect->has_host = false;
		return;
	}
	put_register(work, change->record_kind, &merged);
	describe_host(work);
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
static void merge_into_tuple(const struct work *work)
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
	if (!is_known || !is_same(&merged, &old) || compare_texts(&old_text, &text) != 0) {
		write_tuple(work, &merged, &text);
	}
}

static void merge_into_spamtrap(const struct work *work)
{
	const struct change *change = work->change;
	struct grey_record merged = change->record;
	struct grey_record old;
	bool is_known = store_get_trap_register(work->txn, change->text.recipient, &old);
	if (is_known) {
		merged = merge_spamtrap(&old, &change->record);
	}
	if (!is_known || !is_same(&merged, &old)) {
		write_spamtrap(work, &merged);
	}
}

static void merge_record(const struct work *work)
{
	work->txn->is_merge = true;
	switch (work->change->record_kind) {
	case RECORD_WHITE:
	case RECORD_TRAPPED:
		merge_into_host(work);
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

static void apply_peer_spamtrap(const struct work *work)
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
static void apply_peer(const struct work *work)
{
	switch (work->change->record_kind) {
	case RECORD_WHITE:
	case RECORD_TRAPPED:
		apply_to_host(work);
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

static void put_cursor(const struct work *work)
{
	store_put_cursor(work->txn, CHANGE_SYNC_CURSOR, work->change->seq);
	work->effect->n_writes++;
}

void change_apply(struct store_txn *txn, const struct change_conf *conf, struct wall now,
                  const struct change *change, struct change_effect *effect)
{
	static void (*const applies[CHANGE_KIND_COUNT])(const struct work *work) = {
	        [CHANGE_WHITE] = apply_to_host,     [CHANGE_TRAPPED] = apply_to_host,
	        [CHANGE_SPAMTRAP] = add_spamtrap,   [CHANGE_DELETE] = delete_key,
	        [CHANGE_DELETE_GREY] = delete_grey, [CHANGE_PUT] = put_record,
	        [CHANGE_SEEN] = apply_to_host,      [CHANGE_TRAP_HIT] = apply_to_host,
	        [CHANGE_MERGE] = merge_record,      [CHANGE_PEER_GREY] = apply_peer,
	        [CHANGE_PEER_HOST] = apply_peer,    [CHANGE_PEER_MANUAL] = apply_peer,
	        [CHANGE_PEER_DELETE] = apply_peer,  [CHANGE_CURSOR] = put_cursor,
	        [CHANGE_DELIST] = delete_from_host,
	};
	struct work work = {txn, conf, now, change, effect, stamp_of(change, now)};
	*effect = (struct change_effect){.ret = 0};
	ASSERT(change->kind < CHANGE_KIND_COUNT);
	applies[change->kind](&work);
	txn->origin = ORIGIN_SILENT;
	txn->is_merge = false;
}
