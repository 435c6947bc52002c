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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/sockets.h"

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

/* Any address: the clients' packets carry other hosts' ones. */
static void with_tproxy_rules_listeners_are_transparent(void **state)
{
	(void)state;
	static const char *const addresses[] = {"192.0.2.1", "2001:db8::1"};
	struct conf conf = CONF;
	if (geteuid() != 0) {
		skip();
	}
	conf.rules = CONF_RULES_GATEWAY_TPROXY;
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
		char why[LISTENER_WHY_MAX] = "";
		struct addr addr = addr_of(addresses[i]);
		int fd = listener_open(&addr, 0, &conf, true, why);
		if (fd < 0) {
			fail_msg("%s", why);
		}
		assert_int_equal(i == 0 ? option(fd, IPPROTO_IP, IP_TRANSPARENT)
		                        : option(fd, IPPROTO_IPV6, IPV6_TRANSPARENT),
		                 1);
		close(fd);
	}
}

/* In a process of its own, which gives up its rights. */
static void transparent_listeners_are_refused_to_those_without_rights(void **state)
{
	(void)state;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char why[LISTENER_WHY_MAX] = "";
		struct addr addr = addr_of("127.0.0.1");
		struct conf conf = CONF;
		conf.rules = CONF_RULES_GATEWAY_TPROXY;
		bool is_plain = geteuid() != 0 || setresuid(65534, 65534, 65534) == 0;
		bool is_refused = listener_open(&addr, 0, &conf, true, why) == -EPERM;
		bool is_said = strstr(why, "gateway-tproxy needs CAP_NET_ADMIN") != NULL;
		_exit(is_plain && is_refused && is_said ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(options_are_those_of_the_configuration),
	        cmocka_unit_test(both_families_share_a_port),
	        cmocka_unit_test(several_workers_share_a_port),
	        cmocka_unit_test(taken_port_is_refused_by_address_and_port),
	        cmocka_unit_test(address_of_another_host_is_refused_by_name),
	        cmocka_unit_test(with_tproxy_rules_listeners_are_transparent),
	        cmocka_unit_test(transparent_listeners_are_refused_to_those_without_rights),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
