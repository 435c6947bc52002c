/* The rules for a host's two registers, in rows: what was known, what happened, what becomes of it.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
// clang-format on
#include "base/compiler.h"
#include "policy/hosts.h"

enum { NOW = 1000000, LIFE = 3000, TRAP_LIFE = 500, SEEN = 3 };

enum event { HIT, ADD_TRAPPED, ADD_WHITE, TRAFFIC };

/* Registers as they may be stored: first, pass, expire, changed_at, bcount, pcount. */
static const struct grey_record white = {.first = {100},
                                         .pass = {200},
                                         .expire = {NOW + 1},
                                         .changed_at = {100},
                                         .bcount = 4,
                                         .pcount = 7};
static const struct grey_record trapped = {.first = {300},
                                           .pass = {400},
                                           .expire = {NOW + 1},
                                           .changed_at = {300},
                                           .bcount = 5,
                                           .pcount = 0};
static const struct grey_record old_white = {.first = {100},
                                             .pass = {200},
                                             .expire = {NOW},
                                             .changed_at = {100},
                                             .bcount = 4,
                                             .pcount = 7};
static const struct grey_record old_trapped = {.first = {300},
                                               .pass = {400},
                                               .expire = {NOW},
                                               .changed_at = {300},
                                               .bcount = 5,
                                               .pcount = 0};

static const struct row {
	const char *what;
	enum event event;
	const struct grey_record *white;
	const struct grey_record *trapped;
	struct hosts_outcome expected;
} rows[] = {
        // clang-format off
	{"hit, nothing known", HIT, NULL, NULL,
	 {.trapped = HOSTS_PUT, .trapped_record = {{NOW}, {NOW + 500}, {NOW + 500}, {NOW}, 1, 0}}},
	{"hit, white", HIT, &white, NULL,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{100}, {200}, {NOW + 500}, {NOW}, 5, 0}}},
	{"hit, trapped", HIT, NULL, &trapped,
	 {.trapped = HOSTS_PUT, .trapped_record = {{300}, {400}, {NOW + 500}, {NOW}, 6, 0}}},
	{"hit, both", HIT, &white, &trapped,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{300}, {400}, {NOW + 500}, {NOW}, 6, 0}}},
	{"hit, both expired", HIT, &old_white, &old_trapped,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{NOW}, {NOW + 500}, {NOW + 500}, {NOW}, 1, 0}}},
	{"trapped by hand, nothing known", ADD_TRAPPED, NULL, NULL,
	 {.trapped = HOSTS_PUT, .trapped_record = {{NOW}, {0}, {NOW + 500}, {NOW}, 1, 0}}},
	{"trapped by hand, white", ADD_TRAPPED, &white, NULL,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{100}, {200}, {NOW + 500}, {NOW}, 4, 0}}},
	{"trapped by hand, trapped", ADD_TRAPPED, NULL, &trapped,
	 {.trapped = HOSTS_PUT, .trapped_record = {{300}, {400}, {NOW + 500}, {NOW}, 5, 0}}},
	{"trapped by hand, white expired", ADD_TRAPPED, &old_white, NULL,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{NOW}, {0}, {NOW + 500}, {NOW}, 1, 0}}},
	{"white by hand, nothing known", ADD_WHITE, NULL, NULL,
	 {.white = HOSTS_PUT, .white_record = {{NOW}, {NOW}, {NOW + 3000}, {NOW}, 1, 0}}},
	{"white by hand, white", ADD_WHITE, &white, NULL,
	 {.white = HOSTS_PUT, .white_record = {{100}, {NOW}, {NOW + 3000}, {NOW}, 4, 8}}},
	{"white by hand, trapped", ADD_WHITE, NULL, &trapped,
	 {.white = HOSTS_PUT, .trapped = HOSTS_DELETE,
	  .white_record = {{300}, {NOW}, {NOW + 3000}, {NOW}, 5, 0}}},
	{"white by hand, both", ADD_WHITE, &white, &trapped,
	 {.white = HOSTS_PUT, .trapped = HOSTS_DELETE,
	  .white_record = {{300}, {NOW}, {NOW + 3000}, {NOW}, 5, 0}}},
	{"white by hand, trap expired", ADD_WHITE, NULL, &old_trapped,
	 {.white = HOSTS_PUT, .trapped = HOSTS_DELETE,
	  .white_record = {{NOW}, {NOW}, {NOW + 3000}, {NOW}, 1, 0}}},
	{"traffic, nothing known", TRAFFIC, NULL, NULL,
	 {.white = HOSTS_PUT, .white_record = {{NOW}, {NOW}, {NOW + 3000}, {NOW}, 1, 2}}},
	{"traffic, white", TRAFFIC, &white, NULL,
	 {.white = HOSTS_PUT, .white_record = {{100}, {200}, {NOW + 3000}, {NOW}, 4, 10}}},
	{"traffic, white expired", TRAFFIC, &old_white, NULL,
	 {.white = HOSTS_PUT, .white_record = {{NOW}, {NOW}, {NOW + 3000}, {NOW}, 1, 2}}},
	{"traffic, trapped", TRAFFIC, NULL, &trapped, {.white = HOSTS_KEEP}},
	{"traffic, both", TRAFFIC, &white, &trapped, {.white = HOSTS_KEEP}},
	{"traffic, trap expired", TRAFFIC, NULL, &old_trapped,
	 {.white = HOSTS_PUT, .white_record = {{NOW}, {NOW}, {NOW + 3000}, {NOW}, 1, 2}}},
        // clang-format on
};

static void assert_record(const struct grey_record *got, const struct grey_record *expected)
{
	assert_int_equal(got->first.secs, expected->first.secs);
	assert_int_equal(got->pass.secs, expected->pass.secs);
	assert_int_equal(got->expire.secs, expected->expire.secs);
	assert_int_equal(got->changed_at.secs, expected->changed_at.secs);
	assert_int_equal(got->bcount, expected->bcount);
	assert_int_equal(got->pcount, expected->pcount);
}

static struct hosts_outcome run(const struct row *row)
{
	struct hosts_known known = {row->white, row->trapped};
	struct wall now = {NOW};
	switch (row->event) {
	case HIT:
		return hosts_trap_hit(TRAP_LIFE, now, &known);
	case ADD_TRAPPED:
		return hosts_add_trapped(TRAP_LIFE, now, &known);
	case ADD_WHITE:
		return hosts_add_white(LIFE, now, &known);
	case TRAFFIC:
		return hosts_seen(LIFE, SEEN, now, &known);
	}
	fail();
	return (struct hosts_outcome){.white = HOSTS_KEEP};
}

static void every_row_of_the_rules_holds(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		print_message("%s\n", rows[i].what);
		struct hosts_outcome got = run(&rows[i]);
		assert_int_equal(got.white, rows[i].expected.white);
		assert_int_equal(got.trapped, rows[i].expected.trapped);
		if (got.white == HOSTS_PUT) {
			assert_record(&got.white_record, &rows[i].expected.white_record);
		}
		if (got.trapped == HOSTS_PUT) {
			assert_record(&got.trapped_record, &rows[i].expected.trapped_record);
		}
	}
}

static void counters_stop_at_their_largest_value(void **state)
{
	(void)state;
	struct grey_record full = {.first = {1},
	                           .pass = {1},
	                           .expire = {NOW + 1},
	                           .changed_at = {1},
	                           .bcount = UINT32_MAX,
	                           .pcount = UINT32_MAX - 1};
	struct hosts_known known = {&full, NULL};
	struct wall now = {NOW};
	assert_int_equal(hosts_seen(LIFE, 5, now, &known).white_record.pcount, UINT32_MAX);
	assert_int_equal(hosts_add_white(LIFE, now, &known).white_record.pcount, UINT32_MAX);
	assert_int_equal(hosts_trap_hit(LIFE, now, &known).trapped_record.bcount, UINT32_MAX);
}

static void no_traffic_changes_nothing(void **state)
{
	(void)state;
	struct hosts_known known = {NULL, NULL};
	assert_int_equal(hosts_seen(LIFE, 0, (struct wall){NOW}, &known).white, HOSTS_KEEP);
}

static void a_trap_wins_over_a_whitelist_entry(void **state)
{
	(void)state;
	struct wall now = {NOW};
	assert_int_equal(hosts_kind_of(&(struct hosts_known){NULL, NULL}, now), HOSTS_NONE);
	assert_int_equal(hosts_kind_of(&(struct hosts_known){&white, NULL}, now), HOSTS_WHITE);
	assert_int_equal(hosts_kind_of(&(struct hosts_known){NULL, &trapped}, now), HOSTS_TRAPPED);
	assert_int_equal(hosts_kind_of(&(struct hosts_known){&white, &trapped}, now),
	                 HOSTS_TRAPPED);
	assert_int_equal(hosts_kind_of(&(struct hosts_known){&white, &old_trapped}, now),
	                 HOSTS_WHITE);
	assert_int_equal(hosts_kind_of(&(struct hosts_known){&old_white, &old_trapped}, now),
	                 HOSTS_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_row_of_the_rules_holds),
	        cmocka_unit_test(counters_stop_at_their_largest_value),
	        cmocka_unit_test(no_traffic_changes_nothing),
	        cmocka_unit_test(a_trap_wins_over_a_whitelist_entry),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
