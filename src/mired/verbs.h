/* The control socket of a running engine: what may be asked there, a row a verb, and what becomes
 * of requests whose answer takes time. Owner: the engine role's thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/counters.h"
#include "conf/conf.h"
#include "engine/engine.h"

struct verbs;

/* Cookies of engine_list below this one are not the verbs'. */
enum { VERBS_COOKIE_FIRST = 16 };

/* All but the listener is borrowed until verbs_close. */
struct verbs_env {
	struct engine *engine;
	const struct conf *conf;
	struct counters *counters;
	struct mono started; /* the role's start, for the uptime */
	int supervisor;      /* channel, for MSG_RELOAD */
	int listener;        /* owned afterwards, also when it fails */
};

MUST_USE int verbs_open(struct verbs **out, const struct verbs_env *env);
void verbs_close(struct verbs *verbs);
/* Poll this for POLLIN, at most a second at a time. */
int verbs_fd(const struct verbs *verbs);
/* Serves clients. True: call it again without waiting. */
bool verbs_turn(struct verbs *verbs, struct mono now);
/* After a reload: what is in force is borrowed from now on instead of env.conf. */
void verbs_set_conf(struct verbs *verbs, const struct conf *conf);
/* What the status says of it; taken. NULL: nothing. */
void verbs_set_state(struct verbs *verbs, json_t *state);
/* The supervisor's answer to MSG_RELOAD; taken. */
void verbs_take_reload(struct verbs *verbs, uint64_t seq, json_t *answer);
/* One of engine_next_result. */
void verbs_take_result(struct verbs *verbs, const struct engine_result *result);
