/* The table of connections: generations, and texts that come, grow and go. */
#include "engine/conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void slot_used_again_has_another_generation(void **state)
{
	(void)state;
	struct conn_table table;
	assert_int_equal(conn_table_init(&table, 4), 0);
	struct conn *conn = conn_open(&table, 2);
	uint32_t generation = conn->generation;
	assert_true(conn_is_current(&table, 2, generation));
	assert_false(conn_is_current(&table, 1, generation));
	assert_int_equal(table.n_open, 1);
	conn_release(&table, conn);
	assert_false(conn_is_current(&table, 2, generation));
	assert_int_equal(table.n_open, 0);
	conn = conn_open(&table, 2);
	assert_false(conn_is_current(&table, 2, generation));
	assert_true(conn_is_current(&table, 2, conn->generation));
	assert_false(conn_is_current(&table, 4, conn->generation)); /* beyond the table */
	assert_false(conn_is_current(&table, UINT32_MAX, UINT32_MAX));
	conn_release(&table, conn);
	conn_table_fini(&table);
}

static void generation_wraps_within_its_bits(void **state)
{
	(void)state;
	struct conn_table table;
	assert_int_equal(conn_table_init(&table, 1), 0);
	conn_at(&table, 0)->generation = CONN_GENERATION_MASK;
	struct conn *conn = conn_open(&table, 0);
	assert_int_equal(conn->generation, 0);
	assert_true(conn_is_current(&table, 0, 0));
	conn_release(&table, conn);
	conn_table_fini(&table);
}

static void entry_stays_listed_when_its_slot_changes_hands(void **state)
{
	(void)state;
	struct conn_table table;
	assert_int_equal(conn_table_init(&table, 1), 0);
	struct conn *conn = conn_open(&table, 0);
	conn->is_ready = true;
	conn->is_delayed = true;
	conn_release(&table, conn);
	conn = conn_open(&table, 0);
	assert_true(conn->is_ready);
	assert_false(conn->is_delayed);
	conn_release(&table, conn);
	conn_table_fini(&table);
}

static void text_grows_once_and_goes_back_to_its_pool(void **state)
{
	(void)state;
	struct conn_table table;
	assert_int_equal(conn_table_init(&table, 4), 0);
	struct conn *conn = conn_open(&table, 0);
	assert_null(conn_text(&table, conn));
	assert_true(conn_text_grow(&table, conn));
	assert_int_equal(conn->text_size, CONN_TEXT_SMALL);
	assert_int_equal(slab_used(table.small), 1);
	assert_true(conn_text_grow(&table, conn));
	assert_int_equal(conn->text_size, CONN_TEXT_LARGE);
	assert_int_equal(slab_used(table.small), 0);
	assert_int_equal(slab_used(table.large), 1);
	assert_false(conn_text_grow(&table, conn));
	assert_non_null(conn_text(&table, conn));
	conn_release(&table, conn);
	assert_int_equal(slab_used(table.large), 0);
	conn_table_fini(&table);
}

static void exhausted_pool_leaves_the_text_as_it_is(void **state)
{
	(void)state;
	enum { SIZE = CONN_LARGE_MIN + 1 };
	struct conn_table table;
	assert_int_equal(conn_table_init(&table, SIZE), 0);
	for (uint32_t i = 0; i < SIZE; i++) {
		struct conn *conn = conn_open(&table, i);
		assert_true(conn_text_grow(&table, conn));
		assert_int_equal(conn_text_grow(&table, conn), i < CONN_LARGE_MIN);
	}
	struct conn *last = conn_at(&table, SIZE - 1);
	assert_int_equal(last->text_size, CONN_TEXT_SMALL);
	conn_release(&table, conn_at(&table, 0));
	assert_true(conn_text_grow(&table, last));
	for (uint32_t i = 1; i < SIZE; i++) {
		conn_release(&table, conn_at(&table, i));
	}
	assert_int_equal(slab_used(table.small) + slab_used(table.large), 0);
	conn_table_fini(&table);
}

static void text_that_is_given_back_can_be_had_again(void **state)
{
	(void)state;
	struct conn_table table;
	assert_int_equal(conn_table_init(&table, 2), 0);
	struct conn *conn = conn_open(&table, 0);
	conn_text_drop(&table, conn); /* there is none */
	for (unsigned i = 0; i < 5; i++) {
		assert_true(conn_text_grow(&table, conn));
		assert_true(conn_text_grow(&table, conn));
		conn_text_drop(&table, conn);
		assert_null(conn_text(&table, conn));
		assert_int_equal(slab_used(table.small) + slab_used(table.large), 0);
	}
	conn_release(&table, conn);
	conn_table_fini(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(slot_used_again_has_another_generation),
	        cmocka_unit_test(generation_wraps_within_its_bits),
	        cmocka_unit_test(entry_stays_listed_when_its_slot_changes_hands),
	        cmocka_unit_test(text_grows_once_and_goes_back_to_its_pool),
	        cmocka_unit_test(exhausted_pool_leaves_the_text_as_it_is),
	        cmocka_unit_test(text_that_is_given_back_can_be_had_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
