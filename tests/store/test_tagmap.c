/* The table of tags against a plain array, with tags that collide and numbers from a seed. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <time.h>

#include "base/span.h"
#include "store/tagmap.h"

enum { N_TAGS = 3000, N_STEPS = 60000, N_COLLIDING = 64 };

/* Every second one belongs into one of a few neighbouring slots, some at the table's end. */
static uint64_t tag_of(unsigned i)
{
	uint64_t mixed = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
	return i % 2 ? mixed : ~(uint64_t)0 << 16 | (0xfff8 + i % N_COLLIDING) % 0x10000;
}

static uint64_t distinct(unsigned i)
{
	return i % 2 ? tag_of(i) : tag_of(i) ^ (uint64_t)i << 40;
}

static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

static void assert_same(const struct tagmap *map, const uint64_t *model, size_t n)
{
	assert_int_equal(map->n, n);
	for (unsigned i = 0; i < N_TAGS; i++) {
		assert_int_equal(tagmap_get(map, distinct(i)), model[i]);
	}
}

static void random_puts_and_removals_agree_with_a_plain_array(void **state)
{
	(void)state;
	static uint64_t model[N_TAGS];
	struct tagmap map = {.n = 0};
	uint32_t x = (uint32_t)time(NULL) | 1U;
	size_t n = 0;
	print_message("seed %u\n", x);
	for (unsigned step = 1; step <= N_STEPS; step++) {
		unsigned i = next_random(&x) % N_TAGS;
		bool is_put = next_random(&x) % 5 < 3;
		n += is_put && model[i] == 0;
		n -= !is_put && model[i] != 0;
		model[i] = is_put ? step : 0;
		if (is_put) {
			assert_int_equal(tagmap_put(&map, distinct(i), step), 0);
		} else {
			tagmap_remove(&map, distinct(i));
		}
		if (step % 5000 == 0) {
			assert_same(&map, model, n);
		}
	}
	tagmap_clear(&map);
	assert_int_equal(map.n, 0);
	assert_int_equal(tagmap_get(&map, distinct(1)), 0);
}

static void an_empty_table_has_no_memory_and_finds_nothing(void **state)
{
	(void)state;
	struct tagmap map = {.n = 0};
	assert_int_equal(tagmap_get(&map, 7), 0);
	tagmap_remove(&map, 7);
	assert_null(map.slots);
	tagmap_clear(&map);
}

static void a_put_overwrites(void **state)
{
	(void)state;
	struct tagmap map = {.n = 0};
	assert_int_equal(tagmap_put(&map, 0, 5), 0);
	assert_int_equal(tagmap_put(&map, 0, 6), 0);
	assert_int_equal(tagmap_get(&map, 0), 6);
	assert_int_equal(map.n, 1);
	tagmap_clear(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(random_puts_and_removals_agree_with_a_plain_array),
	        cmocka_unit_test(an_empty_table_has_no_memory_and_finds_nothing),
	        cmocka_unit_test(a_put_overwrites),
	};
	return cmocka_run_group_tests_name("tagmap", tests, NULL, NULL);
}
