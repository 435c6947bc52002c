/* Times of groups of changes from their commit to the kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keeper/stopwatch.h"

static struct mono at_ms(int64_t ms)
{
	return mono_add_ms((struct mono){NS_PER_SEC}, ms);
}

static uint64_t n_timed(const struct latency *latency, double *sum_secs)
{
	struct latency_figures figures;
	latency_figures_get(latency, &figures);
	*sum_secs = figures.sum_secs;
	return figures.n;
}

static void each_group_is_timed_when_the_kernel_has_all_of_it(void **state)
{
	struct stopwatch stopwatch = {.n = 0};
	struct latency latency = {0};
	double sum_secs = 0;
	(void)state;
	stopwatch_start(&stopwatch, 10, at_ms(0));
	stopwatch_start(&stopwatch, 20, at_ms(5));
	stopwatch_done(&stopwatch, 9, at_ms(6), &latency);
	assert_int_equal(n_timed(&latency, &sum_secs), 0);
	stopwatch_done(&stopwatch, 19, at_ms(8), &latency);
	assert_int_equal(n_timed(&latency, &sum_secs), 1);
	assert_true(sum_secs > 0.0079 && sum_secs < 0.0081);
	stopwatch_done(&stopwatch, 30, at_ms(25), &latency);
	assert_int_equal(n_timed(&latency, &sum_secs), 2);
	assert_true(sum_secs > 0.0279 && sum_secs < 0.0281);
}

static void beyond_its_places_a_group_counts_with_the_one_before_it(void **state)
{
	struct stopwatch stopwatch = {.n = 0};
	struct latency latency = {0};
	double sum_secs = 0;
	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		unsigned n = STOPWATCH_MARKS + 10;
		for (unsigned i = 1; i <= n; i++) {
			stopwatch_start(&stopwatch, round * n + i, at_ms(0));
		}
		stopwatch_done(&stopwatch, round * n + n - 1, at_ms(1), &latency);
		assert_int_equal(n_timed(&latency, &sum_secs), (round + 1) * STOPWATCH_MARKS - 1);
		stopwatch_done(&stopwatch, round * n + n, at_ms(1), &latency);
		assert_int_equal(n_timed(&latency, &sum_secs), (round + 1) * STOPWATCH_MARKS);
	}
}

static void what_is_lost_is_not_timed(void **state)
{
	struct stopwatch stopwatch = {.n = 0};
	struct latency latency = {0};
	double sum_secs = 0;
	(void)state;
	stopwatch_start(&stopwatch, 10, at_ms(0));
	stopwatch_clear(&stopwatch);
	stopwatch_start(&stopwatch, 11, at_ms(100));
	stopwatch_done(&stopwatch, 11, at_ms(101), &latency);
	assert_int_equal(n_timed(&latency, &sum_secs), 1);
	assert_true(sum_secs < 0.0011);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_group_is_timed_when_the_kernel_has_all_of_it),
	        cmocka_unit_test(beyond_its_places_a_group_counts_with_the_one_before_it),
	        cmocka_unit_test(what_is_lost_is_not_timed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
