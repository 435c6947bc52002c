/* The pace of the bytes when connections are staggered and when bytes are scarce. */
#include "session_fixture.h"

enum { STRETCH_MS = 4000, LONG_STRETCH_MS = 59000, LISTED_BYTES_MAX = 100 };

static const struct mono_ms BEGIN = {UINT32_MAX - 3500}; /* shortly before the wrap */

static void start(enum session_class cls)
{
	driver_start(driver, cls, BEGIN);
}

/* Age of the connection when the byte came. */
static uint32_t at_ms(size_t byte)
{
	assert_true(byte < driver->n_received);
	return driver->received_ms[byte];
}

static void first_byte_comes_early_by_the_stagger_and_the_others_keep_the_distance(void **state)
{
	(void)state;
	start(SESSION_UNKNOWN);
	session_stagger(&driver->session, UINT32_C(3) << 30); /* three quarters */
	session_classify(&driver->session, &driver->conf, SESSION_LISTED, driver->now);
	session_stagger(&driver->session, 0); /* too late: changes nothing */
	driver_wait(driver, 5000);
	assert_int_equal(driver->n_received, 5);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(at_ms(i), 250 + i * 1000);
	}
}

static void staggered_session_still_discards_as_much_as_any_other(void **state)
{
	(void)state;
	start(SESSION_UNKNOWN);
	session_stagger(&driver->session, UINT32_MAX);
	session_classify(&driver->session, &driver->conf, SESSION_GREY, driver->now);
	assert_int_equal(driver->session.discarded_bytes, 0);
	assert_int_equal(mono_ms_diff(driver->session.due, driver->now), 1);
}

static void scarce_bytes_stretch_only_the_kind_they_are_scarce_for(void **state)
{
	(void)state;
	static const struct {
		enum session_class cls;
		uint32_t gap_ms;
	} rows[] = {{SESSION_LISTED, 1000 + STRETCH_MS},
	            {SESSION_PASSIVE, 1000 + STRETCH_MS},
	            {SESSION_GREY, 1000}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		driver_reset(driver);
		driver->conf.stretch_ms[SESSION_PACE_LISTED] = STRETCH_MS;
		start(rows[i].cls);
		driver_wait(driver, 3 * rows[i].gap_ms);
		assert_int_equal(driver->n_received, 3);
		assert_int_equal(at_ms(0), rows[i].gap_ms);
		assert_int_equal(at_ms(2), 3 * rows[i].gap_ms);
	}
}

static void stretch_holds_from_the_next_byte_on_and_ends_likewise(void **state)
{
	(void)state;
	start(SESSION_LISTED);
	driver_wait(driver, 2500);
	driver->conf.stretch_ms[SESSION_PACE_LISTED] = STRETCH_MS;
	driver_wait(driver, 10000);
	driver->conf.stretch_ms[SESSION_PACE_LISTED] = 0;
	driver_wait(driver, 7500);
	static const uint32_t expected_ms[] = {1000, 2000, 3000, 8000, 13000, 14000, 15000};
	for (size_t i = 0; i < ARRAY_LEN(expected_ms); i++) {
		assert_int_equal(at_ms(i), expected_ms[i]);
	}
}

static void greylisted_client_is_stuttered_no_longer_because_its_pace_is_stretched(void **state)
{
	(void)state;
	static const uint32_t stretches_ms[] = {0, STRETCH_MS, LONG_STRETCH_MS};
	for (size_t i = 0; i < ARRAY_LEN(stretches_ms); i++) {
		driver_reset(driver);
		driver->conf.stretch_ms[SESSION_PACE_GREY] = stretches_ms[i];
		start(SESSION_GREY);
		driver_wait(driver, 11000);
		assert_int_equal(driver->n_received, BANNER_BYTES);
		assert_in_range(at_ms(BANNER_BYTES - 1), 10001, 11000);
	}
}

/* The banner and the reply to each command, whatever the pace. */
static void stretched_dialogue_says_the_same(void **state)
{
	(void)state;
	driver->conf.stretch_ms[SESSION_PACE_LISTED] = LONG_STRETCH_MS;
	start(SESSION_LISTED);
	driver_type(driver, "QUIT\r\n");
	driver_wait(driver, LISTED_BYTES_MAX * (1000 + LONG_STRETCH_MS));
	assert_true(driver->is_closed);
	assert_memory_equal(driver->received, "220 ", 4);
	assert_memory_equal(driver->received + BANNER_BYTES, "221 ", 4);
}

static void blocked_write_times_out_whatever_the_stretch(void **state)
{
	(void)state;
	driver->conf.stretch_ms[SESSION_PACE_LISTED] = LONG_STRETCH_MS;
	start(SESSION_LISTED);
	driver->is_blocked = true;
	driver_wait(driver, 1000 + LONG_STRETCH_MS + driver->conf.write_timeout_ms - 1);
	assert_false(driver->is_closed);
	driver_wait(driver, 1);
	assert_int_equal(driver->why, SESSION_END_WRITE_TIMEOUT);
}

/* A late byte starts the pace anew as soon as it is later than a tenth of the configured stutter,
 * however long the stretched one is. */
static void lateness_is_measured_by_the_configured_stutter(void **state)
{
	(void)state;
	static const uint32_t lates_ms[] = {100, 101};
	for (size_t i = 0; i < ARRAY_LEN(lates_ms); i++) {
		driver->conf.stretch_ms[SESSION_PACE_LISTED] = STRETCH_MS;
		start(SESSION_LISTED);
		struct mono_ms due = driver->session.due;
		(void)session_wake(&driver->session, &driver->conf, mono_ms_add(due, lates_ms[i]));
		uint32_t late_ms = i == 0 ? 0 : lates_ms[i];
		assert_int_equal(mono_ms_diff(driver->session.due, due),
		                 1000 + STRETCH_MS + late_ms);
	}
}

static int32_t due_after_late(uint32_t late_ms, uint32_t lag_ms)
{
	start(SESSION_LISTED);
	struct mono_ms due = driver->session.due;
	driver->conf.lag_ms = lag_ms;
	(void)session_wake(&driver->session, &driver->conf, mono_ms_add(due, late_ms));
	return mono_ms_diff(driver->session.due, due);
}

static void pause_of_the_owner_shifts_each_pace_by_its_length(void **state)
{
	(void)state;
	static const uint32_t pause_ms = 3000;
	static const struct {
		uint32_t late_ms, lag_ms;
		int32_t next_ms;
	} rows[] = {
	        {pause_ms, pause_ms, 1000 + 3000},
	        {pause_ms - 700, pause_ms, 1000 + 3000},
	        {101, pause_ms, 1000 + 3000},
	        {100, pause_ms, 1000},           /* hardly late: not shifted */
	        {pause_ms + 1, 0, 1000 + 3001},  /* late alone: begins anew */
	        {pause_ms + 1, 50, 1000 + 3001}, /* later than all others: likewise */
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(due_after_late(rows[i].late_ms, rows[i].lag_ms), rows[i].next_ms);
	}
}

/* --- looks --- */

static unsigned looks_of(uint32_t n_bytes)
{
	unsigned n_looks = 0;
	for (uint32_t i = 0; i < n_bytes; i++) {
		struct mono_ms now = driver->session.due;
		struct session_step step = session_wake(&driver->session, &driver->conf, now);
		assert_int_equal(step.kind, SESSION_STEP_SEND);
		n_looks += step.read ? 1 : 0;
		session_sent(&driver->session, &driver->conf, 1, now);
	}
	return n_looks;
}

static void input_is_looked_for_beside_every_eighth_byte_of_a_stuttered_reply(void **state)
{
	(void)state;
	start(SESSION_LISTED);
	assert_in_range(looks_of(32), 3, 5);
	driver->conf.stretch_ms[SESSION_PACE_LISTED] = STRETCH_MS;
	start(SESSION_LISTED);
	(void)looks_of(1);
	assert_in_range(looks_of(32), 4, 5);
}

static void input_is_looked_for_no_more_than_every_four_seconds(void **state)
{
	(void)state;
	driver->conf.stutter_ms = 250;
	start(SESSION_LISTED);
	assert_in_range(looks_of(32), 1, 3);
}

static void client_that_ends_his_side_during_a_reply_is_noticed_within_nine_bytes(void **state)
{
	(void)state;
	for (uint32_t ms = 0; ms < 8000; ms += 100) {
		driver_reset(driver);
		driver_start(driver, SESSION_LISTED, (struct mono_ms){ms});
		driver_wait(driver, 1000);
		driver->is_eof = true;
		assert_true(session_room(&driver->session, NULL) > 0);
		driver_wait(driver, 9000);
		assert_int_equal(session_room(&driver->session, NULL), 0); /* it is known */
	}
}

static void looks_of_connections_accepted_together_do_not_fall_together(void **state)
{
	(void)state;
	unsigned n_first = 0;
	for (uint32_t ms = 0; ms < 100; ms++) {
		driver_start(driver, SESSION_LISTED, (struct mono_ms){ms});
		n_first += looks_of(1);
	}
	assert_in_range(n_first, 5, 25);
}

/* --- whose pace holds --- */

static void pace_is_that_of_the_class_while_something_is_said_and_stuttered(void **state)
{
	(void)state;
	static const struct {
		enum session_class cls;
		enum session_pace pace;
	} rows[] = {{SESSION_UNKNOWN, SESSION_PACE_NONE}, /* is held, and says nothing */
	            {SESSION_GREY, SESSION_PACE_GREY},
	            {SESSION_WHITE, SESSION_PACE_NONE},
	            {SESSION_LISTED, SESSION_PACE_LISTED},
	            {SESSION_PASSIVE, SESSION_PACE_LISTED}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		start(rows[i].cls);
		assert_int_equal(session_pace(&driver->session, &driver->conf), rows[i].pace);
	}
	driver_reset(driver);
	start(SESSION_LISTED);
	driver_wait(driver, BANNER_BYTES * 1000);
	assert_int_equal(session_pace(&driver->session, &driver->conf), SESSION_PACE_NONE);
	start(SESSION_LISTED);
	session_stop_stutter(&driver->session);
	assert_int_equal(session_pace(&driver->session, &driver->conf), SESSION_PACE_NONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(first_byte_comes_early_by_the_stagger_and_the_others_keep_the_distance),
	        TEST(staggered_session_still_discards_as_much_as_any_other),
	        TEST(scarce_bytes_stretch_only_the_kind_they_are_scarce_for),
	        TEST(stretch_holds_from_the_next_byte_on_and_ends_likewise),
	        TEST(greylisted_client_is_stuttered_no_longer_because_its_pace_is_stretched),
	        TEST(stretched_dialogue_says_the_same),
	        TEST(blocked_write_times_out_whatever_the_stretch),
	        TEST(lateness_is_measured_by_the_configured_stutter),
	        TEST(pause_of_the_owner_shifts_each_pace_by_its_length),
	        TEST(input_is_looked_for_beside_every_eighth_byte_of_a_stuttered_reply),
	        TEST(input_is_looked_for_no_more_than_every_four_seconds),
	        TEST(client_that_ends_his_side_during_a_reply_is_noticed_within_nine_bytes),
	        TEST(looks_of_connections_accepted_together_do_not_fall_together),
	        TEST(pace_is_that_of_the_class_while_something_is_said_and_stuttered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
