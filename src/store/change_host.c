/* Changes of a host: its two registers, white and trapped. The rules are policy/hosts.h, for those
 * of another gateway policy/merge.h; here they meet the store. Both registers of one change get one
 * stamp; a put and a merge write one register and leave the other alone. */
#include "policy/hosts.h"

#include "base/err.h"
#include "policy/merge.h"
#include "store/change_impl.h"

/* Both registers as stored. */
struct registers {
	struct grey_record white;
	struct grey_record trapped;
	struct hosts_known known;
};

/* Tombstones are among them, which the rules tell from what lives. */
static void read_registers(const struct change_work *work, struct registers *out)
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
static void name_host(const struct change_work *work)
{
	work->effect->has_host = true;
	work->effect->trapped_addr = work->change->addr;
	work->effect->white_addr = addr_group(&work->change->addr, work->conf->ipv6_prefix);
}

static const struct addr *register_addr(const struct change_work *work, enum record_kind kind)
{
	return kind == RECORD_TRAPPED ? &work->effect->trapped_addr : &work->effect->white_addr;
}

/* Late enough to win over what is there (store_write.c has the rule for one record). */
static struct wall stamp_over(struct wall at, enum hosts_write write, const struct grey_record *old)
{
	if (write == HOSTS_KEEP || !old) {
		return at;
	}
	bool is_turn = old->is_deleted != (write == HOSTS_DELETE);
	return change_later(at, (struct wall){old->changed_at.secs + is_turn});
}

/* As long as the record may live elsewhere. Over nothing that was ever known here no longer than a
 * trap: strangers are trapped by the hundred thousand a day. Of a listed host it is kept to its own
 * end, which spares a list of hundreds of thousands the moving of that many expiry rows: an older
 * record from elsewhere is not taken while the list is in force. */
static struct wall tombstone_end(const struct change_work *work, enum record_kind kind,
                                 const struct grey_record *old)
{
	const struct change_conf *conf = work->conf;
	bool was_known =
	        old && old->first.secs != 0; /* a tombstone that stands alone has no first */
	int64_t life_secs =
	        kind == RECORD_WHITE && was_known ? conf->whiteexp_secs : conf->trapexp_secs;
	return (struct wall){work->change->kind == CHANGE_DELIST ? 0 : work->now.secs + life_secs};
}

static void put_register(const struct change_work *work, enum record_kind kind,
                         const struct grey_record *record)
{
	work->txn->origin = change_origin_of(work->change, kind);
	store_put_host(work->txn, register_addr(work, kind), kind, record);
	work->effect->n_writes++;
}

static void bury_register(const struct change_work *work, enum record_kind kind,
                          const struct grey_record *old)
{
	work->txn->origin = change_origin_of(work->change, kind);
	store_bury_host(work->txn, register_addr(work, kind), kind, work->at,
	                tombstone_end(work, kind, old));
	work->effect->n_writes++;
}

static void write_register(const struct change_work *work, enum record_kind kind,
                           enum hosts_write write, const struct grey_record *old,
                           const struct grey_record *record)
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
static void write_outcome(const struct change_work *work, const struct hosts_known *known,
                          const struct hosts_outcome *outcome)
{
	write_register(work, RECORD_TRAPPED, outcome->trapped, known->trapped,
	               &outcome->trapped_record);
	write_register(work, RECORD_WHITE, outcome->white, known->white, &outcome->white_record);
}

/* What the host is by now, which has these registers. */
static void describe(const struct change_work *work, const struct hosts_known *known)
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

static void describe_host(const struct change_work *work)
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

static struct hosts_outcome decide_peer(const struct change_work *work,
                                        const struct hosts_known *known)
{
	struct hosts_peer peer = {.record = work->change->record,
	                          .is_trapped = work->change->record_kind == RECORD_TRAPPED,
	                          .is_manual = work->change->kind == CHANGE_PEER_MANUAL};
	return hosts_peer(&peer, work->now, known);
}

static struct hosts_outcome decide_peer_delete(const struct change_work *work,
                                               const struct hosts_known *known)
{
	bool is_trapped = work->change->record_kind == RECORD_TRAPPED;
	const struct grey_record *old = is_trapped ? known->trapped : known->white;
	bool is_later = !old || old->changed_at.secs < work->at.secs;
	return (struct hosts_outcome){.white = delete_if(is_later && !is_trapped),
	                              .trapped = delete_if(is_later && is_trapped)};
}

/* The rules' part: nothing known or asked for but the two registers. */
static struct hosts_outcome decide(const struct change_work *work, const struct hosts_known *known)
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
static void stamp_outcome(struct change_work *work, const struct hosts_known *known,
                          struct hosts_outcome *outcome)
{
	if (!change_is_told(work->change)) {
		work->at = stamp_over(work->at, outcome->white, known->white);
		work->at = stamp_over(work->at, outcome->trapped, known->trapped);
	}
	outcome->white_record.changed_at = work->at;
	outcome->trapped_record.changed_at = work->at;
}

void change_host_apply(const struct change_work *asked)
{
	struct change_work work = *asked;
	struct registers registers;
	const struct hosts_known *known = &registers.known;
	name_host(&work);
	read_registers(&work, &registers);
	work.effect->was_stranger = hosts_kind_of(known, work.now) == HOSTS_NONE;
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

void change_host_delete(const struct change_work *work)
{
	change_host_apply(work);
	if (work->effect->n_writes == 0) {
		work->effect->ret = ERR_NOT_FOUND;
	}
}

void change_host_put(const struct change_work *work)
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

void change_host_merge(const struct change_work *work)
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
	if (is_known && change_is_same(&merged, &old)) {
		work->effect->has_host = false;
		return;
	}
	put_register(work, change->record_kind, &merged);
	describe_host(work);
}
