/* The listening sockets of the SMTP side, held by the supervisor for its whole life: an engine that
 * dies leaves clients waiting in their queues, not refused. Those that systemd handed over
 * (given.h) stay with it, too, and a restart leaves clients waiting in theirs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "conf/conf.h"
#include "engine/engine.h"
#include "mired/given.h"

enum { SOCKETS_WHY_MAX = 512, SOCKETS_TEXT_MAX = CONF_LISTEN_MAX * 64 + 32 };

struct sockets {
	struct engine_listener
	        *listeners; /* addresses x workers, and again for the low-priority port */
	size_t n;
	bool is_skipped[CONF_LISTEN_MAX]; /* by index of conf->listen: this host has no IPv6 */
	size_t n_places;                  /* addresses, once for each port */
	size_t n_held;                    /* places of which at least one socket was handed over */
	size_t n_own; /* listeners that other workers opened beside one that was */
};

/* Tries each address alone first, because SO_REUSEPORT would share the port with another daemon
 * silently; then opens one listener an address and worker. All of this twice when there is a
 * low-priority MX. An address in use is tried again for
 * wait_ms (roles of a killed supervisor are still leaving). What `given` has for an address and
 * port goes to the first workers; what fits no place or worker is an error. All of it is owned by
 * sockets afterwards, or closed. 0, or a negative code with why. */
MUST_USE int sockets_open(struct sockets *sockets, const struct conf *conf, struct given *given,
                          int wait_ms, char why[static SOCKETS_WHY_MAX]);
/* Whether somebody else holds a socket of each address and port, so that nobody is refused while
 * mired is down. */
bool sockets_are_held(const struct sockets *sockets);
/* Says in the log who waits where while mired is down; nothing when no socket was handed over. */
void sockets_say(const struct sockets *sockets);
void sockets_close(struct sockets *sockets);
/* The listening socket of the spamd-cfg protocol, on 127.0.0.1 only; non-blocking, the caller's. */
MUST_USE int sockets_open_cfg(uint16_t port, int wait_ms, int *fd,
                              char why[static SOCKETS_WHY_MAX]);
/* "0.0.0.0:8025 [::]:8025", and where clients of the low-priority MX are served. */
const char *sockets_text(const struct sockets *sockets, const struct conf *conf,
                         char out[static SOCKETS_TEXT_MAX]);
