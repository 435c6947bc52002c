/* The rules under two clocks: who lives goes by the guard's, when something is goes by the wall. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "policy/guarded.h"

static const struct greylist_conf conf = {
        .passtime_secs = 1500,
        .greyexp_secs = 14400,
        .whiteexp_secs = 3110400,
};
enum { FIRST = 1000000 };

static struct grey_record tuple_of_first(void)
{
	const struct greylist_known nothing = {NULL, NULL, NULL};
	const struct guarded_now now = {.wall = {FIRST}, .life = {FIRST}};
	struct grey_record tuple;
	struct grey_record host;
	assert_int_equal(guarded_attempt(&conf, &now, &nothing, &tuple, &host), VERDICT_NEW);
	return tuple;
}

static void a_tuple_lives_by_the_guards_clock_and_ages_by_the_walls(void **state)
{
	(void)state;
	static const struct {
		int64_t wall_secs;
		int64_t life_secs;
		enum verdict verdict;
	} rows[] = {
	        {1500, 1500, VERDICT_EARLY},     {1501, 1501, VERDICT_PROMOTE},
	        {14399, 14399, VERDICT_PROMOTE}, {14400, 14400, VERDICT_NEW},
	        {86400, 1000, VERDICT_PROMOTE}, /* jumped ahead, not confirmed: it lives on */
	        {100, 14399, VERDICT_EARLY},    /* stepped back */
	        {1600, 14400, VERDICT_NEW},     /* stepped back behind its end: it stays dead */
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct grey_record tuple = tuple_of_first();
		struct grey_record after;
		struct grey_record host;
		const struct greylist_known known = {.tuple = &tuple};
		const struct guarded_now now = {.wall = {FIRST + rows[i].wall_secs},
		                                .life = {FIRST + rows[i].life_secs}};
		assert_int_equal(guarded_attempt(&conf, &now, &known, &after, &host),
		                 rows[i].verdict);
		if (rows[i].verdict == VERDICT_EARLY || rows[i].verdict == VERDICT_PROMOTE) {
			assert_int_equal(after.expire.secs, tuple.expire.secs);
		}
	}
}

static void behind_the_guard_new_records_live_longer_by_the_difference(void **state)
{
	(void)state;
	const struct greylist_known nothing = {NULL, NULL, NULL};
	const struct guarded_now now = {.wall = {FIRST}, .life = {FIRST + 500}};
	struct grey_record tuple;
	struct grey_record host;
	assert_int_equal(guarded_attempt(&conf, &now, &nothing, &tuple, &host), VERDICT_NEW);
	assert_int_equal(tuple.first.secs, FIRST);
	assert_int_equal(tuple.expire.secs, FIRST + 500 + 14400);
}

static void a_retry_passes_from_the_second_that_is_told_on(void **state)
{
	(void)state;
	struct grey_record tuple = tuple_of_first();
	struct wall passes_at = greylist_passes_at(&conf, &tuple);
	const struct greylist_known known = {.tuple = &tuple};
	for (int64_t late_secs = -1; late_secs <= 0; late_secs++) {
		struct grey_record after;
		struct grey_record host;
		const struct wall at = {passes_at.secs + late_secs};
		const struct guarded_now now = {.wall = at, .life = at};
		assert_int_equal(guarded_attempt(&conf, &now, &known, &after, &host),
		                 late_secs < 0 ? VERDICT_EARLY : VERDICT_PROMOTE);
	}
}

static void a_peers_attempt_goes_by_its_stamp(void **state)
{
	(void)state;
	struct grey_record tuple = tuple_of_first();
	struct grey_record after;
	struct grey_record host;
	const struct wall stale = {FIRST};
	const struct wall fresh = {FIRST + 1600};
	const struct greylist_known known = {.tuple = &tuple};
	struct guarded_now now = {
	        .wall = {FIRST + 1600}, .life = {FIRST + 1600}, .peers_at = &stale};
	assert_int_equal(guarded_attempt(&conf, &now, &known, &after, &host), VERDICT_EARLY);
	now.peers_at = &fresh;
	assert_int_equal(guarded_attempt(&conf, &now, &known, &after, &host), VERDICT_PROMOTE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_tuple_lives_by_the_guards_clock_and_ages_by_the_walls),
	        cmocka_unit_test(behind_the_guard_new_records_live_longer_by_the_difference),
	        cmocka_unit_test(a_retry_passes_from_the_second_that_is_told_on),
	        cmocka_unit_test(a_peers_attempt_goes_by_its_stamp),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
