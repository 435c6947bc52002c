/* Files that are read again when they have changed; the clock is the test's. */
#include "mired/watched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mired/role_common.h"

struct fixture {
	char path[64];
	struct watched watched;
	struct mono now;
	char why[TEXTFILE_WHY_MAX];
};

static void write_file(const struct fixture *fixture, const char *text)
{
	FILE *file = fopen(fixture->path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
	static struct fixture fixture;
	fixture = (struct fixture){.path = "/tmp/mired-watched-XXXXXX"};
	int fd = mkstemp(fixture.path);
	*state = &fixture;
	if (fd < 0 || close(fd) != 0) {
		return -1;
	}
	fixture.watched = (struct watched){.path = fixture.path, .fd = -1};
	write_file(&fixture, "one\n");
	return watched_open(&fixture.watched, fixture.now, fixture.why);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	watched_close(&fixture->watched);
	(void)unlink(fixture->path);
	return 0;
}

/* What a role reads of it. */
static void assert_content(const struct fixture *fixture, const char *wanted)
{
	char *text = NULL;
	size_t len = 0;
	assert_int_equal(role_take_file(dup(fixture->watched.fd), &text, &len), 0);
	assert_int_equal(len, strlen(wanted));
	assert_memory_equal(text ? text : "", wanted, len);
	free(text);
}

/* The next look, when it is due. */
static enum watched_news look(struct fixture *fixture)
{
	fixture->now = fixture->watched.look_at;
	return watched_look(&fixture->watched, fixture->now, fixture->why);
}

static void an_unchanged_file_is_looked_at_once_a_second(void **state)
{
	struct fixture *fixture = *state;
	assert_content(fixture, "one\n");
	for (int64_t i = 1; i <= 3; i++) {
		assert_int_equal(look(fixture), WATCHED_NOTHING);
		assert_true(fixture->now.ns == i * WATCHED_LOOK_MS * NS_PER_MS);
	}
}

static void a_changed_file_is_read_when_it_has_been_still(void **state)
{
	struct fixture *fixture = *state;
	write_file(fixture, "two\n");
	assert_int_equal(look(fixture), WATCHED_NOTHING);
	write_file(fixture, "two\nand three\n");
	assert_int_equal(look(fixture), WATCHED_NOTHING);
	assert_content(fixture, "one\n");
	assert_int_equal(look(fixture), WATCHED_CHANGED);
	assert_true(fixture->now.ns == NS_PER_MS * (WATCHED_LOOK_MS + 2 * WATCHED_STILL_MS));
	assert_content(fixture, "two\nand three\n");
	assert_int_equal(look(fixture), WATCHED_NOTHING);
}

static void the_content_handed_over_cannot_be_changed(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(pwrite(fixture->watched.fd, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fixture->watched.fd, 0), -1);
}

static void a_file_that_goes_is_told_once_and_its_content_stays(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(look(fixture), WATCHED_NOTHING);
	assert_int_equal(look(fixture), WATCHED_UNREADABLE);
	assert_non_null(strstr(fixture->why, ": No such file or directory"));
	assert_int_equal(look(fixture), WATCHED_NOTHING);
	assert_content(fixture, "one\n");
	watched_ask(&fixture->watched, fixture->now);
	assert_int_equal(look(fixture), WATCHED_UNREADABLE);
	write_file(fixture, "four\n");
	assert_int_equal(look(fixture), WATCHED_NOTHING);
	assert_int_equal(look(fixture), WATCHED_CHANGED);
	assert_content(fixture, "four\n");
}

static void a_file_that_may_be_missing_is_empty_then(void **state)
{
	struct fixture *fixture = *state;
	fixture->watched.may_miss = true;
	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(look(fixture), WATCHED_NOTHING);
	assert_int_equal(look(fixture), WATCHED_CHANGED);
	assert_content(fixture, "");
}

static void asked_for_it_is_read_changed_or_not(void **state)
{
	struct fixture *fixture = *state;
	fixture->now = mono_add_ms(fixture->now, INT64_C(5) * WATCHED_LOOK_MS);
	watched_ask(&fixture->watched, fixture->now);
	assert_true(fixture->watched.look_at.ns == fixture->now.ns);
	assert_int_equal(look(fixture), WATCHED_CHANGED);
	assert_content(fixture, "one\n");
	assert_true(fixture->watched.look_at.ns == INT64_C(6) * WATCHED_LOOK_MS * NS_PER_MS);
	assert_int_equal(look(fixture), WATCHED_NOTHING);
}

static void asked_for_often_it_is_read_once_a_second(void **state)
{
	struct fixture *fixture = *state;
	unsigned n_read = 0;
	for (int64_t ms = 0; ms < INT64_C(10) * WATCHED_LOOK_MS; ms++) {
		struct mono now = mono_add_ms((struct mono){0}, ms);
		watched_ask(&fixture->watched, now);
		if (fixture->watched.look_at.ns <= now.ns) {
			n_read += watched_look(&fixture->watched, now, fixture->why) ==
			          WATCHED_CHANGED;
		}
	}
	assert_int_equal(n_read, 10);
}

static void a_pipe_or_a_directory_is_not_waited_for(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(mkfifo(fixture->path, 0600), 0);
	watched_ask(&fixture->watched, fixture->now);
	assert_int_equal(look(fixture), WATCHED_UNREADABLE);
	assert_non_null(strstr(fixture->why, ": is a pipe or a device, not a file"));
	fixture->watched.path = "/tmp";
	watched_ask(&fixture->watched, fixture->now);
	assert_int_equal(look(fixture), WATCHED_UNREADABLE);
	assert_string_equal(fixture->why, "/tmp: Is a directory");
	assert_content(fixture, "one\n");
}

static void more_than_the_bound_is_refused(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(truncate(fixture->path, TEXTFILE_BYTES_MAX + 1), 0);
	watched_ask(&fixture->watched, fixture->now);
	assert_int_equal(look(fixture), WATCHED_UNREADABLE);
	assert_content(fixture, "one\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(an_unchanged_file_is_looked_at_once_a_second),
	        TEST(a_changed_file_is_read_when_it_has_been_still),
	        TEST(the_content_handed_over_cannot_be_changed),
	        TEST(a_file_that_goes_is_told_once_and_its_content_stays),
	        TEST(a_file_that_may_be_missing_is_empty_then),
	        TEST(asked_for_it_is_read_changed_or_not),
	        TEST(asked_for_often_it_is_read_once_a_second),
	        TEST(a_pipe_or_a_directory_is_not_waited_for),
	        TEST(more_than_the_bound_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
