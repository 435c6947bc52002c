/* The greylisting rules. An attempt is one RCPT of a client that is neither listed nor let through
 * by the kernel; it is answered 451 in every case. First match decides:
 *
 *   1. the host is trapped                              TRAPPED  nothing changes
 *   2. the host is white (its kernel entry was lost)    WHITE    nothing changes, assert it again
 *   3. the tuple is unknown or its life has ended       NEW      first = now, bcount = 1,
 *                                                                pass = expire = now + greyexp
 *   4. now is strictly later than first + passtime      PROMOTE  tuple: bcount + 1, pass = now;
 *                                                                host: copy of the tuple with
 *                                                                expire = now + whiteexp
 *   5. else                                             EARLY    bcount + 1
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
	return record && now.secs < record->expire.secs;
}

static struct grey_record new_tuple(const struct greylist_conf *conf, struct wall now)
{
	struct wall end = {now.secs + conf->greyexp_secs};
	return (struct grey_record){
	        .first = now,
	        .pass = end,
	        .expire = end,
	        .changed_at = now,
	        .bcount = 1,
	};
}

static struct grey_record deferred_again(const struct grey_record *tuple)
{
	struct grey_record again = *tuple;
	again.bcount += again.bcount < UINT32_MAX;
	return again;
}

static bool has_qualified(const struct greylist_conf *conf, const struct grey_record *tuple,
                          struct wall now)
{
	return now.secs > tuple->first.secs + conf->passtime_secs;
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
	if (!grey_record_is_live(known->tuple, now)) {
		*tuple = new_tuple(conf, now);
		return VERDICT_NEW;
	}
	*tuple = deferred_again(known->tuple);
	if (!has_qualified(conf, tuple, now)) {
		return VERDICT_EARLY;
	}
	tuple->pass = now;
	tuple->changed_at = now;
	*host = *tuple;
	host->expire = (struct wall){now.secs + conf->whiteexp_secs};
	return VERDICT_PROMOTE;
}
