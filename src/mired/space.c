/* A state is said when it changes and once a day while it lasts. */
#include "mired/space.h"

#include "base/log.h"

enum space_word space_judge(struct space *space, const struct store_stats *stats, struct mono now)
{
	enum store_space state = store_space_of(stats);
	bool is_first = !space->has_looked;
	bool is_new = state != space->state;
	space->has_looked = true;
	space->state = state;
	if (state == STORE_SPACE_FINE) {
		space->is_said = false;
		return is_new                                      ? SPACE_SAY_FINE
		       : is_first && store_wants_compaction(stats) ? SPACE_SAY_COMPACT
		                                                   : SPACE_SAY_NOTHING;
	}
	if (!is_new && space->is_said && mono_diff_ms(now, space->said_at) < SPACE_REPEAT_MS) {
		return SPACE_SAY_NOTHING;
	}
	space->is_said = true;
	space->said_at = now;
	return SPACE_SAY_STATE;
}

static void say_state(enum store_space state, unsigned percent)
{
	if (state == STORE_SPACE_FULL) {
		log_error("store: full (%u %% of store-map are in use): it takes no new records "
		          "until some expire; raise store-map and restart",
		          percent);
	} else {
		log_warning("store: %u %% of store-map are in use; at 87 %% it takes no new "
		            "records: raise store-map and restart",
		            percent);
	}
}

void space_turn(struct space *space, struct engine *engine, struct mono now)
{
	struct engine_figures figures;
	if (now.ns < space->look_at.ns) {
		return;
	}
	space->look_at = mono_add_ms(now, SPACE_LOOK_MS);
	engine_figures_get(engine, &figures);
	switch (space_judge(space, &figures.store, now)) {
	case SPACE_SAY_NOTHING:
		break;
	case SPACE_SAY_STATE:
		say_state(space->state, store_used_percent(&figures.store));
		break;
	case SPACE_SAY_FINE:
		log_info("store: %u %% of store-map are in use again",
		         store_used_percent(&figures.store));
		break;
	case SPACE_SAY_COMPACT:
		log_info("store: %u %% of its file are free pages; miredb --compact gives them "
		         "back while mired is stopped",
		         store_free_percent(&figures.store));
		break;
	}
}
