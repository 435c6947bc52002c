/* What peers tell of hosts and traps, and what they are told of: the keeper against a real store;
 * the test plays the syncer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "peers_fixture.h"

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
	assert_int_equal(world_change(world, 1, &hit, 4).ret, ERR_BUSY); /* its clock is ahead */
	assert_true(is_silent(world));
	assert_int_equal(world_count(world, COUNTER_sync_applied), 2);
	assert_int_equal(world_count(world, COUNTER_sync_stale), 2);
}

/* Each told twice, the second time in vain. */
static void what_peers_tell_of_hosts_is_known_at_once_and_silent(void **state)
{
	static const struct {
		enum change_kind change;
		enum record_kind kind;
		enum cache_kind host; /* afterwards */
	} rows[] = {
	        {CHANGE_PEER_HOST, RECORD_WHITE, CACHE_WHITE},
	        {CHANGE_PEER_HOST, RECORD_TRAPPED, CACHE_TRAPPED},
	        {CHANGE_PEER_HOST, RECORD_WHITE, CACHE_TRAPPED}, /* does not un-trap */
	        {CHANGE_PEER_MANUAL, RECORD_WHITE, CACHE_WHITE},
	        {CHANGE_PEER_MANUAL, RECORD_TRAPPED, CACHE_TRAPPED},
	        {CHANGE_PEER_DELETE, RECORD_TRAPPED, CACHE_NONE},
	};
	struct world *world = *state;
	int64_t now = world_now_secs();
	world->is_sync_sending = true;
	world_start(world);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct change told = {
		        .kind = rows[i].change,
		        .has_addr = true,
		        .addr = world_addr(letter.addr),
		        .record_kind = rows[i].kind,
		        .record = {.expire = {now + 1000}, .changed_at = {now + 10 * (int64_t)i}},
		        .is_peers = true};
		bool is_in_vain = i == 2;
		assert_int_equal(world_change(world, 1, &told, 1).ret, is_in_vain ? ERR_BUSY : 0);
		assert_int_equal(world_change(world, 1, &told, 2).ret, ERR_BUSY);
		assert_int_equal(world_ask(world, KEEPER_HOST, &letter).host, rows[i].host);
	}
	assert_true(is_silent(world));
	assert_int_equal(world_count(world, COUNTER_sync_applied), 5);
	assert_int_equal(world_count(world, COUNTER_sync_stale), 7);
}

static void spamtraps_of_peers_trap_here(void **state)
{
	struct world *world = *state;
	int64_t now = world_now_secs();
	struct change told = {.kind = CHANGE_PEER_MANUAL,
	                      .record_kind = RECORD_TRAP_ADDRESS,
	                      .record = {.changed_at = {now}},
	                      .is_peers = true,
	                      .text = {.recipient = SPAN("trap@example.net")}};
	world->is_sync_sending = true;
	world_start(world);
	assert_int_equal(world_change(world, 1, &told, 1).ret, 0);
	assert_true(world_has_trap(world, "trap@example.net"));
	told.kind = CHANGE_PEER_DELETE;
	told.record.changed_at.secs = now + 10;
	assert_int_equal(world_change(world, 1, &told, 2).ret, 0);
	assert_false(world_has_trap(world, "trap@example.net"));
	told.kind = CHANGE_PEER_MANUAL;
	told.record.changed_at.secs = now; /* replayed */
	assert_int_equal(world_change(world, 1, &told, 3).ret, ERR_BUSY);
	assert_false(world_has_trap(world, "trap@example.net"));
	assert_true(is_silent(world));
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
	        WORLD_TEST(a_peers_hit_counts_once_and_tells_nobody),
	        WORLD_TEST(what_peers_tell_of_hosts_is_known_at_once_and_silent),
	        WORLD_TEST(spamtraps_of_peers_trap_here),
	        WORLD_TEST(other_gateways_records_make_no_listed_host_white),
	        WORLD_TEST(own_attempts_are_journaled_once_a_second_when_peers_are_told),
	        WORLD_TEST(own_attempts_are_only_counted_when_nobody_is_told),
	        WORLD_TEST(the_journal_says_where_a_change_began),
	        WORLD_TEST(the_syncer_is_woken_by_the_journal_and_not_by_its_cursor),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
