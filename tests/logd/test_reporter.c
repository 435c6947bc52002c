/* Reports to a socket of the test's own, which closes each connection behind its answer, as the
 * daemon does with one that is idle. */
#include "mired-logd/reporter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { INTERVAL_MS = 20, WAIT_STEPS = 5000, BODY_BYTES = 4096, LIFE_SECS = 365 * 24 * 3600 };

struct fixture {
	char dir[64];
	char path[96];
	char log_path[96];
	int stderr_fd; /* the real one, while the log goes into a file */
	int listener;
	const char *_Atomic answer;
	_Atomic unsigned n_requests;
	char body[BODY_BYTES]; /* of the last request */
	pthread_t daemon;
	struct reporter *reporter;
	struct conf conf; /* of the herald */
	struct herald *herald;
	int peer; /* whom it tells */
};

/* One request: its line, then its body. */
static void serve_one(struct fixture *fixture, int fd)
{
	char text[BODY_BYTES] = "";
	size_t len = 0;
	char *body = NULL;
	while (!body || strlen(body + 1) < strtoul(text + strlen("seen "), NULL, 10)) {
		ssize_t n = recv(fd, text + len, sizeof text - 1 - len, 0);
		if (n <= 0) {
			return;
		}
		len += (size_t)n;
		body = memchr(text, '\n', len);
	}
	memcpy(fixture->body, body + 1, strlen(body + 1) + 1);
	const char *answer = fixture->answer;
	(void)send(fd, answer, strlen(answer), MSG_NOSIGNAL);
	fixture->n_requests++;
}

static void *daemon_main(void *arg)
{
	struct fixture *fixture = arg;
	for (int fd; (fd = accept(fixture->listener, NULL, NULL)) >= 0;) {
		serve_one(fixture, fd);
		(void)close(fd);
	}
	return NULL;
}

static int begin(struct fixture *fixture)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	const struct reporter_options options = {.socket = fixture->path,
	                                         .interval_ms = INTERVAL_MS,
	                                         .life_secs = LIFE_SECS,
	                                         .herald = fixture->herald};
	(void)snprintf(sun.sun_path, sizeof sun.sun_path, "%s", fixture->path);
	fixture->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fixture->listener, (struct sockaddr *)&sun, sizeof sun), 0);
	assert_int_equal(listen(fixture->listener, 8), 0);
	assert_int_equal(pthread_create(&fixture->daemon, NULL, daemon_main, fixture), 0);
	return reporter_start(&fixture->reporter, &options);
}

static int prepare(struct fixture *fixture)
{
	(void)snprintf(fixture->dir, sizeof fixture->dir, "/tmp/mired-reporter-XXXXXX");
	fixture->answer = "{\"ok\":true,\"dropped\":0,\"refused\":0}\n";
	assert_non_null(mkdtemp(fixture->dir));
	(void)snprintf(fixture->path, sizeof fixture->path, "%s/sock", fixture->dir);
	(void)snprintf(fixture->log_path, sizeof fixture->log_path, "%s/log", fixture->dir);
	fixture->stderr_fd = dup(STDERR_FILENO);
	assert_non_null(freopen(fixture->log_path, "w", stderr));
	return begin(fixture);
}

static int setup(void **state)
{
	static struct fixture fixture;
	fixture = (struct fixture){.peer = -1};
	*state = &fixture;
	return prepare(&fixture);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	(void)dup2(fixture->stderr_fd, STDERR_FILENO);
	(void)close(fixture->stderr_fd);
	(void)shutdown(fixture->listener, SHUT_RDWR);
	(void)pthread_join(fixture->daemon, NULL);
	(void)close(fixture->listener);
	(void)unlink(fixture->path);
	(void)unlink(fixture->log_path);
	return rmdir(fixture->dir);
}

/* The empty key will do: what is sent is looked at elsewhere. */
static int setup_with_peer(void **state)
{
	static struct fixture fixture;
	char why[SYNC_SETUP_WHY_MAX];
	char *targets[] = {(char *)(uintptr_t) "127.0.0.1"};
	struct sockaddr_in name = {.sin_family = AF_INET,
	                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof name;
	int peer = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(peer, (struct sockaddr *)&name, sizeof name), 0);
	assert_int_equal(getsockname(peer, (struct sockaddr *)&name, &len), 0);
	fixture = (struct fixture){.peer = peer};
	fixture.conf = (struct conf){.sync_key_file = (char *)(uintptr_t) "/nonexistent/key",
	                             .sync_insecure = true,
	                             .sync_port = ntohs(name.sin_port),
	                             .ipv6_prefix = 64};
	assert_int_equal(herald_open(&fixture.herald, &fixture.conf, targets, 1, why), 0);
	*state = &fixture;
	return prepare(&fixture);
}

static int teardown_with_peer(void **state)
{
	struct fixture *fixture = *state;
	herald_close(fixture->herald);
	(void)close(fixture->peer);
	return teardown(state);
}

static void report(struct fixture *fixture, const char *host)
{
	unsigned n_before = fixture->n_requests;
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(host), &addr), 0);
	reporter_add(fixture->reporter, &addr, false);
	for (int i = 0; i < WAIT_STEPS && fixture->n_requests == n_before; i++) {
		(void)usleep(1000);
	}
	assert_int_equal(fixture->n_requests, n_before + 1);
}

static bool has_log(const struct fixture *fixture, const char *words)
{
	char text[BODY_BYTES] = "";
	FILE *file = fopen(fixture->log_path, "r");
	assert_non_null(file);
	text[fread(text, 1, sizeof text - 1, file)] = '\0';
	(void)fclose(file);
	return strstr(text, words) != NULL;
}

static void a_connection_that_was_closed_since_is_no_failure(void **state)
{
	struct fixture *fixture = *state;
	struct reporter_figures last;
	report(fixture, "192.0.2.1");
	report(fixture, "192.0.2.2");
	report(fixture, "2001:db8::3");
	assert_string_equal(fixture->body, "in 2001:db8::3 1 31536000\n");
	reporter_stop(fixture->reporter, &last);
	assert_int_equal(last.n_reported, 3);
	assert_false(has_log(fixture, "trying again"));
}

static void what_the_daemon_does_not_take_is_not_counted_as_reported(void **state)
{
	struct fixture *fixture = *state;
	struct reporter_figures last;
	fixture->answer = "{\"ok\":true,\"dropped\":1,\"refused\":0}\n";
	report(fixture, "192.0.2.1");
	fixture->answer = "{\"ok\":true,\"dropped\":0,\"refused\":1}\n";
	report(fixture, "192.0.2.2");
	reporter_stop(fixture->reporter, &last);
	assert_int_equal(last.n_reported, 0);
	assert_int_equal(last.n_refused, 2);
}

static void what_was_refused_as_a_whole_is_reported_again(void **state)
{
	struct fixture *fixture = *state;
	struct reporter_figures last;
	fixture->answer = "{\"error\":\"permission denied\"}\n";
	report(fixture, "192.0.2.1");
	fixture->answer = "{\"ok\":true,\"dropped\":0,\"refused\":0}\n";
	reporter_stop(fixture->reporter, &last);
	assert_int_equal(last.n_reported, 1);
	assert_true(has_log(fixture, "permission denied; trying again"));
}

static void peers_are_told_what_the_daemon_took_and_nothing_else(void **state)
{
	struct fixture *fixture = *state;
	struct reporter_figures last;
	uint8_t byte;
	fixture->answer = "{\"ok\":true,\"dropped\":1,\"refused\":0}\n";
	report(fixture, "192.0.2.1");
	fixture->answer = "{\"ok\":true,\"dropped\":0,\"refused\":0}\n";
	report(fixture, "192.0.2.2");
	report(fixture, "2001:db8::3");
	reporter_stop(fixture->reporter, &last);
	assert_int_equal(last.told.n_datagrams, 2);
	assert_int_equal(last.told.n_failures, 0);
	assert_int_equal(recv(fixture->peer, &byte, 1, MSG_DONTWAIT), 1);
	assert_int_equal(recv(fixture->peer, &byte, 1, MSG_DONTWAIT), 1);
	assert_int_equal(recv(fixture->peer, &byte, 1, MSG_DONTWAIT), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_connection_that_was_closed_since_is_no_failure),
	        TEST(what_the_daemon_does_not_take_is_not_counted_as_reported),
	        TEST(what_was_refused_as_a_whole_is_reported_again),
	        cmocka_unit_test_setup_teardown(
	                peers_are_told_what_the_daemon_took_and_nothing_else, setup_with_peer,
	                teardown_with_peer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
