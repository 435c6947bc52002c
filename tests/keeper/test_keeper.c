/* The keeper against a real store; the test plays the workers. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>

#include <sys/timex.h>
#include <sys/wait.h>

#include "keeper_world.h"

/* --- new, early, promoted --------------------------------------------------------------------- */

static void a_new_tuple_is_on_disk_when_its_answer_arrives(void **state)
{
	struct world *world = *state;
	world_start(world);
	int64_t before = world_now_secs();
	struct keeper_answer answer = world_ask(world, KEEPER_TUPLE, &letter);
	struct grey_record record = {.bcount = 0};
	assert_true(world_find(world, &letter, &record));
	assert_int_equal(answer.kind, KEEPER_ANSWER_STORED);
	assert_int_equal(answer.conn.slot, 1);
	assert_int_equal(answer.conn.generation, 1 ^ 7);
	assert_int_equal(record.bcount, 1);
	assert_in_range(record.first.secs, before, before + 5);
	assert_int_equal(record.expire.secs, record.first.secs + 14400);
	assert_int_equal(world_count(world, COUNTER_tuples_new), 1);
}

static void an_early_retry_writes_nothing_and_counts(void **state)
{
	struct world *world = *state;
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	uint64_t commits = world_count(world, COUNTER_commits);
	for (int i = 0; i < 10; i++) {
		struct keeper_answer answer = world_ask(world, KEEPER_TUPLE, &letter);
		assert_int_equal(answer.kind, KEEPER_ANSWER_STORED);
	}
	struct grey_record record = {.bcount = 0};
	assert_true(world_find(world, &letter, &record));
	assert_int_equal(record.bcount, 1);
	assert_int_equal(world_count(world, COUNTER_commits), commits);
	assert_int_equal(world_count(world, COUNTER_tuples_early), 10);
	world_stop(world);
	assert_true(world_find(world, &letter, &record));
	assert_int_equal(record.bcount, 11);
}

static void an_early_retry_after_a_restart_writes_nothing(void **state)
{
	struct world *world = *state;
	world_seed_tuple(world, &letter, 60);
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	assert_int_equal(world_count(world, COUNTER_commits), 0);
	assert_int_equal(world_count(world, COUNTER_tuples_early), 2);
	world_stop(world);
	struct grey_record record = {.bcount = 0};
	assert_true(world_find(world, &letter, &record));
	assert_int_equal(record.bcount, 3);
}

static void the_same_tuple_twice_in_a_batch_is_one_tuple(void **state)
{
	struct world *world = *state;
	world->conf.commit_wait_ms = 250;
	world_start(world);
	for (uint32_t slot = 0; slot < 3; slot++) {
		assert_true(world_post(world, 0, KEEPER_TUPLE, slot, &letter));
	}
	keeper_wake(world->keeper);
	for (uint32_t slot = 0; slot < 3; slot++) {
		assert_int_equal(world_answer(world, 0).conn.slot, slot);
	}
	struct grey_record record = {.bcount = 0};
	assert_true(world_find(world, &letter, &record));
	assert_int_equal(record.bcount, 3);
	assert_int_equal(world_count(world, COUNTER_tuples_new), 1);
	assert_int_equal(world_count(world, COUNTER_tuples_early), 2);
	assert_int_equal(world_count(world, COUNTER_commits), 1);
}

static void a_count_evicted_from_the_cache_is_written(void **state)
{
	enum { N = 100 }; /* of which eight fit */
	struct world *world = *state;
	struct world_tuple tuple = letter;
	char rcpt[32];
	world->conf.tuple_cache_slots = 1;
	world_start(world);
	for (int i = 0; i < 3 * N; i++) {
		(void)snprintf(rcpt, sizeof rcpt, "b%d@example.net", i / 3);
		tuple.recipient = rcpt;
		(void)world_ask(world, KEEPER_TUPLE, &tuple);
	}
	world_stop(world);
	for (int i = 0; i < N; i++) {
		struct grey_record record = {.bcount = 0};
		(void)snprintf(rcpt, sizeof rcpt, "b%d@example.net", i);
		assert_true(world_find(world, &tuple, &record));
		assert_int_equal(record.bcount, 3);
	}
}

static void a_qualified_retry_whitelists_at_once(void **state)
{
	struct world *world = *state;
	world_seed_tuple(world, &letter, 1600);
	world_start(world);
	assert_int_equal(world_ask(world, KEEPER_HOST, &letter).host, CACHE_NONE);
	struct keeper_answer answer = world_ask(world, KEEPER_TUPLE, &letter);
	struct grey_record host;
	assert_true(world_host(world, letter.addr, RECORD_WHITE, &host));
	assert_int_equal(answer.host, CACHE_WHITE);
	int64_t end = world_now_secs() + world->conf.whiteexp_secs;
	assert_in_range(host.expire.secs, end - 5, end);
	assert_int_equal(world_ask(world, KEEPER_HOST, &letter).host, CACHE_WHITE);
	assert_int_equal(world_count(world, COUNTER_hosts_promoted), 1);
	assert_int_equal(world_count(world, COUNTER_tuples_passed), 1);
	struct grey_record tuple;
	assert_true(world_find(world, &letter, &tuple));
	assert_int_equal(tuple.bcount, 2);
}

static void a_promotion_counts_for_the_rest_of_its_batch(void **state)
{
	struct world *world = *state;
	world->conf.commit_wait_ms = 250;
	world_seed_tuple(world, &letter, 1600);
	world_start(world);
	struct world_tuple other = letter;
	other.recipient = "c@example.net";
	assert_true(world_post(world, 0, KEEPER_TUPLE, 1, &letter));
	assert_true(world_post(world, 0, KEEPER_TUPLE, 2, &other));
	keeper_wake(world->keeper);
	(void)world_answer(world, 0);
	assert_int_equal(world_answer(world, 0).host, CACHE_WHITE);
	struct grey_record record = {.bcount = 0};
	assert_false(world_find(world, &other, &record));
	assert_int_equal(world_count(world, COUNTER_commits), 1);
	assert_int_equal(world_count(world, COUNTER_tuples_new), 0);
}

static void a_batch_ends_at_its_bound(void **state)
{
	struct world *world = *state;
	world->conf.commit_max = 4;
	world->conf.commit_wait_ms = 250;
	world_start(world);
	char rcpt[32];
	for (uint32_t i = 0; i < 10; i++) {
		struct world_tuple tuple = letter;
		(void)snprintf(rcpt, sizeof rcpt, "b%u@example.net", i);
		tuple.recipient = rcpt;
		assert_true(world_post(world, 0, KEEPER_TUPLE, i, &tuple));
	}
	keeper_wake(world->keeper);
	for (uint32_t i = 0; i < 10; i++) {
		assert_int_equal(world_answer(world, 0).conn.slot, i);
	}
	assert_int_equal(world_count(world, COUNTER_commits), 3);
	assert_int_equal(world_count(world, COUNTER_tuples_new), 10);
}

/* --- hosts ------------------------------------------------------------------------------------ */

static void a_white_host_makes_no_tuple_and_is_asserted_again(void **state)
{
	struct world *world = *state;
	world_seed_host(world, letter.addr, RECORD_WHITE, 1000);
	world_start(world);
	assert_int_equal(world_ask(world, KEEPER_HOST, &letter).host, CACHE_WHITE);
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &letter).host, CACHE_WHITE);
	struct grey_record record = {.bcount = 0};
	assert_false(world_find(world, &letter, &record));
	size_t len = 0;
	assert_true(world_reaches(world, COUNTER_hosts_reasserted, 1));
	const struct keeper_reassert *reassert = mailbox_peek(world->reasserts, &len);
	assert_non_null(reassert);
	struct addr addr = world_addr(letter.addr);
	assert_true(addr_equal(&reassert->addr, &addr));
	mailbox_release(world->reasserts);
}

static void a_host_is_asserted_once_a_second_at_most(void **state)
{
	struct world *world = *state;
	world_seed_host(world, letter.addr, RECORD_WHITE, 1000);
	world_start(world);
	int64_t begun = world_now_secs();
	for (int i = 0; i < 50; i++) {
		assert_true(world_post(world, 0, KEEPER_SEEN, 0, &letter));
	}
	(void)world_ask(world, KEEPER_HOST, &letter);
	uint64_t seconds = (uint64_t)(world_now_secs() - begun) + 1;
	assert_in_range(world_count(world, COUNTER_hosts_reasserted), 1, seconds);
}

static void a_trapped_host_makes_no_tuple(void **state)
{
	struct world *world = *state;
	world_seed_host(world, letter.addr, RECORD_WHITE, 1000);
	world_seed_host(world, letter.addr, RECORD_TRAPPED, 1000);
	world_start(world);
	assert_int_equal(world_ask(world, KEEPER_HOST, &letter).host, CACHE_TRAPPED);
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &letter).host, CACHE_TRAPPED);
	struct grey_record record = {.bcount = 0};
	assert_false(world_find(world, &letter, &record));
}

static void hosts_of_one_ipv6_network_are_one_host(void **state)
{
	struct world *world = *state;
	struct world_tuple first = letter;
	struct world_tuple second = letter;
	first.addr = "2001:db8:1:2::25";
	second.addr = "2001:db8:1:2:9999::1";
	world_seed_tuple(world, &first, 1600);
	world_start(world);
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &second).host, CACHE_WHITE);
	struct grey_record host;
	assert_true(world_host(world, "2001:db8:1:2::", RECORD_WHITE, &host));
	second.addr = "2001:db8:1:3::1";
	assert_int_equal(world_ask(world, KEEPER_HOST, &second).host, CACHE_NONE);
}

/* --- expiry ----------------------------------------------------------------------------------- */

static void expired_records_are_swept_and_forgotten(void **state)
{
	struct world *world = *state;
	world_seed_tuple(world, &letter, 14400 - 1);
	world_seed_host(world, "192.0.2.9", RECORD_WHITE, 1);
	world_start(world);
	struct world_tuple white = {.addr = "192.0.2.9"};
	(void)world_ask(world, KEEPER_HOST, &white);
	assert_true(world_reaches(world, COUNTER_expired_tuples, 1));
	assert_true(world_reaches(world, COUNTER_expired_hosts, 1));
	struct grey_record record = {.bcount = 0};
	assert_false(world_find(world, &letter, &record));
	assert_false(world_host(world, "192.0.2.9", RECORD_WHITE, &record));
	assert_int_equal(world_ask(world, KEEPER_HOST, &white).host, CACHE_NONE);
}

static void an_expired_tuple_that_was_not_swept_is_new_again(void **state)
{
	struct world *world = *state;
	world->conf.sweep_ms = 1000000;
	world_seed_tuple(world, &letter, 14400 - 1);
	world_start(world);
	(void)world_ask(world, KEEPER_HOST, &letter); /* the first sweep is over */
	world_sleep_ms(1100);
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	struct grey_record record = {.bcount = 0};
	assert_true(world_find(world, &letter, &record));
	assert_in_range(record.first.secs, world_now_secs() - 5, world_now_secs());
	assert_int_equal(record.bcount, 1);
	assert_int_equal(world_count(world, COUNTER_tuples_new), 1);
}

static bool kernel_clock_is_synchronised(void)
{
	struct timex tx = {.modes = 0};
	return adjtimex(&tx) != TIME_ERROR && (tx.status & STA_UNSYNC) == 0;
}

/* A store whose newest change is two hours old: the daemon cannot know whether the clock jumped. */
static void nothing_expires_until_a_jump_is_confirmed(void **state)
{
	struct world *world = *state;
	struct store_txn txn;
	struct addr addr = world_addr("192.0.2.9");
	struct wall then = {world_now_secs() - 7200};
	struct grey_record record = {.first = then, .pass = then, .expire = {then.secs + 3600}};
	store_begin(world->store, &txn, then);
	store_put_host(&txn, &addr, RECORD_WHITE, &record);
	assert_int_equal(store_commit(&txn), 0);
	world_close_store(world);
	world_open_store(world);
	world_start(world);
	struct world_tuple white = {.addr = "192.0.2.9"};
	if (!kernel_clock_is_synchronised()) {
		struct keeper_figures figures;
		assert_int_equal(world_ask(world, KEEPER_HOST, &white).host, CACHE_WHITE);
		keeper_figures_get(world->keeper, &figures);
		assert_true(figures.is_clock_paused);
		assert_int_equal(world_count(world, COUNTER_expired_hosts), 0);
		/* greylisting goes on meanwhile */
		(void)world_ask(world, KEEPER_TUPLE, &letter);
		assert_true(world_find(world, &letter, &record));
		assert_in_range(record.first.secs, world_now_secs() - 5, world_now_secs());
		/* nor does a restart make a doubtful time a believed one */
		world_stop(world);
		world_close_store(world);
		world_open_store(world);
		assert_int_equal(store_newest(world->store).secs, then.secs);
		world_start(world);
		assert_int_equal(world_ask(world, KEEPER_HOST, &white).host, CACHE_WHITE);
		assert_int_equal(world_count(world, COUNTER_expired_hosts), 0);
		keeper_clock_ok(world->keeper);
	}
	assert_true(world_reaches(world, COUNTER_expired_hosts, 1));
	assert_int_equal(world_ask(world, KEEPER_HOST, &white).host, CACHE_NONE);
}

/* --- many workers, sudden death --------------------------------------------------------------- */

static void every_worker_gets_its_own_answers(void **state)
{
	enum { N = 2000 };
	struct world *world = *state;
	world_start(world);
	char rcpt[32];
	for (uint32_t i = 0; i < N; i++) {
		struct world_tuple tuple = letter;
		(void)snprintf(rcpt, sizeof rcpt, "b%u@example.net", i);
		tuple.recipient = rcpt;
		assert_true(world_post(world, (int)(i % WORLD_PORTS), KEEPER_TUPLE, i, &tuple));
		if (i % 50 == 0) {
			keeper_wake(world->keeper);
		}
	}
	keeper_wake(world->keeper);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(world_answer(world, (int)(i % WORLD_PORTS)).conn.slot, i);
	}
	struct store_stats stats;
	assert_int_equal(store_stats_get(world->reader, &stats), 0);
	assert_int_equal(stats.n_tuples, N);
	struct keeper_figures figures;
	keeper_figures_get(world->keeper, &figures);
	assert_true(figures.commit_p99_ms >= figures.commit_p50_ms && figures.commit_p50_ms > 0);
}

static struct world_tuple numbered(uint32_t n, char rcpt[static 32])
{
	struct world_tuple tuple = letter;
	(void)snprintf(rcpt, 32, "n%u@example.net", n);
	tuple.recipient = rcpt;
	return tuple;
}

/* The process that is killed: asks without end and writes down what was answered. */
_Noreturn static void asker(struct world *world, int out, uint32_t first)
{
	world_open_store(world);
	world_start(world);
	char rcpt[32];
	uint32_t n_waiting = 0;
	for (uint32_t n = first;; n++) {
		struct world_tuple tuple = numbered(n, rcpt);
		assert_true(world_post(world, 0, KEEPER_TUPLE, n, &tuple));
		keeper_wake(world->keeper);
		n_waiting++;
		struct keeper_answer answer;
		while (world_answer_within(world, 0, n_waiting < 500 ? 0 : WORLD_WAIT_MS,
		                           &answer)) {
			n_waiting--;
			if (write(out, &answer.conn.slot, sizeof answer.conn.slot) < 0) {
				_exit(1);
			}
		}
	}
}

static uint32_t kill_asker_after(struct world *world, int ms, uint32_t first, uint32_t *recorded)
{
	int pipe_fds[2] = {-1, -1};
	assert_int_equal(pipe(pipe_fds), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)close(pipe_fds[0]);
		asker(world, pipe_fds[1], first);
	}
	(void)close(pipe_fds[1]);
	uint32_t n = 0;
	ssize_t got = read(pipe_fds[0], &recorded[n], sizeof *recorded); /* it runs */
	assert_int_equal(got, sizeof *recorded);
	n++;
	struct mono deadline = mono_add_ms(clock_mono(), ms);
	while (clock_mono().ns < deadline.ns && n < 90000 &&
	       read(pipe_fds[0], &recorded[n], sizeof *recorded) == sizeof *recorded) {
		n++;
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	while (n < 90000 && read(pipe_fds[0], &recorded[n], sizeof *recorded) == sizeof *recorded) {
		n++;
	}
	(void)close(pipe_fds[0]);
	return n;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* The numbers of all stored tuples, sorted. */
static uint32_t stored_numbers(struct world *world, uint32_t *out, uint32_t max)
{
	struct store_walk *walk = store_walk_new(world->reader, STORE_WALK_TUPLES, NULL, NULL);
	const struct store_row *rows = NULL;
	uint32_t n_stored = 0;
	int n = 0;
	while ((n = store_walk_next(walk, &rows, NULL)) > 0) {
		for (int i = 0; i < n && n_stored < max; i++) {
			char text[32];
			(void)span_to_str(rows[i].text.recipient, text, sizeof text);
			out[n_stored++] = (uint32_t)strtoul(text + 1, NULL, 10);
		}
	}
	assert_int_equal(n, 0);
	store_walk_free(walk);
	qsort(out, n_stored, sizeof *out, compare_u32);
	return n_stored;
}

static void what_was_answered_survives_kill_9(void **state)
{
	enum { ROUNDS = 5, MAX = 100000 };
	struct world *world = *state;
	uint32_t *recorded = malloc(MAX * sizeof *recorded);
	uint32_t *stored = malloc((size_t)2 * MAX * sizeof *stored);
	uint32_t n_recorded = 0;
	world_close_store(world);
	world->conf.commit_wait_ms = 5;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		n_recorded = kill_asker_after(world, 20 + 37 * (int)round, round * MAX, recorded);
		world_open_store(world);
		uint32_t n_stored = stored_numbers(world, stored, 2 * MAX);
		for (uint32_t i = 0; i < n_recorded; i++) {
			assert_non_null(bsearch(&recorded[i], stored, n_stored, sizeof *stored,
			                        compare_u32));
		}
		print_message("killed after %u answers; %u tuples stored in all\n", n_recorded,
		              n_stored);
		if (round + 1 < ROUNDS) {
			world_close_store(world);
		}
	}
	free(recorded);
	free(stored);
}

/* Lists may take off hundreds of thousands, and each commit waits for the disk. */
static void hosts_taken_off_by_lists_share_large_commits(void **state)
{
	enum { N = 2048 }; /* of other changes these were eight commits */
	struct world *world = *state;
	struct store_stats stats;
	struct store_txn txn;
	struct grey_record record = {.first = clock_wall(), .expire = {world_now_secs() + 1000}};
	store_begin(world->store, &txn, clock_wall());
	for (uint32_t i = 0; i < N; i++) {
		struct addr addr = addr_from_v4_be(htonl(0x0a000000 + i));
		store_put_host(&txn, &addr, RECORD_WHITE, &record);
	}
	assert_int_equal(store_commit(&txn), 0);
	world_start(world);
	for (uint32_t i = 0; i < N; i++) {
		struct change off = {.kind = CHANGE_DELIST,
		                     .has_addr = true,
		                     .addr = addr_from_v4_be(htonl(0x0a000000 + i))};
		assert_true(keeper_post_change(&world->ports[1], &off, i + 1));
	}
	keeper_wake(world->keeper);
	for (uint32_t i = 0; i < N; i++) {
		struct keeper_answer answer = world_answer(world, 1);
		assert_int_equal(answer.cookie, i + 1);
		assert_int_equal(answer.ret, 0);
	}
	/* the keeper may have looked once while they were being posted */
	assert_in_range(world_count(world, COUNTER_commits), 1, 2);
	assert_int_equal(store_stats_get(world->reader, &stats), 0);
	assert_int_equal(stats.n_hosts, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORLD_TEST(hosts_taken_off_by_lists_share_large_commits),
	        WORLD_TEST(a_new_tuple_is_on_disk_when_its_answer_arrives),
	        WORLD_TEST(an_early_retry_writes_nothing_and_counts),
	        WORLD_TEST(an_early_retry_after_a_restart_writes_nothing),
	        WORLD_TEST(the_same_tuple_twice_in_a_batch_is_one_tuple),
	        WORLD_TEST(a_qualified_retry_whitelists_at_once),
	        WORLD_TEST(a_promotion_counts_for_the_rest_of_its_batch),
	        WORLD_TEST(a_batch_ends_at_its_bound),
	        WORLD_TEST(a_white_host_makes_no_tuple_and_is_asserted_again),
	        WORLD_TEST(a_host_is_asserted_once_a_second_at_most),
	        WORLD_TEST(a_trapped_host_makes_no_tuple),
	        WORLD_TEST(hosts_of_one_ipv6_network_are_one_host),
	        WORLD_TEST(expired_records_are_swept_and_forgotten),
	        WORLD_TEST(an_expired_tuple_that_was_not_swept_is_new_again),
	        WORLD_TEST(nothing_expires_until_a_jump_is_confirmed),
	        WORLD_TEST(a_count_evicted_from_the_cache_is_written),
	        WORLD_TEST(every_worker_gets_its_own_answers),
	        WORLD_TEST(what_was_answered_survives_kill_9),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
