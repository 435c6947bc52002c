/* The pool of equal objects: bound, reuse, stable addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/slab.h"

static void the_bound_holds_and_what_is_given_back_is_taken_again(void **state)
{
	struct slab *slab = slab_new(40, 3);
	(void)state;
	assert_non_null(slab);
	uint32_t a = slab_take(slab);
	uint32_t b = slab_take(slab);
	uint32_t c = slab_take(slab);
	assert_true(a != b && b != c && a != c);
	assert_true(a < 3 && b < 3 && c < 3);
	assert_int_equal(slab_take(slab), SLAB_NONE);
	assert_int_equal(slab_used(slab), 3);
	slab_give(slab, b);
	assert_int_equal(slab_used(slab), 2);
	assert_int_equal(slab_take(slab), b);
	assert_int_equal(slab_take(slab), SLAB_NONE);
	slab_free(slab);
}

static void objects_of_whole_pages_begin_with_a_page(void **state)
{
	enum { N = 100, PAGE = 4096 };
	struct slab *slab = slab_new((size_t)2 * PAGE, N);
	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		uint32_t idx = slab_take(slab);
		assert_int_equal((uintptr_t)slab_at(slab, idx) % PAGE, 0);
	}
	slab_free(slab);
}

static void objects_of_many_chunks_do_not_overlap(void **state)
{
	enum { N = 5000, SIZE = 100 };
	struct slab *slab = slab_new(SIZE, N);
	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		uint32_t idx = slab_take(slab);
		assert_true(idx < N);
		assert_int_equal((uintptr_t)slab_at(slab, idx) % 16, 0);
		memset(slab_at(slab, idx), (int)(idx % 251), SIZE);
	}
	for (uint32_t idx = 0; idx < N; idx++) {
		const uint8_t *object = slab_at(slab, idx);
		for (size_t i = 0; i < SIZE; i++) {
			assert_int_equal(object[i], idx % 251);
		}
	}
	slab_free(slab);
}

static void objects_larger_than_a_chunk_and_an_empty_pool_work(void **state)
{
	struct slab *large = slab_new(200000, 2);
	struct slab *none = slab_new(8, 0);
	(void)state;
	memset(slab_at(large, slab_take(large)), 1, 200000);
	memset(slab_at(large, slab_take(large)), 2, 200000);
	assert_int_equal(slab_take(large), SLAB_NONE);
	assert_int_equal(slab_take(none), SLAB_NONE);
	slab_free(large);
	slab_free(none);
	slab_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_bound_holds_and_what_is_given_back_is_taken_again),
	        cmocka_unit_test(objects_of_whole_pages_begin_with_a_page),
	        cmocka_unit_test(objects_of_many_chunks_do_not_overlap),
	        cmocka_unit_test(objects_larger_than_a_chunk_and_an_empty_pool_work),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
