/* What a logged packet tells: the address at its other end. Pure. */
#pragma once

#include <stdbool.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/span.h"

/* packet: begins with its IPv4 or IPv6 header; the kernel may have cut it behind that. is_outbound:
 * the destination counts, else the source. ERR_TRUNCATED, ERR_SYNTAX (no IP header, or an address
 * no mail server can have), ERR_UNSUPPORTED (not TCP). */
MUST_USE int packet_peer(struct span packet, bool is_outbound, struct addr *out);
