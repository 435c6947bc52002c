/* Giving up rights, in a child, because nobody gets them back. What is checked is what the kernel
 * says in /proc/self/status. The user is `nobody`, which every system has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cap-ng.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "priv/sandbox.h"

#define USER "nobody"

struct status {
	unsigned uid[4];
	unsigned gid[4];
	unsigned long long cap_inheritable, cap_permitted, cap_effective, cap_ambient;
	int no_new_privs;
	int n_groups;
	unsigned group; /* the first one */
};

static bool read_status(struct status *st)
{
	FILE *file = fopen("/proc/self/status", "r");
	if (!file) {
		return false;
	}
	*st = (struct status){.no_new_privs = -1};
	int n_lines = 0;
	for (char line[512]; fgets(line, sizeof line, file);) {
		n_lines += sscanf(line, "Uid: %u %u %u %u", &st->uid[0], &st->uid[1], &st->uid[2],
		                  &st->uid[3]) == 4;
		n_lines += sscanf(line, "Gid: %u %u %u %u", &st->gid[0], &st->gid[1], &st->gid[2],
		                  &st->gid[3]) == 4;
		n_lines += sscanf(line, "CapInh: %llx", &st->cap_inheritable) == 1;
		n_lines += sscanf(line, "CapPrm: %llx", &st->cap_permitted) == 1;
		n_lines += sscanf(line, "CapEff: %llx", &st->cap_effective) == 1;
		n_lines += sscanf(line, "CapAmb: %llx", &st->cap_ambient) == 1;
		n_lines += sscanf(line, "NoNewPrivs: %d", &st->no_new_privs) == 1;
		unsigned second = 0;
		if (strncmp(line, "Groups:", 7) == 0) {
			st->n_groups = sscanf(line, "Groups: %u %u", &st->group, &second);
		}
	}
	(void)fclose(file);
	return n_lines == 7;
}

/* Runs in a child, returns a number that says which check failed, 0 for none. */
static int check_dropped(bool keep_net_admin)
{
	const struct passwd *pw = getpwnam(USER);
	char why[SANDBOX_WHY_MAX] = "";
	struct status st;
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (sandbox_drop(USER, keep_net_admin, why) != 0) {
		(void)fprintf(stderr, "%s\n", why);
		return 1;
	}
	if (!pw || !read_status(&st)) {
		return 2;
	}
	for (int i = 0; i < 4; i++) {
		if (st.uid[i] != pw->pw_uid || st.gid[i] != pw->pw_gid) {
			return 3;
		}
	}
	unsigned long long wanted = keep_net_admin ? 1ULL << 12 : 0; /* CAP_NET_ADMIN */
	if (st.cap_permitted != wanted || st.cap_effective != wanted) {
		return 4;
	}
	if (st.cap_inheritable != 0 || st.cap_ambient != 0) {
		return 5;
	}
	int death_signal = 0;
	(void)prctl(PR_GET_PDEATHSIG, &death_signal);
	if (st.no_new_privs != 1 || death_signal != SIGTERM) {
		return 6;
	}
	return st.n_groups == 1 && st.group == pw->pw_gid ? 0 : 7;
}

static int in_child(int (*run)(bool), bool arg)
{
	pid_t child = fork();
	if (child == 0) {
		_exit(run(arg));
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void needs_root(void)
{
	if (geteuid() != 0) {
		skip();
	}
}

static void everything_is_dropped(void **state)
{
	(void)state;
	needs_root();
	assert_int_equal(in_child(check_dropped, false), 0);
}

static void only_net_admin_is_kept(void **state)
{
	(void)state;
	needs_root();
	assert_int_equal(in_child(check_dropped, true), 0);
}

static int drop_twice(bool keep_net_admin)
{
	char why[SANDBOX_WHY_MAX] = "";
	int first = sandbox_drop(USER, keep_net_admin, why);
	return first ? first : check_dropped(keep_net_admin);
}

static void who_is_that_user_already_stays_it(void **state)
{
	(void)state;
	needs_root();
	assert_int_equal(in_child(drop_twice, false), 0);
}

/* As a service manager starts a program: the user, a group that is not his, some capabilities. */
static int drop_as_that_user_with_rights(bool unused)
{
	(void)unused;
	enum { STARTERS_GROUP = 12345 };
	const gid_t group = STARTERS_GROUP;
	const struct passwd *pw = getpwnam(USER);
	(void)prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	capng_clear(CAPNG_SELECT_CAPS);
	(void)capng_updatev(CAPNG_ADD, (capng_type_t)(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
	                    CAP_SETUID, CAP_SETGID, CAP_SETPCAP, -1);
	if (!pw || setgroups(1, &group) != 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) || capng_apply(CAPNG_SELECT_CAPS) != 0) {
		return 10;
	}
	if (!sandbox_can_change_user()) {
		return 11;
	}
	int ret = check_dropped(false);
	return ret ? ret : sandbox_can_change_user() ? 12 : 0;
}

static void who_was_given_the_right_to_change_users_need_not_be_root(void **state)
{
	(void)state;
	needs_root();
	assert_true(sandbox_can_change_user());
	assert_int_equal(in_child(drop_as_that_user_with_rights, false), 0);
}

static int drop_cannot_be_widened(bool unused)
{
	(void)unused;
	char why[SANDBOX_WHY_MAX] = "";
	if (sandbox_drop(USER, false, why) != 0) {
		return 1;
	}
	return sandbox_drop(USER, true, why) == 0 ? 2 : 0;
}

static void what_was_dropped_does_not_come_back(void **state)
{
	(void)state;
	needs_root();
	assert_int_equal(in_child(drop_cannot_be_widened, false), 0);
}

static void an_unknown_user_and_root_are_refused_by_name(void **state)
{
	(void)state;
	char why[SANDBOX_WHY_MAX] = "";
	assert_int_equal(sandbox_drop("mired-no-such-user", false, why), ERR_NOT_FOUND);
	assert_string_equal(why, "user mired-no-such-user does not exist");
	assert_int_equal(sandbox_drop("root", false, why), ERR_DENIED);
	assert_string_equal(why, "user root is root: a role needs its own user");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(everything_is_dropped),
	        cmocka_unit_test(only_net_admin_is_kept),
	        cmocka_unit_test(who_is_that_user_already_stays_it),
	        cmocka_unit_test(who_was_given_the_right_to_change_users_need_not_be_root),
	        cmocka_unit_test(what_was_dropped_does_not_come_back),
	        cmocka_unit_test(an_unknown_user_and_root_are_refused_by_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
