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
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT, .trapped_record = {{NOW}, {NOW + 500}, {NOW + 500}, {NOW}, 1, 0}}},
	{"hit, white", HIT, &white, NULL,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{100}, {200}, {NOW + 500}, {NOW}, 5, 0}}},
	{"hit, trapped", HIT, NULL, &trapped,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT, .trapped_record = {{300}, {400}, {NOW + 500}, {NOW}, 6, 0}}},
	{"hit, both", HIT, &white, &trapped,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{300}, {400}, {NOW + 500}, {NOW}, 6, 0}}},
	{"hit, both expired", HIT, &old_white, &old_trapped,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{NOW}, {NOW + 500}, {NOW + 500}, {NOW}, 1, 0}}},
	{"trapped by hand, nothing known", ADD_TRAPPED, NULL, NULL,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT, .trapped_record = {{NOW}, {0}, {NOW + 500}, {NOW}, 1, 0}}},
	{"trapped by hand, white", ADD_TRAPPED, &white, NULL,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{100}, {200}, {NOW + 500}, {NOW}, 4, 0}}},
	{"trapped by hand, trapped", ADD_TRAPPED, NULL, &trapped,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT, .trapped_record = {{300}, {400}, {NOW + 500}, {NOW}, 5, 0}}},
	{"trapped by hand, white expired", ADD_TRAPPED, &old_white, NULL,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{NOW}, {0}, {NOW + 500}, {NOW}, 1, 0}}},
	{"white by hand, nothing known", ADD_WHITE, NULL, NULL,
	 {.white = HOSTS_PUT, .trapped = HOSTS_DELETE,
	  .white_record = {{NOW}, {NOW}, {NOW + 3000}, {NOW}, 1, 0}}},
	{"white by hand, white", ADD_WHITE, &white, NULL,
	 {.white = HOSTS_PUT, .trapped = HOSTS_DELETE,
	  .white_record = {{100}, {NOW}, {NOW + 3000}, {NOW}, 4, 8}}},
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
	assert_false(got->is_deleted);
}

static void assert_outcome(struct hosts_outcome got, struct hosts_outcome expected)
{
	assert_int_equal(got.white, expected.white);
	assert_int_equal(got.trapped, expected.trapped);
	if (got.white == HOSTS_PUT) {
		assert_record(&got.white_record, &expected.white_record);
	}
	if (got.trapped == HOSTS_PUT) {
		assert_record(&got.trapped_record, &expected.trapped_record);
	}
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
		assert_outcome(run(&rows[i]), rows[i].expected);
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
	full.pcount = UINT32_MAX;
	struct hosts_peer peer = {.record = {.expire = {NOW + 1}, .changed_at = {2}}};
	assert_int_equal(hosts_peer(&peer, now, &known).white_record.pcount, UINT32_MAX);
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

/* --- what peers tell ---------------------------------------------------------------------------
 */

enum { TOLD_AT = 5000, TOLD_EXPIRE = NOW + 70, TOLD_PASS = 4444 };
enum told { TRAPPED, WHITE, PROMOTED, MANUAL_TRAPPED, MANUAL_WHITE };

static const struct grey_record later_white = {.first = {100},
                                               .pass = {200},
                                               .expire = {NOW + 100},
                                               .changed_at = {TOLD_AT},
                                               .bcount = 4,
                                               .pcount = 7};
static const struct grey_record later_trapped = {
        .first = {300}, .pass = {400}, .expire = {NOW + 100}, .changed_at = {TOLD_AT}, .bcount = 5};
static const struct grey_record deleted = {.first = {300},
                                           .pass = {400},
                                           .expire = {NOW + 100},
                                           .changed_at = {TOLD_AT - 1},
                                           .bcount = 5,
                                           .pcount = 9,
                                           .is_deleted = true};
static const struct grey_record later_deleted = {
        .expire = {NOW + 100}, .changed_at = {TOLD_AT}, .is_deleted = true};

static const struct peer_row {
	const char *what;
	enum told told;
	const struct grey_record *white;
	const struct grey_record *trapped;
	struct hosts_outcome expected;
} peer_rows[] = {
        // clang-format off
	{"trapped, nothing known", TRAPPED, NULL, NULL,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"trapped, trapped: a longer life", TRAPPED, NULL, &trapped,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{300}, {400}, {TOLD_EXPIRE}, {TOLD_AT}, 6, 0}}},
	{"trapped, trapped later", TRAPPED, &later_deleted, &later_trapped, {.white = HOSTS_KEEP}},
	{"trapped, trap expired", TRAPPED, NULL, &old_trapped,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"trapped, trap deleted before", TRAPPED, NULL, &deleted,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"trapped, trap deleted later", TRAPPED, &later_white, &later_deleted,
	 {.white = HOSTS_KEEP}},
	{"trapped, white", TRAPPED, &white, NULL,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"trapped, white later", TRAPPED, &later_white, NULL,
	 {.white = HOSTS_KEEP, .trapped = HOSTS_PUT,
	  .trapped_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"white, nothing known", WHITE, NULL, NULL,
	 {.white = HOSTS_PUT, .white_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"promoted, nothing known", PROMOTED, NULL, NULL,
	 {.white = HOSTS_PUT,
	  .white_record = {{NOW}, {TOLD_PASS}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"white, white: a longer life", WHITE, &white, NULL,
	 {.white = HOSTS_PUT,
	  .white_record = {{100}, {200}, {TOLD_EXPIRE}, {TOLD_AT}, 4, 8}}},
	{"promoted, white: pass kept", PROMOTED, &white, NULL,
	 {.white = HOSTS_PUT,
	  .white_record = {{100}, {200}, {TOLD_EXPIRE}, {TOLD_AT}, 4, 8}}},
	{"white, white later", WHITE, &later_white, NULL, {.white = HOSTS_KEEP}},
	{"white, white deleted before", WHITE, &deleted, NULL,
	 {.white = HOSTS_PUT, .white_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"white, white deleted later", WHITE, &later_deleted, NULL, {.white = HOSTS_KEEP}},
	{"white, trapped", WHITE, NULL, &trapped, {.white = HOSTS_KEEP}},
	{"promoted, trapped", PROMOTED, &white, &trapped, {.white = HOSTS_KEEP}},
	{"white, trap expired", WHITE, NULL, &old_trapped,
	 {.white = HOSTS_PUT, .white_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"white, trap deleted", WHITE, NULL, &deleted,
	 {.white = HOSTS_PUT, .white_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"trapped by hand, white", MANUAL_TRAPPED, &white, NULL,
	 {.white = HOSTS_DELETE, .trapped = HOSTS_PUT,
	  .trapped_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"white by hand, nothing known", MANUAL_WHITE, NULL, NULL,
	 {.white = HOSTS_PUT, .trapped = HOSTS_DELETE,
	  .white_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"white by hand, trapped", MANUAL_WHITE, NULL, &trapped,
	 {.white = HOSTS_PUT, .trapped = HOSTS_DELETE,
	  .white_record = {{NOW}, {0}, {TOLD_EXPIRE}, {TOLD_AT}, 0, 0}}},
	{"white by hand, trapped later", MANUAL_WHITE, &white, &later_trapped,
	 {.white = HOSTS_KEEP}},
	{"white by hand, white later", MANUAL_WHITE, &later_white, &trapped,
	 {.white = HOSTS_KEEP, .trapped = HOSTS_DELETE}},
	{"white by hand, both later", MANUAL_WHITE, &later_white, &later_deleted,
	 {.white = HOSTS_KEEP}},
        // clang-format on
};

static struct hosts_peer told(enum told told)
{
	struct hosts_peer peer = {
	        .record = {.expire = {TOLD_EXPIRE}, .changed_at = {TOLD_AT}, .bcount = 77}};
	peer.is_trapped = told == TRAPPED || told == MANUAL_TRAPPED;
	peer.is_manual = told == MANUAL_TRAPPED || told == MANUAL_WHITE;
	peer.record.pass.secs = told == PROMOTED ? TOLD_PASS : 0;
	return peer;
}

static void every_row_of_what_peers_tell_holds(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(peer_rows); i++) {
		const struct peer_row *row = &peer_rows[i];
		struct hosts_known known = {row->white, row->trapped};
		struct hosts_peer peer = told(row->told);
		print_message("%s\n", row->what);
		assert_outcome(hosts_peer(&peer, (struct wall){NOW}, &known), row->expected);
	}
}

static void a_peer_shortens_no_life_and_tells_of_nothing_that_has_ended(void **state)
{
	(void)state;
	struct wall now = {NOW};
	struct grey_record longer = white;
	longer.expire.secs = NOW + 1000;
	struct hosts_peer peer = told(WHITE);
	struct hosts_outcome outcome = hosts_peer(&peer, now, &(struct hosts_known){&longer, NULL});
	assert_int_equal(outcome.white, HOSTS_PUT);
	assert_int_equal(outcome.white_record.expire.secs, NOW + 1000);
	for (int i = TRAPPED; i <= MANUAL_WHITE; i++) {
		peer = told((enum told)i);
		peer.record.expire = now;
		outcome = hosts_peer(&peer, now, &(struct hosts_known){NULL, NULL});
		assert_int_equal(outcome.white, HOSTS_KEEP);
		assert_int_equal(outcome.trapped, HOSTS_KEEP);
	}
}

/* What is told is applied as the store does it, and told again. */
static void what_is_told_twice_changes_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(peer_rows); i++) {
		const struct peer_row *row = &peer_rows[i];
		struct hosts_known known = {row->white, row->trapped};
		struct hosts_peer peer = told(row->told);
		struct wall now = {NOW};
		struct hosts_outcome first = hosts_peer(&peer, now, &known);
		if (first.white != HOSTS_KEEP) {
			known.white =
			        first.white == HOSTS_PUT ? &first.white_record : &later_deleted;
		}
		if (first.trapped != HOSTS_KEEP) {
			known.trapped =
			        first.trapped == HOSTS_PUT ? &first.trapped_record : &later_deleted;
		}
		struct hosts_outcome second = hosts_peer(&peer, now, &known);
		assert_int_equal(second.white, HOSTS_KEEP);
		assert_int_equal(second.trapped, HOSTS_KEEP);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_row_of_the_rules_holds),
	        cmocka_unit_test(counters_stop_at_their_largest_value),
	        cmocka_unit_test(no_traffic_changes_nothing),
	        cmocka_unit_test(a_trap_wins_over_a_whitelist_entry),
	        cmocka_unit_test(every_row_of_what_peers_tell_holds),
	        cmocka_unit_test(a_peer_shortens_no_life_and_tells_of_nothing_that_has_ended),
	        cmocka_unit_test(what_is_told_twice_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
