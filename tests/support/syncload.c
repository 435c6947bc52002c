/* A load of synchronisation datagrams: sound ones, and whatever else a socket open to the network
 * may get.
 *
 *   syncload --to PLACE --key FILE --at SECONDS [--hosts N] [--packets N] [--rate R]
 *            [--seed S] [--mix sound|noise]
 *
 * PLACE is ADDR:PORT or the path of a local socket. There are N sound datagrams, one a host and one
 * block each, all with the timestamp --at and the same in every run; no two are about the same
 * record, so that their order cannot matter. `sound` sends each once, in order. `noise` sends
 * --packets drawn by the seed: the sound ones again and again, and all the rows of `makers`, none
 * of which may change anything. Prints how many of each as one JSON object. Exit status: 0, 1 for a
 * socket or key that cannot be had, 2 usage. */
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "base/addr.h"
#include "base/compiler.h"
#include "datagrams.h"
#include "sync/wire.h"

enum {
	WEIGHTS = 100,
	STALE_SECS = 5 * 3600,   /* before --at: plain ones are older than greyexp */
	AHEAD_SECS = 2 * 3600,   /* behind it: beyond any skew */
	LIFE_SECS = 24 * 3600,   /* of a host */
	STRANGER = 0x00800000,   /* hosts of datagrams that must be refused */
	FLIPS_MAX = 3,           /* damaged bits */
	RANDOM_BYTES_MAX = 1500, /* longer than any datagram may be */
	AT_MAC = 8,
	EXIT_USAGE = 2,
};

struct load {
	struct args_place to;
	const char *key_path, *mix;
	uint64_t at, hosts, packets, rate, seed;
	struct sync_key key, other_key;
	struct chance chance;
	struct datagrams out;
	uint32_t counter;
	char texts[3][64];
};

/* --- sound ones --------------------------------------------------------------------------------
 */

static struct addr v4_of(uint32_t host)
{
	return addr_from_v4_be(htonl(0x0a000000u | host));
}

/* One in each /64. */
static struct addr v6_of(uint32_t host)
{
	struct addr addr = {.bytes = {0x20, 0x01, 0x0d, 0xb8}};
	addr.bytes[4] = (uint8_t)(host >> 24);
	addr.bytes[5] = (uint8_t)(host >> 16);
	addr.bytes[6] = (uint8_t)(host >> 8);
	addr.bytes[7] = (uint8_t)host;
	addr.bytes[15] = 1;
	return addr;
}

static void name_tuple(struct load *load, uint32_t host, struct wire_block *block)
{
	(void)snprintf(load->texts[0], sizeof load->texts[0], "<s%u@load.example>", host);
	(void)snprintf(load->texts[1], sizeof load->texts[1], "<r%u@mx.example>", host);
	(void)snprintf(load->texts[2], sizeof load->texts[2], "h%u.load.example", host);
	block->sender = span_of_str(load->texts[0]);
	block->recipient = span_of_str(load->texts[1]);
	block->helo = span_of_str(load->texts[2]);
}

/* What this host's datagram says; half of them are tuples. */
static struct wire_block block_of(struct load *load, uint32_t host)
{
	static const uint8_t types[] = {WIRE_GREY,  WIRE_GREY,    WIRE_GREY,    WIRE_WHITE,
	                                WIRE_GREY6, WIRE_TRAPPED, WIRE_WHITE6,  WIRE_TRAPPED6,
	                                WIRE_GREY,  WIRE_MANUAL,  WIRE_PROMOTE, WIRE_GREY6};
	struct wire_block block = {.type = types[host % ARRAY_LEN(types)],
	                           .at = {(int64_t)load->at},
	                           .addr = v4_of(host)};
	if (block.type == WIRE_GREY || block.type == WIRE_GREY6) {
		name_tuple(load, host, &block);
	} else {
		block.expire.secs = (int64_t)load->at + LIFE_SECS + host;
	}
	if (block.type == WIRE_MANUAL) {
		block.kind = WIRE_KIND_TRAPPED;
	}
	if (block.type == WIRE_GREY6 || block.type == WIRE_WHITE6 || block.type == WIRE_TRAPPED6) {
		block.addr = v6_of(host);
	}
	return block;
}

/* The texts lie in load; what does not fit a datagram is our mistake. */
static void pack(struct load *load, const struct wire_block *block, const struct sync_key *key,
                 struct wire_packet *out)
{
	wire_begin(out);
	ASSERT(wire_add(out, block) == 0);
	wire_finish(out, load->counter++, key);
}

static void pack_host(struct load *load, uint32_t host, struct wire_packet *out)
{
	struct wire_block block = block_of(load, host);
	pack(load, &block, &load->key, out);
}

static uint32_t any_host(struct load *load)
{
	return chance_below(&load->chance, load->hosts);
}

static void sign_again(const struct load *load, struct wire_packet *packet)
{
	uint8_t mac[SYNC_MAC_BYTES];
	memset(packet->bytes + AT_MAC, 0, sizeof mac);
	sync_key_sign(&load->key, span_of(packet->bytes, packet->len), mac);
	memcpy(packet->bytes + AT_MAC, mac, sizeof mac);
}

/* --- the mixture -------------------------------------------------------------------------------
 */

static void make_sound(struct load *load, struct wire_packet *out)
{
	pack_host(load, any_host(load), out);
}

/* A stranger's record, signed with a key of his own. */
static void make_forged(struct load *load, struct wire_packet *out)
{
	struct wire_block block = block_of(load, STRANGER + any_host(load));
	pack(load, &block, &load->other_key, out);
}

static void make_flipped(struct load *load, struct wire_packet *out)
{
	uint32_t before = (uint32_t)chance_below(&load->chance, WIRE_HEADER_BYTES);
	pack_host(load, any_host(load), out);
	for (uint32_t n = 1 + chance_below(&load->chance, FLIPS_MAX); n > 0; n--) {
		/* different bytes, so that no two undo each other */
		size_t at = (before + n * 7) % out->len;
		out->bytes[at] ^= (uint8_t)(1u << chance_below(&load->chance, 8));
	}
}

static void make_cut(struct load *load, struct wire_packet *out)
{
	pack_host(load, any_host(load), out);
	out->len = chance_below(&load->chance, out->len);
}

static void make_of_another_time(struct load *load, struct wire_packet *out)
{
	struct wire_block block = block_of(load, STRANGER + any_host(load));
	bool is_stale = chance_below(&load->chance, 2) == 0;
	block.at.secs += is_stale ? -(int64_t)STALE_SECS : AHEAD_SECS;
	pack(load, &block, &load->key, out);
}

/* The type of a good block becomes one that nobody knows. */
static void make_unknown(struct load *load, struct wire_packet *out)
{
	pack_host(load, STRANGER + any_host(load), out);
	out->bytes[WIRE_HEADER_BYTES] = (uint8_t)(1 + chance_below(&load->chance, 255));
	sign_again(load, out);
}

/* A character or an end that no text may have. */
static void make_bad_text(struct load *load, struct wire_packet *out)
{
	struct wire_block block = {.type = WIRE_GREY,
	                           .at = {(int64_t)load->at},
	                           .addr = v4_of(STRANGER + any_host(load))};
	name_tuple(load, STRANGER + any_host(load), &block);
	pack(load, &block, &load->key, out);
	size_t sender_at = WIRE_HEADER_BYTES + 18;
	bool has_line_feed = chance_below(&load->chance, 2) == 0;
	out->bytes[sender_at + (has_line_feed ? 1 : block.sender.len)] = '\n';
	sign_again(load, out);
}

/* The block's own length is wrong. */
static void make_bad_block(struct load *load, struct wire_packet *out)
{
	struct wire_block block = {.type = WIRE_TRAPPED,
	                           .at = {(int64_t)load->at},
	                           .expire = {(int64_t)load->at + LIFE_SECS},
	                           .addr = v4_of(STRANGER + any_host(load))};
	pack(load, &block, &load->key, out);
	out->bytes[WIRE_HEADER_BYTES + 3] = (uint8_t)(17 + chance_below(&load->chance, 239));
	sign_again(load, out);
}

static void make_random(struct load *load, struct wire_packet *out)
{
	out->len = chance_below(&load->chance, WIRE_BYTES_MAX);
	for (size_t i = 0; i < out->len; i++) {
		out->bytes[i] = (uint8_t)chance_next(&load->chance);
	}
	if (out->len > 1 && chance_below(&load->chance, 2) == 0) {
		out->bytes[0] = out->bytes[1] = 2; /* looks like one of ours */
	}
}

static const struct maker {
	const char *name;
	void (*make)(struct load *load, struct wire_packet *out);
	uint32_t weight; /* in WEIGHTS */
} makers[] = {
        {"sound", make_sound, 30},
        {"forged", make_forged, 20},
        {"flipped", make_flipped, 12},
        {"cut", make_cut, 10},
        {"of_another_time", make_of_another_time, 10},
        {"unknown", make_unknown, 5},
        {"bad_text", make_bad_text, 5},
        {"bad_block", make_bad_block, 5},
        {"random", make_random, 3},
};

static size_t draw_maker(struct load *load)
{
	uint32_t drawn = chance_below(&load->chance, WEIGHTS);
	size_t i = 0;
	while (drawn >= makers[i].weight) {
		drawn -= makers[i++].weight;
	}
	return i;
}

static void send_packet(struct load *load, const struct wire_packet *packet)
{
	datagrams_add(&load->out, span_of(packet->bytes, packet->len));
}

static void send_noise(struct load *load)
{
	uint64_t counts[ARRAY_LEN(makers)] = {0};
	struct wire_packet packet;
	for (uint64_t n = 0; n < load->packets; n++) {
		size_t i = draw_maker(load);
		makers[i].make(load, &packet);
		send_packet(load, &packet);
		counts[i]++;
	}
	for (size_t i = 0; i < ARRAY_LEN(makers); i++) {
		printf("\"%s\": %llu, ", makers[i].name, (unsigned long long)counts[i]);
	}
}

static void send_sound(struct load *load)
{
	struct wire_packet packet;
	for (uint32_t host = 0; host < load->hosts; host++) {
		pack_host(load, host, &packet);
		send_packet(load, &packet);
	}
}

static bool read_args(char **argv, struct load *load)
{
	const struct args_row rows[] = {
	        {.name = "to", .place = &load->to},
	        {.name = "key", .text = &load->key_path},
	        {.name = "at", .number = &load->at, .number_max = UINT32_MAX},
	        {.name = "hosts", .number = &load->hosts, .number_max = STRANGER - 1},
	        {.name = "packets", .number = &load->packets, .number_max = UINT32_MAX},
	        {.name = "rate", .number = &load->rate, .number_max = UINT32_MAX},
	        {.name = "seed", .number = &load->seed, .number_max = UINT32_MAX},
	        {.name = "mix", .text = &load->mix},
	};
	return args_read(argv, rows, ARRAY_LEN(rows)) && load->to.len > 0 && load->key_path &&
	       load->at > 0 && load->hosts > 0 && load->rate > 0;
}

static bool open_all(struct load *load)
{
	char why[SYNC_KEY_WHY_MAX] = "";
	if (sync_key_read(load->key_path, &load->key, why) != 0) {
		(void)fprintf(stderr, "syncload: %s: %s\n", load->key_path, why);
		return false;
	}
	load->other_key = sync_key_of(SPAN("somebody else's"));
	load->chance.state = load->seed;
	if (!datagrams_open(&load->out, &load->to, load->rate)) {
		perror("syncload");
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	static struct load load = {
	        .hosts = 1000, .packets = 1000, .rate = 50000, .seed = 1, .mix = "sound"};
	if (argc < 1 || !read_args(argv, &load)) {
		(void)fputs("usage: syncload --to PLACE --key FILE --at SECONDS ...\n", stderr);
		return EXIT_USAGE;
	}
	if (!open_all(&load)) {
		return 1;
	}
	printf("{");
	if (strcmp(load.mix, "noise") == 0) {
		send_noise(&load);
	} else {
		send_sound(&load);
	}
	datagrams_flush(&load.out);
	printf("\"packets\": %llu, \"failed\": %llu}\n", (unsigned long long)load.out.n_sent,
	       (unsigned long long)load.out.n_failed);
	datagrams_close(&load.out);
	return 0;
}
