/* A bad network between two hosts, in user space: takes datagrams on one address and passes them on
 * to another, having lost, doubled, exchanged, cut, damaged and repeated some by a seeded chance.
 *
 *   syncrelay --listen PLACE --to ADDR:PORT [--seed S] [--rate R] [--packets N] [--seconds S]
 *             [--lose P] [--double P] [--swap P] [--cut P] [--flip P] [--repeat P]
 *
 * PLACE is ADDR:PORT, or the path of a local socket, which makes a sender that is too fast wait. P
 * is in thousandths. It ends when it has taken N datagrams, or after S seconds, or when nothing
 * came for a second once something had. Prints what it did as one JSON object. Exit status: 0, 1
 * for a socket that cannot be had, 2 usage. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "args.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "datagrams.h"

enum {
	KEPT_MAX = 4096,   /* datagrams that may be repeated */
	HELD_MAX = 256,    /* datagrams that others overtake */
	FLIPS_MAX = 3,     /* damaged bits */
	QUIET_MS = 1000,   /* without traffic: the end */
	BUFFER = 16 << 20, /* of the receiving socket */
	EXIT_USAGE = 2,
};

struct kept {
	size_t len;
	uint8_t bytes[DATAGRAM_BYTES_MAX];
};

enum deed { LOSE, DOUBLE, SWAP, CUT, FLIP, REPEAT, N_DEEDS };

static const char *const deed_names[N_DEEDS] = {"lose", "double", "swap", "cut", "flip", "repeat"};

struct relay {
	struct args_place listen, to;
	uint64_t seed, rate, packets, seconds;
	uint64_t chances[N_DEEDS];
	uint64_t counts[N_DEEDS];
	uint64_t n_taken;
	int socket;
	struct chance chance;
	struct datagrams out;
	struct kept kept[KEPT_MAX]; /* the latest, n_taken % KEPT_MAX next */
	struct kept held[HELD_MAX];
};

static bool must(struct relay *relay, enum deed deed)
{
	bool is_due = chance_below(&relay->chance, 1000) < relay->chances[deed];
	relay->counts[deed] += is_due;
	return is_due;
}

static void keep(struct kept *place, struct span bytes)
{
	place->len = bytes.len;
	memcpy(place->bytes, bytes.ptr, bytes.len);
}

/* Sends another one that waits, and lets this one wait in its place. */
static void swap(struct relay *relay, struct span bytes)
{
	struct kept *held = &relay->held[chance_below(&relay->chance, HELD_MAX)];
	if (held->len > 0) {
		datagrams_add(&relay->out, span_of(held->bytes, held->len));
	}
	keep(held, bytes);
}

static void flip(struct relay *relay, struct span bytes)
{
	uint8_t damaged[DATAGRAM_BYTES_MAX];
	memcpy(damaged, bytes.ptr, bytes.len);
	for (uint32_t n = 1 + chance_below(&relay->chance, FLIPS_MAX); n > 0; n--) {
		uint32_t bit = chance_below(&relay->chance, bytes.len * 8);
		damaged[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	datagrams_add(&relay->out, span_of(damaged, bytes.len));
}

static void repeat(struct relay *relay)
{
	uint64_t n_kept = relay->n_taken < KEPT_MAX ? relay->n_taken : KEPT_MAX;
	const struct kept *old = &relay->kept[chance_below(&relay->chance, n_kept)];
	datagrams_add(&relay->out, span_of(old->bytes, old->len));
}

/* What becomes of one datagram; more than one thing may happen to it. */
static void pass(struct relay *relay, struct span bytes)
{
	keep(&relay->kept[relay->n_taken % KEPT_MAX], bytes);
	relay->n_taken++;
	if (must(relay, REPEAT)) {
		repeat(relay);
	}
	if (must(relay, LOSE)) {
		return;
	}
	if (must(relay, DOUBLE)) {
		datagrams_add(&relay->out, bytes);
	}
	if (must(relay, SWAP)) {
		swap(relay, bytes);
	} else if (bytes.len > 0 && must(relay, CUT)) {
		datagrams_add(&relay->out,
		              span_of(bytes.ptr, chance_below(&relay->chance, bytes.len)));
	} else if (bytes.len > 0 && must(relay, FLIP)) {
		flip(relay, bytes);
	} else {
		datagrams_add(&relay->out, bytes);
	}
}

/* Takes what is there, at most a batch; false when there was nothing. */
static bool take(struct relay *relay)
{
	static uint8_t bytes[DATAGRAMS_BATCH][DATAGRAM_BYTES_MAX];
	struct iovec parts[DATAGRAMS_BATCH];
	struct mmsghdr headers[DATAGRAMS_BATCH];
	for (size_t i = 0; i < DATAGRAMS_BATCH; i++) {
		parts[i] = (struct iovec){bytes[i], sizeof bytes[i]};
		headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
	}
	int n = recvmmsg(relay->socket, headers, DATAGRAMS_BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		pass(relay, span_of(bytes[i], headers[i].msg_len));
	}
	return n > 0;
}

static void run(struct relay *relay)
{
	struct mono end = mono_add_ms(clock_mono(), (int64_t)relay->seconds * 1000);
	while (relay->n_taken < relay->packets && mono_diff_ms(end, clock_mono()) > 0) {
		struct pollfd readable = {.fd = relay->socket, .events = POLLIN};
		if (take(relay)) {
			continue;
		}
		datagrams_flush(&relay->out);
		if (poll(&readable, 1, QUIET_MS) == 0 && relay->n_taken > 0) {
			break;
		}
	}
	for (size_t i = 0; i < HELD_MAX; i++) {
		if (relay->held[i].len > 0) {
			datagrams_add(&relay->out,
			              span_of(relay->held[i].bytes, relay->held[i].len));
		}
	}
	datagrams_flush(&relay->out);
}

static void print(const struct relay *relay)
{
	printf("{\"taken\": %llu, \"sent\": %llu, \"failed\": %llu",
	       (unsigned long long)relay->n_taken, (unsigned long long)relay->out.n_sent,
	       (unsigned long long)relay->out.n_failed);
	for (size_t i = 0; i < N_DEEDS; i++) {
		printf(", \"%s\": %llu", deed_names[i], (unsigned long long)relay->counts[i]);
	}
	printf("}\n");
}

static bool open_sockets(struct relay *relay)
{
	int buffer = BUFFER;
	relay->socket = socket(relay->listen.name.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return relay->socket >= 0 &&
	       setsockopt(relay->socket, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) == 0 &&
	       bind(relay->socket, (const struct sockaddr *)&relay->listen.name,
	            relay->listen.len) == 0 &&
	       datagrams_open(&relay->out, &relay->to, relay->rate);
}

static bool read_args(char **argv, struct relay *relay)
{
	struct args_row rows[6 + N_DEEDS] = {
	        {.name = "listen", .place = &relay->listen},
	        {.name = "to", .place = &relay->to},
	        {.name = "seed", .number = &relay->seed, .number_max = UINT32_MAX},
	        {.name = "rate", .number = &relay->rate, .number_max = UINT32_MAX},
	        {.name = "packets", .number = &relay->packets, .number_max = UINT32_MAX},
	        {.name = "seconds", .number = &relay->seconds, .number_max = 86400},
	};
	for (size_t i = 0; i < N_DEEDS; i++) {
		rows[6 + i] = (struct args_row){
		        .name = deed_names[i], .number = &relay->chances[i], .number_max = 1000};
	}
	return args_read(argv, rows, ARRAY_LEN(rows)) && relay->listen.len > 0 &&
	       relay->to.len > 0 && relay->rate > 0;
}

int main(int argc, char **argv)
{
	static struct relay relay = {
	        .seed = 1, .rate = 50000, .packets = UINT32_MAX, .seconds = 60};
	if (argc < 1 || !read_args(argv, &relay)) {
		(void)fputs("usage: syncrelay --listen PLACE --to ADDR:PORT ...\n", stderr);
		return EXIT_USAGE;
	}
	if (!open_sockets(&relay)) {
		perror("syncrelay");
		return 1;
	}
	relay.chance.state = relay.seed;
	run(&relay);
	print(&relay);
	datagrams_close(&relay.out);
	(void)close(relay.socket);
	return 0;
}
