/* Durations and sizes as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/err.h"
#include "conf/schema.h"

static void durations_take_units_and_bare_digits_are_seconds(void **state)
{
	static const struct {
		const char *text;
		int ret;
		int64_t ms;
	} rows[] = {
	        {"25m", 0, 1500000},    {"36d", 0, INT64_C(36) * 86400000},
	        {"5s", 0, 5000},        {"250ms", 0, 250},
	        {"4h", 0, 14400000},    {"2w", 0, INT64_C(14) * 86400000},
	        {"7", 0, 7000},         {"0", 0, 0},
	        {"3H", 0, 10800000},    {"", ERR_SYNTAX, 0},
	        {"m", ERR_SYNTAX, 0},   {"1.5h", ERR_SYNTAX, 0},
	        {"-1s", ERR_SYNTAX, 0}, {"1 s", ERR_SYNTAX, 0},
	        {"1y", ERR_SYNTAX, 0},  {"9223372036854775807", ERR_RANGE, 0},
	        {"5s ", ERR_SYNTAX, 0}, {"99999999999999999999ms", ERR_RANGE, 0},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ms = -7;
		assert_int_equal(conf_parse_duration_ms(rows[i].text, &ms), rows[i].ret);
		assert_int_equal(ms, rows[i].ret == 0 ? rows[i].ms : -7);
	}
}

static void sizes_are_powers_of_1024(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t bytes;
	} rows[] = {
	        {"64g", 0, UINT64_C(64) << 30},
	        {"512m", 0, 512 << 20},
	        {"4k", 0, 4096},
	        {"17", 0, 17},
	        {"1T", 0, UINT64_C(1) << 40},
	        {"4kb", ERR_SYNTAX, 0},
	        {"k", ERR_SYNTAX, 0},
	        {"99999999t", ERR_RANGE, 0},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t bytes = 7;
		assert_int_equal(conf_parse_size(rows[i].text, &bytes), rows[i].ret);
		assert_int_equal(bytes, rows[i].ret == 0 ? rows[i].bytes : 7);
	}
}

static void what_is_formatted_is_parsed_to_the_same(void **state)
{
	static const int64_t values[] = {0,       1,       999,      1000,      1500, 60000,
	                                 3600000, 5400000, 86400000, 604800000, 61000};
	char buf[32];
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		int64_t ms = -1;
		uint64_t bytes = 1;
		assert_int_equal(conf_parse_duration_ms(units_format_ms(values[i], buf), &ms), 0);
		assert_int_equal(ms, values[i]);
		assert_int_equal(
		        conf_parse_size(units_format_bytes((uint64_t)values[i], buf), &bytes), 0);
		assert_int_equal(bytes, values[i]);
	}
	assert_string_equal(units_format_ms(5400000, buf), "90m");
	assert_string_equal(units_format_ms(0, buf), "0s");
	assert_string_equal(units_format_bytes(65536, buf), "64k");
}

static void classes_are_two_hexadecimal_numbers(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint32_t class_id;
	} rows[] = {
	        {"1:25", 0, 0x10025},    {"fffe:ffff", 0, 0xfffeffff}, {"00aB:000C", 0, 0xab000c},
	        {"off", 0, 0},           {"0:25", ERR_RANGE, 0},       {"ffff:1", ERR_RANGE, 0},
	        {"1:0", ERR_RANGE, 0},   {"1:", ERR_SYNTAX, 0},        {":25", ERR_SYNTAX, 0},
	        {"125", ERR_SYNTAX, 0},  {"1:2:5", ERR_SYNTAX, 0},     {"1:00025", ERR_SYNTAX, 0},
	        {"1:2g", ERR_SYNTAX, 0}, {"0x1:2", ERR_SYNTAX, 0},     {"1: 2", ERR_SYNTAX, 0},
	        {"none", ERR_SYNTAX, 0}, {"", ERR_SYNTAX, 0},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint32_t class_id = 7;
		assert_int_equal(conf_parse_class(rows[i].text, &class_id), rows[i].ret);
		assert_int_equal(class_id, rows[i].ret == 0 ? rows[i].class_id : 7);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(durations_take_units_and_bare_digits_are_seconds),
	        cmocka_unit_test(sizes_are_powers_of_1024),
	        cmocka_unit_test(classes_are_two_hexadecimal_numbers),
	        cmocka_unit_test(what_is_formatted_is_parsed_to_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
