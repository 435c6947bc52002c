/* Held connections as JSON: the order of lists, what is told together, names of foreign bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mired/held_json.h"

static int setup(void **state)
{
	static const struct held_query all = {0};
	struct held *held = calloc(1, sizeof *held);
	assert_non_null(held);
	held_begin(held, &all, 0);
	*state = held;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void add_list(struct held *held, const char *name, uint32_t n)
{
	struct held_list *list = &held->lists[held->n_lists++];
	list->n = n;
	list->tag_len = (uint8_t)strlen(name);
	memcpy(list->tag, name, strlen(name));
}

static const char *name_at(const json_t *lists, size_t idx)
{
	return json_string_value(json_object_get(json_array_get(lists, idx), "name"));
}

static void lists_come_with_most_connections_first_and_idle_ones_not_at_all(void **state)
{
	struct held *held = *state;
	add_list(held, "few", 1);
	add_list(held, "none", 0);
	add_list(held, "many", 9);
	add_list(held, "as few", 1);
	json_t *answer = held_json(held, 7, 10);
	const json_t *lists = json_object_get(answer, "lists");
	assert_int_equal(json_array_size(lists), 3);
	assert_string_equal(name_at(lists, 0), "many");
	assert_string_equal(name_at(lists, 1), "few");
	assert_string_equal(name_at(lists, 2), "as few");
	assert_int_equal(json_integer_value(json_object_get(answer, "age_ms")), 7);
	assert_int_equal(json_integer_value(json_object_get(answer, "other_lists")), 0);
	assert_true(json_is_true(json_object_get(answer, "lists_exact")));
	json_decref(answer);
}

static void lists_beyond_the_sixteenth_are_told_together(void **state)
{
	struct held *held = *state;
	held->n_other_lists = 5;
	for (uint32_t i = 0; i < HELD_LISTS; i++) {
		char name[16];
		(void)snprintf(name, sizeof name, "list%u", i);
		add_list(held, name, i + 1);
	}
	json_t *answer = held_json(held, 0, 10);
	const json_t *lists = json_object_get(answer, "lists");
	uint32_t n_others = HELD_LISTS - HELD_JSON_LISTS_MAX;
	assert_int_equal(json_array_size(lists), HELD_JSON_LISTS_MAX);
	assert_string_equal(name_at(lists, 0), "list63");
	assert_int_equal(json_integer_value(json_object_get(answer, "other_lists")),
	                 5 + n_others * (n_others + 1) / 2);
	json_decref(answer);
}

static void a_connection_tells_its_list_escaped_and_no_more_rows_than_asked_for(void **state)
{
	struct held *held = *state;
	add_list(held, "a\x1b\xc3\xbc", 2);
	for (uint32_t i = 0; i < 3; i++) {
		held->longest[held->n_longest++] =
		        (struct held_conn){.peer = addr_from_v4_be(0x010200c0),
		                           .age_ms = 61999,
		                           .sent_bytes = 31,
		                           .cls = HELD_TRAPPED,
		                           .state = DIALOGUE_BANNER,
		                           .list = i == 0 ? 0 : HELD_NO_LIST,
		                           .n_lists = i == 0};
	}
	json_t *answer = held_json(held, 0, 2);
	const json_t *longest = json_object_get(answer, "longest");
	assert_int_equal(json_array_size(longest), 2);
	json_t *wanted = json_pack("{s:s, s:i, s:s, s:s, s:i, s:s, s:i}", "address", "192.0.2.1",
	                           "held_secs", 61, "class", "trapped", "list", "a\\x1b\\xc3\\xbc",
	                           "lists", 1, "state", "banner", "sent_bytes", 31);
	assert_true(json_equal(json_array_get(longest, 0), wanted));
	assert_string_equal(json_string_value(json_object_get(json_array_get(longest, 1), "list")),
	                    "");
	json_decref(wanted);
	json_decref(answer);
}

#define JSON_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        JSON_TEST(lists_come_with_most_connections_first_and_idle_ones_not_at_all),
	        JSON_TEST(lists_beyond_the_sixteenth_are_told_together),
	        JSON_TEST(a_connection_tells_its_list_escaped_and_no_more_rows_than_asked_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
