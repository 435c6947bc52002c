/* What peers tell and what they are told: the keeper against a real store; the test plays the
 * syncer. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/wait.h>

#include "base/err.h"
#include "keeper_world.h"

enum { ROWS_MAX = 256 };

/* --- playing the syncer ----------------------------------------------------------------------- */

static struct change grey_at(const struct world_tuple *tuple, int64_t at_secs)
{
	return (struct change){
	        .kind = CHANGE_PEER_GREY,
	        .has_addr = true,
	        .addr = world_addr(tuple->addr),
	        .record = {.changed_at = {at_secs}},
	        .is_peers = true,
	        .text = {.helo = span_of_str(tuple->helo),
	                 .sender = span_of_str(tuple->sender),
	                 .recipient = span_of_str(tuple->recipient)},
	};
}

/* 0 or ERR_BUSY. */
static int tell(struct world *world, const struct world_tuple *tuple, int64_t at_secs)
{
	struct change grey = grey_at(tuple, at_secs);
	struct keeper_answer answer = world_change(world, 1, &grey, 7);
	assert_int_equal(answer.kind, KEEPER_ANSWER_CHANGED);
	assert_int_equal(answer.cookie, 7);
	return answer.ret;
}

static unsigned n_rows(struct world *world, enum record_kind kind, enum change_origin origin)
{
	struct journal_change changes[ROWS_MAX];
	unsigned n_found = 0;
	int n = store_journal_read(world->reader, 0, changes, ROWS_MAX);
	assert_in_range(n, 0, ROWS_MAX - 1);
	for (int i = 0; i < n; i++) {
		n_found += changes[i].kind == kind && changes[i].origin == origin;
	}
	return n_found;
}

/* Nothing that peers would be told. */
static bool is_silent(struct world *world)
{
	struct journal_change changes[ROWS_MAX];
	int n = store_journal_read(world->reader, 0, changes, ROWS_MAX);
	assert_in_range(n, 0, ROWS_MAX - 1);
	for (int i = 0; i < n; i++) {
		if (changes[i].origin != ORIGIN_SILENT) {
			return false;
		}
	}
	return true;
}

static struct grey_record tuple_of(struct world *world, const struct world_tuple *tuple)
{
	struct grey_record record = {.bcount = 0};
	assert_true(world_find(world, tuple, &record));
	return record;
}

static void assert_same(const struct grey_record *a, const struct grey_record *b)
{
	assert_int_equal(a->first.secs, b->first.secs);
	assert_int_equal(a->pass.secs, b->pass.secs);
	assert_int_equal(a->expire.secs, b->expire.secs);
	assert_int_equal(a->changed_at.secs, b->changed_at.secs);
	assert_int_equal(a->last.secs, b->last.secs);
	assert_int_equal(a->bcount, b->bcount);
	assert_int_equal(a->pcount, b->pcount);
}

static void wait_for_next_second(void)
{
	int64_t now = world_now_secs();
	while (world_now_secs() == now) {
		world_sleep_ms(5);
	}
}

static bool is_readable(int fd)
{
	uint64_t n = 0;
	return read(fd, &n, sizeof n) == sizeof n;
}

/* --- attempts that peers tell of -------------------------------------------------------------- */

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

/* --- hits and hosts --------------------------------------------------------------------------- */

static void a_peers_hit_counts_once_and_tells_nobody(void **state)
{
	struct world *world = *state;
	int64_t now = world_now_secs();
	struct grey_record first;
	struct grey_record record;
	struct change hit = grey_at(&letter, now);
	hit.kind = CHANGE_TRAP_HIT;
	world->conf.trapexp_secs = 1000;
	world->is_sync_sending = true;
	world_start(world);
	assert_int_equal(world_change(world, 1, &hit, 1).ret, 0);
	assert_true(world_host(world, letter.addr, RECORD_TRAPPED, &first));
	assert_int_equal(world_ask(world, KEEPER_HOST, &letter).host, CACHE_TRAPPED);
	wait_for_next_second();
	assert_int_equal(world_change(world, 1, &hit, 2).ret, ERR_BUSY);
	assert_true(world_host(world, letter.addr, RECORD_TRAPPED, &record));
	assert_same(&record, &first);
	hit.record.changed_at.secs = now + 100;
	assert_int_equal(world_change(world, 1, &hit, 3).ret, 0);
	assert_true(world_host(world, letter.addr, RECORD_TRAPPED, &record));
	assert_true(record.expire.secs > first.expire.secs);
	assert_true(is_silent(world));
	assert_int_equal(world_count(world, COUNTER_sync_applied), 2);
	assert_int_equal(world_count(world, COUNTER_sync_stale), 1);
}

static void other_gateways_records_make_no_listed_host_white(void **state)
{
	static const enum change_kind kinds[] = {CHANGE_PUT, CHANGE_MERGE, CHANGE_PEER_HOST};
	struct world *world = *state;
	struct grey_record record;
	world_list(world, letter.addr);
	world_start(world);
	struct wall now = clock_wall();
	struct change white = {
	        .has_addr = true,
	        .addr = world_addr(letter.addr),
	        .record_kind = RECORD_WHITE,
	        .record = {.first = now, .expire = {now.secs + 1000}, .changed_at = now}};
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		white.kind = kinds[i];
		int ret = world_change(world, 0, &white, i).ret;
		assert_int_equal(ret, kinds[i] == CHANGE_PEER_HOST ? ERR_BUSY : 0);
		assert_false(world_host(world, letter.addr, RECORD_WHITE, &record));
	}
	white.kind = CHANGE_PEER_MANUAL;
	white.is_peers = true;
	assert_int_equal(world_change(world, 0, &white, 9).ret, 0);
	assert_true(world_host(world, letter.addr, RECORD_WHITE, &record));
	world_stop(world);
	world_unlist(world);
}

/* --- what peers are told of ------------------------------------------------------------------- */

static void own_attempts_are_journaled_once_a_second_when_peers_are_told(void **state)
{
	struct world *world = *state;
	world->is_sync_sending = true;
	world_seed_tuple(world, &letter, 60);
	world_start(world);
	int64_t begun = world_now_secs();
	for (int i = 0; i < 200; i++) {
		(void)world_ask(world, KEEPER_TUPLE, &letter);
	}
	unsigned n = n_rows(world, RECORD_GREY, ORIGIN_ATTEMPT);
	assert_in_range(n, 1, world_now_secs() - begun + 1);
	assert_int_equal(world_count(world, COUNTER_commits), n);
	wait_for_next_second();
	int64_t next = world_now_secs();
	for (int i = 0; i < 10; i++) {
		(void)world_ask(world, KEEPER_TUPLE, &letter);
	}
	assert_in_range(n_rows(world, RECORD_GREY, ORIGIN_ATTEMPT), n + 1,
	                n + 1 + world_now_secs() - next);
	assert_in_range(tuple_of(world, &letter).last.secs, next, world_now_secs());
	assert_int_equal(world_count(world, COUNTER_tuples_early), 210);
	assert_int_equal(world_ask(world, KEEPER_HOST, &letter).host, CACHE_NONE);
	world_stop(world);
	assert_int_equal(tuple_of(world, &letter).bcount, 211);
}

static void own_attempts_are_only_counted_when_nobody_is_told(void **state)
{
	struct world *world = *state;
	world_seed_tuple(world, &letter, 60);
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	wait_for_next_second();
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	assert_int_equal(n_rows(world, RECORD_GREY, ORIGIN_ATTEMPT), 0);
	assert_int_equal(world_count(world, COUNTER_commits), 0);
	assert_int_equal(world_count(world, COUNTER_tuples_early), 2);
}

static void the_journal_says_where_a_change_began(void **state)
{
	struct world *world = *state;
	struct world_tuple fresh = letter;
	struct world_tuple old = letter;
	struct world_tuple hit = letter;
	fresh.addr = "192.0.2.8";
	hit.addr = "192.0.2.9";
	hit.flags = KEEPER_IS_TRAP;
	world_seed_tuple(world, &old, 1600);
	world->conf.trapexp_secs = 1;
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &fresh);
	assert_int_equal(n_rows(world, RECORD_GREY, ORIGIN_ATTEMPT), 1);
	(void)world_ask(world, KEEPER_TUPLE, &old);
	assert_int_equal(n_rows(world, RECORD_GREY, ORIGIN_ATTEMPT), 2);
	assert_int_equal(n_rows(world, RECORD_WHITE, ORIGIN_PROMOTION), 1);
	(void)world_ask(world, KEEPER_TUPLE, &hit);
	assert_int_equal(n_rows(world, RECORD_TRAPPED, ORIGIN_TRAP), 1);
	assert_true(world_reaches(world, COUNTER_expired_hosts, 1));
	assert_int_equal(n_rows(world, RECORD_TRAPPED, ORIGIN_SILENT), 1);
	assert_int_equal(n_rows(world, RECORD_TRAPPED, ORIGIN_TRAP), 1);
}

static void the_syncer_is_woken_by_the_journal_and_not_by_its_cursor(void **state)
{
	struct world *world = *state;
	struct change cursor = {.kind = CHANGE_CURSOR, .seq = 41};
	uint64_t seq = 0;
	world_start(world);
	(void)world_ask(world, KEEPER_HOST, &letter);
	assert_false(is_readable(world->wake_syncer));
	struct mono begun = clock_mono();
	assert_int_equal(world_change(world, 1, &cursor, 1).ret, 0);
	assert_true(mono_diff_ms(clock_mono(), begun) < 1000);
	assert_int_equal(store_reader_cursor(world->reader, "sync", &seq), 1);
	assert_int_equal(seq, 41);
	assert_int_equal(world_count(world, COUNTER_commits), 1);
	assert_int_equal(world_count(world, COUNTER_changes), 0);
	(void)world_ask(world, KEEPER_HOST, &letter); /* the turn of that commit is over */
	assert_false(is_readable(world->wake_syncer));
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	(void)world_ask(world, KEEPER_HOST, &letter);
	assert_true(is_readable(world->wake_syncer));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORLD_TEST(a_peers_attempt_makes_a_tuple_on_disk_and_tells_nobody),
	        WORLD_TEST(a_peers_attempt_counts_only_if_it_is_later_than_the_last),
	        WORLD_TEST(a_replay_after_passtime_promotes_nobody),
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
	        WORLD_TEST(a_peers_hit_counts_once_and_tells_nobody),
	        WORLD_TEST(other_gateways_records_make_no_listed_host_white),
	        WORLD_TEST(own_attempts_are_journaled_once_a_second_when_peers_are_told),
	        WORLD_TEST(own_attempts_are_only_counted_when_nobody_is_told),
	        WORLD_TEST(the_journal_says_where_a_change_began),
	        WORLD_TEST(the_syncer_is_woken_by_the_journal_and_not_by_its_cursor),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
