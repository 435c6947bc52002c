/* Trap hits, the low-priority MX, changes from outside, lists: the keeper against a real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <sys/resource.h>

#include "keeper_world.h"

static const char member[] = "2001:db8:1:2::25";
static const char other_member[] = "2001:db8:1:2:9999::1";

static struct world_tuple from(const char *addr, uint16_t flags)
{
	struct world_tuple tuple = letter;
	tuple.addr = addr;
	tuple.flags = flags;
	return tuple;
}

static uint32_t ask(struct world *world, enum keeper_request_kind kind, const char *addr,
                    uint16_t flags)
{
	struct world_tuple tuple = from(addr, flags);
	return world_ask(world, kind, &tuple).host;
}

static struct change change_of(enum change_kind kind, const char *addr)
{
	return (struct change){.kind = kind, .has_addr = true, .addr = world_addr(addr)};
}

static bool is_journaled(struct world *world, const char *text, enum record_kind kind,
                         bool is_deleted)
{
	struct journal_change changes[64];
	struct addr addr = world_addr(text);
	int n = store_journal_read(world->reader, 0, changes, 64);
	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		if (changes[i].kind == kind && changes[i].is_deleted == is_deleted &&
		    addr_equal(&changes[i].addr, &addr)) {
			return true;
		}
	}
	return false;
}

/* --- hits ------------------------------------------------------------------------------------- */

static void a_hit_traps_the_host_and_makes_no_tuple(void **state)
{
	struct world *world = *state;
	struct grey_record record = {.bcount = 0};
	enum cache_kind kind;
	world_start(world);
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_NONE);
	int64_t before = world_now_secs();
	assert_int_equal(ask(world, KEEPER_TUPLE, letter.addr, KEEPER_IS_TRAP), CACHE_TRAPPED);
	assert_false(world_find(world, &letter, &record));
	assert_true(world_host(world, letter.addr, RECORD_TRAPPED, &record));
	assert_in_range(record.expire.secs, before + 86400, before + 86405);
	assert_true(world_cached(world, letter.addr, &kind));
	assert_int_equal(kind, CACHE_TRAPPED);
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_TRAPPED);
	assert_int_equal(ask(world, KEEPER_TUPLE, letter.addr, 0), CACHE_TRAPPED);
	assert_int_equal(world_count(world, COUNTER_hosts_trapped), 1);
	assert_int_equal(world_count(world, COUNTER_tuples_new), 0);
}

static void a_hit_takes_the_host_off_the_white(void **state)
{
	struct world *world = *state;
	struct grey_record record;
	world_seed_host(world, letter.addr, RECORD_WHITE, 1000);
	world_start(world);
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_WHITE);
	assert_int_equal(ask(world, KEEPER_TUPLE, letter.addr, KEEPER_IS_TRAP), CACHE_TRAPPED);
	assert_false(world_host(world, letter.addr, RECORD_WHITE, &record));
	assert_true(is_journaled(world, letter.addr, RECORD_WHITE, true));
	assert_true(is_journaled(world, letter.addr, RECORD_TRAPPED, false));
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_TRAPPED);
}

static void a_hit_of_a_trapped_host_extends_its_life(void **state)
{
	struct world *world = *state;
	struct grey_record record = {.bcount = 0};
	world_seed_host(world, letter.addr, RECORD_TRAPPED, 100);
	world_start(world);
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_TRAPPED);
	assert_int_equal(ask(world, KEEPER_TUPLE, letter.addr, 0), CACHE_TRAPPED);
	assert_true(world_host(world, letter.addr, RECORD_TRAPPED, &record));
	assert_true(record.expire.secs <= world_now_secs() + 100); /* neither was a hit */
	assert_int_equal(ask(world, KEEPER_TUPLE, letter.addr, KEEPER_IS_TRAP), CACHE_TRAPPED);
	assert_true(world_host(world, letter.addr, RECORD_TRAPPED, &record));
	assert_in_range(record.expire.secs, world_now_secs() + 86395, world_now_secs() + 86400);
	assert_int_equal(world_count(world, COUNTER_hosts_trapped), 0);
}

/* Answers come in any order: a hit that changes nothing waits for no commit. */
static void a_flood_of_hits_is_written_once_a_second_or_so(void **state)
{
	enum { N = 500 };
	bool is_answered[N] = {false};
	struct world *world = *state;
	struct world_tuple hit = from(letter.addr, KEEPER_IS_TRAP);
	world_start(world);
	int64_t begun = world_now_secs();
	for (uint32_t i = 0; i < N; i++) {
		assert_true(world_post(world, 0, KEEPER_TUPLE, i, &hit));
	}
	keeper_wake(world->keeper);
	for (uint32_t i = 0; i < N; i++) {
		struct keeper_answer answer = world_answer(world, 0);
		assert_true(answer.conn.slot < N && !is_answered[answer.conn.slot]);
		is_answered[answer.conn.slot] = true;
		assert_int_equal(answer.host, CACHE_TRAPPED);
	}
	struct store_stats stats;
	uint64_t seconds = (uint64_t)(world_now_secs() - begun) + 1;
	assert_int_equal(store_stats_get(world->reader, &stats), 0);
	assert_in_range(stats.n_journal, 1, seconds);
	assert_int_equal(world_count(world, COUNTER_hosts_trapped), 1);
}

static void a_trap_ends_with_its_life(void **state)
{
	struct world *world = *state;
	struct grey_record record = {.bcount = 0};
	world->conf.trapexp_secs = 1;
	world_start(world);
	assert_int_equal(ask(world, KEEPER_TUPLE, letter.addr, KEEPER_IS_TRAP), CACHE_TRAPPED);
	assert_int_equal(ask(world, KEEPER_TUPLE, member, KEEPER_IS_TRAP), CACHE_TRAPPED);
	assert_true(world_reaches(world, COUNTER_expired_hosts, 2));
	assert_false(world_host(world, letter.addr, RECORD_TRAPPED, &record));
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_NONE);
	assert_int_equal(ask(world, KEEPER_HOST, member, 0), CACHE_NONE);
	assert_int_equal(ask(world, KEEPER_TUPLE, letter.addr, 0), CACHE_NONE);
	assert_true(world_find(world, &letter, &record));
}

static void what_a_batch_decides_counts_for_the_rest_of_it(void **state)
{
	struct world *world = *state;
	struct world_tuple hit = from(letter.addr, KEEPER_IS_TRAP);
	struct world_tuple second = letter;
	struct grey_record record;
	struct change white = change_of(CHANGE_WHITE, letter.addr);
	second.recipient = "c@example.net";
	world->conf.commit_wait_ms = 250;
	world_seed_tuple(world, &letter, 1600);
	world_start(world);
	assert_true(world_post(world, 0, KEEPER_TUPLE, 1, &letter)); /* qualifies */
	assert_true(world_post(world, 0, KEEPER_TUPLE, 2, &hit));
	assert_true(world_post(world, 0, KEEPER_TUPLE, 3, &second));
	assert_true(keeper_post_change(&world->ports[0], &white, 9));
	assert_true(world_post(world, 0, KEEPER_TUPLE, 4, &second));
	keeper_wake(world->keeper);
	assert_int_equal(world_answer(world, 0).host, CACHE_WHITE);
	assert_int_equal(world_answer(world, 0).host, CACHE_TRAPPED);
	assert_int_equal(world_answer(world, 0).host, CACHE_TRAPPED);
	assert_int_equal(world_answer(world, 0).cookie, 9);
	assert_int_equal(world_answer(world, 0).host, CACHE_WHITE);
	assert_int_equal(world_count(world, COUNTER_commits), 1);
	assert_false(world_find(world, &second, &record));
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_WHITE);
}

/* --- IPv6: traps by address, white by group --------------------------------------------------- */

static void a_trapped_member_is_trapped_alone(void **state)
{
	struct world *world = *state;
	struct grey_record record;
	enum cache_kind kind;
	world_start(world);
	assert_int_equal(ask(world, KEEPER_HOST, other_member, 0), CACHE_NONE);
	assert_true(world_cached(world, member, &kind)); /* by its group */
	assert_int_equal(ask(world, KEEPER_TUPLE, member, KEEPER_IS_TRAP), CACHE_TRAPPED);
	assert_true(world_cached(world, member, &kind));
	assert_int_equal(kind, CACHE_TRAPPED);
	assert_true(world_host(world, member, RECORD_TRAPPED, &record));
	assert_int_equal(ask(world, KEEPER_HOST, other_member, 0), CACHE_NONE);
	assert_int_equal(ask(world, KEEPER_HOST, member, 0), CACHE_TRAPPED);
}

static void a_trapped_member_never_hides_behind_its_group(void **state)
{
	struct world *world = *state;
	enum cache_kind kind;
	world_seed_host(world, member, RECORD_WHITE, 1000);
	world_seed_host(world, member, RECORD_TRAPPED, 1000);
	world_start(world);
	assert_int_equal(ask(world, KEEPER_HOST, other_member, 0), CACHE_WHITE);
	assert_false(world_cached(world, member, &kind)); /* so its worker asks */
	assert_int_equal(ask(world, KEEPER_HOST, member, 0), CACHE_TRAPPED);
	struct change gone = change_of(CHANGE_DELETE, member);
	assert_int_equal(world_change(world, 0, &gone, 5).ret, 0);
	assert_false(world_cached(world, member, &kind));
	assert_int_equal(ask(world, KEEPER_HOST, member, 0), CACHE_NONE);
	assert_true(world_cached(world, other_member, &kind));
	assert_int_equal(kind, CACHE_NONE);
}

static void a_group_is_promoted_without_its_trapped_member(void **state)
{
	struct world *world = *state;
	struct world_tuple tuple = from(other_member, 0);
	struct grey_record record;
	world_seed_tuple(world, &tuple, 1600);
	world_seed_host(world, member, RECORD_TRAPPED, 1000);
	world_start(world);
	assert_int_equal(ask(world, KEEPER_TUPLE, member, 0), CACHE_TRAPPED);
	assert_int_equal(ask(world, KEEPER_TUPLE, other_member, 0), CACHE_WHITE);
	assert_true(world_host(world, member, RECORD_TRAPPED, &record));
	assert_int_equal(ask(world, KEEPER_HOST, member, 0), CACHE_TRAPPED);
	assert_int_equal(ask(world, KEEPER_HOST, other_member, 0), CACHE_WHITE);
}

static void bury_members(struct world *world, uint32_t n_members)
{
	struct store_txn txn;
	struct addr addr = world_addr(member);
	struct wall until = {world_now_secs() + 1000};
	store_begin(world->store, &txn, clock_wall());
	for (uint32_t n = 1; n <= n_members; n++) {
		memcpy(addr.bytes + 8, &n, sizeof n);
		store_bury_host(&txn, &addr, RECORD_TRAPPED, clock_wall(), until);
	}
	assert_int_equal(store_commit(&txn), 0);
}

/* What is left unread may be a trapped member: the group is not cached then. */
static void a_group_is_searched_within_bounds_whatever_was_deleted_in_it(void **state)
{
	struct world *world = *state;
	enum cache_kind kind;
	bury_members(world, 20000);
	world_start(world);
	assert_int_equal(ask(world, KEEPER_HOST, member, 0), CACHE_NONE);
	assert_false(world_cached(world, member, &kind));
}

static void a_trapped_address_that_names_its_group_traps_no_other(void **state)
{
	struct world *world = *state;
	enum cache_kind kind;
	world_start(world);
	assert_int_equal(ask(world, KEEPER_TUPLE, "2001:db8:1:2::", KEEPER_IS_TRAP), CACHE_TRAPPED);
	assert_false(world_cached(world, other_member, &kind));
	assert_int_equal(ask(world, KEEPER_HOST, other_member, 0), CACHE_NONE);
	assert_false(world_cached(world, "2001:db8:1:2::", &kind));
	assert_int_equal(ask(world, KEEPER_HOST, "2001:db8:1:2::", 0), CACHE_TRAPPED);
}

static void whole_ipv6_addresses_are_hosts_like_ipv4(void **state)
{
	struct world *world = *state;
	enum cache_kind kind;
	world->conf.ipv6_prefix = 128;
	world_start(world);
	assert_int_equal(ask(world, KEEPER_TUPLE, member, KEEPER_IS_TRAP), CACHE_TRAPPED);
	assert_true(world_cached(world, member, &kind));
	assert_int_equal(kind, CACHE_TRAPPED);
	assert_int_equal(ask(world, KEEPER_HOST, other_member, 0), CACHE_NONE);
	assert_true(world_cached(world, other_member, &kind));
}

/* --- the low-priority MX ---------------------------------------------------------------------- */

static void a_stranger_at_the_low_priority_mx_is_trapped(void **state)
{
	struct world *world = *state;
	struct grey_record record;
	world_start(world);
	assert_int_equal(ask(world, KEEPER_TUPLE, letter.addr, KEEPER_IS_LOW_PRIORITY),
	                 CACHE_TRAPPED);
	assert_true(world_host(world, letter.addr, RECORD_TRAPPED, &record));
	assert_false(world_find(world, &letter, &record));
	assert_int_equal(world_count(world, COUNTER_hosts_trapped), 1);
}

static void a_host_with_any_record_may_use_the_low_priority_mx(void **state)
{
	struct world *world = *state;
	struct world_tuple known = from("192.0.2.8", 0);
	struct world_tuple group = from(other_member, 0);
	struct grey_record record;
	known.recipient = "other@example.net";
	group.recipient = "other@example.net";
	world_seed_tuple(world, &known, 60);
	world_seed_tuple(world, &group, 60);
	world_seed_host(world, "192.0.2.9", RECORD_WHITE, 1000);
	world_start(world);
	assert_int_equal(ask(world, KEEPER_TUPLE, "192.0.2.8", KEEPER_IS_LOW_PRIORITY), CACHE_NONE);
	assert_int_equal(ask(world, KEEPER_TUPLE, member, KEEPER_IS_LOW_PRIORITY), CACHE_NONE);
	assert_int_equal(ask(world, KEEPER_TUPLE, "192.0.2.9", KEEPER_IS_LOW_PRIORITY),
	                 CACHE_WHITE);
	known = from("192.0.2.8", 0);
	assert_true(world_find(world, &known, &record));
	assert_int_equal(world_count(world, COUNTER_hosts_trapped), 0);
}

static void a_tuple_of_the_same_batch_makes_a_host_known(void **state)
{
	struct world *world = *state;
	struct world_tuple low = from(letter.addr, KEEPER_IS_LOW_PRIORITY);
	low.recipient = "c@example.net";
	world->conf.commit_wait_ms = 250;
	world_start(world);
	assert_true(world_post(world, 0, KEEPER_TUPLE, 1, &letter));
	assert_true(world_post(world, 0, KEEPER_TUPLE, 2, &low));
	keeper_wake(world->keeper);
	assert_int_equal(world_answer(world, 0).host, CACHE_NONE);
	assert_int_equal(world_answer(world, 0).host, CACHE_NONE);
	assert_int_equal(world_count(world, COUNTER_commits), 1);
	assert_int_equal(world_count(world, COUNTER_tuples_new), 2);
}

static void nobody_is_trapped_by_the_low_priority_mx_just_after_the_start(void **state)
{
	struct world *world = *state;
	world->low_priority_grace_ms = 1000;
	world_start(world);
	assert_int_equal(ask(world, KEEPER_TUPLE, letter.addr, KEEPER_IS_LOW_PRIORITY), CACHE_NONE);
	world_sleep_ms(1100);
	assert_int_equal(ask(world, KEEPER_TUPLE, "192.0.2.8", KEEPER_IS_LOW_PRIORITY),
	                 CACHE_TRAPPED);
	assert_int_equal(ask(world, KEEPER_TUPLE, letter.addr, KEEPER_IS_LOW_PRIORITY), CACHE_NONE);
}

/* --- changes from outside --------------------------------------------------------------------- */

static void a_change_is_answered_when_it_is_on_disk(void **state)
{
	struct world *world = *state;
	struct grey_record record;
	struct change trap = change_of(CHANGE_TRAPPED, letter.addr);
	struct change gone = change_of(CHANGE_DELETE, letter.addr);
	world_start(world);
	struct keeper_answer answer = world_change(world, 1, &trap, UINT64_C(0x123456789abc));
	assert_int_equal(answer.kind, KEEPER_ANSWER_CHANGED);
	assert_int_equal(answer.ret, 0);
	assert_true(answer.cookie == UINT64_C(0x123456789abc));
	assert_true(world_host(world, letter.addr, RECORD_TRAPPED, &record));
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_TRAPPED);
	assert_int_equal(world_change(world, 1, &gone, 2).ret, 0);
	assert_false(world_host(world, letter.addr, RECORD_TRAPPED, &record));
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_NONE);
	assert_true(world_change(world, 1, &gone, 3).ret < 0); /* nothing left to delete */
	assert_int_equal(world_count(world, COUNTER_changes), 3);
}

static void who_sleeps_for_an_answer_is_woken(void **state)
{
	struct world *world = *state;
	struct change white = change_of(CHANGE_WHITE, letter.addr);
	struct keeper_answer answer;
	int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(wake >= 0);
	world->wake_of_ports = wake;
	world_start(world);
	struct pollfd pfd = {.fd = wake, .events = POLLIN};
	assert_int_equal(poll(&pfd, 1, 0), 0);
	assert_true(keeper_post_change(&world->ports[1], &white, 1));
	keeper_wake(world->keeper);
	assert_int_equal(poll(&pfd, 1, WORLD_WAIT_MS), 1);
	assert_true(world_answer_within(world, 1, 0, &answer));
	assert_int_equal(answer.cookie, 1);
	world_stop(world);
	(void)close(wake);
}

static void a_host_made_white_or_deleted_is_so_for_workers_at_once(void **state)
{
	struct world *world = *state;
	struct change white = change_of(CHANGE_WHITE, letter.addr);
	struct change gone = change_of(CHANGE_DELETE, letter.addr);
	enum cache_kind kind;
	world_start(world);
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_NONE);
	assert_true(world_cached(world, letter.addr, &kind));
	(void)world_change(world, 0, &white, 1);
	assert_false(world_cached(world, letter.addr, &kind) && kind != CACHE_WHITE);
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_WHITE);
	(void)world_change(world, 0, &gone, 2);
	assert_false(world_cached(world, letter.addr, &kind) && kind != CACHE_NONE);
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_NONE);
}

static void a_deleted_tuple_is_new_again(void **state)
{
	struct world *world = *state;
	struct change gone = change_of(CHANGE_DELETE_GREY, letter.addr);
	struct grey_record record = {.bcount = 0};
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	assert_int_equal(world_change(world, 0, &gone, 1).ret, 0);
	assert_false(world_find(world, &letter, &record));
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	assert_int_equal(world_count(world, COUNTER_tuples_new), 2);
	world_stop(world);
	assert_true(world_find(world, &letter, &record));
	assert_int_equal(record.bcount, 1);
}

static void a_put_tuple_has_its_own_texts_and_counts(void **state)
{
	struct world *world = *state;
	int64_t now = world_now_secs();
	struct change put = change_of(CHANGE_PUT, letter.addr);
	struct grey_record record = {.bcount = 0};
	put.record_kind = RECORD_GREY;
	put.record = (struct grey_record){
	        .first = {now - 60}, .pass = {now + 5000}, .expire = {now + 5000}, .bcount = 7};
	put.text = (struct tuple_text){.helo = span_of_str(letter.helo),
	                               .sender = span_of_str(letter.sender),
	                               .recipient = span_of_str(letter.recipient)};
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	assert_int_equal(world_change(world, 0, &put, 1).ret, 0);
	assert_true(world_find(world, &letter, &record));
	assert_int_equal(record.bcount, 7);
	assert_int_equal(record.expire.secs, now + 5000);
}

/* --- spamtrap addresses ----------------------------------------------------------------------- */

static struct change spamtrap(enum change_kind kind, const char *address)
{
	return (struct change){
	        .kind = kind,
	        .text = {.helo = SPAN(""), .sender = SPAN(""), .recipient = span_of_str(address)}};
}

static void spamtrap_addresses_are_known_after_the_commit_and_after_a_restart(void **state)
{
	struct world *world = *state;
	struct change add = spamtrap(CHANGE_SPAMTRAP, "trap@example.org");
	struct change add_other = spamtrap(CHANGE_SPAMTRAP, "trap@example.net");
	struct change gone = spamtrap(CHANGE_DELETE, "trap@example.org");
	world_start(world);
	assert_int_equal(world_change(world, 0, &add, 1).ret, 0);
	assert_int_equal(world_change(world, 0, &add_other, 2).ret, 0);
	assert_true(world_has_trap(world, "trap@example.org"));
	world_stop(world);
	world_start(world);
	assert_int_equal(trapset_count(world->knowledge.traps), 2);
	assert_true(world_has_trap(world, "trap@example.org"));
	assert_int_equal(world_change(world, 0, &gone, 3).ret, 0);
	assert_false(world_has_trap(world, "trap@example.org"));
	assert_true(world_has_trap(world, "trap@example.net"));
	assert_true(world_change(world, 0, &gone, 4).ret < 0);
}

/* --- lists ------------------------------------------------------------------------------------ */

static void a_listed_host_is_not_promoted(void **state)
{
	struct world *world = *state;
	struct grey_record record = {.bcount = 0};
	world_seed_tuple(world, &letter, 1600);
	world_list(world, letter.addr);
	world_start(world);
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &letter).host, CACHE_NONE);
	assert_false(world_host(world, letter.addr, RECORD_WHITE, &record));
	assert_int_equal(world_count(world, COUNTER_hosts_promoted), 0);
	world_unlist(world); /* the keeper is idle */
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &letter).host, CACHE_WHITE);
	assert_true(world_host(world, letter.addr, RECORD_WHITE, &record));
	assert_int_equal(record.bcount, 3);
	world_stop(world);
	world_unlist(world);
}

static void traffic_makes_no_listed_or_trapped_host_white(void **state)
{
	struct world *world = *state;
	struct grey_record record;
	world_seed_host(world, "192.0.2.8", RECORD_TRAPPED, 1000);
	world_list(world, letter.addr);
	world_start(world);
	const char *addrs[] = {letter.addr, "192.0.2.8", "192.0.2.9"};
	for (uint64_t i = 0; i < 3; i++) {
		struct change seen = change_of(CHANGE_SEEN, addrs[i]);
		seen.count = 1;
		seen.life_secs = 1000;
		assert_int_equal(world_change(world, 0, &seen, i).ret, 0);
		assert_int_equal(world_host(world, addrs[i], RECORD_WHITE, &record), i == 2);
	}
	struct change white = change_of(CHANGE_WHITE, letter.addr);
	(void)world_change(world, 0, &white, 4);
	assert_true(world_host(world, letter.addr, RECORD_WHITE, &record));
	struct change delist = change_of(CHANGE_DELIST, letter.addr);
	assert_int_equal(world_change(world, 0, &delist, 5).ret, 0);
	assert_false(world_host(world, letter.addr, RECORD_WHITE, &record));
	world_stop(world);
	world_unlist(world);
}

/* --- a store that fails ----------------------------------------------------------------------- */

static void limit_file_size(rlim_t bytes)
{
	struct rlimit limit;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void hits_and_changes_survive_failed_commits(void **state)
{
	struct world *world = *state;
	struct change add = spamtrap(CHANGE_SPAMTRAP, "trap@example.org");
	struct world_tuple hit = from(letter.addr, KEEPER_IS_TRAP);
	struct keeper_answer answer;
	struct grey_record record;
	(void)signal(SIGXFSZ, SIG_IGN);
	world_start(world);
	(void)ask(world, KEEPER_TUPLE, "192.0.2.99", 0);
	limit_file_size(4096);
	assert_true(world_post(world, 1, KEEPER_TUPLE, 1, &hit));
	assert_true(keeper_post_change(&world->ports[1], &add, 2));
	keeper_wake(world->keeper);
	bool has_failed = world_reaches(world, COUNTER_commit_failures, 3);
	bool was_answered = world_answer_within(world, 1, 0, &answer);
	bool was_known = world_has_trap(world, "trap@example.org");
	uint32_t host = ask(world, KEEPER_HOST, letter.addr, 0);
	limit_file_size(RLIM_INFINITY);
	assert_true(has_failed);
	assert_false(was_answered);
	assert_false(was_known);
	assert_int_equal(host, CACHE_NONE);
	assert_int_equal(world_answer(world, 1).host, CACHE_TRAPPED);
	assert_int_equal(world_answer(world, 1).cookie, 2);
	assert_true(world_has_trap(world, "trap@example.org"));
	assert_true(world_host(world, letter.addr, RECORD_TRAPPED, &record));
	assert_int_equal(ask(world, KEEPER_HOST, letter.addr, 0), CACHE_TRAPPED);
	assert_int_equal(world_count(world, COUNTER_hosts_trapped), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORLD_TEST(a_hit_traps_the_host_and_makes_no_tuple),
	        WORLD_TEST(a_hit_takes_the_host_off_the_white),
	        WORLD_TEST(a_hit_of_a_trapped_host_extends_its_life),
	        WORLD_TEST(a_flood_of_hits_is_written_once_a_second_or_so),
	        WORLD_TEST(a_trap_ends_with_its_life),
	        WORLD_TEST(what_a_batch_decides_counts_for_the_rest_of_it),
	        WORLD_TEST(a_trapped_member_is_trapped_alone),
	        WORLD_TEST(a_trapped_member_never_hides_behind_its_group),
	        WORLD_TEST(a_group_is_promoted_without_its_trapped_member),
	        WORLD_TEST(a_group_is_searched_within_bounds_whatever_was_deleted_in_it),
	        WORLD_TEST(a_trapped_address_that_names_its_group_traps_no_other),
	        WORLD_TEST(whole_ipv6_addresses_are_hosts_like_ipv4),
	        WORLD_TEST(a_stranger_at_the_low_priority_mx_is_trapped),
	        WORLD_TEST(a_host_with_any_record_may_use_the_low_priority_mx),
	        WORLD_TEST(a_tuple_of_the_same_batch_makes_a_host_known),
	        WORLD_TEST(nobody_is_trapped_by_the_low_priority_mx_just_after_the_start),
	        WORLD_TEST(a_change_is_answered_when_it_is_on_disk),
	        WORLD_TEST(who_sleeps_for_an_answer_is_woken),
	        WORLD_TEST(a_host_made_white_or_deleted_is_so_for_workers_at_once),
	        WORLD_TEST(a_deleted_tuple_is_new_again),
	        WORLD_TEST(a_put_tuple_has_its_own_texts_and_counts),
	        WORLD_TEST(spamtrap_addresses_are_known_after_the_commit_and_after_a_restart),
	        WORLD_TEST(a_listed_host_is_not_promoted),
	        WORLD_TEST(traffic_makes_no_listed_or_trapped_host_white),
	        WORLD_TEST(hits_and_changes_survive_failed_commits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
