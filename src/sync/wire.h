/* The synchronisation protocol's bytes: OpenBSD spamd's datagrams (sync.c, sync.h), understood in
 * both directions, and mired's own blocks, which travel in datagrams of their own so that a spamd
 * drops them unread. Encoder and decoder are mirror images. Pure.
 *
 *   header  version(1)=2 family(1)=2 length(2) counter(4) hmac(20) zero(4)
 *   block   type(2) length(2) timestamp(4) body; GREY and GREY6 are padded with zeros to 16
 *   end     type(2)=0 length(2)=4
 *
 * All numbers big-endian. hmac: HMAC-SHA1 over `length` bytes with these 20 zero; the key is the
 * text of the key file's SHA-1 (sync/key.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/span.h"
#include "sync/key.h"

enum {
	WIRE_BYTES_MAX = 1408, /* of a datagram; a spamd cuts longer ones */
	WIRE_HEADER_BYTES = 32,
	WIRE_END_BYTES = 4,
	WIRE_STRING_MAX = 1023, /* of one string without its NUL, in spamd and in the store */
	WIRE_BLOCKS_MAX = (WIRE_BYTES_MAX - WIRE_HEADER_BYTES) / 4,
};

enum wire_type {
	WIRE_END = 0,
	WIRE_GREY = 1,
	WIRE_WHITE = 2,
	WIRE_TRAPPED = 3,
	WIRE_DELETE_WHITE = 4,   /* greyd's; received only */
	WIRE_DELETE_TRAPPED = 5, /* likewise */
	/* between mired hosts */
	WIRE_GREY6 = 64,
	WIRE_WHITE6 = 65,
	WIRE_TRAPPED6 = 66,
	WIRE_DELETE = 67,
	WIRE_MANUAL = 68,
	WIRE_PROMOTE = 69,
};

/* What a DELETE or MANUAL is about (its byte `kind`). On the wire the byte `family` is 4, 6, or 0
 * for the mailbox of a SPAMTRAP. */
enum wire_kind { WIRE_KIND_WHITE = 1, WIRE_KIND_TRAPPED = 2, WIRE_KIND_SPAMTRAP = 4 };

/* One block. Fields that its type does not have are zero. */
struct wire_block {
	uint8_t type; /* enum wire_type */
	uint8_t kind; /* DELETE, MANUAL */
	/* Times are 32 bits unsigned on the wire; sending takes the nearest one that they hold. */
	struct wall at;     /* the sender's clock */
	struct wall expire; /* absolute */
	struct addr addr;
	/* GREY, GREY6: verbatim, without NUL. A mailbox (normalised) is recipient */
	struct span sender;
	struct span recipient;
	struct span helo;
};

/* True for what only another mired understands. */
bool wire_is_own(uint8_t type);
/* "grey", "white", …: for status and messages. */
const char *wire_type_name(uint8_t type);

/* --- sending ---------------------------------------------------------------------------------- */

struct wire_packet {
	uint8_t bytes[WIRE_BYTES_MAX];
	size_t len;
	bool is_own; /* its blocks are mired's own */
};

void wire_begin(struct wire_packet *packet);
/* Appends a block, leaving room for the end mark. ERR_FULL: no room in this packet (an empty packet
 * takes it). ERR_TOO_LONG: in no packet at all. ERR_UNSUPPORTED: own and plain blocks never share a
 * packet, and a plain packet takes one block as spamd's do; or a type that is never sent.
 * ERR_SYNTAX: what its type cannot say: an address of the other family, an unknown kind, a text
 * that decoding would refuse. The packet is as before then. */
MUST_USE int wire_add(struct wire_packet *packet, const struct wire_block *block);
/* Ends, numbers and signs it. */
void wire_finish(struct wire_packet *packet, uint32_t counter, const struct sync_key *key);

/* --- receiving -------------------------------------------------------------------------------- */

/* Why a datagram, or the rest of one, was dropped. One counter each. */
enum wire_drop {
	WIRE_OK,
	WIRE_DROP_SHORT,   /* no whole header, or less than its length says */
	WIRE_DROP_VERSION, /* not 2 */
	WIRE_DROP_FAMILY,  /* not 2 */
	WIRE_DROP_LENGTH,  /* a length that no datagram can have */
	WIRE_DROP_MAC,     /* another key, or none */
	WIRE_DROP_BLOCK,   /* a block that is cut, or whose length, family or kind is wrong */
	WIRE_DROP_TYPE,    /* unknown block, or own and plain ones in one datagram */
	/* a string that is too long, without its NUL or with a control character; no helo */
	WIRE_DROP_TEXT,
	WIRE_DROP_COUNT
};
const char *wire_drop_name(enum wire_drop drop);

/* Checks header and MAC (constant time) and reads the blocks in order. What stands before a faulty
 * block counts, as with spamd: *n is set in every case, and the return value tells about the rest.
 * A missing end mark and bytes behind `length` are fine. Strings point into bytes. */
MUST_USE enum wire_drop wire_decode(struct span bytes, const struct sync_key *key,
                                    struct wire_block out[static WIRE_BLOCKS_MAX], size_t *n);
