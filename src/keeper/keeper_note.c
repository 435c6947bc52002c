/* Notes of what became of hosts, for those who ask why later (keeper/events.h). Keeper's thread;
 * called once the thing is durable. */
#include "keeper/events.h"
#include "keeper/keeper_impl.h"

static void note(struct keeper *keeper, struct events *ring, const struct event *event,
                 struct span text)
{
	struct event timed = *event;
	timed.at = keeper->wall;
	events_add(ring, &timed, text);
}

/* --- attempts --------------------------------------------------------------------------------- */

static const enum event_kind kind_of_verdict[] = {
        [VERDICT_NEW] = EVENT_NEW,        [VERDICT_EARLY] = EVENT_EARLY,
        [VERDICT_PROMOTE] = EVENT_PASSED, [VERDICT_WHITE] = EVENT_NONE,
        [VERDICT_TRAPPED] = EVENT_NONE,
};

void keeper_note_attempt(struct keeper *keeper, const struct whom *whom, bool is_peers,
                         enum verdict verdict, struct span recipient)
{
	const struct event event = {.addr = whom->peer,
	                            .kind = kind_of_verdict[verdict],
	                            .by = is_peers ? EVENT_BY_PEER : EVENT_BY_CLIENT};
	bool is_turn = verdict == VERDICT_PROMOTE;
	if (event.kind != EVENT_NONE) {
		note(keeper, is_turn ? keeper->env.turns : keeper->env.attempts, &event, recipient);
	}
}

/* --- turns ------------------------------------------------------------------------------------ */

void keeper_note_trap(struct keeper *keeper, const struct batch_result *result)
{
	const struct keeper_request *request = pending_request(result->pending);
	bool is_low_priority = result->deed == DEED_TRAP_LOW_PRIORITY;
	const struct event event = {.addr = request->peer,
	                            .kind = is_low_priority ? EVENT_TRAPPED_LOW_PRIORITY
	                                                    : EVENT_TRAPPED,
	                            .by = EVENT_BY_CLIENT};
	note(keeper, keeper->env.turns, &event, keeper_tuple_text(request).recipient);
}

/* Who is behind a change; the kinds that are no host's are not asked for. */
static enum event_by author_of(const struct change *change)
{
	switch (change->kind) {
	case CHANGE_WHITE:
	case CHANGE_TRAPPED:
	case CHANGE_SPAMTRAP:
	case CHANGE_DELETE:
	case CHANGE_DELETE_GREY:
		return EVENT_BY_ADMIN;
	case CHANGE_PUT:
	case CHANGE_MERGE:
		return EVENT_BY_IMPORT;
	case CHANGE_SEEN:
		return EVENT_BY_TRAFFIC;
	case CHANGE_TRAP_HIT:
	case CHANGE_PEER_GREY:
	case CHANGE_PEER_HOST:
	case CHANGE_PEER_MANUAL:
	case CHANGE_PEER_DELETE:
		return EVENT_BY_PEER;
	case CHANGE_DELIST:
		return EVENT_BY_LIST;
	case CHANGE_CURSOR:
	case CHANGE_KIND_COUNT:
		break;
	}
	return EVENT_BY_ADMIN;
}

static enum event_kind turn_of(const struct change *change, const struct change_effect *effect)
{
	if (change->kind == CHANGE_DELIST) {
		return EVENT_DELISTED;
	}
	if (effect->has_host && effect->is_trapped_now) {
		return EVENT_TRAPPED;
	}
	return effect->has_host && effect->is_white_now ? EVENT_WHITE : EVENT_DELETED;
}

void keeper_note_change(struct keeper *keeper, const struct batch_result *result)
{
	const struct change_effect *effect = &result->effect;
	const struct keeper_change *message = pending_change(result->pending);
	const struct change *change = &message->change;
	bool is_of_tuple = effect->has_tuple && change->kind == CHANGE_DELETE_GREY;
	if (effect->ret != 0 || effect->n_writes == 0 || (!effect->has_host && !is_of_tuple)) {
		return;
	}
	const struct event event = {.addr = is_of_tuple ? change->addr : effect->trapped_addr,
	                            .kind = turn_of(change, effect),
	                            .by = author_of(change)};
	note(keeper, keeper->env.turns, &event, keeper_change_text(message).recipient);
}

void keeper_note_expired(struct keeper *keeper, enum record_kind kind, const struct addr *addr)
{
	bool is_tuple = kind == RECORD_GREY;
	const struct event event = {.addr = *addr,
	                            .kind = is_tuple ? EVENT_FORGOTTEN : EVENT_EXPIRED,
	                            .by = EVENT_BY_TIME};
	note(keeper, is_tuple ? keeper->env.attempts : keeper->env.turns, &event, (struct span){0});
}

void keeper_note_reasserted(struct keeper *keeper, const struct addr *addr)
{
	const struct event event = {.addr = *addr, .kind = EVENT_REASSERTED, .by = EVENT_BY_CLIENT};
	note(keeper, keeper->env.turns, &event, (struct span){0});
}
