/* Says in the log when the store comes near the end of its map, and at the start when most of its
 * file is free pages. Owner: the engine role's thread. */
#pragma once

#include <stdbool.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "store/store_space.h"

/* All zero at first. */
struct space {
	struct mono look_at; /* not before */
	struct mono said_at; /* with is_said */
	enum store_space state;
	bool is_said; /* the state was, and may be repeated */
	bool has_looked;
};

enum space_word {
	SPACE_SAY_NOTHING,
	SPACE_SAY_STATE, /* tight or full: new, or still after SPACE_REPEAT_MS */
	SPACE_SAY_FINE,  /* again */
	SPACE_SAY_COMPACT,
};

enum { SPACE_LOOK_MS = 60000, SPACE_REPEAT_MS = 24 * 3600 * 1000 };

/* What a look at these figures asks to be said. Pure. */
enum space_word space_judge(struct space *space, const struct store_stats *stats, struct mono now);
/* Looks once a minute. Call it at least that often. */
void space_turn(struct space *space, struct engine *engine, struct mono now);
