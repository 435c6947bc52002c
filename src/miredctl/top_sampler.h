/* What `top` knows of the daemon: asked for over a link that is made anew when it breaks, by a
 * thread of its own, so that keys are heard while an answer takes time. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "ctl/ctl.h"

enum { TOP_TROUBLE_MAX = 512 };

struct top_answers {
	json_t *status;
	json_t *held;                  /* NULL: this daemon does not know it, or refuses */
	double at_secs;                /* monotonic */
	char trouble[TOP_TROUBLE_MAX]; /* not "": there is no answer, and this is why */
	bool is_refused;               /* the daemon said so */
};

/* Asks once, with n_rows of each list. *link: NULL at first; the caller closes it at last. */
void top_fetch(struct ctl_link **link, const char *path, size_t n_rows, struct top_answers *out);
void top_answers_fini(struct top_answers *answers);

struct top_sampler;

/* -errno. */
MUST_USE int top_sampler_start(struct top_sampler **out, const char *path);
/* Does not wait: a thread that still waits for an answer frees the sampler when that has come. */
void top_sampler_stop(struct top_sampler *sampler);
struct top_order {
	unsigned delay_secs;
	size_t n_rows;
	bool is_paused;
};
/* From now on so. A change of the rows or the end of a pause makes it ask at once. */
void top_sampler_set(struct top_sampler *sampler, struct top_order order);
/* Readable when there is something to take. */
int top_sampler_fd(const struct top_sampler *sampler);
/* The newest answers; the caller's to finish. False: none that were not taken. */
bool top_sampler_take(struct top_sampler *sampler, struct top_answers *out);
