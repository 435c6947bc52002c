/* The feeder against a real store and a socketpair whose other end the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "feeder_fixture.h"

/* --- tests ------------------------------------------------------------------------------------ */

static void a_role_that_asks_gets_a_complete_copy(void **state)
{
	struct fixture *fix = *state;
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	put_host(fix, "192.0.2.2", RECORD_TRAPPED, 500);
	put_host(fix, "192.0.2.3", RECORD_WHITE, 0);
	put_host(fix, "2001:db8:1:2::", RECORD_WHITE, 1000);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	assert_int_equal(fix->kernel.n, 3);
	assert_int_equal(fix->kernel.seq, 4);
	assert_in_range(kernel_find(fix, "192.0.2.1", SET_WHITE)->timeout_secs, 4590, 4600);
	assert_in_range(kernel_find(fix, "192.0.2.2", SET_GREYTRAP)->timeout_secs, 4090, 4100);
	assert_non_null(kernel_find(fix, "2001:db8:1:2::", SET_WHITE));
}

static void a_role_that_says_nothing_gets_one_too(void **state)
{
	struct fixture *fix = *state;
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	connect_role(fix);
	role_until_fill(fix, 1);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
}

static void an_empty_store_makes_an_empty_copy(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	assert_int_equal(fix->kernel.n, 0);
	assert_int_equal(fix->kernel.seq, 0);
}

static void changes_arrive_in_the_order_of_the_journal(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	put_host(fix, "192.0.2.2", RECORD_WHITE, 1000);
	delete_host(fix, "192.0.2.2");
	delete_host(fix, "192.0.2.1");
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	role_until_seq(fix, 5);
	assert_int_equal(fix->kernel.n, 1);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
	assert_int_equal(fix->kernel.n_changes, 5);
}

static void a_host_is_in_the_kernel_within_100_ms(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	world_seed_host(&fix->world, "192.0.2.1", RECORD_WHITE, 1000);
	struct mono begun = clock_mono();
	wake(fix);
	role_until_seq(fix, 1);
	assert_in_range(mono_diff_ms(clock_mono(), begun), 0, 100);
}

static void tuples_only_move_the_cursor(void **state)
{
	struct fixture *fix = *state;
	struct world_tuple tuple = {.addr = "192.0.2.1",
	                            .helo = "h",
	                            .sender = "a@example.org",
	                            .recipient = "b@example.net"};
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	world_seed_tuple(&fix->world, &tuple, 0);
	world_seed_tuple(&fix->world, &tuple, 0);
	wake(fix);
	feeder_until_done(fix, 2);
	assert_false(role_receive(fix, 0));
}

static void a_copy_longer_than_the_socket_takes_arrives_whole(void **state)
{
	enum { N = 3500 };
	struct fixture *fix = *state;
	put_many(fix, N);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	world_sleep_ms(100); /* the feeder stands at a full socket now */
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	delete_host(fix, "10.0.0.7");
	role_until_fill(fix, 1);
	role_until_seq(fix, N + 2);
	assert_int_equal(fix->kernel.n, N);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
	assert_null(kernel_find(fix, "10.0.0.7", SET_WHITE));
}

static void a_change_does_not_wait_for_the_end_of_a_copy(void **state)
{
	enum { N = 6000 };
	struct fixture *fix = *state;
	put_many(fix, N);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	while (fix->kernel.n == 0) {
		assert_true(role_receive(fix, WORLD_WAIT_MS));
	}
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	delete_host(fix, "10.0.0.7");  /* one that was sent */
	delete_host(fix, "10.0.23.7"); /* one of the last */
	while (!kernel_find(fix, "192.0.2.1", SET_WHITE) ||
	       kernel_find(fix, "10.0.0.7", SET_WHITE)) {
		assert_true(role_receive(fix, WORLD_WAIT_MS));
		assert_true(fix->kernel.is_filling);
	}
	assert_true(fix->kernel.n < N / 2);
	assert_true(fix->kernel.n_changes_in_fill > 0);
	role_until_fill(fix, 1);
	feeder_until_done(fix, N + 3);
	assert_null(kernel_find(fix, "10.0.23.7", SET_WHITE));
	assert_int_equal(fix->kernel.n, N - 1);
}

/* It is in the copy, too, but far behind. */
static void a_change_just_before_a_copy_does_not_wait_for_its_place(void **state)
{
	enum { N = 6000 };
	struct fixture *fix = *state;
	put_many(fix, N);
	connect_role(fix);
	world_sleep_ms(100); /* the role has not asked yet */
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	say(fix, MSG_NEED_FILL, 0);
	while (!kernel_find(fix, "192.0.2.1", SET_WHITE)) {
		assert_true(role_receive(fix, WORLD_WAIT_MS));
	}
	assert_true(fix->kernel.n < N / 2);
	role_until_fill(fix, 1);
	feeder_until_done(fix, N + 1);
	assert_int_equal(fix->kernel.n, N + 1);
}

static void a_role_that_asks_again_in_the_middle_of_a_copy_gets_another(void **state)
{
	enum { N = 6000 };
	struct fixture *fix = *state;
	put_many(fix, N);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	while (fix->kernel.n == 0) {
		assert_true(role_receive(fix, WORLD_WAIT_MS));
	}
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	feeder_until_done(fix, N);
	assert_int_equal(fix->kernel.n_begun, 2);
	assert_int_equal(fix->kernel.n, N);
}

static void a_lost_table_is_filled_again(void **state)
{
	struct fixture *fix = *state;
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	feeder_until_done(fix, 1);
	fix->kernel.n = 0;
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 2);
	assert_int_equal(fix->kernel.n, 1);
	feeder_until_done(fix, 1);
	assert_int_equal(counters_get(feeder_counters(fix->feeder), COUNTER_fw_fills), 2);
}

static void nothing_is_called_done_while_a_copy_is_wanted(void **state)
{
	struct fixture *fix = *state;
	struct feeder_figures figures = {.done_seq = 1};
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	feeder_until_done(fix, 1);
	say(fix, MSG_NEED_FILL, 0); /* and the role does not read the copy yet */
	for (int i = 0; i < WORLD_WAIT_MS && figures.done_seq > 0; i++) {
		feeder_figures_get(fix->feeder, &figures);
		world_sleep_ms(1);
	}
	assert_int_equal(figures.done_seq, 0);
	role_until_fill(fix, 2);
	feeder_until_done(fix, 1);
}

static void a_new_role_replaces_a_dead_one(void **state)
{
	struct fixture *fix = *state;
	struct feeder_figures figures = {.is_connected = true};
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	(void)close(fix->role);
	fix->role = -1;
	for (int i = 0; i < WORLD_WAIT_MS && figures.is_connected; i++) {
		feeder_figures_get(fix->feeder, &figures);
		world_sleep_ms(1);
	}
	assert_false(figures.is_connected);
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 2);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
}

/* As the engine would be started anew; its journal holds 100 changes from now on. */
static void restart_with_short_journal(struct fixture *fix)
{
	store_reader_close(fix->world.reader);
	feeder_stop(fix->feeder);
	store_close(fix->world.store);
	fix->world.conf.journal_max = 100;
	world_open_store(&fix->world);
	struct feeder_env env = {.conf = &fix->world.conf,
	                         .store = fix->world.store,
	                         .wake = fix->world.wake_feeder,
	                         .reasserts = fix->world.reasserts};
	assert_int_equal(feeder_start(&fix->feeder, &env), 0);
}

static void a_feed_left_behind_fills_again(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	restart_with_short_journal(fix);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 2);
	put_many(fix, 500);
	role_until_fill(fix, 3);
	assert_int_equal(fix->kernel.n, 500);
	assert_int_equal(counters_get(feeder_counters(fix->feeder), COUNTER_fw_feed_behind), 1);
}

/* The role lost its table after all of the copy had been sent and before it had all of it. */
static void who_has_nothing_yet_gets_no_journal_from_its_beginning(void **state)
{
	struct fixture *fix = *state;
	restart_with_short_journal(fix);
	put_many(fix, 500);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	feeder_until_done(fix, 500);
	say(fix, MSG_DONE, 0);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 2);
	feeder_until_done(fix, 500);
	assert_int_equal(fix->kernel.n_begun, 2);
	assert_int_equal(counters_get(feeder_counters(fix->feeder), COUNTER_fw_feed_behind), 0);
}

static void changes_that_could_not_be_sent_are_made_good(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	atomic_store(&n_sends_to_fail, 1);
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	role_until_fill(fix, 2);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
	feeder_until_done(fix, 1);
}

static void only_a_host_that_is_white_is_asserted_again(void **state)
{
	struct fixture *fix = *state;
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	fix->kernel.n = 0; /* somebody deleted the element by hand */
	reassert(fix, "192.0.2.99");
	reassert(fix, "192.0.2.1");
	while (fix->kernel.n_changes == 0) {
		assert_true(role_receive(fix, WORLD_WAIT_MS));
	}
	assert_int_equal(fix->kernel.seq, 1);
	assert_int_equal(fix->kernel.n, 1);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
}

static void life_goes_by_the_guarded_clock(void **state)
{
	struct fixture *fix = *state;
	put_host(fix, "192.0.2.1", RECORD_WHITE, -1000);
	put_host(fix, "192.0.2.2", RECORD_WHITE, -3000);
	fix->life_now_secs -= 2000; /* the wall clock is ahead and not confirmed */
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	assert_int_equal(fix->kernel.n, 1);
	assert_in_range(kernel_find(fix, "192.0.2.1", SET_WHITE)->timeout_secs, 4590, 4600);
}

static void nonsense_from_the_role_is_dropped(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	assert_int_equal(send(fix->role, "nonsense", 8, 0), 8);
	say(fix, MSG_READY, 0);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	assert_int_equal(fix->kernel.n, 0);
}

static void a_stop_does_not_wait_for_a_role_that_reads_nothing(void **state)
{
	struct fixture *fix = *state;
	put_many(fix, 3500);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	world_sleep_ms(100);
	struct mono begun = clock_mono();
	feeder_stop(fix->feeder);
	fix->feeder = NULL;
	assert_in_range(mono_diff_ms(clock_mono(), begun), 0, 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WITH_FIXTURE(a_role_that_asks_gets_a_complete_copy),
	        WITH_FIXTURE(a_role_that_says_nothing_gets_one_too),
	        WITH_FIXTURE(an_empty_store_makes_an_empty_copy),
	        WITH_FIXTURE(changes_arrive_in_the_order_of_the_journal),
	        WITH_FIXTURE(a_host_is_in_the_kernel_within_100_ms),
	        WITH_FIXTURE(tuples_only_move_the_cursor),
	        WITH_FIXTURE(a_copy_longer_than_the_socket_takes_arrives_whole),
	        WITH_FIXTURE(a_change_does_not_wait_for_the_end_of_a_copy),
	        WITH_FIXTURE(a_change_just_before_a_copy_does_not_wait_for_its_place),
	        WITH_FIXTURE(a_role_that_asks_again_in_the_middle_of_a_copy_gets_another),
	        WITH_FIXTURE(a_lost_table_is_filled_again),
	        WITH_FIXTURE(nothing_is_called_done_while_a_copy_is_wanted),
	        WITH_FIXTURE(a_new_role_replaces_a_dead_one),
	        WITH_FIXTURE(a_feed_left_behind_fills_again),
	        WITH_FIXTURE(who_has_nothing_yet_gets_no_journal_from_its_beginning),
	        WITH_FIXTURE(changes_that_could_not_be_sent_are_made_good),
	        WITH_FIXTURE(only_a_host_that_is_white_is_asserted_again),
	        WITH_FIXTURE(life_goes_by_the_guarded_clock),
	        WITH_FIXTURE(nonsense_from_the_role_is_dropped),
	        WITH_FIXTURE(a_stop_does_not_wait_for_a_role_that_reads_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
