/* Listening sockets of the SMTP side, opened in the privileged phase before any accept. Their
 * options are inherited by the accepted sockets, so nothing is set per connection. With
 * rules = gateway-tproxy they are transparent: they take connections whatever address these are
 * for, which needs CAP_NET_ADMIN here. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "conf/conf.h"

enum { LISTENER_WHY_MAX = 256 };

enum { LISTENER_PLACE_MAX = 64 };
/* "192.0.2.1:8025", "[::]:8025". */
const char *listener_place(const struct addr *addr, uint16_t port,
                           char out[static LISTENER_PLACE_MAX]);

/* Returns a listening, non-blocking, close-on-exec descriptor or a negative code with `why` naming
 * address and port. reuseport = false is the supervisor's test that nobody else has the port. */
MUST_USE int listener_open(const struct addr *addr, uint16_t port, const struct conf *conf,
                           bool reuseport, char why[static LISTENER_WHY_MAX]);

/* Makes a listening socket that somebody else opened, bound to this address and port, like one of
 * listener_open. What can be set before bind only must have been: IPV6_V6ONLY, and with is_shared
 * SO_REUSEPORT. 0, or a negative code with why in the words of systemd.socket(5). */
MUST_USE int listener_adopt(int fd, const struct addr *addr, uint16_t port, const struct conf *conf,
                            bool is_shared, char why[static LISTENER_WHY_MAX]);
