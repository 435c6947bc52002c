/* Keeps the report of a running engine: reads its counters and the clock, and writes STATE/report
 * once a minute, with each new row and at the end, so that a kill loses a minute at most. A file
 * that cannot be read, or not all of it, is kept as STATE/report.bad. That, and when the file
 * cannot be written, is said in the log; the report goes on in memory. Owner: the engine role's
 * thread. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/counters.h"
#include "conf/conf.h"
#include "engine/engine.h"

struct recorder;

/* Reads what the file has. All is borrowed until recorder_close. -ENOMEM. */
MUST_USE int recorder_open(struct recorder **out, const struct conf *conf, struct engine *engine,
                           const struct counters *control);
/* Reads a last time and saves; the engine must still be there. NULL is fine. */
void recorder_close(struct recorder *recorder);
/* Call it at least once a second. */
void recorder_turn(struct recorder *recorder, struct mono now);
/* The newest n rows, oldest first, as the verb `report` answers them; a new object. */
json_t *recorder_json(struct recorder *recorder, size_t n);
