/* Sockets that are handed over as systemd does it, and those that workers open beside them. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/sockets.h"
#include "base/err.h"
#include "mired/sockets.h"

enum { FIRST_FD = 3, NEVER_A_PID = 1 };

static struct conf conf_of(uint32_t workers)
{
	struct conf conf = {.workers = workers,
	                    .receive_buffer_bytes = 2304,
	                    .send_buffer_bytes = 4608,
	                    .user_timeout_ms = 120000,
	                    .backlog = 100,
	                    .n_listen = 1};
	assert_int_equal(addr_parse(span_of_str("127.0.0.1"), &conf.listen[0]), 0);
	return conf;
}

/* As somebody opens it who knows nothing of mired; port 0: any. */
static int holders_socket(uint16_t port, int reuseport)
{
	struct sockaddr_in name = {.sin_family = AF_INET,
	                           .sin_port = htons(port),
	                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuseport, sizeof reuseport), 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof name), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* Puts copies of these at the numbers of the protocol. */
static void hand_over(const int *fds, int n, pid_t pid, const char *names)
{
	char text[32];
	int high[GIVEN_MAX + 1];
	for (int i = 0; i < n; i++) {
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FD + n);
		assert_true(high[i] >= 0);
	}
	for (int i = 0; i < n; i++) {
		assert_int_equal(dup2(high[i], FIRST_FD + i), FIRST_FD + i);
		(void)close(high[i]);
	}
	(void)snprintf(text, sizeof text, "%d", n);
	assert_int_equal(setenv("LISTEN_FDS", text, 1), 0);
	(void)snprintf(text, sizeof text, "%ld", (long)pid);
	assert_int_equal(setenv("LISTEN_PID", text, 1), 0);
	assert_int_equal(names ? setenv("LISTEN_FDNAMES", names, 1) : unsetenv("LISTEN_FDNAMES"),
	                 0);
}

/* The holder's own descriptor, out of the way of what is handed over. */
static int keep_high(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, 200);
	assert_true(high >= 0);
	(void)close(fd);
	return high;
}

static void nothing_handed_over_is_nothing_found(void **state)
{
	struct given given;
	char why[GIVEN_WHY_MAX] = "";
	int held = keep_high(holders_socket(0, 1));
	(void)state;
	assert_int_equal(given_find(&given, why), 0);
	assert_int_equal(given.n, 0);
	hand_over(&held, 1, NEVER_A_PID, "a"); /* somebody else's */
	assert_int_equal(given_find(&given, why), 0);
	assert_int_equal(given.n, 0);
	assert_null(getenv("LISTEN_FDS"));
	(void)close(FIRST_FD);
	(void)close(held);
}

static void what_was_handed_over_is_known_by_where_it_listens(void **state)
{
	struct given given;
	char why[GIVEN_WHY_MAX] = "";
	struct addr addr = addr_from_v4_be(htonl(INADDR_LOOPBACK));
	int held[2] = {keep_high(holders_socket(0, 1)), keep_high(holders_socket(0, 1))};
	uint16_t port = port_of(held[1]);
	(void)state;
	hand_over(held, 2, getpid(), "mired.socket:b\nc");
	assert_int_equal(given_find(&given, why), 0);
	assert_int_equal(given.n, 2);
	assert_string_equal(given.sockets[0].name, "mired.socket");
	assert_string_equal(given.sockets[1].name, "b\\x0ac");
	assert_int_equal(given_count(&given, &addr, port), 1);
	assert_int_equal(given_take(&given, &addr, port), FIRST_FD + 1);
	assert_int_equal(given_take(&given, &addr, port), -1);
	assert_true(fcntl(FIRST_FD, F_GETFD) & FD_CLOEXEC);
	assert_null(getenv("LISTEN_PID"));
	given_close(&given);
	assert_int_equal(fcntl(FIRST_FD, F_GETFD), -1);
	(void)close(FIRST_FD + 1);
	(void)close(held[0]);
	(void)close(held[1]);
}

static void what_does_not_listen_is_refused_by_number_and_name(void **state)
{
	static const char wanted[] =
	        "descriptor 3 (odd) was handed over and is no listening TCP socket";
	char why[GIVEN_WHY_MAX] = "";
	struct given given;
	int fds[] = {open("/dev/null", O_RDONLY | O_CLOEXEC),
	             socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
	             socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
	             socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = keep_high(fds[i]);
		hand_over(&fds[i], 1, getpid(), "odd");
		assert_int_equal(given_find(&given, why), ERR_UNSUPPORTED);
		assert_string_equal(why, wanted);
		(void)close(FIRST_FD);
		(void)close(fds[i]);
	}
}

static void more_than_can_be_are_refused(void **state)
{
	char why[GIVEN_WHY_MAX] = "";
	struct given given;
	int fds[GIVEN_MAX + 1];
	(void)state;
	fds[0] = keep_high(holders_socket(0, 1));
	for (int i = 1; i <= GIVEN_MAX; i++) {
		fds[i] = fds[0];
	}
	hand_over(fds, GIVEN_MAX + 1, getpid(), NULL); /* names are optional */
	assert_int_equal(given_find(&given, why), ERR_TOO_LONG);
	assert_non_null(strstr(why, "65 sockets were handed over, at most 64"));
	for (int i = 0; i <= GIVEN_MAX; i++) {
		(void)close(FIRST_FD + i);
	}
	(void)close(fds[0]);
}

static uid_t owner_of(int fd)
{
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	return st.st_uid;
}

static struct given given_of(const int *fds, size_t n)
{
	struct given given = {.n = n};
	for (size_t i = 0; i < n; i++) {
		given.sockets[i] =
		        (struct given_socket){.fd = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FD),
		                              .addr = addr_from_v4_be(htonl(INADDR_LOOPBACK)),
		                              .port = port_of(fds[i]),
		                              .owner = owner_of(fds[i]),
		                              .name = "test.socket"};
	}
	return given;
}

/* The first worker has it, the others theirs beside it, all with the same settings. */
static void a_given_socket_is_the_first_workers(void **state)
{
	struct conf conf = conf_of(3);
	struct sockets sockets;
	char why[SOCKETS_WHY_MAX] = "";
	int held = holders_socket(0, 1);
	struct given given = given_of(&held, 1);
	int given_fd = given.sockets[0].fd;
	(void)state;
	conf.port = port_of(held);
	if (sockets_open(&sockets, &conf, &given, 0, why) != 0) {
		fail_msg("%s", why);
	}
	assert_int_equal(sockets.n, 3);
	assert_int_equal(sockets.listeners[0].fd, given_fd);
	assert_int_equal(sockets.n_own, 2);
	assert_true(sockets_are_held(&sockets));
	for (uint32_t i = 0; i < 3; i++) {
		int fd = sockets.listeners[i].fd;
		assert_int_equal(sockets.listeners[i].worker, i);
		assert_int_equal(port_of(fd), conf.port);
		assert_int_equal(option(fd, SOL_SOCKET, SO_RCVBUF), 2304);
		assert_int_equal(option(fd, SOL_SOCKET, SO_SNDBUF), 4608);
		assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 120000);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	}
	sockets_close(&sockets);
	assert_int_equal(option(held, SOL_SOCKET, SO_ACCEPTCONN), 1); /* still open */
	(void)close(held);
}

/* systemd is root, a hardened mired is not; here it is the other way round. */
static void one_of_another_user_is_shared_all_the_same(void **state)
{
	enum { STRANGER = 12345 };
	struct conf conf = conf_of(3);
	struct sockets sockets;
	char why[SOCKETS_WHY_MAX] = "";
	(void)state;
	if (geteuid() != 0) {
		skip();
	}
	(void)setfsuid(STRANGER);
	int held = holders_socket(0, 1);
	(void)setfsuid(0);
	assert_int_equal(owner_of(held), STRANGER);
	struct given given = given_of(&held, 1);
	conf.port = port_of(held);
	if (sockets_open(&sockets, &conf, &given, 0, why) != 0) {
		fail_msg("%s", why);
	}
	assert_int_equal(owner_of(sockets.listeners[1].fd), STRANGER);
	int after = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(owner_of(after), 0); /* only for that moment */
	(void)close(after);
	sockets_close(&sockets);
	(void)close(held);
}

static void several_for_one_place_go_to_several_workers(void **state)
{
	struct conf conf = conf_of(3);
	struct sockets sockets;
	char why[SOCKETS_WHY_MAX] = "";
	int held[2] = {holders_socket(0, 1), -1};
	(void)state;
	conf.port = port_of(held[0]);
	held[1] = holders_socket(conf.port, 1);
	struct given given = given_of(held, 2);
	int second = given.sockets[1].fd;
	assert_int_equal(sockets_open(&sockets, &conf, &given, 0, why), 0);
	assert_int_equal(sockets.listeners[1].fd, second);
	assert_int_equal(sockets.n_own, 1);
	assert_int_equal(sockets.n_places, 1);
	assert_int_equal(sockets.n_held, 1);
	sockets_close(&sockets);
	conf.workers = 1;
	given = given_of(held, 2);
	assert_int_equal(sockets_open(&sockets, &conf, &given, 0, why), ERR_RANGE);
	assert_non_null(strstr(why, "was handed over 2 times (test.socket), for 1 workers"));
	(void)close(held[0]);
	(void)close(held[1]);
}

/* The port of the low-priority MX is one more place. */
static void a_place_without_a_given_socket_is_opened_and_not_held(void **state)
{
	struct conf conf = conf_of(2);
	struct sockets sockets;
	char why[SOCKETS_WHY_MAX] = "";
	int held = holders_socket(0, 1);
	int other = holders_socket(0, 1);
	struct given given = given_of(&held, 1);
	(void)state;
	conf.port = port_of(held);
	conf.low_priority_port = port_of(other);
	conf.n_low_priority_mx = 1;
	(void)close(other); /* a free one */
	assert_int_equal(sockets_open(&sockets, &conf, &given, 0, why), 0);
	assert_int_equal(sockets.n, 4);
	assert_int_equal(sockets.n_places, 2);
	assert_int_equal(sockets.n_held, 1);
	assert_false(sockets_are_held(&sockets));
	sockets_close(&sockets);
	given = (struct given){0};
	(void)close(held);
	assert_int_equal(sockets_open(&sockets, &conf, &given, 0, why), 0);
	assert_int_equal(sockets.n_held, 0);
	assert_int_equal(sockets.n_own, 0);
	sockets_close(&sockets);
}

static void one_that_nobody_wants_is_refused_naming_both(void **state)
{
	struct conf conf = conf_of(1);
	struct sockets sockets;
	char why[SOCKETS_WHY_MAX] = "";
	char place[64];
	int held = holders_socket(0, 1);
	int other = holders_socket(0, 1);
	struct given given = given_of(&held, 1);
	(void)state;
	conf.port = port_of(other);
	(void)close(other);
	assert_int_equal(sockets_open(&sockets, &conf, &given, 0, why), ERR_RANGE);
	(void)snprintf(place, sizeof place, "127.0.0.1:%u was handed over (test.socket)",
	               port_of(held));
	assert_non_null(strstr(why, place));
	(void)snprintf(place, sizeof place, "listens on 127.0.0.1:%u", conf.port);
	assert_non_null(strstr(why, place));
	assert_null(sockets.listeners);
	(void)close(held);
}

static void one_that_cannot_be_shared_serves_one_worker_only(void **state)
{
	struct conf conf = conf_of(2);
	struct sockets sockets;
	char why[SOCKETS_WHY_MAX] = "";
	int held = holders_socket(0, 0);
	struct given given = given_of(&held, 1);
	(void)state;
	conf.port = port_of(held);
	assert_int_equal(sockets_open(&sockets, &conf, &given, 0, why), ERR_UNSUPPORTED);
	assert_non_null(strstr(why, "ReusePort=yes is missing (or workers = 1)"));
	conf.workers = 1;
	given = given_of(&held, 1);
	assert_int_equal(sockets_open(&sockets, &conf, &given, 0, why), 0);
	sockets_close(&sockets);
	(void)close(held);
}

static void one_of_both_families_is_refused(void **state)
{
	struct conf conf = conf_of(1);
	struct sockaddr_in6 name = {.sin6_family = AF_INET6};
	struct sockets sockets;
	char why[SOCKETS_WHY_MAX] = "";
	const int off = 0;
	int held = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)state;
	if (held < 0) {
		skip();
	}
	assert_int_equal(setsockopt(held, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off), 0);
	assert_int_equal(bind(held, (const struct sockaddr *)&name, sizeof name), 0);
	assert_int_equal(listen(held, 1), 0);
	struct given given = given_of(&held, 1);
	given.sockets[0].addr = conf.listen[0] = (struct addr){0};
	conf.port = port_of(held);
	assert_int_equal(sockets_open(&sockets, &conf, &given, 0, why), ERR_UNSUPPORTED);
	assert_non_null(strstr(why, "BindIPv6Only=ipv6-only is missing"));
	(void)close(held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(nothing_handed_over_is_nothing_found),
	        cmocka_unit_test(what_was_handed_over_is_known_by_where_it_listens),
	        cmocka_unit_test(what_does_not_listen_is_refused_by_number_and_name),
	        cmocka_unit_test(more_than_can_be_are_refused),
	        cmocka_unit_test(a_given_socket_is_the_first_workers),
	        cmocka_unit_test(one_of_another_user_is_shared_all_the_same),
	        cmocka_unit_test(several_for_one_place_go_to_several_workers),
	        cmocka_unit_test(a_place_without_a_given_socket_is_opened_and_not_held),
	        cmocka_unit_test(one_that_nobody_wants_is_refused_naming_both),
	        cmocka_unit_test(one_that_cannot_be_shared_serves_one_worker_only),
	        cmocka_unit_test(one_of_both_families_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
