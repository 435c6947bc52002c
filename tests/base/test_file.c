/* Files replaced as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static char path[] = "/tmp/mired-test-file-XXXXXX";
static int dir = -1;

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlinkat(dir, "name", 0);
	(void)unlinkat(dir, ".new", 0);
	(void)unlinkat(dir, ".new", AT_REMOVEDIR);
	(void)close(dir);
	return rmdir(path);
}

static void assert_content(const char *expected)
{
	char text[64] = "";
	int fd = openat(dir, "name", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, text, sizeof text - 1), strlen(expected));
	assert_string_equal(text, expected);
	assert_int_equal(close(fd), 0);
}

static struct file_place place(void)
{
	return (struct file_place){dir, "name", ".new", 0640};
}

static void parts_lie_one_behind_the_other(void **state)
{
	(void)state;
	const struct file_place at = place();
	const struct span parts[] = {SPAN("one "), SPAN(""), SPAN("two\n")};
	struct stat st;
	(void)umask(022);
	assert_int_equal(file_replace(&at, parts, 3), 0);
	assert_content("one two\n");
	assert_int_equal(fstatat(dir, "name", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(faccessat(dir, ".new", F_OK, 0), -1);
}

static void an_old_temporary_file_is_no_hindrance_and_what_was_there_goes(void **state)
{
	(void)state;
	const struct file_place at = place();
	const struct span longer = SPAN("what a kill left behind, longer than the rest");
	const struct span text = SPAN("new");
	int fd = openat(dir, ".new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, longer), 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(file_replace(&at, &text, 1), 0);
	assert_content("new");
}

static void what_cannot_be_written_leaves_the_old_file(void **state)
{
	(void)state;
	const struct file_place at = place();
	const struct span old = SPAN("old");
	const struct span new = SPAN("new");
	assert_int_equal(file_replace(&at, &old, 1), 0);
	assert_int_equal(mkdirat(dir, ".new", 0700), 0);
	assert_int_equal(file_replace(&at, &new, 1), -EISDIR);
	assert_content("old");
	assert_int_equal(unlinkat(dir, ".new", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("name", dir, ".new"), 0);
	assert_int_equal(file_replace(&at, &new, 1), -ELOOP);
	assert_content("old");
}

static void a_write_that_fails_says_why(void **state)
{
	(void)state;
	assert_int_equal(file_write_all(-1, SPAN("x")), -EBADF);
	assert_int_equal(file_write_all(-1, SPAN("")), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(parts_lie_one_behind_the_other),
	        cmocka_unit_test(an_old_temporary_file_is_no_hindrance_and_what_was_there_goes),
	        cmocka_unit_test(what_cannot_be_written_leaves_the_old_file),
	        cmocka_unit_test(a_write_that_fails_says_why),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
