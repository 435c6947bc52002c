/* Starting a role with this program as the role: what it is given, and that it ends with us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "priv/msg.h"
#include "priv/role.h"

enum { ROLE_TESTED_EXIT = 42, WAIT_MS = 20000 };

/* --- the role's side ---------------------------------------------------------------------------
 */

/* Descriptors above the channel; the one used for counting is not meant. */
static int surplus_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;
	for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
		long fd = strtol(entry->d_name, NULL, 10);
		n += fd > ROLE_CHANNEL_FD && fd != dirfd(dir);
	}
	if (dir) {
		(void)closedir(dir);
	}
	return n;
}

static int report(const char *title)
{
	struct msg msg = {.type = MSG_FATAL, .fd = -1};
	struct sigaction on_int;
	int death_signal = 0;
	(void)sigaction(SIGINT, NULL, &on_int);
	(void)prctl(PR_GET_PDEATHSIG, &death_signal);
	const char *inherited = getenv("MIRED_TEST_ENVIRONMENT");
	(void)snprintf(msg.text, sizeof msg.text, "%s|fds %d|env %s|int %s|death %d", title,
	               surplus_fds(), inherited ? inherited : "none",
	               on_int.sa_handler == SIG_IGN ? "ignored" : "deadly", death_signal);
	return msg_send(ROLE_CHANNEL_FD, &msg);
}

static int role_main(const char *title)
{
	struct msg msg;
	int ret = report(title);
	ret = ret ? ret : msg_recv(ROLE_CHANNEL_FD, &msg);
	if (ret == ERR_CLOSED) {
		return ROLE_TESTED_EXIT;
	}
	return ret == 0 && msg.type == MSG_STOP ? 0 : 1;
}

/* --- the supervisor's side ---------------------------------------------------------------------
 */

static int wait_status(pid_t pid)
{
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static struct msg next_msg(int channel)
{
	struct pollfd poll_fd = {.fd = channel, .events = POLLIN};
	assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
	struct msg msg = {.fd = -1};
	assert_int_equal(msg_recv(channel, &msg), 0);
	return msg;
}

static void a_role_gets_its_name_the_channel_and_the_environment_only(void **state)
{
	(void)state;
	int leaky = open("/dev/null", O_RDONLY); /* not close-on-exec on purpose */
	assert_true(leaky >= 0);
	assert_int_equal(setenv("MIRED_TEST_ENVIRONMENT", "kept", 1), 0);
	static const char *const titles[ROLE_COUNT] = {"mired: engine", "mired: firewall"};
	for (int kind = 0; kind < ROLE_COUNT; kind++) {
		pid_t pid = 0;
		int channel = -1;
		char wanted[128];
		assert_int_equal(role_start((enum role_kind)kind, "/proc/self/exe", &pid, &channel),
		                 0);
		(void)snprintf(wanted, sizeof wanted, "%s|fds 0|env kept|int ignored|death %d",
		               titles[kind], SIGTERM);
		assert_string_equal(next_msg(channel).text, wanted);
		struct msg stop = {.type = MSG_STOP, .fd = -1};
		assert_int_equal(msg_send(channel, &stop), 0);
		assert_int_equal(wait_status(pid), 0);
		assert_int_equal(close(channel), 0);
	}
	assert_int_equal(close(leaky), 0);
}

static void a_role_sees_the_end_of_the_channel(void **state)
{
	(void)state;
	pid_t pid = 0;
	int channel = -1;
	assert_int_equal(role_start(ROLE_ENGINE, "/proc/self/exe", &pid, &channel), 0);
	(void)next_msg(channel);
	assert_int_equal(close(channel), 0);
	int status = wait_status(pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), ROLE_TESTED_EXIT);
}

static void a_killed_role_closes_the_channel(void **state)
{
	(void)state;
	pid_t pid = 0;
	int channel = -1;
	assert_int_equal(role_start(ROLE_ENGINE, "/proc/self/exe", &pid, &channel), 0);
	(void)next_msg(channel);
	assert_int_equal(kill(pid, SIGKILL), 0);
	struct msg msg;
	assert_int_equal(msg_recv(channel, &msg), ERR_CLOSED);
	assert_true(WIFSIGNALED(wait_status(pid)));
	assert_int_equal(close(channel), 0);
}

static void a_program_that_cannot_run_shows_as_exit_127(void **state)
{
	(void)state;
	pid_t pid = 0;
	int channel = -1;
	assert_int_equal(role_start(ROLE_ENGINE, "/nonexistent", &pid, &channel), 0);
	int status = wait_status(pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 127);
	assert_int_equal(close(channel), 0);
}

static void only_the_hidden_options_name_a_role(void **state)
{
	(void)state;
	enum role_kind kind = ROLE_COUNT;
	assert_true(role_of_option("--role=engine", &kind));
	assert_int_equal(kind, ROLE_ENGINE);
	assert_true(role_of_option("--role=firewall", &kind));
	assert_int_equal(kind, ROLE_FIREWALL);
	assert_false(role_of_option("--role=engin", &kind));
	assert_false(role_of_option("--role", &kind));
	assert_false(role_of_option("engine", &kind));
}

int main(int argc, char **argv)
{
	enum role_kind kind;
	if (argc == 2 && role_of_option(argv[1], &kind)) {
		return role_main(argv[0]);
	}
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_role_gets_its_name_the_channel_and_the_environment_only),
	        cmocka_unit_test(a_role_sees_the_end_of_the_channel),
	        cmocka_unit_test(a_killed_role_closes_the_channel),
	        cmocka_unit_test(a_program_that_cannot_run_shows_as_exit_127),
	        cmocka_unit_test(only_the_hidden_options_name_a_role),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
