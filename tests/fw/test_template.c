/* Filling rule templates. */
#include "fw/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static const struct template_value pairs[] = {
        {"TABLE", "mired"}, {"MX4", "192.0.2.25, 192.0.2.26"}, {"MX6", ""}, {"PORT_2", "8025"}};
static const struct template_values values = {pairs, ARRAY_LEN(pairs)};

static void check(const char *text, const char *wanted)
{
	char *out = NULL;
	struct template_fault fault = {0};
	assert_int_equal(template_fill(span_of_str(text), &values, &out, &fault), 0);
	assert_string_equal(out, wanted);
	free(out);
}

static void placeholders_are_replaced(void **state)
{
	(void)state;
	check("table inet @TABLE@ {\n}\n", "table inet mired {\n}\n");
	check("ip daddr { @MX4@ } :@PORT_2@", "ip daddr { 192.0.2.25, 192.0.2.26 } :8025\n");
	check("@TABLE@@TABLE@", "miredmired\n");
	check("", "");
}

static void a_line_for_an_empty_list_is_left_out_but_counted(void **state)
{
	(void)state;
	check("a @MX6@ b\nc @TABLE@\nd @TABLE@ @MX6@ # why\n", "\nc mired\n\n");
}

static void set_names_and_comments_are_left_alone(void **state)
{
	(void)state;
	check("ip saddr @spamd-white accept # @WHAT@ @MX6@ stays\n@ @@ @A\n",
	      "ip saddr @spamd-white accept # @WHAT@ @MX6@ stays\n@ @@ @A\n");
}

static void an_unknown_placeholder_is_named_with_its_line(void **state)
{
	(void)state;
	char *out = NULL;
	struct template_fault fault = {0};
	assert_int_equal(template_fill(SPAN("one\n@TABLE@\nx @MX5@\n"), &values, &out, &fault),
	                 ERR_NOT_FOUND);
	assert_int_equal(fault.line_no, 3);
	assert_string_equal(fault.name, "MX5");
	assert_null(out);
}

static void a_result_that_grows_beyond_its_bound_is_refused(void **state)
{
	(void)state;
	static const char piece[7] = {'@', 'M', 'X', '4', '@', ' ', 'x'};
	const size_t n_bytes = 200000 * sizeof piece;
	char *text = malloc(n_bytes);
	char *out = NULL;
	struct template_fault fault = {0};
	assert_non_null(text);
	for (size_t i = 0; i < n_bytes; i += sizeof piece) {
		memcpy(text + i, piece, sizeof piece);
	}
	assert_int_equal(template_fill(span_of(text, n_bytes), &values, &out, &fault),
	                 ERR_TOO_LONG);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(placeholders_are_replaced),
	        cmocka_unit_test(a_line_for_an_empty_list_is_left_out_but_counted),
	        cmocka_unit_test(set_names_and_comments_are_left_alone),
	        cmocka_unit_test(an_unknown_placeholder_is_named_with_its_line),
	        cmocka_unit_test(a_result_that_grows_beyond_its_bound_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
