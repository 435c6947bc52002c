/* The spamd-cfg port over real TCP sockets on 127.0.0.1, its time in the test's hands. Sessions
 * need a port below 1024, which only root may bind. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "mired/cfg_server.h"

struct fixture {
	struct cfg_server *server;
	struct counters counters;
	struct sockaddr_in address;
	struct mono now;
	int submit_ret;
	char *text; /* submitted last */
	size_t len;
	int n_submitted;
};

static int submit(void *ctx, char *text, size_t len)
{
	struct fixture *fixture = ctx;
	if (fixture->submit_ret == 0) {
		free(fixture->text);
		fixture->text = text;
		fixture->len = len;
		fixture->n_submitted++;
	}
	return fixture->submit_ret;
}

static int setup(void **state)
{
	struct fixture *fixture = aligned_alloc(CACHE_LINE, sizeof *fixture);
	socklen_t len = sizeof fixture->address;
	assert_non_null(fixture);
	memset(fixture, 0, sizeof *fixture);
	fixture->now = (struct mono){NS_PER_SEC};
	fixture->address.sin_family = AF_INET;
	fixture->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	struct cfg_server_env env = {
	        .submit = submit, .ctx = fixture, .counters = &fixture->counters};
	env.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(env.listener, (struct sockaddr *)&fixture->address, len), 0);
	assert_int_equal(getsockname(env.listener, (struct sockaddr *)&fixture->address, &len), 0);
	assert_int_equal(listen(env.listener, 10), 0);
	*state = fixture;
	return cfg_server_open(&fixture->server, &env);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	cfg_server_close(fixture->server);
	free(fixture->text);
	free(fixture);
	return 0;
}

static uint64_t counted(const struct fixture *fixture, enum counter which)
{
	return counters_get(&fixture->counters, which);
}

/* A reserved port that nobody has; other tests may run beside this one. */
static int bind_low(void)
{
	for (uint16_t port = 1023; port > 600; port--) {
		struct sockaddr_in address = {.sin_family = AF_INET,
		                              .sin_port = htons(port),
		                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0) {
			return fd;
		}
		(void)close(fd);
	}
	return -1;
}

static int connect_tool(struct fixture *fixture)
{
	int fd = bind_low();
	if (fd < 0) {
		skip();
	}
	assert_int_equal(connect(fd, (struct sockaddr *)&fixture->address, sizeof fixture->address),
	                 0);
	return fd;
}

static void send_bytes(int fd, const char *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

/* Turns as long as the server's descriptor says that there is something to do. */
static void run(struct fixture *fixture)
{
	for (int i = 0; i < 1000; i++) {
		struct pollfd pollfd = {.fd = cfg_server_fd(fixture->server), .events = POLLIN};
		cfg_server_turn(fixture->server, fixture->now);
		if (poll(&pollfd, 1, 20) == 0) {
			return;
		}
	}
}

static void end_job(struct fixture *fixture, int ret)
{
	struct lister_result result = {.ret = ret, .n_lists = 1, .n_networks = 1, .why = "line 1"};
	cfg_server_take_result(fixture->server, &result);
}

static bool is_closed(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno != EAGAIN);
}

static void a_session_is_handed_over_when_the_tool_closes(void **state)
{
	static const char text[] = "a;\"text\";192.0.2.1/32\nb;\n\n";
	struct fixture *fixture = *state;
	int fd = connect_tool(fixture);
	send_bytes(fd, text, 10);
	run(fixture);
	send_bytes(fd, text + 10, sizeof text - 1 - 10);
	run(fixture);
	assert_int_equal(fixture->n_submitted, 0);
	(void)close(fd);
	run(fixture);
	assert_int_equal(fixture->n_submitted, 1);
	assert_int_equal(fixture->len, sizeof text - 1);
	assert_memory_equal(fixture->text, text, fixture->len);
	assert_int_equal(counted(fixture, COUNTER_cfg_sessions), 1);
	end_job(fixture, 0);
	assert_int_equal(counted(fixture, COUNTER_cfg_refused), 0);
}

static void a_port_above_1023_is_closed_at_once(void **state)
{
	struct fixture *fixture = *state;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&fixture->address, sizeof fixture->address),
	                 0);
	send_bytes(fd, "a;\n", 3);
	run(fixture);
	assert_true(is_closed(fd));
	assert_int_equal(fixture->n_submitted, 0);
	assert_int_equal(counted(fixture, COUNTER_cfg_refused), 1);
	(void)close(fd);
}

static void sessions_go_one_after_the_other(void **state)
{
	struct fixture *fixture = *state;
	int first = connect_tool(fixture);
	send_bytes(first, "a;\n", 3);
	run(fixture);
	int second = connect_tool(fixture);
	send_bytes(second, "bb;\n", 4);
	(void)close(second);
	run(fixture);
	assert_int_equal(fixture->n_submitted, 0);
	(void)close(first);
	run(fixture);
	assert_int_equal(fixture->n_submitted, 1);
	assert_int_equal(fixture->len, 3);
	assert_int_equal(cfg_server_fd(fixture->server), -1);
	end_job(fixture, 0);
	run(fixture);
	assert_int_equal(fixture->n_submitted, 2);
	assert_int_equal(fixture->len, 4);
}

static void a_session_that_is_cut_off_inside_a_line_changes_nothing(void **state)
{
	static const char *const texts[] = {"a;\nb;\"x\";inet;1;192.0.2.0/2", "a;", "a;\n\r"};
	struct fixture *fixture = *state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		int fd = connect_tool(fixture);
		send_bytes(fd, texts[i], strlen(texts[i]));
		(void)close(fd);
		run(fixture);
		assert_int_equal(counted(fixture, COUNTER_cfg_refused), i + 1);
	}
	int fd = connect_tool(fixture);
	struct linger reset = {.l_onoff = 1};
	send_bytes(fd, "a;\n", 3);
	run(fixture);
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	(void)close(fd);
	run(fixture);
	assert_int_equal(counted(fixture, COUNTER_cfg_refused), ARRAY_LEN(texts) + 1);
	assert_int_equal(fixture->n_submitted, 0);
}

static void silence_does_not_block_the_port_for_ever(void **state)
{
	struct fixture *fixture = *state;
	int silent = connect_tool(fixture);
	send_bytes(silent, "a;\n", 3);
	run(fixture);
	int other = connect_tool(fixture);
	send_bytes(other, "b;\n", 3);
	(void)close(other);
	fixture->now = mono_add_ms(fixture->now, CFG_SERVER_SILENCE_MS - 1);
	run(fixture);
	assert_false(is_closed(silent));
	fixture->now = mono_add_ms(fixture->now, 1);
	run(fixture);
	assert_true(is_closed(silent));
	assert_int_equal(counted(fixture, COUNTER_cfg_refused), 1);
	run(fixture);
	assert_int_equal(fixture->n_submitted, 1);
	assert_memory_equal(fixture->text, "b;\n", 3);
	(void)close(silent);
}

static void a_session_waits_for_room_and_its_refusal_is_counted(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_tool(fixture);
	fixture->submit_ret = -EAGAIN;
	send_bytes(fd, "a;\n", 3);
	(void)close(fd);
	run(fixture);
	assert_int_equal(fixture->n_submitted, 0);
	fixture->submit_ret = 0;
	run(fixture);
	assert_int_equal(fixture->n_submitted, 1);
	end_job(fixture, ERR_SYNTAX);
	assert_int_equal(counted(fixture, COUNTER_cfg_refused), 1);
	/* nothing was sent: nothing happens, and the port is free again */
	fd = connect_tool(fixture);
	(void)close(fd);
	run(fixture);
	assert_int_equal(fixture->n_submitted, 1);
	assert_true(cfg_server_fd(fixture->server) >= 0);
	assert_int_equal(counted(fixture, COUNTER_cfg_refused), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_session_is_handed_over_when_the_tool_closes),
	        TEST(a_port_above_1023_is_closed_at_once),
	        TEST(sessions_go_one_after_the_other),
	        TEST(a_session_that_is_cut_off_inside_a_line_changes_nothing),
	        TEST(silence_does_not_block_the_port_for_ever),
	        TEST(a_session_waits_for_room_and_its_refusal_is_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
