/* Attempts that peers tell of: the keeper against a real store; the test plays the syncer. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/wait.h>

#include "peers_fixture.h"

static void a_peers_attempt_makes_a_tuple_on_disk_and_tells_nobody(void **state)
{
	struct world *world = *state;
	world->is_sync_sending = true;
	world_start(world);
	int64_t before = world_now_secs();
	assert_int_equal(tell(world, &letter, before - 100), 0);
	struct grey_record record = tuple_of(world, &letter);
	assert_int_equal(record.bcount, 1);
	assert_in_range(record.first.secs, before, before + 5); /* our clock */
	assert_int_equal(record.last.secs, record.first.secs);
	assert_int_equal(record.expire.secs, record.first.secs + 14400);
	assert_true(is_silent(world));
	assert_int_equal(n_rows(world, RECORD_GREY, ORIGIN_SILENT), 1);
	assert_int_equal(world_count(world, COUNTER_sync_applied), 1);
	assert_int_equal(world_count(world, COUNTER_sync_stale), 0);
	assert_int_equal(world_count(world, COUNTER_tuples_new), 0);
	assert_int_equal(world_count(world, COUNTER_changes), 0);
}

static void a_peers_attempt_counts_only_if_it_is_later_than_the_last(void **state)
{
	static const struct {
		int64_t ahead_secs; /* of the tuple's last attempt */
		int ret;
		uint32_t bcount;
		int64_t last_secs;
	} rows[] = {
	        {0, ERR_BUSY, 1, 0},    /* the one we know */
	        {-20, ERR_BUSY, 1, 0},  /* on its way for long */
	        {30, 0, 2, 30},         /* another */
	        {30, ERR_BUSY, 2, 30},  /* twice */
	        {10, ERR_BUSY, 2, 30},  /* overtaken */
	        {31, 0, 3, 31},         /* again */
	        {400, 0, 4, 400},       /* of a peer whose clock is ahead */
	        {60, ERR_BUSY, 4, 400}, /* of one whose clock is not */
	};
	struct world *world = *state;
	world_seed_tuple(world, &letter, 100);
	world_start(world);
	struct grey_record seeded = tuple_of(world, &letter);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int ret = tell(world, &letter, seeded.last.secs + rows[i].ahead_secs);
		assert_int_equal(ret, rows[i].ret);
		struct grey_record record = tuple_of(world, &letter);
		assert_int_equal(record.bcount, rows[i].bcount);
		assert_int_equal(record.last.secs, seeded.last.secs + rows[i].last_secs);
		assert_int_equal(record.first.secs, seeded.first.secs);
		assert_int_equal(record.expire.secs, seeded.expire.secs);
	}
	assert_int_equal(world_count(world, COUNTER_sync_applied), 3);
	assert_int_equal(world_count(world, COUNTER_sync_stale), 5);
	assert_int_equal(world_count(world, COUNTER_hosts_promoted), 0);
}

/* Recorded, reordered, repeated: what counts is what is later than all before. */
static void attempts_in_any_order_count_by_the_latest_so_far(void **state)
{
	enum { N = 500, SPAN_SECS = 200 };
	struct world *world = *state;
	unsigned seed = (unsigned)clock_mono().ns;
	print_message("seed %u\n", seed);
	world_seed_tuple(world, &letter, 1000);
	world_start(world);
	struct grey_record seeded = tuple_of(world, &letter);
	int64_t latest = seeded.last.secs;
	uint32_t n_counted = 0;
	for (int i = 0; i < N; i++) {
		int64_t at_secs = seeded.last.secs - SPAN_SECS / 2 + rand_r(&seed) % SPAN_SECS;
		bool is_later = at_secs > latest;
		assert_int_equal(tell(world, &letter, at_secs), is_later ? 0 : ERR_BUSY);
		latest = is_later ? at_secs : latest;
		n_counted += is_later;
	}
	struct grey_record record = tuple_of(world, &letter);
	assert_int_equal(record.bcount, 1 + n_counted);
	assert_int_equal(record.last.secs, latest);
	assert_int_equal(record.first.secs, seeded.first.secs);
	assert_int_equal(world_count(world, COUNTER_commits), n_counted);
}

static void a_replay_after_passtime_promotes_nobody(void **state)
{
	struct world *world = *state;
	struct grey_record host;
	world_seed_tuple(world, &letter, 1600);
	world_start(world);
	struct grey_record seeded = tuple_of(world, &letter);
	uint64_t commits = world_count(world, COUNTER_commits);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(tell(world, &letter, seeded.last.secs), ERR_BUSY);
	}
	struct grey_record record = tuple_of(world, &letter);
	assert_same(&record, &seeded);
	assert_false(world_host(world, letter.addr, RECORD_WHITE, &host));
	assert_int_equal(world_count(world, COUNTER_commits), commits);
	assert_int_equal(world_ask(world, KEEPER_HOST, &letter).host, CACHE_NONE);
}

/* As the clock that was a year ahead left it: nobody could wait until it begins. */
static void a_tuple_that_begins_in_the_far_future_begins_now(void **state)
{
	enum { YEAR_SECS = 365 * 86400 };
	struct world *world = *state;
	world->is_sync_sending = true;
	world_seed_tuple(world, &letter, -YEAR_SECS);
	world_start(world);
	struct grey_record seeded = tuple_of(world, &letter);
	int64_t now = world_now_secs();
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &letter).host, CACHE_NONE);
	struct grey_record record = tuple_of(world, &letter);
	assert_in_range(record.first.secs, now, now + 5);
	assert_int_equal(record.expire.secs, record.first.secs + world->conf.greyexp_secs);
	assert_int_equal(record.last.secs, seeded.last.secs); /* what was recorded stays known */
	assert_int_equal(tell(world, &letter, now + 600), ERR_BUSY);
}

static void ageing_goes_by_our_clock(void **state)
{
	struct world *world = *state;
	struct grey_record host;
	world_seed_tuple(world, &letter, 1400);
	world_start(world);
	/* 10 minutes ahead: passtime would be over by its clock */
	assert_int_equal(tell(world, &letter, world_now_secs() + 600), 0);
	assert_false(world_host(world, letter.addr, RECORD_WHITE, &host));
	assert_int_equal(tuple_of(world, &letter).bcount, 2);
}

static void a_promotion_by_peers_reaches_caches_and_the_journal_silently(void **state)
{
	struct world *world = *state;
	struct grey_record host;
	enum cache_kind kind;
	world->is_sync_sending = true;
	world_seed_tuple(world, &letter, 1600);
	world_start(world);
	assert_int_equal(world_ask(world, KEEPER_HOST, &letter).host, CACHE_NONE);
	assert_int_equal(tell(world, &letter, world_now_secs()), 0);
	assert_true(world_host(world, letter.addr, RECORD_WHITE, &host));
	int64_t end = world_now_secs() + world->conf.whiteexp_secs;
	assert_in_range(host.expire.secs, end - 5, end);
	assert_true(world_cached(world, letter.addr, &kind));
	assert_int_equal(kind, CACHE_WHITE);
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &letter).host, CACHE_WHITE);
	assert_true(is_silent(world));
	assert_int_equal(n_rows(world, RECORD_WHITE, ORIGIN_SILENT), 1);
	assert_true(is_readable(world->wake_feeder));
	assert_int_equal(world_count(world, COUNTER_sync_applied), 1);
	assert_int_equal(world_count(world, COUNTER_tuples_passed), 0);
}

static void a_peers_attempt_changes_nothing_for_white_and_trapped_hosts(void **state)
{
	struct world *world = *state;
	struct world_tuple trapped = letter;
	trapped.addr = "192.0.2.8";
	struct grey_record record;
	world_seed_host(world, letter.addr, RECORD_WHITE, 1000);
	world_seed_host(world, trapped.addr, RECORD_TRAPPED, 1000);
	world_start(world);
	assert_int_equal(tell(world, &letter, world_now_secs()), ERR_BUSY);
	assert_int_equal(tell(world, &trapped, world_now_secs()), ERR_BUSY);
	assert_false(world_find(world, &letter, &record));
	assert_false(world_find(world, &trapped, &record));
	assert_int_equal(world_count(world, COUNTER_hosts_reasserted), 0);
	assert_int_equal(world_count(world, COUNTER_sync_stale), 2);
}

static void a_listed_host_stays_grey_but_its_attempts_count(void **state)
{
	struct world *world = *state;
	struct grey_record host;
	world_seed_tuple(world, &letter, 1600);
	world_list(world, letter.addr);
	world_start(world);
	int64_t at_secs = world_now_secs() - 60;
	assert_int_equal(tell(world, &letter, at_secs), 0);
	assert_int_equal(tell(world, &letter, at_secs), ERR_BUSY);
	assert_false(world_host(world, letter.addr, RECORD_WHITE, &host));
	assert_int_equal(tuple_of(world, &letter).bcount, 2);
	assert_int_equal(tuple_of(world, &letter).last.secs, at_secs);
	world_stop(world);
	world_unlist(world);
}

/* What a worker was told counts for its own and for peers' attempts alike, also when neither is
 * committed yet. */
static void own_and_peers_attempts_of_one_batch_see_each_other(void **state)
{
	struct world *world = *state;
	world->conf.commit_wait_ms = 250;
	world_start(world);
	int64_t now = world_now_secs();
	struct change known = grey_at(&letter, now - 1);
	struct change ahead = grey_at(&letter, now + 100);
	assert_true(world_post(world, 0, KEEPER_TUPLE, 1, &letter));
	assert_true(keeper_post_change(&world->ports[0], &known, 1));
	assert_true(keeper_post_change(&world->ports[0], &ahead, 2));
	assert_true(world_post(world, 0, KEEPER_TUPLE, 2, &letter));
	keeper_wake(world->keeper);
	assert_int_equal(world_answer(world, 0).kind, KEEPER_ANSWER_STORED);
	assert_int_equal(world_answer(world, 0).ret, ERR_BUSY);
	assert_int_equal(world_answer(world, 0).ret, 0);
	assert_int_equal(world_answer(world, 0).conn.slot, 2);
	assert_int_equal(tuple_of(world, &letter).bcount, 3);
	assert_int_equal(tuple_of(world, &letter).last.secs, now + 100);
	assert_int_equal(world_count(world, COUNTER_commits), 1);
}

static void a_peers_attempt_takes_unwritten_counts_along(void **state)
{
	struct world *world = *state;
	world_seed_tuple(world, &letter, 60);
	world_start(world);
	for (int i = 0; i < 3; i++) {
		(void)world_ask(world, KEEPER_TUPLE, &letter);
	}
	assert_int_equal(tuple_of(world, &letter).bcount, 1);
	assert_int_equal(tell(world, &letter, world_now_secs()), 0);
	assert_int_equal(tuple_of(world, &letter).bcount, 5);
	world_stop(world);
	assert_int_equal(tuple_of(world, &letter).bcount, 5);
}

/* Members of an IPv6 network are one host for peers, too. */
static void peers_attempts_go_by_the_group(void **state)
{
	struct world *world = *state;
	struct world_tuple here = letter;
	struct world_tuple there = letter;
	here.addr = "2001:db8:1:2::25";
	there.addr = "2001:db8:1:2:9999::1";
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &here);
	assert_int_equal(tell(world, &there, world_now_secs() + 10), 0);
	assert_int_equal(tuple_of(world, &here).bcount, 2);
}

static void a_host_that_a_peer_knows_is_not_new_to_the_low_priority_mx(void **state)
{
	struct world *world = *state;
	struct world_tuple low = letter;
	struct world_tuple stranger = letter;
	low.flags = KEEPER_IS_LOW_PRIORITY;
	stranger.flags = KEEPER_IS_LOW_PRIORITY;
	stranger.addr = "192.0.2.8";
	world_start(world);
	assert_int_equal(tell(world, &letter, world_now_secs()), 0);
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &low).host, CACHE_NONE);
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &stranger).host, CACHE_TRAPPED);
}

static void what_was_deleted_is_nothing_known_to_the_low_priority_mx(void **state)
{
	struct world *world = *state;
	struct world_tuple low = letter;
	struct change delete = {
	        .kind = CHANGE_DELETE, .has_addr = true, .addr = world_addr(letter.addr)};
	struct change delete_grey = delete;
	delete_grey.kind = CHANGE_DELETE_GREY;
	low.flags = KEEPER_IS_LOW_PRIORITY;
	world_seed_host(world, letter.addr, RECORD_WHITE, 1000);
	world_seed_tuple(world, &letter, 60);
	world_start(world);
	assert_int_equal(world_change(world, 0, &delete, 1).ret, 0);
	assert_int_equal(world_change(world, 0, &delete_grey, 2).ret, 0);
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &low).host, CACHE_TRAPPED);
}

/* The process that dies right after its last answer: three attempts, two of them news. */
_Noreturn static void die_after_attempts(struct world *world, int64_t at_secs)
{
	world_open_store(world);
	world_start(world);
	assert_int_equal(tell(world, &letter, at_secs), 0);
	assert_int_equal(tell(world, &letter, at_secs + 100), 0);
	assert_int_equal(tell(world, &letter, at_secs + 100), ERR_BUSY);
	(void)raise(SIGKILL);
	_exit(1);
}

static void a_recorded_attempt_counts_no_second_time_after_a_crash(void **state)
{
	struct world *world = *state;
	int64_t at_secs = world_now_secs() - 40;
	int status = 0;
	world_close_store(world);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		die_after_attempts(world, at_secs);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	world->conf.passtime_secs = 0;
	world_open_store(world);
	struct grey_record before = tuple_of(world, &letter);
	assert_int_equal(before.bcount, 2);
	wait_for_next_second(); /* passtime is over */
	world_start(world);
	assert_int_equal(tell(world, &letter, at_secs), ERR_BUSY);
	assert_int_equal(tell(world, &letter, at_secs + 100), ERR_BUSY);
	struct grey_record record = tuple_of(world, &letter);
	assert_same(&record, &before);
	assert_int_equal(tell(world, &letter, at_secs + 101), 0);
	assert_int_equal(world_ask(world, KEEPER_HOST, &letter).host, CACHE_WHITE);
}

/* The tuple's life ends; while its record is there, what was recorded in it counts in no other. */
static void a_recorded_attempt_counts_in_no_later_life(void **state)
{
	struct world *world = *state;
	struct store_txn txn;
	struct tuple_key key = world_key(world, &letter);
	world->conf.sweep_ms = 1000000;
	world_seed_tuple(world, &letter, 14400 - 1); /* dead in a second, after the first sweep */
	struct grey_record old = tuple_of(world, &letter);
	old.last.secs = world_now_secs() + 500; /* of a peer whose clock is ahead */
	store_begin(world->store, &txn, clock_wall());
	store_update_tuple(&txn, &key, &old, false);
	assert_int_equal(store_commit(&txn), 0);
	world_start(world);
	(void)world_ask(world, KEEPER_HOST, &letter); /* the first sweep is over */
	wait_for_next_second();
	wait_for_next_second();
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	assert_int_equal(world_count(world, COUNTER_tuples_new), 1);
	assert_int_equal(tell(world, &letter, old.last.secs), ERR_BUSY);
	assert_int_equal(tuple_of(world, &letter).bcount, 1);
}

static void what_was_deleted_is_not_brought_back_by_older_attempts(void **state)
{
	struct world *world = *state;
	struct grey_record record;
	struct change delete_grey = {
	        .kind = CHANGE_DELETE_GREY, .has_addr = true, .addr = world_addr(letter.addr)};
	world_seed_tuple(world, &letter, 60);
	world_start(world);
	int64_t deleted_secs = world_now_secs();
	assert_int_equal(world_change(world, 0, &delete_grey, 1).ret, 0);
	assert_int_equal(tell(world, &letter, deleted_secs - 60), ERR_BUSY); /* replayed */
	assert_int_equal(tell(world, &letter, deleted_secs - 1), ERR_BUSY);  /* late */
	assert_false(world_find(world, &letter, &record));
	assert_int_equal(tell(world, &letter, deleted_secs + 10), 0);
	assert_int_equal(tuple_of(world, &letter).bcount, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORLD_TEST(a_peers_attempt_makes_a_tuple_on_disk_and_tells_nobody),
	        WORLD_TEST(a_peers_attempt_counts_only_if_it_is_later_than_the_last),
	        WORLD_TEST(attempts_in_any_order_count_by_the_latest_so_far),
	        WORLD_TEST(a_replay_after_passtime_promotes_nobody),
	        WORLD_TEST(a_tuple_that_begins_in_the_far_future_begins_now),
	        WORLD_TEST(ageing_goes_by_our_clock),
	        WORLD_TEST(a_promotion_by_peers_reaches_caches_and_the_journal_silently),
	        WORLD_TEST(a_peers_attempt_changes_nothing_for_white_and_trapped_hosts),
	        WORLD_TEST(a_listed_host_stays_grey_but_its_attempts_count),
	        WORLD_TEST(own_and_peers_attempts_of_one_batch_see_each_other),
	        WORLD_TEST(a_peers_attempt_takes_unwritten_counts_along),
	        WORLD_TEST(peers_attempts_go_by_the_group),
	        WORLD_TEST(a_host_that_a_peer_knows_is_not_new_to_the_low_priority_mx),
	        WORLD_TEST(what_was_deleted_is_nothing_known_to_the_low_priority_mx),
	        WORLD_TEST(a_recorded_attempt_counts_no_second_time_after_a_crash),
	        WORLD_TEST(a_recorded_attempt_counts_in_no_later_life),
	        WORLD_TEST(what_was_deleted_is_not_brought_back_by_older_attempts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
