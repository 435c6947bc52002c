/* The rules for a host's two registers (spec: spamdb(8) for changes by hand, grey.c for trap hits,
 * spamlogd(8) for traffic). Those programs keep one record a host and change its kind; here the
 * register that begins takes over what the other one knew, and the other one goes:
 *
 *             nothing known                   trapped                     white
 *   hit       first = now, bcount 1,          bcount + 1                  copy, bcount + 1,
 *             pass = expire                                               white goes
 *   trapped   first = now, bcount 1, pass 0   -                           copy, white goes
 *   white     first = pass = now, bcount 1    copy, pass = now,           pass = now, pcount + 1
 *                                             pcount 0, trapped goes
 *   seen      first = pass = now, bcount 1,   nothing changes             pcount + count
 *             pcount = count - 1
 *
 * Expire is now + life in each of them. A register that has expired is as good as absent. Where the
 * other one begins, a deletion is written whether it is there or not: another gateway may have it,
 * and the kernel keeps its element longer than the store its record.
 *
 * What a peer tells counts for a register that was changed earlier than that, by the peer's clock:
 *
 *             nothing known, or deleted       the same register           the other register
 *   trapped   first = now, pass and           bcount + 1                  white goes
 *             bcount 0
 *   white     first = now, bcount 0,          pcount + 1                  nothing changes
 *             pass as told or 0
 *   white by  the same                        the same                    trapped goes
 *   hand
 *
 * Expire is as told for a new register, else the later of both.
 *
 * Deviations: a hit extends the trap's life (grey.c leaves it at the old record's expire, which may
 * be 36 days off); traffic never un-traps, nor does a peer's (grey.c: it does). A record of a peer
 * extends a life (grey.c keeps the expire it has): the two gateways' records are to become the same
 * one. One that is told late, or twice, changes nothing (grey.c: counts and un-traps). */
#include "policy/hosts.h"

#include <stddef.h>

static const struct grey_record *live(const struct grey_record *record, struct wall now)
{
	return grey_record_is_live(record, now) && !record->is_deleted ? record : NULL;
}

static uint32_t sum(uint32_t a, uint32_t b)
{
	return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

static struct grey_record begun(struct wall now)
{
	return (struct grey_record){.first = now, .bcount = 1};
}

static struct hosts_outcome trapped(struct grey_record record, struct wall now, struct wall expire)
{
	record.expire = expire;
	record.changed_at = now;
	return (struct hosts_outcome){
	        .white = HOSTS_DELETE, .trapped = HOSTS_PUT, .trapped_record = record};
}

/* The record that is to become a trapped one; NULL when nothing is known of the host. */
static const struct grey_record *to_be_trapped(const struct hosts_known *known, struct wall now)
{
	const struct grey_record *old = live(known->trapped, now);
	return old ? old : live(known->white, now);
}

struct hosts_outcome hosts_trap_hit(int64_t trapexp_secs, struct wall now,
                                    const struct hosts_known *known)
{
	struct wall expire = {now.secs + trapexp_secs};
	const struct grey_record *old = to_be_trapped(known, now);
	struct grey_record record = old ? *old : begun(now);
	if (old) {
		record.bcount = sum(record.bcount, 1);
	} else {
		record.pass = expire;
	}
	record.pcount = 0;
	return trapped(record, now, expire);
}

struct hosts_outcome hosts_add_trapped(int64_t trapexp_secs, struct wall now,
                                       const struct hosts_known *known)
{
	struct wall expire = {now.secs + trapexp_secs};
	const struct grey_record *old = to_be_trapped(known, now);
	struct grey_record record = old ? *old : begun(now);
	record.pcount = 0;
	return trapped(record, now, expire);
}

struct hosts_outcome hosts_add_white(int64_t life_secs, struct wall now,
                                     const struct hosts_known *known)
{
	const struct grey_record *was_trapped = live(known->trapped, now);
	const struct grey_record *was_white = live(known->white, now);
	struct grey_record record = begun(now);
	if (was_trapped) {
		record = *was_trapped;
		record.pcount = 0;
	} else if (was_white) {
		record = *was_white;
		record.pcount = sum(record.pcount, 1);
	}
	record.pass = now;
	record.expire = (struct wall){now.secs + life_secs};
	record.changed_at = now;
	return (struct hosts_outcome){
	        .white = HOSTS_PUT, .trapped = HOSTS_DELETE, .white_record = record};
}

struct hosts_outcome hosts_seen(int64_t life_secs, uint32_t count, struct wall now,
                                const struct hosts_known *known)
{
	const struct grey_record *was_white = live(known->white, now);
	struct hosts_outcome outcome = {.white = HOSTS_KEEP, .trapped = HOSTS_KEEP};
	if (count == 0 || live(known->trapped, now)) {
		return outcome;
	}
	struct grey_record record = begun(now);
	if (was_white) {
		record = *was_white;
		record.pcount = sum(record.pcount, count);
	} else {
		record.pass = now;
		record.pcount = count - 1;
	}
	record.expire = (struct wall){now.secs + life_secs};
	record.changed_at = now;
	outcome.white = HOSTS_PUT;
	outcome.white_record = record;
	return outcome;
}

/* --- what peers tell ---------------------------------------------------------------------------
 */

static bool is_later(const struct hosts_peer *peer, const struct grey_record *known)
{
	return !known || peer->record.changed_at.secs > known->changed_at.secs;
}

static struct grey_record told(const struct hosts_peer *peer, const struct grey_record *known,
                               struct wall now)
{
	struct wall expire = peer->record.expire;
	struct grey_record record = {.first = now, .pass = peer->record.pass, .expire = expire};
	if (known) {
		record = *known;
		record.bcount = sum(record.bcount, peer->is_trapped);
		record.pcount = sum(record.pcount, !peer->is_trapped);
		record.expire = expire.secs > known->expire.secs ? expire : known->expire;
	}
	record.changed_at = peer->record.changed_at;
	return record;
}

static struct hosts_outcome peer_trapped(const struct hosts_peer *peer, struct wall now,
                                         const struct hosts_known *known)
{
	struct hosts_outcome outcome = {.white = HOSTS_KEEP, .trapped = HOSTS_KEEP};
	if (is_later(peer, known->trapped)) {
		outcome.trapped = HOSTS_PUT;
		outcome.trapped_record = told(peer, live(known->trapped, now), now);
	}
	if (is_later(peer, known->white)) {
		outcome.white = HOSTS_DELETE;
	}
	return outcome;
}

static struct hosts_outcome peer_white(const struct hosts_peer *peer, struct wall now,
                                       const struct hosts_known *known)
{
	struct hosts_outcome outcome = {.white = HOSTS_KEEP, .trapped = HOSTS_KEEP};
	if (peer->is_manual && is_later(peer, known->trapped)) {
		outcome.trapped = HOSTS_DELETE;
	} else if (live(known->trapped, now)) {
		return outcome;
	}
	if (is_later(peer, known->white)) {
		outcome.white = HOSTS_PUT;
		outcome.white_record = told(peer, live(known->white, now), now);
	}
	return outcome;
}

struct hosts_outcome hosts_peer(const struct hosts_peer *peer, struct wall now,
                                const struct hosts_known *known)
{
	if (peer->record.expire.secs <= now.secs) {
		return (struct hosts_outcome){.white = HOSTS_KEEP, .trapped = HOSTS_KEEP};
	}
	return peer->is_trapped ? peer_trapped(peer, now, known) : peer_white(peer, now, known);
}

enum hosts_kind hosts_kind_of(const struct hosts_known *known, struct wall now)
{
	if (live(known->trapped, now)) {
		return HOSTS_TRAPPED;
	}
	return live(known->white, now) ? HOSTS_WHITE : HOSTS_NONE;
}
