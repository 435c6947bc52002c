/* What a datagram costs: made and signed, checked and read. The baseline is HMAC-SHA1 alone over
 * the same bytes, below which nothing can go.
 *
 * usage: bench_wire [ROUNDS] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "sync/wire.h"

enum { ROUNDS_DEFAULT = 200000, SLICES = 40 };

struct load {
	const char *name;
	struct wire_block block;
	size_t n; /* blocks in a datagram */
};

static char filler[WIRE_STRING_MAX + 1];

#define V4                                               \
	{                                                \
		{                                        \
			[10] = 0xff, 0xff, 192, 0, 2, 10 \
		}                                        \
	}

static struct load loads[] = {
        {"WHITE", {.type = WIRE_WHITE, .at = {1700000000}, .expire = {1703110400}, .addr = V4}, 1},
        {"GREY",
         {.type = WIRE_GREY,
          .at = {1700000000},
          .addr = V4,
          .sender = SPAN("<alice@example.org>"),
          .recipient = SPAN("<bob@example.net>"),
          .helo = SPAN("mail.example.org")},
         1},
        {"GREY, longest",
         {.type = WIRE_GREY,
          .at = {1700000000},
          .addr = V4,
          .sender = {(const uint8_t *)filler, WIRE_STRING_MAX},
          .recipient = {(const uint8_t *)filler, 298},
          .helo = SPAN("mail.example.org")},
         1},
        {"PROMOTE, full",
         {.type = WIRE_PROMOTE, .at = {1700000000}, .expire = {1703110400}, .addr = V4},
         49},
};

static void make(struct wire_packet *packet, const struct load *load, uint32_t counter,
                 const struct sync_key *key)
{
	wire_begin(packet);
	for (size_t i = 0; i < load->n; i++) {
		if (wire_add(packet, &load->block) != 0) {
			(void)fprintf(stderr, "%s: does not fit\n", load->name);
			exit(1);
		}
	}
	wire_finish(packet, counter, key);
}

/* One of the three things that are measured. */
enum what { MAKE, READ, BARE, N_WHATS };

struct work {
	const struct load *load;
	const struct sync_key *key;
	struct wire_packet packet;
	size_t n_blocks; /* read */
};

static void run(struct work *work, enum what what, size_t rounds)
{
	static struct wire_block blocks[WIRE_BLOCKS_MAX];
	struct span bytes = {work->packet.bytes, work->packet.len};
	uint8_t mac[SYNC_MAC_BYTES];
	for (size_t i = 0; i < rounds; i++) {
		size_t n = 0;
		if (what == MAKE) {
			make(&work->packet, work->load, (uint32_t)i, work->key);
		} else if (what == BARE) {
			sync_key_sign(work->key, bytes, mac);
		} else if (wire_decode(bytes, work->key, blocks, &n) == WIRE_OK) {
			work->n_blocks += n;
		}
	}
}

/* The best of several slices: what others do on the machine only ever adds. */
static void bench(const struct load *load, const struct sync_key *key, size_t rounds)
{
	struct work work = {.load = load, .key = key};
	double best_ns[N_WHATS] = {1e9, 1e9, 1e9};
	size_t n_slice = rounds / SLICES;
	for (size_t slice = 0; slice < SLICES; slice++) {
		for (enum what what = MAKE; what < N_WHATS; what++) {
			struct mono since = clock_mono();
			run(&work, what, n_slice);
			double ns = (double)(clock_mono().ns - since.ns) / (double)n_slice;
			best_ns[what] = ns < best_ns[what] ? ns : best_ns[what];
		}
	}
	if (work.n_blocks != SLICES * n_slice * load->n) {
		(void)fprintf(stderr, "%s: was not read back\n", load->name);
		exit(1);
	}
	(void)printf("%-14s %4zu bytes, %2zu blocks: made %5.0f ns, read %5.0f ns; bare HMAC %5.0f "
	             "ns, ratios %.2f and %.2f\n",
	             load->name, work.packet.len, load->n, best_ns[MAKE], best_ns[READ],
	             best_ns[BARE], best_ns[MAKE] / best_ns[BARE], best_ns[READ] / best_ns[BARE]);
}

int main(int argc, char **argv)
{
	struct sync_key key = sync_key_of(SPAN("spamd-sync-test-key\n"));
	struct utsname machine;
	size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : ROUNDS_DEFAULT;
	memset(filler, 'x', sizeof filler);
	(void)uname(&machine);
	(void)printf("%s %s: %zu rounds\n", machine.sysname, machine.release, rounds);
	for (size_t i = 0; i < sizeof loads / sizeof *loads; i++) {
		bench(&loads[i], &key, rounds);
	}
	return 0;
}
