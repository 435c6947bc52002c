/* The timer wheel against a plain model, and the rules of a drain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/wheel.h"

enum { N_SLOTS = 8, N_ITEMS = 64 };

static int setup(void **state)
{
	*state = wheel_new(N_SLOTS, N_ITEMS);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	wheel_free(*state);
	return 0;
}

static void an_item_comes_out_at_its_tick_only(void **state)
{
	struct wheel *wheel = *state;
	wheel_add(wheel, 5, 3);
	assert_true(wheel_has(wheel, 5));
	assert_int_equal(wheel_take(wheel, 2), WHEEL_NONE);
	assert_int_equal(wheel_take(wheel, 3), 5);
	assert_false(wheel_has(wheel, 5));
	assert_int_equal(wheel_take(wheel, 3), WHEEL_NONE);
}

static void items_of_a_slot_come_out_in_order(void **state)
{
	struct wheel *wheel = *state;
	for (uint32_t item = 0; item < 10; item++) {
		wheel_add(wheel, item, 1);
	}
	for (uint32_t item = 0; item < 10; item++) {
		assert_int_equal(wheel_take(wheel, 1), item);
	}
	assert_int_equal(wheel_take(wheel, 1), WHEEL_NONE);
}

static void an_item_added_again_is_moved(void **state)
{
	struct wheel *wheel = *state;
	wheel_add(wheel, 0, 1);
	wheel_add(wheel, 0, 2);
	assert_int_equal(wheel_take(wheel, 1), WHEEL_NONE);
	assert_int_equal(wheel_take(wheel, 2), 0);
}

static void removing_works_at_every_place_of_the_list_and_twice(void **state)
{
	struct wheel *wheel = *state;
	for (uint32_t gone = 0; gone < 3; gone++) {
		for (uint32_t item = 0; item < 3; item++) {
			wheel_add(wheel, item, 7);
		}
		wheel_remove(wheel, gone);
		wheel_remove(wheel, gone);
		assert_false(wheel_has(wheel, gone));
		for (uint32_t item = 0; item < 3; item++) {
			if (item != gone) {
				assert_int_equal(wheel_take(wheel, 7), item);
			}
		}
		assert_int_equal(wheel_take(wheel, 7), WHEEL_NONE);
	}
}

static void an_item_put_back_into_the_slot_under_drain_waits_for_the_next_drain(void **state)
{
	struct wheel *wheel = *state;
	wheel_add(wheel, 0, 4);
	wheel_add(wheel, 1, 4);
	assert_int_equal(wheel_take(wheel, 4), 0);
	wheel_add(wheel, 0, 4 + N_SLOTS);
	assert_int_equal(wheel_take(wheel, 4), 1);
	assert_int_equal(wheel_take(wheel, 4), WHEEL_NONE);
	assert_int_equal(wheel_take(wheel, 4 + N_SLOTS), 0);
	assert_int_equal(wheel_take(wheel, 4 + N_SLOTS), WHEEL_NONE);
}

static void an_item_may_be_removed_while_its_slot_is_drained(void **state)
{
	struct wheel *wheel = *state;
	wheel_add(wheel, 0, 4);
	wheel_add(wheel, 1, 4);
	wheel_add(wheel, 2, 4);
	assert_int_equal(wheel_take(wheel, 4), 0);
	wheel_remove(wheel, 1);
	assert_int_equal(wheel_take(wheel, 4), 2);
	assert_int_equal(wheel_take(wheel, 4), WHEEL_NONE);
}

static void an_unfinished_drain_is_continued(void **state)
{
	struct wheel *wheel = *state;
	wheel_add(wheel, 0, 4);
	wheel_add(wheel, 1, 4);
	assert_int_equal(wheel_take(wheel, 4), 0);
	assert_int_equal(wheel_take(wheel, 5), WHEEL_NONE);
	assert_true(wheel_is_draining(wheel, 4));
	assert_true(wheel_is_draining(wheel, 4 + N_SLOTS));
	assert_false(wheel_is_draining(wheel, 5));
	assert_int_equal(wheel_take(wheel, 4), 1);
	assert_int_equal(wheel_take(wheel, 4), WHEEL_NONE);
	assert_false(wheel_is_draining(wheel, 4));
}

/* Random adds, removals and whole drains, checked against an array. */
static void a_long_random_life_agrees_with_a_model(void **state)
{
	struct wheel *wheel = *state;
	int slot_of[N_ITEMS];
	unsigned seed = 20;
	for (size_t i = 0; i < N_ITEMS; i++) {
		slot_of[i] = -1;
	}
	for (uint64_t turn = 0; turn < 20000; turn++) {
		uint32_t item = (uint32_t)rand_r(&seed) % N_ITEMS;
		uint64_t tick = turn + (uint64_t)rand_r(&seed) % N_SLOTS;
		if (rand_r(&seed) % 4 == 0) {
			wheel_remove(wheel, item);
			slot_of[item] = -1;
		} else {
			wheel_add(wheel, item, tick);
			slot_of[item] = (int)(tick % N_SLOTS);
		}
		uint32_t taken;
		while (turn % 3 == 0 && (taken = wheel_take(wheel, turn)) != WHEEL_NONE) {
			assert_int_equal(slot_of[taken], turn % N_SLOTS);
			slot_of[taken] = -1;
		}
		for (uint32_t i = 0; i < N_ITEMS; i++) {
			assert_int_equal(wheel_has(wheel, i), slot_of[i] >= 0);
			assert_false(turn % 3 == 0 && slot_of[i] == (int)(turn % N_SLOTS));
		}
	}
}

static void a_wheel_of_many_items_is_reserved_lazily(void **state)
{
	(void)state;
	/* 24 GB of links: only possible because nothing touches them */
	struct wheel *wheel = wheel_new(1024, 2000000000);
	assert_non_null(wheel);
	wheel_add(wheel, 1999999999, 5);
	assert_int_equal(wheel_take(wheel, 5), 1999999999);
	wheel_free(wheel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(an_item_comes_out_at_its_tick_only, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(items_of_a_slot_come_out_in_order, setup, teardown),
	        cmocka_unit_test_setup_teardown(an_item_added_again_is_moved, setup, teardown),
	        cmocka_unit_test_setup_teardown(removing_works_at_every_place_of_the_list_and_twice,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                an_item_put_back_into_the_slot_under_drain_waits_for_the_next_drain, setup,
	                teardown),
	        cmocka_unit_test_setup_teardown(an_item_may_be_removed_while_its_slot_is_drained,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(an_unfinished_drain_is_continued, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_long_random_life_agrees_with_a_model, setup,
	                                        teardown),
	        cmocka_unit_test(a_wheel_of_many_items_is_reserved_lazily),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
