/* The background check of a store, seen through its log line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>

#include "../keeper/keeper_world.h"
#include "engine/inspector.h"

enum { MAP_BYTES = 64 << 20, LOG_MAX = 4096 };

struct fixture {
	struct world world;
	char log[80];
	int old_stderr;
	char text[LOG_MAX];
};

/* A store with content, closed; log lines go to a file. */
static int setup(void **state)
{
	struct fixture *fix = calloc(1, sizeof *fix);
	assert_non_null(fix);
	world_init(&fix->world);
	char rcpt[32];
	for (int i = 0; i < 100; i++) {
		(void)snprintf(rcpt, sizeof rcpt, "n%d@example.net", i);
		struct world_tuple tuple = {.addr = "192.0.2.1",
		                            .helo = "h",
		                            .sender = "a@example.org",
		                            .recipient = rcpt};
		world_seed_tuple(&fix->world, &tuple, 0);
	}
	world_close_store(&fix->world);
	(void)snprintf(fix->log, sizeof fix->log, "%s.log", fix->world.dir);
	int fd = open(fix->log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	fix->old_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	(void)close(fd);
	*state = fix;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fix = *state;
	assert_int_equal(dup2(fix->old_stderr, STDERR_FILENO), STDERR_FILENO);
	(void)close(fix->old_stderr);
	(void)unlink(fix->log);
	world_remove_dir(fix->world.dir);
	free(fix);
	return 0;
}

/* What was logged, once there is something. */
static const char *logged(struct fixture *fix, int wait_ms)
{
	ssize_t n = 0;
	for (int i = 0; i < wait_ms && n == 0; i++) {
		int fd = open(fix->log, O_RDONLY | O_CLOEXEC);
		n = read(fd, fix->text, sizeof fix->text - 1);
		(void)close(fd);
		world_sleep_ms(1);
	}
	fix->text[n > 0 ? n : 0] = '\0';
	return fix->text;
}

static void a_sound_store_is_reported_sound(void **state)
{
	struct fixture *fix = *state;
	struct inspector *inspector = NULL;
	assert_int_equal(inspector_start(&inspector, fix->world.dir, MAP_BYTES), 0);
	assert_non_null(strstr(logged(fix, WORLD_WAIT_MS), "no damage found"));
	inspector_stop(inspector);
}

static void damage_is_reported(void **state)
{
	struct fixture *fix = *state;
	struct inspector *inspector = NULL;
	char path[128];
	char garbage[4096];
	memset(garbage, 0x5a, sizeof garbage);
	(void)snprintf(path, sizeof path, "%s/data.mdb", fix->world.dir);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	for (off_t page = 2; page < 40; page++) {
		assert_int_equal(pwrite(fd, garbage, sizeof garbage, page * 4096), 4096);
	}
	(void)close(fd);
	assert_int_equal(inspector_start(&inspector, fix->world.dir, MAP_BYTES), 0);
	assert_non_null(strstr(logged(fix, WORLD_WAIT_MS), "check after the unclean stop failed"));
	inspector_stop(inspector);
}

static void a_stop_ends_it_without_a_verdict(void **state)
{
	struct fixture *fix = *state;
	struct inspector *inspector = NULL;
	struct mono begun = clock_mono();
	assert_int_equal(inspector_start(&inspector, fix->world.dir, MAP_BYTES), 0);
	inspector_stop(inspector);
	assert_in_range(mono_diff_ms(clock_mono(), begun), 0, 1000);
	assert_string_equal(logged(fix, 1), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_sound_store_is_reported_sound, setup, teardown),
	        cmocka_unit_test_setup_teardown(damage_is_reported, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_stop_ends_it_without_a_verdict, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
