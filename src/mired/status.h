/* The figures of a running engine as the JSON object that `status` answers. */
#pragma once

#include <jansson.h>

#include "base/clock.h"
#include "base/counters.h"
#include "conf/conf.h"
#include "engine/engine.h"

/* A new object. `control` are the control socket's counters, started the engine role's start. */
json_t *status_json(const struct engine_figures *figures, const struct counters *control,
                    const struct conf *conf, struct mono started);

/* Where a counter stands in the object. */
struct status_place {
	const char *group;
	const char *name;
};
struct status_place status_place_of(enum counter which);
