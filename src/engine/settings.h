/* What the engine's threads take from the configuration. Immutable: a reload publishes another one
 * as a whole, and each thread takes it at the beginning of its turn (base/qsbr.h). Before the first
 * reload there is none: the threads have what they were started with. */
#pragma once

#include <stdint.h>

#include "base/compiler.h"
#include "conf/conf.h"
#include "keeper/knowledge.h"
#include "smtp/session.h"

struct engine_capacity;

struct settings {
	struct knowledge_conf live;
	struct reply_set texts;
	uint32_t max_connections;
	uint32_t max_listed;
	double bytes_per_sec; /* stuttered ones, of one worker */
};

/* What `capacity` says of *conf, for `workers` threads. Takes over what *conf holds, also when it
 * fails, and leaves it empty. -ENOMEM, or the codes of reply_set_init. */
MUST_USE int settings_new(struct settings **out, struct conf *conf,
                          const struct engine_capacity *capacity, uint64_t bytes_per_sec);
void settings_free(struct settings *settings);

/* Everything in a session_conf but its texts and the stretch of its pace. */
void settings_of_sessions(const struct conf *conf, struct session_conf *out);
