/* The greylist rules, one by one, with the times at their edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "policy/greylist.h"

static const struct greylist_conf conf = {
        .passtime_secs = 1500,
        .greyexp_secs = 14400,
        .whiteexp_secs = 3110400,
};
static const struct wall first = {1000000};

static struct grey_record tuple_of_first(void)
{
	struct greylist_known nothing = {NULL, NULL, NULL};
	struct grey_record tuple;
	struct grey_record host;
	assert_int_equal(greylist_attempt(&conf, first, &nothing, &tuple, &host), VERDICT_NEW);
	return tuple;
}

static struct wall after(int64_t secs)
{
	return (struct wall){first.secs + secs};
}

static void first_attempt_makes_a_tuple(void **state)
{
	(void)state;
	struct grey_record tuple = tuple_of_first();
	assert_int_equal(tuple.first.secs, first.secs);
	assert_int_equal(tuple.pass.secs, first.secs + 14400);
	assert_int_equal(tuple.expire.secs, first.secs + 14400);
	assert_int_equal(tuple.changed_at.secs, first.secs);
	assert_int_equal(tuple.bcount, 1);
	assert_int_equal(tuple.pcount, 0);
}

static void retry_counts_by_its_time(void **state)
{
	(void)state;
	static const struct {
		int64_t secs;
		enum verdict verdict;
	} rows[] = {
	        {0, VERDICT_EARLY},      {1, VERDICT_EARLY},       {1499, VERDICT_EARLY},
	        {1500, VERDICT_EARLY}, /* strictly later */
	        {1501, VERDICT_PROMOTE}, {14399, VERDICT_PROMOTE}, {14400, VERDICT_NEW},
	        {1000000, VERDICT_NEW},  {-500, VERDICT_EARLY}, /* the clock went back */
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct grey_record stored = tuple_of_first();
		struct greylist_known known = {.tuple = &stored};
		struct grey_record tuple;
		struct grey_record host;
		assert_int_equal(
		        greylist_attempt(&conf, after(rows[i].secs), &known, &tuple, &host),
		        rows[i].verdict);
	}
}

static void early_retry_changes_the_count_only(void **state)
{
	(void)state;
	struct grey_record stored = tuple_of_first();
	struct greylist_known known = {.tuple = &stored};
	struct grey_record tuple;
	struct grey_record host;
	(void)greylist_attempt(&conf, after(60), &known, &tuple, &host);
	assert_int_equal(tuple.bcount, 2);
	tuple.bcount = stored.bcount;
	assert_int_equal(tuple.first.secs, stored.first.secs);
	assert_int_equal(tuple.pass.secs, stored.pass.secs);
	assert_int_equal(tuple.expire.secs, stored.expire.secs);
	assert_int_equal(tuple.changed_at.secs, stored.changed_at.secs);
	assert_int_equal(tuple.pcount, stored.pcount);
}

static void qualified_retry_promotes_the_host_at_once(void **state)
{
	(void)state;
	struct grey_record stored = tuple_of_first();
	struct greylist_known known = {.tuple = &stored};
	struct grey_record tuple;
	struct grey_record host;
	struct wall now = after(2000);
	assert_int_equal(greylist_attempt(&conf, now, &known, &tuple, &host), VERDICT_PROMOTE);
	assert_int_equal(tuple.bcount, 2);
	assert_int_equal(tuple.pass.secs, now.secs);
	assert_int_equal(tuple.changed_at.secs, now.secs);
	assert_int_equal(tuple.expire.secs, stored.expire.secs); /* never extended */
	assert_int_equal(host.first.secs, first.secs);
	assert_int_equal(host.pass.secs, now.secs);
	assert_int_equal(host.expire.secs, now.secs + 3110400);
	assert_int_equal(host.bcount, 2);
	assert_int_equal(host.pcount, 0);
}

static void expired_tuple_begins_anew(void **state)
{
	(void)state;
	struct grey_record stored = tuple_of_first();
	stored.bcount = 7;
	struct greylist_known known = {.tuple = &stored};
	struct grey_record tuple;
	struct grey_record host;
	struct wall now = stored.expire;
	assert_int_equal(greylist_attempt(&conf, now, &known, &tuple, &host), VERDICT_NEW);
	assert_int_equal(tuple.first.secs, now.secs);
	assert_int_equal(tuple.bcount, 1);
}

static void live_host_records_come_first(void **state)
{
	(void)state;
	static const struct {
		int64_t white_life;
		int64_t trapped_life;
		enum verdict verdict;
	} rows[] = {
	        {100, 0, VERDICT_WHITE}, {0, 100, VERDICT_TRAPPED}, {100, 100, VERDICT_TRAPPED},
	        {0, 0, VERDICT_PROMOTE}, {-1, -1, VERDICT_PROMOTE},
	};
	struct wall now = after(2000);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct grey_record stored = tuple_of_first();
		struct grey_record white = {.expire = {now.secs + rows[i].white_life}};
		struct grey_record trapped = {.expire = {now.secs + rows[i].trapped_life}};
		struct greylist_known known = {&stored, &white, &trapped};
		struct grey_record tuple;
		struct grey_record host;
		assert_int_equal(greylist_attempt(&conf, now, &known, &tuple, &host),
		                 rows[i].verdict);
	}
}

static void host_whose_white_has_ended_is_promoted_again(void **state)
{
	(void)state;
	struct grey_record stored = tuple_of_first();
	stored.pass = after(1600); /* it had qualified before */
	struct greylist_known known = {.tuple = &stored};
	struct grey_record tuple;
	struct grey_record host;
	assert_int_equal(greylist_attempt(&conf, after(3000), &known, &tuple, &host),
	                 VERDICT_PROMOTE);
	assert_int_equal(host.pass.secs, after(3000).secs);
}

static void count_stays_at_its_bound(void **state)
{
	(void)state;
	struct grey_record stored = tuple_of_first();
	stored.bcount = UINT32_MAX;
	struct greylist_known known = {.tuple = &stored};
	struct grey_record tuple;
	struct grey_record host;
	assert_int_equal(greylist_attempt(&conf, after(1), &known, &tuple, &host), VERDICT_EARLY);
	assert_int_equal(tuple.bcount, UINT32_MAX);
}

static void record_lives_until_its_expire(void **state)
{
	(void)state;
	struct grey_record record = {.expire = {100}};
	assert_true(grey_record_is_live(&record, (struct wall){99}));
	assert_false(grey_record_is_live(&record, (struct wall){100}));
	assert_false(grey_record_is_live(NULL, (struct wall){0}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(first_attempt_makes_a_tuple),
	        cmocka_unit_test(retry_counts_by_its_time),
	        cmocka_unit_test(early_retry_changes_the_count_only),
	        cmocka_unit_test(qualified_retry_promotes_the_host_at_once),
	        cmocka_unit_test(expired_tuple_begins_anew),
	        cmocka_unit_test(live_host_records_come_first),
	        cmocka_unit_test(host_whose_white_has_ended_is_promoted_again),
	        cmocka_unit_test(count_stays_at_its_bound),
	        cmocka_unit_test(record_lives_until_its_expire),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
