/* The answer to the request `why`, as mired-ctl(7) describes it. */
#pragma once

#include <jansson.h>

#include "base/span.h"
#include "engine/engine.h"

/* args: the request's words. A new object, an error's included. The engine's caller's thread. */
json_t *why_answer(struct engine *engine, struct span args);
