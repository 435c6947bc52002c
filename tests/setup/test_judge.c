/* What is believed as a list and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "mired-setup/judge.h"

static void data_are_judged_by_their_beginning_and_their_type(void **state)
{
	(void)state;
	static const struct {
		enum capfile_method method;
		const char *data;
		const char *type;
		int expected;
		const char *why;
	} rows[] = {
	        {CAPFILE_HTTP, "192.0.2.1\n", "", 0, ""},
	        {CAPFILE_HTTP, "192.0.2.1\n", "text/plain", 0, ""},
	        {CAPFILE_HTTPS, "{\"cidr\":\"192.0.2.0/24\"}", "application/json", 0, ""},
	        {CAPFILE_HTTP, "", "", ERR_TRUNCATED, "it is empty"},
	        {CAPFILE_FTP, " \r\n\t\n", "", ERR_TRUNCATED, "it is empty"},
	        {CAPFILE_HTTP, "\xef\xbb\xbf", "", ERR_TRUNCATED, "it is empty"},
	        {CAPFILE_FILE, "", "", 0, ""},
	        {CAPFILE_EXEC, "\n", "", 0, ""},
	        {CAPFILE_HTTP, "<!DOCTYPE html>", "", ERR_SYNTAX, "it is a web page, not a list"},
	        {CAPFILE_HTTP, "\xef\xbb\xbf \r\n<html>", "text/plain", ERR_SYNTAX,
	         "it is a web page, not a list"},
	        {CAPFILE_FILE, "<html>", "", ERR_SYNTAX, "it is a web page, not a list"},
	        {CAPFILE_EXEC, "\n\n<p>", "", ERR_SYNTAX, "it is a web page, not a list"},
	        {CAPFILE_HTTPS, "192.0.2.1\n", "text/html", ERR_SYNTAX,
	         "the server calls it text/html, so it is no list"},
	        {CAPFILE_HTTPS, "192.0.2.1\n", " Text/HTML; charset=utf-8", ERR_SYNTAX,
	         "the server calls it text/html, so it is no list"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char why[JUDGE_WHY_MAX] = "";
		int ret = judge_data(rows[i].method, span_of_str(rows[i].data), rows[i].type, why);
		assert_int_equal(ret, rows[i].expected);
		assert_string_equal(why, rows[i].why);
	}
}

static void a_list_without_entries_is_believed_from_local_sources_only(void **state)
{
	(void)state;
	static const struct {
		enum capfile_method method;
		uint64_t n_bad;
		int expected;
	} rows[] = {
	        {CAPFILE_FILE, 0, 0},
	        {CAPFILE_EXEC, 0, 0},
	        {CAPFILE_HTTP, 0, ERR_TRUNCATED},
	        {CAPFILE_HTTPS, 0, ERR_TRUNCATED},
	        {CAPFILE_FTP, 0, ERR_TRUNCATED},
	        {CAPFILE_FILE, 1, ERR_SYNTAX},
	        {CAPFILE_EXEC, 3, ERR_SYNTAX},
	        {CAPFILE_HTTP, 100, ERR_SYNTAX},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char why[JUDGE_WHY_MAX] = "";
		struct judge_counts counts = {.n_bad = rows[i].n_bad,
		                              .has_before = true,
		                              .n_before = 1000,
		                              .change_max = 2};
		assert_int_equal(judge_counts(rows[i].method, &counts, why), rows[i].expected);
	}
}

static void a_change_beyond_the_factor_is_not_believed(void **state)
{
	(void)state;
	static const struct {
		uint64_t before, now;
		uint32_t factor;
		bool has_before;
		int expected;
	} rows[] = {
	        {1000, 100, 10, true, 0},    {1000, 99, 10, true, ERR_RANGE},
	        {1000, 10000, 10, true, 0},  {1000, 10001, 10, true, ERR_RANGE},
	        {1000, 1, 10, false, 0}, /* nothing to compare with */
	        {1000, 1, 0, true, 0},   /* switched off */
	        {0, 100000, 2, true, 0}, /* the copy was empty: nothing is a multiple of it */
	        {5, 2, 2, true, ERR_RANGE},  {5, 3, 2, true, 0},
	        {5, 11, 2, true, ERR_RANGE},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char why[JUDGE_WHY_MAX] = "";
		struct judge_counts counts = {.n_entries = rows[i].now,
		                              .has_before = rows[i].has_before,
		                              .n_before = rows[i].before,
		                              .change_max = rows[i].factor};
		assert_int_equal(judge_counts(CAPFILE_HTTP, &counts, why), rows[i].expected);
		assert_int_equal(why[0] != '\0', rows[i].expected != 0);
	}
}

static void the_reason_has_the_figures(void **state)
{
	(void)state;
	char why[JUDGE_WHY_MAX] = "";
	struct judge_counts counts = {
	        .n_entries = 7, .has_before = true, .n_before = 1000, .change_max = 10};
	assert_int_equal(judge_counts(CAPFILE_FILE, &counts, why), ERR_RANGE);
	assert_string_equal(why, "it shrank from 1000 to 7 entries, more than 10-fold "
	                         "(list-change; without its copy it is believed)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(data_are_judged_by_their_beginning_and_their_type),
	        cmocka_unit_test(a_list_without_entries_is_believed_from_local_sources_only),
	        cmocka_unit_test(a_change_beyond_the_factor_is_not_believed),
	        cmocka_unit_test(the_reason_has_the_figures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
