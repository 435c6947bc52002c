/* A line of spamdb does not say when its record was changed. Too late a stamp would let it win over
 * newer facts, so each kind has the latest time that its fields prove:
 *
 *   WHITE     EXPIRE - whiteexp: its last promotion or traffic
 *   TRAPPED   EXPIRE - trapexp: its last hit
 *   GREY      PASS if that is before EXPIRE, which is when it passed; else FIRST
 *   SPAMTRAP  0: it loses against any deletion
 */
#include "miredb/stamp.h"

#include <stdio.h>

#include "base/err.h"

static struct wall changed_at(const struct stamp_conf *conf, const struct dump_record *record)
{
	const struct grey_record *times = &record->record;
	switch (record->kind) {
	case RECORD_WHITE:
		return (struct wall){times->expire.secs - conf->whiteexp_secs};
	case RECORD_TRAPPED:
		return (struct wall){times->expire.secs - conf->trapexp_secs};
	case RECORD_GREY:
		return times->pass.secs < times->expire.secs ? times->pass : times->first;
	case RECORD_TRAP_ADDRESS:
		break;
	}
	return (struct wall){0};
}

/* No fact is older than time or of the future. */
static struct wall clamp(struct wall at, struct wall now)
{
	if (at.secs < 0) {
		return (struct wall){0};
	}
	return at.secs < now.secs ? at : now;
}

static void stamp(const struct stamp_conf *conf, struct dump_record *record)
{
	record->record.changed_at = clamp(changed_at(conf, record), conf->now);
	if (record->kind == RECORD_GREY) {
		record->record.last = record->record.changed_at;
	}
}

int stamp_read(const struct stamp_conf *conf, struct span line, uint8_t buf[static DUMP_TEXT_BYTES],
               struct dump_record *out, char why[static DUMP_WHY_MAX])
{
	bool is_merge = dump_is_merge(line);
	int ret =
	        is_merge ? dump_parse_merge(line, buf, out, why) : dump_parse(line, buf, out, why);
	if (ret) {
		return ret;
	}
	if (!is_merge) {
		stamp(conf, out);
	}
	int64_t ahead_secs = out->record.changed_at.secs - conf->now.secs;
	if (ahead_secs > conf->skew_secs) {
		(void)snprintf(why, DUMP_WHY_MAX,
		               "changed %lld s in the future: the clocks differ by more than "
		               "sync-skew",
		               (long long)ahead_secs);
		return ERR_RANGE;
	}
	return 0;
}
