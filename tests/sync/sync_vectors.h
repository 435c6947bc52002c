/* What the tests of the wire format share: the test vectors of the protocol's description, made by
 * an encoder that is not ours and accepted by spamd's receiver, and bytes to and from hex. */
#pragma once

#include <string.h>

#include "sync/wire.h"

/* Key file of all vectors. */
#define VECTOR_KEY_FILE SPAN("spamd-sync-test-key\n")
#define VECTOR_KEY_TEXT "5abc7b1e899f757f9891c65c481e8b4716abc4e1"

enum { VECTOR_BYTES_MAX = 128 };

struct vector {
	const char *name;
	bool is_keyless;
	uint32_t counter;
	struct wire_block block;
	const char *hex;
};

#define VECTOR_GREY                                                                            \
	{                                                                                      \
		.type = WIRE_GREY, .at = {1700000000},                                         \
		.addr = {{[10] = 0xff, 0xff, 192, 0, 2, 10}},                                  \
		.sender = SPAN("<alice@example.org>"), .recipient = SPAN("<bob@example.net>"), \
		.helo = SPAN("mail.example.org"),                                              \
	}
#define VECTOR_TRAPPED                                                            \
	{                                                                         \
		.type = WIRE_TRAPPED, .at = {1700000000}, .expire = {1700086400}, \
		.addr = {{[10] = 0xff, 0xff, 198, 51, 100, 66}},                  \
	}
#define VECTOR_GREY_BLOCK                          \
	"000100506553f100c000020a001400120011"     \
	"3c616c696365406578616d706c652e6f72673e00" \
	"3c626f62406578616d706c652e6e65743e00"     \
	"6d61696c2e6578616d706c652e6f726700"       \
	"0000000000000000000004"
#define VECTOR_TRAPPED_BLOCK               \
	"000300106553f10065554280c6336442" \
	"00000004"

static const struct vector vectors[] = {
        {"A", false, 0, VECTOR_GREY,
         "02020074000000002fa28dc8c53293f523ee38e4820f1f66dadf409400000000" VECTOR_GREY_BLOCK},
        {"B", false, 1, VECTOR_TRAPPED,
         "0202003400000001c6d040e1936dad44228ff39afdcfe4016db3273900000000" VECTOR_TRAPPED_BLOCK},
        {"C",
         false,
         2,
         {.type = WIRE_WHITE,
          .at = {1700000000},
          .expire = {1703110400},
          .addr = {{[10] = 0xff, 0xff, 203, 0, 113, 25}}},
         "0202003400000002bd5e647ba105aae29eca3cdc8eb8ebb20f4565e300000000"
         "000200106553f10065836700cb007119"
         "00000004"},
        {"D", true, 1, VECTOR_TRAPPED,
         "0202003400000001d66e93ae83a67afb1eb34e1387e720bc4690e69300000000" VECTOR_TRAPPED_BLOCK},
        {"E", true, 0, VECTOR_GREY,
         "02020074000000000522c2223f0c97a42bb03b276cf2fdc1763efb2100000000" VECTOR_GREY_BLOCK},
};

static inline struct sync_key vector_key(bool is_keyless)
{
	return is_keyless ? (struct sync_key){.is_empty = true} : sync_key_of(VECTOR_KEY_FILE);
}

static inline unsigned vector_digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

/* Lower-case hex into bytes; returns how many. */
static inline size_t vector_bytes(const char *hex, uint8_t *bytes)
{
	size_t n = strlen(hex) / 2;
	for (size_t i = 0; i < n; i++) {
		bytes[i] = (uint8_t)(vector_digit(hex[2 * i]) << 4 | vector_digit(hex[2 * i + 1]));
	}
	return n;
}

static inline bool vector_blocks_equal(const struct wire_block *a, const struct wire_block *b)
{
	return a->type == b->type && a->kind == b->kind && a->at.secs == b->at.secs &&
	       a->expire.secs == b->expire.secs && addr_equal(&a->addr, &b->addr) &&
	       span_equal(a->sender, b->sender) && span_equal(a->recipient, b->recipient) &&
	       span_equal(a->helo, b->helo);
}
