/* Clients that are not there: on the far side of a tun device this program opens N connections to a
 * server by writing SYNs from many addresses, and answers what comes from the packets' headers
 * alone. There are no client sockets, so processor time and kernel memory in the server's network
 * namespace are the server's.
 *
 * One thread, which looks for packets twice a millisecond instead of sleeping on the device: a
 * sleeper would be woken by the server's sends, and the server charged for it.
 *
 * It prints a line of JSON when all connections are open, when the window begins and when it ends;
 * then it goes on answering until its stdin ends or says a line, resets all connections and ends.
 *
 * usage: ghost --server ADDRESS:PORT --connections N [options], see usage() */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "ghost_packet.h"

enum {
	CONNECTIONS_MAX = 10000000,
	PORT_FIRST = 1024,
	PORTS = 65536 - PORT_FIRST,
	ISN = 1000,
	DRAIN_MAX = 512,        /* packets answered, */
	OPEN_MAX = 64,          /* and connections opened, before the other's turn */
	RESET_MAX = 4096,       /* resets between two looks at what comes */
	LOOK_NS = 500 * 1000,   /* between two looks at an empty device */
	RETRY_US = 1000 * 1000, /* a SYN that is not answered is sent again */
	OPEN_WAIT_SECS = 60,    /* after the last first SYN */
	HOLD_SECS = 120,        /* for the reader of the result */
	END_LOOKS = 200,        /* for what still comes after the resets */
	HIST_MS = 60000,
	US_PER_SEC = 1000000,
};

enum phase { PHASE_OPENING, PHASE_SETTLING, PHASE_WINDOW, PHASE_HELD, PHASE_OVER };

enum peer_state { PEER_NEW, PEER_OPEN, PEER_GONE };

struct peer {
	uint32_t heard_us; /* its last byte, 0 = none yet */
	uint32_t next_seq; /* expected of the server */
	uint32_t own_seq;  /* what the server expects */
	enum peer_state state;
};

struct options {
	const char *tun;
	uint32_t server;
	uint16_t port;
	uint32_t source; /* the first of n_sources */
	uint32_t n_sources;
	uint32_t n_connections;
	uint32_t rate;
	uint32_t settle_secs;
	uint32_t window_secs;
	uint32_t period_ms; /* configured gap, 0 = none */
	struct span say;
};

struct ghost {
	struct options options;
	int tun;
	struct peer *peers;
	enum phase phase;
	uint64_t now_us;
	uint64_t phase_us; /* when the phase began */
	uint32_t n_begun;  /* SYNs sent for the first time */
	uint32_t n_again;  /* peers looked at for another SYN in this pass */
	uint64_t again_us; /* when the pass began */
	uint32_t n_open;
	uint32_t n_gone;
	/* in the window */
	uint64_t n_bytes;
	uint64_t n_gaps;
	uint64_t n_repeated; /* segments the server sent again */
	uint64_t n_lost;     /* bytes that never came */
	uint32_t gap_max_ms;
	uint32_t *gaps; /* by milliseconds, the last one for all beyond */
};

static _Noreturn void fail(const char *what)
{
	(void)fprintf(stderr, "ghost: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t clock_us(void)
{
	return (uint64_t)clock_mono().ns / 1000;
}

/* --- packets --- */

/* A packet from the peer; the kernel drops it when memory is short, as a network would. */
static void put(const struct ghost *ghost, uint32_t idx, struct packet packet)
{
	uint8_t bytes[PACKET_MAX];
	const struct options *options = &ghost->options;
	packet.source = options->source + idx % options->n_sources;
	packet.source_port = (uint16_t)(PORT_FIRST + idx / options->n_sources);
	packet.target = options->server;
	packet.target_port = options->port;
	size_t len = packet_build(&packet, bytes);
	if (write(ghost->tun, bytes, len) < 0 && errno != EAGAIN && errno != ENOBUFS &&
	    errno != ENOMEM) {
		fail("write to the tun device");
	}
}

/* The peer a packet is for. */
static bool find_peer(const struct ghost *ghost, const struct packet *packet, uint32_t *idx)
{
	const struct options *options = &ghost->options;
	uint32_t source = packet->target - options->source;
	if (packet->source != options->server || packet->source_port != options->port ||
	    source >= options->n_sources || packet->target_port < PORT_FIRST) {
		return false;
	}
	*idx = (packet->target_port - (uint32_t)PORT_FIRST) * options->n_sources + source;
	return *idx < options->n_connections;
}

static void count_gap(struct ghost *ghost, const struct peer *peer, uint32_t now_us)
{
	if (peer->heard_us != 0) {
		uint32_t gap_ms = (now_us - peer->heard_us + 500) / 1000;
		ghost->gaps[gap_ms < HIST_MS ? gap_ms : HIST_MS]++;
		ghost->n_gaps++;
		ghost->gap_max_ms = gap_ms > ghost->gap_max_ms ? gap_ms : ghost->gap_max_ms;
	}
}

/* Bytes of the server: what is new counts. */
static void hear(struct ghost *ghost, struct peer *peer, const struct packet *packet)
{
	bool is_window = ghost->phase == PHASE_WINDOW;
	uint32_t end = packet->seq + (uint32_t)packet->text.len;
	if ((int32_t)(end - peer->next_seq) <= 0) {
		ghost->n_repeated += is_window;
		return;
	}
	uint32_t now_us = (uint32_t)clock_us() | 1; /* never 0 */
	if (is_window) {
		uint32_t n_new = end - peer->next_seq;
		n_new = n_new < packet->text.len ? n_new : (uint32_t)packet->text.len;
		ghost->n_bytes += n_new;
		ghost->n_lost += end - peer->next_seq - n_new;
		count_gap(ghost, peer, now_us);
	}
	peer->heard_us = now_us;
	peer->next_seq = end;
}

static bool is_line_end(struct span text)
{
	return text.len > 0 && text.ptr[text.len - 1] == '\n';
}

static void answer(struct ghost *ghost, uint32_t idx, const struct packet *packet)
{
	bool is_fin = packet->flags & PACKET_FIN;
	struct packet reply = {
	        .seq = packet->ack,
	        .ack = packet->seq + (uint32_t)packet->text.len + (is_fin ? 1 : 0) +
	               (packet->flags & PACKET_SYN ? 1 : 0),
	        .flags = PACKET_ACK,
	};
	if (is_fin) {
		reply.flags |= PACKET_FIN;
	} else if (is_line_end(packet->text) && ghost->options.say.len > 0) {
		reply.flags |= PACKET_PSH;
		reply.text = ghost->options.say;
	}
	put(ghost, idx, reply);
}

static void leave(struct ghost *ghost, struct peer *peer)
{
	if (peer->state == PEER_OPEN) {
		peer->state = PEER_GONE;
		ghost->n_gone++;
	}
}

static void take_packet(struct ghost *ghost, struct span bytes)
{
	struct packet packet;
	uint32_t idx;
	if (!packet_parse(bytes, &packet) || !find_peer(ghost, &packet, &idx)) {
		return;
	}
	struct peer *peer = &ghost->peers[idx];
	peer->own_seq = packet.ack;
	if (packet.flags & PACKET_RST) {
		leave(ghost, peer);
		return;
	}
	if (packet.flags & PACKET_SYN && peer->state == PEER_NEW) {
		peer->state = PEER_OPEN;
		peer->next_seq = packet.seq + 1;
		ghost->n_open++;
	} else if (packet.text.len > 0) {
		hear(ghost, peer, &packet);
	}
	if (packet.text.len > 0 || packet.flags & (PACKET_SYN | PACKET_FIN)) {
		answer(ghost, idx, &packet);
	}
	if (packet.flags & PACKET_FIN) {
		leave(ghost, peer);
	}
}

/* False: nothing was there. */
static bool drain(struct ghost *ghost)
{
	uint8_t bytes[2048];
	bool has_read = false;
	for (int i = 0; i < DRAIN_MAX; i++) {
		ssize_t n = read(ghost->tun, bytes, sizeof bytes);
		if (n < 0 && errno == EAGAIN) {
			break;
		}
		if (n < 0) {
			fail("read from the tun device");
		}
		has_read = true;
		take_packet(ghost, span_of(bytes, (size_t)n));
	}
	return has_read;
}

/* --- opening --- */

static void open_one(struct ghost *ghost, uint32_t idx)
{
	put(ghost, idx, (struct packet){.seq = ISN, .flags = PACKET_SYN});
}

/* The SYNs that are due now by the rate; afterwards again those that got no answer. */
static void open_due(struct ghost *ghost)
{
	const struct options *options = &ghost->options;
	uint64_t due = (ghost->now_us - ghost->phase_us) * options->rate / US_PER_SEC;
	for (int i = 0; i < OPEN_MAX && ghost->n_begun < due; i++) {
		if (ghost->n_begun == options->n_connections) {
			break;
		}
		open_one(ghost, ghost->n_begun++);
		ghost->again_us = ghost->now_us;
	}
	if (ghost->n_begun < options->n_connections || ghost->now_us < ghost->again_us + RETRY_US) {
		return;
	}
	for (int n = 0; n < OPEN_MAX && ghost->n_again < options->n_connections; ghost->n_again++) {
		if (ghost->peers[ghost->n_again].state == PEER_NEW) {
			open_one(ghost, ghost->n_again);
			n++;
		}
	}
	if (ghost->n_again == options->n_connections) {
		ghost->n_again = 0;
		ghost->again_us = ghost->now_us;
	}
}

/* --- results --- */

/* The smallest gap that `share` of all do not exceed. */
static uint32_t quantile_ms(const struct ghost *ghost, double share)
{
	uint64_t wanted = (uint64_t)(share * (double)ghost->n_gaps);
	uint64_t n = 0;
	uint32_t ms = 0;
	while (ms < HIST_MS && (n += ghost->gaps[ms]) <= wanted) {
		ms++;
	}
	return ms;
}

/* The distance from the configured gap that `share` of all do not exceed. */
static uint32_t off_ms(const struct ghost *ghost, double share)
{
	uint64_t wanted = (uint64_t)(share * (double)ghost->n_gaps);
	uint32_t period = ghost->options.period_ms;
	uint64_t n = ghost->gaps[period];
	uint32_t off = 0;
	while (off < HIST_MS && n <= wanted) {
		off++;
		n += off <= period ? ghost->gaps[period - off] : 0;
		n += period + off <= HIST_MS ? ghost->gaps[period + off] : 0;
	}
	return off;
}

static void tell_result(const struct ghost *ghost)
{
	(void)printf("{\"phase\": \"end\", \"seconds\": %.3f, \"bytes\": %llu, \"gaps\": %llu, "
	             "\"p50_ms\": %u, \"p99_ms\": %u, \"max_ms\": %u, \"off_p99_ms\": %u, "
	             "\"repeated\": %llu, \"lost\": %llu, \"held\": %u, \"gone\": %u}\n",
	             (double)(ghost->now_us - ghost->phase_us) / US_PER_SEC,
	             (unsigned long long)ghost->n_bytes, (unsigned long long)ghost->n_gaps,
	             quantile_ms(ghost, 0.5), quantile_ms(ghost, 0.99), ghost->gap_max_ms,
	             off_ms(ghost, 0.99), (unsigned long long)ghost->n_repeated,
	             (unsigned long long)ghost->n_lost, ghost->n_open - ghost->n_gone,
	             ghost->n_gone);
	(void)fflush(stdout);
}

static void tell(const struct ghost *ghost, const char *phase)
{
	(void)printf("{\"phase\": \"%s\", \"seconds\": %.3f, \"connections\": %u}\n", phase,
	             (double)(ghost->now_us - ghost->phase_us) / US_PER_SEC, ghost->n_open);
	(void)fflush(stdout);
}

/* --- phases --- */

static bool is_over(const struct ghost *ghost, uint32_t secs)
{
	return ghost->now_us >= ghost->phase_us + (uint64_t)secs * US_PER_SEC;
}

static void enter(struct ghost *ghost, enum phase phase)
{
	ghost->phase = phase;
	ghost->phase_us = ghost->now_us;
}

static bool is_released(void)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	return poll(&in, 1, 0) > 0;
}

static void step_opening(struct ghost *ghost)
{
	const struct options *options = &ghost->options;
	open_due(ghost);
	if (ghost->n_open == options->n_connections) {
		tell(ghost, "open");
		enter(ghost, PHASE_SETTLING);
	} else if (is_over(ghost, options->n_connections / options->rate + OPEN_WAIT_SECS)) {
		(void)fprintf(stderr, "ghost: only %u of %u connections were accepted\n",
		              ghost->n_open, options->n_connections);
		exit(1);
	}
}

static void step(struct ghost *ghost)
{
	switch (ghost->phase) {
	case PHASE_OPENING:
		step_opening(ghost);
		break;
	case PHASE_SETTLING:
		if (is_over(ghost, ghost->options.settle_secs)) {
			tell(ghost, "begin");
			enter(ghost, PHASE_WINDOW);
		}
		break;
	case PHASE_WINDOW:
		if (is_over(ghost, ghost->options.window_secs)) {
			tell_result(ghost);
			enter(ghost, PHASE_HELD);
		}
		break;
	case PHASE_HELD:
		if (is_released() || is_over(ghost, HOLD_SECS)) {
			enter(ghost, PHASE_OVER);
		}
		break;
	case PHASE_OVER:
		break;
	}
}

static void look(struct ghost *ghost)
{
	if (!drain(ghost)) {
		struct timespec pause = {.tv_nsec = LOOK_NS};
		(void)nanosleep(&pause, NULL);
	}
	ghost->now_us = clock_us();
}

static void reset_all(struct ghost *ghost)
{
	for (uint32_t i = 0; i < ghost->options.n_connections; i++) {
		if (ghost->peers[i].state == PEER_OPEN) {
			put(ghost, i,
			    (struct packet){.seq = ghost->peers[i].own_seq, .flags = PACKET_RST});
		}
		if (i % RESET_MAX == 0) {
			(void)drain(ghost);
		}
	}
	for (int i = 0; i < END_LOOKS; i++) {
		look(ghost);
	}
}

static void run(struct ghost *ghost)
{
	ghost->now_us = clock_us();
	enter(ghost, PHASE_OPENING);
	while (ghost->phase != PHASE_OVER) {
		look(ghost);
		step(ghost);
	}
	reset_all(ghost);
}

/* --- start --- */

static int open_tun(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	(void)snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETOFFLOAD, 0) < 0) {
		fail(name);
	}
	return fd;
}

static _Noreturn void usage(void)
{
	(void)fputs("usage: ghost --server ADDRESS:PORT --connections N\n"
	            "  --tun NAME        the device, which exists already (ghost)\n"
	            "  --sources A/N     the first address and how many (10.64.0.1/250)\n"
	            "  --rate N          connections opened a second (5000)\n"
	            "  --settle SECS     between the last accept and the window (3)\n"
	            "  --window SECS     in which bytes and gaps are counted (10)\n"
	            "  --period MS       the configured gap\n"
	            "  --say LINE        answer to each line of the server's, without its end\n"
	            "ghost --self-check: tests the making of packets\n",
	            stderr);
	exit(2);
}

static uint32_t number(const char *text, uint32_t max)
{
	uint64_t value;
	if (span_to_u64(span_of_str(text), max, &value) < 0) {
		usage();
	}
	return (uint32_t)value;
}

/* ADDRESS, separator, NUMBER */
static uint32_t address(char *text, char separator, uint32_t max, uint32_t *after)
{
	struct in_addr addr;
	char *at = strchr(text, separator);
	if (!at) {
		usage();
	}
	*at = '\0';
	*after = number(at + 1, max);
	if (inet_pton(AF_INET, text, &addr) != 1) {
		usage();
	}
	return ntohl(addr.s_addr);
}

static struct span line_of(const char *text)
{
	static char line[PACKET_TEXT_MAX];
	int len = snprintf(line, sizeof line, "%s\r\n", text);
	if (len < 0 || (size_t)len >= sizeof line) {
		usage();
	}
	return span_of(line, (size_t)len);
}

static const struct option OPTIONS[] = {
        {"server", required_argument, NULL, 'a'},
        {"connections", required_argument, NULL, 'n'},
        {"tun", required_argument, NULL, 't'},
        {"sources", required_argument, NULL, 's'},
        {"rate", required_argument, NULL, 'r'},
        {"settle", required_argument, NULL, 'e'},
        {"window", required_argument, NULL, 'w'},
        {"period", required_argument, NULL, 'p'},
        {"say", required_argument, NULL, 'y'},
        {"self-check", no_argument, NULL, 'c'},
        {NULL, 0, NULL, 0},
};

static void take_option(struct options *options, int letter)
{
	uint32_t port;
	switch (letter) {
	case 'a':
		options->server = address(optarg, ':', UINT16_MAX, &port);
		options->port = (uint16_t)port;
		break;
	case 'n':
		options->n_connections = number(optarg, CONNECTIONS_MAX);
		break;
	case 't':
		options->tun = optarg;
		break;
	case 's':
		options->source = address(optarg, '/', UINT16_MAX, &options->n_sources);
		break;
	case 'r':
		options->rate = number(optarg, US_PER_SEC);
		break;
	case 'e':
		options->settle_secs = number(optarg, 3600);
		break;
	case 'w':
		options->window_secs = number(optarg, 3600);
		break;
	case 'p':
		options->period_ms = number(optarg, HIST_MS - 1);
		break;
	case 'y':
		options->say = line_of(optarg);
		break;
	case 'c':
		exit(packet_self_check() ? 0 : 1);
	default:
		usage();
	}
}

int main(int argc, char **argv)
{
	struct ghost ghost = {.options = {.tun = "ghost",
	                                  .source = 0x0a400001,
	                                  .n_sources = 250,
	                                  .rate = 5000,
	                                  .settle_secs = 3,
	                                  .window_secs = 10}};
	struct options *options = &ghost.options;
	for (int c; (c = getopt_long(argc, argv, "", OPTIONS, NULL)) >= 0;) {
		take_option(options, c);
	}
	if (optind != argc || options->port == 0 || options->n_connections == 0 ||
	    options->rate == 0 || options->n_sources == 0 ||
	    options->n_connections > (uint64_t)options->n_sources * PORTS) {
		usage();
	}
	ghost.peers = calloc(options->n_connections, sizeof *ghost.peers);
	ghost.gaps = calloc(HIST_MS + 1, sizeof *ghost.gaps);
	if (!ghost.peers || !ghost.gaps) {
		fail("memory");
	}
	ghost.tun = open_tun(options->tun);
	run(&ghost);
	free(ghost.peers);
	free(ghost.gaps);
	close(ghost.tun);
	return 0;
}
