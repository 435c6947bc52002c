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
	assert_int_equal(tuple.last.secs, first.secs);
}

static void retry_counts_by_its_time(void **state)
{
	(void)state;
	static const struct {
		int64_t secs;
		enum verdict verdict;
	} rows[] = {
	        {0, VERDICT_EARLY},
	        {1, VERDICT_EARLY},
	        {1499, VERDICT_EARLY},
	        {1500, VERDICT_EARLY}, /* strictly later */
	        {1501, VERDICT_PROMOTE},
	        {14399, VERDICT_PROMOTE},
	        {14400, VERDICT_NEW},
	        {1000000, VERDICT_NEW},
	        /* the clock went back */
	        {-500, VERDICT_EARLY},
	        {-1500, VERDICT_EARLY},
	        {-1501, VERDICT_NEW},
	        {-999999, VERDICT_NEW},
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

static void early_retry_changes_the_count_and_the_last_attempt_only(void **state)
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
	assert_int_equal(tuple.last.secs, first.secs + 60);
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
	assert_int_equal(tuple.last.secs, now.secs);
	assert_int_equal(host.last.secs, 0); /* a host has none */
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

/* --- attempts of peers ------------------------------------------------------------------------ */

/* One attempt after the other, each seeing what the one before it left. Seconds after `first`. */
struct step {
	bool is_peers;
	int64_t now_secs;
	int64_t at_secs; /* of a peer's */
	enum verdict verdict;
	uint32_t bcount;
	int64_t last_secs;
};

static enum verdict take(const struct step *step, struct grey_record *stored, bool *is_stored)
{
	struct greylist_known known = {.tuple = *is_stored ? stored : NULL};
	struct grey_record tuple;
	struct grey_record host;
	struct wall now = after(step->now_secs);
	enum verdict verdict = step->is_peers
	                               ? greylist_peer_attempt(&conf, now, after(step->at_secs),
	                                                       &known, &tuple, &host)
	                               : greylist_attempt(&conf, now, &known, &tuple, &host);
	*stored = tuple;
	*is_stored = true;
	return verdict;
}

static void play(const struct step *steps, size_t n_steps)
{
	struct grey_record stored;
	bool is_stored = false;
	for (size_t i = 0; i < n_steps; i++) {
		assert_int_equal(take(&steps[i], &stored, &is_stored), steps[i].verdict);
		assert_int_equal(stored.bcount, steps[i].bcount);
		assert_int_equal(stored.last.secs, first.secs + steps[i].last_secs);
	}
}

#define PLAY(...)                                                 \
	do {                                                      \
		static const struct step steps[] = {__VA_ARGS__}; \
		play(steps, ARRAY_LEN(steps));                    \
	} while (0)

static void a_tuple_that_travelled_is_promoted_by_either_side(void **state)
{
	(void)state;
	PLAY({true, 0, 0, VERDICT_NEW, 1, 0}, {false, 1501, 0, VERDICT_PROMOTE, 2, 1501});
	PLAY({false, 0, 0, VERDICT_NEW, 1, 0}, {true, 60, 59, VERDICT_EARLY, 2, 59},
	     {true, 1501, 1500, VERDICT_PROMOTE, 3, 1500});
	/* the peer is five minutes behind, and as many ahead: ageing goes by our own clock */
	PLAY({true, 0, -300, VERDICT_NEW, 1, 0}, {true, 1500, 1200, VERDICT_EARLY, 2, 1200},
	     {true, 1501, 1201, VERDICT_PROMOTE, 3, 1201});
	PLAY({true, 0, 300, VERDICT_NEW, 1, 300}, {true, 1500, 1800, VERDICT_EARLY, 2, 1800},
	     {true, 1501, 1801, VERDICT_PROMOTE, 3, 1801});
}

static void a_repeated_attempt_of_a_peer_changes_nothing(void **state)
{
	(void)state;
	/* duplicates, at once and after passtime */
	PLAY({true, 0, 0, VERDICT_NEW, 1, 0}, {true, 0, 0, VERDICT_EARLY, 1, 0},
	     {true, 1, 0, VERDICT_EARLY, 1, 0}, {true, 2000, 0, VERDICT_EARLY, 1, 0});
	/* out of order: the one before the last that counted */
	PLAY({true, 0, 0, VERDICT_NEW, 1, 0}, {true, 100, 90, VERDICT_EARLY, 2, 90},
	     {true, 100, 80, VERDICT_EARLY, 2, 90}, {true, 2000, 90, VERDICT_EARLY, 2, 90},
	     {true, 2000, 91, VERDICT_PROMOTE, 3, 91});
	/* one of ours counts for the order, too */
	PLAY({true, 0, 0, VERDICT_NEW, 1, 0}, {false, 200, 0, VERDICT_EARLY, 2, 200},
	     {true, 2000, 200, VERDICT_EARLY, 2, 200});
	/* and does not set it back when the peer's clock is ahead */
	PLAY({true, 0, 300, VERDICT_NEW, 1, 300}, {false, 10, 0, VERDICT_EARLY, 2, 300},
	     {true, 2000, 300, VERDICT_EARLY, 2, 300});
}

static void a_recorded_pair_promotes_nobody_in_the_next_life(void **state)
{
	(void)state;
	/* a client's own first attempt, then the recording, before and after passtime */
	PLAY({false, 20000, 0, VERDICT_NEW, 1, 20000}, {true, 20001, 0, VERDICT_EARLY, 1, 20000},
	     {true, 22000, 1501, VERDICT_EARLY, 1, 20000});
	/* the recording alone: its first half makes a tuple, its second does not age it */
	PLAY({true, 20000, 0, VERDICT_NEW, 1, 20000}, {true, 22000, 1501, VERDICT_EARLY, 1, 20000});
	/* recorded in this very life, played after its end while the record is still there */
	PLAY({true, 0, 0, VERDICT_NEW, 1, 0}, {true, 100, 14900, VERDICT_EARLY, 2, 14900},
	     {true, 14500, 0, VERDICT_NEW, 1, 14900},
	     {true, 16100, 14900, VERDICT_EARLY, 1, 14900});
}

static void a_deleted_tuple_begins_anew_but_remembers_its_last_attempt(void **state)
{
	(void)state;
	struct grey_record stored = tuple_of_first();
	stored.last = after(400);
	stored.is_deleted = true;
	struct greylist_known known = {.tuple = &stored};
	struct grey_record tuple;
	struct grey_record host;
	assert_int_equal(greylist_peer_attempt(&conf, after(100), after(90), &known, &tuple, &host),
	                 VERDICT_NEW);
	assert_false(tuple.is_deleted);
	assert_int_equal(tuple.first.secs, after(100).secs);
	assert_int_equal(tuple.last.secs, after(400).secs);
}

static void hosts_come_first_for_peers_as_well(void **state)
{
	(void)state;
	static const struct {
		int64_t white_life;
		int64_t trapped_life;
		enum verdict verdict;
	} rows[] = {
	        {100, 0, VERDICT_WHITE},
	        {0, 100, VERDICT_TRAPPED},
	        {100, 100, VERDICT_TRAPPED},
	        {0, 0, VERDICT_PROMOTE},
	};
	struct wall now = after(2000);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct grey_record stored = tuple_of_first();
		struct grey_record white = {.expire = {now.secs + rows[i].white_life}};
		struct grey_record trapped = {.expire = {now.secs + rows[i].trapped_life}};
		struct greylist_known known = {&stored, &white, &trapped};
		struct grey_record tuple;
		struct grey_record host;
		assert_int_equal(greylist_peer_attempt(&conf, now, now, &known, &tuple, &host),
		                 rows[i].verdict);
	}
}

static void record_lives_until_its_expire(void **state)
{
	(void)state;
	struct grey_record record = {.expire = {100}};
	assert_true(grey_record_is_live(&record, (struct wall){99}));
	assert_false(grey_record_is_live(&record, (struct wall){100}));
	assert_false(grey_record_is_live(NULL, (struct wall){0}));
	record.is_deleted = true;
	assert_false(grey_record_is_live(&record, (struct wall){99}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(first_attempt_makes_a_tuple),
	        cmocka_unit_test(retry_counts_by_its_time),
	        cmocka_unit_test(early_retry_changes_the_count_and_the_last_attempt_only),
	        cmocka_unit_test(qualified_retry_promotes_the_host_at_once),
	        cmocka_unit_test(expired_tuple_begins_anew),
	        cmocka_unit_test(live_host_records_come_first),
	        cmocka_unit_test(host_whose_white_has_ended_is_promoted_again),
	        cmocka_unit_test(count_stays_at_its_bound),
	        cmocka_unit_test(a_tuple_that_travelled_is_promoted_by_either_side),
	        cmocka_unit_test(a_repeated_attempt_of_a_peer_changes_nothing),
	        cmocka_unit_test(a_recorded_pair_promotes_nobody_in_the_next_life),
	        cmocka_unit_test(a_deleted_tuple_begins_anew_but_remembers_its_last_attempt),
	        cmocka_unit_test(hosts_come_first_for_peers_as_well),
	        cmocka_unit_test(record_lives_until_its_expire),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
