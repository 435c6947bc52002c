/* Two gateways on loopback addresses of this process: each a real store, a keeper and a syncer; and
 * a stranger, a socket with which the test speaks and listens itself. Include after cmocka.h. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "keeper/syncer.h"
#include "keeper_world.h"

enum { GATEWAYS = 2, SYNCER_PORT = 1, QUIET_MS = 100, SKEW_SECS = 600 };

static _Atomic int mono_ahead_secs;

/* Stands before the C library's: monotonic time may jump. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	int ret = (int)syscall(SYS_clock_gettime, id, ts);
	if (ret == 0 && id == CLOCK_MONOTONIC) {
		ts->tv_sec += atomic_load(&mono_ahead_secs);
	}
	return ret;
}

struct gateway {
	struct world world;
	struct sync_setup setup; /* may be changed before gateway_start */
	uint32_t addr_be;
	int socket; /* the syncer's once it runs */
	_Atomic int64_t life_now_secs;
	struct syncer *syncer;
};

struct fixture {
	struct gateway at[GATEWAYS];
	struct sync_key key;
	uint16_t port;
	int stranger;
	uint32_t stranger_be;
	uint32_t counter;
};

/* 127.x.y.host, where x and y are this process's. */
static inline uint32_t own_loopback_be(uint32_t host)
{
	uint32_t pid = (uint32_t)getpid();
	return htonl(0x7f000000U | (1 + pid / 251 % 250) << 16 | (1 + pid % 251) << 8 | host);
}

/* port 0: any; returns which. */
static inline int open_udp(uint32_t addr_be, uint16_t *port)
{
	struct sockaddr_in sin = {
	        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = addr_be};
	socklen_t len = sizeof sin;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof sin), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port = ntohs(sin.sin_port);
	return fd;
}

static inline void start_syncer_on(struct gateway *gateway, struct keeper_port *port)
{
	struct syncer_env env = {.conf = &gateway->world.conf,
	                         .store = gateway->world.store,
	                         .keeper = gateway->world.keeper,
	                         .port = port,
	                         .wake = gateway->world.wake_syncer,
	                         .knowledge = &gateway->world.knowledge,
	                         .setup = &gateway->setup,
	                         .socket = gateway->socket,
	                         .life_now_secs = &gateway->life_now_secs};
	assert_int_equal(syncer_start(&gateway->syncer, &env), 0);
}

static inline void start_syncer(struct gateway *gateway)
{
	start_syncer_on(gateway, &gateway->world.ports[SYNCER_PORT]);
}

static inline void gateway_start(struct gateway *gateway)
{
	gateway->world.is_sync_sending = gateway->setup.n_peers > 0;
	gateway->world.has_syncer = true;
	world_start(&gateway->world);
	start_syncer(gateway);
}

/* The port stays this test's. */
static inline void stop_syncer(struct fixture *fix, struct gateway *gateway)
{
	syncer_stop(gateway->syncer);
	gateway->syncer = NULL;
	gateway->socket = open_udp(gateway->addr_be, &fix->port);
}

static inline void gateway_init(struct fixture *fix, int i)
{
	struct gateway *gateway = &fix->at[i];
	world_init(&gateway->world);
	gateway->world.conf.sync_skew_secs = SKEW_SECS;
	gateway->world.conf.commit_wait_ms = 1;
	gateway->life_now_secs = world_now_secs();
	gateway->addr_be = own_loopback_be((uint32_t)i + 1);
	gateway->socket = open_udp(gateway->addr_be, &fix->port);
	gateway->setup = (struct sync_setup){
	        .key = fix->key, .n_peers = 1, .must_receive = true, .port = fix->port};
	gateway->setup.peers[0] = (struct sync_peer){
	        .addr_be = own_loopback_be((uint32_t)(1 - i) + 1), .name = "other"};
}

static inline int gateways_setup(void **state)
{
	struct fixture *fix = calloc(1, sizeof *fix);
	assert_non_null(fix);
	atomic_store(&mono_ahead_secs, 0);
	fix->key = sync_key_of(span_of_str("a secret that both know\n"));
	for (int i = 0; i < GATEWAYS; i++) {
		gateway_init(fix, i);
	}
	fix->stranger_be = own_loopback_be(3);
	fix->stranger = open_udp(fix->stranger_be, &fix->port);
	*state = fix;
	return 0;
}

static inline int gateways_teardown(void **state)
{
	struct fixture *fix = *state;
	for (int i = 0; i < GATEWAYS; i++) {
		struct gateway *gateway = &fix->at[i];
		if (gateway->syncer) {
			syncer_stop(gateway->syncer);
		} else {
			(void)close(gateway->socket);
		}
		world_fini(&gateway->world);
	}
	(void)close(fix->stranger);
	free(fix);
	return 0;
}

#define GATEWAYS_TEST(test) cmocka_unit_test_setup_teardown(test, gateways_setup, gateways_teardown)

static inline void start_both(struct fixture *fix)
{
	gateway_start(&fix->at[0]);
	gateway_start(&fix->at[1]);
}

/* --- looking ---------------------------------------------------------------------------------- */

static inline struct syncer_figures figures_of(struct gateway *gateway)
{
	struct syncer_figures figures;
	syncer_figures_get(gateway->syncer, &figures);
	return figures;
}

/* Of the host with that address; all zero when there is none. */
static inline struct syncer_peer_figures peer_of(struct gateway *gateway, uint32_t addr_be)
{
	struct syncer_figures figures = figures_of(gateway);
	for (size_t i = 0; i < figures.n_peers; i++) {
		if (figures.peers[i].addr_be == addr_be) {
			return figures.peers[i];
		}
	}
	return (struct syncer_peer_figures){.addr_be = 0};
}

static inline uint64_t sum_of(const uint64_t *values, size_t n)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++) {
		sum += values[i];
	}
	return sum;
}

static inline uint64_t n_in(struct gateway *gateway, uint32_t addr_be)
{
	return sum_of(peer_of(gateway, addr_be).in, SYNCER_TYPES_MAX);
}

static inline uint64_t n_dropped(struct gateway *gateway, uint32_t addr_be)
{
	return sum_of(peer_of(gateway, addr_be).dropped, WIRE_DROP_COUNT);
}

static inline uint64_t n_refused(struct gateway *gateway, uint32_t addr_be)
{
	return sum_of(peer_of(gateway, addr_be).refused, SYNCER_REFUSED_COUNT);
}

/* Waits until so many datagrams' worth of blocks of that host were taken, refused or dropped. */
static inline void until_heard(struct gateway *gateway, uint32_t addr_be, uint64_t n)
{
	uint64_t heard = 0;
	for (int i = 0; i < WORLD_WAIT_MS && heard < n; i++) {
		heard = n_in(gateway, addr_be) + n_refused(gateway, addr_be) +
		        n_dropped(gateway, addr_be);
		world_sleep_ms(1);
	}
	assert_int_equal(heard, n);
}

static inline bool is_host(struct gateway *gateway, const char *text, enum record_kind kind)
{
	struct grey_record record;
	return world_host(&gateway->world, text, kind, &record) && !record.is_deleted;
}

static inline void until_host(struct gateway *gateway, const char *text, enum record_kind kind,
                              bool is_there)
{
	for (int i = 0; i < WORLD_WAIT_MS && is_host(gateway, text, kind) != is_there; i++) {
		world_sleep_ms(1);
	}
	assert_int_equal(is_host(gateway, text, kind), is_there);
}

static inline bool has_spamtrap(struct gateway *gateway, const char *address)
{
	struct grey_record record;
	int ret = store_reader_trap_address(gateway->world.reader, span_of_str(address), &record);
	assert_true(ret >= 0);
	return ret > 0 && !record.is_deleted;
}

/* --- doing ------------------------------------------------------------------------------------ */

static inline void change_at(struct gateway *gateway, enum change_kind kind, const char *text)
{
	struct change change = {.kind = kind};
	change.has_addr = !strchr(text, '@');
	if (change.has_addr) {
		change.addr = world_addr(text);
	} else {
		change.text.recipient = span_of_str(text);
	}
	assert_int_equal(world_change(&gateway->world, 0, &change, 1).ret, 0);
}

static inline void attempt_at(struct gateway *gateway, const char *addr, uint16_t flags)
{
	struct world_tuple tuple = {addr, "mail.example", "<a@example.org>", "<b@example.net>",
	                            flags};
	(void)world_ask(&gateway->world, KEEPER_TUPLE, &tuple);
}

/* --- the stranger ----------------------------------------------------------------------------- */

static inline struct wire_block block_of(uint8_t type, const char *addr, int64_t at_secs)
{
	struct wire_block block = {.type = type, .at = {at_secs}, .expire = {at_secs + 5000}};
	block.addr = world_addr(addr);
	if (type == WIRE_GREY || type == WIRE_GREY6) {
		block.sender = span_of_str("<a@example.org>");
		block.recipient = span_of_str("<b@example.net>");
		block.helo = span_of_str("mail.example");
		block.expire = (struct wall){0};
	}
	return block;
}

static inline void send_packet_from(int fd, const struct gateway *to,
                                    const struct wire_packet *packet)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
	                          .sin_port = htons(to->setup.port),
	                          .sin_addr.s_addr = to->addr_be};
	assert_int_equal(
	        sendto(fd, packet->bytes, packet->len, 0, (struct sockaddr *)&sin, sizeof sin),
	        packet->len);
}

static inline struct wire_packet packet_of(struct fixture *fix, const struct wire_block *block,
                                           const struct sync_key *key)
{
	struct wire_packet packet;
	wire_begin(&packet);
	assert_int_equal(wire_add(&packet, block), 0);
	wire_finish(&packet, fix->counter++, key);
	return packet;
}

static inline void tell(struct fixture *fix, const struct gateway *to,
                        const struct wire_block *block)
{
	struct wire_packet packet = packet_of(fix, block, &fix->key);
	send_packet_from(fix->stranger, to, &packet);
}

/* The blocks of the next datagram for the stranger; -1 when none comes in time. bytes keeps texts.
 */
static inline int hear(struct fixture *fix, int wait_ms, uint8_t bytes[static WIRE_BYTES_MAX],
                       struct wire_block blocks[static WIRE_BLOCKS_MAX])
{
	struct pollfd pfd = {.fd = fix->stranger, .events = POLLIN};
	size_t n = 0;
	if (poll(&pfd, 1, wait_ms) != 1) {
		return -1;
	}
	ssize_t len = recv(fix->stranger, bytes, WIRE_BYTES_MAX, 0);
	assert_true(len > 0);
	assert_int_equal(wire_decode(span_of(bytes, (size_t)len), &fix->key, blocks, &n), WIRE_OK);
	return (int)n;
}
