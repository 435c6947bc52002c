/* How long a session waits for the client, the socket and the store, and how it closes. */
#include "session_fixture.h"

/* Accepted shortly before the 32-bit milliseconds wrap. */
static void start(enum session_class cls)
{
	driver_start(driver, cls, (struct mono_ms){UINT32_MAX - 3500});
}

static void start_quick(enum session_class cls)
{
	driver->conf.stutter_ms = 0;
	start(cls);
}

/* A quick grey session; the test says when its tuples are stored. */
static void start_unstored(void)
{
	start_quick(SESSION_GREY);
	driver->auto_store = false;
}

static void run_for(uint32_t secs)
{
	driver_wait(driver, secs * MS_PER_SEC);
}

static void type_mail(void)
{
	driver_type(driver, "HELO x\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n");
}

static void type_recipients(int n)
{
	driver_type(driver, "HELO x\r\nMAIL FROM:<a>\r\n");
	for (int i = 0; i < n; i++) {
		driver_type(driver, "RCPT TO:<b>\r\n");
	}
}

static void expect_end_of_received(struct span end)
{
	assert_true(driver->n_received >= end.len);
	assert_memory_equal(driver->received + driver->n_received - end.len, end.ptr, end.len);
}

static void silent_client_is_dropped_after_the_read_timeout(void **state)
{
	(void)state;
	start_quick(SESSION_GREY);
	run_for(1000);
	assert_true(driver->is_closed);
	assert_int_equal(driver->why, SESSION_END_READ_TIMEOUT);
	assert_int_equal(driver_age_ms(driver), 400000);
}

static void half_a_line_does_not_extend_the_read_timeout(void **state)
{
	(void)state;
	start_quick(SESSION_GREY);
	while (!driver->is_closed) {
		driver_type(driver, "x");
		run_for(7);
	}
	assert_int_equal(driver->why, SESSION_END_READ_TIMEOUT);
	assert_int_equal(driver_age_ms(driver), 400000);
}

static void read_timeout_begins_with_the_end_of_the_reply(void **state)
{
	(void)state;
	start(SESSION_LISTED);
	run_for(1000);
	assert_int_equal(driver->why, SESSION_END_READ_TIMEOUT);
	assert_int_equal(driver_age_ms(driver), 435000);
}

static void blocked_write_times_out(void **state)
{
	(void)state;
	for (int is_late_news = 0; is_late_news < 2; is_late_news++) {
		for (uint32_t stutter = 0; stutter <= 1000; stutter += 1000) {
			driver->conf.stutter_ms = stutter;
			driver->is_closed = false;
			start(SESSION_LISTED);
			driver->is_late_news = is_late_news;
			driver->is_blocked = true;
			run_for(1000);
			assert_true(driver->is_closed);
			assert_int_equal(driver->why, SESSION_END_WRITE_TIMEOUT);
			assert_int_equal(driver_age_ms(driver), stutter + 400000);
		}
	}
	assert_int_equal(driver->n_received, 0);
}

static void last_byte_of_a_stuttered_deferral_waits_for_the_store(void **state)
{
	(void)state;
	driver->conf.grey_stutter_ms = 1000000;
	start(SESSION_GREY);
	driver->auto_store = false;
	type_mail();
	run_for(BANNER_BYTES + 22 + 27 + 30 + 47 + 4);
	expect_end_of_received(SPAN("please try again later.\r"));
	uint32_t before = driver->received_ms[driver->n_received - 1];
	driver_store_all(driver);
	run_for(3);
	assert_int_equal(driver->received[driver->n_received - 1], '\n');
	assert_true(driver->received_ms[driver->n_received - 1] - before >= 1000);
	assert_int_equal(driver->n_unstored, 0);
}

static void unstored_deferral_is_finished_after_store_wait_and_counted_once(void **state)
{
	(void)state;
	start_unstored();
	type_mail();
	run_for(9);
	size_t before = driver->n_received;
	run_for(2);
	assert_int_equal(driver->n_received, before + 48);
	assert_int_equal(driver->n_unstored, 1);
	assert_int_equal(driver->received_ms[before], driver->received_ms[before - 1] + 10000);
	driver_store_all(driver);
	driver->is_eof = true;
	run_for(10);
	assert_int_equal(driver->why, SESSION_END_DONE);
	assert_int_equal(driver->n_unstored, 1);
}

static void blocked_deferral_is_counted_unstored_once(void **state)
{
	(void)state;
	start_unstored();
	type_mail();
	run_for(9);
	driver->is_blocked = true;
	driver->is_late_news = true;
	run_for(1000);
	assert_int_equal(driver->n_unstored, 1);
	assert_int_equal(driver->why, SESSION_END_WRITE_TIMEOUT);
}

static void commands_wait_when_too_many_tuples_are_on_their_way(void **state)
{
	(void)state;
	start_unstored();
	type_recipients(SESSION_PENDING_MAX + 50);
	run_for(60);
	assert_int_equal(driver->n_tuples, SESSION_PENDING_MAX);
	session_stored(&driver->session, driver->now);
	driver_answer(driver);
	run_for(1);
	assert_int_equal(driver->n_tuples, SESSION_PENDING_MAX + 1);
	driver_store_all(driver);
	run_for(60);
	assert_int_equal(driver->n_tuples, SESSION_PENDING_MAX + 50);
	assert_false(driver->is_closed);
}

static void client_that_waits_for_the_store_for_ever_is_dropped(void **state)
{
	(void)state;
	start_unstored();
	type_recipients(SESSION_PENDING_MAX + 1);
	driver->is_eof = true;
	run_for(1000);
	assert_int_equal(driver->why, SESSION_END_READ_TIMEOUT);
}

static void lines_before_eof_are_answered_when_the_store_has_caught_up(void **state)
{
	(void)state;
	start_unstored();
	type_recipients(SESSION_PENDING_MAX);
	driver_type(driver, "QUIT\r\n");
	driver->is_eof = true;
	run_for(300);
	assert_false(driver->is_closed);
	driver_store_all(driver);
	run_for(10);
	assert_int_equal(driver->why, SESSION_END_DONE);
	expect_end_of_received(SPAN("221 mail.example.org closing the connection\r\n"));
}

static void store_that_answers_in_part_does_not_extend_the_wait(void **state)
{
	(void)state;
	start_unstored();
	driver_type(driver, "HELO x\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\nDATA\r\n");
	run_for(9);
	size_t before = driver->n_received;
	session_stored(&driver->session, driver->now);
	driver_answer(driver);
	run_for(5);
	assert_int_equal(driver->n_unstored, 1);
	assert_int_equal(driver->received_ms[before], driver->received_ms[before - 1] + 10000);
}

static void closing_ends_by_eof_amount_or_time(void **state)
{
	(void)state;
	driver->conf.stutter_ms = 0;
	for (int how = 0; how < 3; how++) {
		driver->is_shut = driver->is_closed = driver->is_eof = false;
		driver->n_outbox = 0;
		driver->conf.close_discard_bytes = how == 1 ? 2000 : 65536;
		start(SESSION_GREY);
		driver_type(driver, "QUIT\r\n");
		while (!driver->is_shut) {
			driver_wake(driver);
		}
		uint32_t shut_at = driver_age_ms(driver);
		driver->is_eof = how == 0;
		for (int i = 0; i < 4 && how == 1; i++) {
			char piece[500] = {0};
			assert_true(driver_put(driver, span_of(piece, sizeof piece)));
		}
		run_for(60);
		assert_int_equal(driver->why, SESSION_END_DONE);
		if (how == 2) {
			assert_int_equal(driver_age_ms(driver) - shut_at, 5000);
		} else {
			assert_in_range(driver_age_ms(driver) - shut_at, 1, 500);
		}
		driver_stop(driver);
	}
}

static void reset_ends_every_state(void **state)
{
	(void)state;
	static const char *const scripts[] = {
	        "",         "HELO x\r\n",   "HELO x\r\nMAIL FROM:<a>\r\n",
	        "DATA\r\n", "DATA\r\n\r\n", "DATA\r\n.\r\n",
	        "QUIT\r\n"};
	for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
		for (uint32_t secs = 0; secs < 250; secs += 7) {
			driver->is_closed = false;
			driver->n_outbox = 0;
			start(SESSION_LISTED);
			driver_type(driver, scripts[i]);
			run_for(secs);
			bool was_closed = driver->is_closed;
			session_dead(&driver->session);
			assert_true(mono_ms_diff(driver->session.due, driver->now) <= 0);
			driver_wake(driver);
			assert_true(driver->is_closed);
			assert_true(was_closed || driver->why == SESSION_END_PEER ||
			            driver->why == SESSION_END_DONE);
			driver_stop(driver);
		}
	}
}

static void unknown_host_is_grey_after_store_wait(void **state)
{
	(void)state;
	start_quick(SESSION_UNKNOWN);
	run_for(20);
	assert_int_equal(driver->received_ms[0], 10000);
	session_classify(&driver->session, &driver->conf, SESSION_WHITE, driver->now);
	type_mail();
	run_for(20);
	assert_int_equal(driver->n_tuples, 1);
}

static void held_session_that_is_woken_early_goes_on_waiting(void **state)
{
	(void)state;
	start(SESSION_UNKNOWN);
	struct session_step step =
	        session_wake(&driver->session, &driver->conf, mono_ms_add(driver->now, 4000));
	assert_int_equal(step.kind, SESSION_STEP_HOLD);
	assert_int_equal(mono_ms_diff(driver->session.due, driver->opened), 10000);
}

static void input_after_the_final_command_is_not_kept(void **state)
{
	(void)state;
	start(SESSION_PASSIVE);
	driver_type(driver, "QUIT\r\n");
	run_for(BANNER_BYTES + 10);
	assert_int_equal(session_room(&driver->session, driver->text), 0);
	assert_int_equal(session_input(&driver->session, &driver->conf, driver->text,
	                               SPAN("NOOP\r\n"), NULL, driver->now),
	                 6);
	run_for(60);
	assert_int_equal(driver->n_commands, 1);
	assert_int_equal(driver->why, SESSION_END_DONE);
}

static void news_of_a_failed_send_after_the_shutdown_changes_nothing(void **state)
{
	(void)state;
	start_quick(SESSION_GREY);
	driver_type(driver, "QUIT\r\n");
	while (!driver->is_shut) {
		driver_wake(driver);
	}
	session_unsent(&driver->session, &driver->conf, 5, driver->now);
	driver->is_eof = true;
	run_for(5);
	assert_int_equal(driver->why, SESSION_END_DONE);
}

/* A distance of 0 between looks would never let time pass. */
static void looks_are_never_without_a_distance(void **state)
{
	(void)state;
	driver->conf.stutter_ms = 0;
	driver->conf.look_min_ms = 0;
	driver->conf.look_max_ms = 0;
	driver->conf.read_timeout_ms = 1000;
	start(SESSION_GREY);
	run_for(2);
	assert_int_equal(driver->why, SESSION_END_READ_TIMEOUT);
	assert_int_equal(driver_age_ms(driver), 1000);
	assert_in_range(driver->n_wakes, 1000, 1002);
}

static void text_is_needed_only_while_it_holds_something(void **state)
{
	(void)state;
	static const struct {
		const char *input;
		bool is_needed;
	} rows[] = {
	        {"NOOP\r\n", false},       /* answered, and nothing worth keeping */
	        {"NOOP\r\nNO", true},      /* half a line */
	        {"HELO client\r\n", true}, /* a value */
	        {"NOOP\r\nNOOP\r\n", false},
	        {"QUIT\r\nNOOP\r\n", false}, /* what comes after the end is not answered */
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		driver_reset(driver);
		start_quick(SESSION_WHITE);
		driver_wait(driver, 500);
		driver_type(driver, rows[i].input);
		driver_wait(driver, 4500);
		assert_non_null(driver->text);
		assert_int_equal(session_needs_text(&driver->session, driver->text),
		                 rows[i].is_needed);
		driver_stop(driver);
	}
}

static void text_is_not_needed_after_the_final_reply_but_for_the_list_reply_itself(void **state)
{
	(void)state;
	static const struct span message = {(const uint8_t *)"listed", 6};
	static const struct addr peer = {0};
	for (unsigned is_listed = 0; is_listed < 2; is_listed++) {
		driver_reset(driver);
		driver->lists = (struct reply_lists){
		        .messages = &message, .n = is_listed, .code = 450, .addr = &peer};
		start(is_listed ? SESSION_LISTED : SESSION_GREY);
		driver_type(driver,
		            "HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\r\n.\r\n");
		while (driver->session.state != DIALOGUE_DEFERRING) {
			driver_wait(driver, 100);
		}
		assert_int_equal(session_needs_text(&driver->session, driver->text), is_listed);
		while (driver->session.state != DIALOGUE_CLOSING) {
			driver_wait(driver, 100);
		}
		assert_true(session_discards(&driver->session));
		assert_false(session_needs_text(&driver->session, driver->text));
		driver_stop(driver);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(silent_client_is_dropped_after_the_read_timeout),
	        TEST(half_a_line_does_not_extend_the_read_timeout),
	        TEST(read_timeout_begins_with_the_end_of_the_reply),
	        TEST(blocked_write_times_out),
	        TEST(last_byte_of_a_stuttered_deferral_waits_for_the_store),
	        TEST(unstored_deferral_is_finished_after_store_wait_and_counted_once),
	        TEST(blocked_deferral_is_counted_unstored_once),
	        TEST(commands_wait_when_too_many_tuples_are_on_their_way),
	        TEST(client_that_waits_for_the_store_for_ever_is_dropped),
	        TEST(lines_before_eof_are_answered_when_the_store_has_caught_up),
	        TEST(store_that_answers_in_part_does_not_extend_the_wait),
	        TEST(closing_ends_by_eof_amount_or_time),
	        TEST(reset_ends_every_state),
	        TEST(unknown_host_is_grey_after_store_wait),
	        TEST(held_session_that_is_woken_early_goes_on_waiting),
	        TEST(input_after_the_final_command_is_not_kept),
	        TEST(news_of_a_failed_send_after_the_shutdown_changes_nothing),
	        TEST(looks_are_never_without_a_distance),
	        TEST(text_is_needed_only_while_it_holds_something),
	        TEST(text_is_not_needed_after_the_final_reply_but_for_the_list_reply_itself),
	};
#undef TEST
	return cmocka_run_group_tests(tests, NULL, NULL);
}
