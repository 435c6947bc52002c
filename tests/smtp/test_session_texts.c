/* Texts that change under sessions: what is begun ends as it began. */
#include <stdio.h>

#include "session_fixture.h"

static const char old_banner[] = "220 mail.example.org ESMTP Mailer\r\n";
static const char new_banner[] = "220 mx.example.net ready\r\n";

static struct reply_set *texts_of(const char *host)
{
	static struct reply_set set;
	assert_int_equal(reply_set_init(&set, "%h ready", host, "unused"), 0);
	return &set;
}

static void change_to(const char *host)
{
	assert_true(session_conf_set_texts(&driver->conf, texts_of(host),
	                                   session_texts_in_use(&driver->session)));
}

static void assert_received(const char *text)
{
	assert_int_equal(driver->n_received, strlen(text));
	assert_memory_equal(driver->received, text, strlen(text));
}

static void a_reply_under_way_ends_as_it_began_and_the_next_has_the_new_text(void **state)
{
	(void)state;
	driver_start(driver, SESSION_LISTED, (struct mono_ms){0});
	driver_wait(driver, 5500);
	assert_int_equal(driver->n_received, 5);
	change_to("mx.example.net");
	driver_wait(driver, 60000);
	assert_received(old_banner);
	driver->n_received = 0;
	driver_type(driver, "HELO client.example\r\n");
	driver_wait(driver, 60000);
	assert_received("250 mx.example.net\r\n");
}

static void a_session_that_begins_has_the_new_banner(void **state)
{
	(void)state;
	driver_start(driver, SESSION_UNKNOWN, (struct mono_ms){0});
	change_to("mx.example.net");
	session_classify(&driver->session, &driver->conf, SESSION_WHITE, driver->now);
	driver_wait(driver, 1000);
	assert_received(new_banner);
}

static void the_end_that_the_socket_gives_back_is_the_old_texts(void **state)
{
	struct session *session = &driver->session;
	struct session_event event;
	bool is_long;
	(void)state;
	driver_start(driver, SESSION_WHITE, (struct mono_ms){0});
	struct session_step step = session_wake(session, &driver->conf, session->due);
	assert_int_equal(step.bytes.len, strlen(old_banner));
	session_sent(session, &driver->conf, step.bytes.len, driver->now);
	driver_text(driver, SESSION_TEXT_SMALL);
	(void)session_input(session, &driver->conf, driver->text, SPAN("HELO client\r\n"), &is_long,
	                    driver->now);
	change_to("mx.example.net");
	assert_true(session_run(session, &driver->conf, driver->text, driver->now, &event));
	session_unsent(session, &driver->conf, 8, driver->now);
	driver_wait(driver, 5000);
	assert_received("Mailer\r\n250 mx.example.net\r\n");
}

static void texts_that_are_there_already_take_no_other_place(void **state)
{
	(void)state;
	driver_start(driver, SESSION_GREY, (struct mono_ms){0});
	for (unsigned i = 0; i < 100; i++) {
		if (!session_conf_has_texts(&driver->conf,
		                            texts_of(i % 2 ? "a.example" : "b.example"))) {
			assert_in_range(i, 0, 1);
			change_to(i % 2 ? "a.example" : "b.example");
		}
	}
	assert_int_equal(driver->conf.texts_now, 2);
}

static void texts_in_use_are_not_overwritten(void **state)
{
	char host[32];
	(void)state;
	driver_start(driver, SESSION_GREY, (struct mono_ms){0});
	assert_int_equal(session_texts_in_use(&driver->session), 1);
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(host, sizeof host, "host-%u.example", i);
		change_to(host);
		assert_int_not_equal(driver->conf.texts_now, 0);
	}
	(void)snprintf(host, sizeof host, "last.example");
	unsigned now = driver->conf.texts_now;
	assert_false(session_conf_set_texts(&driver->conf, texts_of(host),
	                                    (1U << SESSION_TEXTS_MAX) - 1));
	assert_int_equal(driver->conf.texts_now, now);
	driver_wait(driver, 60000);
	assert_received(old_banner);
}

static void other_times_hold_for_a_session_that_waits(void **state)
{
	(void)state;
	driver_start(driver, SESSION_WHITE, (struct mono_ms){0});
	driver_wait(driver, 1000);
	driver->conf.read_timeout_ms = 20000;
	driver_wait(driver, 30000);
	assert_true(driver->is_closed);
	assert_int_equal(driver->why, SESSION_END_READ_TIMEOUT);
	assert_in_range(driver_age_ms(driver), 20000, 26000);
}

static void another_stutter_holds_from_the_next_byte_but_one(void **state)
{
	(void)state;
	driver_start(driver, SESSION_LISTED, (struct mono_ms){0});
	driver_wait(driver, 3500);
	assert_int_equal(driver->n_received, 3);
	driver->conf.stutter_ms = 100;
	driver_wait(driver, 2500);
	assert_in_range(driver->n_received, 18, 25);
	driver->conf.stutter_ms = 0;
	driver_wait(driver, 1000);
	assert_received(old_banner);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_reply_under_way_ends_as_it_began_and_the_next_has_the_new_text),
	        TEST(a_session_that_begins_has_the_new_banner),
	        TEST(the_end_that_the_socket_gives_back_is_the_old_texts),
	        TEST(texts_that_are_there_already_take_no_other_place),
	        TEST(texts_in_use_are_not_overwritten),
	        TEST(other_times_hold_for_a_session_that_waits),
	        TEST(another_stutter_holds_from_the_next_byte_but_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
