/* Request lines of the control protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/err.h"
#include "ctl/request.h"

static void a_line_is_a_verb_and_its_arguments(void **state)
{
	static const struct {
		const char *line;
		const char *verb;
		const char *args;
	} rows[] = {
	        {"status", "status", ""},
	        {"status\r", "status", ""},
	        {"  clock-ok  ", "clock-ok", ""},
	        {"seen in  192.0.2.1 \r", "seen", "in  192.0.2.1"},
	        {"a1 {\"x\": 1}", "a1", "{\"x\": 1}"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct request request;
		assert_int_equal(request_parse(span_of_str(rows[i].line), &request), 0);
		assert_string_equal(request.verb, rows[i].verb);
		assert_string_equal(request.args, rows[i].args);
	}
}

static void lines_that_are_no_request_are_refused_whole(void **state)
{
	static const struct {
		struct span line;
		int ret;
	} rows[] = {
	        {SPAN(""), ERR_SYNTAX},
	        {SPAN("\r"), ERR_SYNTAX},
	        {SPAN("   "), ERR_SYNTAX},
	        {SPAN("STATUS"), ERR_SYNTAX},
	        {SPAN("sta\0tus"), ERR_SYNTAX},
	        {SPAN("status\0"), ERR_SYNTAX},
	        {SPAN("status\t1"), ERR_SYNTAX},
	        {SPAN("status \xc3\xa4"), ERR_SYNTAX},
	        {SPAN("status\r\r"), ERR_SYNTAX},
	        {SPAN("{\"status\"}"), ERR_SYNTAX},
	        {SPAN("abcdefghijklmnopqrstuvwxyz-012345"), ERR_TOO_LONG},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct request request = {.verb = "before", .args = "before"};
		assert_int_equal(request_parse(rows[i].line, &request), rows[i].ret);
		assert_string_equal(request.verb, "before");
		assert_string_equal(request.args, "before");
	}
}

static void the_longest_line_fits_and_one_more_byte_does_not(void **state)
{
	char line[MIRED_CTL_REQUEST_MAX];
	struct request request;
	(void)state;
	memset(line, 'a', sizeof line);
	line[1] = ' ';
	assert_int_equal(request_parse(span_of(line, sizeof line - 1), &request), 0);
	assert_int_equal(strlen(request.args), sizeof line - 3);
	assert_int_equal(request_parse(span_of(line, sizeof line), &request), ERR_TOO_LONG);
}

static void the_last_word_is_the_bodys_length(void **state)
{
	static const struct {
		const char *line;
		int ret;
		size_t len;
		const char *args; /* afterwards */
	} rows[] = {
	        {"put 7", 0, 7, ""},
	        {"put 0", 0, 0, ""},
	        {"put a b  100", 0, 100, "a b"},
	        {"put 100 100", 0, 100, "100"},
	        {"put 101", ERR_RANGE, 1, "101"},
	        {"put 99999999999999999999999", ERR_RANGE, 1, "99999999999999999999999"},
	        {"put", ERR_SYNTAX, 1, ""},
	        {"put 7x", ERR_SYNTAX, 1, "7x"},
	        {"put -1", ERR_SYNTAX, 1, "-1"},
	        {"put 7 x", ERR_SYNTAX, 1, "7 x"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct request request;
		size_t len = 1;
		assert_int_equal(request_parse(span_of_str(rows[i].line), &request), 0);
		assert_int_equal(request_take_length(&request, 100, &len), rows[i].ret);
		assert_int_equal(len, rows[i].len);
		assert_string_equal(request.args, rows[i].args);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_line_is_a_verb_and_its_arguments),
	        cmocka_unit_test(lines_that_are_no_request_are_refused_whole),
	        cmocka_unit_test(the_longest_line_fits_and_one_more_byte_does_not),
	        cmocka_unit_test(the_last_word_is_the_bodys_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
