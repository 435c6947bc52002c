/* Two gateways over loopback: what began at one has its effect at the other, once, and goes no
 * further. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "syncer_fixture.h"

enum { PASSED_SECS = 1600 };

/* --- each kind of change ---------------------------------------------------------------------- */

/* What happens at the first gateway, the block that carries it, and what the other then has. */
static const struct carried {
	const char *what;
	enum change_kind kind; /* CHANGE_PEER_GREY: an attempt with flags */
	const char *key;
	uint8_t type;
	uint16_t flags;
	enum record_kind record_kind; /* at the other */
	bool is_there;
} carried[] = {
        {"an attempt", CHANGE_PEER_GREY, "192.0.2.1", WIRE_GREY, 0, RECORD_GREY, true},
        {"of IPv6", CHANGE_PEER_GREY, "2001:db8:0:1::9", WIRE_GREY6, 0, RECORD_GREY, true},
        {"a trap hit", CHANGE_PEER_GREY, "192.0.2.2", WIRE_TRAPPED, KEEPER_IS_TRAP, RECORD_TRAPPED,
         true},
        {"of IPv6", CHANGE_PEER_GREY, "2001:db8:0:2::9", WIRE_TRAPPED6, KEEPER_IS_TRAP,
         RECORD_TRAPPED, true},
        {"manual white", CHANGE_WHITE, "192.0.2.3", WIRE_MANUAL, 0, RECORD_WHITE, true},
        {"of IPv6", CHANGE_WHITE, "2001:db8:0:3::9", WIRE_MANUAL, 0, RECORD_WHITE, true},
        {"manual trap", CHANGE_TRAPPED, "192.0.2.4", WIRE_MANUAL, 0, RECORD_TRAPPED, true},
        {"of IPv6", CHANGE_TRAPPED, "2001:db8:0:4::9", WIRE_MANUAL, 0, RECORD_TRAPPED, true},
        {"a spamtrap", CHANGE_SPAMTRAP, "trap@example.net", WIRE_MANUAL, 0, RECORD_TRAP_ADDRESS,
         true},
        {"its end", CHANGE_DELETE, "trap@example.net", WIRE_DELETE, 0, RECORD_TRAP_ADDRESS, false},
        {"end of white", CHANGE_DELETE, "192.0.2.3", WIRE_DELETE, 0, RECORD_WHITE, false},
        {"of IPv6", CHANGE_DELETE, "2001:db8:0:3::9", WIRE_DELETE, 0, RECORD_WHITE, false},
        {"end of a trap", CHANGE_DELETE, "192.0.2.4", WIRE_DELETE, 0, RECORD_TRAPPED, false},
        {"of IPv6", CHANGE_DELETE, "2001:db8:0:4::9", WIRE_DELETE, 0, RECORD_TRAPPED, false},
};

static void do_it(struct gateway *gateway, const struct carried *row)
{
	if (row->kind == CHANGE_PEER_GREY) {
		attempt_at(gateway, row->key, row->flags);
	} else {
		change_at(gateway, row->kind, row->key);
	}
}

static bool has_it(struct gateway *gateway, const struct carried *row)
{
	struct world_tuple tuple = {row->key, "mail.example", "<a@example.org>", "<b@example.net>",
	                            0};
	struct grey_record record;
	if (row->record_kind == RECORD_GREY) {
		return world_find(&gateway->world, &tuple, &record);
	}
	return row->record_kind == RECORD_TRAP_ADDRESS
	               ? has_spamtrap(gateway, row->key)
	               : is_host(gateway, row->key, row->record_kind);
}

static void until_it_is(struct gateway *gateway, const struct carried *row)
{
	int i = 0;
	while (has_it(gateway, row) != row->is_there && i++ < WORLD_WAIT_MS) {
		world_sleep_ms(1);
	}
	if (i >= WORLD_WAIT_MS) {
		fail_msg("%s, %s: did not arrive", row->what, row->key);
	}
}

static void carry_all(struct fixture *fix)
{
	for (size_t i = 0; i < ARRAY_LEN(carried); i++) {
		const struct carried *row = &carried[i];
		size_t type = syncer_type_index(row->type);
		uint64_t before = peer_of(&fix->at[1], fix->at[0].addr_be).in[type];
		do_it(&fix->at[0], row);
		until_it_is(&fix->at[1], row);
		assert_true(peer_of(&fix->at[1], fix->at[0].addr_be).in[type] > before);
	}
}

static void each_kind_of_change_has_its_effect_at_the_other_host(void **state)
{
	struct fixture *fix = *state;
	start_both(fix);
	carry_all(fix);
	struct syncer_peer_figures out = peer_of(&fix->at[0], fix->at[1].addr_be);
	struct syncer_peer_figures in = peer_of(&fix->at[1], fix->at[0].addr_be);
	assert_memory_equal(out.out, in.in, sizeof in.in);
	assert_int_equal(out.out_failures, 0);
	assert_int_equal(n_dropped(&fix->at[1], fix->at[0].addr_be), 0);
	assert_int_equal(n_refused(&fix->at[1], fix->at[0].addr_be), 0);
	assert_string_equal(in.name, "other");
	assert_in_range(in.last_contact_secs, world_now_secs() - 60, world_now_secs());
}

static void nothing_that_was_received_is_sent_on(void **state)
{
	struct fixture *fix = *state;
	start_both(fix);
	carry_all(fix);
	world_sleep_ms(QUIET_MS);
	assert_int_equal(sum_of(peer_of(&fix->at[1], fix->at[0].addr_be).out, SYNCER_TYPES_MAX), 0);
	assert_int_equal(n_in(&fix->at[0], fix->at[1].addr_be), 0);
}

static void a_promotion_makes_the_host_white_at_the_other(void **state)
{
	struct fixture *fix = *state;
	struct world_tuple tuple = {"192.0.2.1", "mail.example", "<a@example.org>",
	                            "<b@example.net>", 0};
	struct grey_record record;
	world_seed_tuple(&fix->at[0].world, &tuple, PASSED_SECS);
	start_both(fix);
	attempt_at(&fix->at[0], tuple.addr, 0);
	assert_true(is_host(&fix->at[0], tuple.addr, RECORD_WHITE));
	until_host(&fix->at[1], tuple.addr, RECORD_WHITE, true);
	assert_true(world_host(&fix->at[1].world, tuple.addr, RECORD_WHITE, &record));
	assert_in_range(record.pass.secs, world_now_secs() - 60, world_now_secs());
	struct syncer_peer_figures in = peer_of(&fix->at[1], fix->at[0].addr_be);
	assert_int_equal(in.in[syncer_type_index(WIRE_PROMOTE)], 1);
}

static void a_retry_at_the_other_host_is_accepted(void **state)
{
	struct fixture *fix = *state;
	fix->at[1].world.conf.passtime_secs = 1;
	start_both(fix);
	attempt_at(&fix->at[0], "192.0.2.1", 0);
	until_heard(&fix->at[1], fix->at[0].addr_be, 1);
	world_sleep_ms(2 * MS_PER_SEC + QUIET_MS);
	attempt_at(&fix->at[1], "192.0.2.1", 0);
	until_host(&fix->at[1], "192.0.2.1", RECORD_WHITE, true);
}

/* --- what is undone at once ------------------------------------------------------------------- */

/* Two changes by hand within one second, and what the host, or the spamtrap, is then. */
static const struct undone {
	enum change_kind first;
	enum change_kind second;
	enum change_kind third;
	const char *before; /* a number makes a key of each time */
	const char *behind;
	enum record_kind kind;
} undone[] = {
        {CHANGE_WHITE, CHANGE_DELETE, CHANGE_WHITE, "192.0.2.", "", RECORD_WHITE},
        {CHANGE_TRAPPED, CHANGE_DELETE, CHANGE_TRAPPED, "192.0.2.", "", RECORD_TRAPPED},
        {CHANGE_WHITE, CHANGE_TRAPPED, CHANGE_WHITE, "2001:db8:0:", "::1", RECORD_WHITE},
        {CHANGE_TRAPPED, CHANGE_WHITE, CHANGE_TRAPPED, "192.0.2.", "", RECORD_TRAPPED},
        {CHANGE_SPAMTRAP, CHANGE_DELETE, CHANGE_SPAMTRAP, "trap", "@example.net",
         RECORD_TRAP_ADDRESS},
};

static bool is_as_undone(struct gateway *gateway, const struct undone *row, const char *key)
{
	return row->kind == RECORD_TRAP_ADDRESS ? has_spamtrap(gateway, key)
	                                        : is_host(gateway, key, row->kind) &&
	                                                  is_host(gateway, key, RECORD_TRAPPED) ==
	                                                          (row->kind == RECORD_TRAPPED);
}

static void what_is_undone_within_a_second_is_undone_at_the_other_host_too(void **state)
{
	enum { TIMES = 3 }; /* a second may end in between */
	struct fixture *fix = *state;
	start_both(fix);
	for (size_t i = 0; i < ARRAY_LEN(undone) * TIMES; i++) {
		const struct undone *row = &undone[i / TIMES];
		char key[64];
		(void)snprintf(key, sizeof key, "%s%zu%s", row->before, i + 1, row->behind);
		change_at(&fix->at[0], row->first, key);
		change_at(&fix->at[0], row->second, key);
		change_at(&fix->at[0], row->third, key);
		assert_true(is_as_undone(&fix->at[0], row, key));
		for (int n = 0; n < WORLD_WAIT_MS && !is_as_undone(&fix->at[1], row, key); n++) {
			world_sleep_ms(1);
		}
		if (!is_as_undone(&fix->at[1], row, key)) {
			fail_msg("%s: not as it is at the other host", key);
		}
	}
}

static void what_a_clock_ahead_has_made_is_undone_everywhere(void **state)
{
	struct fixture *fix = *state;
	struct wire_block ahead =
	        block_of(WIRE_TRAPPED, "192.0.2.1", world_now_secs() + SKEW_SECS / 2);
	start_both(fix);
	for (int i = 0; i < GATEWAYS; i++) {
		tell(fix, &fix->at[i], &ahead);
		until_host(&fix->at[i], "192.0.2.1", RECORD_TRAPPED, true);
	}
	change_at(&fix->at[0], CHANGE_WHITE, "192.0.2.1");
	until_host(&fix->at[1], "192.0.2.1", RECORD_WHITE, true);
	assert_false(is_host(&fix->at[1], "192.0.2.1", RECORD_TRAPPED));
}

/* --- where the journal is taken up ------------------------------------------------------------ */

static void the_first_start_begins_at_the_journals_end(void **state)
{
	struct fixture *fix = *state;
	world_seed_host(&fix->at[0].world, "192.0.2.9", RECORD_WHITE, 1000);
	start_both(fix);
	change_at(&fix->at[0], CHANGE_WHITE, "192.0.2.1");
	until_heard(&fix->at[1], fix->at[0].addr_be, 1);
	until_host(&fix->at[1], "192.0.2.1", RECORD_WHITE, true);
	assert_false(is_host(&fix->at[1], "192.0.2.9", RECORD_WHITE));
}

static void what_happened_while_no_syncer_ran_is_sent_later(void **state)
{
	struct fixture *fix = *state;
	start_both(fix);
	change_at(&fix->at[0], CHANGE_WHITE, "192.0.2.1");
	until_heard(&fix->at[1], fix->at[0].addr_be, 1);
	world_sleep_ms(QUIET_MS); /* the cursor is stored */
	stop_syncer(fix, &fix->at[0]);
	change_at(&fix->at[0], CHANGE_WHITE, "192.0.2.2");
	attempt_at(&fix->at[0], "192.0.2.3", 0);
	start_syncer(&fix->at[0]);
	until_heard(&fix->at[1], fix->at[0].addr_be, 3);
	until_host(&fix->at[1], "192.0.2.2", RECORD_WHITE, true);
}

static void a_journal_that_was_cut_is_told_and_the_rest_goes_on(void **state)
{
	struct fixture *fix = *state;
	char text[32];
	fix->at[0].world.conf.journal_max = 20;
	world_close_store(&fix->at[0].world);
	world_open_store(&fix->at[0].world);
	start_both(fix);
	change_at(&fix->at[0], CHANGE_WHITE, "192.0.2.1");
	until_heard(&fix->at[1], fix->at[0].addr_be, 1);
	world_sleep_ms(QUIET_MS);
	stop_syncer(fix, &fix->at[0]);
	for (int i = 0; i < 100; i++) {
		(void)snprintf(text, sizeof text, "198.51.100.%d", i);
		change_at(&fix->at[0], CHANGE_WHITE, text);
	}
	start_syncer(&fix->at[0]);
	for (int i = 0; i < WORLD_WAIT_MS && figures_of(&fix->at[0]).n_lost == 0; i++) {
		world_sleep_ms(1);
	}
	change_at(&fix->at[0], CHANGE_WHITE, "192.0.2.2");
	until_heard(&fix->at[1], fix->at[0].addr_be, 2);
	until_host(&fix->at[1], "192.0.2.2", RECORD_WHITE, true);
	assert_int_equal(figures_of(&fix->at[0]).n_lost, 1);
	for (int i = 0; i < WORLD_WAIT_MS && figures_of(&fix->at[0]).n_behind > 0; i++) {
		world_sleep_ms(1);
	}
	assert_int_equal(figures_of(&fix->at[0]).n_behind, 0);
}

/* --- what is not sent ------------------------------------------------------------------------- */

static void what_began_nowhere_in_a_dialogue_is_not_sent(void **state)
{
	struct fixture *fix = *state;
	struct change put = {.kind = CHANGE_PUT,
	                     .has_addr = true,
	                     .addr = world_addr("192.0.2.1"),
	                     .record_kind = RECORD_WHITE,
	                     .record = {.first = {world_now_secs()},
	                                .pass = {world_now_secs()},
	                                .expire = {world_now_secs() + 1000}}};
	struct change seen = {.kind = CHANGE_SEEN,
	                      .has_addr = true,
	                      .addr = world_addr("192.0.2.2"),
	                      .count = 1,
	                      .life_secs = 1000};
	start_both(fix);
	assert_int_equal(world_change(&fix->at[0].world, 0, &put, 1).ret, 0);
	assert_int_equal(world_change(&fix->at[0].world, 0, &seen, 2).ret, 0);
	assert_true(is_host(&fix->at[0], "192.0.2.2", RECORD_WHITE));
	change_at(&fix->at[0], CHANGE_WHITE, "192.0.2.3");
	until_heard(&fix->at[1], fix->at[0].addr_be, 1);
	world_sleep_ms(QUIET_MS);
	until_heard(&fix->at[1], fix->at[0].addr_be, 1);
}

static void a_tuple_too_long_for_a_datagram_is_counted(void **state)
{
	static char helo[901];
	struct fixture *fix = *state;
	struct world_tuple tuple = {"192.0.2.1", helo, helo, "<b@example.net>", 0};
	memset(helo, 'h', sizeof helo - 1);
	start_both(fix);
	(void)world_ask(&fix->at[0].world, KEEPER_TUPLE, &tuple);
	change_at(&fix->at[0], CHANGE_WHITE, "192.0.2.3");
	until_heard(&fix->at[1], fix->at[0].addr_be, 1);
	assert_int_equal(figures_of(&fix->at[0]).n_too_long, 1);
}

static void own_blocks_of_a_batch_share_datagrams(void **state)
{
	enum { N = 200 };
	struct fixture *fix = *state;
	char text[32];
	start_both(fix);
	change_at(&fix->at[0], CHANGE_WHITE, "192.0.2.3");
	until_heard(&fix->at[1], fix->at[0].addr_be, 1);
	world_sleep_ms(QUIET_MS);
	stop_syncer(fix, &fix->at[0]);
	for (int i = 0; i < N; i++) {
		(void)snprintf(text, sizeof text, "198.51.100.%d", i);
		change_at(&fix->at[0], CHANGE_WHITE, text);
	}
	start_syncer(&fix->at[0]);
	until_heard(&fix->at[1], fix->at[0].addr_be, N + 1);
	assert_in_range(counters_get(syncer_counters(fix->at[0].syncer), COUNTER_sync_sent), 1, 8);
}

static void a_host_that_only_receives_sends_nothing(void **state)
{
	struct fixture *fix = *state;
	fix->at[0].setup.n_peers = 0;
	start_both(fix);
	change_at(&fix->at[0], CHANGE_WHITE, "192.0.2.1");
	change_at(&fix->at[1], CHANGE_WHITE, "192.0.2.2");
	until_heard(&fix->at[0], fix->at[1].addr_be, 1);
	world_sleep_ms(QUIET_MS);
	assert_int_equal(n_in(&fix->at[1], fix->at[0].addr_be), 0);
	assert_false(figures_of(&fix->at[0]).is_sending);
}

static void a_host_that_only_sends_takes_nothing(void **state)
{
	struct fixture *fix = *state;
	fix->at[1].setup.must_receive = false;
	start_both(fix);
	change_at(&fix->at[0], CHANGE_WHITE, "192.0.2.1");
	change_at(&fix->at[1], CHANGE_WHITE, "192.0.2.2");
	until_heard(&fix->at[0], fix->at[1].addr_be, 1);
	world_sleep_ms(QUIET_MS);
	assert_false(is_host(&fix->at[1], "192.0.2.1", RECORD_WHITE));
	assert_int_equal(n_in(&fix->at[1], fix->at[0].addr_be), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        GATEWAYS_TEST(each_kind_of_change_has_its_effect_at_the_other_host),
	        GATEWAYS_TEST(nothing_that_was_received_is_sent_on),
	        GATEWAYS_TEST(a_promotion_makes_the_host_white_at_the_other),
	        GATEWAYS_TEST(a_retry_at_the_other_host_is_accepted),
	        GATEWAYS_TEST(what_is_undone_within_a_second_is_undone_at_the_other_host_too),
	        GATEWAYS_TEST(what_a_clock_ahead_has_made_is_undone_everywhere),
	        GATEWAYS_TEST(the_first_start_begins_at_the_journals_end),
	        GATEWAYS_TEST(what_happened_while_no_syncer_ran_is_sent_later),
	        GATEWAYS_TEST(a_journal_that_was_cut_is_told_and_the_rest_goes_on),
	        GATEWAYS_TEST(what_began_nowhere_in_a_dialogue_is_not_sent),
	        GATEWAYS_TEST(a_tuple_too_long_for_a_datagram_is_counted),
	        GATEWAYS_TEST(own_blocks_of_a_batch_share_datagrams),
	        GATEWAYS_TEST(a_host_that_only_receives_sends_nothing),
	        GATEWAYS_TEST(a_host_that_only_sends_takes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
