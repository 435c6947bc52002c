/* Network addresses: 16 bytes, IPv4 in mapped form (::ffff:a.b.c.d), for both families. Pure. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/compiler.h"
#include "base/span.h"

struct addr {
	uint8_t bytes[16];
};

enum { ADDR_TEXT_MAX = 46 }; /* INET6_ADDRSTRLEN, with NUL */

/* Numeric IPv4 or IPv6 text, whole span. A mapped IPv6 text becomes IPv4. ERR_SYNTAX. */
MUST_USE int addr_parse(struct span text, struct addr *out);
/* Writes the usual text form (IPv4 dotted for mapped addresses) into buf and returns it. */
const char *addr_format(const struct addr *addr, char buf[static ADDR_TEXT_MAX]);

bool addr_is_v4(const struct addr *addr);
bool addr_equal(const struct addr *a, const struct addr *b);
/* The four IPv4 bytes in network order; only for addr_is_v4. */
uint32_t addr_v4_be(const struct addr *addr);
struct addr addr_from_v4_be(uint32_t v4_be);
/* From AF_INET or AF_INET6. ERR_UNSUPPORTED for any other family. */
MUST_USE int addr_from_sockaddr(const struct sockaddr *sa, struct addr *out);
/* Fills *ss with AF_INET for IPv4, else AF_INET6; returns its length. */
socklen_t addr_to_sockaddr(const struct addr *addr, uint16_t port, struct sockaddr_storage *ss);

/* The address by which a host is known: IPv4 whole, IPv6 cut to its first v6_bits bits. This is the
 * one function which groups addresses (dialogue, store, sets, sync, logs). */
struct addr addr_group(const struct addr *addr, unsigned v6_bits);
