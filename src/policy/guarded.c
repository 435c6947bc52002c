/* Records are handed to the rules as copies that live by the wall clock if they live by the
 * guard's; what the rules make of them gets its true end back. */
#include "policy/guarded.h"

#include <stddef.h>

/* A copy that lives by the wall clock if the record lives by the guard's time. */
static const struct grey_record *by_wall(const struct guarded_now *now,
                                         const struct grey_record *record, struct grey_record *copy)
{
	if (!record) {
		return NULL;
	}
	bool is_live = grey_record_is_live(record, now->life);
	*copy = *record;
	if (is_live && copy->expire.secs <= now->wall.secs) {
		copy->expire.secs = now->wall.secs + 1;
	} else if (!is_live && copy->expire.secs > now->wall.secs) {
		copy->expire = now->wall;
	}
	return copy;
}

/* What was made to live or not for the judgement ends when it did. */
static void keep_end(const struct grey_record *stored, struct grey_record *judged)
{
	if (stored) {
		judged->expire = stored->expire;
	}
}

static enum verdict judge(const struct greylist_conf *conf, const struct guarded_now *now,
                          const struct greylist_known *live, struct grey_record *tuple,
                          struct grey_record *host)
{
	return now->peers_at
	               ? greylist_peer_attempt(conf, now->wall, *now->peers_at, live, tuple, host)
	               : greylist_attempt(conf, now->wall, live, tuple, host);
}

enum verdict guarded_attempt(const struct greylist_conf *conf, const struct guarded_now *now,
                             const struct greylist_known *known, struct grey_record *tuple,
                             struct grey_record *host)
{
	struct grey_record copies[3];
	struct greylist_known live = {
	        .tuple = by_wall(now, known->tuple, &copies[0]),
	        .white = by_wall(now, known->white, &copies[1]),
	        .trapped = by_wall(now, known->trapped, &copies[2]),
	};
	int64_t behind_secs = now->life.secs - now->wall.secs;
	behind_secs = behind_secs > 0 ? behind_secs : 0;
	enum verdict verdict = judge(conf, now, &live, tuple, host);
	switch (verdict) {
	case VERDICT_NEW:
		tuple->expire.secs += behind_secs;
		tuple->pass.secs += behind_secs;
		break;
	case VERDICT_PROMOTE:
		host->expire.secs += behind_secs;
		keep_end(known->tuple, tuple);
		break;
	case VERDICT_EARLY:
		keep_end(known->tuple, tuple);
		break;
	case VERDICT_WHITE:
	case VERDICT_TRAPPED:
		break;
	}
	return verdict;
}
