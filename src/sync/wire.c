/* The datagrams' bytes. Plain blocks are spamd's; those from 64 on are mired's own:
 *
 *         0       2        4           8
 *   GREY6 type(2) length(2) timestamp(4) address(16) lengths(2,2,2) sender NUL recipient NUL helo
 * NUL zeros up to a multiple of 16 WHITE6, TRAPPED6, PROMOTE: … expire(4) address(16), 28 bytes
 *   DELETE: … kind(1) family(1) zero(2) address(16), 28 bytes, or length(2) text, 14 + length
 *   MANUAL: … kind(1) family(1) zero(2) expire(4) address(16), 32 bytes, or length(2) text,
 *         18 + length
 *
 * An IPv4 address in 16 bytes is mapped; GREY6, WHITE6 and TRAPPED6 have none, for which there are
 * the plain blocks. The text of a mailbox has no NUL. All rows of the table `shapes` are read and
 * written by the same three pairs of functions. */
#include "sync/wire.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"

enum {
	WIRE_VERSION = 2,
	WIRE_FAMILY = 2, /* AF_INET on the systems it comes from */
	AT_LENGTH = 2,   /* offsets in the header */
	AT_COUNTER = 4,
	AT_MAC = 8,
	AT_ZERO = AT_MAC + SYNC_MAC_BYTES,
	BLOCK_HEAD_BYTES = 4,
	BLOCK_ALIGN = 16, /* of a tuple */
	BLOCK_BYTES_MAX = WIRE_BYTES_MAX - WIRE_HEADER_BYTES - WIRE_END_BYTES,
	N_STRINGS = 3, /* of a tuple */
	FAMILY_TEXT = 0,
	FAMILY_V4 = 4,
	FAMILY_V6 = 6,
};

static_assert(AT_ZERO + 4 == WIRE_HEADER_BYTES, "the header as spamd has it");

enum body {
	BODY_TUPLE,   /* address, three strings */
	BODY_HOST,    /* expire, address */
	BODY_SUBJECT, /* kind, address or mailbox, perhaps expire */
};

enum address {
	ADDRESS_V4,     /* 4 bytes */
	ADDRESS_V6,     /* 16 bytes, not mapped */
	ADDRESS_EITHER, /* 16 bytes */
};

struct shape {
	uint8_t type;
	const char *name;
	bool is_own;
	bool is_sent;
	enum body body;
	enum address address;
	bool has_expire;
};

// clang-format off
static const struct shape shapes[] = {
	{WIRE_GREY,           "grey",           false, true,  BODY_TUPLE,   ADDRESS_V4,     false},
	{WIRE_WHITE,          "white",          false, true,  BODY_HOST,    ADDRESS_V4,     true},
	{WIRE_TRAPPED,        "trapped",        false, true,  BODY_HOST,    ADDRESS_V4,     true},
	{WIRE_DELETE_WHITE,   "delete_white",   false, false, BODY_HOST,    ADDRESS_V4,     true},
	{WIRE_DELETE_TRAPPED, "delete_trapped", false, false, BODY_HOST,    ADDRESS_V4,     true},
	{WIRE_GREY6,          "grey6",          true,  true,  BODY_TUPLE,   ADDRESS_V6,     false},
	{WIRE_WHITE6,         "white6",         true,  true,  BODY_HOST,    ADDRESS_V6,     true},
	{WIRE_TRAPPED6,       "trapped6",       true,  true,  BODY_HOST,    ADDRESS_V6,     true},
	{WIRE_DELETE,         "delete",         true,  true,  BODY_SUBJECT, ADDRESS_EITHER, false},
	{WIRE_MANUAL,         "manual",         true,  true,  BODY_SUBJECT, ADDRESS_EITHER, true},
	{WIRE_PROMOTE,        "promote",        true,  true,  BODY_HOST,    ADDRESS_EITHER, true},
};
// clang-format on

static const struct shape *find_shape(unsigned type)
{
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		if (shapes[i].type == type) {
			return &shapes[i];
		}
	}
	return NULL;
}

bool wire_is_own(uint8_t type)
{
	const struct shape *shape = find_shape(type);
	return shape && shape->is_own;
}

const char *wire_type_name(uint8_t type)
{
	const struct shape *shape = find_shape(type);
	return shape ? shape->name : type == WIRE_END ? "end" : "unknown";
}

const char *wire_drop_name(enum wire_drop drop)
{
	static const char *const names[WIRE_DROP_COUNT] = {
	        [WIRE_OK] = "ok",
	        [WIRE_DROP_SHORT] = "short",
	        [WIRE_DROP_VERSION] = "version",
	        [WIRE_DROP_FAMILY] = "family",
	        [WIRE_DROP_LENGTH] = "length",
	        [WIRE_DROP_MAC] = "mac",
	        [WIRE_DROP_BLOCK] = "block",
	        [WIRE_DROP_TYPE] = "type",
	        [WIRE_DROP_TEXT] = "text",
	};
	return names[drop];
}

/* --- what both directions hold a block to ----------------------------------------------------- */

static bool is_good_text(struct span text, bool may_be_empty)
{
	uint8_t has_control = 0;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		/* without a branch, in bytes: compilers make vectors of it, ten times as fast */
		has_control |= (uint8_t)((c < 0x20) | (c == 0x7f));
	}
	return has_control == 0 && text.len <= WIRE_STRING_MAX && (text.len > 0 || may_be_empty);
}

static bool has_good_texts(const struct shape *shape, const struct wire_block *block)
{
	if (shape->body == BODY_TUPLE) {
		return is_good_text(block->sender, true) && is_good_text(block->recipient, true) &&
		       is_good_text(block->helo, false);
	}
	return shape->body != BODY_SUBJECT || block->kind != WIRE_KIND_SPAMTRAP ||
	       is_good_text(block->recipient, false);
}

static bool has_good_subject(const struct shape *shape, const struct wire_block *block)
{
	if (shape->body == BODY_SUBJECT) {
		return block->kind == WIRE_KIND_WHITE || block->kind == WIRE_KIND_TRAPPED ||
		       block->kind == WIRE_KIND_SPAMTRAP;
	}
	return shape->address == ADDRESS_EITHER ||
	       addr_is_v4(&block->addr) == (shape->address == ADDRESS_V4);
}

static size_t address_bytes(const struct shape *shape)
{
	return shape->address == ADDRESS_V4 ? 4 : sizeof(struct addr);
}

static uint8_t family_of(const struct wire_block *block)
{
	if (block->kind == WIRE_KIND_SPAMTRAP) {
		return FAMILY_TEXT;
	}
	return addr_is_v4(&block->addr) ? FAMILY_V4 : FAMILY_V6;
}

/* --- sending ---------------------------------------------------------------------------------- */

struct writer {
	uint8_t *at;
};

static void put_u8(struct writer *out, uint8_t value)
{
	*out->at++ = value;
}

static void put_u16(struct writer *out, size_t value)
{
	put_u8(out, (uint8_t)(value >> 8));
	put_u8(out, (uint8_t)value);
}

static void put_u32(struct writer *out, uint32_t value)
{
	put_u16(out, value >> 16);
	put_u16(out, value & 0xffff);
}

/* Times that 32 bits do not hold become the nearest one that they do. */
static void put_time(struct writer *out, struct wall time)
{
	int64_t secs = time.secs < 0 ? 0 : time.secs;
	put_u32(out, secs > UINT32_MAX ? UINT32_MAX : (uint32_t)secs);
}

static void put_text(struct writer *out, struct span text)
{
	if (text.len > 0) {
		memcpy(out->at, text.ptr, text.len);
		out->at += text.len;
	}
}

static void put_addr(struct writer *out, const struct shape *shape, const struct addr *addr)
{
	size_t n = address_bytes(shape);
	put_text(out, span_of(addr->bytes + sizeof addr->bytes - n, n));
}

static void put_tuple(struct writer *out, const struct shape *shape, const struct wire_block *block)
{
	const struct span strings[N_STRINGS] = {block->sender, block->recipient, block->helo};
	put_addr(out, shape, &block->addr);
	for (size_t i = 0; i < N_STRINGS; i++) {
		put_u16(out, strings[i].len + 1);
	}
	for (size_t i = 0; i < N_STRINGS; i++) {
		put_text(out, strings[i]);
		put_u8(out, 0);
	}
}

static void put_host(struct writer *out, const struct shape *shape, const struct wire_block *block)
{
	put_time(out, block->expire);
	put_addr(out, shape, &block->addr);
}

static void put_subject(struct writer *out, const struct shape *shape,
                        const struct wire_block *block)
{
	put_u8(out, block->kind);
	put_u8(out, family_of(block));
	put_u16(out, 0);
	if (shape->has_expire) {
		put_time(out, block->expire);
	}
	if (family_of(block) == FAMILY_TEXT) {
		put_u16(out, block->recipient.len);
		put_text(out, block->recipient);
	} else {
		put_addr(out, shape, &block->addr);
	}
}

static void put_body(struct writer *out, const struct shape *shape, const struct wire_block *block)
{
	switch (shape->body) {
	case BODY_TUPLE:
		put_tuple(out, shape, block);
		return;
	case BODY_HOST:
		put_host(out, shape, block);
		return;
	case BODY_SUBJECT:
		put_subject(out, shape, block);
		return;
	}
}

static size_t block_bytes(const struct shape *shape, const struct wire_block *block)
{
	size_t n = BLOCK_HEAD_BYTES + 4; /* the timestamp */
	if (shape->body == BODY_TUPLE) {
		n += address_bytes(shape) + N_STRINGS * sizeof(uint16_t);
		n += block->sender.len + 1 + block->recipient.len + 1 + block->helo.len + 1;
		return (n + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
	}
	n += shape->body == BODY_SUBJECT ? 4 : 0;
	n += shape->has_expire ? 4 : 0;
	return n + (block->kind == WIRE_KIND_SPAMTRAP && shape->body == BODY_SUBJECT
	                    ? 2 + block->recipient.len
	                    : address_bytes(shape));
}

void wire_begin(struct wire_packet *packet)
{
	memset(packet->bytes, 0, WIRE_HEADER_BYTES);
	packet->len = WIRE_HEADER_BYTES;
	packet->is_own = false;
}

static int check_block(const struct shape *shape, const struct wire_block *block)
{
	if (block->sender.len > WIRE_STRING_MAX || block->recipient.len > WIRE_STRING_MAX ||
	    block->helo.len > WIRE_STRING_MAX) {
		return ERR_TOO_LONG;
	}
	if (!has_good_subject(shape, block) || !has_good_texts(shape, block)) {
		return ERR_SYNTAX;
	}
	return block_bytes(shape, block) > BLOCK_BYTES_MAX ? ERR_TOO_LONG : 0;
}

int wire_add(struct wire_packet *packet, const struct wire_block *block)
{
	const struct shape *shape = find_shape(block->type);
	bool is_first = packet->len == WIRE_HEADER_BYTES;
	if (!shape || !shape->is_sent) {
		return ERR_UNSUPPORTED;
	}
	int ret = check_block(shape, block);
	if (ret != 0) {
		return ret;
	}
	if (!is_first && !(packet->is_own && shape->is_own)) {
		return ERR_UNSUPPORTED;
	}
	size_t len = block_bytes(shape, block);
	if (packet->len + len + WIRE_END_BYTES > WIRE_BYTES_MAX) {
		return ERR_FULL;
	}
	struct writer out = {packet->bytes + packet->len};
	memset(out.at, 0, len);
	put_u16(&out, block->type);
	put_u16(&out, len);
	put_time(&out, block->at);
	put_body(&out, shape, block);
	packet->len += len;
	packet->is_own = shape->is_own;
	return 0;
}

void wire_finish(struct wire_packet *packet, uint32_t counter, const struct sync_key *key)
{
	struct writer end = {packet->bytes + packet->len};
	struct writer header = {packet->bytes};
	uint8_t mac[SYNC_MAC_BYTES];
	put_u16(&end, WIRE_END);
	put_u16(&end, WIRE_END_BYTES);
	packet->len += WIRE_END_BYTES;
	put_u8(&header, WIRE_VERSION);
	put_u8(&header, WIRE_FAMILY);
	put_u16(&header, packet->len);
	put_u32(&header, counter);
	sync_key_sign(key, span_of(packet->bytes, packet->len), mac);
	put_text(&header, span_of(mac, sizeof mac));
}

/* --- receiving -------------------------------------------------------------------------------- */

/* Takes from the front; once too little is left, everything is zero and empty. */
struct reader {
	struct span rest;
	bool is_cut;
};

static struct span take(struct reader *in, size_t n)
{
	in->is_cut = in->is_cut || n > in->rest.len;
	if (in->is_cut) {
		return (struct span){NULL, 0};
	}
	struct span taken = {in->rest.ptr, n};
	in->rest = span_skip(in->rest, n);
	return taken;
}

static uint32_t take_number(struct reader *in, size_t n_bytes)
{
	struct span bytes = take(in, n_bytes);
	uint32_t value = 0;
	for (size_t i = 0; i < bytes.len; i++) {
		value = value << 8 | bytes.ptr[i];
	}
	return value;
}

static struct wall take_time(struct reader *in)
{
	return (struct wall){take_number(in, 4)};
}

static struct addr take_addr(struct reader *in, const struct shape *shape)
{
	struct span bytes = take(in, address_bytes(shape));
	struct addr addr = {{0}};
	if (shape->address == ADDRESS_V4) {
		addr = addr_from_v4_be(0);
	}
	if (bytes.len > 0) {
		memcpy(addr.bytes + sizeof addr.bytes - bytes.len, bytes.ptr, bytes.len);
	}
	return addr;
}

/* Behind the strings anything may stand, as with spamd. */
static enum wire_drop take_tuple(struct reader *in, const struct shape *shape,
                                 struct wire_block *block)
{
	struct span *const strings[N_STRINGS] = {&block->sender, &block->recipient, &block->helo};
	size_t lengths[N_STRINGS];
	block->addr = take_addr(in, shape);
	for (size_t i = 0; i < N_STRINGS; i++) {
		lengths[i] = take_number(in, 2);
	}
	for (size_t i = 0; i < N_STRINGS; i++) {
		*strings[i] = take(in, lengths[i]);
	}
	for (size_t i = 0; i < N_STRINGS && !in->is_cut; i++) {
		if (lengths[i] == 0 || strings[i]->ptr[lengths[i] - 1] != '\0') {
			return WIRE_DROP_TEXT;
		}
		strings[i]->len--;
	}
	return in->is_cut ? WIRE_DROP_BLOCK : WIRE_OK;
}

static enum wire_drop take_host(struct reader *in, const struct shape *shape,
                                struct wire_block *block)
{
	block->expire = take_time(in);
	block->addr = take_addr(in, shape);
	return in->is_cut || in->rest.len > 0 ? WIRE_DROP_BLOCK : WIRE_OK;
}

static enum wire_drop take_subject(struct reader *in, const struct shape *shape,
                                   struct wire_block *block)
{
	block->kind = (uint8_t)take_number(in, 1);
	uint32_t family = take_number(in, 1);
	uint32_t zero = take_number(in, 2);
	if (shape->has_expire) {
		block->expire = take_time(in);
	}
	if (family == FAMILY_TEXT) {
		block->recipient = take(in, take_number(in, 2));
	} else {
		block->addr = take_addr(in, shape);
	}
	bool is_whole = !in->is_cut && in->rest.len == 0;
	return is_whole && zero == 0 && family == family_of(block) ? WIRE_OK : WIRE_DROP_BLOCK;
}

static enum wire_drop take_body(struct reader *in, const struct shape *shape,
                                struct wire_block *block)
{
	switch (shape->body) {
	case BODY_TUPLE:
		return take_tuple(in, shape, block);
	case BODY_HOST:
		return take_host(in, shape, block);
	case BODY_SUBJECT:
		return take_subject(in, shape, block);
	}
	return WIRE_DROP_TYPE;
}

static enum wire_drop decode_block(struct span body, const struct shape *shape,
                                   struct wire_block *block)
{
	struct reader in = {.rest = body};
	memset(block, 0, sizeof *block);
	block->type = shape->type;
	block->at = take_time(&in);
	enum wire_drop drop = take_body(&in, shape, block);
	if (drop != WIRE_OK) {
		return drop;
	}
	if (!has_good_subject(shape, block)) {
		return WIRE_DROP_BLOCK;
	}
	return has_good_texts(shape, block) ? WIRE_OK : WIRE_DROP_TEXT;
}

static enum wire_drop decode_blocks(struct span blocks, struct wire_block *out, size_t *n)
{
	struct reader in = {.rest = blocks};
	bool is_own = false;
	while (in.rest.len > 0) {
		uint32_t type = take_number(&in, 2);
		uint32_t len = take_number(&in, 2);
		struct span body = take(&in, len < BLOCK_HEAD_BYTES ? 0 : len - BLOCK_HEAD_BYTES);
		if (in.is_cut) {
			return WIRE_DROP_BLOCK;
		}
		if (type == WIRE_END) {
			return WIRE_OK;
		}
		const struct shape *shape = find_shape(type);
		if (!shape || (*n > 0 && shape->is_own != is_own)) {
			return WIRE_DROP_TYPE;
		}
		is_own = shape->is_own;
		enum wire_drop drop = decode_block(body, shape, &out[*n]);
		if (drop != WIRE_OK) {
			return drop;
		}
		(*n)++; /* each has 14 bytes at least: out is large enough */
	}
	return WIRE_OK;
}

/* The MAC was made while its own place was zero. */
static bool has_good_mac(struct span packet, const struct sync_key *key)
{
	uint8_t copy[WIRE_BYTES_MAX];
	memcpy(copy, packet.ptr, packet.len);
	memset(copy + AT_MAC, 0, SYNC_MAC_BYTES);
	return sync_key_check(key, span_of(copy, packet.len), packet.ptr + AT_MAC);
}

enum wire_drop wire_decode(struct span bytes, const struct sync_key *key,
                           struct wire_block out[static WIRE_BLOCKS_MAX], size_t *n)
{
	*n = 0;
	if (bytes.len < WIRE_HEADER_BYTES) {
		return WIRE_DROP_SHORT;
	}
	if (bytes.ptr[0] != WIRE_VERSION) {
		return WIRE_DROP_VERSION;
	}
	if (bytes.ptr[1] != WIRE_FAMILY) {
		return WIRE_DROP_FAMILY;
	}
	size_t len = (size_t)bytes.ptr[AT_LENGTH] << 8 | bytes.ptr[AT_LENGTH + 1];
	if (len < WIRE_HEADER_BYTES || len > WIRE_BYTES_MAX) {
		return WIRE_DROP_LENGTH;
	}
	if (len > bytes.len) {
		return WIRE_DROP_SHORT;
	}
	struct span packet = {bytes.ptr, len};
	if (!has_good_mac(packet, key)) {
		return WIRE_DROP_MAC;
	}
	return decode_blocks(span_skip(packet, WIRE_HEADER_BYTES), out, n);
}
