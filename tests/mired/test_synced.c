/* What the supervisor opens for the synchronisation, on the loopback interface. */
#include "mired/synced.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

static const char KEY[] = "spamd-sync-test-key\n";
static const char KEY_TEXT[] = "5abc7b1e899f757f9891c65c481e8b4716abc4e1";

struct fixture {
	char key_path[64];
	struct conf conf;
	struct synced synced;
	char why[SYNC_SETUP_WHY_MAX];
};

static int setup(void **state)
{
	static struct fixture fixture;
	fixture = (struct fixture){.key_path = "/tmp/mired-synced-XXXXXX"};
	int fd = mkstemp(fixture.key_path);
	if (fd < 0 || write(fd, KEY, strlen(KEY)) != (ssize_t)strlen(KEY)) {
		return -1;
	}
	fixture.conf = (struct conf){.sync_key_file = fixture.key_path};
	*state = &fixture;
	return close(fd);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	synced_close(&fixture->synced);
	(void)unlink(fixture->key_path);
	return 0;
}

static void assert_nothing_is_open(const struct synced *synced)
{
	assert_int_equal(synced->setup_fd, -1);
	assert_int_equal(synced->socket, -1);
}

static void wants_peer(struct fixture *fixture, const char *peer)
{
	fixture->conf.sync_peers[fixture->conf.n_sync_peers++] = (char *)(uintptr_t)peer;
}

static const char *text_of(const struct fixture *fixture)
{
	static char text[SYNCED_TEXT_MAX];
	return synced_text(&fixture->synced, text);
}

static void without_peers_nothing_is_opened_or_said(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(synced_open(&fixture->synced, &fixture->conf, 0, fixture->why), 0);
	assert_int_equal(fixture->synced.state, SYNCED_UNWANTED);
	assert_nothing_is_open(&fixture->synced);
	assert_string_equal(text_of(fixture), "");
}

static void the_setup_is_a_sealed_file_that_parses_to_the_targets(void **state)
{
	struct fixture *fixture = *state;
	char text[SYNC_SETUP_TEXT_MAX];
	struct sync_setup setup;
	wants_peer(fixture, "127.0.0.2");
	wants_peer(fixture, "127.0.0.3");
	fixture->conf.sync_listen = (char *)(uintptr_t) "127.0.0.1";
	assert_int_equal(synced_open(&fixture->synced, &fixture->conf, 0, fixture->why), 0);
	assert_int_equal(fixture->synced.state, SYNCED_ON);
	assert_string_equal(text_of(fixture), ", synchronised (peers: 2, receiving)");
	ssize_t len = pread(fixture->synced.setup_fd, text, sizeof text, 0);
	assert_true(len > 0);
	assert_int_equal(sync_setup_parse(span_of(text, (size_t)len), &setup), 0);
	assert_string_equal(setup.key.text, KEY_TEXT);
	assert_int_equal(setup.n_peers, 2);
	assert_int_equal(setup.peers[1].addr_be, inet_addr("127.0.0.3"));
	assert_string_equal(setup.peers[1].name, "127.0.0.3");
	assert_true(setup.must_receive && !setup.has_group);
	assert_int_equal(write(fixture->synced.setup_fd, "x", 1), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fcntl(fixture->synced.setup_fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(fixture->synced.socket, F_GETFD), FD_CLOEXEC);
}

/* All of a region, whatever a sanitizer holds to be in bounds there. */
__attribute__((no_sanitize("address", "thread"))) static size_t
count_in(const volatile char *at, const volatile char *end, const char *text, size_t len)
{
	size_t n_copies = 0;
	for (; (size_t)(end - at) >= len; at++) {
		size_t n = 0;
		while (n < len && at[n] == text[n]) {
			n++;
		}
		n_copies += n == len;
	}
	return n_copies;
}

/* Copies of the text in this process's writable memory, its stack and heap among it. */
static size_t count_copies(const char *text)
{
	enum { REGION_MAX = 64 * 1024 * 1024 }; /* larger ones are a sanitizer's */
	char line[512];
	size_t n_copies = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	assert_non_null(maps);
	while (fgets(line, sizeof line, maps)) {
		uintptr_t at;
		uintptr_t end;
		char rights[5];
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &at, &end, rights) == 3 &&
		    strncmp(rights, "rw", 2) == 0 && end - at <= REGION_MAX) {
			n_copies += count_in((const volatile char *)at, (const volatile char *)end,
			                     text, strlen(text));
		}
	}
	(void)fclose(maps);
	return n_copies;
}

/* Whoever gets to see a core of the supervisor must not find the key in it. */
static void the_key_leaves_no_copy_in_the_process_that_hands_it_over(void **state)
{
	struct fixture *fixture = *state;
	wants_peer(fixture, "127.0.0.2");
	assert_int_equal(synced_open(&fixture->synced, &fixture->conf, 0, fixture->why), 0);
	assert_int_equal(fixture->synced.state, SYNCED_ON);
	assert_int_equal(count_copies(KEY_TEXT), 0);
	char copy[sizeof KEY_TEXT];
	memcpy(copy, KEY_TEXT, sizeof copy);
	assert_int_equal(count_copies(KEY_TEXT), 1);
	assert_string_equal(copy, KEY_TEXT);
}

static void without_a_key_the_start_goes_on_and_says_how_to_make_one(void **state)
{
	struct fixture *fixture = *state;
	wants_peer(fixture, "127.0.0.2");
	assert_int_equal(unlink(fixture->key_path), 0);
	assert_int_equal(synced_open(&fixture->synced, &fixture->conf, 0, fixture->why), 0);
	assert_int_equal(fixture->synced.state, SYNCED_KEYLESS);
	assert_nothing_is_open(&fixture->synced);
	assert_non_null(strstr(fixture->synced.note, "miredctl sync-key"));
	assert_non_null(strstr(fixture->synced.note, fixture->key_path));
	assert_string_equal(text_of(fixture), ", not synchronised: no key");
}

static void without_a_greylist_nothing_is_opened(void **state)
{
	struct fixture *fixture = *state;
	wants_peer(fixture, "127.0.0.2");
	fixture->conf.blacklist_only = true;
	assert_int_equal(synced_open(&fixture->synced, &fixture->conf, 0, fixture->why), 0);
	assert_int_equal(fixture->synced.state, SYNCED_POINTLESS);
	assert_nothing_is_open(&fixture->synced);
	assert_string_equal(text_of(fixture), ", not synchronised: no greylist");
}

static void what_is_wrong_ends_the_start_with_its_reason(void **state)
{
	struct fixture *fixture = *state;
	wants_peer(fixture, "nosuch0:1");
	int ret = synced_open(&fixture->synced, &fixture->conf, 0, fixture->why);
	assert_true(ret < 0 && ret != ERR_NOT_FOUND);
	assert_non_null(strstr(fixture->why, "nosuch0:1"));
	assert_nothing_is_open(&fixture->synced);
}

/* A port of the kernel's choice, held until it is closed. */
static int hold_port(uint16_t *port)
{
	struct sockaddr_in name = {.sin_family = AF_INET,
	                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof name;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
	*port = ntohs(name.sin_port);
	return fd;
}

static void a_port_in_use_is_tried_again_for_a_while(void **state)
{
	struct fixture *fixture = *state;
	fixture->conf.sync_listen = (char *)(uintptr_t) "127.0.0.1";
	int fd = hold_port(&fixture->conf.sync_port);
	struct mono began = clock_mono();
	assert_int_equal(synced_open(&fixture->synced, &fixture->conf, 300, fixture->why),
	                 -EADDRINUSE);
	assert_true(mono_diff_ms(clock_mono(), began) >= 300);
	assert_nothing_is_open(&fixture->synced);
	(void)close(fd);
	assert_int_equal(synced_open(&fixture->synced, &fixture->conf, 0, fixture->why), 0);
	assert_int_equal(fixture->synced.state, SYNCED_ON);
}

/* How a child ends that opens while this signal, blocked as the supervisor has it, waits. */
static int status_with(struct fixture *fixture, int signo)
{
	int status = -1;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		sigset_t set;
		(void)sigemptyset(&set);
		(void)sigaddset(&set, signo);
		(void)sigprocmask(SIG_BLOCK, &set, NULL);
		(void)raise(signo);
		int ret = synced_open(&fixture->synced, &fixture->conf, 0, fixture->why);
		sigset_t after;
		(void)sigprocmask(SIG_BLOCK, NULL, &after);
		_exit(ret == 0 && sigismember(&after, signo) == 1 ? 7 : 8);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Names may take minutes; a reload must not end what a stop may. */
static void a_stop_does_not_wait_for_names(void **state)
{
	struct fixture *fixture = *state;
	wants_peer(fixture, "127.0.0.2");
	int status = status_with(fixture, SIGTERM);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
	status = status_with(fixture, SIGINT);
	assert_true(WIFSIGNALED(status));
	status = status_with(fixture, SIGHUP);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        /* first: the others read the key themselves */
	        TEST(the_key_leaves_no_copy_in_the_process_that_hands_it_over),
	        TEST(without_peers_nothing_is_opened_or_said),
	        TEST(the_setup_is_a_sealed_file_that_parses_to_the_targets),
	        TEST(without_a_key_the_start_goes_on_and_says_how_to_make_one),
	        TEST(without_a_greylist_nothing_is_opened),
	        TEST(what_is_wrong_ends_the_start_with_its_reason),
	        TEST(a_port_in_use_is_tried_again_for_a_while),
	        TEST(a_stop_does_not_wait_for_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
