/* The table of kinds and the encoding of fields. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log_events.h"

static void each_kind_has_a_message_id_of_its_own(void **state)
{
	(void)state;
	for (int i = 1; i < LOG_EVENT_COUNT; i++) {
		const char *id = log_event_row((enum log_event)i)->message_id;
		assert_int_equal(strlen(id), 32);
		for (const char *c = id; *c; c++) {
			assert_true(isxdigit((unsigned char)*c) && !isupper((unsigned char)*c));
		}
		for (int j = 1; j < i; j++) {
			const struct log_event_row *other = log_event_row((enum log_event)j);
			assert_string_not_equal(id, other->message_id);
			assert_string_not_equal(log_event_row((enum log_event)i)->name,
			                        other->name);
		}
	}
}

/* spamd.md section 9: what is logged at which level, with and without -v. */
static void levels_are_those_of_spamd(void **state)
{
	static const struct {
		enum log_event event;
		enum log_level level;
		bool is_verbose;
	} rows[] = {
	        {LOG_EVENT_listening, LOG_LEVEL_WARNING, false},
	        {LOG_EVENT_connected, LOG_LEVEL_INFO, false},
	        {LOG_EVENT_disconnected, LOG_LEVEL_INFO, false},
	        {LOG_EVENT_attempt, LOG_LEVEL_INFO, true},
	        {LOG_EVENT_header, LOG_LEVEL_INFO, true},
	        {LOG_EVENT_body, LOG_LEVEL_DEBUG, true},
	        {LOG_EVENT_tuple, LOG_LEVEL_DEBUG, false},
	        {LOG_EVENT_greytrap, LOG_LEVEL_DEBUG, false},
	        {LOG_EVENT_trapped, LOG_LEVEL_DEBUG, false},
	        {LOG_EVENT_trapped_low_priority, LOG_LEVEL_DEBUG, false},
	        {LOG_EVENT_whitelisted, LOG_LEVEL_DEBUG, false},
	        {LOG_EVENT_blacklisted, LOG_LEVEL_DEBUG, false},
	        {LOG_EVENT_peer, LOG_LEVEL_DEBUG, false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct log_event_row *row = log_event_row(rows[i].event);
		assert_int_equal(row->level, rows[i].level);
		assert_int_equal(row->when == LOG_VERBOSE, rows[i].is_verbose);
	}
}

static void fields_become_lines_and_lists_one_each(void **state)
{
	static const char wanted[] = "CLIENT=192.0.2.1\nSENDER=<a@b>\nVERDICT=BLACK\nLIST=uatraps\n"
	                             "LIST=nixspam\n";
	char out[256];
	const struct log_fields fields = {.client = "192.0.2.1",
	                                  .sender = "<a@b>",
	                                  .verdict = "BLACK",
	                                  .list = " uatraps nixspam ..."};
	(void)state;
	size_t len = log_fields_encode(&fields, out, sizeof out);
	assert_int_equal(len, sizeof wanted - 1);
	assert_memory_equal(out, wanted, len);
}

static void no_field_and_an_empty_list_are_no_lines(void **state)
{
	char out[16];
	const struct log_fields fields = {.list = ""};
	(void)state;
	assert_int_equal(log_fields_encode(&fields, out, sizeof out), 0);
}

static void bytes_that_would_end_a_value_do_not(void **state)
{
	static const char wanted[] = "SENDER=a?MESSAGE=forged??b\n";
	char out[64];
	const struct log_fields fields = {.sender = "a\nMESSAGE=forged\x7f\x1b"
	                                            "b"};
	(void)state;
	assert_int_equal(log_fields_encode(&fields, out, sizeof out), sizeof wanted - 1);
	assert_memory_equal(out, wanted, sizeof wanted - 1);
}

static void long_values_are_cut_and_what_has_no_room_is_left_out_whole(void **state)
{
	char longer[2 * LOG_FIELD_BYTES_MAX];
	char out[LOG_FIELD_BYTES_MAX + 32];
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	const struct log_fields fields = {.sender = longer, .recipient = longer, .helo = "h"};
	(void)state;
	size_t len = log_fields_encode(&fields, out, sizeof out);
	assert_int_equal(len, strlen("SENDER=\n") + LOG_FIELD_BYTES_MAX + strlen("HELO=h\n"));
	assert_memory_equal(out, "SENDER=x", 8);
	assert_memory_equal(out + len - 7, "HELO=h\n", 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_kind_has_a_message_id_of_its_own),
	        cmocka_unit_test(levels_are_those_of_spamd),
	        cmocka_unit_test(fields_become_lines_and_lists_one_each),
	        cmocka_unit_test(no_field_and_an_empty_list_are_no_lines),
	        cmocka_unit_test(bytes_that_would_end_a_value_do_not),
	        cmocka_unit_test(long_values_are_cut_and_what_has_no_room_is_left_out_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
