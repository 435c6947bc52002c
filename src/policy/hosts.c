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
 * Expire is now + life in each of them. A register that has expired is as good as absent, but it is
 * deleted rather than left to the sweep when the other one begins: the kernel keeps its element
 * longer than the store its record.
 *
 * Deviations: a hit extends the trap's life (grey.c leaves it at the old record's expire, which may
 * be 36 days off); traffic never un-traps. */
#include "policy/hosts.h"

#include <stddef.h>

static const struct grey_record *live(const struct grey_record *record, struct wall now)
{
	return grey_record_is_live(record, now) ? record : NULL;
}

static enum hosts_write gone(const struct grey_record *record)
{
	return record ? HOSTS_DELETE : HOSTS_KEEP;
}

static uint32_t sum(uint32_t a, uint32_t b)
{
	return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

static struct grey_record begun(struct wall now)
{
	return (struct grey_record){.first = now, .bcount = 1};
}

static struct hosts_outcome trapped(const struct hosts_known *known, struct grey_record record,
                                    struct wall now, struct wall expire)
{
	record.expire = expire;
	record.changed_at = now;
	return (struct hosts_outcome){
	        .white = gone(known->white), .trapped = HOSTS_PUT, .trapped_record = record};
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
	return trapped(known, record, now, expire);
}

struct hosts_outcome hosts_add_trapped(int64_t trapexp_secs, struct wall now,
                                       const struct hosts_known *known)
{
	struct wall expire = {now.secs + trapexp_secs};
	const struct grey_record *old = to_be_trapped(known, now);
	struct grey_record record = old ? *old : begun(now);
	record.pcount = 0;
	return trapped(known, record, now, expire);
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
	        .white = HOSTS_PUT, .trapped = gone(known->trapped), .white_record = record};
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

enum hosts_kind hosts_kind_of(const struct hosts_known *known, struct wall now)
{
	if (live(known->trapped, now)) {
		return HOSTS_TRAPPED;
	}
	return live(known->white, now) ? HOSTS_WHITE : HOSTS_NONE;
}
