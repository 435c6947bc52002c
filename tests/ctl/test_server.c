/* The control server over real Unix sockets, its time in the test's hands. */
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "ctl/client.h"
#include "ctl/ctl.h"

enum { LARGE_BYTES = 3 << 20, BODY_MAX = 4 << 20 };

struct fixture {
	char dir[64];
	char path[96];
	struct ctl_server *server;
	struct counters counters;
	struct mono now;
	_Atomic bool is_over; /* for a server thread */
	int n_clock_ok;
	uint64_t owed[MIRED_CTL_CLIENTS_MAX]; /* tickets of `later`, oldest first */
	size_t n_owed;
	size_t n_bodies;
};

static json_t *say_status(void *ctx, struct ctl_request *request)
{
	(void)ctx;
	return json_pack("{s:i,s:s}", "uptime_secs", 7, "args", request->args);
}

static json_t *say_much(void *ctx, struct ctl_request *request)
{
	char *text = malloc(LARGE_BYTES + 1);
	(void)ctx;
	(void)request;
	assert_non_null(text);
	memset(text, 'x', LARGE_BYTES);
	text[LARGE_BYTES] = '\0';
	json_t *answer = json_pack("{s:s}", "text", text);
	free(text);
	return answer;
}

/* Lines of text, of which the first has the length that is asked for. */
static json_t *say_text(void *ctx, struct ctl_request *request)
{
	long len = strtol(request->args, NULL, 10);
	size_t size = (size_t)len + sizeof "# \n# EOF";
	char *text = malloc(size);
	(void)ctx;
	assert_non_null(text);
	(void)snprintf(text, size, "# %0*d\n# EOF", (int)len, 0);
	json_t *answer = json_string(text);
	free(text);
	return answer;
}

static json_t *count_clock_ok(void *ctx, struct ctl_request *request)
{
	struct fixture *fixture = ctx;
	(void)request;
	fixture->n_clock_ok++;
	return json_pack("{s:b}", "ok", 1);
}

/* Adds up the bytes, so that a lost or doubled one shows. */
static json_t *sum_body(void *ctx, struct ctl_request *request)
{
	struct fixture *fixture = ctx;
	json_int_t sum = 0;
	for (size_t i = 0; i < request->body_len; i++) {
		sum += request->body[i];
	}
	assert_int_equal(request->body[request->body_len], '\0');
	fixture->n_bodies++;
	return json_pack("{s:I,s:I,s:s}", "len", (json_int_t)request->body_len, "sum", sum, "args",
	                 request->args);
}

static json_t *keep_body(void *ctx, struct ctl_request *request)
{
	(void)ctx;
	free(request->body);
	request->body = NULL;
	return json_pack("{s:b}", "ok", 1);
}

static json_t *answer_later(void *ctx, struct ctl_request *request)
{
	struct fixture *fixture = ctx;
	assert_true(fixture->n_owed < ARRAY_LEN(fixture->owed));
	fixture->owed[fixture->n_owed++] = request->ticket;
	return NULL;
}

static json_t *answer_by_ticket(void *ctx, struct ctl_request *request)
{
	struct fixture *fixture = ctx;
	ctl_server_answer(fixture->server, request->ticket, json_pack("{s:i}", "at", 1));
	return NULL;
}

static const struct ctl_verb verbs[] = {
        {"status", CTL_RIGHT_READ, say_status, 0},
        {"much", CTL_RIGHT_READ, say_much, 0},
        {"text", CTL_RIGHT_READ, say_text, 0},
        {"clock-ok", CTL_RIGHT_ADMIN, count_clock_ok, 0},
        {"sum", CTL_RIGHT_ADMIN, sum_body, BODY_MAX},
        {"huge", CTL_RIGHT_ADMIN, sum_body, MIRED_CTL_LIST_MAX},
        {"keep", CTL_RIGHT_ADMIN, keep_body, BODY_MAX},
        {"later", CTL_RIGHT_READ, answer_later, 0},
        {"at-once", CTL_RIGHT_READ, answer_by_ticket, 0},
        {NULL, CTL_RIGHT_READ, NULL, 0},
};

static int make_listener(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	(void)snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof sun), 0);
	assert_int_equal(listen(fd, 128), 0);
	return fd;
}

static int setup(void **state)
{
	struct conf conf = {.stats_group = "no-such-group-1",
	                    .admin_group = "no-such-group-2",
	                    .logd_user = "no-such-user"};
	struct fixture *fixture = aligned_alloc(CACHE_LINE, sizeof *fixture);
	assert_non_null(fixture);
	memset(fixture, 0, sizeof *fixture);
	(void)snprintf(fixture->dir, sizeof fixture->dir, "/tmp/mired-ctl-XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	(void)snprintf(fixture->path, sizeof fixture->path, "%s/sock", fixture->dir);
	fixture->now = (struct mono){NS_PER_SEC};
	*state = fixture;
	return ctl_server_open(&fixture->server, make_listener(fixture->path), &conf, verbs,
	                       fixture, &fixture->counters);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	ctl_server_close(fixture->server);
	(void)unlink(fixture->path);
	(void)rmdir(fixture->dir);
	free(fixture);
	return 0;
}

static uint64_t counted(const struct fixture *fixture, enum counter which)
{
	return counters_get(&fixture->counters, which);
}

static int connect_client(struct fixture *fixture)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	(void)snprintf(sun.sun_path, sizeof sun.sun_path, "%s", fixture->path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof sun), 0);
	return fd;
}

static void send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Turns as long as the server says that it has something to do. */
static void run(struct fixture *fixture)
{
	struct pollfd pollfd = {.fd = ctl_server_fd(fixture->server), .events = POLLIN};
	for (int i = 0; i < 1000 && poll(&pollfd, 1, 0) > 0; i++) {
		ctl_server_turn(fixture->server, fixture->now);
	}
}

/* What the client can read now; "" also at the end, which *is_eof tells. */
static const char *received(int fd, bool *is_eof)
{
	static char text[16384];
	ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
	*is_eof = n == 0 || (n < 0 && errno == ECONNRESET);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void assert_answer(struct fixture *fixture, int fd, const char *answer, bool closes)
{
	bool is_eof;
	run(fixture);
	assert_string_equal(received(fd, &is_eof), answer);
	(void)received(fd, &is_eof);
	assert_int_equal(is_eof, closes);
}

static void requests_are_answered_one_line_each_on_one_connection(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	send_text(fd, "status\n");
	assert_answer(fixture, fd, "{\"uptime_secs\":7,\"args\":\"\"}\n", false);
	send_text(fd, "status a b\r\nstat");
	assert_answer(fixture, fd, "{\"uptime_secs\":7,\"args\":\"a b\"}\n", false);
	send_text(fd, "us\nclock-ok\n");
	assert_answer(fixture, fd, "{\"uptime_secs\":7,\"args\":\"\"}\n{\"ok\":true}\n", false);
	assert_int_equal(counted(fixture, COUNTER_ctl_requests), 4);
	assert_int_equal(fixture->n_clock_ok, 1);
	(void)close(fd);
	run(fixture);
}

static void a_client_that_closed_its_side_still_gets_the_answer(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	send_text(fd, "status\n");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_answer(fixture, fd, "{\"uptime_secs\":7,\"args\":\"\"}\n", true);
	(void)close(fd);
}

static void many_requests_in_one_packet_are_all_answered(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	size_t n_answers = 0;
	for (int i = 0; i < 100; i++) {
		send_text(fd, "status\n");
	}
	for (int i = 0; i < 10; i++) {
		bool is_eof;
		run(fixture);
		for (const char *c = received(fd, &is_eof); *c; c++) {
			n_answers += *c == '\n';
		}
	}
	assert_int_equal(n_answers, 100);
	(void)close(fd);
}

static void bad_requests_are_answered_and_counted(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	send_text(fd, "statu\n");
	assert_answer(fixture, fd, "{\"error\":\"unknown request\"}\n", false);
	send_text(fd, "\n");
	assert_answer(fixture, fd, "{\"error\":\"request is not a line of words\"}\n", false);
	assert_int_equal(send(fd, "sta\0tus\n", 8, MSG_NOSIGNAL), 8);
	assert_answer(fixture, fd, "{\"error\":\"request is not a line of words\"}\n", false);
	send_text(fd, "status");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_answer(fixture, fd, "{\"error\":\"request not ended by a line feed\"}\n", true);
	assert_int_equal(counted(fixture, COUNTER_ctl_bad_requests), 4);
	assert_int_equal(counted(fixture, COUNTER_ctl_requests), 0);
	(void)close(fd);
}

static void a_line_without_end_is_refused_and_closed(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	char line[MIRED_CTL_REQUEST_MAX + 1];
	memset(line, 'a', sizeof line - 1);
	line[sizeof line - 1] = '\0';
	send_text(fd, line);
	assert_answer(fixture, fd, "{\"error\":\"request too long\"}\n", true);
	assert_int_equal(counted(fixture, COUNTER_ctl_bad_requests), 1);
	(void)close(fd);
}

static void further_clients_wait_until_one_leaves(void **state)
{
	struct fixture *fixture = *state;
	int fds[MIRED_CTL_CLIENTS_MAX];
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = connect_client(fixture);
	}
	run(fixture);
	int waiting = connect_client(fixture);
	send_text(waiting, "status\n");
	assert_answer(fixture, waiting, "", false);
	send_text(fds[5], "status\n");
	assert_answer(fixture, fds[5], "{\"uptime_secs\":7,\"args\":\"\"}\n", false);
	(void)close(fds[7]);
	assert_answer(fixture, waiting, "{\"uptime_secs\":7,\"args\":\"\"}\n", false);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (i != 7) {
			(void)close(fds[i]);
		}
	}
	(void)close(waiting);
	run(fixture);
}

static void without_descriptors_the_server_pauses_and_recovers(void **state)
{
	struct fixture *fixture = *state;
	struct rlimit before;
	struct pollfd pollfd = {.fd = ctl_server_fd(fixture->server), .events = POLLIN};
	int fd = connect_client(fixture);
	send_text(fd, "status\n");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	struct rlimit none = {.rlim_cur = 3, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	ctl_server_turn(fixture->server, fixture->now);
	int ret = setrlimit(RLIMIT_NOFILE, &before);
	assert_int_equal(ret, 0);
	assert_int_equal(poll(&pollfd, 1, 0), 0);
	fixture->now = mono_add_ms(fixture->now, 1000);
	ctl_server_turn(fixture->server, fixture->now);
	assert_answer(fixture, fd, "{\"uptime_secs\":7,\"args\":\"\"}\n", false);
	(void)close(fd);
}

static void an_idle_client_is_dropped_in_the_end(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	bool is_eof;
	run(fixture);
	fixture->now = mono_add_ms(fixture->now, 29000);
	ctl_server_turn(fixture->server, fixture->now);
	(void)received(fd, &is_eof);
	assert_false(is_eof);
	fixture->now = mono_add_ms(fixture->now, 1001);
	ctl_server_turn(fixture->server, fixture->now);
	(void)received(fd, &is_eof);
	assert_true(is_eof);
	(void)close(fd);
}

static void an_answer_nobody_reads_costs_the_connection(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	size_t n_read = 0;
	bool is_eof = false;
	send_text(fd, "much\nmuch\nmuch\n");
	run(fixture);
	assert_int_equal(counted(fixture, COUNTER_ctl_requests), 1);
	fixture->now = mono_add_ms(fixture->now, 10001);
	ctl_server_turn(fixture->server, fixture->now);
	while (!is_eof) {
		n_read += strlen(received(fd, &is_eof));
	}
	assert_true(n_read < LARGE_BYTES);
	(void)close(fd);
}

static void a_large_answer_arrives_whole(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	size_t n_read = 0;
	bool is_eof = false;
	send_text(fd, "much\n");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	for (int i = 0; i < 100000 && !is_eof; i++) {
		run(fixture);
		n_read += strlen(received(fd, &is_eof));
	}
	assert_int_equal(n_read, LARGE_BYTES + strlen("{\"text\":\"\"}\n"));
	(void)close(fd);
}

/* In a child: becomes nobody, who has no right here, asks, and exits with 0 if refused. */
static void ask_as_nobody(const char *path)
{
	enum { NOBODY = 65534 };
	json_t *answer = NULL;
	if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0) {
		_exit(2);
	}
	int ret = ctl_wait_request(path, "clock-ok", 5000, &answer);
	const char *error = json_string_value(json_object_get(answer, "error"));
	_exit(ret == 0 && error && strcmp(error, "permission denied") == 0 ? 0 : 1);
}

static void a_stranger_is_refused_and_counted(void **state)
{
	struct fixture *fixture = *state;
	int status = 0;
	if (geteuid() != 0) {
		skip();
	}
	/* everybody may connect; the verb's right decides */
	assert_int_equal(chown(fixture->dir, 65534, 65534), 0);
	assert_int_equal(chown(fixture->path, 65534, 65534), 0);
	pid_t pid = fork();
	if (pid == 0) {
		ask_as_nobody(fixture->path);
	}
	for (int i = 0; i < 5000 && waitpid(pid, &status, WNOHANG) == 0; i++) {
		ctl_server_turn(fixture->server, fixture->now);
		(void)usleep(1000);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(counted(fixture, COUNTER_ctl_refused), 1);
	assert_int_equal(fixture->n_clock_ok, 0);
}

/* In a child: takes all places that so many users can get who have no right, and exits with how
 * many were refused. */
static void crowd_in_as_strangers(const char *path, unsigned n_users)
{
	enum { NOBODY = 65534, N_LINKS = MIRED_CTL_CLIENTS_MAX + 36 };
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fds[N_LINKS];
	int n_refused = 0;
	(void)snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
	if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0) {
		_exit(255);
	}
	for (unsigned i = 0; i < N_LINKS; i++) {
		fds[i] = socket(AF_UNIX, SOCK_STREAM, 0);
		if (seteuid(0) != 0 || seteuid(NOBODY - i % n_users) != 0) {
			_exit(253);
		}
		if (connect(fds[i], (struct sockaddr *)&sun, sizeof sun) != 0) {
			_exit(254);
		}
	}
	for (size_t i = MIRED_CTL_USER_CLIENTS_MAX; i < N_LINKS; i++) {
		char answer[128];
		struct pollfd pollfd = {.fd = fds[i], .events = POLLIN};
		ssize_t n =
		        poll(&pollfd, 1, 5000) == 1 ? recv(fds[i], answer, sizeof answer, 0) : 0;
		n_refused += n > 0 && memmem(answer, (size_t)n, "too many connections", 20);
	}
	_exit(n_refused);
}

static void assert_places_are_left(struct fixture *fixture, unsigned n_users)
{
	int status = 0;
	if (geteuid() != 0) {
		skip();
	}
	assert_int_equal(chmod(fixture->dir, 0755), 0);
	assert_int_equal(chmod(fixture->path, 0666), 0);
	pid_t pid = fork();
	if (pid == 0) {
		crowd_in_as_strangers(fixture->path, n_users);
	}
	for (int i = 0; i < 30000 && counted(fixture, COUNTER_ctl_refused) == 0; i++) {
		ctl_server_turn(fixture->server, fixture->now);
		(void)usleep(1000);
	}
	run(fixture);
	int fd = connect_client(fixture);
	send_text(fd, "status\n");
	assert_answer(fixture, fd, "{\"uptime_secs\":7,\"args\":\"\"}\n", false);
	(void)close(fd);
	for (int i = 0; i < 30000 && waitpid(pid, &status, WNOHANG) == 0; i++) {
		ctl_server_turn(fixture->server, fixture->now);
		(void)usleep(1000);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 84);
}

static void one_user_cannot_take_all_places(void **state)
{
	assert_places_are_left(*state, 1);
}

static void many_users_without_a_right_cannot_either(void **state)
{
	assert_places_are_left(*state, 10);
}

static void who_has_no_right_is_dropped_whatever_he_says(void **state)
{
	(void)state;
	static const struct mono begin = {5 * NS_PER_SEC};
	struct inbox_budget budget = {INBOX_BODIES_MAX};
	struct client client;
	client_init(&client, -1, &budget, begin);
	client.since = mono_add_ms(begin, 1999);
	assert_false(client_is_late(&client, client.since));
	assert_true(client_is_late(&client, mono_add_ms(begin, 2000)));
	client.rights = 1U << CTL_RIGHT_READ;
	assert_false(client_is_late(&client, mono_add_ms(begin, 2000)));
	client_fini(&client);
}

static void a_body_follows_its_line_in_any_pieces(void **state)
{
	static const char text[] = "sum a b 5\n01234sum 0\nstatus\nkeep 1\nxsum 3\n678";
	struct fixture *fixture = *state;
	for (size_t piece = 1; piece < sizeof text; piece++) {
		int fd = connect_client(fixture);
		for (size_t at = 0; at < sizeof text - 1; at += piece) {
			size_t left = sizeof text - 1 - at;
			size_t n = piece < left ? piece : left;
			assert_int_equal(send(fd, text + at, n, MSG_NOSIGNAL), n);
			run(fixture);
		}
		assert_answer(fixture, fd,
		              "{\"len\":5,\"sum\":250,\"args\":\"a b\"}\n"
		              "{\"len\":0,\"sum\":0,\"args\":\"\"}\n"
		              "{\"uptime_secs\":7,\"args\":\"\"}\n"
		              "{\"ok\":true}\n"
		              "{\"len\":3,\"sum\":165,\"args\":\"\"}\n",
		              false);
		(void)close(fd);
		run(fixture);
	}
	assert_int_equal(counted(fixture, COUNTER_ctl_bad_requests), 0);
}

static void a_body_that_is_too_large_or_has_no_length_is_refused_and_closed(void **state)
{
	static const char *const lines[] = {"sum 4194305\n", "sum\n", "sum x\n",
	                                    "sum 99999999999999999999\n", "sum 5 x\n"};
	struct fixture *fixture = *state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		int fd = connect_client(fixture);
		send_text(fd, lines[i]);
		send_text(fd, "clock-ok\n");
		assert_answer(fixture, fd,
		              "{\"error\":\"the last word is not the body's length, at most "
		              "4194304\"}\n",
		              true);
		(void)close(fd);
	}
	assert_int_equal(counted(fixture, COUNTER_ctl_bad_requests), ARRAY_LEN(lines));
	assert_int_equal(fixture->n_clock_ok, 0);
	assert_int_equal(fixture->n_bodies, 0);
}

static void a_body_cut_short_is_refused(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	send_text(fd, "sum 5\n0123");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_answer(fixture, fd, "{\"error\":\"body shorter than announced\"}\n", true);
	assert_int_equal(counted(fixture, COUNTER_ctl_bad_requests), 1);
	assert_int_equal(fixture->n_bodies, 0);
	(void)close(fd);
	fd = connect_client(fixture);
	send_text(fd, "sum 5\n0123");
	run(fixture);
	(void)close(fd);
	run(fixture);
	assert_int_equal(fixture->n_bodies, 0);
}

static void turn_at(struct fixture *fixture, int64_t after_ms)
{
	fixture->now = mono_add_ms(fixture->now, after_ms);
	ctl_server_turn(fixture->server, fixture->now);
}

static void a_body_that_stops_coming_or_trickles_costs_the_connection(void **state)
{
	struct fixture *fixture = *state;
	bool is_eof;
	int silent = connect_client(fixture);
	send_text(silent, "sum 5\n0");
	run(fixture);
	turn_at(fixture, 29999);
	(void)received(silent, &is_eof);
	assert_false(is_eof);
	turn_at(fixture, 1);
	(void)received(silent, &is_eof);
	assert_true(is_eof);
	int slow = connect_client(fixture);
	send_text(slow, "sum 1000\n0");
	run(fixture);
	for (int i = 0; i < 14; i++) {
		send_text(slow, "0");
		turn_at(fixture, 20000);
	}
	(void)received(slow, &is_eof);
	assert_false(is_eof);
	send_text(slow, "0");
	turn_at(fixture, 20000);
	(void)received(slow, &is_eof);
	assert_true(is_eof);
	assert_int_equal(counted(fixture, COUNTER_ctl_bad_requests), 2);
	(void)close(silent);
	(void)close(slow);
}

/* Sends what the socket takes, turns, and again. */
static void pour(struct fixture *fixture, int fd, char *bytes, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = send(fd, bytes + at, len - at, MSG_NOSIGNAL);
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
		}
		at += n > 0 ? (size_t)n : 0;
		run(fixture);
	}
}

static void bodies_of_all_clients_at_once_arrive_whole(void **state)
{
	struct fixture *fixture = *state;
	enum { EACH = 200000 };
	int fds[MIRED_CTL_CLIENTS_MAX];
	char *bytes = malloc(EACH);
	assert_non_null(bytes);
	memset(bytes, 1, EACH);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = connect_client(fixture);
		send_text(fds[i], "sum 200000\n");
	}
	for (size_t at = 0; at < EACH; at += EACH / 4) {
		for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
			pour(fixture, fds[i], bytes + at, EACH / 4);
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		assert_answer(fixture, fds[i], "{\"len\":200000,\"sum\":200000,\"args\":\"\"}\n",
		              false);
		(void)close(fds[i]);
	}
	run(fixture);
	free(bytes);
}

static void an_announced_length_reserves_nothing(void **state)
{
	struct fixture *fixture = *state;
	int fds[MIRED_CTL_CLIENTS_MAX];
	/* together 32 GiB: were the word believed, the second would be refused already */
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = connect_client(fixture);
		send_text(fds[i], "huge 536870912\nx");
		assert_answer(fixture, fds[i], "", false);
	}
	assert_int_equal(counted(fixture, COUNTER_ctl_bad_requests), 0);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		(void)close(fds[i]);
	}
	run(fixture);
}

static void an_answer_may_come_later_and_the_client_waits_for_it(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	int other = connect_client(fixture);
	send_text(fd, "later\nstatus\n");
	assert_answer(fixture, fd, "", false);
	assert_int_equal(fixture->n_owed, 1);
	turn_at(fixture, 3600000); /* the delay is not the client's */
	send_text(fd, "clock-ok\n");
	assert_answer(fixture, fd, "", false);
	(void)close(other);
	ctl_server_answer(fixture->server, fixture->owed[0], json_pack("{s:i}", "late", 1));
	assert_answer(fixture, fd,
	              "{\"late\":1}\n{\"uptime_secs\":7,\"args\":\"\"}\n{\"ok\":true}\n", false);
	ctl_server_answer(fixture->server, fixture->owed[0], json_pack("{s:i}", "late", 2));
	assert_answer(fixture, fd, "", false);
	send_text(fd, "at-once\n");
	assert_answer(fixture, fd, "{\"at\":1}\n", false);
	send_text(fd, "later\n");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_answer(fixture, fd, "", false);
	ctl_server_answer(fixture->server, fixture->owed[1], json_pack("{s:i}", "late", 3));
	assert_answer(fixture, fd, "{\"late\":3}\n", true);
	(void)close(fd);
}

static void the_answer_to_a_client_that_has_gone_reaches_nobody(void **state)
{
	struct fixture *fixture = *state;
	int fds[MIRED_CTL_CLIENTS_MAX];
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = connect_client(fixture);
		send_text(fds[i], "later\n");
	}
	run(fixture);
	assert_int_equal(fixture->n_owed, ARRAY_LEN(fds));
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		(void)close(fds[i]);
	}
	run(fixture);
	/* who comes now sits in the places of those who went */
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = connect_client(fixture);
	}
	send_text(fds[3], "status\n");
	run(fixture);
	for (size_t i = 0; i < fixture->n_owed; i++) {
		ctl_server_answer(fixture->server, fixture->owed[i], json_pack("{s:i}", "late", 1));
	}
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		assert_answer(fixture, fds[i], i == 3 ? "{\"uptime_secs\":7,\"args\":\"\"}\n" : "",
		              false);
		(void)close(fds[i]);
	}
}

static void *serve(void *arg)
{
	struct fixture *fixture = arg;
	struct pollfd pollfd = {.fd = ctl_server_fd(fixture->server), .events = POLLIN};
	while (!atomic_load(&fixture->is_over)) {
		(void)poll(&pollfd, 1, 10);
		ctl_server_turn(fixture->server, clock_mono());
	}
	return NULL;
}

static void the_client_asks_and_gets_objects_or_reasons(void **state)
{
	struct fixture *fixture = *state;
	pthread_t thread;
	json_t *answer = NULL;
	/* nobody serves yet */
	assert_int_equal(ctl_wait_request(fixture->path, "status", 50, &answer), -ETIMEDOUT);
	assert_int_equal(pthread_create(&thread, NULL, serve, fixture), 0);
	assert_int_equal(ctl_wait_request(fixture->path, "status x", 5000, &answer), 0);
	assert_string_equal(json_string_value(json_object_get(answer, "args")), "x");
	json_decref(answer);
	assert_int_equal(ctl_wait_request(fixture->path, "much", 5000, &answer), 0);
	assert_int_equal(json_string_length(json_object_get(answer, "text")), LARGE_BYTES);
	json_decref(answer);
	answer = NULL;
	assert_int_equal(ctl_wait_request(fixture->path, "a\nb", 5000, &answer), ERR_SYNTAX);
	assert_int_equal(ctl_wait_request("/nonexistent/sock", "status", 5000, &answer), -ENOENT);
	assert_null(answer);
	atomic_store(&fixture->is_over, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	ctl_server_close(fixture->server);
	fixture->server = NULL;
	assert_int_equal(ctl_wait_request(fixture->path, "status", 5000, &answer), -ECONNREFUSED);
}

static void a_link_carries_many_requests_and_bodies(void **state)
{
	struct fixture *fixture = *state;
	pthread_t thread;
	struct ctl_link *link = NULL;
	json_t *answer = NULL;
	char *body = malloc(BODY_MAX + 1);
	assert_non_null(body);
	memset(body, 1, BODY_MAX + 1);
	assert_int_equal(ctl_link_open(&link, "/nonexistent/sock"), -ENOENT);
	assert_int_equal(pthread_create(&thread, NULL, serve, fixture), 0);
	assert_int_equal(ctl_link_open(&link, fixture->path), 0);
	for (size_t len = 0; len <= BODY_MAX; len = len * 8 + 1) {
		struct span span = span_of(body, len);
		assert_int_equal(ctl_link_request(link, "sum x", span, 5000, &answer), 0);
		assert_int_equal(json_integer_value(json_object_get(answer, "sum")), len);
		json_decref(answer);
		assert_int_equal(
		        ctl_link_request(link, "clock-ok", (struct span){0}, 5000, &answer), 0);
		assert_true(json_is_true(json_object_get(answer, "ok")));
		json_decref(answer);
	}
	/* refused before the body is read: the reason arrives nevertheless */
	assert_int_equal(
	        ctl_link_request(link, "sum x", span_of(body, BODY_MAX + 1), 5000, &answer), 0);
	assert_non_null(json_object_get(answer, "error"));
	json_decref(answer);
	assert_int_equal(ctl_link_request(link, "status", (struct span){0}, 5000, &answer),
	                 ERR_CLOSED);
	ctl_link_close(link);
	atomic_store(&fixture->is_over, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	free(body);
}

static void text_is_sent_as_it_stands_and_ends_the_connection(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	send_text(fd, "status\ntext 3\nstatus\n");
	assert_answer(fixture, fd, "{\"uptime_secs\":7,\"args\":\"\"}\n# 000\n# EOF\n", true);
	(void)close(fd);
}

static void the_client_takes_text_of_any_length(void **state)
{
	struct fixture *fixture = *state;
	pthread_t thread;
	json_t *answer = NULL;
	char request[32];
	assert_int_equal(pthread_create(&thread, NULL, serve, fixture), 0);
	for (int len = 1; len < LARGE_BYTES; len = len * 3 + 1) {
		(void)snprintf(request, sizeof request, "text %d", len);
		assert_int_equal(ctl_wait_request(fixture->path, request, 5000, &answer), 0);
		assert_int_equal(json_string_length(answer), (size_t)len + strlen("# \n# EOF\n"));
		json_decref(answer);
	}
	atomic_store(&fixture->is_over, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(requests_are_answered_one_line_each_on_one_connection),
	        TEST(a_client_that_closed_its_side_still_gets_the_answer),
	        TEST(many_requests_in_one_packet_are_all_answered),
	        TEST(bad_requests_are_answered_and_counted),
	        TEST(a_line_without_end_is_refused_and_closed),
	        TEST(further_clients_wait_until_one_leaves),
	        TEST(without_descriptors_the_server_pauses_and_recovers),
	        TEST(an_idle_client_is_dropped_in_the_end),
	        TEST(an_answer_nobody_reads_costs_the_connection),
	        TEST(a_large_answer_arrives_whole),
	        TEST(a_stranger_is_refused_and_counted),
	        TEST(one_user_cannot_take_all_places),
	        TEST(many_users_without_a_right_cannot_either),
	        cmocka_unit_test(who_has_no_right_is_dropped_whatever_he_says),
	        TEST(a_body_follows_its_line_in_any_pieces),
	        TEST(a_body_that_is_too_large_or_has_no_length_is_refused_and_closed),
	        TEST(a_body_cut_short_is_refused),
	        TEST(a_body_that_stops_coming_or_trickles_costs_the_connection),
	        TEST(bodies_of_all_clients_at_once_arrive_whole),
	        TEST(an_announced_length_reserves_nothing),
	        TEST(an_answer_may_come_later_and_the_client_waits_for_it),
	        TEST(the_answer_to_a_client_that_has_gone_reaches_nobody),
	        TEST(the_client_asks_and_gets_objects_or_reasons),
	        TEST(a_link_carries_many_requests_and_bodies),
	        TEST(text_is_sent_as_it_stands_and_ends_the_connection),
	        TEST(the_client_takes_text_of_any_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
