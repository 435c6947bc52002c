/* Rows about held connections and the numbers in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "miredctl/held_text.h"

static json_t *answer_of(const char *text)
{
	json_error_t error;
	json_t *answer = json_loads(text, JSON_ALLOW_NUL, &error);
	if (!answer) {
		fail_msg("%s", error.text);
	}
	return answer;
}

static void numbers_take_few_columns_whatever_they_are(void **state)
{
	(void)state;
	static const struct {
		double number;
		const char *count;
		const char *bytes;
		const char *secs;
	} rows[] = {
	        {0, "0", "0B", "0s"},
	        {59, "59", "59B", "59s"},
	        {60, "60", "60B", "1m00s"},
	        {3723, "3723", "3.7kB", "1h02m"},
	        {99999, "99999", "100kB", "1d03h"},
	        {999999, "999999", "1.0MB", "11d13h"},
	        {1250000, "1.2M", "1.2MB", "14d11h"},
	        {1000000, "1.0M", "1.0MB", "11d13h"},
	        {1e18, "1.0E", "1.0EB", "0s"},
	        {-1, "-1", "-1B", "0s"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[TEXT_NUMBER_MAX];
		assert_string_equal(text_count(rows[i].number, text), rows[i].count);
		assert_string_equal(text_bytes(rows[i].number, text), rows[i].bytes);
		assert_string_equal(text_secs(rows[i].number, text), rows[i].secs);
	}
}

static void a_row_of_the_longest_has_its_columns_under_their_titles(void **state)
{
	(void)state;
	char title[TEXT_ROW_MAX];
	char row[TEXT_ROW_MAX];
	json_t *answer = answer_of(
	        "{\"longest\":[{\"address\":\"192.0.2.1\",\"held_secs\":312,\"class\":\"listed\","
	        "\"list\":\"mine\",\"lists\":1,\"state\":\"banner\",\"sent_bytes\":31}]}");
	assert_int_equal(held_table_rows(HELD_LONGEST, answer), 1);
	held_table_title(HELD_LONGEST, answer, 79, title);
	held_table_row(HELD_LONGEST, answer, 0, 79, row);
	assert_string_equal(title,
	                    "   HELD ADDRESS                  CLASS    STATE       SENT LIST");
	assert_string_equal(row, "  5m12s 192.0.2.1                listed   banner       31B mine");
	held_table_row(HELD_LONGEST, answer, 0, 30, row);
	assert_string_equal(row, "  5m12s 192.0.2.1     listed");
	json_decref(answer);
}

static void a_name_too_long_is_cut_and_shows_it(void **state)
{
	(void)state;
	char row[TEXT_ROW_MAX];
	json_t *answer = answer_of("{\"lists\":[{\"name\":\"a-list-with-a-name-that-is-long\","
	                           "\"connections\":7}]}");
	held_table_row(HELD_LISTS, answer, 0, 20, row);
	assert_string_equal(row, "a-list-with~       7");
	json_decref(answer);
}

static void control_bytes_and_utf8_never_reach_a_row(void **state)
{
	(void)state;
	char row[TEXT_ROW_MAX];
	json_t *answer = answer_of("{\"lists\":[{\"name\":\"a\\u001b[2J\\u00fc\\u0000b\","
	                           "\"connections\":1}]}");
	held_table_row(HELD_LISTS, answer, 0, 60, row);
	assert_int_equal(strncmp(row, "a\\x1b[2J\\xc3\\xbc\\x00b ", 22), 0);
	json_decref(answer);
}

static void what_the_daemon_has_escaped_is_not_escaped_again(void **state)
{
	(void)state;
	char row[TEXT_ROW_MAX];
	char text[8];
	json_t *answer = answer_of("{\"lists\":[{\"name\":\"\\\\xc3\\\\xbcn\\\\x5cb\\u001b\","
	                           "\"connections\":1}]}");
	held_table_row(HELD_LISTS, answer, 0, 60, row);
	assert_int_equal(strncmp(row, "\\xc3\\xbcn\\x5cb\\x1b ", 19), 0);
	const json_t *list = json_array_get(json_object_get(answer, "lists"), 0);
	assert_string_equal(text_of(json_object_get(list, "name"), text, sizeof text), "\\xc3\\xb");
	json_decref(answer);
}

static void the_name_of_a_list_takes_what_a_wide_table_has_left(void **state)
{
	(void)state;
	char row[TEXT_ROW_MAX];
	json_t *answer = answer_of(
	        "{\"longest\":[{\"address\":\"192.0.2.1\",\"held_secs\":312,\"class\":\"listed\","
	        "\"list\":\"a-list-with-a-name-that-is-long\",\"lists\":1}]}");
	held_table_row(HELD_LONGEST, answer, 0, 100, row);
	assert_non_null(strstr(row, " 1 a-list-with-a-name-~"));
	held_table_row(HELD_LONGEST, answer, 0, 120, row);
	assert_non_null(strstr(row, " 1 a-list-with-a-name-that-is-long"));
	json_decref(answer);
}

static void a_title_says_that_counts_are_not_exact(void **state)
{
	(void)state;
	char title[TEXT_ROW_MAX];
	json_t *answer = answer_of("{\"lists_exact\":false,\"networks_exact\":true}");
	held_table_title(HELD_LISTS, answer, 30, title);
	assert_string_equal(title, "LIST (estimates)          HELD");
	held_table_title(HELD_NETWORKS, answer, 30, title);
	assert_string_equal(title, "NETWORK                   HELD");
	assert_int_equal(json_object_set_new(answer, "networks_exact", json_false()), 0);
	held_table_title(HELD_NETWORKS, answer, 30, title);
	assert_string_equal(title, "NETWORK (at least)        HELD");
	held_table_title(HELD_LISTS, NULL, 30, title);
	assert_string_equal(title, "LIST                      HELD");
	json_decref(answer);
}

static void what_is_no_table_has_no_rows(void **state)
{
	(void)state;
	char row[TEXT_ROW_MAX];
	json_t *answer = answer_of("{\"longest\":\"x\",\"lists\":[3]}");
	assert_int_equal(held_table_rows(HELD_LONGEST, answer), 0);
	assert_int_equal(held_table_rows(HELD_NETWORKS, answer), 0);
	assert_int_equal(held_table_rows(HELD_LISTS, NULL), 0);
	held_table_row(HELD_LISTS, answer, 0, 20, row);
	assert_string_equal(row, "                   0");
	json_decref(answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(numbers_take_few_columns_whatever_they_are),
	        cmocka_unit_test(a_row_of_the_longest_has_its_columns_under_their_titles),
	        cmocka_unit_test(a_name_too_long_is_cut_and_shows_it),
	        cmocka_unit_test(control_bytes_and_utf8_never_reach_a_row),
	        cmocka_unit_test(what_the_daemon_has_escaped_is_not_escaped_again),
	        cmocka_unit_test(the_name_of_a_list_takes_what_a_wide_table_has_left),
	        cmocka_unit_test(a_title_says_that_counts_are_not_exact),
	        cmocka_unit_test(what_is_no_table_has_no_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
