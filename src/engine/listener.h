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

/* Returns a listening, non-blocking, close-on-exec descriptor or a negative code with `why` naming
 * address and port. reuseport = false is the supervisor's test that nobody else has the port. */
MUST_USE int listener_open(const struct addr *addr, uint16_t port, const struct conf *conf,
                           bool reuseport, char why[static LISTENER_WHY_MAX]);
