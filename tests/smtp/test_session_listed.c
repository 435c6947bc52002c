/* Listed clients: a whole dialogue at their pace, what a trap hit changes under way, and the end of
 * the stutter that the owner orders. */
#include "session_fixture.h"

enum { SECOND_MS = 1000 };

static const struct addr CLIENT_ADDR;
static const struct span MESSAGES[] = {SPAN("You are on a list")};
static const struct reply_lists LISTS = {MESSAGES, 1, 450, &CLIENT_ADDR};

static void start(enum session_class cls)
{
	driver_start(driver, cls, (struct mono_ms){UINT32_MAX - 3500});
	driver->lists = LISTS;
}

/* Runs until the reply under way is out and returns what it was. */
static struct span next_reply(size_t before)
{
	while (driver->n_received == before || driver->received[driver->n_received - 1] != '\n') {
		driver_wake(driver);
		assert_false(driver->is_closed);
	}
	return span_of(driver->received + before, driver->n_received - before);
}

/* A minimal client that answers at once: it says something when a reply is complete, and waits for
 * the next one. Each reply takes as many seconds as it has bytes, from the moment its command was
 * read. Of the original, with longer texts: 73 s, 58, 81, 53, 50 and 26. */
static void minimal_client_is_held_for_a_second_a_byte_from_the_banner_to_the_end(void **state)
{
	(void)state;
	static const struct {
		const char *says;
		const char *reply;
	} rows[] = {
	        {"", "220 mail.example.org ESMTP Mailer\r\n"},
	        {"HELO x\r\n", "250 mail.example.org\r\n"},
	        {"MAIL FROM:<a@x>\r\n", "250 2.1.0 Sender accepted\r\n"},
	        {"RCPT TO:<b@y>\r\n", "250 2.1.5 Recipient accepted\r\n"},
	        {"DATA\r\n", "354 Send the message, end it with a single dot\r\n"},
	        {"Subject: x\r\n\r\n1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7\r\n8\r\n9\r\n10\r\n",
	         "450 You are on a list\r\n"},
	};
	uint32_t total_ms = 0;
	start(SESSION_LISTED);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t before = driver->n_received;
		size_t len = strlen(rows[i].reply);
		driver_type(driver, rows[i].says);
		struct span reply = next_reply(before);
		assert_int_equal(reply.len, len);
		assert_memory_equal(reply.ptr, rows[i].reply, len);
		for (size_t at = before + 1; at < driver->n_received; at++) {
			assert_int_equal(driver->received_ms[at] - driver->received_ms[at - 1],
			                 SECOND_MS);
		}
		/* the command is read at the first look */
		total_ms += (uint32_t)len * SECOND_MS + (i > 0 ? driver->conf.look_min_ms : 0);
		assert_int_equal(driver->received_ms[driver->n_received - 1], total_ms);
	}
	assert_int_equal(driver->n_sends, driver->n_received);
	assert_int_equal(total_ms, (35 + 22 + 27 + 30 + 48 + 23) * SECOND_MS + 5 * 50);
}

static void listed_client_needs_no_text_before_it_speaks_and_a_small_one_to_the_end(void **state)
{
	(void)state;
	start(SESSION_LISTED);
	driver_wait(driver, 60 * SECOND_MS);
	assert_null(driver->text);
	driver_type(driver, "DATA\r\n.\r\n");
	driver_wait(driver, 600 * SECOND_MS);
	assert_int_equal(driver->why, SESSION_END_DONE);
	assert_true(driver->is_shut);
	assert_false(text_is_large(driver->text));
	assert_memory_equal(driver->received + driver->n_received - 23, "450 You are on a list\r\n",
	                    23);
}

static void trap_hit_makes_a_grey_client_stutter_again(void **state)
{
	(void)state;
	start(SESSION_GREY);
	driver_wait(driver, 20 * SECOND_MS);
	assert_int_equal(driver->n_received, BANNER_BYTES);
	driver_type(driver, "RCPT TO:<b>\r\n");
	while (driver->n_commands == 0) {
		driver_wake(driver);
	}
	struct mono_ms hit = driver->now;
	session_list(&driver->session, &driver->conf, driver->now);
	(void)next_reply(BANNER_BYTES);
	assert_int_equal(driver->received_ms[BANNER_BYTES],
	                 (uint32_t)mono_ms_diff(hit, driver->opened) + SECOND_MS);
	for (size_t at = BANNER_BYTES + 1; at < driver->n_received; at++) {
		assert_int_equal(driver->received_ms[at] - driver->received_ms[at - 1], SECOND_MS);
	}
}

/* The keeper's word may come in the middle of a reply, or while nothing is said. */
static void late_news_of_a_trap_keep_the_wait_for_a_command_as_it_is(void **state)
{
	(void)state;
	start(SESSION_GREY);
	driver_wait(driver, 12 * SECOND_MS);
	struct mono_ms due = driver->session.due;
	session_list(&driver->session, &driver->conf, driver->now);
	assert_int_equal(driver->session.due.ms, due.ms);
	assert_int_equal(driver->session.cls, SESSION_LISTED);
	driver_type(driver, "DATA\r\n");
	struct span reply = next_reply(BANNER_BYTES);
	assert_memory_equal(reply.ptr, "354 ", 4);
}

static void only_grey_and_white_clients_become_listed(void **state)
{
	(void)state;
	static const enum session_class after[] = {
	        [SESSION_UNKNOWN] = SESSION_UNKNOWN, [SESSION_GREY] = SESSION_LISTED,
	        [SESSION_WHITE] = SESSION_LISTED,    [SESSION_LISTED] = SESSION_LISTED,
	        [SESSION_PASSIVE] = SESSION_PASSIVE,
	};
	for (size_t cls = 0; cls < ARRAY_LEN(after); cls++) {
		start((enum session_class)cls);
		session_list(&driver->session, &driver->conf, driver->now);
		assert_int_equal(driver->session.cls, after[cls]);
	}
}

/* A deferral that waits for the store when the host turns out to be trapped is finished as it
 * stands. */
static void deferral_under_way_is_finished(void **state)
{
	(void)state;
	driver->conf.stutter_ms = 0;
	start(SESSION_GREY);
	driver->auto_store = false;
	driver_type(driver, "HELO x\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n");
	driver_wait(driver, 2 * SECOND_MS);
	size_t before = driver->n_received;
	session_list(&driver->session, &driver->conf, driver->now);
	driver_store_all(driver);
	struct span reply = next_reply(before);
	assert_memory_equal(reply.ptr, "451 ", 4);
	assert_int_equal(driver->n_unstored, 0);
}

static void stutter_that_is_stopped_stays_so_for_the_whole_session(void **state)
{
	(void)state;
	start(SESSION_LISTED);
	session_stop_stutter(&driver->session);
	driver_type(driver, "HELO x\r\nDATA\r\n.\r\n");
	driver_wait(driver, SECOND_MS);
	assert_true(driver->is_shut);
	assert_int_equal(driver->n_sends, 4);
}

static void stutter_that_is_stopped_before_the_host_is_known_never_begins(void **state)
{
	(void)state;
	start(SESSION_UNKNOWN);
	session_stop_stutter(&driver->session);
	struct mono_ms until = mono_ms_add(driver->now, 100);
	assert_true(mono_ms_diff(driver->session.due, until) > 0);
	session_classify(&driver->session, &driver->conf, SESSION_LISTED, driver->now);
	driver_run_until(driver, until);
	assert_int_equal(driver->n_received, BANNER_BYTES);
	assert_int_equal(driver->n_sends, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(minimal_client_is_held_for_a_second_a_byte_from_the_banner_to_the_end),
	        TEST(listed_client_needs_no_text_before_it_speaks_and_a_small_one_to_the_end),
	        TEST(trap_hit_makes_a_grey_client_stutter_again),
	        TEST(late_news_of_a_trap_keep_the_wait_for_a_command_as_it_is),
	        TEST(only_grey_and_white_clients_become_listed),
	        TEST(deferral_under_way_is_finished),
	        TEST(stutter_that_is_stopped_stays_so_for_the_whole_session),
	        TEST(stutter_that_is_stopped_before_the_host_is_known_never_begins),
	};
#undef TEST
	return cmocka_run_group_tests(tests, NULL, NULL);
}
