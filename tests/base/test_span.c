/* Spans: cutting, comparing, numbers and the one escape for foreign bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/span.h"

static void numbers_are_parsed_whole_and_bounded(void **state)
{
	static const struct {
		const char *text;
		uint64_t max;
		int ret;
		uint64_t value;
	} rows[] = {
	        {"0", 0, 0, 0},
	        {"007", 9, 0, 7},
	        {"18446744073709551615", UINT64_MAX, 0, UINT64_MAX},
	        {"18446744073709551616", UINT64_MAX, ERR_RANGE, 0},
	        {"99999999999999999999999", UINT64_MAX, ERR_RANGE, 0},
	        {"99999999999999999999999x", UINT64_MAX, ERR_SYNTAX, 0},
	        {"11", 10, ERR_RANGE, 0},
	        {"", 10, ERR_SYNTAX, 0},
	        {"-1", 10, ERR_SYNTAX, 0},
	        {"+1", 10, ERR_SYNTAX, 0},
	        {" 1", 10, ERR_SYNTAX, 0},
	        {"1x", 10, ERR_SYNTAX, 0},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t value = 4711;
		assert_int_equal(span_to_u64(span_of_str(rows[i].text), rows[i].max, &value),
		                 rows[i].ret);
		assert_int_equal(value, rows[i].ret == 0 ? rows[i].value : 4711);
	}
}

static void escape_makes_foreign_bytes_printable(void **state)
{
	static const uint8_t bytes[] = {'a', 0, '\n', '\\', 0x7f, 0xe4, ' ', '"'};
	char out[64];
	(void)state;
	assert_string_equal(span_escape(span_of(bytes, sizeof bytes), out, sizeof out),
	                    "a\\x00\\x0a\\x5c\\x7f\\xe4 \"");
	assert_string_equal(span_escape(SPAN(""), out, sizeof out), "");
}

static void escape_is_cut_before_an_escape_that_does_not_fit(void **state)
{
	static const struct {
		size_t size;
		const char *out;
	} rows[] = {{1, ""}, {2, "a"}, {5, "a"}, {6, "a\\x0a"}, {7, "a\\x0ab"}, {8, "a\\x0ab"}};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char out[8];
		memset(out, 'Z', sizeof out);
		assert_string_equal(span_escape(SPAN("a\nb"), out, rows[i].size), rows[i].out);
	}
}

static void comparison_ignores_ascii_case_only(void **state)
{
	(void)state;
	assert_true(span_equal_nocase(SPAN("HeLO"), SPAN("helo")));
	assert_false(span_equal_nocase(SPAN("HELO"), SPAN("HELOX")));
	assert_false(span_equal_nocase(SPAN("@"), SPAN("`")));
	assert_false(span_equal_nocase(SPAN("\xc4"), SPAN("\xe4")));
	assert_true(span_equal(SPAN(""), (struct span){NULL, 0}));
	assert_false(span_equal(SPAN("a"), SPAN("A")));
	assert_true(span_starts_nocase(SPAN("mail from:<a>"), SPAN("MAIL FROM:")));
	assert_false(span_starts_nocase(SPAN("MAI"), SPAN("MAIL")));
}

static void trim_skip_and_cut_stay_inside(void **state)
{
	struct span rest;
	(void)state;
	assert_true(span_equal(span_trim(SPAN(" \t a b\r\n")), SPAN("a b")));
	assert_int_equal(span_trim(SPAN(" \r\n\t")).len, 0);
	assert_true(span_equal(span_skip(SPAN("abc"), 2), SPAN("c")));
	assert_int_equal(span_skip(SPAN("abc"), 9).len, 0);
	assert_int_equal(span_skip((struct span){NULL, 0}, 9).len, 0);
	assert_true(span_equal(span_cut(SPAN("a,b,c"), ',', &rest), SPAN("a")));
	assert_true(span_equal(rest, SPAN("b,c")));
	assert_true(span_equal(span_cut(SPAN("abc"), ',', &rest), SPAN("abc")));
	assert_int_equal(rest.len, 0);
	assert_int_equal(span_cut(SPAN(",x"), ',', &rest).len, 0);
	assert_true(span_equal(rest, SPAN("x")));
}

static void a_copy_for_c_always_ends(void **state)
{
	char out[4];
	(void)state;
	assert_int_equal(span_to_str(SPAN("abcdef"), out, sizeof out), 3);
	assert_string_equal(out, "abc");
	assert_int_equal(span_to_str((struct span){NULL, 0}, out, sizeof out), 0);
	assert_string_equal(out, "");
	assert_int_equal(span_to_str(SPAN("a"), out, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(numbers_are_parsed_whole_and_bounded),
	        cmocka_unit_test(escape_makes_foreign_bytes_printable),
	        cmocka_unit_test(escape_is_cut_before_an_escape_that_does_not_fit),
	        cmocka_unit_test(comparison_ignores_ascii_case_only),
	        cmocka_unit_test(trim_skip_and_cut_stay_inside),
	        cmocka_unit_test(a_copy_for_c_always_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
