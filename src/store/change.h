/* Changes that come from outside the SMTP dialogue: an administrator's (miredb), an import's, what
 * mired-logd has seen. One grammar for the control socket, one function that carries a change out
 * in a transaction; the keeper and miredb (while no daemon runs) both use it.
 *
 * A change in text form is one line:
 *
 *   white ADDRESS              add or renew a white host (miredb -a)
 *   trapped ADDRESS            trap a host (miredb -a -t)
 *   spamtrap MAILBOX           add a spamtrap address (miredb -a -T)
 *   delete KEY                 the record under KEY, whatever its type (miredb -d)
 *   delete-grey ADDRESS        one tuple of that host (miredb -d -G)
 *   put RECORD                 a record in spamdb's text format, as it stands (import)
 *   merge RECORD               a record of another host in its merge form (import --merge)
 *   seen in|out ADDRESS COUNT LIFE   traffic seen COUNT times; white for LIFE seconds (mired-logd)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/span.h"
#include "policy/hosts.h"
#include "store/dump.h"
#include "store/record.h"
#include "store/store.h"

/* The place in the journal up to which the peers were told. */
#define CHANGE_SYNC_CURSOR "sync"

enum change_kind {
	CHANGE_WHITE,
	CHANGE_TRAPPED,
	CHANGE_SPAMTRAP,
	CHANGE_DELETE, /* a host's records (has address), or a spamtrap (text.recipient) */
	CHANGE_DELETE_GREY,
	CHANGE_PUT, /* record_kind says of what */
	CHANGE_SEEN,
	CHANGE_TRAP_HIT, /* of a dialogue; not in text form */
	CHANGE_MERGE,    /* record_kind says of what; record may be a tombstone */
	/* of peers; not in text form. record.changed_at: the block's timestamp; what is not later
	 * than what is known does nothing (ERR_BUSY) */
	CHANGE_PEER_GREY,   /* an attempt: record.changed_at, text; the keeper decides it with its
	                     * own attempts, change_apply does nothing */
	CHANGE_PEER_HOST,   /* record_kind WHITE (traffic, promotion) or TRAPPED, record.expire;
	                     * record.pass of a promotion: the block's timestamp */
	CHANGE_PEER_MANUAL, /* record_kind WHITE, TRAPPED or TRAP_ADDRESS, record.expire */
	CHANGE_PEER_DELETE, /* record_kind WHITE, TRAPPED or TRAP_ADDRESS */
	CHANGE_CURSOR,      /* seq: of CHANGE_SYNC_CURSOR */
	CHANGE_DELIST,      /* the host is on a list: its white register goes; not in text form */
	CHANGE_KIND_COUNT
};

enum {
	CHANGE_LINE_MAX = DUMP_LINE_MAX + 6, /* the longest is a merge */
	CHANGE_TEXT_BYTES = DUMP_TEXT_BYTES,
	CHANGE_WHY_MAX = DUMP_WHY_MAX,
	CHANGE_LIFE_MAX = 10 * 365 * 24 * 3600, /* the longest whiteexp there is */
};

struct change {
	enum change_kind kind;
	bool has_addr;
	struct addr addr; /* whole, not grouped */
	enum record_kind record_kind;
	struct grey_record record; /* PUT, MERGE, PEER_... */
	uint32_t count;            /* SEEN */
	int64_t life_secs;         /* SEEN */
	bool is_outbound;          /* SEEN */
	bool is_peers;             /* TRAP_HIT: of a peer's tuple, so peers are not told */
	uint64_t seq;              /* CURSOR */
	uint32_t peer_be;          /* PEER_HOST: IPv4 address of who told it, for the log */
	/* PUT, MERGE of a tuple; a mailbox (normalised) is text.recipient. Points into the parser's
	 * buffer
	 */
	struct tuple_text text;
};

/* Times and groups a change needs. */
struct change_conf {
	int64_t whiteexp_secs;
	int64_t trapexp_secs;
	unsigned ipv6_prefix;
};

/* line: without its LF; words are separated by one space. buf keeps the texts. ERR_SYNTAX,
 * ERR_RANGE, ERR_TOO_LONG, ERR_UNSUPPORTED (see dump_parse) with why in spamdb's words where it has
 * some
 * ("invalid ip address X", "not an email address: X"). Pure. */
MUST_USE int change_parse(struct span line, uint8_t buf[static CHANGE_TEXT_BYTES],
                          struct change *out, char why[static CHANGE_WHY_MAX]);

/* What a change did, for whoever keeps copies in memory. Valid when the transaction commits. */
struct change_effect {
	int ret; /* ERR_NOT_FOUND: nothing to delete; ERR_BUSY: a peer's that is stale */
	unsigned n_writes;
	bool has_host;            /* registers of these hosts changed: forget them */
	struct addr white_addr;   /* grouped */
	struct addr trapped_addr; /* whole */
	bool is_trapped_now;      /* until expire */
	bool is_white_now;        /* likewise; never both */
	bool was_stranger;        /* neither before */
	struct wall expire;
	bool has_tuple; /* this tuple changed or went */
	struct tuple_key tuple;
	bool has_spamtrap; /* text.recipient is one, or was deleted */
	bool is_spamtrap_deleted;
};

/* Carries the change out at `now` (the time by which records live). The one write that peers are to
 * hear of gets its origin, all others are silent. Store errors stay in the transaction, as
 * everywhere. */
void change_apply(struct store_txn *txn, const struct change_conf *conf, struct wall now,
                  const struct change *change, struct change_effect *effect);
