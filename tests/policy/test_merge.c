/* The merge table: its rows by value, and the three laws that make order and grouping of merges
 * count for nothing, over random records that meet at few values so that all ties occur. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
// clang-format on
#include "base/clock.h"
#include "base/compiler.h"
#include "policy/merge.h"

enum { N_TRIPLES = 100000 };

typedef struct grey_record merge(const struct grey_record *a, const struct grey_record *b);

static void assert_same(const struct grey_record *a, const struct grey_record *b)
{
	assert_int_equal(a->first.secs, b->first.secs);
	assert_int_equal(a->pass.secs, b->pass.secs);
	assert_int_equal(a->expire.secs, b->expire.secs);
	assert_int_equal(a->changed_at.secs, b->changed_at.secs);
	assert_int_equal(a->last.secs, b->last.secs);
	assert_int_equal(a->bcount, b->bcount);
	assert_int_equal(a->pcount, b->pcount);
	assert_int_equal(a->is_deleted, b->is_deleted);
}

/* --- the laws --------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return *seed >> 33;
}

static struct wall random_time(uint64_t *seed)
{
	static const int64_t times[] = {0,         1, 2, 3, 1700000000, (INT64_C(1) << 48) - 1,
	                                INT64_MAX, -1};
	uint64_t n = next_random(seed);
	return (struct wall){n % 4 ? times[n / 4 % ARRAY_LEN(times)] : (int64_t)(n / 4)};
}

static uint32_t random_count(uint64_t *seed)
{
	static const uint32_t counts[] = {0, 1, 2, UINT32_MAX};
	return counts[next_random(seed) % ARRAY_LEN(counts)];
}

static struct grey_record random_record(uint64_t *seed)
{
	return (struct grey_record){.first = random_time(seed),
	                            .pass = random_time(seed),
	                            .expire = random_time(seed),
	                            .changed_at = random_time(seed),
	                            .last = random_time(seed),
	                            .bcount = random_count(seed),
	                            .pcount = random_count(seed),
	                            .is_deleted = next_random(seed) % 2 == 0};
}

static void obeys_the_laws(merge *join)
{
	uint64_t seed = (uint64_t)clock_mono().ns;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int i = 0; i < N_TRIPLES; i++) {
		struct grey_record a = random_record(&seed);
		struct grey_record b = random_record(&seed);
		struct grey_record c = random_record(&seed);
		struct grey_record ab = join(&a, &b);
		struct grey_record ba = join(&b, &a);
		struct grey_record bc = join(&b, &c);
		struct grey_record left = join(&ab, &c);
		struct grey_record right = join(&a, &bc);
		struct grey_record aa = join(&a, &a);
		struct grey_record again = join(&ab, &b);
		assert_same(&ab, &ba);
		assert_same(&left, &right);
		assert_same(&aa, &a);
		assert_same(&again, &ab);
	}
}

static void hosts_merge_in_any_order_and_grouping(void **state)
{
	(void)state;
	obeys_the_laws(merge_host);
}

static void tuples_merge_in_any_order_and_grouping(void **state)
{
	(void)state;
	obeys_the_laws(merge_tuple);
}

static void spamtraps_merge_in_any_order_and_grouping(void **state)
{
	(void)state;
	obeys_the_laws(merge_spamtrap);
}

/* --- the table -------------------------------------------------------------------------------- */

/* first, pass, expire, changed_at, bcount, pcount, last, is_deleted */
static const struct row {
	const char *what;
	merge *join;
	struct grey_record a;
	struct grey_record b;
	struct grey_record expected;
} rows[] = {
        // clang-format off
	{"host: the later change wins whole, first and counters apart", merge_host,
	 {{5}, {6}, {90}, {10}, 1, 9, {0}, false}, {{4}, {7}, {80}, {11}, 3, 2, {0}, false},
	 {{4}, {7}, {80}, {11}, 3, 9, {0}, false}},
	{"host: a later deletion wins", merge_host,
	 {{5}, {6}, {90}, {10}, 1, 9, {0}, false}, {{0}, {0}, {80}, {11}, 0, 0, {0}, true},
	 {{5}, {0}, {80}, {11}, 1, 9, {0}, true}},
	{"host: at the same time live beats deleted", merge_host,
	 {{5}, {6}, {70}, {10}, 1, 9, {0}, false}, {{0}, {9}, {80}, {10}, 0, 0, {0}, true},
	 {{5}, {6}, {70}, {10}, 1, 9, {0}, false}},
	{"host: then the larger expire", merge_host,
	 {{5}, {6}, {90}, {10}, 1, 9, {0}, false}, {{4}, {7}, {80}, {10}, 3, 2, {0}, false},
	 {{4}, {6}, {90}, {10}, 3, 9, {0}, false}},
	{"host: then the larger pass", merge_host,
	 {{5}, {6}, {90}, {10}, 1, 9, {0}, false}, {{4}, {7}, {90}, {10}, 3, 2, {0}, false},
	 {{4}, {7}, {90}, {10}, 3, 9, {0}, false}},
	{"tuple: each field by itself", merge_tuple,
	 {{5}, {6}, {90}, {10}, 1, 9, {3}, false}, {{4}, {7}, {80}, {11}, 3, 2, {2}, false},
	 {{4}, {6}, {90}, {11}, 3, 9, {3}, false}},
	{"tuple: what is not known loses", merge_tuple,
	 {{0}, {0}, {90}, {10}, 1, 0, {3}, false}, {{4}, {7}, {80}, {9}, 3, 0, {0}, false},
	 {{4}, {7}, {90}, {10}, 3, 0, {3}, false}},
	{"tuple: a later deletion", merge_tuple,
	 {{5}, {6}, {90}, {10}, 1, 0, {3}, false}, {{5}, {6}, {90}, {11}, 1, 0, {3}, true},
	 {{5}, {6}, {90}, {11}, 1, 0, {3}, true}},
	{"tuple: an earlier deletion", merge_tuple,
	 {{5}, {6}, {90}, {10}, 1, 0, {3}, false}, {{5}, {6}, {90}, {9}, 1, 0, {3}, true},
	 {{5}, {6}, {90}, {10}, 1, 0, {3}, false}},
	{"tuple: at the same time live", merge_tuple,
	 {{5}, {6}, {90}, {10}, 1, 0, {3}, false}, {{5}, {6}, {90}, {10}, 1, 0, {3}, true},
	 {{5}, {6}, {90}, {10}, 1, 0, {3}, false}},
	{"spamtrap: a later deletion", merge_spamtrap,
	 {{5}, {0}, {0}, {5}, 1, 0, {0}, false}, {{4}, {0}, {0}, {6}, 0, 0, {0}, true},
	 {{4}, {0}, {0}, {6}, 1, 0, {0}, true}},
	{"spamtrap: at the same time live", merge_spamtrap,
	 {{5}, {0}, {0}, {6}, 1, 0, {0}, false}, {{4}, {0}, {0}, {6}, 0, 0, {0}, true},
	 {{4}, {0}, {0}, {6}, 1, 0, {0}, false}},
        // clang-format on
};

static void every_row_of_the_table_holds(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		print_message("%s\n", rows[i].what);
		struct grey_record got = rows[i].join(&rows[i].a, &rows[i].b);
		assert_same(&got, &rows[i].expected);
		got = rows[i].join(&rows[i].b, &rows[i].a);
		assert_same(&got, &rows[i].expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(hosts_merge_in_any_order_and_grouping),
	        cmocka_unit_test(tuples_merge_in_any_order_and_grouping),
	        cmocka_unit_test(spamtraps_merge_in_any_order_and_grouping),
	        cmocka_unit_test(every_row_of_the_table_holds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
