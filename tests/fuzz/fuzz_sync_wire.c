/* Datagrams of other gateways: as they come, and with the MAC that their sender would have needed,
 * so that blocks are reached. Each block that decodes and is of a type we send must come back the
 * same from a packet of its own. */
#include <string.h>

#include "base/compiler.h"
#include "base/err.h"
#include "sync/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct sync_key key = {.text = "5abc7b1e899f757f9891c65c481e8b4716abc4e1"};

static bool is_inside(struct span part, struct span whole)
{
	return part.len == 0 ||
	       (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

static bool are_equal(const struct wire_block *a, const struct wire_block *b)
{
	return a->type == b->type && a->kind == b->kind && a->at.secs == b->at.secs &&
	       a->expire.secs == b->expire.secs && addr_equal(&a->addr, &b->addr) &&
	       span_equal(a->sender, b->sender) && span_equal(a->recipient, b->recipient) &&
	       span_equal(a->helo, b->helo);
}

static void send_again(const struct wire_block *block)
{
	static struct wire_block again[WIRE_BLOCKS_MAX];
	struct wire_packet packet;
	size_t n = 0;
	wire_begin(&packet);
	int ret = wire_add(&packet, block);
	if (block->type == WIRE_DELETE_WHITE || block->type == WIRE_DELETE_TRAPPED) {
		ASSERT(ret == ERR_UNSUPPORTED);
		return;
	}
	if (ret == ERR_TOO_LONG) {
		return; /* fitted without its padding or the end mark */
	}
	ASSERT(ret == 0);
	wire_finish(&packet, 0, &key);
	enum wire_drop drop = wire_decode(span_of(packet.bytes, packet.len), &key, again, &n);
	ASSERT(drop == WIRE_OK && n == 1 && are_equal(block, &again[0]));
}

static enum wire_drop look_at(struct span bytes)
{
	static struct wire_block blocks[WIRE_BLOCKS_MAX];
	size_t n = SIZE_MAX;
	enum wire_drop drop = wire_decode(bytes, &key, blocks, &n);
	ASSERT(drop < WIRE_DROP_COUNT && n <= WIRE_BLOCKS_MAX);
	for (size_t i = 0; i < n; i++) {
		ASSERT(is_inside(blocks[i].sender, bytes) &&
		       is_inside(blocks[i].recipient, bytes) && is_inside(blocks[i].helo, bytes));
		ASSERT(wire_is_own(blocks[i].type) == wire_is_own(blocks[0].type));
		send_again(&blocks[i]);
	}
	return drop;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t copy[WIRE_BYTES_MAX];
	uint8_t mac[SYNC_MAC_BYTES];
	(void)look_at(span_of(data, size));
	if (size < WIRE_HEADER_BYTES || size > sizeof copy) {
		return 0;
	}
	memcpy(copy, data, size);
	copy[0] = copy[1] = 2;
	copy[2] = (uint8_t)(size >> 8);
	copy[3] = (uint8_t)size;
	memset(copy + 8, 0, sizeof mac);
	sync_key_sign(&key, span_of(copy, size), mac);
	memcpy(copy + 8, mac, sizeof mac);
	enum wire_drop drop = look_at(span_of(copy, size));
	ASSERT(drop == WIRE_OK || drop >= WIRE_DROP_BLOCK);
	return 0;
}
