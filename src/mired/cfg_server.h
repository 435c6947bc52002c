/* The spamd-cfg port (TCP on 127.0.0.1), by which foreign tools put lists in force: who comes from
 * a port below 1024, which only root can bind, sends lines until he closes; nothing is answered.
 * Compatible with spamd, but for two things: a session that ends inside a line was cut off and
 * changes nothing, and a silent one does not block the port for ever. Owner: one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/counters.h"
#include "keeper/lister.h"
#include "mired/ctl.h"

enum {
	CFG_SERVER_SILENCE_MS = 60000,
	CFG_SERVER_BYTES_MAX = MIRED_CTL_LIST_MAX, /* of one session */
};

struct cfg_server;

/* Hands over what a session has sent; on success text is the taker's, and cfg_server_take_result
 * follows. -EAGAIN: later. */
typedef int cfg_submit(void *ctx, char *text, size_t len);

struct cfg_server_env {
	cfg_submit *submit;
	void *ctx;
	struct counters *counters;
	int listener; /* owned by the server, also when opening fails */
};

MUST_USE int cfg_server_open(struct cfg_server **out, const struct cfg_server_env *env);
void cfg_server_close(struct cfg_server *server);
/* Poll this for POLLIN, at most a second at a time; -1: nothing to wait for at present. */
int cfg_server_fd(const struct cfg_server *server);
/* One session at a time, the others wait in the backlog until the lists of the one before are in
 * force. */
void cfg_server_turn(struct cfg_server *server, struct mono now);
void cfg_server_take_result(struct cfg_server *server, const struct lister_result *result);
