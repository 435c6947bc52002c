/* The greylisting rules: what a deferred attempt means for its tuple and its host. Pure: records
 * in, records out, the clock handed in. Rules: OpenBSD grey.c as written down in the manual, with
 * mired's deviations named at the top of greylist.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* Life and counters of a tuple, or of one register (white, trapped) of a host. Times are wall
 * seconds. */
struct grey_record {
	struct wall first;      /* first seen */
	struct wall pass;       /* when it became eligible; first + life while it is not */
	struct wall expire;     /* end of life; from this second on it does not exist */
	struct wall changed_at; /* last change that another host must learn of */
	uint32_t bcount;        /* attempts deferred */
	uint32_t pcount;        /* times passed */
	struct wall last;       /* tuples: newest attempt that counted, here or at a peer */
	/* a tombstone: the record was deleted at changed_at; only merges see it. expire: until when
	 * it is kept (0: always) */
	bool is_deleted;
};

struct greylist_conf {
	int64_t passtime_secs; /* a retry counts when strictly later than first + passtime */
	int64_t greyexp_secs;  /* life of a tuple, from first, never extended */
	int64_t whiteexp_secs; /* life of a whitelisted host from promotion or last traffic */
};

enum verdict {
	VERDICT_NEW,     /* *tuple is a new record to store */
	VERDICT_EARLY,   /* known, too early: only bcount and last changed */
	VERDICT_PROMOTE, /* qualified: *tuple changed, *host is a white record to store */
	VERDICT_WHITE,   /* the host is white already: nothing changed, re-assert it */
	VERDICT_TRAPPED, /* the host is trapped: nothing changed */
};

/* What is known of one attempt. Pointers may be NULL: not stored. Expired records and tombstones
 * count as absent, but the last attempt of such a tuple goes on into its next life. */
struct greylist_known {
	const struct grey_record *tuple;
	const struct grey_record *white;
	const struct grey_record *trapped;
};

/* Decides one deferred attempt seen at `now`. Writes *tuple (NEW, EARLY, PROMOTE) and *host
 * (PROMOTE).*/
enum verdict greylist_attempt(const struct greylist_conf *conf, struct wall now,
                              const struct greylist_known *known, struct grey_record *tuple,
                              struct grey_record *host);

/* The same for an attempt that a peer saw at `at` by its own clock. It counts only if that is later
 * than tuple->last; else VERDICT_EARLY with *tuple as it was (bcount, too). Ageing goes by `now`. A
 * new tuple's last is the later of both, so that no recorded attempt counts in a tuple's next life.
 */
enum verdict greylist_peer_attempt(const struct greylist_conf *conf, struct wall now,
                                   struct wall at, const struct greylist_known *known,
                                   struct grey_record *tuple, struct grey_record *host);

/* The first second in which a retry of this tuple qualifies, if it lives until then. */
struct wall greylist_passes_at(const struct greylist_conf *conf, const struct grey_record *tuple);

/* True while the record exists at `now`. NULL and a tombstone are not live. */
bool grey_record_is_live(const struct grey_record *record, struct wall now);
