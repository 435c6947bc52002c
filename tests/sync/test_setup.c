/* -y and -Y in all their forms, on real sockets between two network namespaces. Needs root. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>

#include "sync_net.h"

static in_addr_t v4(const char *text)
{
	in_addr_t addr = inet_addr(text);
	assert_int_not_equal(addr, INADDR_NONE);
	return addr;
}

static struct sockaddr_in name_of(int fd)
{
	struct sockaddr_in name;
	socklen_t len = sizeof name;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
	return name;
}

static int option_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof value;
	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static bool has_joined(const char *link)
{
	char command[128];
	(void)snprintf(command, sizeof command,
	               "ip maddr show dev %s | grep -q 'inet *224.0.1.240'", link);
	return system(command) == 0;
}

static void synchronisation_is_wanted_when_either_option_is_there(void **state)
{
	struct conf conf = net_conf(*state, NULL, NULL, NULL);
	assert_false(sync_is_wanted(&conf));
	conf = net_conf(*state, "", NULL, NULL);
	assert_false(sync_is_wanted(&conf));
	conf = net_conf(*state, "s0", NULL, NULL);
	assert_true(sync_is_wanted(&conf));
	conf = net_conf(*state, NULL, "192.0.2.2", NULL);
	assert_true(sync_is_wanted(&conf));
}

static void hosts_become_peers_and_the_socket_takes_any_port(void **state)
{
	struct conf conf = net_conf(*state, NULL, "192.0.2.2", "localhost");
	struct sync_setup setup;
	int fd = net_open(&conf, &setup);
	assert_int_equal(setup.n_peers, 2);
	assert_int_equal(setup.peers[0].addr_be, v4("192.0.2.2"));
	assert_string_equal(setup.peers[0].name, "192.0.2.2");
	assert_int_equal(setup.peers[1].addr_be, v4("127.0.0.1"));
	assert_string_equal(setup.peers[1].name, "localhost");
	assert_false(setup.has_group);
	assert_false(setup.must_receive);
	assert_int_equal(setup.interface_be, 0);
	assert_int_equal(setup.port, NET_PORT);
	assert_string_equal(setup.key.text, "5abc7b1e899f757f9891c65c481e8b4716abc4e1");
	assert_int_not_equal(name_of(fd).sin_port, htons(NET_PORT));
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	(void)close(fd);
}

static void the_same_host_twice_is_one_peer(void **state)
{
	struct conf conf = net_conf(*state, NULL, "127.0.0.1", "localhost");
	struct sync_setup setup;
	(void)close(net_open(&conf, &setup));
	assert_int_equal(setup.n_peers, 1);
	assert_string_equal(setup.peers[0].name, "127.0.0.1");
}

static void an_address_to_listen_at_is_bound(void **state)
{
	struct conf conf = net_conf(*state, "192.0.2.1", NULL, NULL);
	struct sync_setup setup;
	int fd = net_open(&conf, &setup);
	assert_true(setup.must_receive);
	assert_int_equal(name_of(fd).sin_addr.s_addr, v4("192.0.2.1"));
	assert_int_equal(name_of(fd).sin_port, htons(NET_PORT));
	assert_false(has_joined("s0"));
	(void)close(fd);
}

static void an_interface_to_listen_at_joins_the_group_and_takes_any_address(void **state)
{
	struct conf conf = net_conf(*state, "s0", "192.0.2.2", NULL);
	struct sync_setup setup;
	int fd = net_open(&conf, &setup);
	assert_true(setup.must_receive);
	assert_false(setup.has_group); /* -Y names none */
	assert_int_equal(setup.interface_be, v4("192.0.2.1"));
	assert_int_equal(setup.n_peers, 1);
	assert_int_equal(name_of(fd).sin_addr.s_addr, htonl(INADDR_ANY));
	assert_int_equal(name_of(fd).sin_port, htons(NET_PORT));
	assert_true(has_joined("s0"));
	assert_int_equal(option_of(fd, IPPROTO_IP, IP_MULTICAST_ALL), 0);
	(void)close(fd);
	assert_false(has_joined("s0"));
}

static void an_interface_to_send_at_sets_where_and_how_far(void **state)
{
	static const struct {
		const char *text;
		int ttl;
	} rows[] = {{"s0", 1}, {"s0:1", 1}, {"s0:4", 4}, {"s0:255", 255}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conf conf = net_conf(*state, NULL, rows[i].text, NULL);
		struct sync_setup setup;
		int fd = net_open(&conf, &setup);
		assert_true(setup.has_group);
		assert_int_equal(setup.n_peers, 0);
		assert_int_equal(setup.interface_be, v4("192.0.2.1"));
		assert_int_equal(option_of(fd, IPPROTO_IP, IP_MULTICAST_TTL), rows[i].ttl);
		assert_int_equal(option_of(fd, IPPROTO_IP, IP_MULTICAST_IF), v4("192.0.2.1"));
		assert_int_not_equal(name_of(fd).sin_port, htons(NET_PORT));
		assert_false(has_joined("s0"));
		(void)close(fd);
	}
}

static void the_last_of_two_interfaces_counts(void **state)
{
	struct conf conf = net_conf(*state, NULL, "lo:9", "s0:4");
	struct sync_setup setup;
	int fd = net_open(&conf, &setup);
	assert_int_equal(setup.interface_be, v4("192.0.2.1"));
	assert_int_equal(option_of(fd, IPPROTO_IP, IP_MULTICAST_TTL), 4);
	(void)close(fd);
}

static void what_cannot_be_says_so(void **state)
{
	static const struct {
		const char *listen, *peer, *second;
		int ret;
		const char *why;
	} rows[] = {
	        {NULL, "s0:0", NULL, ERR_RANGE, "sync-peer s0:0: the ttl must be 1 to 255"},
	        {NULL, "s0:256", NULL, ERR_RANGE, "sync-peer s0:256: the ttl must be 1 to 255"},
	        {NULL, "s0:", NULL, ERR_RANGE, "sync-peer s0:: the ttl must be 1 to 255"},
	        {NULL, "s0:x", NULL, ERR_RANGE, "sync-peer s0:x: the ttl must be 1 to 255"},
	        {"s0:-1", NULL, NULL, ERR_RANGE, "sync-listen s0:-1: the ttl must be 1 to 255"},
	        {NULL, "bare0", NULL, -EADDRNOTAVAIL,
	         "sync-peer bare0: this interface has no IPv4 address"},
	        {"bare0", NULL, NULL, -EADDRNOTAVAIL,
	         "sync-listen bare0: this interface has no IPv4 address"},
	        {"none9", NULL, NULL, -ENODEV,
	         "sync-listen none9: neither an IPv4 address nor an interface (No such device)"},
	        {"2001:db8::1", NULL, NULL, -ENODEV,
	         "sync-listen 2001:db8::1: an IPv6 address, but datagrams travel by IPv4 only"},
	        {NULL, "2001:db8::1", NULL, -ENODEV,
	         "sync-peer 2001:db8::1: an IPv6 address, but datagrams travel by IPv4 only"},
	        {NULL, "2001:db8::bad", NULL, ERR_RANGE,
	         "sync-peer 2001:db8::bad: an IPv6 address, but datagrams travel by IPv4 only"},
	        {NULL, "a-name-far-longer-than-that-of-an-interface:1", NULL, -ENODEV,
	         "sync-peer a-name-far-longer-than-that-of-an-interface:1: neither a host with an "
	         "IPv4 address (Name or service not known) nor an interface (No such device)"},
	        {"s0", "lo", NULL, ERR_SYNTAX,
	         "multicast interface does not match: sync-listen s0, sync-peer lo"},
	        {"s0:2", "s0", NULL, ERR_SYNTAX,
	         "multicast interface does not match: sync-listen s0:2, sync-peer s0"},
	        {"s0", "s0", "s0:1", ERR_SYNTAX,
	         "multicast interface does not match: sync-listen s0, sync-peer s0:1"},
	        {"192.0.2.99", NULL, NULL, -EADDRNOTAVAIL,
	         "sync: 192.0.2.99 port 8025/udp: Cannot assign requested address"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conf conf = net_conf(*state, rows[i].listen, rows[i].peer, rows[i].second);
		struct sync_setup setup = {.n_peers = 77};
		char why[SYNC_SETUP_WHY_MAX] = "";
		int fd = -7;
		assert_int_equal(sync_setup_open(&conf, false, &setup, &fd, why), rows[i].ret);
		assert_string_equal(why, rows[i].why);
		assert_int_equal(fd, -7);
		assert_int_equal(setup.n_peers, 77);
	}
}

/* What the resolver says about the name depends on the machine's configuration. */
static void a_name_that_is_neither_host_nor_interface_gives_both_reasons(void **state)
{
	struct conf conf = net_conf(*state, NULL, "nowhere.invalid", NULL);
	struct sync_setup setup;
	char why[SYNC_SETUP_WHY_MAX] = "";
	int fd = -7;
	assert_int_equal(sync_setup_open(&conf, false, &setup, &fd, why), -ENODEV);
	assert_non_null(
	        strstr(why, "sync-peer nowhere.invalid: neither a host with an IPv4 address ("));
	assert_non_null(strstr(why, ") nor an interface (No such device)"));
	assert_int_equal(fd, -7);
}

static void a_port_that_is_taken_is_named(void **state)
{
	struct conf conf = net_conf(*state, "s0", NULL, NULL);
	struct sync_setup setup;
	char why[SYNC_SETUP_WHY_MAX] = "";
	int second = -7;
	int fd = net_open(&conf, &setup);
	assert_int_equal(sync_setup_open(&conf, false, &setup, &second, why), -EADDRINUSE);
	assert_string_equal(why, "sync: 0.0.0.0 port 8025/udp: Address already in use");
	assert_int_equal(second, -7);
	(void)close(fd);
}

/* What other programs do cannot take the datagrams away. */
static void nobody_else_can_share_the_port(void **state)
{
	struct conf conf = net_conf(*state, "192.0.2.1", NULL, NULL);
	struct sockaddr_in own = {.sin_family = AF_INET,
	                          .sin_addr.s_addr = v4("192.0.2.1"),
	                          .sin_port = htons(NET_PORT)};
	struct sync_setup setup;
	const int on = 1;
	int fd = net_open(&conf, &setup);
	int thief = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(thief, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
	assert_int_equal(setsockopt(thief, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
	assert_int_equal(bind(thief, (struct sockaddr *)&own, sizeof own), -1);
	assert_int_equal(errno, EADDRINUSE);
	(void)close(thief);
	(void)close(fd);
}

static void without_a_key_file_nothing_is_opened(void **state)
{
	struct net *net = *state;
	struct conf conf = net_conf(net, "s0", "192.0.2.2", NULL);
	struct sync_setup setup;
	char why[SYNC_SETUP_WHY_MAX] = "";
	int fd = -7;
	assert_int_equal(unlink(net->key_path), 0);
	assert_int_equal(sync_setup_open(&conf, false, &setup, &fd, why), ERR_NOT_FOUND);
	assert_non_null(strstr(why, "miredctl sync-key"));
	assert_non_null(strstr(why, net->key_path));
	assert_int_equal(fd, -7);
	assert_false(has_joined("s0"));
	/* unless the empty key is asked for */
	conf.sync_insecure = true;
	fd = net_open(&conf, &setup);
	assert_true(setup.key.is_empty);
	(void)close(fd);
}

static void a_key_file_that_is_there_wins_over_insecure(void **state)
{
	struct net *net = *state;
	struct conf conf = net_conf(net, NULL, "192.0.2.2", NULL);
	struct sync_setup setup;
	char why[SYNC_SETUP_WHY_MAX] = "";
	int fd = -7;
	conf.sync_insecure = true;
	(void)close(net_open(&conf, &setup));
	assert_false(setup.key.is_empty);
	assert_int_equal(chmod(net->key_path, 0644), 0);
	assert_int_equal(sync_setup_open(&conf, false, &setup, &fd, why), ERR_DENIED);
	assert_non_null(strstr(why, "mode 0644"));
	assert_int_equal(fd, -7);
}

static void a_mere_sender_does_not_listen(void **state)
{
	struct conf conf = net_conf(*state, "lo:3", "s0", "192.0.2.2");
	struct sync_setup setup;
	char why[SYNC_SETUP_WHY_MAX] = "";
	int fd = -1;
	assert_int_equal(sync_setup_open(&conf, true, &setup, &fd, why), 0);
	assert_false(setup.must_receive);
	assert_true(setup.has_group);
	assert_int_equal(setup.n_peers, 1);
	assert_int_equal(setup.interface_be, v4("192.0.2.1"));
	assert_int_not_equal(name_of(fd).sin_port, htons(NET_PORT));
	assert_false(has_joined("lo"));
	(void)close(fd);
}

static void only_the_groups_own_datagrams_arrive_from_the_network(void **state)
{
	struct net *net = *state;
	struct conf conf = net_conf(net, "s0", NULL, NULL);
	struct conf peer = net_conf(net, NULL, "p0", NULL);
	struct sync_setup setup;
	struct sync_setup peer_setup;
	struct sockaddr_in group = {.sin_family = AF_INET,
	                            .sin_addr.s_addr = SYNC_GROUP_BE,
	                            .sin_port = htons(NET_PORT)};
	struct sockaddr_in foreign = group;
	struct sockaddr_in from = {0};
	uint8_t bytes[16];
	foreign.sin_addr.s_addr = v4("224.0.1.241"); /* greyd's */
	int fd = net_open(&conf, &setup);
	int other = net_open_there(net, &peer, &peer_setup);
	/* somebody else on this host has joined that one */
	struct ip_mreqn joined = {.imr_multiaddr.s_addr = foreign.sin_addr.s_addr,
	                          .imr_ifindex = (int)if_nametoindex("s0")};
	int neighbour = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
	        setsockopt(neighbour, IPPROTO_IP, IP_ADD_MEMBERSHIP, &joined, sizeof joined), 0);
	assert_int_equal(sendto(other, "no", 2, 0, (struct sockaddr *)&foreign, sizeof foreign), 2);
	assert_int_equal(sendto(other, "yes", 3, 0, (struct sockaddr *)&group, sizeof group), 3);
	assert_int_equal(net_receive(fd, bytes, sizeof bytes, &from, NET_WAIT_MS), 3);
	assert_memory_equal(bytes, "yes", 3);
	assert_int_equal(from.sin_addr.s_addr, v4("192.0.2.2"));
	assert_int_equal(net_receive(fd, bytes, sizeof bytes, NULL, NET_SILENCE_MS), 0);
	/* unicast comes in as well */
	struct sockaddr_in direct = group;
	direct.sin_addr.s_addr = v4("192.0.2.1");
	assert_int_equal(sendto(other, "you", 3, 0, (struct sockaddr *)&direct, sizeof direct), 3);
	assert_int_equal(net_receive(fd, bytes, sizeof bytes, &from, NET_WAIT_MS), 3);
	(void)close(neighbour);
	(void)close(other);
	(void)close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, net_setup, net_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(synchronisation_is_wanted_when_either_option_is_there),
	        TEST(hosts_become_peers_and_the_socket_takes_any_port),
	        TEST(the_same_host_twice_is_one_peer),
	        TEST(an_address_to_listen_at_is_bound),
	        TEST(an_interface_to_listen_at_joins_the_group_and_takes_any_address),
	        TEST(an_interface_to_send_at_sets_where_and_how_far),
	        TEST(the_last_of_two_interfaces_counts),
	        TEST(what_cannot_be_says_so),
	        TEST(a_name_that_is_neither_host_nor_interface_gives_both_reasons),
	        TEST(a_port_that_is_taken_is_named),
	        TEST(nobody_else_can_share_the_port),
	        TEST(without_a_key_file_nothing_is_opened),
	        TEST(a_key_file_that_is_there_wins_over_insecure),
	        TEST(a_mere_sender_does_not_listen),
	        TEST(only_the_groups_own_datagrams_arrive_from_the_network),
	};
	const struct CMUnitTest skipped[] = {cmocka_unit_test(net_needs_root)};
	return geteuid() == 0 ? cmocka_run_group_tests(tests, NULL, NULL)
	                      : cmocka_run_group_tests(skipped, NULL, NULL);
}
