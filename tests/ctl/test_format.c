/* Figures as text: generic over whatever keys come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "ctl/format.h"

static void assert_formats(const char *json, const char *text)
{
	char *got = NULL;
	size_t len = 0;
	json_t *object = json_loads(json, 0, NULL);
	assert_non_null(object);
	FILE *out = open_memstream(&got, &len);
	format_figures(object, out);
	(void)fclose(out);
	json_decref(object);
	assert_string_equal(got, text);
	free(got);
}

static void plain_members_come_first_and_objects_become_sections(void **state)
{
	(void)state;
	assert_formats("{\"connections\": {\"now\": 5, \"by_class\": {\"grey\": 4, \"white\": 1}},"
	               " \"version\": \"0.1.0\", \"empty\": {}}",
	               "version                            0.1.0\n"
	               "\nconnections\n"
	               "  now                              5\n"
	               "  by class, grey                   4\n"
	               "  by class, white                  1\n"
	               "\nempty\n");
}

static void a_list_of_objects_is_a_line_each(void **state)
{
	(void)state;
	assert_formats(
	        "{\"sync\": {\"behind\": 0, \"peers\": ["
	        "{\"address\": \"192.0.2.1\", \"name\": \"mx2\", \"silent_secs\": 61,"
	        " \"in\": {\"grey\": 12, \"promote\": 1}, \"dropped\": {}, \"failures\": 0},"
	        "{\"address\": \"192.0.2.2\", \"name\": \"\", \"in\": {}, \"failures\": 2}]}}",
	        "\nsync\n"
	        "  behind                           0\n"
	        "  peers\n"
	        "    192.0.2.1: name mx2, silent 1m 1s, in grey 12 promote 1, failures 0\n"
	        "    192.0.2.2: failures 2\n");
}

static void a_long_line_of_a_list_is_wrapped_before_a_name(void **state)
{
	(void)state;
	assert_formats(
	        "{\"sync\": {\"peers\": [{\"address\": \"192.0.2.25\", \"name\": "
	        "\"mx2.example.org\", \"silent_secs\": 7, \"in\": {\"grey\": 123456, \"trapped\": "
	        "1234, \"promote\": 12345}, \"out\": {\"grey\": 1234567, \"white\": 1234567, "
	        "\"trapped\": 1234567, \"grey6\": 1234567, \"trapped6\": 1234567, \"manual\": "
	        "12}}, "
	        "{\"address\": \"192.0.2.26\", \"failures\": 0}]}}",
	        "\n"
	        "sync\n"
	        "  peers\n"
	        "    192.0.2.25: name mx2.example.org, silent 7s,\n"
	        "        in grey 123456 trapped 1234 promote 12345,\n"
	        "        out grey 1234567 white 1234567 trapped 1234567 grey6 1234567\n"
	        "        trapped6 1234567 manual 12\n"
	        "    192.0.2.26: failures 0\n");
}

static void endings_of_names_are_units(void **state)
{
	static const struct {
		const char *json;
		const char *text;
	} rows[] = {
	        {"{\"up_secs\": 59}", "up                                 59s\n"},
	        {"{\"up_secs\": 61}", "up                                 1m 1s\n"},
	        {"{\"up_secs\": 7322}", "up                                 2h 2m 2s\n"},
	        {"{\"up_secs\": 180061}", "up                                 2d 2h 1m\n"},
	        {"{\"p99_ms\": 1.25}", "p99                                1.25 ms\n"},
	        {"{\"map_bytes\": 68719476736}", "map                                64.0 GiB\n"},
	        {"{\"rss_bytes\": 12}", "rss                                12 B\n"},
	        {"{\"rss_bytes\": null}", "rss bytes                          null\n"},
	        {"{\"seen_at\": 0}", "seen                               never\n"},
	        {"{\"seen_at\": 1700000000}",
	         "seen                               2023-11-14 22:13:20\n"},
	        {"{\"is_paused\": false}", "is paused                          no\n"},
	        {"{\"rate\": 0.5}", "rate                               0.5\n"},
	        {"{\"workers\": [1, 2]}", "workers                            [1,2]\n"},
	        {"{\"_ms\": 1}", " ms                                1\n"},
	};
	(void)state;
	assert_int_equal(setenv("TZ", "UTC", 1), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_formats(rows[i].json, rows[i].text);
	}
}

static void foreign_bytes_never_reach_the_terminal(void **state)
{
	(void)state;
	assert_formats("{\"a\\u001b[2J\": \"b\\u001b\\n\"}",
	               "a\\x1b[2J                           b\\x1b\\x0a\n");
}

static void depth_and_length_are_bounded(void **state)
{
	char *got = NULL;
	size_t len = 0;
	size_t n_lines = 0;
	json_t *object = json_object();
	json_t *deep = object;
	(void)state;
	for (int i = 0; i < 3000; i++) {
		char key[16];
		(void)snprintf(key, sizeof key, "k%d", i);
		(void)json_object_set_new(object, key, json_integer(i));
	}
	for (int i = 0; i < 20; i++) {
		json_t *next = json_object();
		(void)json_object_set_new(deep, "deeper", next);
		deep = next;
	}
	FILE *out = open_memstream(&got, &len);
	format_figures(object, out);
	(void)fclose(out);
	json_decref(object);
	for (const char *c = got; *c; c++) {
		n_lines += *c == '\n';
	}
	assert_int_equal(n_lines, 1024);
	free(got);
	assert_formats("{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}",
	               "\na\n  a, a, a, a, a, a                 {\"a\":1}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(plain_members_come_first_and_objects_become_sections),
	        cmocka_unit_test(a_list_of_objects_is_a_line_each),
	        cmocka_unit_test(a_long_line_of_a_list_is_wrapped_before_a_name),
	        cmocka_unit_test(endings_of_names_are_units),
	        cmocka_unit_test(foreign_bytes_never_reach_the_terminal),
	        cmocka_unit_test(depth_and_length_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
