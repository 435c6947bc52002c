/* What a machine carries, by its limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "engine/engine.h"

#define GIB (UINT64_C(1) << 30)

struct row {
	uint32_t workers;
	uint32_t asked;
	uint64_t nofile;
	uint32_t cores;
	uint64_t memory;
	uint32_t want_workers;
	uint32_t want_max;
	const char *limit; /* words the limit must contain; "" = no limit */
};

static const struct row rows[] = {
        /* default: one worker a core, at most 100,000 */
        {0, 0, 1048576, 4, 64 * GIB, 4, 100000, ""},
        {0, 0, 20000, 2, 64 * GIB, 2, 37844, "18922 connections for each of 2"},
        {0, 0, 20000, 8, 64 * GIB, 8, 100000, ""},
        {0, 0, 1048576, 2, GIB / 4, 2, 28339, "memory"},
        /* never below 800, unless not even the files carry them */
        {0, 0, 1048576, 1, 1 << 20, 1, 800, "memory"},
        {0, 0, 256, 2, 64 * GIB, 2, 256, "file limit"},
        /* asked for */
        {2, 10000, 20000, 8, 64 * GIB, 2, 10000, ""},
        {1, 20000, 20000, 2, 64 * GIB, 1, 20000, ""},
        {2, 1000000, 20000, 2, 64 * GIB, 2, 37844, "workers = 53"},
        {52, 1000000, 20000, 2, 64 * GIB, 52, 983944, "workers = 53"},
        {53, 1000000, 20000, 2, 64 * GIB, 53, 1000000, ""},
        {53, 1000000, 20000, 2, 4 * GIB, 53, 1000000, "take about 4516 MiB"},
        {2, 1000000, 1024, 2, 64 * GIB, 2, 1248, "raised"},
        {2, 600000, 1048576, 2, 64 * GIB, 2, 600000, ""},
        {10, 10000000, 1048576, 2, 128 * GIB, 10, 10000000, ""},
        {4, 1000000, 1048576, 2, 64 * GIB, 4, 1000000, ""},
        /* odd machines */
        {0, 0, 1024, 0, 64 * GIB, 1, 1024, "file limit"},
        {0, 0, UINT64_MAX, 1000, 64 * GIB, 256, 100000, ""},
};

static void the_limit_in_the_way_is_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *row = &rows[i];
		struct conf conf = {.workers = row->workers, .max_connections = row->asked};
		struct engine_capacity got;
		engine_capacity_of(&conf, row->nofile, row->cores, row->memory, &got);
		assert_int_equal(got.workers, row->want_workers);
		assert_int_equal(got.max_connections, row->want_max);
		if (row->limit[0] == '\0') {
			assert_string_equal(got.limit, "");
		} else if (!strstr(got.limit, row->limit)) {
			fail_msg("row %zu: \"%s\" lacks \"%s\"", i, got.limit, row->limit);
		}
	}
}

static void a_ring_has_room_for_more_than_its_share(void **state)
{
	(void)state;
	struct conf conf = {.workers = 4, .max_connections = 40000};
	struct engine_capacity got;
	engine_capacity_of(&conf, 1048576, 4, 64 * GIB, &got);
	assert_int_equal(got.per_ring, 10000 + 600 + 256);
	engine_capacity_of(&conf, 10500, 4, 64 * GIB, &got);
	assert_int_equal(got.max_connections, 4 * 9656);
	assert_int_equal(got.per_ring, 10500);
}

static void room_is_kept_for_hosts_that_nobody_listed(void **state)
{
	static const struct {
		uint32_t max_connections;
		uint32_t max_listed;
		bool blacklist_only;
		uint32_t want;
	} cases[] = {
	        {1000, CONF_MAX_LISTED_AUTO, false, 900},
	        {100, CONF_MAX_LISTED_AUTO, false, 0},
	        {80, CONF_MAX_LISTED_AUTO, false, 0},
	        {1000, CONF_MAX_LISTED_AUTO, true, 1000},
	        {1000, 50, false, 50},
	        {1000, 0, true, 0},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct conf conf = {.max_connections = cases[i].max_connections,
		                    .max_listed = cases[i].max_listed,
		                    .blacklist_only = cases[i].blacklist_only};
		struct engine_capacity got;
		engine_capacity_of(&conf, 20000, 2, 64 * GIB, &got);
		assert_int_equal(got.max_listed, cases[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_limit_in_the_way_is_named),
	        cmocka_unit_test(a_ring_has_room_for_more_than_its_share),
	        cmocka_unit_test(room_is_kept_for_hosts_that_nobody_listed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
