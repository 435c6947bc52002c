/* One role as the supervisor sees it; the test is the role. */
#include "mired/child.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child without a process; returns the role's end of its channel. */
static int new_child(struct child *child)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*child = (struct child){.kind = ROLE_ENGINE, .channel = pair[0]};
	return pair[1];
}

static void say(int role, enum msg_type type, const char *text)
{
	struct msg msg = {.type = type, .fd = -1};
	(void)snprintf(msg.text, sizeof msg.text, "%s", text);
	assert_int_equal(msg_send(role, &msg), 0);
}

static void what_a_role_says_stays_on_one_line(void **state)
{
	(void)state;
	struct child child;
	int role = new_child(&child);
	say(role, MSG_FATAL, "no store\nmired[1]: all is well\x1b[2J");
	child_hear(&child, clock_mono());
	assert_null(strchr(child.fatal, '\n'));
	assert_null(strchr(child.fatal, '\x1b'));
	assert_non_null(strstr(child.fatal, "no store"));
	(void)close(role);
	(void)close(child.channel);
}

static void last_words_are_heard_after_the_death(void **state)
{
	(void)state;
	struct child child;
	int role = new_child(&child);
	child.pid = 4711; /* as if it had run */
	say(role, MSG_READY, "");
	say(role, MSG_FATAL, "because");
	(void)close(role);
	child_bury(&child, 1 << 8);
	assert_string_equal(child.fatal, "because");
	assert_int_equal(child.pid, 0);
	assert_int_equal(child.channel, -1);
	assert_false(child.is_ready);
	assert_true(child.was_ready);
	assert_false(child.has_ended_well);
}

/* Somebody who inherited its end holds the channel open: burying must not wait. */
static void a_channel_that_stays_open_does_not_hold_the_supervisor(void **state)
{
	(void)state;
	struct child child;
	int role = new_child(&child);
	child.pid = 4711;
	child.is_told_to_stop = true;
	child_bury(&child, 0);
	assert_true(child.has_ended_well);
	(void)close(role);
}

static void rubbish_and_descriptors_are_dropped(void **state)
{
	(void)state;
	struct child child;
	int role = new_child(&child);
	int next = fcntl(role, F_DUPFD_CLOEXEC, 0);
	(void)close(next);
	struct msg peer = {.type = MSG_PEER, .fd = role};
	assert_int_equal(msg_send(role, &peer), 0);
	assert_int_equal(send(role, "garbage", 7, 0), 7);
	child_hear(&child, clock_mono());
	child_hear(&child, clock_mono());
	int after = fcntl(role, F_DUPFD_CLOEXEC, 0);
	(void)close(after);
	assert_int_equal(after, next);
	assert_false(child.has_deadline);
	(void)close(role);
	child_hear(&child, clock_mono());
	assert_true(child.has_deadline); /* it has a moment to end by itself */
	assert_int_equal(child.channel, -1);
}

static void only_the_engine_may_ask_for_the_files(void **state)
{
	(void)state;
	struct child child;
	int role = new_child(&child);
	const struct msg question = {.type = MSG_RELOAD, .seq = 4711, .fd = -1};
	assert_int_equal(msg_send(role, &question), 0);
	child_hear(&child, clock_mono());
	assert_true(child.wants_reload);
	assert_int_equal(child.reload_seq, 4711);
	child.wants_reload = false;
	child.kind = ROLE_FIREWALL;
	say(role, MSG_RELOAD, "");
	child_hear(&child, clock_mono());
	assert_false(child.wants_reload);
	(void)close(role);
	(void)close(child.channel);
}

static void a_file_is_handed_to_a_running_role_only(void **state)
{
	(void)state;
	struct child child;
	struct msg msg = {.fd = -1};
	int role = new_child(&child);
	child_hand(&child, MSG_NOSPAMD, STDERR_FILENO);
	assert_int_equal(msg_recv(role, &msg), 0);
	assert_int_equal(msg.type, MSG_NOSPAMD);
	assert_true(msg.fd >= 0);
	(void)close(msg.fd);
	(void)close(role);
	(void)close(child.channel);
	child.channel = -1;
	child_hand(&child, MSG_NOSPAMD, STDERR_FILENO); /* it will be handed it at its start */
}

static void an_answer_names_its_question_and_a_configuration_is_read_from_its_start(void **state)
{
	(void)state;
	struct child child;
	struct msg msg = {.fd = -1};
	char byte = 0;
	int role = new_child(&child);
	int fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(write(fd, "ab", 2), 2);
	child_hand_conf(&child, fd);
	child_answer(&child, 4711, fd);
	assert_int_equal(msg_recv(role, &msg), 0);
	assert_int_equal(msg.type, MSG_CONF);
	assert_int_equal(read(msg.fd, &byte, 1), 1);
	assert_int_equal(byte, 'a');
	(void)close(msg.fd);
	assert_int_equal(msg_recv(role, &msg), 0);
	assert_int_equal(msg.type, MSG_RELOADED);
	assert_int_equal(msg.seq, 4711);
	(void)close(msg.fd);
	(void)close(fd);
	(void)close(role);
	(void)close(child.channel);
	child.channel = -1;
	child_hand_conf(&child, -1); /* it will be handed it at its start */
	child_answer(&child, 1, -1); /* nobody is left who asked */
}

static void a_role_that_does_not_end_is_killed_by_its_number_only(void **state)
{
	(void)state;
	struct child child = {.kind = ROLE_ENGINE, .channel = -1};
	child_kill(&child); /* nobody */
	child.pid = fork();
	if (child.pid == 0) {
		(void)pause();
		_exit(0);
	}
	child_stop(&child, clock_mono());
	assert_true(child.has_deadline && child.is_told_to_stop);
	child_kill(&child);
	int status;
	assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
	child_bury(&child, status);
	assert_false(child.has_ended_well);
}

#ifndef __SANITIZE_THREAD__ /* whose own thread changes users, too, and has no right to */
/* Has this user when it is returned, and stays until it is killed. */
static pid_t new_process_of(uid_t uid)
{
	int ready[2];
	char byte = 0;
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (setresuid(uid, uid, uid) == 0 && write(ready[1], &byte, 1) == 1) {
			(void)pause();
		}
		_exit(1);
	}
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	return pid;
}

/* In a process that can change users and nothing else: whether it takes what is said here. */
static bool kills_without_cap_kill(const struct child *child)
{
	enum { OWN_UID = 65533 };
	pid_t pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
		capng_clear(CAPNG_SELECT_CAPS);
		(void)capng_update(CAPNG_ADD, (capng_type_t)(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
		                   CAP_SETUID);
		bool is_set = setresuid(OWN_UID, OWN_UID, OWN_UID) == 0 &&
		              capng_apply(CAPNG_SELECT_CAPS) == 0 && kill(child->pid, 0) != 0 &&
		              errno == EPERM;
		child_kill(child);
		_exit(is_set && geteuid() == OWN_UID ? 0 : 1);
	}
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void a_supervisor_that_is_not_root_kills_a_role_of_another_user(void **state)
{
	(void)state;
	enum { ROLE_UID = 65534 };
	if (geteuid() != 0) {
		skip();
	}
	struct child child = {.kind = ROLE_FIREWALL,
	                      .channel = -1,
	                      .uid = ROLE_UID,
	                      .pid = new_process_of(ROLE_UID)};
	assert_true(kills_without_cap_kill(&child));
	int status = 0;
	assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_a_role_says_stays_on_one_line),
	        cmocka_unit_test(last_words_are_heard_after_the_death),
	        cmocka_unit_test(a_channel_that_stays_open_does_not_hold_the_supervisor),
	        cmocka_unit_test(rubbish_and_descriptors_are_dropped),
	        cmocka_unit_test(only_the_engine_may_ask_for_the_files),
	        cmocka_unit_test(a_file_is_handed_to_a_running_role_only),
	        cmocka_unit_test(
	                an_answer_names_its_question_and_a_configuration_is_read_from_its_start),
	        cmocka_unit_test(a_role_that_does_not_end_is_killed_by_its_number_only),
#ifndef __SANITIZE_THREAD__
	        cmocka_unit_test(a_supervisor_that_is_not_root_kills_a_role_of_another_user),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
