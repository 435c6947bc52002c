/* Lists of JSON lines, as Spamhaus publishes DROP. */
#include "lists/jsonlist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

struct seen {
	char text[256];
	unsigned bad_lines[4];
	size_t n_bad;
};

static int on_entry(void *ctx, const struct addr_range *range)
{
	struct seen *seen = ctx;
	char first[ADDR_TEXT_MAX];
	char last[ADDR_TEXT_MAX];
	(void)snprintf(seen->text + strlen(seen->text), sizeof seen->text - strlen(seen->text),
	               "%s-%s ", addr_format(&range->first, first),
	               addr_format(&range->last, last));
	return 0;
}

static void on_bad(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	struct seen *seen = ctx;
	assert_true(line.len > 0 && reason[0] != '\0');
	seen->bad_lines[seen->n_bad++] = line_no;
}

static void a_drop_list_of_both_families_is_read_with_its_metadata(void **state)
{
	(void)state;
	struct seen seen = {0};
	struct jsonlist_figures figures;
	struct span text =
	        SPAN("{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL1\",\"rir\":\"x\"}\n"
	             "{\"cidr\":\"192.0.3.9/24\",\"new\":{\"a\":[1]}}\r\n\n"
	             "{\"type\":\"metadata\",\"timestamp\":1700000000,\"records\":2,\"size\":1}\n"
	             "{\"cidr\":\"2001:db8::/127\"}\n"
	             "{\"type\":\"metadata\",\"timestamp\":1700000001,\"records\":1}");
	assert_true(jsonlist_is_json(text));
	assert_int_equal(jsonlist_parse(text, on_entry, on_bad, &seen, &figures), 0);
	assert_string_equal(seen.text, "192.0.2.0-192.0.2.255 192.0.3.0-192.0.3.255 "
	                               "2001:db8::-2001:db8::1 ");
	assert_int_equal(figures.n_entries, 3);
	assert_int_equal(figures.n_bad, 0);
	assert_true(figures.has_metadata);
	assert_int_equal(figures.n_declared, 3);
	assert_int_equal(figures.timestamp, 1700000001);
}

static void a_cut_list_is_told_by_its_count(void **state)
{
	(void)state;
	struct seen seen = {0};
	struct jsonlist_figures figures;
	assert_int_equal(jsonlist_parse(SPAN("{\"cidr\":\"1.2.3.4\"}\n"
	                                     "{\"type\":\"metadata\",\"records\":2}\n"),
	                                on_entry, on_bad, &seen, &figures),
	                 ERR_TRUNCATED);
	assert_int_equal(figures.n_declared, 2);
	assert_int_equal(figures.n_entries, 1);
}

static void bad_lines_are_told_and_the_rest_is_loaded(void **state)
{
	(void)state;
	struct seen seen = {0};
	struct jsonlist_figures figures;
	assert_int_equal(jsonlist_parse(SPAN("{\"cidr\":\"1.2.3.4/0\"}\nnonsense\n{\"cidr\":7}\n"
	                                     "[1]\n{\"cidr\":\"5.6.7.8\"}\n"),
	                                on_entry, on_bad, &seen, &figures),
	                 0);
	assert_int_equal(figures.n_bad, 4);
	assert_int_equal(seen.bad_lines[3], 4);
	assert_string_equal(seen.text, "5.6.7.8-5.6.7.8 ");
	assert_false(figures.has_metadata);
	assert_int_equal(figures.n_declared, -1);
}

static void other_texts_are_not_taken_for_json(void **state)
{
	(void)state;
	assert_false(jsonlist_is_json(SPAN("")));
	assert_false(jsonlist_is_json(SPAN(" \n1.2.3.4\n{")));
	assert_false(jsonlist_is_json(SPAN("<html>")));
	assert_true(jsonlist_is_json(SPAN("\r\n  {\"cidr\"")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_drop_list_of_both_families_is_read_with_its_metadata),
	        cmocka_unit_test(a_cut_list_is_told_by_its_count),
	        cmocka_unit_test(bad_lines_are_told_and_the_rest_is_loaded),
	        cmocka_unit_test(other_texts_are_not_taken_for_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
