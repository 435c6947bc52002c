/* The wire format: the vectors both ways, every reason to drop, what blocks a packet takes, and the
 * round trip of all types. Datagrams that no encoder of ours makes are built by hand here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "sync_vectors.h"

enum { SEED_ROUNDS = 20000, LONG_DATAGRAM_BYTES = 1476 };

static const uint8_t all_types[] = {WIRE_GREY,         WIRE_WHITE,          WIRE_TRAPPED,
                                    WIRE_DELETE_WHITE, WIRE_DELETE_TRAPPED, WIRE_GREY6,
                                    WIRE_WHITE6,       WIRE_TRAPPED6,       WIRE_DELETE,
                                    WIRE_MANUAL,       WIRE_PROMOTE};

/* A datagram built by hand. */
struct draft {
	uint8_t bytes[2048];
	size_t len;
};

static void draft_put(struct draft *draft, const char *hex)
{
	draft->len += vector_bytes(hex, draft->bytes + draft->len);
}

/* Header with the length of what follows (len: another one), and a MAC under the vectors' key. */
static void draft_sign(struct draft *draft, size_t len)
{
	struct sync_key key = vector_key(false);
	uint8_t mac[SYNC_MAC_BYTES];
	draft->bytes[0] = 2;
	draft->bytes[1] = 2;
	draft->bytes[2] = (uint8_t)(len >> 8);
	draft->bytes[3] = (uint8_t)len;
	memset(draft->bytes + 8, 0, SYNC_MAC_BYTES);
	sync_key_sign(&key, span_of(draft->bytes, len), mac);
	memcpy(draft->bytes + 8, mac, sizeof mac);
}

static void draft_make(struct draft *draft, const char *blocks)
{
	memset(draft, 0, sizeof *draft);
	draft->len = WIRE_HEADER_BYTES;
	draft_put(draft, blocks);
	draft_sign(draft, draft->len);
}

static enum wire_drop decode(const struct draft *draft, struct wire_block *out, size_t *n)
{
	struct sync_key key = vector_key(false);
	return wire_decode(span_of(draft->bytes, draft->len), &key, out, n);
}

static void vectors_encode_to_their_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		struct sync_key key = vector_key(vectors[i].is_keyless);
		struct wire_packet packet;
		uint8_t wanted[VECTOR_BYTES_MAX];
		size_t len = vector_bytes(vectors[i].hex, wanted);
		wire_begin(&packet);
		assert_int_equal(wire_add(&packet, &vectors[i].block), 0);
		assert_false(packet.is_own);
		wire_finish(&packet, vectors[i].counter, &key);
		assert_int_equal(packet.len, len);
		assert_memory_equal(packet.bytes, wanted, len);
	}
}

static void vectors_decode_to_their_fields(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		struct sync_key key = vector_key(vectors[i].is_keyless);
		struct sync_key other = vector_key(!vectors[i].is_keyless);
		struct wire_block blocks[WIRE_BLOCKS_MAX];
		uint8_t bytes[VECTOR_BYTES_MAX];
		size_t n = 7;
		struct span datagram = {bytes, vector_bytes(vectors[i].hex, bytes)};
		assert_int_equal(wire_decode(datagram, &key, blocks, &n), WIRE_OK);
		assert_int_equal(n, 1);
		assert_true(vector_blocks_equal(&blocks[0], &vectors[i].block));
		assert_int_equal(wire_decode(datagram, &other, blocks, &n), WIRE_DROP_MAC);
		assert_int_equal(n, 0);
	}
}

/* Own blocks, built by hand from the layout at the head of wire.c. */
static const struct {
	struct wire_block block;
	const char *hex;
} own_layouts[] = {
        {{.type = WIRE_GREY6,
          .at = {1700000000},
          .addr = {{0x20, 0x01, 0x0d, 0xb8, [15] = 1}},
          .sender = SPAN("<a@b>"),
          .recipient = SPAN("<c@d>"),
          .helo = SPAN("h")},
         "004000306553f10020010db8000000000000000000000001000600060002"
         "3c6140623e003c6340643e0068000000"
         "0000"},
        {{.type = WIRE_WHITE6,
          .at = {1700000000},
          .expire = {1703110400},
          .addr = {{0x20, 0x01, 0x0d, 0xb8, [15] = 2}}},
         "0041001c6553f1006583670020010db8000000000000000000000002"},
        {{.type = WIRE_TRAPPED6,
          .at = {1700000000},
          .expire = {1703110400},
          .addr = {{0x20, 0x01, 0x0d, 0xb8, [15] = 3}}},
         "0042001c6553f1006583670020010db8000000000000000000000003"},
        {{.type = WIRE_DELETE,
          .kind = WIRE_KIND_WHITE,
          .at = {1700000000},
          .addr = {{[10] = 0xff, 0xff, 192, 0, 2, 10}}},
         "0043001c6553f1000104000000000000000000000000ffffc000020a"},
        {{.type = WIRE_DELETE,
          .kind = WIRE_KIND_SPAMTRAP,
          .at = {1700000000},
          .recipient = SPAN("trap@b")},
         "004300146553f1000400000000067472617040"
         "62"},
        {{.type = WIRE_MANUAL,
          .kind = WIRE_KIND_TRAPPED,
          .at = {1700000000},
          .expire = {1703110400},
          .addr = {{0x20, 0x01, 0x0d, 0xb8, [15] = 4}}},
         "004400206553f100020600006583670020010db8000000000000000000000004"},
        {{.type = WIRE_MANUAL,
          .kind = WIRE_KIND_SPAMTRAP,
          .at = {1700000000},
          .recipient = SPAN("trap@b")},
         "004400186553f100040000000000000000067472617040"
         "62"},
        {{.type = WIRE_PROMOTE,
          .at = {1700000000},
          .expire = {1703110400},
          .addr = {{[10] = 0xff, 0xff, 192, 0, 2, 10}}},
         "0045001c6553f1006583670000000000000000000000ffffc000020a"},
};

static void own_blocks_have_their_layouts(void **state)
{
	struct sync_key key = vector_key(false);
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(own_layouts); i++) {
		struct wire_block blocks[WIRE_BLOCKS_MAX];
		struct wire_packet packet;
		struct draft draft;
		size_t n = 0;
		draft_make(&draft, own_layouts[i].hex);
		assert_int_equal(decode(&draft, blocks, &n), WIRE_OK);
		assert_int_equal(n, 1);
		assert_true(vector_blocks_equal(&blocks[0], &own_layouts[i].block));
		wire_begin(&packet);
		assert_int_equal(wire_add(&packet, &own_layouts[i].block), 0);
		assert_true(packet.is_own);
		assert_int_equal(packet.len, draft.len);
		wire_finish(&packet, 0, &key);
		assert_memory_equal(packet.bytes + WIRE_HEADER_BYTES,
		                    draft.bytes + WIRE_HEADER_BYTES, draft.len - WIRE_HEADER_BYTES);
	}
}

#define WHITE_1   "000200106553f10065836700cb007119"
#define TRAPPED_1 "000300106553f10065554280c6336442"
#define END       "00000004"
#define PROMOTE_1 "0045001c6553f1006583670000000000000000000000ffffc000020a"
/* sender "a", recipient "b", helo "c" */
#define GREY_HEAD "6553f100c000020a000200020002"
#define GREY_1    "00010020" GREY_HEAD "6100620063000000000000000000"

// clang-format off
static const struct {
	const char *blocks;
	enum wire_drop drop;
	size_t n;
} faulty[] = {
	{"", WIRE_OK, 0},
	{END, WIRE_OK, 0},
	{WHITE_1, WIRE_OK, 1}, /* no end mark */
	{WHITE_1 TRAPPED_1 GREY_1 END, WIRE_OK, 3},
	{WHITE_1 END TRAPPED_1, WIRE_OK, 1}, /* behind the end mark */
	{WHITE_1 "0000", WIRE_DROP_BLOCK, 1}, /* half a head */
	{WHITE_1 "00000005", WIRE_DROP_BLOCK, 1}, /* an end mark that is cut */
	{WHITE_1 "00000000", WIRE_OK, 1}, /* an end mark whose length nobody reads */
	{WHITE_1 "000200146553f10065836700cb00711900000000" END, WIRE_DROP_BLOCK, 1},
	{WHITE_1 "0002000c6553f10065836700" END, WIRE_DROP_BLOCK, 1},
	{WHITE_1 "00020000" END, WIRE_DROP_BLOCK, 1},
	{WHITE_1 "000300116553f10065554280c6336442", WIRE_DROP_BLOCK, 1}, /* one short */
	{WHITE_1 "00060010" TRAPPED_1 END, WIRE_DROP_TYPE, 1},
	{WHITE_1 "00060000" TRAPPED_1 END, WIRE_DROP_TYPE, 1},
	{WHITE_1 "01020010" TRAPPED_1 END, WIRE_DROP_TYPE, 1}, /* 258 is not 2 */
	{"00460010" TRAPPED_1 END, WIRE_DROP_TYPE, 0},
	{WHITE_1 PROMOTE_1 END, WIRE_DROP_TYPE, 1}, /* plain and own */
	{PROMOTE_1 WHITE_1 END, WIRE_DROP_TYPE, 1},
	{PROMOTE_1 PROMOTE_1 END, WIRE_OK, 2},
	/* greyd's */
	{"000400106553f10065836700cb007119" "000500106553f10065836700cb007119" END, WIRE_OK, 2},
	{"000400146553f10065836700cb007119" "00000000" END, WIRE_DROP_BLOCK, 0},
	/* tuples */
	{WHITE_1 "00010011" "6553f100c000020a0000000000" END, WIRE_DROP_BLOCK, 1},
	{WHITE_1 "00010018" GREY_HEAD "610062006300" END, WIRE_OK, 2}, /* not padded */
	{WHITE_1 "00010017" GREY_HEAD "6100620063" END, WIRE_DROP_BLOCK, 1},
	{"00010020" "6553f100c000020a" "fff0fff0fff0" "6100620063000000000000000000" END,
	 WIRE_DROP_BLOCK, 0},
	{"00010018" "6553f100c000020a" "000000040002" "610062006300" END, WIRE_DROP_TEXT, 0},
	{WHITE_1 "00010018" GREY_HEAD "617862006300" END, WIRE_DROP_TEXT, 1}, /* no NUL */
	{"00010018" GREY_HEAD "610062786300" END, WIRE_DROP_TEXT, 0},
	{"00010018" GREY_HEAD "610062006378" END, WIRE_DROP_TEXT, 0},
	{"00010018" GREY_HEAD "0d0062006300" END, WIRE_DROP_TEXT, 0}, /* CR */
	{"00010018" GREY_HEAD "61000a006300" END, WIRE_DROP_TEXT, 0}, /* LF */
	{"00010018" GREY_HEAD "610062007f00" END, WIRE_DROP_TEXT, 0}, /* DEL */
	{"00010018" GREY_HEAD "000062006300" END, WIRE_DROP_TEXT, 0}, /* NUL inside */
	{"00010018" "6553f100c000020a" "000200030001" "610062640000" END, WIRE_DROP_TEXT, 0},
	{"00010018" "6553f100c000020a" "000100010004" "000061626300" END, WIRE_OK, 1},
	/* own */
	{"0045001c6553f1006583670000000000000000000000ffffc000020a00", WIRE_DROP_BLOCK, 1},
	{"0041001c6553f1006583670000000000000000000000ffffc000020a", WIRE_DROP_BLOCK, 0},
	{"0043001c6553f1000304000000000000000000000000ffffc000020a", WIRE_DROP_BLOCK, 0},
	{"0043001c6553f1000106000000000000000000000000ffffc000020a", WIRE_DROP_BLOCK, 0},
	{"0043001c6553f1000104000100000000000000000000ffffc000020a", WIRE_DROP_BLOCK, 0},
	{"0043001c6553f1000404000000000000000000000000ffffc000020a", WIRE_DROP_BLOCK, 0},
	{"004300146553f100010000000006747261704062", WIRE_DROP_BLOCK, 0},
	{"004300146553f100040000000005747261704062", WIRE_DROP_BLOCK, 0},
	{"004300146553f100040000000007747261704062", WIRE_DROP_BLOCK, 0},
	{"004300146553f1000400000000067472617040" "00", WIRE_DROP_TEXT, 0},
	{"0043000e6553f100040000000000", WIRE_DROP_TEXT, 0},
	{"0044001c6553f1000104000000000000000000000000ffffc000020a", WIRE_DROP_BLOCK, 0},
};
// clang-format on

static void whatever_is_wrong_with_a_block_has_its_name_and_spares_what_came_before(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(faulty); i++) {
		struct wire_block blocks[WIRE_BLOCKS_MAX];
		struct draft draft;
		size_t n = 77;
		draft_make(&draft, faulty[i].blocks);
		enum wire_drop drop = decode(&draft, blocks, &n);
		if (drop != faulty[i].drop || n != faulty[i].n) {
			fail_msg("row %zu: %s after %zu blocks", i, wire_drop_name(drop), n);
		}
		for (size_t k = 0; k < n; k++) {
			assert_int_equal(blocks[k].at.secs, 1700000000);
		}
	}
}

static void what_is_wrong_with_a_header_has_its_name(void **state)
{
	struct wire_block blocks[WIRE_BLOCKS_MAX];
	struct draft draft;
	size_t n = 77;
	(void)state;
	draft_make(&draft, WHITE_1 END);
	draft.len--;
	assert_int_equal(decode(&draft, blocks, &n), WIRE_DROP_SHORT);
	assert_int_equal(n, 0);
	for (draft.len = 0; draft.len < WIRE_HEADER_BYTES; draft.len++) {
		assert_int_equal(decode(&draft, blocks, &n), WIRE_DROP_SHORT);
	}
	draft_make(&draft, WHITE_1 END);
	draft.bytes[0] = 1;
	assert_int_equal(decode(&draft, blocks, &n), WIRE_DROP_VERSION);
	draft_make(&draft, WHITE_1 END);
	draft.bytes[1] = 10;
	assert_int_equal(decode(&draft, blocks, &n), WIRE_DROP_FAMILY);
	draft_make(&draft, WHITE_1 END);
	draft_sign(&draft, WIRE_HEADER_BYTES - 1);
	assert_int_equal(decode(&draft, blocks, &n), WIRE_DROP_LENGTH);
	draft_sign(&draft, WIRE_BYTES_MAX + 1);
	assert_int_equal(decode(&draft, blocks, &n), WIRE_DROP_LENGTH);
	draft_sign(&draft, draft.len + 1);
	assert_int_equal(decode(&draft, blocks, &n), WIRE_DROP_SHORT);
	assert_int_equal(n, 0);
}

static void a_flipped_bit_anywhere_is_noticed(void **state)
{
	struct wire_block blocks[WIRE_BLOCKS_MAX];
	struct draft draft;
	size_t n = 0;
	(void)state;
	draft_make(&draft, GREY_1 END);
	for (size_t i = 0; i < draft.len * 8; i++) {
		draft.bytes[i / 8] ^= (uint8_t)(1U << i % 8);
		assert_int_not_equal(decode(&draft, blocks, &n), WIRE_OK);
		assert_int_equal(n, 0);
		if (i / 8 >= 4) {
			assert_int_equal(decode(&draft, blocks, &n), WIRE_DROP_MAC);
		}
		draft.bytes[i / 8] ^= (uint8_t)(1U << i % 8);
	}
	assert_int_equal(decode(&draft, blocks, &n), WIRE_OK);
}

static void bytes_behind_the_length_are_not_read(void **state)
{
	struct wire_block blocks[WIRE_BLOCKS_MAX];
	struct draft draft;
	size_t n = 0;
	(void)state;
	draft_make(&draft, WHITE_1 END);
	draft_put(&draft, TRAPPED_1);
	assert_int_equal(decode(&draft, blocks, &n), WIRE_OK);
	assert_int_equal(n, 1);
	draft.len = LONG_DATAGRAM_BYTES;
	assert_int_equal(decode(&draft, blocks, &n), WIRE_OK);
	assert_int_equal(n, 1);
	/* but one that says so itself is too long */
	draft_sign(&draft, LONG_DATAGRAM_BYTES);
	assert_int_equal(decode(&draft, blocks, &n), WIRE_DROP_LENGTH);
	assert_int_equal(n, 0);
}

static void the_pad_of_the_header_may_hold_anything(void **state)
{
	struct wire_block blocks[WIRE_BLOCKS_MAX];
	struct draft draft;
	size_t n = 0;
	(void)state;
	draft_make(&draft, WHITE_1 END);
	memset(draft.bytes + 28, 0xff, 4);
	draft_sign(&draft, draft.len);
	assert_int_equal(decode(&draft, blocks, &n), WIRE_OK);
	assert_int_equal(n, 1);
}

/* Signed by somebody with the key, but cut: the whole blocks before the cut count. */
static void a_cut_anywhere_leaves_the_blocks_before_it(void **state)
{
	static const size_t ends[] = {16, 32, 64, 68}; /* of the blocks and the end mark */
	struct wire_block whole[WIRE_BLOCKS_MAX];
	struct draft draft;
	size_t n_whole = 0;
	(void)state;
	draft_make(&draft, WHITE_1 TRAPPED_1 GREY_1 END);
	assert_int_equal(decode(&draft, whole, &n_whole), WIRE_OK);
	for (size_t len = 0; len <= ends[3]; len++) {
		struct wire_block blocks[WIRE_BLOCKS_MAX];
		size_t n = 77;
		size_t n_wanted = (size_t)(len >= ends[0]) + (len >= ends[1]) + (len >= ends[2]);
		bool is_between = len == 0 || len == ends[0] || len == ends[1] || len == ends[2] ||
		                  len == ends[3];
		draft.len = WIRE_HEADER_BYTES + len;
		draft_sign(&draft, draft.len);
		enum wire_drop drop = decode(&draft, blocks, &n);
		assert_int_equal(drop, is_between ? WIRE_OK : WIRE_DROP_BLOCK);
		assert_int_equal(n, n_wanted);
		for (size_t i = 0; i < n; i++) {
			assert_true(vector_blocks_equal(&blocks[i], &whole[i]));
		}
	}
}

static void a_datagram_full_of_blocks_is_read_whole(void **state)
{
	enum { N = (WIRE_BYTES_MAX - WIRE_HEADER_BYTES) / 16 };
	struct wire_block blocks[WIRE_BLOCKS_MAX];
	struct draft draft = {.len = WIRE_HEADER_BYTES};
	size_t n = 0;
	(void)state;
	for (size_t i = 0; i < N; i++) {
		draft_put(&draft, WHITE_1);
	}
	assert_int_equal(draft.len, WIRE_BYTES_MAX);
	draft_sign(&draft, draft.len);
	assert_int_equal(decode(&draft, blocks, &n), WIRE_OK);
	assert_int_equal(n, N);
	assert_int_equal(addr_v4_be(&blocks[N - 1].addr), htonl(0xcb007119));
}

/* --- sending ---------------------------------------------------------------------------------- */

static char filler[WIRE_STRING_MAX + 2];

static struct wire_block tuple_of(uint8_t type, size_t n_sender, size_t n_recipient)
{
	memset(filler, 'x', sizeof filler - 1);
	struct wire_block block = {.type = type,
	                           .at = {1700000000},
	                           .sender = span_of(filler, n_sender),
	                           .recipient = span_of(filler, n_recipient),
	                           .helo = SPAN("h")};
	block.addr = addr_from_v4_be(htonl(0xc000020a));
	if (type == WIRE_GREY6) {
		block.addr = (struct addr){{0x20, 0x01, 0x0d, 0xb8}};
	}
	return block;
}

static void the_longest_tuple_fits_and_a_byte_more_does_not(void **state)
{
	static const struct {
		uint8_t type;
		size_t strings_max; /* with NULs */
	} rows[] = {{WIRE_GREY, 1342}, {WIRE_GREY6, 1330}};
	struct sync_key key = vector_key(false);
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct wire_block blocks[WIRE_BLOCKS_MAX];
		struct wire_packet packet;
		size_t n = 0;
		size_t n_recipient = rows[i].strings_max - (WIRE_STRING_MAX + 1) - 2 - 1;
		struct wire_block block = tuple_of(rows[i].type, WIRE_STRING_MAX, n_recipient);
		wire_begin(&packet);
		assert_int_equal(wire_add(&packet, &block), 0);
		wire_finish(&packet, 5, &key);
		assert_true(packet.len <= WIRE_BYTES_MAX);
		assert_int_equal(wire_decode(span_of(packet.bytes, packet.len), &key, blocks, &n),
		                 WIRE_OK);
		assert_true(vector_blocks_equal(&blocks[0], &block));
		wire_begin(&packet);
		block.recipient.len++;
		assert_int_equal(wire_add(&packet, &block), ERR_TOO_LONG);
		assert_int_equal(packet.len, WIRE_HEADER_BYTES);
		block = tuple_of(rows[i].type, WIRE_STRING_MAX + 1, 5);
		assert_int_equal(wire_add(&packet, &block), ERR_TOO_LONG);
	}
}

static void own_and_plain_blocks_never_share_a_packet(void **state)
{
	struct wire_block plain = VECTOR_TRAPPED;
	struct wire_block own = own_layouts[0].block;
	struct wire_packet packet;
	(void)state;
	wire_begin(&packet);
	assert_int_equal(wire_add(&packet, &own), 0);
	assert_int_equal(wire_add(&packet, &plain), ERR_UNSUPPORTED);
	assert_int_equal(wire_add(&packet, &own), 0);
	wire_begin(&packet);
	assert_int_equal(wire_add(&packet, &plain), 0);
	assert_int_equal(wire_add(&packet, &own), ERR_UNSUPPORTED);
	assert_int_equal(wire_add(&packet, &plain), ERR_UNSUPPORTED);
	assert_int_equal(packet.len, WIRE_HEADER_BYTES + 16);
}

static void own_blocks_fill_a_packet_to_its_end(void **state)
{
	enum { N = (WIRE_BYTES_MAX - WIRE_HEADER_BYTES - WIRE_END_BYTES) / 28 };
	struct sync_key key = vector_key(false);
	struct wire_block blocks[WIRE_BLOCKS_MAX];
	struct wire_packet packet;
	size_t n = 0;
	(void)state;
	wire_begin(&packet);
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(wire_add(&packet, &own_layouts[1].block), 0);
	}
	assert_int_equal(packet.len, WIRE_BYTES_MAX - WIRE_END_BYTES);
	assert_int_equal(wire_add(&packet, &own_layouts[1].block), ERR_FULL);
	wire_finish(&packet, 1, &key);
	assert_int_equal(packet.len, WIRE_BYTES_MAX);
	assert_int_equal(wire_decode(span_of(packet.bytes, packet.len), &key, blocks, &n), WIRE_OK);
	assert_int_equal(n, N);
}

static void what_a_type_cannot_say_is_not_sent(void **state)
{
	static const struct {
		struct wire_block block;
		int ret;
	} rows[] = {
	        {{.type = WIRE_DELETE_WHITE, .addr = {{[10] = 0xff, 0xff, 1}}}, ERR_UNSUPPORTED},
	        {{.type = WIRE_DELETE_TRAPPED, .addr = {{[10] = 0xff, 0xff, 1}}}, ERR_UNSUPPORTED},
	        {{.type = WIRE_END}, ERR_UNSUPPORTED},
	        {{.type = 70}, ERR_UNSUPPORTED},
	        {{.type = WIRE_WHITE, .addr = {{0x20}}}, ERR_SYNTAX},
	        {{.type = WIRE_WHITE6, .addr = {{[10] = 0xff, 0xff, 1}}}, ERR_SYNTAX},
	        {{.type = WIRE_DELETE, .kind = 3}, ERR_SYNTAX},
	        {{.type = WIRE_MANUAL}, ERR_SYNTAX},
	        {{.type = WIRE_MANUAL, .kind = WIRE_KIND_SPAMTRAP}, ERR_SYNTAX},
	        {{.type = WIRE_GREY6, .addr = {{0x20}}}, ERR_SYNTAX}, /* no helo */
	        {{.type = WIRE_GREY6, .addr = {{0x20}}, .helo = SPAN("a\nb")}, ERR_SYNTAX},
	        {{.type = WIRE_GREY6, .addr = {{0x20}}, .helo = SPAN("a\0b")}, ERR_SYNTAX},
	        {{.type = WIRE_GREY6, .addr = {{0x20}}, .helo = SPAN("a"), .sender = SPAN("\r")},
	         ERR_SYNTAX},
	};
	struct wire_packet packet;
	(void)state;
	wire_begin(&packet);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(wire_add(&packet, &rows[i].block), rows[i].ret);
		assert_int_equal(packet.len, WIRE_HEADER_BYTES);
	}
}

static void times_beyond_32_bits_become_the_nearest(void **state)
{
	struct sync_key key = vector_key(false);
	struct wire_block block = VECTOR_TRAPPED;
	struct wire_block blocks[WIRE_BLOCKS_MAX];
	struct wire_packet packet;
	size_t n = 0;
	(void)state;
	block.at.secs = -1;
	block.expire.secs = INT64_C(1) << 32;
	wire_begin(&packet);
	assert_int_equal(wire_add(&packet, &block), 0);
	wire_finish(&packet, 0, &key);
	assert_int_equal(wire_decode(span_of(packet.bytes, packet.len), &key, blocks, &n), WIRE_OK);
	assert_int_equal(blocks[0].at.secs, 0);
	assert_int_equal(blocks[0].expire.secs, UINT32_MAX);
}

/* --- all types -------------------------------------------------------------------------------- */

static uint64_t next_random(void)
{
	static uint64_t x = 88172645463325252U;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static struct span random_text(uint8_t *text, size_t max, bool may_be_empty)
{
	size_t len = next_random() % max + !may_be_empty;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)next_random();
		text[i] = c < 0x20 || c == 0x7f ? '.' : c;
	}
	return span_of(text, len);
}

static struct addr random_addr(bool is_v4)
{
	struct addr addr = {{0x2a}};
	if (is_v4) {
		return addr_from_v4_be((uint32_t)next_random());
	}
	for (size_t i = 1; i < sizeof addr.bytes; i++) {
		addr.bytes[i] = (uint8_t)next_random();
	}
	return addr;
}

static struct wire_block random_block(uint8_t type, uint8_t texts[3][256])
{
	struct wire_block block = {.type = type, .at = {(uint32_t)next_random()}};
	bool is_subject = type == WIRE_DELETE || type == WIRE_MANUAL;
	bool is_v6 = type == WIRE_GREY6 || type == WIRE_WHITE6 || type == WIRE_TRAPPED6;
	bool is_either = is_subject || type == WIRE_PROMOTE;
	if (is_subject) {
		block.kind = (uint8_t)(1 << next_random() % 3);
	}
	if (type == WIRE_GREY || type == WIRE_GREY6) {
		block.sender = random_text(texts[0], 255, true);
		block.recipient = random_text(texts[1], 255, true);
		block.helo = random_text(texts[2], 255, false);
	} else if (type != WIRE_DELETE) {
		block.expire.secs = (uint32_t)next_random();
	}
	if (block.kind == WIRE_KIND_SPAMTRAP) {
		block.recipient = random_text(texts[1], 255, false);
	} else {
		block.addr = random_addr(is_either ? next_random() % 2 : !is_v6);
	}
	return block;
}

static void blocks_of_every_type_come_back_as_they_went(void **state)
{
	struct sync_key key = vector_key(false);
	uint8_t texts[3][256];
	(void)state;
	for (size_t i = 0; i < SEED_ROUNDS; i++) {
		struct wire_block out[WIRE_BLOCKS_MAX];
		struct wire_packet packet;
		size_t n = 0;
		struct wire_block block =
		        random_block(all_types[next_random() % ARRAY_LEN(all_types)], texts);
		if (block.type == WIRE_DELETE_WHITE || block.type == WIRE_DELETE_TRAPPED) {
			continue; /* never sent */
		}
		wire_begin(&packet);
		assert_int_equal(wire_add(&packet, &block), 0);
		assert_int_equal(packet.is_own, wire_is_own(block.type));
		wire_finish(&packet, (uint32_t)i, &key);
		assert_int_equal(wire_decode(span_of(packet.bytes, packet.len), &key, out, &n),
		                 WIRE_OK);
		assert_int_equal(n, 1);
		assert_true(vector_blocks_equal(&out[0], &block));
	}
}

static void every_type_and_drop_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all_types); i++) {
		assert_int_equal(wire_is_own(all_types[i]), all_types[i] >= 64);
		assert_string_not_equal(wire_type_name(all_types[i]), "unknown");
		for (size_t k = 0; k < i; k++) {
			assert_string_not_equal(wire_type_name(all_types[i]),
			                        wire_type_name(all_types[k]));
		}
	}
	for (enum wire_drop drop = WIRE_OK; drop < WIRE_DROP_COUNT; drop++) {
		for (enum wire_drop other = WIRE_OK; other < drop; other++) {
			assert_string_not_equal(wire_drop_name(drop), wire_drop_name(other));
		}
	}
	assert_string_equal(wire_type_name(WIRE_END), "end");
	assert_string_equal(wire_type_name(99), "unknown");
	assert_false(wire_is_own(99));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(vectors_encode_to_their_bytes),
	        cmocka_unit_test(vectors_decode_to_their_fields),
	        cmocka_unit_test(own_blocks_have_their_layouts),
	        cmocka_unit_test(
	                whatever_is_wrong_with_a_block_has_its_name_and_spares_what_came_before),
	        cmocka_unit_test(what_is_wrong_with_a_header_has_its_name),
	        cmocka_unit_test(a_flipped_bit_anywhere_is_noticed),
	        cmocka_unit_test(bytes_behind_the_length_are_not_read),
	        cmocka_unit_test(the_pad_of_the_header_may_hold_anything),
	        cmocka_unit_test(a_cut_anywhere_leaves_the_blocks_before_it),
	        cmocka_unit_test(a_datagram_full_of_blocks_is_read_whole),
	        cmocka_unit_test(the_longest_tuple_fits_and_a_byte_more_does_not),
	        cmocka_unit_test(own_and_plain_blocks_never_share_a_packet),
	        cmocka_unit_test(own_blocks_fill_a_packet_to_its_end),
	        cmocka_unit_test(what_a_type_cannot_say_is_not_sent),
	        cmocka_unit_test(times_beyond_32_bits_become_the_nearest),
	        cmocka_unit_test(blocks_of_every_type_come_back_as_they_went),
	        cmocka_unit_test(every_type_and_drop_has_a_name_of_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
