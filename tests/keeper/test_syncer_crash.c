/* What leaves when: the test plays the keeper towards the syncer and stops it between any two
 * steps. Own blocks leave at least once, plain ones at most once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "syncer_fixture.h"

enum { SMALL_MAILBOX_BYTES = 1 << 14, MUCH = 150, TOO_LONG_SECS = 11 };

struct crash {
	struct fixture *fix;
	struct gateway *gateway;
	struct keeper_port port; /* of the syncer; the test answers */
	uint8_t bytes[WIRE_BYTES_MAX];
	struct wire_block blocks[WIRE_BLOCKS_MAX];
};

static int setup(void **state)
{
	struct crash *crash = calloc(1, sizeof *crash);
	void *fix = NULL;
	assert_non_null(crash);
	assert_int_equal(gateways_setup(&fix), 0);
	crash->fix = fix;
	crash->gateway = &crash->fix->at[0];
	crash->gateway->setup.peers[0].addr_be = crash->fix->stranger_be;
	crash->gateway->world.is_sync_sending = true;
	world_start(&crash->gateway->world);
	crash->port = (struct keeper_port){.requests = mailbox_new(SMALL_MAILBOX_BYTES),
	                                   .answers = mailbox_new(KEEPER_ANSWER_BYTES),
	                                   .wake = crash->gateway->world.wake_syncer};
	*state = crash;
	return 0;
}

static int teardown(void **state)
{
	struct crash *crash = *state;
	void *fix = crash->fix;
	assert_int_equal(gateways_teardown(&fix), 0);
	mailbox_free(crash->port.requests);
	mailbox_free(crash->port.answers);
	free(crash);
	return 0;
}

/* --- playing the keeper ----------------------------------------------------------------------- */

/* The next change the syncer posts; false when none comes in time. */
static bool take_change(struct crash *crash, int wait_ms, struct keeper_change *out)
{
	size_t len = 0;
	const void *message = mailbox_peek(crash->port.requests, &len);
	for (int i = 0; i < wait_ms && !message; i++) {
		world_sleep_ms(1);
		message = mailbox_peek(crash->port.requests, &len);
	}
	if (message) {
		memcpy(out, message, sizeof *out);
		mailbox_release(crash->port.requests);
	}
	return message != NULL;
}

static struct keeper_change take_cursor(struct crash *crash)
{
	struct keeper_change message;
	assert_true(take_change(crash, WORLD_WAIT_MS, &message));
	assert_int_equal(message.change.kind, CHANGE_CURSOR);
	return message;
}

static void answer(struct crash *crash, uint64_t cookie, int32_t ret)
{
	uint64_t one = 1;
	struct keeper_answer *message = mailbox_reserve(crash->port.answers, sizeof *message);
	assert_non_null(message);
	*message =
	        (struct keeper_answer){.kind = KEEPER_ANSWER_CHANGED, .cookie = cookie, .ret = ret};
	mailbox_post(crash->port.answers);
	assert_int_equal(write(crash->port.wake, &one, sizeof one), sizeof one);
}

/* The real keeper stores it. */
static void store_cursor(struct crash *crash, uint64_t seq)
{
	struct change change = {.kind = CHANGE_CURSOR, .seq = seq};
	assert_int_equal(world_change(&crash->gateway->world, 0, &change, 1).ret, 0);
}

static void save_and_answer(struct crash *crash, const struct keeper_change *cursor)
{
	store_cursor(crash, cursor->change.seq);
	answer(crash, cursor->cookie, 0);
}

static void start(struct crash *crash)
{
	start_syncer_on(crash->gateway, &crash->port);
}

/* As a crash would, only that what was posted is forgotten by hand. */
static void crash_now(struct crash *crash)
{
	struct keeper_change forgotten;
	stop_syncer(crash->fix, crash->gateway);
	while (take_change(crash, 1, &forgotten)) {
	}
}

/* One own and one plain block wait in the journal. */
static void do_both(struct crash *crash)
{
	store_cursor(crash, 0);
	attempt_at(crash->gateway, "192.0.2.1", 0);
	change_at(crash->gateway, CHANGE_WHITE, "192.0.2.2");
}

static void hears(struct crash *crash, uint8_t type)
{
	assert_int_equal(hear(crash->fix, WORLD_WAIT_MS, crash->bytes, crash->blocks), 1);
	assert_int_equal(crash->blocks[0].type, type);
}

static void hears_nothing(struct crash *crash)
{
	assert_int_equal(hear(crash->fix, QUIET_MS, crash->bytes, crash->blocks), -1);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void own_blocks_leave_before_the_cursor_is_stored_and_plain_ones_after(void **state)
{
	struct crash *crash = *state;
	do_both(crash);
	start(crash);
	hears(crash, WIRE_MANUAL);
	struct keeper_change cursor = take_cursor(crash);
	assert_int_equal(cursor.change.seq, store_journal_last(crash->gateway->world.reader));
	hears_nothing(crash);
	save_and_answer(crash, &cursor);
	hears(crash, WIRE_GREY);
	hears_nothing(crash);
}

static void a_crash_before_the_cursor_is_stored_repeats_own_blocks_only(void **state)
{
	struct crash *crash = *state;
	do_both(crash);
	start(crash);
	hears(crash, WIRE_MANUAL);
	(void)take_cursor(crash);
	crash_now(crash);
	hears_nothing(crash);
	start(crash);
	hears(crash, WIRE_MANUAL);
	struct keeper_change cursor = take_cursor(crash);
	save_and_answer(crash, &cursor);
	hears(crash, WIRE_GREY);
	hears_nothing(crash);
}

static void a_crash_after_the_cursor_is_stored_loses_plain_blocks_only(void **state)
{
	struct crash *crash = *state;
	do_both(crash);
	start(crash);
	hears(crash, WIRE_MANUAL);
	store_cursor(crash, take_cursor(crash).change.seq);
	crash_now(crash);
	start(crash);
	hears_nothing(crash);
	change_at(crash->gateway, CHANGE_WHITE, "192.0.2.3");
	hears(crash, WIRE_MANUAL);
	assert_int_equal(crash->blocks[0].addr.bytes[15], 3);
}

static void a_crash_after_plain_blocks_left_repeats_nothing(void **state)
{
	struct crash *crash = *state;
	do_both(crash);
	start(crash);
	hears(crash, WIRE_MANUAL);
	struct keeper_change cursor = take_cursor(crash);
	save_and_answer(crash, &cursor);
	hears(crash, WIRE_GREY);
	crash_now(crash);
	start(crash);
	hears_nothing(crash);
}

static void a_cursor_that_cannot_be_stored_is_tried_again(void **state)
{
	struct crash *crash = *state;
	do_both(crash);
	start(crash);
	hears(crash, WIRE_MANUAL);
	answer(crash, take_cursor(crash).cookie, ERR_FULL);
	hears_nothing(crash);
	hears(crash, WIRE_MANUAL);
	struct keeper_change cursor = take_cursor(crash);
	save_and_answer(crash, &cursor);
	hears(crash, WIRE_GREY);
	hears_nothing(crash);
}

static void rows_nobody_is_told_of_move_the_cursor_in_memory_only(void **state)
{
	struct crash *crash = *state;
	struct keeper_change unexpected;
	struct change seen = {.kind = CHANGE_SEEN,
	                      .has_addr = true,
	                      .addr = world_addr("192.0.2.2"),
	                      .count = 1,
	                      .life_secs = 1000};
	store_cursor(crash, 0);
	start(crash);
	assert_int_equal(world_change(&crash->gateway->world, 0, &seen, 1).ret, 0);
	assert_false(take_change(crash, QUIET_MS, &unexpected));
	assert_int_equal(figures_of(crash->gateway).cursor, 1);
	assert_int_equal(figures_of(crash->gateway).n_behind, 0);
}

/* More than the small mailbox takes and fewer than the socket. */
static void tell_much(struct crash *crash)
{
	crash->gateway->setup.n_peers = 0;
	start(crash);
	for (int i = 0; i < MUCH; i++) {
		struct wire_block block = block_of(WIRE_WHITE, "192.0.2.1", world_now_secs());
		tell(crash->fix, crash->gateway, &block);
	}
	world_sleep_ms(QUIET_MS);
}

static void what_the_keeper_has_no_room_for_waits_in_the_socket(void **state)
{
	struct crash *crash = *state;
	struct keeper_change message;
	int n = 0;
	tell_much(crash);
	uint64_t n_before = n_in(crash->gateway, crash->fix->stranger_be);
	assert_in_range(n_before, 1, MUCH - 1);
	while (n < MUCH) {
		assert_true(take_change(crash, WORLD_WAIT_MS, &message));
		assert_int_equal(message.change.kind, CHANGE_PEER_HOST);
		answer(crash, message.cookie, 0);
		n++;
	}
	until_heard(crash->gateway, crash->fix->stranger_be, MUCH);
	assert_int_equal(n_refused(crash->gateway, crash->fix->stranger_be), 0);
}

static void what_waits_for_too_long_is_refused_and_counted(void **state)
{
	struct crash *crash = *state;
	struct keeper_change message;
	tell_much(crash);
	uint64_t n_before = n_in(crash->gateway, crash->fix->stranger_be);
	atomic_store(&mono_ahead_secs, TOO_LONG_SECS);
	until_heard(crash->gateway, crash->fix->stranger_be, MUCH);
	struct syncer_peer_figures figures = peer_of(crash->gateway, crash->fix->stranger_be);
	assert_int_equal(figures.refused[SYNCER_REFUSED_FULL], MUCH - n_before);
	while (take_change(crash, 1, &message)) {
		answer(crash, message.cookie, 0);
	}
	struct wire_block block = block_of(WIRE_WHITE, "192.0.2.1", world_now_secs());
	tell(crash->fix, crash->gateway, &block); /* and from here on as before */
	until_heard(crash->gateway, crash->fix->stranger_be, MUCH + 1);
	assert_int_equal(n_in(crash->gateway, crash->fix->stranger_be), n_before + 1);
}

#define CRASH_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        CRASH_TEST(own_blocks_leave_before_the_cursor_is_stored_and_plain_ones_after),
	        CRASH_TEST(a_crash_before_the_cursor_is_stored_repeats_own_blocks_only),
	        CRASH_TEST(a_crash_after_the_cursor_is_stored_loses_plain_blocks_only),
	        CRASH_TEST(a_crash_after_plain_blocks_left_repeats_nothing),
	        CRASH_TEST(a_cursor_that_cannot_be_stored_is_tried_again),
	        CRASH_TEST(rows_nobody_is_told_of_move_the_cursor_in_memory_only),
	        CRASH_TEST(what_the_keeper_has_no_room_for_waits_in_the_socket),
	        CRASH_TEST(what_waits_for_too_long_is_refused_and_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
