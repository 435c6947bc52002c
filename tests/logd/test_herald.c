/* What the peers are told of a batch of sightings, on the loopback interface. */
#include "mired-logd/herald.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "sync/wire.h"

static const char KEY[] = "spamd-sync-test-key\n";

enum { LIFE_SECS = 3110400, NOW_SECS = 1700000000, HOSTS_MAX = 120 };

struct fixture {
	char key_path[64];
	int peer; /* where the datagrams come */
	struct conf conf;
	struct herald *herald;
	struct sync_key key;
	uint8_t bytes[WIRE_BYTES_MAX];
	struct wire_block blocks[WIRE_BLOCKS_MAX];
	char why[SYNC_SETUP_WHY_MAX];
};

static int open_peer(struct fixture *fixture)
{
	struct sockaddr_in name = {.sin_family = AF_INET,
	                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof name;
	fixture->peer = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(fixture->peer, (struct sockaddr *)&name, sizeof name) != 0 ||
	    getsockname(fixture->peer, (struct sockaddr *)&name, &len) != 0) {
		return -1;
	}
	fixture->conf.sync_port = ntohs(name.sin_port);
	return 0;
}

static int setup(void **state)
{
	static struct fixture fixture;
	fixture = (struct fixture){.key_path = "/tmp/mired-herald-XXXXXX"};
	int fd = mkstemp(fixture.key_path);
	if (fd < 0 || write(fd, KEY, strlen(KEY)) != (ssize_t)strlen(KEY)) {
		return -1;
	}
	(void)close(fd);
	fixture.conf = (struct conf){.sync_key_file = fixture.key_path, .ipv6_prefix = 64};
	fixture.key = sync_key_of(span_of_str(KEY));
	*state = &fixture;
	return open_peer(&fixture);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	herald_close(fixture->herald);
	(void)close(fixture->peer);
	(void)unlink(fixture->key_path);
	return 0;
}

static void open_herald(struct fixture *fixture)
{
	char *targets[] = {(char *)(uintptr_t) "127.0.0.1"};
	assert_int_equal(herald_open(&fixture->herald, &fixture->conf, targets, 1, fixture->why),
	                 0);
}

static void tell(struct fixture *fixture, const struct sighting *seen, size_t n)
{
	herald_tell(fixture->herald, seen, n, (struct wall){NOW_SECS}, LIFE_SECS);
}

static struct sighting sighting_of(const char *text)
{
	struct sighting seen = {.count = 1};
	assert_int_equal(addr_parse(span_of_str(text), &seen.addr), 0);
	return seen;
}

/* The blocks of the next datagram; 0: there is none. Checks what all have in common. */
static size_t receive(struct fixture *fixture)
{
	size_t n = 0;
	ssize_t len = recv(fixture->peer, fixture->bytes, sizeof fixture->bytes, 0);
	if (len < 0) {
		return 0;
	}
	assert_int_equal(wire_decode(span_of(fixture->bytes, (size_t)len), &fixture->key,
	                             fixture->blocks, &n),
	                 WIRE_OK);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(fixture->blocks[i].at.secs, NOW_SECS);
		assert_int_equal(fixture->blocks[i].expire.secs, NOW_SECS + LIFE_SECS);
	}
	return n;
}

/* The third test vector of the protocol's description, but for its counter and so its MAC. */
static void an_ipv4_host_is_told_as_spamlogd_tells_it(void **state)
{
	static const uint8_t wanted[] = {0,    2, 0,    0x10, 0x65, 0x53, 0xf1, 0, 0x65, 0x83,
	                                 0x67, 0, 0xcb, 0,    0x71, 25,   0,    0, 0,    4};
	struct fixture *fixture = *state;
	struct sighting seen = sighting_of("203.0.113.25");
	open_herald(fixture);
	tell(fixture, &seen, 1);
	assert_int_equal(receive(fixture), 1);
	assert_memory_equal(fixture->bytes + WIRE_HEADER_BYTES, wanted, sizeof wanted);
	assert_int_equal(receive(fixture), 0);
}

static void each_ipv4_host_has_a_datagram_and_ipv6_ones_share_theirs(void **state)
{
	struct fixture *fixture = *state;
	const struct sighting seen[] = {sighting_of("192.0.2.1"), sighting_of("2001:db8:1:2:3::4"),
	                                sighting_of("192.0.2.2"), sighting_of("2001:db8:5::6")};
	char text[ADDR_TEXT_MAX];
	open_herald(fixture);
	tell(fixture, seen, ARRAY_LEN(seen));
	assert_int_equal(receive(fixture), 1);
	assert_int_equal(fixture->blocks[0].type, WIRE_WHITE);
	assert_string_equal(addr_format(&fixture->blocks[0].addr, text), "192.0.2.1");
	assert_int_equal(receive(fixture), 1);
	assert_string_equal(addr_format(&fixture->blocks[0].addr, text), "192.0.2.2");
	assert_int_equal(receive(fixture), 2);
	assert_int_equal(fixture->blocks[0].type, WIRE_WHITE6);
	assert_string_equal(addr_format(&fixture->blocks[0].addr, text), "2001:db8:1:2::");
	assert_string_equal(addr_format(&fixture->blocks[1].addr, text), "2001:db8:5::");
	assert_int_equal(receive(fixture), 0);
	assert_int_equal(herald_figures_get(fixture->herald).n_datagrams, 3);
	assert_int_equal(herald_figures_get(fixture->herald).n_failures, 0);
}

static void more_ipv6_hosts_than_fit_go_in_several_datagrams(void **state)
{
	struct fixture *fixture = *state;
	struct sighting seen[HOSTS_MAX];
	size_t n_told = 0;
	for (size_t i = 0; i < HOSTS_MAX; i++) {
		seen[i] = sighting_of("2001:db8::1");
		seen[i].addr.bytes[7] = (uint8_t)i;
	}
	open_herald(fixture);
	tell(fixture, seen, HOSTS_MAX);
	for (size_t n; (n = receive(fixture)) > 0; n_told += n) {
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(fixture->blocks[i].addr.bytes[7], n_told + i);
		}
	}
	assert_int_equal(n_told, HOSTS_MAX);
	assert_in_range(herald_figures_get(fixture->herald).n_datagrams, 2, 4);
	tell(fixture, seen, 1); /* nothing of the last batch is left */
	assert_int_equal(receive(fixture), 1);
}

static void without_a_key_there_is_no_herald(void **state)
{
	struct fixture *fixture = *state;
	char *targets[] = {(char *)(uintptr_t) "127.0.0.1"};
	assert_int_equal(unlink(fixture->key_path), 0);
	assert_int_equal(herald_open(&fixture->herald, &fixture->conf, targets, 1, fixture->why),
	                 ERR_NOT_FOUND);
	assert_null(fixture->herald);
	assert_non_null(strstr(fixture->why, "miredctl sync-key"));
}

static void the_configured_peers_and_receiving_count_for_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct sighting seen = sighting_of("203.0.113.25");
	fixture->conf.sync_listen = (char *)(uintptr_t) "nosuch0";
	fixture->conf.sync_peers[0] = (char *)(uintptr_t) "nosuch0";
	fixture->conf.n_sync_peers = 1;
	open_herald(fixture);
	tell(fixture, &seen, 1);
	assert_int_equal(receive(fixture), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(an_ipv4_host_is_told_as_spamlogd_tells_it),
	        TEST(each_ipv4_host_has_a_datagram_and_ipv6_ones_share_theirs),
	        TEST(more_ipv6_hosts_than_fit_go_in_several_datagrams),
	        TEST(without_a_key_there_is_no_herald),
	        TEST(the_configured_peers_and_receiving_count_for_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
