/* The logger's threads and rings, with stderr bent into a pipe or a file. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#include "log_fixture.h"

static const struct log_options to_stderr = {
        .ident = "mired-test", .target = LOG_TARGET_STDERR, .level = LOG_LEVEL_INFO};

static void a_line_carries_ident_and_pid_and_the_level_filters(void **state)
{
	char expected[128];
	(void)state;
	struct capture capture = begin_capture();
	int ret = log_open(&to_stderr);
	log_info("%s: connected (%d/%d)", "192.0.2.1", 1, 0);
	log_debug("not shown");
	log_error("second");
	log_close();
	char *text = end_capture(capture);
	assert_int_equal(ret, 0);
	(void)snprintf(expected, sizeof expected,
	               "mired-test[%d]: 192.0.2.1: connected (1/0)\nmired-test[%d]: second\n",
	               (int)getpid(), (int)getpid());
	assert_string_equal(text, expected);
	free(text);
}

static void before_open_and_after_close_lines_go_to_stderr_at_once(void **state)
{
	(void)state;
	struct capture capture = begin_capture();
	log_info("alone");
	char *text = end_capture(capture);
	assert_non_null(strstr(text, "]: alone\n"));
	free(text);
}

static void a_long_line_is_cut(void **state)
{
	char longer[LOG_LINE_MAX * 2];
	(void)state;
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	struct capture capture = begin_capture();
	int ret = log_open(&to_stderr);
	log_info("%s", longer);
	log_close();
	char *text = end_capture(capture);
	assert_int_equal(ret, 0);
	assert_int_equal(count_lines(text), 1);
	const char *body = strstr(text, ": ");
	assert_non_null(body);
	assert_int_equal(strlen(body + 2), LOG_LINE_MAX - 1 + 1);
	free(text);
}

enum { N_THREADS = 8, N_LINES = 500, N_ROUNDS = 80 };

static void *log_many(void *arg)
{
	for (int i = 0; i < N_LINES; i++) {
		log_info("thread %d line %d", *(int *)arg, i);
	}
	return NULL;
}

static void all_lines_of_all_threads_arrive_in_each_threads_order(void **state)
{
	pthread_t threads[N_THREADS];
	int ids[N_THREADS];
	(void)state;
	uint64_t dropped = log_dropped();
	struct capture capture = begin_capture();
	int ret = log_open(&to_stderr);
	for (int i = 0; i < N_THREADS; i++) {
		ids[i] = i;
		ret |= pthread_create(&threads[i], NULL, log_many, &ids[i]);
	}
	for (int i = 0; i < N_THREADS; i++) {
		ret |= pthread_join(threads[i], NULL);
	}
	log_close();
	char *text = end_capture(capture);
	assert_int_equal(ret, 0);
	assert_int_equal(log_dropped(), dropped);
	assert_int_equal(count_lines(text), N_THREADS * N_LINES);
	for (int i = 0; i < N_THREADS; i++) {
		const char *at = text;
		for (int line = 0; line < N_LINES; line++) {
			char wanted[64];
			(void)snprintf(wanted, sizeof wanted, ": thread %d line %d\n", i, line);
			at = strstr(at, wanted);
			assert_non_null(at);
		}
	}
	free(text);
}

static void *log_one(void *arg)
{
	(void)arg;
	log_info("short life");
	return NULL;
}

/* More threads, one after the other and eight at a time, than there are places for rings. */
static void rings_of_ended_threads_are_used_again(void **state)
{
	(void)state;
	uint64_t dropped = log_dropped();
	struct capture capture = begin_capture();
	int ret = log_open(&to_stderr);
	for (int round = 0; round < N_ROUNDS; round++) {
		pthread_t threads[N_THREADS];
		for (int i = 0; i < N_THREADS; i++) {
			ret |= pthread_create(&threads[i], NULL, log_one, NULL);
		}
		for (int i = 0; i < N_THREADS; i++) {
			ret |= pthread_join(threads[i], NULL);
		}
		(void)usleep(1000); /* the writer's time to take the places back */
	}
	log_close();
	char *text = end_capture(capture);
	assert_int_equal(ret, 0);
	assert_int_equal(count_lines(text), N_THREADS * N_ROUNDS);
	assert_int_equal(log_dropped(), dropped);
	free(text);
}

/* stderr is a full pipe: the writer is stuck, the threads must not be. */
static void a_stuck_writer_costs_lines_but_never_time(void **state)
{
	int pipe_fds[2];
	static char drain[1 << 16];
	size_t n_read = 0;
	(void)state;
	uint64_t dropped = log_dropped();
	assert_int_equal(pipe(pipe_fds), 0);
	int saved = dup(STDERR_FILENO);
	assert_int_equal(dup2(pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
	(void)close(pipe_fds[1]);
	int ret = log_open(&to_stderr);
	for (int i = 0; i < 20000; i++) {
		log_info("line %d of a flood that nobody reads at the moment", i);
	}
	uint64_t lost = log_dropped() - dropped;
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	(void)dup2(null, STDERR_FILENO); /* the rest is of no interest */
	for (ssize_t len; n_read < 30000 && (len = read(pipe_fds[0], drain, sizeof drain)) > 0;) {
		n_read += (size_t)len;
	}
	log_close();
	(void)dup2(saved, STDERR_FILENO);
	(void)close(saved);
	(void)close(null);
	(void)close(pipe_fds[0]);
	assert_int_equal(ret, 0);
	assert_true(lost > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(before_open_and_after_close_lines_go_to_stderr_at_once),
	        cmocka_unit_test(a_line_carries_ident_and_pid_and_the_level_filters),
	        cmocka_unit_test(a_long_line_is_cut),
	        cmocka_unit_test(all_lines_of_all_threads_arrive_in_each_threads_order),
	        cmocka_unit_test(rings_of_ended_threads_are_used_again),
	        cmocka_unit_test(a_stuck_writer_costs_lines_but_never_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
