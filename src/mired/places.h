/* What the supervisor opens as root before it starts roles and holds for its whole life: state
 * directory with the lock, listening sockets, control socket, pid file, the files it reads for the
 * roles, what keeps it in step with other gateways, its signals. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "conf/conf.h"
#include "engine/engine.h"
#include "mired/sockets.h"
#include "mired/synced.h"
#include "mired/watched.h"

enum { PLACES_FILES_MAX = 2, PLACES_WHY_MAX = 640 };

/* Owned by the supervisor's only thread. */
struct places {
	struct conf *conf;
	int lock;
	int signals; /* signalfd: SIGTERM, SIGINT, SIGHUP, SIGCHLD */
	int control;
	int cfg; /* listening spamd-cfg socket, -1 = not wanted */
	int pid_file;
	int conf_fd;   /* memfd with the effective configuration */
	int state_fd;  /* memfd with what the status says of it; -1 until reload_init */
	int rules_fd;  /* memfd with the rules since the last reload; -1: none, or rules = none */
	bool was_auto; /* the start's max-connections was auto */
	struct sockets sockets;
	struct synced synced; /* with other gateways */
	struct engine_capacity capacity;
	struct watched files[PLACES_FILES_MAX];
	size_t n_files;
};

/* Opens everything; also settles conf. On failure (a negative code with why) places_close
 * gives back what was opened. */
MUST_USE int places_open(struct places *places, struct conf *conf, char why[static PLACES_WHY_MAX]);
/* Decides what a configuration leaves to the machine: workers, and keep-rules = auto. */
void places_settle(const struct places *places, struct conf *conf);
/* A sealed memfd with its text, for a role. -errno. */
MUST_USE int places_seal_json(const json_t *json);
/* The JSON text as state_fd. Takes nothing. */
MUST_USE int places_set_state(struct places *places, const json_t *state);
/* Puts another configuration, settled, in the place of places->conf, with all that follows from it:
 * conf_fd, state_fd, rules_fd, files that are due to be read. Either all of it or nothing, with
 * why; what *fresh holds is taken over in the first case. */
MUST_USE int places_reload(struct places *places, struct conf *fresh, const json_t *state,
                           struct mono now, char why[static PLACES_WHY_MAX]);
void places_close(struct places *places);
