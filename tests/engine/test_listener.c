/* Listening sockets: what is set on them, and what a refusal says. */
#include "engine/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const struct conf CONF = {
        .receive_buffer_bytes = 2304,
        .send_buffer_bytes = 4608,
        .user_timeout_ms = 120000,
        .backlog = 4096,
};

static struct addr addr_of(const char *text)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	return addr;
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof value;
	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in6 name = {0};
	socklen_t len = sizeof name;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
	return ntohs(name.sin6_port); /* at the same place in both families */
}

static void options_are_those_of_the_configuration(void **state)
{
	(void)state;
	static const char *const addresses[] = {"127.0.0.1", "::1"};
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
		char why[LISTENER_WHY_MAX] = "";
		struct addr addr = addr_of(addresses[i]);
		int fd = listener_open(&addr, 0, &CONF, true, why);
		if (fd < 0) {
			fail_msg("%s", why);
		}
		assert_int_equal(option(fd, SOL_SOCKET, SO_RCVBUF), 2304);
		assert_int_equal(option(fd, SOL_SOCKET, SO_SNDBUF), 4608);
		assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEPORT), 1);
		assert_int_equal(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
		assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 120000);
		assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		close(fd);
	}
}

static void both_families_share_a_port(void **state)
{
	(void)state;
	char why[LISTENER_WHY_MAX] = "";
	struct addr v6 = addr_of("::");
	struct addr v4 = addr_of("0.0.0.0");
	int first = listener_open(&v6, 0, &CONF, true, why);
	assert_true(first >= 0);
	int second = listener_open(&v4, port_of(first), &CONF, true, why);
	if (second < 0) {
		fail_msg("%s", why);
	}
	close(first);
	close(second);
}

static void several_workers_share_a_port(void **state)
{
	(void)state;
	char why[LISTENER_WHY_MAX] = "";
	struct addr addr = addr_of("127.0.0.1");
	int first = listener_open(&addr, 0, &CONF, true, why);
	int second = listener_open(&addr, port_of(first), &CONF, true, why);
	assert_true(second >= 0);
	close(first);
	close(second);
}

static void taken_port_is_refused_by_address_and_port(void **state)
{
	(void)state;
	char why[LISTENER_WHY_MAX] = "";
	struct addr addr = addr_of("127.0.0.1");
	int first = listener_open(&addr, 0, &CONF, true, why);
	char place[32];
	(void)snprintf(place, sizeof place, "127.0.0.1:%u", port_of(first));
	/* the supervisor's test finds a daemon that shares its port with its own workers */
	assert_int_equal(listener_open(&addr, port_of(first), &CONF, false, why), -EADDRINUSE);
	assert_non_null(strstr(why, place));
	close(first);
}

static void address_of_another_host_is_refused_by_name(void **state)
{
	(void)state;
	char why[LISTENER_WHY_MAX] = "";
	struct addr v4 = addr_of("192.0.2.1");
	struct addr v6 = addr_of("2001:db8::1");
	assert_int_equal(listener_open(&v4, 8025, &CONF, true, why), -EADDRNOTAVAIL);
	assert_non_null(strstr(why, "192.0.2.1:8025"));
	assert_int_equal(listener_open(&v6, 8025, &CONF, true, why), -EADDRNOTAVAIL);
	assert_non_null(strstr(why, "[2001:db8::1]:8025"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(options_are_those_of_the_configuration),
	        cmocka_unit_test(both_families_share_a_port),
	        cmocka_unit_test(several_workers_share_a_port),
	        cmocka_unit_test(taken_port_is_refused_by_address_and_port),
	        cmocka_unit_test(address_of_another_host_is_refused_by_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
