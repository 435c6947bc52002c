/* What the supervisor opens as root before it starts roles and holds for its whole life: state
 * directory with the lock, listening sockets, control socket, pid file, the files it reads for the
 * roles, what keeps it in step with other gateways, its signals. */
#pragma once

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
	int conf_fd; /* memfd with the effective configuration */
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
void places_close(struct places *places);
