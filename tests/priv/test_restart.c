/* Back-off and the rule of three store deaths, in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>

#include "priv/restart.h"

enum { EXITED_1 = 1 << 8 };

static const struct mono start = {INT64_C(5) * NS_PER_SEC};

static enum restart_verdict die(struct restart *restart, int status, bool is_store,
                                int64_t lived_ms, uint32_t *wait_ms)
{
	struct restart_death death = {status, is_store, start, mono_add_ms(start, lived_ms)};
	return restart_died(restart, &death, wait_ms);
}

static void waits_double_from_a_second_to_a_minute_after_a_fast_first_try(void **state)
{
	(void)state;
	static const uint32_t wanted_ms[] = {100,   1000,  2000,  4000, 8000,
	                                     16000, 32000, 60000, 60000};
	struct restart restart = {0};
	for (size_t i = 0; i < sizeof wanted_ms / sizeof *wanted_ms; i++) {
		uint32_t wait_ms = 0;
		assert_int_equal(die(&restart, SIGKILL, false, 500, &wait_ms), RESTART_AGAIN);
		assert_int_equal(wait_ms, wanted_ms[i]);
	}
}

static void a_minute_of_health_starts_over(void **state)
{
	(void)state;
	struct restart restart = {0};
	uint32_t wait_ms = 0;
	(void)die(&restart, EXITED_1, true, 500, &wait_ms);
	(void)die(&restart, EXITED_1, true, 500, &wait_ms);
	assert_int_equal(wait_ms, 1000);
	assert_int_equal(die(&restart, EXITED_1, true, 60000, &wait_ms), RESTART_AGAIN);
	assert_int_equal(wait_ms, 100);
}

static void three_store_deaths_in_a_row_are_enough(void **state)
{
	(void)state;
	static const struct {
		int64_t lived_ms;
		int status;
		bool is_store;
		bool counts;
	} table[] = {
	        {500, EXITED_1, true, true},    {500, EXITED_1, false, false},
	        {20000, SIGBUS, false, true},   {9999, SIGSEGV, false, true},
	        {10000, SIGSEGV, false, false}, {500, SIGKILL, false, false},
	};
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		struct restart restart = {0};
		uint32_t wait_ms = 0;
		enum restart_verdict verdict = RESTART_AGAIN;
		for (int n = 0; n < RESTART_STORE_MAX; n++) {
			assert_int_equal(verdict, RESTART_AGAIN);
			verdict = die(&restart, table[i].status, table[i].is_store,
			              table[i].lived_ms, &wait_ms);
		}
		assert_int_equal(verdict, table[i].counts ? RESTART_GIVE_UP : RESTART_AGAIN);
	}
}

static void another_kind_of_death_breaks_the_row(void **state)
{
	(void)state;
	struct restart restart = {0};
	uint32_t wait_ms = 0;
	for (int n = 0; n < 10; n++) {
		assert_int_equal(die(&restart, SIGBUS, false, 500, &wait_ms), RESTART_AGAIN);
		assert_int_equal(die(&restart, SIGBUS, false, 500, &wait_ms), RESTART_AGAIN);
		assert_int_equal(die(&restart, SIGKILL, false, 500, &wait_ms), RESTART_AGAIN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(waits_double_from_a_second_to_a_minute_after_a_fast_first_try),
	        cmocka_unit_test(a_minute_of_health_starts_over),
	        cmocka_unit_test(three_store_deaths_in_a_row_are_enough),
	        cmocka_unit_test(another_kind_of_death_breaks_the_row),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
