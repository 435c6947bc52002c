/* A flood: new tuples are taken in without their places, answered as ever, and get their places
 * afterwards. Whatever comes meanwhile, the store ends as it would have without, and kill -9 loses
 * nothing that was answered. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "keeper_world.h"

enum {
	N_FLOOD = 4000, /* more than make a flood, less than a mailbox holds */
	N_ROUNDS = 6,
	N_ROUND = 2500, /* different tuples: what is early may overtake a change of the same one */
	HISTORY_STEP = 1237,
	N_HISTORY_TUPLES = 3500,
	N_KILLS = 12,
	KILL_AFTER_MS_MAX = 150,
	N_KILLED_MAX = 60000,
	TEXT_MAX = 64,
};

/* A tuple that follows from a number, of a host of its own: which of several `delete-grey` takes
 * depends on the store's secret. Its texts live in it. */
struct numbered {
	char addr[TEXT_MAX];
	char sender[TEXT_MAX];
	struct world_tuple tuple;
};

static const struct world_tuple *numbered(struct numbered *numbered, uint32_t n)
{
	(void)snprintf(numbered->addr, TEXT_MAX, "10.%u.%u.%u", n >> 14 & 255, n >> 7 & 127,
	               n & 127);
	(void)snprintf(numbered->sender, TEXT_MAX, "sender-%u@example.org", n);
	numbered->tuple = (struct world_tuple){numbered->addr, "mail.example", numbered->sender,
	                                       "b@c.net", 0};
	return &numbered->tuple;
}

/* The mailbox is full at times: the keeper has not had its turn yet. */
static void give_turn(struct world *world)
{
	keeper_wake(world->keeper);
	world_sleep_ms(1);
}

static void post_numbered(struct world *world, uint32_t n, uint16_t flags)
{
	struct numbered one;
	struct world_tuple tuple = *numbered(&one, n);
	tuple.flags = flags;
	while (!world_post(world, 0, KEEPER_TUPLE, n, &tuple)) {
		give_turn(world);
	}
}

static uint64_t n_waiting(struct world *world)
{
	struct store_stats stats;
	assert_int_equal(store_stats_get(world->reader, &stats), 0);
	return stats.n_waiting;
}

static void await_places(struct world *world)
{
	for (int i = 0; i < WORLD_WAIT_MS && n_waiting(world) > 0; i++) {
		world_sleep_ms(1);
	}
	assert_int_equal(n_waiting(world), 0);
}

static void assert_sound(struct world *world)
{
	char why[STORE_WHY_MAX] = "";
	int ret = store_check(world->dir, world->conf.map_bytes, why);
	assert_string_equal(why, "");
	assert_int_equal(ret, 0);
}

/* All in one go, before the keeper looks. */
static void flood(struct world *world, uint32_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		post_numbered(world, first + i, 0);
	}
	keeper_wake(world->keeper);
	for (uint32_t i = 0; i < n; i++) {
		struct keeper_answer answer = world_answer(world, 0);
		assert_int_equal(answer.kind, KEEPER_ANSWER_STORED);
		assert_int_equal(answer.host, CACHE_NONE);
	}
}

static int setup(void **state)
{
	int ret = world_setup(state);
	struct world *world = *state;
	world->conf.burst_max = 100000;
	world->conf.map_bytes = UINT64_C(1) << 30;
	return ret;
}

/* --- a flood ---------------------------------------------------------------------------------- */

static void its_tuples_are_answered_and_get_their_places(void **state)
{
	struct world *world = *state;
	struct grey_record record = {.bcount = 0};
	struct numbered one;
	world_start(world);
	flood(world, 0, N_FLOOD);
	assert_true(world_count(world, COUNTER_burst_tuples) > 0);
	assert_int_equal(world_count(world, COUNTER_tuples_new), N_FLOOD);
	await_places(world);
	struct store_stats stats;
	assert_int_equal(store_stats_get(world->reader, &stats), 0);
	assert_int_equal(stats.n_tuples, N_FLOOD);
	assert_int_equal(stats.n_expiry, N_FLOOD);
	assert_int_equal(stats.last_seq, N_FLOOD);
	assert_true(world_find(world, numbered(&one, 17), &record));
	assert_int_equal(record.bcount, 1);
	assert_int_equal(record.expire.secs, record.first.secs + world->conf.greyexp_secs);
	assert_sound(world);
}

static void few_requests_are_no_flood(void **state)
{
	struct world *world = *state;
	world_start(world);
	flood(world, 0, 300);
	assert_int_equal(world_count(world, COUNTER_burst_tuples), 0);
	assert_int_equal(n_waiting(world), 0);
}

static void without_room_to_wait_none_does(void **state)
{
	struct world *world = *state;
	world->conf.burst_max = 0;
	world_start(world);
	flood(world, 0, N_FLOOD);
	assert_int_equal(world_count(world, COUNTER_burst_tuples), 0);
	assert_int_equal(world_count(world, COUNTER_tuples_new), N_FLOOD);
}

static void no_more_wait_than_are_allowed_to(void **state)
{
	struct world *world = *state;
	world->conf.burst_max = 50;
	world_start(world);
	flood(world, 0, N_FLOOD);
	uint64_t n = world_count(world, COUNTER_burst_tuples);
	assert_in_range(n, 1, N_FLOOD / 2);
	await_places(world);
	assert_sound(world);
}

/* The cache is small: most retries ask the store. */
static void a_retry_in_a_flood_counts(void **state)
{
	struct world *world = *state;
	struct grey_record record = {.bcount = 0};
	struct numbered one;
	world->conf.tuple_cache_slots = 64;
	world_start(world);
	for (uint32_t i = 0; i < 2000; i++) {
		post_numbered(world, i, 0);
		post_numbered(world, i / 2, 0);
	}
	keeper_wake(world->keeper);
	for (uint32_t i = 0; i < 4000; i++) {
		assert_int_equal(world_answer(world, 0).kind, KEEPER_ANSWER_STORED);
	}
	assert_int_equal(world_count(world, COUNTER_tuples_new), 2000);
	assert_int_equal(world_count(world, COUNTER_tuples_early), 2000);
	await_places(world);
	world_stop(world);
	assert_true(world_find(world, numbered(&one, 700), &record));
	assert_int_equal(record.bcount, 3); /* once new, twice again */
	assert_sound(world);
}

/* A group of retries evicts nearly all counts of the group before it. */
static void counts_that_the_cache_cannot_hold_are_kept(void **state)
{
	struct world *world = *state;
	struct numbered one;
	world->conf.tuple_cache_slots = 64;
	world_start(world);
	for (int round = 0; round < 3; round++) {
		flood(world, 0, N_FLOOD);
		await_places(world);
	}
	world_stop(world);
	for (uint32_t i = 0; i < N_FLOOD; i++) {
		struct grey_record record = {.bcount = 0};
		assert_true(world_find(world, numbered(&one, i), &record));
		assert_int_equal(record.bcount, 3);
	}
}

static void the_next_keeper_gives_places_to_what_the_last_one_left(void **state)
{
	struct world *world = *state;
	world_start(world);
	flood(world, 0, N_FLOOD);
	world_stop(world);
	uint64_t n = n_waiting(world);
	world_start(world);
	await_places(world);
	assert_int_equal(world_count(world, COUNTER_burst_tuples), 0);
	struct store_stats stats;
	assert_int_equal(store_stats_get(world->reader, &stats), 0);
	assert_int_equal(stats.n_tuples, N_FLOOD);
	print_message("%llu waited\n", (unsigned long long)n);
	assert_sound(world);
}

/* The mailbox has run empty behind its middle: it takes few answers before the first is read. */
static void a_worker_that_does_not_look_finds_all_its_answers_later(void **state)
{
	struct world *world = *state;
	world_start(world);
	flood(world, 0, N_FLOOD / 2);
	for (uint32_t i = 0; i < N_FLOOD; i++) {
		post_numbered(world, N_FLOOD / 2 + i, 0);
	}
	keeper_wake(world->keeper);
	assert_true(world_reaches(world, COUNTER_tuples_new, N_FLOOD + N_FLOOD / 2));
	for (uint32_t i = 0; i < N_FLOOD; i++) {
		assert_int_equal(world_answer(world, 0).conn.slot, N_FLOOD / 2 + i);
	}
}

/* --- histories -------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

static void post_change_of(struct world *world, enum change_kind kind, uint32_t n)
{
	struct numbered one;
	struct change change = {
	        .kind = kind, .has_addr = true, .addr = world_addr(numbered(&one, n)->addr)};
	while (!keeper_post_change(&world->ports[0], &change, n)) {
		give_turn(world);
	}
}

/* New tuples, retries, trap hits, hosts made white or trapped, deletions: all in one mailbox. */
static void post_one(struct world *world, uint32_t what, uint32_t n)
{
	static const struct {
		uint16_t flags;
		bool is_change;
		enum change_kind change;
	} steps[] = {
	        {.flags = KEEPER_IS_TRAP},
	        {.flags = KEEPER_IS_LOW_PRIORITY},
	        {.is_change = true, .change = CHANGE_WHITE},
	        {.is_change = true, .change = CHANGE_TRAPPED},
	        {.is_change = true, .change = CHANGE_DELETE_GREY},
	};
	if (what >= ARRAY_LEN(steps)) {
		post_numbered(world, n, 0);
	} else if (steps[what].is_change) {
		post_change_of(world, steps[what].change, n);
	} else {
		post_numbered(world, n, steps[what].flags);
	}
}

static void run_history(struct world *world, uint32_t seed)
{
	uint32_t x = seed;
	world_start(world);
	for (int round = 0; round < N_ROUNDS; round++) {
		uint32_t n = next_random(&x);
		for (uint32_t i = 0; i < N_ROUND; i++) {
			n = (n + HISTORY_STEP) % N_HISTORY_TUPLES;
			post_one(world, next_random(&x) % 40, n);
		}
		keeper_wake(world->keeper);
		for (uint32_t i = 0; i < N_ROUND; i++) {
			(void)world_answer(world, 0);
		}
	}
	await_places(world);
	world_stop(world);
	assert_sound(world);
}

static uint64_t n_of_host(struct world *world, const char *addr)
{
	struct addr host = world_addr(addr);
	const struct store_row *rows = NULL;
	uint64_t n_rows = 0;
	int n = 0;
	struct store_walk *walk = store_walk_new(world->reader, STORE_WALK_TUPLES, &host, &host);
	while ((n = store_walk_next(walk, &rows, NULL)) > 0) {
		n_rows += (uint64_t)n;
	}
	store_walk_free(walk);
	return n_rows;
}

static void assert_same_host(struct world *const worlds[2], uint32_t n)
{
	struct numbered one;
	const char *addr = numbered(&one, n)->addr;
	static const enum record_kind kinds[] = {RECORD_WHITE, RECORD_TRAPPED};
	assert_int_equal(n_of_host(worlds[0], addr), n_of_host(worlds[1], addr));
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct grey_record record[2];
		bool is_there = world_host(worlds[0], addr, kinds[k], &record[0]);
		assert_int_equal(world_host(worlds[1], addr, kinds[k], &record[1]), is_there);
	}
}

static void histories_end_alike_with_and_without_bursts(void **state)
{
	struct world *world = *state;
	void *other = NULL;
	uint32_t seed = (uint32_t)time(NULL) | 1U;
	print_message("seed %u\n", seed);
	assert_int_equal(world_setup(&other), 0);
	struct world *const worlds[2] = {world, other};
	run_history(worlds[0], seed);
	run_history(worlds[1], seed);
	for (uint32_t n = 0; n < N_HISTORY_TUPLES; n++) {
		assert_same_host(worlds, n);
	}
	struct store_stats stats[2];
	for (int i = 0; i < 2; i++) {
		assert_int_equal(store_stats_get(worlds[i]->reader, &stats[i]), 0);
	}
	assert_int_equal(stats[0].n_tuples, stats[1].n_tuples);
	assert_int_equal(stats[0].n_tombstones, stats[1].n_tombstones);
	assert_int_equal(stats[0].n_expiry, stats[1].n_expiry);
	assert_int_equal(world_teardown(&other), 0);
}

/* --- kill -9 ---------------------------------------------------------------------------------- */

/* Floods a keeper without end and says after each look how many were answered. One port and one
 * kind of request: the answers are those of the first ones. */
static _Noreturn void flood_until_killed(struct world *world, uint32_t first, int report_fd)
{
	uint32_t n_posted = 0;
	uint32_t n_answered = 0;
	uint32_t n_reported = 0;
	size_t len = 0;
	world_open_store(world);
	world_start(world);
	while (n_posted < N_KILLED_MAX) {
		for (int i = 0; i < 500 && n_posted - n_answered < N_FLOOD; i++) {
			post_numbered(world, first + n_posted++, 0);
		}
		keeper_wake(world->keeper);
		while (mailbox_peek(world->ports[0].answers, &len)) {
			mailbox_release(world->ports[0].answers);
			n_answered++;
		}
		if (n_answered > n_reported &&
		    write(report_fd, &n_answered, sizeof n_answered) != sizeof n_answered) {
			_exit(1);
		}
		n_reported = n_answered;
	}
	for (;;) {
		(void)pause();
	}
}

static uint32_t kill_one(struct world *world, uint32_t first, int after_ms)
{
	int fds[2];
	uint32_t n_answered = 0;
	uint32_t n = 0;
	int status = 0;
	assert_int_equal(pipe(fds), 0);
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		(void)close(fds[0]);
		flood_until_killed(world, first, fds[1]);
	}
	(void)close(fds[1]);
	/* the first answers are there */
	while (n_answered == 0 && read(fds[0], &n, sizeof n) == sizeof n) {
		n_answered = n;
	}
	world_sleep_ms(after_ms);
	(void)kill(pid, SIGKILL);
	while (read(fds[0], &n, sizeof n) == sizeof n) {
		n_answered = n;
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	(void)close(fds[0]);
	return n_answered;
}

static void assert_stored(struct world *world, uint32_t first, uint32_t n)
{
	struct store_txn txn;
	struct grey_record record = {.bcount = 0};
	struct numbered one;
	store_begin(world->store, &txn, clock_wall());
	for (uint32_t i = 0; i < n; i++) {
		struct tuple_key key = world_key(world, numbered(&one, first + i));
		assert_true(store_get_tuple(&txn, &key, &record));
	}
	store_abort(&txn);
}

static void kill_9_in_a_flood_loses_nothing_that_was_answered(void **state)
{
	struct world *world = *state;
	uint32_t n_answered[N_KILLS];
	uint64_t n_waited = 0;
	uint32_t x = (uint32_t)time(NULL) | 1U;
	world_close_store(world);
	for (uint32_t i = 0; i < N_KILLS; i++) {
		n_answered[i] = kill_one(world, i * N_KILLED_MAX,
		                         (int)(next_random(&x) % KILL_AFTER_MS_MAX));
		world_open_store(world);
		n_waited += n_waiting(world);
		assert_stored(world, i * N_KILLED_MAX, n_answered[i]);
		assert_sound(world);
		world_close_store(world);
	}
	world_open_store(world);
	world_start(world);
	await_places(world);
	world_stop(world);
	for (uint32_t i = 0; i < N_KILLS; i++) {
		assert_stored(world, i * N_KILLED_MAX, n_answered[i]);
	}
	assert_sound(world);
	assert_true(n_waited > 0);
}

#define BURST_TEST(name) cmocka_unit_test_setup_teardown(name, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        BURST_TEST(kill_9_in_a_flood_loses_nothing_that_was_answered),
	        BURST_TEST(its_tuples_are_answered_and_get_their_places),
	        BURST_TEST(few_requests_are_no_flood),
	        BURST_TEST(without_room_to_wait_none_does),
	        BURST_TEST(no_more_wait_than_are_allowed_to),
	        BURST_TEST(a_retry_in_a_flood_counts),
	        BURST_TEST(counts_that_the_cache_cannot_hold_are_kept),
	        BURST_TEST(a_worker_that_does_not_look_finds_all_its_answers_later),
	        BURST_TEST(the_next_keeper_gives_places_to_what_the_last_one_left),
	        BURST_TEST(histories_end_alike_with_and_without_bursts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
