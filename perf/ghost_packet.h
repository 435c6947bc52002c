/* The packets of ghost peers: TCP over IPv4 as bytes, and back. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum {
	PACKET_SYN = 0x02,
	PACKET_FIN = 0x01,
	PACKET_RST = 0x04,
	PACKET_PSH = 0x08,
	PACKET_ACK = 0x10,
	PACKET_TEXT_MAX = 512,
	PACKET_MAX = 20 + 24 + PACKET_TEXT_MAX, /* both headers, the option of a SYN */
};

/* All numbers in the host's order. */
struct packet {
	uint32_t source;
	uint32_t target;
	uint16_t source_port;
	uint16_t target_port;
	uint32_t seq;
	uint32_t ack;
	uint8_t flags; /* PACKET_... */
	struct span text;
};

/* Writes the packet, its checksums, and in a SYN the MSS of Ethernet; text.len <= PACKET_TEXT_MAX.
 * Returns its length. */
size_t packet_build(const struct packet *packet, uint8_t out[static PACKET_MAX]);
/* False: this is no whole TCP packet over IPv4. Checksums are not looked at: the kernel made them.
 * out->text points into bytes. */
bool packet_parse(struct span bytes, struct packet *out);
/* Builds packets, and reads and sums them up again; false when something does not fit. */
bool packet_self_check(void);
