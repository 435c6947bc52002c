/* After an unclean stop: store_check in the background, in a process of its own at the lowest
 * priority, while the engine serves. The result is logged. */
#pragma once

#include <stdint.h>

#include "base/compiler.h"

struct inspector;

/* Forks; call before other threads start. dir is used in the child only. -errno. */
MUST_USE int inspector_start(struct inspector **out, const char *dir, uint64_t map_bytes);
/* Ends an inspection that is still under way. NULL is fine. */
void inspector_stop(struct inspector *inspector);
