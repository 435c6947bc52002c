/* The histogram of commit times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "keeper/latency.h"

static void an_empty_histogram_says_zero(void **state)
{
	(void)state;
	static struct latency latency;
	assert_true(latency_quantile_ms(&latency, 0.5) == 0);
}

static void a_quantile_is_at_most_a_quarter_too_high(void **state)
{
	(void)state;
	for (int64_t us = 1; us < INT64_C(1) << 41; us = us * 3 / 2 + 1) {
		struct latency latency = {0};
		latency_add(&latency, us * 1000);
		double ms = latency_quantile_ms(&latency, 0.5);
		double want = (double)us / 1000;
		if (us < INT64_C(1) << 40) {
			assert_true(ms > want && ms <= want * 1.25 + 0.001);
		}
	}
}

static void quantiles_tell_the_usual_from_the_slow(void **state)
{
	(void)state;
	struct latency latency = {0};
	for (int i = 0; i < 98; i++) {
		latency_add(&latency, 2 * NS_PER_MS);
	}
	latency_add(&latency, 300 * NS_PER_MS);
	latency_add(&latency, 300 * NS_PER_MS);
	latency_add(&latency, -5); /* a clock that stood still */
	double p50 = latency_quantile_ms(&latency, 0.50);
	double p99 = latency_quantile_ms(&latency, 0.99);
	assert_true(p50 >= 2 && p50 <= 2.5);
	assert_true(p99 >= 300 && p99 <= 375);
}

static void round_buckets_hold_all_up_to_their_edge(void **state)
{
	struct latency latency = {0};
	struct latency_figures figures;
	(void)state;
	latency_add(&latency, NS_PER_MS);     /* on an edge */
	latency_add(&latency, NS_PER_MS + 1); /* microseconds count */
	latency_add(&latency, 7 * NS_PER_MS);
	latency_add(&latency, 10 * NS_PER_SEC + NS_PER_MS);
	latency_figures_get(&latency, &figures);
	assert_int_equal(figures.n, 4);
	assert_true(figures.sum_secs > 10.0099 && figures.sum_secs < 10.0101);
	for (size_t i = 0; i < LATENCY_EDGES; i++) {
		double edge = latency_edge_secs(i);
		uint64_t n = edge < 0.001 ? 0 : edge < 0.01 ? 2 : 3;
		assert_int_equal(figures.n_within[i], n);
	}
	assert_true(latency_edge_secs(0) == 0.0005 && latency_edge_secs(LATENCY_EDGES - 1) == 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_empty_histogram_says_zero),
	        cmocka_unit_test(a_quantile_is_at_most_a_quarter_too_high),
	        cmocka_unit_test(quantiles_tell_the_usual_from_the_slow),
	        cmocka_unit_test(round_buckets_hold_all_up_to_their_edge),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
