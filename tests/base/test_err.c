/* Texts of error codes, names of counters, arithmetic of the clocks: the small tables of base. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/err.h"

static void every_code_of_ours_has_its_own_text(void **state)
{
	(void)state;
	for (int code = ERR_SYNTAX; code >= ERR_DENIED; code--) {
		assert_string_not_equal(err_text(code), "unknown error code");
	}
	assert_string_equal(err_text(ERR_BUSY), "in use by another process");
	assert_string_equal(err_text(ERR_DENIED - 1), "unknown error code");
	assert_string_equal(err_text(7), "unknown error code");
}

static void system_codes_have_the_systems_text(void **state)
{
	(void)state;
	assert_string_equal(err_text(-ENOENT), "No such file or directory");
	assert_string_equal(err_text(0), "no error");
}

static void every_counter_has_a_name_and_a_line_of_help(void **state)
{
	struct counters counters = {0};
	(void)state;
	for (int i = 0; i < COUNTER_COUNT; i++) {
		assert_true(strlen(counter_name((enum counter)i)) > 0);
		assert_true(strlen(counter_help((enum counter)i)) > 10);
	}
	assert_string_equal(counter_name(COUNTER_accepted), "accepted");
	counters_add(&counters, COUNTER_deferred, 2);
	counters_add(&counters, COUNTER_deferred, 3);
	assert_int_equal(counters_get(&counters, COUNTER_deferred), 5);
	assert_int_equal(counters_get(&counters, COUNTER_accepted), 0);
}

static void time_differences_survive_the_wrap_of_milliseconds(void **state)
{
	struct mono_ms before = {UINT32_MAX - 10};
	struct mono_ms after = mono_ms_add(before, 30);
	struct mono start = {NS_PER_SEC};
	(void)state;
	assert_int_equal(mono_ms_diff(after, before), 30);
	assert_int_equal(mono_ms_diff(before, after), -30);
	assert_int_equal(mono_diff_ms(mono_add_ms(start, 1500), start), 1500);
	assert_int_equal(mono_to_ms(mono_add_ms(start, 1500)).ms, 2500);
}

static void the_clocks_run_forward(void **state)
{
	struct mono first = clock_mono();
	struct mono second = clock_mono();
	(void)state;
	assert_true(second.ns >= first.ns);
	assert_true(clock_wall().secs > 1600000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_code_of_ours_has_its_own_text),
	        cmocka_unit_test(system_codes_have_the_systems_text),
	        cmocka_unit_test(every_counter_has_a_name_and_a_line_of_help),
	        cmocka_unit_test(time_differences_survive_the_wrap_of_milliseconds),
	        cmocka_unit_test(the_clocks_run_forward),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
