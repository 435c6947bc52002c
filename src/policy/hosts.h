/* What becomes of a host's two registers, white and trapped, when something is learnt about it.
 * Pure: registers in, registers out, the clock handed in. A host is trapped while its trapped
 * register is live, else white while its white one is. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "policy/greylist.h"

/* As stored; expired records count as absent. NULL: not stored. */
struct hosts_known {
	const struct grey_record *white;
	const struct grey_record *trapped;
};

/* A register that a peer tells of. record: changed_at is the peer's clock, expire the end it tells,
 * pass when the host was whitelisted (0: it does not tell); the rest counts for nothing. */
struct hosts_peer {
	struct grey_record record;
	bool is_trapped; /* else white */
	bool is_manual;
};

/* DELETE leaves a tombstone, whether anything was there or not. */
enum hosts_write { HOSTS_KEEP, HOSTS_PUT, HOSTS_DELETE };

/* What to do with each register; a record is set where the write is PUT. */
struct hosts_outcome {
	enum hosts_write white;
	enum hosts_write trapped;
	struct grey_record white_record;
	struct grey_record trapped_record;
};

/* Mail to a spamtrap or to a domain that gets none, or a first contact with the low-priority MX:
 * trapped until now + trapexp, and no longer white. */
struct hosts_outcome hosts_trap_hit(int64_t trapexp_secs, struct wall now,
                                    const struct hosts_known *known);
/* miredb -t -a: the same, by hand; counters as spamdb has them. */
struct hosts_outcome hosts_add_trapped(int64_t trapexp_secs, struct wall now,
                                       const struct hosts_known *known);
/* miredb -a: white until now + life, and no longer trapped. */
struct hosts_outcome hosts_add_white(int64_t life_secs, struct wall now,
                                     const struct hosts_known *known);
/* Traffic was seen `count` times since the last report: refreshes or makes a white register, never
 * un-traps; nothing while the host is trapped. */
struct hosts_outcome hosts_seen(int64_t life_secs, uint32_t count, struct wall now,
                                const struct hosts_known *known);
/* A register changes only if the peer's is later than it, known->... being tombstones where it was
 * deleted; so nothing that is told twice changes anything. A white one does not change a trapped
 * host, but a manual one un-traps. Tombstones are of the peer's changed_at. */
struct hosts_outcome hosts_peer(const struct hosts_peer *peer, struct wall now,
                                const struct hosts_known *known);
/* What these registers make of the host. */
enum hosts_kind { HOSTS_NONE, HOSTS_WHITE, HOSTS_TRAPPED };
enum hosts_kind hosts_kind_of(const struct hosts_known *known, struct wall now);
