/* The inside of a change, shared by change.c (what is done for which change; spamtraps, tuples, the
 * records of other gateways) and change_host.c (a host's two registers). */
#pragma once

#include "store/change.h"

/* A change being carried out. */
struct change_work {
	struct store_txn *txn;
	const struct change_conf *conf;
	struct wall now;
	const struct change *change;
	struct change_effect *effect;
	struct wall at; /* the stamp of what is written */
};

/* Of all that a change writes, what peers are told of. They do the rest by themselves. */
enum change_origin change_origin_of(const struct change *change, enum record_kind kind);
/* Whether a block says when it happened, by the peer's clock. */
bool change_is_told(const struct change *change);
struct wall change_later(struct wall a, struct wall b);
/* A merge that ends in this brings nothing. */
bool change_is_same(const struct grey_record *a, const struct grey_record *b);

/* --- change_host.c ---------------------------------------------------------------------------- */

/* What the rules make of the registers. */
void change_host_apply(const struct change_work *work);
/* The same where nothing done means that there was nothing to delete. */
void change_host_delete(const struct change_work *work);
/* One register as it stands in the change. */
void change_host_put(const struct change_work *work);
/* One register joined with what is there. */
void change_host_merge(const struct change_work *work);
