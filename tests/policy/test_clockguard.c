/* The guard against jumps of the wall clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "policy/clockguard.h"

enum { START_SECS = 1700000000 };

#define HOUR INT64_C(3600)

/* A guard with both clocks, which can be moved apart. */
struct clocks {
	struct clockguard guard;
	struct wall wall;
	struct mono mono;
	bool is_synchronised;
};

static struct clocks clocks_at(int64_t newest_secs)
{
	struct clocks clocks = {.wall = {START_SECS}, .mono = {77 * NS_PER_SEC}};
	clockguard_init(&clocks.guard, clocks.wall, clocks.mono, (struct wall){newest_secs});
	return clocks;
}

static bool pass(struct clocks *clocks, int64_t mono_ms, int64_t wall_secs)
{
	clocks->mono = mono_add_ms(clocks->mono, mono_ms);
	clocks->wall.secs += wall_secs;
	return clockguard_turn(&clocks->guard, clocks->wall, clocks->mono, clocks->is_synchronised);
}

static void ordinary_time_passes(void **state)
{
	(void)state;
	struct clocks clocks = clocks_at(0);
	for (int i = 0; i < 1000; i++) {
		assert_false(pass(&clocks, 250, i % 4 == 3));
	}
	assert_false(pass(&clocks, 5 * HOUR * MS_PER_SEC, 5 * HOUR));
	assert_false(clocks.guard.is_paused);
	assert_int_equal(clocks.guard.expiry_now.secs, START_SECS + 250 + 5 * HOUR);
}

static void forward_jump_pauses_until_the_kernel_is_synchronised(void **state)
{
	(void)state;
	struct clocks clocks = clocks_at(0);
	assert_true(pass(&clocks, 1000, 1 + 2 * HOUR));
	assert_true(clocks.guard.is_paused);
	assert_int_equal(clocks.guard.expiry_now.secs, START_SECS);
	assert_false(pass(&clocks, 1000, 1));
	assert_int_equal(clocks.guard.expiry_now.secs, START_SECS);
	clocks.is_synchronised = true;
	assert_false(pass(&clocks, 1000, 1));
	assert_false(clocks.guard.is_paused);
	assert_int_equal(clocks.guard.expiry_now.secs, START_SECS + 2 * HOUR + 3);
}

static void word_from_before_the_jump_does_not_confirm_it(void **state)
{
	(void)state;
	struct clocks clocks = clocks_at(0);
	clocks.is_synchronised = true;
	assert_true(pass(&clocks, 1000, 1 + 2 * HOUR));
	assert_true(clocks.guard.is_paused);
}

static void administrator_confirms_a_jump(void **state)
{
	(void)state;
	struct clocks clocks = clocks_at(0);
	(void)pass(&clocks, 1000, 1 + 2 * HOUR);
	clockguard_confirm(&clocks.guard, clocks.wall);
	assert_false(clocks.guard.is_paused);
	assert_int_equal(clocks.guard.expiry_now.secs, clocks.wall.secs);
}

static void jump_of_an_hour_is_none(void **state)
{
	(void)state;
	struct clocks clocks = clocks_at(0);
	assert_false(pass(&clocks, 1000, 1 + HOUR));
	assert_false(clocks.guard.is_paused);
	assert_true(pass(&clocks, 1000, 2 + HOUR));
	assert_true(clocks.guard.is_paused);
}

static void backward_step_revives_and_expires_nothing(void **state)
{
	(void)state;
	struct clocks clocks = clocks_at(0);
	assert_true(pass(&clocks, 1000, -2 * HOUR));
	assert_false(clocks.guard.is_paused);
	assert_int_equal(clocks.guard.expiry_now.secs, START_SECS);
	assert_false(pass(&clocks, HOUR * MS_PER_SEC, HOUR));
	assert_int_equal(clocks.guard.expiry_now.secs, START_SECS);
	assert_false(pass(&clocks, 2 * HOUR * MS_PER_SEC, 2 * HOUR));
	assert_int_equal(clocks.guard.expiry_now.secs, START_SECS + HOUR);
}

static void step_back_undoes_a_jump(void **state)
{
	(void)state;
	struct clocks clocks = clocks_at(0);
	assert_true(pass(&clocks, 1000, 1 + 5 * HOUR));
	assert_true(pass(&clocks, 60000, 60 - 5 * HOUR));
	assert_false(clocks.guard.is_paused);
	assert_int_equal(clocks.guard.expiry_now.secs, START_SECS + 61);
}

static void step_back_by_too_little_does_not(void **state)
{
	(void)state;
	struct clocks clocks = clocks_at(0);
	(void)pass(&clocks, 1000, 1 + 5 * HOUR);
	assert_true(pass(&clocks, 1000, 1 - 2 * HOUR));
	assert_true(clocks.guard.is_paused);
	assert_int_equal(clocks.guard.expiry_now.secs, START_SECS);
}

static void start_compares_with_the_newest_entry(void **state)
{
	(void)state;
	static const struct {
		int64_t newest_ago;
		bool is_paused;
		int64_t expiry_ago;
	} rows[] = {
	        {0, false, 0},
	        {HOUR, false, 0},
	        {HOUR + 1, true, HOUR + 1},
	        {-HOUR, false, -HOUR}, /* the clock is behind what was stored */
	        {1000 * HOUR, true, 1000 * HOUR},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct clocks clocks = clocks_at(START_SECS - rows[i].newest_ago);
		assert_int_equal(clocks.guard.is_paused, rows[i].is_paused);
		assert_int_equal(clocks.guard.expiry_now.secs, START_SECS - rows[i].expiry_ago);
	}
}

static void pause_from_the_start_ends_with_synchronisation(void **state)
{
	(void)state;
	struct clocks clocks = clocks_at(START_SECS - 2 * HOUR);
	assert_false(pass(&clocks, 1000, 1));
	assert_true(clocks.guard.is_paused);
	clocks.is_synchronised = true;
	assert_false(pass(&clocks, 1000, 1));
	assert_false(clocks.guard.is_paused);
	assert_int_equal(clocks.guard.expiry_now.secs, START_SECS + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(ordinary_time_passes),
	        cmocka_unit_test(forward_jump_pauses_until_the_kernel_is_synchronised),
	        cmocka_unit_test(word_from_before_the_jump_does_not_confirm_it),
	        cmocka_unit_test(administrator_confirms_a_jump),
	        cmocka_unit_test(jump_of_an_hour_is_none),
	        cmocka_unit_test(backward_step_revives_and_expires_nothing),
	        cmocka_unit_test(step_back_undoes_a_jump),
	        cmocka_unit_test(step_back_by_too_little_does_not),
	        cmocka_unit_test(start_compares_with_the_newest_entry),
	        cmocka_unit_test(pause_from_the_start_ends_with_synchronisation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
