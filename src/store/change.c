/* What a change does to records. The rules for a host's two registers are policy/hosts.h; here they
 * meet the store. A put stores one record as it stands and leaves the host's other register alone,
 * so that a dump comes back as it was. The grammar is change_parse.c. */
#include "store/change.h"

#include "base/err.h"

/* --- hosts ------------------------------------------------------------------------------------ */

/* A change being carried out. */
struct work {
	struct store_txn *txn;
	const struct change_conf *conf;
	struct wall now;
	const struct change *change;
	struct change_effect *effect;
};

/* Both registers as stored. */
struct registers {
	struct grey_record white;
	struct grey_record trapped;
	struct hosts_known known;
};

static void read_registers(const struct work *work, struct registers *out)
{
	const struct change_effect *effect = work->effect;
	bool has_white = store_get_host(work->txn, &effect->white_addr, RECORD_WHITE, &out->white);
	bool has_trapped =
	        store_get_host(work->txn, &effect->trapped_addr, RECORD_TRAPPED, &out->trapped);
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

static void write_register(const struct work *work, enum record_kind kind, enum hosts_write write,
                           const struct grey_record *record)
{
	switch (write) {
	case HOSTS_KEEP:
		return;
	case HOSTS_PUT:
		store_put_host(work->txn, register_addr(work, kind), kind, record);
		break;
	case HOSTS_DELETE:
		store_bury_host(work->txn, register_addr(work, kind), kind, work->now, work->now);
		break;
	}
	work->effect->n_writes++;
}

/* Trap first: the journal then never shows a white host that is to be none. */
static void write_outcome(const struct work *work, const struct hosts_outcome *outcome)
{
	write_register(work, RECORD_TRAPPED, outcome->trapped, &outcome->trapped_record);
	write_register(work, RECORD_WHITE, outcome->white, &outcome->white_record);
}

/* What the host is by now. */
static void describe_host(const struct work *work)
{
	struct registers registers;
	struct change_effect *effect = work->effect;
	read_registers(work, &registers);
	enum hosts_kind kind = hosts_kind_of(&registers.known, work->now);
	effect->is_trapped_now = kind == HOSTS_TRAPPED;
	effect->is_white_now = kind == HOSTS_WHITE;
	if (kind != HOSTS_NONE) {
		effect->expire =
		        kind == HOSTS_TRAPPED ? registers.trapped.expire : registers.white.expire;
	}
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
		return (struct hosts_outcome){.white = known->white ? HOSTS_DELETE : HOSTS_KEEP,
		                              .trapped =
		                                      known->trapped ? HOSTS_DELETE : HOSTS_KEEP};
	case CHANGE_DELIST:
		return (struct hosts_outcome){.white = known->white ? HOSTS_DELETE : HOSTS_KEEP};
	case CHANGE_SPAMTRAP:
	case CHANGE_DELETE_GREY:
	case CHANGE_PUT:
	case CHANGE_MERGE:
	case CHANGE_PEER_GREY:
	case CHANGE_PEER_HOST:
	case CHANGE_PEER_MANUAL:
	case CHANGE_PEER_DELETE:
	case CHANGE_CURSOR:
	case CHANGE_KIND_COUNT:
		break; /* not of a host's registers */
	}
	return (struct hosts_outcome){.white = HOSTS_KEEP};
}

static void apply_to_host(const struct work *work)
{
	struct registers registers;
	name_host(work);
	read_registers(work, &registers);
	struct hosts_outcome outcome = decide(work, &registers.known);
	write_outcome(work, &outcome);
	describe_host(work);
}

static void delete_from_host(const struct work *work)
{
	apply_to_host(work);
	if (work->effect->n_writes == 0) {
		work->effect->ret = ERR_NOT_FOUND;
	}
}

/* --- spamtraps, tuples, puts ------------------------------------------------------------------ */

static void put_spamtrap(const struct work *work)
{
	struct span address = work->change->text.recipient;
	work->effect->has_spamtrap = true;
	if (!store_has_trap_address(work->txn, address)) {
		struct grey_record record = {
		        .first = work->now, .changed_at = work->now, .bcount = 1};
		store_put_trap_address(work->txn, address, &record);
		work->effect->n_writes++;
	}
}

static void delete_spamtrap(const struct work *work)
{
	struct span address = work->change->text.recipient;
	if (!store_has_trap_address(work->txn, address)) {
		work->effect->ret = ERR_NOT_FOUND;
		return;
	}
	(void)store_bury_trap_address(work->txn, address, work->now);
	work->effect->has_spamtrap = true;
	work->effect->is_spamtrap_deleted = true;
	work->effect->n_writes++;
}

static void delete_key(const struct work *work)
{
	if (work->change->has_addr) {
		delete_from_host(work);
	} else {
		delete_spamtrap(work);
	}
}

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
	write_register(work, change->record_kind, HOSTS_PUT, &record);
	describe_host(work);
}

static void put_tuple(const struct work *work)
{
	const struct change *change = work->change;
	struct addr host = addr_group(&change->addr, work->conf->ipv6_prefix);
	struct change_effect *effect = work->effect;
	struct grey_record record = change->record;
	record.changed_at = work->now;
	effect->tuple = record_tuple_key(store_hash_key(work->txn->store), &host, &change->text);
	effect->has_tuple = true;
	store_put_tuple(work->txn, &effect->tuple, &record, &change->text);
	effect->n_writes++;
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

void change_apply(struct store_txn *txn, const struct change_conf *conf, struct wall now,
                  const struct change *change, struct change_effect *effect)
{
	static void (*const applies[CHANGE_KIND_COUNT])(const struct work *work) = {
	        [CHANGE_WHITE] = apply_to_host,     [CHANGE_TRAPPED] = apply_to_host,
	        [CHANGE_SPAMTRAP] = put_spamtrap,   [CHANGE_DELETE] = delete_key,
	        [CHANGE_DELETE_GREY] = delete_grey, [CHANGE_PUT] = put_record,
	        [CHANGE_SEEN] = apply_to_host,      [CHANGE_TRAP_HIT] = apply_to_host,
	        [CHANGE_DELIST] = delete_from_host,
	};
	struct work work = {txn, conf, now, change, effect};
	*effect = (struct change_effect){.ret = 0};
	ASSERT(change->kind < CHANGE_KIND_COUNT);
	applies[change->kind](&work);
}
