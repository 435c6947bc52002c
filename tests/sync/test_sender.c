/* Packets on their way, between two network namespaces. Needs root. */
#include <arpa/inet.h>

#include "sync_net.h"
#include "sync_vectors.h"

#include "sync/sender.h"

/* A packet of one block. */
static struct wire_packet packet_of(struct wire_block block)
{
	struct wire_packet packet;
	wire_begin(&packet);
	assert_int_equal(wire_add(&packet, &block), 0);
	return packet;
}

static void expect(int fd, const struct wire_packet *packet, const char *from_text)
{
	uint8_t bytes[WIRE_BYTES_MAX];
	struct sockaddr_in from = {0};
	size_t n = net_receive(fd, bytes, sizeof bytes, &from, NET_WAIT_MS);
	assert_int_equal(n, packet->len);
	assert_memory_equal(bytes, packet->bytes, n);
	assert_int_equal(from.sin_addr.s_addr, inet_addr(from_text));
}

static void expect_silence(int fd)
{
	uint8_t bytes[WIRE_BYTES_MAX];
	assert_int_equal(net_receive(fd, bytes, sizeof bytes, NULL, NET_SILENCE_MS), 0);
}

static void each_message_has_its_number_and_goes_to_every_peer(void **state)
{
	struct net *net = *state;
	struct conf conf = net_conf(net, NULL, "192.0.2.2", "127.0.0.1");
	struct conf there = net_conf(net, "192.0.2.2", NULL, NULL);
	struct conf local = net_conf(net, "127.0.0.1", NULL, NULL);
	struct sync_setup setup;
	struct sync_setup other;
	bool failed[CONF_SYNC_PEERS_MAX] = {true, true};
	int fd = net_open(&conf, &setup);
	int peer = net_open_there(net, &there, &other);
	int second = net_open(&local, &other);
	struct sync_sender sender = {.setup = &setup, .socket = fd};
	for (size_t i = 0; i < 3; i++) {
		struct wire_block blocks[WIRE_BLOCKS_MAX];
		size_t n;
		struct wire_packet packet = packet_of((struct wire_block)VECTOR_TRAPPED);
		sync_send(&sender, &packet, failed);
		expect(peer, &packet, "192.0.2.1");
		expect(second, &packet, "127.0.0.1");
		/* the counter goes up by one a message, not a target */
		assert_int_equal(packet.bytes[7], i);
		assert_int_equal(
		        wire_decode(span_of(packet.bytes, packet.len), &setup.key, blocks, &n),
		        WIRE_OK);
	}
	assert_int_equal(sender.counter, 3);
	assert_int_equal(sender.n_datagrams, 6);
	assert_int_equal(sender.n_failures, 0);
	assert_false(failed[0]);
	assert_false(failed[1]);
	(void)close(second);
	(void)close(peer);
	(void)close(fd);
}

static void the_second_message_is_vector_b(void **state)
{
	struct net *net = *state;
	struct conf conf = net_conf(net, NULL, "192.0.2.2", NULL);
	struct conf there = net_conf(net, "p0", NULL, NULL);
	struct sync_setup setup;
	struct sync_setup other;
	struct wire_packet wanted = {.len = 0};
	int fd = net_open(&conf, &setup);
	int peer = net_open_there(net, &there, &other);
	struct sync_sender sender = {.setup = &setup, .socket = fd, .counter = 1};
	struct wire_packet packet = packet_of((struct wire_block)VECTOR_TRAPPED);
	wanted.len = vector_bytes(vectors[1].hex, wanted.bytes);
	sync_send(&sender, &packet, NULL);
	expect(peer, &wanted, "192.0.2.1");
	(void)close(peer);
	(void)close(fd);
}

static void the_group_gets_it_as_peers_do(void **state)
{
	struct net *net = *state;
	struct conf conf = net_conf(net, "s0:2", "s0:2", "192.0.2.2");
	struct conf there = net_conf(net, "p0", "p0", NULL);
	struct sync_setup setup;
	struct sync_setup other;
	int fd = net_open(&conf, &setup);
	int peer = net_open_there(net, &there, &other);
	struct sync_sender sender = {.setup = &setup, .socket = fd};
	struct wire_packet packet = packet_of((struct wire_block)VECTOR_GREY);
	sync_send(&sender, &packet, NULL);
	expect(peer, &packet, "192.0.2.1");
	expect(peer, &packet, "192.0.2.1");
	assert_int_equal(sender.n_datagrams, 2);
	expect(fd, &packet, "192.0.2.1"); /* the group's comes back to who sent it */
	struct sync_sender answer = {.setup = &other, .socket = peer};
	packet = packet_of((struct wire_block)VECTOR_TRAPPED);
	sync_send(&answer, &packet, NULL);
	expect(fd, &packet, "192.0.2.2");
	expect_silence(fd);
	(void)close(peer);
	(void)close(fd);
}

static void what_the_kernel_does_not_take_is_counted_by_peer(void **state)
{
	struct net *net = *state;
	struct conf conf = net_conf(net, NULL, "203.0.113.9", "192.0.2.2"); /* no route there */
	struct conf there = net_conf(net, "192.0.2.2", NULL, NULL);
	struct sync_setup setup;
	struct sync_setup other;
	bool failed[CONF_SYNC_PEERS_MAX] = {false, true};
	int fd = net_open(&conf, &setup);
	int peer = net_open_there(net, &there, &other);
	struct sync_sender sender = {.setup = &setup, .socket = fd};
	for (size_t i = 1; i <= 5; i++) {
		struct wire_packet packet = packet_of((struct wire_block)VECTOR_TRAPPED);
		sync_send(&sender, &packet, failed);
		expect(peer, &packet, "192.0.2.1");
		assert_true(failed[0]);
		assert_false(failed[1]);
		assert_int_equal(sender.n_failures, i);
		assert_int_equal(sender.n_logged, 1); /* one line a minute */
	}
	assert_int_equal(sender.n_datagrams, 10);
	(void)close(peer);
	(void)close(fd);
}

/* Ten thousand as fast as can be: nothing is lost at the sending host. */
static void a_burst_waits_for_room(void **state)
{
	enum { N = 10000 };
	struct net *net = *state;
	struct conf conf = net_conf(net, NULL, "192.0.2.2", NULL);
	struct conf there = net_conf(net, "192.0.2.2", NULL, NULL);
	struct sync_setup setup;
	struct sync_setup other;
	int small = 1;
	int fd = net_open(&conf, &setup);
	int peer = net_open_there(net, &there, &other);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
	struct sync_sender sender = {.setup = &setup, .socket = fd};
	size_t n_received = 0;
	for (size_t i = 0; i < N; i++) {
		uint8_t bytes[WIRE_BYTES_MAX];
		struct wire_packet packet = packet_of((struct wire_block)VECTOR_TRAPPED);
		sync_send(&sender, &packet, NULL);
		while (recv(peer, bytes, sizeof bytes, 0) > 0) {
			n_received++;
		}
	}
	for (uint8_t bytes[WIRE_BYTES_MAX];
	     n_received < N && net_receive(peer, bytes, sizeof bytes, NULL, NET_WAIT_MS) > 0;) {
		n_received++;
	}
	assert_int_equal(sender.n_failures, 0);
	assert_int_equal(n_received, N);
	(void)close(peer);
	(void)close(fd);
}

/* Datagrams to hosts that nobody has wait in the kernel for their link addresses. */
static int open_to_nobody(const struct net *net, struct sync_setup *setup, size_t n)
{
	struct conf conf = net_conf(net, NULL, NULL, NULL);
	char names[CONF_SYNC_PEERS_MAX][INET_ADDRSTRLEN];
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(names[i], sizeof names[i], "192.0.2.%zu", 100 + i);
		conf.sync_peers[i] = names[i];
	}
	conf.sync_peers[n] = (char[]){"192.0.2.2"};
	conf.n_sync_peers = n + 1;
	return net_open(&conf, setup);
}

/* A full socket is waited for once, not once a datagram and target. */
static void a_network_that_stands_still_costs_no_time(void **state)
{
	enum { N = 20, N_PEERS = 8, WAIT_MAX_MS = 600 };
	struct net *net = *state;
	struct sync_setup setup;
	int small = 1;
	int fd = open_to_nobody(net, &setup, N_PEERS - 1);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
	struct sync_sender sender = {.setup = &setup, .socket = fd};
	struct mono begin = clock_mono();
	for (size_t i = 0; i < N; i++) {
		struct wire_packet packet = packet_of((struct wire_block)VECTOR_TRAPPED);
		sync_send(&sender, &packet, NULL);
	}
	assert_in_range(mono_diff_ms(clock_mono(), begin), 0, WAIT_MAX_MS);
	assert_int_equal(sender.n_datagrams, N * N_PEERS);
	assert_in_range(sender.n_failures, N, N * N_PEERS);
	assert_true(sender.is_full);
	(void)close(fd);
}

/* What waits for hosts that are gone leaves room for the one that is there. */
static void hosts_that_are_gone_do_not_keep_the_others_from_hearing(void **state)
{
	enum { N = 500 };
	struct net *net = *state;
	struct conf there = net_conf(net, "192.0.2.2", NULL, NULL);
	struct sync_setup setup;
	struct sync_setup other;
	int fd = open_to_nobody(net, &setup, CONF_SYNC_PEERS_MAX - 1);
	int peer = net_open_there(net, &there, &other);
	struct sync_sender sender = {.setup = &setup, .socket = fd};
	for (size_t i = 0; i < N; i++) {
		struct wire_packet packet = packet_of((struct wire_block)VECTOR_GREY);
		sync_send(&sender, &packet, NULL);
		expect(peer, &packet, "192.0.2.1");
	}
	assert_int_equal(sender.n_failures, 0);
	(void)close(peer);
	(void)close(fd);
}

/* A third host behind `there`, over a link (a tunnel, say) that long datagrams do not fit. */
static int open_behind_narrow_link(const struct net *net, struct sync_setup *setup)
{
	char command[256];
	int behind = net_make_namespace();
	struct conf conf = net_conf(net, "198.51.100.2", NULL, NULL);
	(void)snprintf(command, sizeof command,
	               "ip link add n1 mtu 600 type veth peer name n0 mtu 600 netns /proc/%d/fd/%d "
	               "&& ip addr add 198.51.100.2/24 dev n1 && ip link set n1 up",
	               (int)getpid(), net->there);
	net_run(command);
	net_enter(net->there);
	net_run("ip addr add 198.51.100.1/24 dev n0 && ip link set n0 up && "
	        "echo 1 > /proc/sys/net/ipv4/ip_forward");
	net_enter(behind);
	int fd = net_open(&conf, setup);
	net_enter(net->here);
	net_run("ip route add 198.51.100.0/24 via 192.0.2.2");
	(void)close(behind);
	return fd;
}

/* Nothing is sent twice, so that the first one must not be what tells of the narrow link. */
static void a_long_datagram_passes_a_narrow_link_the_first_time(void **state)
{
	struct net *net = *state;
	struct conf conf = net_conf(net, NULL, "198.51.100.2", NULL);
	struct sync_setup setup;
	struct sync_setup other;
	uint8_t sender_text[1000];
	memset(sender_text, 'a', sizeof sender_text);
	int peer = open_behind_narrow_link(net, &other);
	int fd = net_open(&conf, &setup);
	struct sync_sender sender = {.setup = &setup, .socket = fd};
	struct wire_block block = VECTOR_GREY;
	block.sender = span_of(sender_text, sizeof sender_text);
	struct wire_packet packet = packet_of(block);
	sync_send(&sender, &packet, NULL);
	expect(peer, &packet, "192.0.2.1");
	(void)close(peer);
	(void)close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, net_setup, net_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(each_message_has_its_number_and_goes_to_every_peer),
	        TEST(the_second_message_is_vector_b),
	        TEST(the_group_gets_it_as_peers_do),
	        TEST(what_the_kernel_does_not_take_is_counted_by_peer),
	        TEST(a_burst_waits_for_room),
	        TEST(a_network_that_stands_still_costs_no_time),
	        TEST(hosts_that_are_gone_do_not_keep_the_others_from_hearing),
	        TEST(a_long_datagram_passes_a_narrow_link_the_first_time),
	};
	const struct CMUnitTest skipped[] = {cmocka_unit_test(net_needs_root)};
	return geteuid() == 0 ? cmocka_run_group_tests(tests, NULL, NULL)
	                      : cmocka_run_group_tests(skipped, NULL, NULL);
}
