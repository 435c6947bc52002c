/* The figures of a running engine as Prometheus takes them, the answer to `metrics`. Each counter
 * of base/counters.h is there with the help that stands there; the rest are rows of tables. No
 * label depends on what a client does. Pure. */
#pragma once

#include "base/clock.h"
#include "base/counters.h"
#include "conf/conf.h"
#include "engine/engine.h"
#include "mired/exposition.h"
#include "mired/metrics_named.h"
#include "mired/processes.h"

enum { METRICS_LINES_MAX = 500 };

/* All borrowed. */
struct metrics_input {
	const struct engine_figures *figures;
	const struct counters *control; /* the control socket's */
	const struct conf *conf;
	const struct metrics_lists *lists;
	const struct processes *processes;
	struct wall started;
};

/* The text, malloc'ed, ended by its last line and a NUL; NULL: no memory. */
char *metrics_text(const struct metrics_input *input, enum exposition_format format);
