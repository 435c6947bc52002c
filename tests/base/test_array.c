/* Arrays that grow by doubling. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/array.h"

static void room_begins_small_and_doubles(void **state)
{
	(void)state;
	size_t n_room = 0;
	int *items = array_grow(NULL, &n_room, sizeof *items, 4);
	assert_non_null(items);
	assert_int_equal(n_room, 4);
	for (int i = 0; i < 4; i++) {
		items[i] = i;
	}
	items = array_grow(items, &n_room, sizeof *items, 4);
	assert_non_null(items);
	assert_int_equal(n_room, 8);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(items[i], i);
	}
	free(items);
}

static void more_than_memory_can_hold_changes_nothing(void **state)
{
	(void)state;
	size_t n_room = SIZE_MAX / 2 + 1;
	assert_null(array_grow(NULL, &n_room, 1, 1));
	assert_int_equal(n_room, SIZE_MAX / 2 + 1);

	n_room = SIZE_MAX / 8;
	assert_null(array_grow(NULL, &n_room, 64, 1));
	assert_int_equal(n_room, SIZE_MAX / 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(room_begins_small_and_doubles),
	        cmocka_unit_test(more_than_memory_can_hold_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
