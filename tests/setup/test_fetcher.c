/* The fetching process with real programs: their output, their failures, their time and size, what
 * they may do, and what is left of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "mired-setup/fetcher.h"

enum { BYTES_MAX = 1 << 20, TIMEOUT_MS = 2000 };

static const char *fetch_user(void)
{
	const struct passwd *self = getpwuid(geteuid());
	return geteuid() == 0 ? "nobody" : self->pw_name;
}

static int set_up(void **state)
{
	struct fetcher_conf conf = {
	        .user = fetch_user(), .bytes_max = BYTES_MAX, .timeout_ms = TIMEOUT_MS};
	char why[FETCHER_WHY_MAX];
	return fetcher_start(&conf, (struct fetcher **)state, why);
}

static int tear_down(void **state)
{
	fetcher_stop(*state);
	return 0;
}

static int get(void **state, const char *command, struct bytes *data, struct fetch_report *report)
{
	struct fetcher_request request = {.method = CAPFILE_EXEC, .source = command};
	*data = (struct bytes){.ptr = NULL};
	return fetcher_wait_get(*state, &request, data, report);
}

static void a_programs_output_is_the_list(void **state)
{
	struct bytes data;
	struct fetch_report report;
	/* no shell: quotes and semicolons are words like others */
	assert_int_equal(get(state, "echo  'a;b'  $HOME", &data, &report), 0);
	assert_int_equal(data.len, 12);
	assert_memory_equal(data.ptr, "'a;b' $HOME\n", 12);
	bytes_fini(&data);
	assert_int_equal(get(state, "true", &data, &report), 0);
	assert_int_equal(data.len, 0);
	bytes_fini(&data);
	assert_int_equal(get(state, "head -c 1048576 /dev/zero", &data, &report), 0);
	assert_int_equal(data.len, BYTES_MAX);
	bytes_fini(&data);
}

static void a_failure_has_its_reason_and_the_next_list_its_chance(void **state)
{
	static const struct {
		const char *command;
		int code;
		const char *why;
	} rows[] = {
	        {"false", ERR_CLOSED, "the program ended with status 1"},
	        {"/nonexistent/program x", -ENOENT,
	         "cannot run /nonexistent/program x: No such file or directory"},
	        {" ", ERR_NOT_FOUND, "cannot run  : not found"},
	        {"head -c 1048577 /dev/zero", ERR_TOO_LONG,
	         "it is larger than 1048576 bytes (list-size)"},
	        {"yes", ERR_TOO_LONG, "it is larger than 1048576 bytes (list-size)"},
	        {"sleep 30", -ETIMEDOUT, "it was not done after 2 s (list-timeout)"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct bytes data;
		struct fetch_report report;
		struct mono began = clock_mono();
		assert_int_equal(get(state, rows[i].command, &data, &report), rows[i].code);
		assert_string_equal(report.why, rows[i].why);
		assert_true(mono_diff_ms(clock_mono(), began) < TIMEOUT_MS + 5000);
		bytes_fini(&data);
	}
	struct bytes data;
	struct fetch_report report;
	assert_int_equal(get(state, "echo still", &data, &report), 0);
	bytes_fini(&data);
}

static void write_script(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fprintf(file, "#!/bin/sh\n%s\n", text) > 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0755), 0);
}

static void nothing_of_a_group_survives_its_time(void **state)
{
	char dir[] = "/tmp/mired-fetcher-XXXXXX";
	char path[64];
	struct bytes data;
	struct fetch_report report;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chmod(dir, 0755), 0);
	(void)snprintf(path, sizeof path, "%s/x", dir);
	/* the first one hangs, the second ends and leaves somebody who closed the pipe */
	static const struct {
		const char *text;
		int code;
	} rows[] = {{"sleep 60 & echo $!; sleep 60", -ETIMEDOUT},
	            {"sleep 60 >/dev/null & echo $!", 0}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		write_script(path, rows[i].text);
		assert_int_equal(get(state, path, &data, &report), rows[i].code);
		assert_int_equal(bytes_append(&data, "", 1, SIZE_MAX), 0);
		pid_t left = (pid_t)strtol((const char *)data.ptr, NULL, 10);
		assert_true(left > 1);
		bool is_gone = false;
		for (int n = 0; n < 500 && !is_gone; n++) {
			char stat_path[64];
			char text[512] = "";
			(void)snprintf(stat_path, sizeof stat_path, "/proc/%d/stat", (int)left);
			FILE *stat_file = fopen(stat_path, "r");
			is_gone = !stat_file || !fgets(text, sizeof text, stat_file) ||
			          strstr(text, ") Z") != NULL;
			if (stat_file) {
				(void)fclose(stat_file);
			}
			(void)usleep(10000);
		}
		assert_true(is_gone);
		bytes_fini(&data);
	}
	(void)unlink(path);
	(void)rmdir(dir);
}

/* The value of a line "Name:\tvalue" of /proc/self/status as the program sees it. */
static void assert_status(const struct bytes *data, const char *line)
{
	assert_non_null(strstr((const char *)data->ptr, line));
}

static void a_program_has_no_rights(void **state)
{
	struct bytes data;
	struct fetch_report report;
	char line[64];
	const struct passwd *user = getpwnam(fetch_user());
	assert_non_null(user);
	assert_int_equal(get(state, "cat /proc/self/status", &data, &report), 0);
	assert_int_equal(bytes_append(&data, "", 1, SIZE_MAX), 0);
	(void)snprintf(line, sizeof line, "Uid:\t%u\t%u\t%u\t%u", user->pw_uid, user->pw_uid,
	               user->pw_uid, user->pw_uid);
	assert_status(&data, line);
	assert_status(&data, "CapEff:\t0000000000000000");
	assert_status(&data, "CapPrm:\t0000000000000000");
	assert_status(&data, "CapInh:\t0000000000000000");
	assert_status(&data, "NoNewPrivs:\t1");
	assert_status(&data, "SigIgn:\t0000000000000000");
	assert_status(&data, "SigBlk:\t0000000000000000");
	bytes_fini(&data);
	/* ls itself holds the directory as 3 */
	assert_int_equal(get(state, "ls /proc/self/fd", &data, &report), 0);
	assert_int_equal(data.len, 8);
	assert_memory_equal(data.ptr, "0\n1\n2\n3\n", 8);
	bytes_fini(&data);
}

static void an_unreachable_server_is_a_reason(void **state)
{
	struct bytes data = {.ptr = NULL};
	struct fetch_report report;
	struct fetcher_request request = {.method = CAPFILE_HTTP,
	                                  .source = "http://127.0.0.1:1/list"};
	assert_int_equal(fetcher_wait_get(*state, &request, &data, &report), ERR_CLOSED);
	assert_non_null(strstr(report.why, "127.0.0.1"));
	request.source = "file:///etc/passwd";
	assert_int_equal(fetcher_wait_get(*state, &request, &data, &report), ERR_CLOSED);
	assert_non_null(strstr(report.why, "not supported"));
	assert_int_equal(data.len, 0);
	bytes_fini(&data);
}

static void a_user_that_does_not_exist_is_said_at_the_start(void **state)
{
	(void)state;
	struct fetcher *fetcher = NULL;
	struct fetcher_conf conf = {.user = "no-such-user", .bytes_max = 1, .timeout_ms = 1};
	char why[FETCHER_WHY_MAX] = "";
	assert_int_equal(fetcher_start(&conf, &fetcher, why), ERR_NOT_FOUND);
	assert_string_equal(why, "user no-such-user does not exist");
	assert_null(fetcher);
}

#define FETCHING(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        FETCHING(a_programs_output_is_the_list),
	        FETCHING(a_failure_has_its_reason_and_the_next_list_its_chance),
	        FETCHING(nothing_of_a_group_survives_its_time),
	        FETCHING(a_program_has_no_rights),
	        FETCHING(an_unreachable_server_is_a_reason),
	        cmocka_unit_test(a_user_that_does_not_exist_is_said_at_the_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
