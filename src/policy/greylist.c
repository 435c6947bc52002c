/* The greylisting rules. An attempt is one RCPT of a client that is neither listed nor let through
 * by the kernel; it is answered 451 in every case. First match decides:
 *
 *   1. the host is trapped                              TRAPPED  nothing changes
 *   2. the host is white (its kernel entry was lost)    WHITE    nothing changes, assert it again
 *   3. the tuple is unknown, its life has ended, or     NEW      first = now, bcount = 1,
 *      it begins later than now + passtime                       pass = expire = now + greyexp
 *   4. now is strictly later than first + passtime      PROMOTE  tuple: bcount + 1, pass = now;
 *                                                                host: copy of the tuple with
 *                                                                expire = now + whiteexp
 *   5. else                                             EARLY    bcount + 1
 *
 * An attempt that a peer tells of goes by the same rules and the same clock, now. It carries its
 * own time, the peer's; one that is not later than the tuple's last attempt is known already,
 * repeated by the network or replayed by somebody, and rule 4 turns into EARLY with nothing
 * changed. `last` follows the later of clock and stamp, also over the end of a tuple's life while
 * its record is there: what was recorded in one life counts in no other.
 *
 * A tuple that begins in the future was made by a clock that has been set back since. Its sender
 * waits that much longer, but not so long that beginning anew takes less: after a clock that was a
 * year ahead mail would be deferred for a year.
 *
 * Deviations from grey.c:
 *   - The retry that qualifies whitelists its host at once; the original waits for a scan.
 *   - A tuple whose life has ended is gone from that second on; the original let a retry count
 *     until the scan deleted it.
 *   - A white host makes no tuples: it got here only because the kernel had lost it.
 * As there: a tuple's life is never extended, it outlives the promotion, and bcount counts RCPTs,
 * also those repeated within a session. */
#include "policy/greylist.h"

#include <stddef.h>

bool grey_record_is_live(const struct grey_record *record, struct wall now)
{
	return record && !record->is_deleted && now.secs < record->expire.secs;
}

static struct wall later(struct wall a, struct wall b)
{
	return a.secs > b.secs ? a : b;
}

/* dead: its record of a life before, or NULL. */
static struct grey_record new_tuple(const struct greylist_conf *conf, struct wall now,
                                    struct wall at, const struct grey_record *dead)
{
	struct wall end = {now.secs + conf->greyexp_secs};
	struct wall last = later(now, at);
	return (struct grey_record){
	        .first = now,
	        .pass = end,
	        .expire = end,
	        .changed_at = now,
	        .bcount = 1,
	        .last = dead ? later(last, dead->last) : last,
	};
}

/* Whether an attempt is another one of this tuple's. */
static bool goes_on(const struct greylist_conf *conf, const struct grey_record *tuple,
                    struct wall now)
{
	return grey_record_is_live(tuple, now) &&
	       tuple->first.secs <= now.secs + conf->passtime_secs;
}

static struct grey_record deferred_again(const struct grey_record *tuple, struct wall at)
{
	struct grey_record again = *tuple;
	again.bcount += again.bcount < UINT32_MAX;
	again.last = later(again.last, at);
	return again;
}

struct wall greylist_passes_at(const struct greylist_conf *conf, const struct grey_record *tuple)
{
	return (struct wall){tuple->first.secs + conf->passtime_secs + 1}; /* strictly later */
}

static bool has_qualified(const struct greylist_conf *conf, const struct grey_record *tuple,
                          struct wall now)
{
	return now.secs >= greylist_passes_at(conf, tuple).secs;
}

static struct grey_record promoted_host(const struct greylist_conf *conf, struct wall now,
                                        const struct grey_record *tuple)
{
	struct grey_record host = *tuple;
	host.expire = (struct wall){now.secs + conf->whiteexp_secs};
	host.last = (struct wall){0};
	return host;
}

/* Rule 4 or 5 for an attempt that counts. */
static enum verdict retry(const struct greylist_conf *conf, struct wall now,
                          struct grey_record *tuple, struct grey_record *host)
{
	if (!has_qualified(conf, tuple, now)) {
		return VERDICT_EARLY;
	}
	tuple->pass = now;
	tuple->changed_at = now;
	*host = promoted_host(conf, now, tuple);
	return VERDICT_PROMOTE;
}

enum verdict greylist_attempt(const struct greylist_conf *conf, struct wall now,
                              const struct greylist_known *known, struct grey_record *tuple,
                              struct grey_record *host)
{
	if (grey_record_is_live(known->trapped, now)) {
		return VERDICT_TRAPPED;
	}
	if (grey_record_is_live(known->white, now)) {
		return VERDICT_WHITE;
	}
	if (!goes_on(conf, known->tuple, now)) {
		*tuple = new_tuple(conf, now, now, known->tuple);
		return VERDICT_NEW;
	}
	*tuple = deferred_again(known->tuple, now);
	return retry(conf, now, tuple, host);
}

enum verdict greylist_peer_attempt(const struct greylist_conf *conf, struct wall now,
                                   struct wall at, const struct greylist_known *known,
                                   struct grey_record *tuple, struct grey_record *host)
{
	if (grey_record_is_live(known->trapped, now)) {
		return VERDICT_TRAPPED;
	}
	if (grey_record_is_live(known->white, now)) {
		return VERDICT_WHITE;
	}
	if (!goes_on(conf, known->tuple, now)) {
		*tuple = new_tuple(conf, now, at, known->tuple);
		return VERDICT_NEW;
	}
	*tuple = *known->tuple;
	if (at.secs <= tuple->last.secs) {
		return VERDICT_EARLY;
	}
	*tuple = deferred_again(tuple, at);
	return retry(conf, now, tuple, host);
}
