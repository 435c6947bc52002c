/* The pace: when bytes are due, when input is looked for. Timeouts and ends are in
 * test_session_waits.c. */
#include "session_fixture.h"

enum {
	TEN_MEGABYTES = 10 * 1024 * 1024,
};

/* The client must not set the pace: a whole reply is no occasion to read the next commands. */
static void input_is_not_looked_for_with_a_whole_reply(void **state)
{
	(void)state;
	driver_start(driver, SESSION_WHITE, (struct mono_ms){0});
	struct session_step step =
	        session_wake(&driver->session, &driver->conf, driver->session.due);
	assert_int_equal(step.kind, SESSION_STEP_SEND);
	assert_false(step.read);
}

static void client_that_pipelines_without_end_is_read_once_a_tick(void **state)
{
	(void)state;
	driver_start(driver, SESSION_WHITE, (struct mono_ms){0});
	for (unsigned i = 0; i < 2000; i++) {
		driver_type(driver, "NOOP\r\n");
	}
	driver_wait(driver, 1000);
	unsigned n_looks = 1000 / driver->conf.look_min_ms + 1;
	assert_in_range(driver->n_commands, 500, n_looks * (SESSION_READ_MAX / 6 + 1));
	driver_wait(driver, 10000);
	assert_int_equal(driver->n_commands, 2000);
}

/* Accepted shortly before the 32-bit milliseconds wrap. */
static void start(enum session_class cls)
{
	driver_start(driver, cls, (struct mono_ms){UINT32_MAX - 3500});
}

static void run_for(uint32_t secs)
{
	driver_wait(driver, secs * MS_PER_SEC);
}

static void grey_client_gets_ten_bytes_in_ten_seconds_and_the_rest_in_the_eleventh(void **state)
{
	(void)state;
	start(SESSION_GREY);
	run_for(60);
	assert_int_equal(driver->n_received, BANNER_BYTES);
	for (size_t i = 0; i < BANNER_BYTES; i++) {
		assert_int_equal(driver->received_ms[i], i < 10 ? (i + 1) * 1000 : 11000);
	}
	assert_int_equal(driver->n_sends, 11);
}

static void later_replies_to_a_grey_client_come_at_once(void **state)
{
	(void)state;
	start(SESSION_GREY);
	run_for(20);
	driver_type(driver, "NOOP\r\n");
	size_t before = driver->n_received;
	unsigned n_sends = driver->n_sends;
	run_for(10);
	assert_int_equal(driver->n_sends, n_sends + 1);
	assert_int_equal(driver->received_ms[before], driver->received_ms[driver->n_received - 1]);
	assert_in_range(driver->received_ms[before], 20000, 24000); /* the next look */
}

static void stutter_ends_for_replies_that_begin_after_its_time(void **state)
{
	(void)state;
	driver->conf.grey_stutter_ms = 35000; /* the last byte of the banner is due then */
	start(SESSION_GREY);
	run_for(40);
	assert_int_equal(driver->received_ms[BANNER_BYTES - 1], 35000);
	assert_int_equal(driver->n_sends, BANNER_BYTES);
	driver_type(driver, "NOOP\r\n");
	run_for(10);
	assert_int_equal(driver->n_sends, BANNER_BYTES + 1);
}

static void first_byte_comes_one_stutter_after_accept(void **state)
{
	(void)state;
	static const uint32_t stutters[] = {1, 250, 1000, 3000, 10000};
	for (size_t i = 0; i < ARRAY_LEN(stutters); i++) {
		driver->n_received = 0;
		driver->conf.stutter_ms = stutters[i];
		start(SESSION_LISTED);
		run_for(100);
		assert_int_equal(driver->received_ms[0], stutters[i]);
		assert_int_equal(driver->received_ms[1], 2 * stutters[i]);
	}
}

static void without_stutter_everything_comes_at_once(void **state)
{
	(void)state;
	static const struct {
		uint32_t stutter_ms;
		uint32_t grey_stutter_ms;
		enum session_class cls;
	} rows[] = {
	        {0, 10000, SESSION_GREY}, {1000, 0, SESSION_GREY},      {0, 10000, SESSION_LISTED},
	        {0, 0, SESSION_PASSIVE},  {1000, 10000, SESSION_WHITE},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		driver->n_received = 0;
		driver->conf.stutter_ms = rows[i].stutter_ms;
		driver->conf.grey_stutter_ms = rows[i].grey_stutter_ms;
		start(rows[i].cls);
		assert_int_equal(driver->session.due.ms, driver->now.ms);
		driver_wake(driver);
		assert_int_equal(driver->n_received, BANNER_BYTES);
		assert_int_equal(driver_age_ms(driver), 0);
	}
}

static void never_stutter_grey_leaves_the_listed_alone(void **state)
{
	(void)state;
	driver->conf.grey_stutter_ms = 0;
	start(SESSION_LISTED);
	run_for(60);
	assert_int_equal(driver->received_ms[BANNER_BYTES - 1], 35000);
}

static void listed_client_is_stuttered_to_the_end(void **state)
{
	(void)state;
	start(SESSION_LISTED);
	driver_type(driver, "HELO x\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n.\r\n");
	run_for(3600);
	assert_int_equal(driver->n_sends, driver->n_received);
	for (size_t i = 1; i < driver->n_received; i++) {
		assert_int_equal(driver->received_ms[i] - driver->received_ms[i - 1], 1000);
	}
	assert_int_equal(driver->why, SESSION_END_DONE);
}

static void punctual_enough_owner_keeps_the_nominal_pace(void **state)
{
	(void)state;
	driver->late_ms = 40;
	start(SESSION_LISTED);
	run_for(60);
	for (size_t i = 0; i < BANNER_BYTES; i++) {
		assert_int_equal(driver->received_ms[i], (i + 1) * 1000 + 40);
	}
}

static void late_owner_never_makes_short_gaps(void **state)
{
	(void)state;
	start(SESSION_LISTED);
	for (unsigned i = 0; driver->n_received < BANNER_BYTES; i++) {
		driver->late_ms = i * 7919 % 3000;
		driver_wake(driver);
	}
	for (size_t i = 1; i < BANNER_BYTES; i++) {
		assert_true(driver->received_ms[i] - driver->received_ms[i - 1] >= 900);
	}
}

static void pace_survives_fifty_days(void **state)
{
	(void)state;
	driver->conf.stutter_ms = 10000;
	driver->conf.read_timeout_ms = 3600 * 1000;
	driver->conf.grey_stutter_ms = 90000;
	start(SESSION_GREY);
	run_for(200);
	for (int i = 0; i < 50 * 24 * 2; i++) {
		driver->n_received = 0;
		driver->n_sends = 0;
		driver_type(driver, "NOOP\r\n");
		run_for(1800);
		assert_int_equal(driver->n_sends, 1);
		assert_false(driver->is_closed);
	}
}

static void part_of_a_line_brings_looks_nearer_but_not_to_each_tick(void **state)
{
	(void)state;
	driver->conf.stutter_ms = 0;
	start(SESSION_GREY);
	driver_wake(driver);
	static const uint32_t looks[] = {50, 150, 350, 750, 1550, 3150, 6350, 10350, 14350};
	for (size_t i = 0; i < ARRAY_LEN(looks); i++) {
		driver_wake(driver);
		assert_int_equal(driver_age_ms(driver), looks[i]);
	}
	for (uint32_t i = 1; i <= 10; i++) {
		driver_type(driver, "NOO");
		driver_wake(driver);
		assert_int_equal(driver_age_ms(driver), 18350 + (i - 1) * 500);
	}
}

static void part_of_a_line_never_brings_a_look_at_once(void **state)
{
	(void)state;
	driver->conf.stutter_ms = 0;
	driver->conf.look_min_ms = 0;
	start(SESSION_GREY);
	run_for(2);
	driver_type(driver, "NOO");
	driver_wake(driver);
	uint32_t n_wakes = driver->n_wakes;
	run_for(2);
	assert_in_range(driver->n_wakes - n_wakes, 1, 20);
}

static void looks_begin_anew_with_each_line_of_a_mail(void **state)
{
	(void)state;
	driver->conf.stutter_ms = 0;
	start(SESSION_PASSIVE);
	driver_type(driver, "DATA\r\n");
	run_for(20);
	uint32_t n_wakes = driver->n_wakes;
	run_for(20);
	assert_in_range(driver->n_wakes - n_wakes, 4, 6);
	driver_type(driver, "Subject: x\r\n");
	driver_wake(driver);
	uint32_t read_at = driver_age_ms(driver);
	driver_wake(driver);
	assert_int_equal(driver_age_ms(driver), read_at + 50);
}

/* The owner reports each send as done, and learns afterwards that every second did not go out. The
 * client must get every byte once and in order. */
static void sends_taken_back_lose_and_repeat_nothing(void **state)
{
	(void)state;
	for (uint32_t stutter = 0; stutter <= 1000; stutter += 1000) {
		memset(driver->received, 0, 256);
		driver->n_received = 0;
		driver->is_closed = false;
		driver->n_outbox = 0;
		driver->conf.stutter_ms = stutter;
		start(SESSION_PASSIVE);
		driver->is_late_news = true;
		driver_type(driver, "HELO x\r\nNOOP\r\nMAIL FROM:<a>\r\nQUIT\r\n");
		for (unsigned i = 0; !driver->is_closed && i < 10000; i++) {
			driver->is_blocked = i % 2 == 0;
			driver_wake(driver);
		}
		assert_int_equal(driver->why, SESSION_END_DONE);
		static const char all[] = "220 mail.example.org ESMTP Mailer\r\n"
		                          "250 mail.example.org\r\n"
		                          "250 2.0.0 Ok\r\n"
		                          "250 2.1.0 Sender accepted\r\n"
		                          "221 mail.example.org closing the connection\r\n";
		assert_int_equal(driver->n_received, sizeof all - 1);
		assert_memory_equal(driver->received, all, sizeof all - 1);
		driver_stop(driver);
	}
}

static void short_send_is_continued(void **state)
{
	(void)state;
	driver->conf.stutter_ms = 0;
	start(SESSION_GREY);
	struct session_step step = session_wake(&driver->session, &driver->conf, driver->now);
	assert_int_equal(step.bytes.len, BANNER_BYTES);
	session_sent(&driver->session, &driver->conf, 10, driver->now);
	assert_true(mono_ms_diff(driver->session.due, driver->now) > 0);
	step = session_wake(&driver->session, &driver->conf, driver->session.due);
	assert_int_equal(step.kind, SESSION_STEP_SEND);
	assert_int_equal(step.bytes.len, BANNER_BYTES - 10);
	assert_memory_equal(step.bytes.ptr, "xample.org", 10);
}

static void ten_megabytes_without_line_end_stay_bounded(void **state)
{
	(void)state;
	char chunk[8192];
	memset(chunk, 'x', sizeof chunk);
	driver->conf.stutter_ms = 0;
	start(SESSION_GREY);
	size_t n_sent = 0;
	for (; n_sent < TEN_MEGABYTES && !driver->is_closed; n_sent += sizeof chunk) {
		while (!driver->is_closed && !driver_put(driver, span_of(chunk, sizeof chunk))) {
			driver_wake(driver);
		}
	}
	run_for(1000);
	/* twenty lines of 8,191 bytes are answered, the next one ends it */
	assert_int_equal(driver->n_long, 21);
	assert_int_equal(driver->n_bad, 21);
	assert_int_equal(driver->why, SESSION_END_DONE);
}

static void ten_megabytes_of_header_are_held_for_as_long_as_they_come(void **state)
{
	(void)state;
	char chunk[8192];
	memset(chunk, 'x', sizeof chunk);
	driver->conf.stutter_ms = 0;
	start(SESSION_PASSIVE);
	driver_type(driver, "DATA\r\n");
	for (size_t n = 0; n < TEN_MEGABYTES; n += sizeof chunk) {
		while (!driver_put(driver, span_of(chunk, sizeof chunk))) {
			driver_wake(driver);
			assert_false(driver->is_closed);
		}
	}
	run_for(100);
	driver_type(driver, "\n.\n");
	run_for(10);
	assert_true(driver->is_shut);
	assert_in_range(driver->n_long, 1270, 1281);
}

static void unknown_host_hears_nothing_until_it_is_classified(void **state)
{
	(void)state;
	start(SESSION_UNKNOWN);
	driver_type(driver, "HELO x\r\n");
	assert_int_equal(session_room(&driver->session, NULL), 0);
	run_for(5);
	assert_int_equal(driver->n_received, 0);
	session_classify(&driver->session, &driver->conf, SESSION_UNKNOWN, driver->now);
	run_for(1);
	assert_int_equal(driver->n_received, 0);
	session_classify(&driver->session, &driver->conf, SESSION_LISTED, driver->now);
	session_classify(&driver->session, &driver->conf, SESSION_WHITE, driver->now);
	run_for(60);
	assert_int_equal(driver->received_ms[0], 6000);
	assert_int_equal(driver->received_ms[BANNER_BYTES - 1], 40000);
}

static void early_classification_keeps_the_first_byte_at_its_time(void **state)
{
	(void)state;
	start(SESSION_UNKNOWN);
	driver_wait(driver, 3);
	session_classify(&driver->session, &driver->conf, SESSION_GREY, driver->now);
	run_for(20);
	assert_int_equal(driver->received_ms[0], 1000);
	assert_int_equal(driver->received_ms[10], 11000);
}

static void pipelined_input_fills_a_small_text_and_waits(void **state)
{
	(void)state;
	start(SESSION_LISTED);
	for (int i = 0; i < 200; i++) {
		driver_type(driver, "NOOP\r\n");
	}
	run_for(30);
	assert_false(text_is_large(driver->text));
	assert_int_equal(session_room(&driver->session, driver->text), 0);
	run_for(3600);
	assert_int_equal(driver->n_commands, 200);
}

static void session_fits_its_place(void **state)
{
	(void)state;
	assert_true(sizeof(struct session) <= 40);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(input_is_not_looked_for_with_a_whole_reply, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(
	                client_that_pipelines_without_end_is_read_once_a_tick, setup, teardown),
	        TEST(grey_client_gets_ten_bytes_in_ten_seconds_and_the_rest_in_the_eleventh),
	        TEST(later_replies_to_a_grey_client_come_at_once),
	        TEST(stutter_ends_for_replies_that_begin_after_its_time),
	        TEST(first_byte_comes_one_stutter_after_accept),
	        TEST(without_stutter_everything_comes_at_once),
	        TEST(never_stutter_grey_leaves_the_listed_alone),
	        TEST(listed_client_is_stuttered_to_the_end),
	        TEST(punctual_enough_owner_keeps_the_nominal_pace),
	        TEST(late_owner_never_makes_short_gaps),
	        TEST(pace_survives_fifty_days),
	        TEST(part_of_a_line_brings_looks_nearer_but_not_to_each_tick),
	        TEST(part_of_a_line_never_brings_a_look_at_once),
	        TEST(looks_begin_anew_with_each_line_of_a_mail),
	        TEST(sends_taken_back_lose_and_repeat_nothing),
	        TEST(short_send_is_continued),
	        TEST(ten_megabytes_without_line_end_stay_bounded),
	        TEST(ten_megabytes_of_header_are_held_for_as_long_as_they_come),
	        TEST(unknown_host_hears_nothing_until_it_is_classified),
	        TEST(early_classification_keeps_the_first_byte_at_its_time),
	        TEST(pipelined_input_fills_a_small_text_and_waits),
	        TEST(session_fits_its_place),
	};
#undef TEST
	return cmocka_run_group_tests(tests, NULL, NULL);
}
