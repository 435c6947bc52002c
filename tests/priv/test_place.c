/* State directory, lock, pid file and control socket in a directory of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "priv/place.h"

enum { STRANGER_UID = 54321 };

struct fixture {
	char top[64];
	char path[128]; /* scratch for at() */
};

static int setup(void **state)
{
	static struct fixture fixture;
	(void)strcpy(fixture.top, "/tmp/mired-place-XXXXXX");
	*state = &fixture;
	return mkdtemp(fixture.top) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	return nftw(fixture->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *at(struct fixture *fixture, const char *name)
{
	(void)snprintf(fixture->path, sizeof fixture->path, "%s/%s", fixture->top, name);
	return fixture->path;
}

static struct stat stat_of(struct fixture *fixture, const char *name)
{
	struct stat st;
	assert_int_equal(lstat(at(fixture, name), &st), 0);
	return st;
}

static void put_file(struct fixture *fixture, const char *name, const char *text)
{
	FILE *file = fopen(at(fixture, name), "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static long pid_in(struct fixture *fixture, const char *name)
{
	char text[32] = "";
	FILE *file = fopen(at(fixture, name), "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof text, file));
	assert_int_equal(fclose(file), 0);
	return strtol(text, NULL, 10);
}

static void needs_root(void)
{
	if (geteuid() != 0) {
		skip();
	}
}

static void the_state_directory_is_made_for_its_user_and_kept(void **state)
{
	struct fixture *fixture = *state;
	needs_root();
	char why[PLACE_WHY_MAX] = "";
	for (int round = 0; round < 2; round++) {
		assert_int_equal(
		        place_state_dir(at(fixture, "state"), STRANGER_UID, STRANGER_UID, why), 0);
		struct stat st = stat_of(fixture, "state");
		assert_int_equal(st.st_uid, STRANGER_UID);
		assert_int_equal(st.st_mode & 07777, 0750);
		st = stat_of(fixture, "state/db");
		assert_int_equal(st.st_uid, STRANGER_UID);
		assert_int_equal(st.st_mode & 07777, 0700);
		st = stat_of(fixture, "state/lists");
		assert_int_equal(st.st_uid, STRANGER_UID);
		assert_int_equal(st.st_mode & 07777, 0750);
		put_file(fixture, "state/db/data.mdb", "data");
	}
	assert_int_equal(stat_of(fixture, "state/db/data.mdb").st_size, 4);
}

static void a_directory_that_serves_somebody_else_is_not_taken_over(void **state)
{
	struct fixture *fixture = *state;
	needs_root();
	char why[PLACE_WHY_MAX] = "";
	put_file(fixture, "other", "x");
	/* the fixture's own directory: root's, and not empty */
	assert_int_equal(place_state_dir(fixture->top, STRANGER_UID, STRANGER_UID, why),
	                 ERR_DENIED);
	assert_non_null(strstr(why, "belongs to another user"));
	assert_int_equal(stat_of(fixture, ".").st_uid, 0);
	/* a link where the database goes, and a file */
	assert_int_equal(mkdir(at(fixture, "state"), 0755), 0);
	assert_int_equal(symlink("/tmp", at(fixture, "state/db")), 0);
	assert_int_equal(place_state_dir(at(fixture, "state"), 0, 0, why), -ENOTDIR);
	assert_int_equal(place_state_dir(at(fixture, "other"), 0, 0, why), -ENOTDIR);
	assert_int_equal(place_state_dir(at(fixture, "no/where"), 0, 0, why), -ENOENT);
}

static void the_state_directory_may_be_a_link_to_another_disk(void **state)
{
	struct fixture *fixture = *state;
	needs_root();
	char why[PLACE_WHY_MAX] = "";
	char disk[128];
	(void)snprintf(disk, sizeof disk, "%s/disk", fixture->top);
	assert_int_equal(mkdir(disk, 0755), 0);
	assert_int_equal(symlink(disk, at(fixture, "state")), 0);
	assert_int_equal(place_state_dir(at(fixture, "state"), STRANGER_UID, STRANGER_UID, why), 0);
	assert_int_equal(stat_of(fixture, "disk/db").st_uid, STRANGER_UID);
}

static void a_second_lock_is_refused_naming_the_pid(void **state)
{
	struct fixture *fixture = *state;
	char why[PLACE_WHY_MAX] = "";
	char wanted[256];
	int fd = -1;
	bool left_over = true;
	assert_int_equal(place_lock(fixture->top, &fd, &left_over, why), 0);
	assert_false(left_over);
	assert_int_equal(pid_in(fixture, "lock"), getpid());
	int second = -1;
	assert_int_equal(place_lock(fixture->top, &second, &left_over, why), ERR_BUSY);
	assert_int_equal(second, -1);
	(void)snprintf(wanted, sizeof wanted, "another mired (pid %ld) holds %s/lock",
	               (long)getpid(), fixture->top);
	assert_string_equal(why, wanted);
	place_unlock(fd);
	assert_int_equal(place_lock(fixture->top, &fd, &left_over, why), 0);
	assert_false(left_over);
	place_unlock(fd);
}

static void who_must_not_work_beside_a_daemon_shares_the_lock(void **state)
{
	struct fixture *fixture = *state;
	char why[PLACE_WHY_MAX] = "";
	char wanted[256];
	int lock = -1;
	int share = -1;
	bool left_over = false;
	assert_int_equal(place_share_lock(fixture->top, &share, why), 0);
	assert_int_equal(share, -1); /* no daemon ever was */
	assert_int_equal(place_lock(fixture->top, &lock, &left_over, why), 0);
	assert_int_equal(place_share_lock(fixture->top, &share, why), ERR_BUSY);
	(void)snprintf(wanted, sizeof wanted, "another mired (pid %ld) holds %s/lock",
	               (long)getpid(), fixture->top);
	assert_string_equal(why, wanted);
	(void)close(lock); /* as if killed: the mark stays */
	assert_int_equal(place_share_lock(fixture->top, &share, why), 0);
	assert_true(share >= 0);
	assert_int_equal(place_lock(fixture->top, &lock, &left_over, why), ERR_BUSY);
	(void)close(share);
	assert_int_equal(place_lock(fixture->top, &lock, &left_over, why), 0);
	assert_true(left_over);
	place_unlock(lock);
}

static void a_killed_holder_leaves_a_mark_but_no_lock(void **state)
{
	struct fixture *fixture = *state;
	char why[PLACE_WHY_MAX] = "";
	int fd = -1;
	bool left_over = false;
	pid_t child = fork();
	if (child == 0) {
		_exit(place_lock(fixture->top, &fd, &left_over, why) == 0 ? 0 : 1);
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(place_lock(fixture->top, &fd, &left_over, why), 0);
	assert_true(left_over);
	place_unlock(fd);
}

/* What was deferred before must be deferred also after a restart on a full disk. */
static void a_full_disk_does_not_prevent_the_lock(void **state)
{
	struct fixture *fixture = *state;
	needs_root();
	char why[PLACE_WHY_MAX] = "";
	pid_t child = fork();
	if (child == 0) {
		bool left_over = true;
		int fd = -1;
		char block[4096] = "";
		if (unshare(CLONE_NEWNS) != 0 ||
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		    mount("full", fixture->top, "tmpfs", 0, "size=64k") != 0) {
			_exit(1);
		}
		int fill = open(at(fixture, "fill"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		while (write(fill, block, sizeof block) > 0) {
		}
		int first = place_lock(fixture->top, &fd, &left_over, why);
		int second = place_lock(fixture->top, &fill, &left_over, why);
		_exit(first == 0 && second == ERR_BUSY && strstr(why, "another mired holds") ? 0
		                                                                             : 2);
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void links_in_place_of_lock_and_pid_file_are_not_written_through(void **state)
{
	struct fixture *fixture = *state;
	char why[PLACE_WHY_MAX] = "";
	char target[128];
	int fd = -1;
	bool left_over = false;
	put_file(fixture, "precious", "do not lose");
	(void)snprintf(target, sizeof target, "%s/precious", fixture->top);
	assert_int_equal(symlink(target, at(fixture, "lock")), 0);
	assert_int_equal(place_lock(fixture->top, &fd, &left_over, why), -ELOOP);
	assert_int_equal(place_pid_file(at(fixture, "lock"), &fd, why), -ELOOP);
	assert_int_equal(unlink(at(fixture, "lock")), 0);
	assert_int_equal(link(target, at(fixture, "lock")), 0);
	assert_int_equal(place_lock(fixture->top, &fd, &left_over, why), ERR_DENIED);
	assert_int_equal(place_pid_file(at(fixture, "lock"), &fd, why), ERR_DENIED);
	assert_int_equal(stat_of(fixture, "precious").st_size, strlen("do not lose"));
}

static void the_pid_file_is_replaced_and_its_directory_made(void **state)
{
	struct fixture *fixture = *state;
	char why[PLACE_WHY_MAX] = "";
	int fd = -1;
	assert_int_equal(place_pid_file(at(fixture, "run/mired.pid"), &fd, why), 0);
	assert_int_equal(close(fd), 0);
	put_file(fixture, "run/mired.pid", "123456789012345678\n");
	assert_int_equal(place_pid_file(at(fixture, "run/mired.pid"), &fd, why), 0);
	assert_int_equal(pid_in(fixture, "run/mired.pid"), getpid());
	assert_int_equal(close(fd), 0);
	assert_int_equal(place_pid_file(at(fixture, "no/such/pid"), &fd, why), -ENOENT);
	assert_non_null(strstr(why, "no/such"));
}

/* Two instances whose configurations name the same file: the second one must not take it away. */
static void a_live_daemons_pid_file_is_left_alone(void **state)
{
	struct fixture *fixture = *state;
	char why[PLACE_WHY_MAX] = "";
	char wanted[32];
	int fd = -1;
	int second = -1;
	assert_int_equal(place_pid_file(at(fixture, "pid"), &fd, why), 0);
	assert_int_equal(place_pid_file(at(fixture, "pid"), &second, why), ERR_BUSY);
	(void)snprintf(wanted, sizeof wanted, "another mired (pid %ld)", (long)getpid());
	assert_non_null(strstr(why, wanted));
	assert_int_equal(second, -1);
	assert_int_equal(close(fd), 0);
}

static void a_dead_socket_is_replaced_and_a_live_one_refused(void **state)
{
	struct fixture *fixture = *state;
	char why[PLACE_WHY_MAX] = "";
	int fd = -1;
	assert_int_equal(place_control_socket(at(fixture, "run/sock"), &fd, why), 0);
	assert_int_equal(stat_of(fixture, "run/sock").st_mode & 07777, 0666);
	int second = -1;
	assert_int_equal(place_control_socket(at(fixture, "run/sock"), &second, why), ERR_BUSY);
	assert_non_null(strstr(why, "another daemon listens on"));
	assert_int_equal(close(fd), 0);
	assert_int_equal(place_control_socket(at(fixture, "run/sock"), &fd, why), 0);
	assert_int_equal(close(fd), 0);
}

static void what_is_no_socket_is_left_alone(void **state)
{
	struct fixture *fixture = *state;
	char why[PLACE_WHY_MAX] = "";
	int fd = -1;
	put_file(fixture, "file", "text");
	assert_int_equal(place_control_socket(at(fixture, "file"), &fd, why), ERR_DENIED);
	assert_int_equal(stat_of(fixture, "file").st_size, 4);
	char long_path[200];
	memset(long_path, 'x', sizeof long_path - 1);
	long_path[0] = '/';
	long_path[sizeof long_path - 1] = '\0';
	assert_int_equal(place_control_socket(long_path, &fd, why), ERR_TOO_LONG);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(the_state_directory_is_made_for_its_user_and_kept),
	        TEST(a_directory_that_serves_somebody_else_is_not_taken_over),
	        TEST(the_state_directory_may_be_a_link_to_another_disk),
	        TEST(a_second_lock_is_refused_naming_the_pid),
	        TEST(who_must_not_work_beside_a_daemon_shares_the_lock),
	        TEST(a_killed_holder_leaves_a_mark_but_no_lock),
	        TEST(a_full_disk_does_not_prevent_the_lock),
	        TEST(links_in_place_of_lock_and_pid_file_are_not_written_through),
	        TEST(the_pid_file_is_replaced_and_its_directory_made),
	        TEST(a_live_daemons_pid_file_is_left_alone),
	        TEST(a_dead_socket_is_replaced_and_a_live_one_refused),
	        TEST(what_is_no_socket_is_left_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
