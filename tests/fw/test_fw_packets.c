/* Where the rules send packets: a gateway and its clients in two network namespaces. */
#include "fw_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

enum { PORT_MIRED = 8025, PORT_LOW = 8027, PORT_SMTP = 25, PORT_INNER = 2525, LISTENERS_MAX = 8 };

/* The test's namespace is the gateway (g0: 198.51.100.1 and 2001:db8:1::1); a second one behind a
 * veth pair holds the clients. */
struct world {
	int here, there;
	int listeners[LISTENERS_MAX];
	size_t n_listeners;
};

static void set_namespace(int fd)
{
	assert_int_equal(setns(fd, CLONE_NEWNET), 0);
}

/* As mired's listeners are where the rules use TPROXY; means nothing to other rules. */
static void make_transparent(int fd, bool is_v6)
{
	int level = is_v6 ? IPPROTO_IPV6 : IPPROTO_IP;
	int name = is_v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT;
	int on = 1;
	assert_int_equal(setsockopt(fd, level, name, &on, sizeof on), 0);
}

static int listen_on(const char *text, uint16_t port)
{
	struct addr addr = addr_of(text);
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&addr, port, &ss);
	int on = 1;
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (ss.ss_family == AF_INET6) {
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on), 0);
	}
	if (port == PORT_MIRED || port == PORT_LOW) {
		make_transparent(fd, ss.ss_family == AF_INET6);
	}
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

/* Until the kernel has noticed the carrier of a new link it drops what is sent, and the next SYN
 * comes a second later. */
static void wait_for_link(int namespace, const char *link)
{
	char command[128];
	set_namespace(namespace);
	(void)snprintf(command, sizeof command,
	               "timeout 10 sh -c \"until ip link show %s | grep -q 'state UP'; "
	               "do sleep 0.02; done\"",
	               link);
	(void)output_of(command);
}

static void world_init(struct world *world)
{
	*world = (struct world){0};
	/* a fresh one for each, which takes its addresses and links with it */
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	world->here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(world->here >= 0);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	world->there = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(world->there >= 0);
	char command[512];
	(void)snprintf(
	        command, sizeof command,
	        "ip link set lo up && ip link add c0 type veth peer name g0 netns /proc/%d/fd/%d "
	        "&& ip addr add 198.51.100.2/24 dev c0 && ip addr add 198.51.100.3/24 dev c0 "
	        "&& ip -6 addr add 2001:db8:1::2/64 dev c0 nodad "
	        "&& ip -6 addr add 2001:db8:9::3/64 dev c0 nodad "
	        "&& ip link set c0 up && ip route add 203.0.113.25 via 198.51.100.1 2>&1",
	        (int)getpid(), world->here);
	(void)output_of(command);
	set_namespace(world->here);
	(void)output_of("ip link set lo up && ip addr add 198.51.100.1/24 dev g0 "
	                "&& ip addr add 10.9.9.9/32 dev lo "
	                "&& ip -6 addr add 2001:db8:1::1/64 dev g0 nodad && ip link set g0 up "
	                "&& ip -6 route add 2001:db8:9::/64 dev g0 2>&1");
	wait_for_link(world->there, "c0");
	wait_for_link(world->here, "g0");
	static const struct {
		const char *addr;
		uint16_t port;
	} rows[] = {{"0.0.0.0", PORT_MIRED}, {"::", PORT_MIRED},      {"0.0.0.0", PORT_SMTP},
	            {"::", PORT_SMTP},       {"0.0.0.0", PORT_INNER}, {"0.0.0.0", PORT_LOW},
	            {"::", PORT_LOW}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		world->listeners[world->n_listeners++] = listen_on(rows[i].addr, rows[i].port);
	}
}

static void world_fini(struct world *world)
{
	for (size_t i = 0; i < world->n_listeners; i++) {
		(void)close(world->listeners[i]);
	}
	(void)close(world->there);
	(void)close(world->here);
}

/* The port of the listener on this side which a connection from `from` to `to` reaches; 0 for none.
 */
static unsigned arrives_at(struct world *world, const char *from, const char *to, uint16_t port)
{
	struct addr source = addr_of(from);
	struct addr target = addr_of(to);
	struct sockaddr_storage ss;
	unsigned found = 0;
	set_namespace(world->there);
	socklen_t len = addr_to_sockaddr(&source, 0, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	len = addr_to_sockaddr(&target, port, &ss);
	(void)connect(fd, (struct sockaddr *)&ss, len);
	set_namespace(world->here);
	struct pollfd polls[LISTENERS_MAX];
	for (size_t i = 0; i < world->n_listeners; i++) {
		polls[i] = (struct pollfd){.fd = world->listeners[i], .events = POLLIN};
	}
	(void)poll(polls, world->n_listeners, 400);
	for (size_t i = 0; i < world->n_listeners; i++) {
		struct sockaddr_in6 local = {0};
		len = sizeof local;
		int peer = accept4(world->listeners[i], NULL, NULL, SOCK_CLOEXEC);
		if (peer >= 0) {
			assert_int_equal(
			        getsockname(world->listeners[i], (struct sockaddr *)&local, &len),
			        0);
			found = ntohs(local.sin6_port); /* at the same place in both families */
			(void)close(peer);
		}
	}
	(void)close(fd);
	return found;
}

static void put_everything(struct fw *fw)
{
	char why[FW_WHY_MAX];
	struct cidr friends;
	assert_int_equal(cidr_parse(SPAN("198.51.100.200/29"), &friends, NULL), 0);
	struct addr_range range = cidr_range(&friends);
	struct fw_element elements[] = {
	        element_of(FW_SET_WHITE, "198.51.100.3", 3600),
	        element_of(FW_SET_WHITE, "2001:db8:9::", 3600),
	};
	assert_int_equal(fw_put_table(fw, &range, 1, why), 0);
	assert_int_equal(replace_all(fw, elements, ARRAY_LEN(elements), why), 0);
	put_chains(fw);
}

static void before_a_local_mta_unknown_hosts_meet_mired_and_white_ones_do_not(void **state)
{
	(void)state;
	need_root();
	struct world world;
	world_init(&world);
	struct conf conf = local_conf();
	conf.interfaces[0] = "g0";
	struct fw *fw = open_with(&conf);
	assert_int_equal(arrives_at(&world, "198.51.100.2", "198.51.100.1", 25), PORT_SMTP);
	put_everything(fw);
	static const struct {
		const char *from, *to;
		uint16_t port;
		unsigned arrives;
	} rows[] = {
	        {"198.51.100.2", "198.51.100.1", 25, PORT_MIRED},
	        {"198.51.100.3", "198.51.100.1", 25, PORT_SMTP},
	        {"2001:db8:1::2", "2001:db8:1::1", 25, PORT_MIRED},
	        {"2001:db8:9::3", "2001:db8:1::1", 25, PORT_SMTP},
	        {"198.51.100.2", "198.51.100.1", PORT_MIRED, 0},
	        {"2001:db8:1::2", "2001:db8:1::1", PORT_MIRED, 0},
	        {"198.51.100.2", "198.51.100.1", PORT_INNER, PORT_INNER},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(arrives_at(&world, rows[i].from, rows[i].to, rows[i].port),
		                 rows[i].arrives);
	}
	struct fw_element trapped = element_of(FW_SET_GREYTRAP, "198.51.100.3", 3600);
	assert_int_equal(fw_apply(fw, &trapped, 1), 0);
	assert_int_equal(arrives_at(&world, "198.51.100.3", "198.51.100.1", 25), PORT_MIRED);
	close_and_remove(fw);
	world_fini(&world);
}

static void put_listed(struct fw *fw)
{
	char why[FW_WHY_MAX];
	const struct addr_range listed[] = {
	        {addr_of("198.51.100.2"), addr_of("198.51.100.2")},
	        {addr_of("2001:db8:9::"), addr_of("2001:db8:9:ffff:ffff:ffff:ffff:ffff")},
	};
	assert_int_equal(fw_set_spamd(fw, listed, ARRAY_LEN(listed), why), 0);
}

static void in_blacklist_only_mode_listed_hosts_alone_meet_mired(void **state)
{
	(void)state;
	need_root();
	struct world world;
	world_init(&world);
	struct conf conf = local_conf();
	conf.interfaces[0] = "g0";
	conf.blacklist_only = true;
	struct fw *fw = open_with(&conf);
	put_everything(fw);
	assert_int_equal(arrives_at(&world, "198.51.100.2", "198.51.100.1", 25), PORT_SMTP);
	put_listed(fw);
	static const struct {
		const char *from, *to;
		unsigned arrives;
	} rows[] = {
	        {"198.51.100.2", "198.51.100.1", PORT_MIRED},
	        {"198.51.100.3", "198.51.100.1", PORT_SMTP},
	        {"2001:db8:1::2", "2001:db8:1::1", PORT_SMTP},
	        {"2001:db8:9::3", "2001:db8:1::1", PORT_MIRED},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(arrives_at(&world, rows[i].from, rows[i].to, 25), rows[i].arrives);
	}
	assert_true(prints("nft list counter inet mired c_passed", "packets 3"));
	close_and_remove(fw);
	world_fini(&world);
}

static void the_low_priority_mx_has_a_port_of_its_own(void **state)
{
	(void)state;
	need_root();
	struct world world;
	world_init(&world);
	(void)output_of("ip addr add 198.51.100.9/24 dev g0 && "
	                "ip -6 addr add 2001:db8:1::9/64 dev g0 nodad 2>&1");
	struct conf conf = local_conf();
	conf.interfaces[0] = "g0";
	conf.low_priority_mx[0] = addr_of("198.51.100.9");
	conf.low_priority_mx[1] = addr_of("2001:db8:1::9");
	conf.n_low_priority_mx = 2;
	conf.low_priority_port = PORT_LOW;
	struct fw *fw = open_with(&conf);
	put_everything(fw);
	static const struct {
		const char *from, *to;
		uint16_t port;
		unsigned arrives;
	} rows[] = {
	        {"198.51.100.2", "198.51.100.9", 25, PORT_LOW},
	        {"198.51.100.2", "198.51.100.1", 25, PORT_MIRED},
	        {"198.51.100.3", "198.51.100.9", 25, PORT_SMTP},
	        {"2001:db8:1::2", "2001:db8:1::9", 25, PORT_LOW},
	        {"2001:db8:9::3", "2001:db8:1::9", 25, PORT_SMTP},
	        {"198.51.100.2", "198.51.100.9", PORT_LOW, 0},
	        {"2001:db8:1::2", "2001:db8:1::1", PORT_LOW, 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(arrives_at(&world, rows[i].from, rows[i].to, rows[i].port),
		                 rows[i].arrives);
	}
	close_and_remove(fw);
	world_fini(&world);
}

static void a_white_host_still_meets_the_gateways_own_dnat(void **state)
{
	(void)state;
	need_root();
	struct world world;
	world_init(&world);
	/* the administrator's rule, made before ours, sends the public address to the inner MX */
	(void)output_of("nft 'add table ip admin; "
	                "add chain ip admin pre { type nat hook prerouting priority dstnat; }; "
	                "add rule ip admin pre ip daddr 203.0.113.25 tcp dport 25 dnat to "
	                "10.9.9.9:2525'");
	struct conf conf = gateway_conf();
	conf.interfaces[0] = "g0";
	conf.mx[0] = addr_of("203.0.113.25");
	struct fw *fw = open_with(&conf);
	assert_int_equal(arrives_at(&world, "198.51.100.2", "203.0.113.25", 25), PORT_INNER);
	put_everything(fw);
	assert_int_equal(arrives_at(&world, "198.51.100.2", "203.0.113.25", 25), PORT_MIRED);
	assert_int_equal(arrives_at(&world, "198.51.100.3", "203.0.113.25", 25), PORT_INNER);
	/* the gateway's own address is no MX */
	assert_int_equal(arrives_at(&world, "198.51.100.2", "198.51.100.1", 25), PORT_SMTP);
	close_and_remove(fw);
	(void)output_of("nft delete table ip admin");
	world_fini(&world);
}

/* --- TPROXY ----------------------------------------------------------------------------------- */

struct row {
	const char *from, *to;
	uint16_t port;
	unsigned arrives;
};

/* As mired-tproxy makes them. */
static void put_routes(void)
{
	(void)output_of("for f in 4 6; do "
	                "ip -$f rule add iif g0 fwmark 0x2000000/0x2000000 lookup 825 && "
	                "ip -$f route add local default dev lo table 825 || exit; done 2>&1; "
	                "echo 1 >/proc/sys/net/ipv4/tcp_fwmark_accept");
}

static struct conf tproxy_conf(void)
{
	struct conf conf = gateway_conf();
	conf.rules = CONF_RULES_GATEWAY_TPROXY;
	conf.interfaces[0] = "g0";
	conf.mx[0] = addr_of("198.51.100.1");
	conf.mx[1] = addr_of("2001:db8:1::1");
	conf.mx[2] = addr_of("203.0.113.25");
	conf.low_priority_mx[0] = addr_of("198.51.100.9");
	conf.low_priority_mx[1] = addr_of("2001:db8:1::9");
	conf.n_low_priority_mx = 2;
	conf.low_priority_port = PORT_LOW;
	return conf;
}

static void world_init_routed(struct world *world)
{
	world_init(world);
	put_routes();
	(void)output_of("ip addr add 198.51.100.9/24 dev g0 && "
	                "ip -6 addr add 2001:db8:1::9/64 dev g0 nodad 2>&1");
}

static void check_rows(struct world *world, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned arrives = arrives_at(world, rows[i].from, rows[i].to, rows[i].port);
		if (arrives != rows[i].arrives) {
			fail_msg("%s to %s:%u reaches %u, not %u", rows[i].from, rows[i].to,
			         rows[i].port, arrives, rows[i].arrives);
		}
	}
}

static void by_tproxy_unknown_hosts_meet_mired_and_white_ones_do_not(void **state)
{
	(void)state;
	need_root();
	struct world world;
	world_init_routed(&world);
	struct conf conf = tproxy_conf();
	struct fw *fw = open_with(&conf);
	put_everything(fw);
	static const struct row rows[] = {
	        {"198.51.100.2", "198.51.100.1", 25, PORT_MIRED},
	        {"198.51.100.2", "203.0.113.25", 25, PORT_MIRED}, /* nobody's address here */
	        {"198.51.100.3", "198.51.100.1", 25, PORT_SMTP},
	        {"2001:db8:1::2", "2001:db8:1::1", 25, PORT_MIRED},
	        {"2001:db8:9::3", "2001:db8:1::1", 25, PORT_SMTP},
	        {"198.51.100.2", "198.51.100.9", 25, PORT_LOW},
	        {"198.51.100.3", "198.51.100.9", 25, PORT_SMTP},
	        {"2001:db8:1::2", "2001:db8:1::9", 25, PORT_LOW},
	        {"2001:db8:9::3", "2001:db8:1::9", 25, PORT_SMTP},
	        {"198.51.100.2", "198.51.100.1", PORT_MIRED, 0},
	        {"198.51.100.2", "198.51.100.9", PORT_LOW, 0},
	        {"2001:db8:1::2", "2001:db8:1::1", PORT_MIRED, 0},
	        {"2001:db8:1::2", "2001:db8:1::1", PORT_LOW, 0},
	        {"198.51.100.2", "198.51.100.1", PORT_INNER, PORT_INNER},
	};
	check_rows(&world, rows, ARRAY_LEN(rows));
	assert_true(prints("nft list counter inet mired c_white", "packets 4"));
	assert_true(prints("nft list counter inet mired c_tarpit", "packets 5"));
	struct fw_element trapped = element_of(FW_SET_GREYTRAP, "198.51.100.3", 3600);
	assert_int_equal(fw_apply(fw, &trapped, 1), 0);
	static const struct row beats = {"198.51.100.3", "198.51.100.1", 25, PORT_MIRED};
	check_rows(&world, &beats, 1);
	close_and_remove(fw);
	world_fini(&world);
}

static void by_tproxy_in_blacklist_only_mode_listed_hosts_alone_meet_mired(void **state)
{
	(void)state;
	need_root();
	struct world world;
	world_init_routed(&world);
	struct conf conf = tproxy_conf();
	conf.blacklist_only = true;
	struct fw *fw = open_with(&conf);
	put_everything(fw);
	put_listed(fw);
	static const struct row rows[] = {
	        {"198.51.100.2", "203.0.113.25", 25, PORT_MIRED},
	        {"198.51.100.2", "198.51.100.9", 25, PORT_LOW},
	        {"198.51.100.3", "198.51.100.1", 25, PORT_SMTP},
	        {"2001:db8:1::2", "2001:db8:1::1", 25, PORT_SMTP},
	        {"2001:db8:9::3", "2001:db8:1::1", 25, PORT_MIRED},
	        {"2001:db8:9::3", "2001:db8:1::9", 25, PORT_LOW},
	};
	check_rows(&world, rows, ARRAY_LEN(rows));
	assert_true(prints("nft list counter inet mired c_passed", "packets 2"));
	close_and_remove(fw);
	world_fini(&world);
}

static void by_tproxy_a_white_host_still_meets_the_gateways_own_dnat(void **state)
{
	(void)state;
	need_root();
	struct world world;
	world_init_routed(&world);
	(void)output_of("nft 'add table ip admin; "
	                "add chain ip admin pre { type nat hook prerouting priority dstnat; }; "
	                "add rule ip admin pre ip daddr 203.0.113.25 tcp dport 25 dnat to "
	                "10.9.9.9:2525'");
	struct conf conf = tproxy_conf();
	struct fw *fw = open_with(&conf);
	put_everything(fw);
	static const struct row rows[] = {
	        {"198.51.100.2", "203.0.113.25", 25, PORT_MIRED},
	        {"198.51.100.3", "203.0.113.25", 25, PORT_INNER},
	};
	check_rows(&world, rows, ARRAY_LEN(rows));
	close_and_remove(fw);
	(void)output_of("nft delete table ip admin");
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(before_a_local_mta_unknown_hosts_meet_mired_and_white_ones_do_not),
	        cmocka_unit_test(in_blacklist_only_mode_listed_hosts_alone_meet_mired),
	        cmocka_unit_test(the_low_priority_mx_has_a_port_of_its_own),
	        cmocka_unit_test(a_white_host_still_meets_the_gateways_own_dnat),
	        cmocka_unit_test(by_tproxy_unknown_hosts_meet_mired_and_white_ones_do_not),
	        cmocka_unit_test(by_tproxy_in_blacklist_only_mode_listed_hosts_alone_meet_mired),
	        cmocka_unit_test(by_tproxy_a_white_host_still_meets_the_gateways_own_dnat),
	};
	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
