/* What is logged of a kind in a second, and what is said of the rest. */
#include <pthread.h>

#include "log_fixture.h"

static struct log_options options_of(uint32_t rate, enum log_level level)
{
	return (struct log_options){
	        .ident = "mired-test", .target = LOG_TARGET_STDERR, .level = level, .rate = rate};
}

/* Returns how many were logged. */
static int log_kind(enum log_event event, int n)
{
	int n_taken = 0;
	for (int i = 0; i < n; i++) {
		if (log_takes(event)) {
			log_event(event, NULL, "a line of %d", (int)event);
			n_taken++;
		}
	}
	return n_taken;
}

static void what_is_more_than_the_rate_is_not_logged_but_said(void **state)
{
	const struct log_options options = options_of(10, LOG_LEVEL_INFO);
	(void)state;
	uint64_t before = log_suppressed();
	struct capture capture = begin_capture();
	assert_int_equal(log_open(&options), 0);
	int n = log_kind(LOG_EVENT_connected, 1000);
	log_close();
	char *text = end_capture(capture);
	assert_int_equal(n, 10);
	assert_int_equal(log_suppressed() - before, 990);
	assert_int_equal(count_of(text, "a line of"), 10);
	assert_int_equal(
	        count_of(text, ": connected: 990 more in the last second not logged (log-rate)\n"),
	        1);
	assert_int_equal(count_lines(text), 11);
	free(text);
}

static void a_kinds_flood_costs_no_other_kind_and_no_error(void **state)
{
	const struct log_options options = options_of(5, LOG_LEVEL_INFO);
	(void)state;
	struct capture capture = begin_capture();
	assert_int_equal(log_open(&options), 0);
	(void)log_kind(LOG_EVENT_connected, 100);
	int n = log_kind(LOG_EVENT_disconnected, 3);
	for (int i = 0; i < 50; i++) {
		log_error("an error");
	}
	log_event(LOG_EVENT_stopped, NULL, "stopped");
	log_close();
	char *text = end_capture(capture);
	assert_int_equal(n, 3);
	assert_int_equal(count_of(text, "an error"), 50);
	assert_int_equal(count_of(text, ": stopped\n"), 1);
	assert_int_equal(count_of(text, "disconnected:"), 0);
	free(text);
}

static void a_new_second_brings_a_new_share(void **state)
{
	const struct log_options options = options_of(5, LOG_LEVEL_INFO);
	int n = 0;
	(void)state;
	struct capture capture = begin_capture();
	assert_int_equal(log_open(&options), 0);
	assert_int_equal(log_kind(LOG_EVENT_connected, 8), 5);
	for (int i = 0; i < 200 && n == 0; i++) {
		(void)usleep(20000);
		n = log_kind(LOG_EVENT_connected, 1);
	}
	log_close();
	char *text = end_capture(capture);
	assert_int_equal(n, 1);
	assert_int_equal(count_of(text, "a line of"), 6);
	/* three, and what was tried while the second lasted */
	assert_true(count_of(text, " not logged (log-rate)") >= 1);
	free(text);
}

static void the_rate_changes_at_once(void **state)
{
	const struct log_options options = options_of(2, LOG_LEVEL_INFO);
	(void)state;
	struct capture capture = begin_capture();
	assert_int_equal(log_open(&options), 0);
	assert_int_equal(log_kind(LOG_EVENT_connected, 4), 2);
	log_set_rate(6);
	assert_int_equal(log_kind(LOG_EVENT_connected, 10), 6);
	log_set_rate(LOG_RATE_NONE);
	assert_int_equal(log_kind(LOG_EVENT_connected, 500), 500);
	log_close();
	char *text = end_capture(capture);
	assert_int_equal(count_of(text, "a line of"), 508);
	free(text);
}

static void verbose_kinds_are_logged_while_the_level_is_debug(void **state)
{
	const struct log_options options = options_of(LOG_RATE_NONE, LOG_LEVEL_INFO);
	(void)state;
	struct capture capture = begin_capture();
	assert_int_equal(log_open(&options), 0);
	assert_int_equal(log_kind(LOG_EVENT_attempt, 3), 0);
	assert_int_equal(log_kind(LOG_EVENT_body, 3), 0);
	assert_int_equal(log_kind(LOG_EVENT_tuple, 3), 3); /* debug, but not only with verbose */
	log_debug("a debug line");
	log_set_level(LOG_LEVEL_DEBUG);
	assert_int_equal(log_kind(LOG_EVENT_attempt, 2), 2);
	assert_int_equal(log_kind(LOG_EVENT_body, 2), 2);
	log_debug("a debug line");
	log_set_level(LOG_LEVEL_INFO);
	assert_int_equal(log_kind(LOG_EVENT_attempt, 1), 0);
	log_close();
	char *text = end_capture(capture);
	assert_int_equal(count_of(text, "a line of"), 7);
	assert_int_equal(count_of(text, "a debug line"), 1);
	assert_int_equal(count_of(text, "not logged"), 0);
	free(text);
}

static void a_log_of_errors_only_has_no_events(void **state)
{
	const struct log_options options = options_of(LOG_RATE_NONE, LOG_LEVEL_ERROR);
	(void)state;
	struct capture capture = begin_capture();
	assert_int_equal(log_open(&options), 0);
	assert_int_equal(log_kind(LOG_EVENT_connected, 2), 0);
	assert_int_equal(log_kind(LOG_EVENT_tuple, 2), 0);
	log_close();
	char *text = end_capture(capture);
	assert_int_equal(count_lines(text), 0);
	free(text);
}

enum { N_THREADS = 4, N_TRIES = 20000, RATE = 100 };

static void *log_flood(void *arg)
{
	*(int *)arg = log_kind(LOG_EVENT_connected, N_TRIES);
	return NULL;
}

static void threads_share_the_rate_and_every_line_is_logged_or_counted(void **state)
{
	const struct log_options options = options_of(RATE, LOG_LEVEL_INFO);
	pthread_t threads[N_THREADS];
	int taken[N_THREADS];
	int sum = 0;
	(void)state;
	uint64_t before = log_suppressed();
	struct capture capture = begin_capture();
	assert_int_equal(log_open(&options), 0);
	for (int i = 0; i < N_THREADS; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, log_flood, &taken[i]), 0);
	}
	for (int i = 0; i < N_THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		sum += taken[i];
	}
	log_close();
	char *text = end_capture(capture);
	assert_int_equal(count_of(text, "a line of"), sum);
	assert_int_equal(log_suppressed() - before, N_THREADS * N_TRIES - sum);
	/* a share a second, however long it took here; two who meet at the last may both have it */
	assert_true(sum >= RATE && sum <= 20 * (RATE + N_THREADS));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_is_more_than_the_rate_is_not_logged_but_said),
	        cmocka_unit_test(a_kinds_flood_costs_no_other_kind_and_no_error),
	        cmocka_unit_test(a_new_second_brings_a_new_share),
	        cmocka_unit_test(the_rate_changes_at_once),
	        cmocka_unit_test(verbose_kinds_are_logged_while_the_level_is_debug),
	        cmocka_unit_test(a_log_of_errors_only_has_no_events),
	        cmocka_unit_test(threads_share_the_rate_and_every_line_is_logged_or_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
