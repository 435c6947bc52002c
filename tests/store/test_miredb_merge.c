/* miredb joining records of another gateway, with no daemon: the merge form out and in, spamdb's
 * lines with the stamp they deserve, and what is refused. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include "miredb_fixture.h"

static const char stored_merge_list[] =
        "+WHITE|192.0.2.1|1000000|1000000|1001500|4110400|2|5\n"
        "+TRAPPED|2001:db8::bad|1000000|1000000|0|1086400|1|0\n"
        "+GREY|192.0.2.9|helo.example|<a\\x7cb@example.org>|<r\\x0aWHITE@example.net>|1000000|"
        "1000000|1014400|1014400|1|0|0\n"
        "+SPAMTRAP|trap@example.org|1000000|1000000\n";

static const char *input_path(void)
{
	static char path[FIXTURE_PATH_MAX + 64];
	(void)snprintf(path, sizeof path, "%s/input", top);
	return path;
}

static void write_input(const char *text)
{
	FILE *file = fopen(input_path(), "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(input_path(), 0644), 0);
}

static int import_merge(const char *text)
{
	write_input(text);
	return run(-1, "-f", config, "import", "--merge", input_path(), NULL);
}

static void assert_exported(const char *expected)
{
	assert_int_equal(run(-1, "-f", config, "export", "--merge", NULL), 0);
	assert_string_equal(output, expected);
}

static void an_export_has_every_field_and_what_was_deleted(void **state)
{
	(void)state;
	assert_exported(stored_merge_list);
	assert_int_equal(run(-1, "-f", config, "-d", "192.0.2.1", "trap@example.org", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "-d", "-G", "192.0.2.9", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "export", "--merge", NULL), 0);
	assert_ptr_equal(strstr(output, "-WHITE|192.0.2.1|"), output);
	assert_non_null(strstr(output, "\n+TRAPPED|2001:db8::bad|"));
	assert_non_null(strstr(output, "\n-GREY|192.0.2.9|helo.example|<a\\x7cb@example.org>|"));
	assert_non_null(strstr(output, "\n-SPAMTRAP|trap@example.org|"));
	assert_int_equal(run(-1, "-f", config, "export", NULL), 0);
	assert_string_equal(output, "TRAPPED|2001:db8::bad|1086400\n");
}

static void records_join_those_that_are_stored(void **state)
{
	(void)state;
	assert_int_equal(import_merge("-WHITE|192.0.2.1|1000001|7|0|5000000|9|9\n"
	                              "-TRAPPED|2001:db8::bad|999999|0|0|5000000|0|0\n"
	                              "\r\n"
	                              "+SPAMTRAP|new@example.org|5|4\r\n"),
	                 0);
	assert_string_equal(output, "miredb: 3 records joined\n");
	static const char joined[] =
	        "-WHITE|192.0.2.1|1000001|7|0|5000000|9|9\n"
	        "+TRAPPED|2001:db8::bad|1000000|1000000|0|1086400|1|0\n"
	        "+GREY|192.0.2.9|helo.example|<a\\x7cb@example.org>|<r\\x0aWHITE@example.net>|"
	        "1000000|1000000|1014400|1014400|1|0|0\n";
	assert_int_equal(run(-1, "-f", config, "export", "--merge", NULL), 0);
	assert_ptr_equal(strstr(output, joined), output);
	assert_non_null(strstr(output, "\n+SPAMTRAP|new@example.org|5|4\n"));
	assert_non_null(strstr(output, "\n+SPAMTRAP|trap@example.org|1000000|1000000\n"));
}

static void an_export_joins_its_own_store_without_a_trace(void **state)
{
	(void)state;
	assert_int_equal(import_merge(stored_merge_list), 0);
	assert_exported(stored_merge_list);
	assert_int_equal(import_merge(""), 0);
	assert_string_equal(output, "miredb: 0 records joined\n");
	assert_exported(stored_merge_list);
}

/* whiteexp is 36 days, trapexp one. */
static void lines_of_spamdb_have_the_stamp_they_prove(void **state)
{
	(void)state;
	struct fixture *f = *state;
	static const struct {
		const char *line;
		const char *expected;
	} rows[] = {
	        {"WHITE|192.0.2.1|||5|6|3110401|7|8", "+WHITE|192.0.2.1|1|5|6|3110401|7|8\n"},
	        {"WHITE|192.0.2.1|||5|6|3110399|7|8", "+WHITE|192.0.2.1|0|5|6|3110399|7|8\n"},
	        {"TRAPPED|192.0.2.1|86500", "+TRAPPED|192.0.2.1|100|0|0|86500|0|0\n"},
	        {"GREY|192.0.2.1|h|<a@b>|<c@d>|5|99|99|1|0",
	         "+GREY|192.0.2.1|h|<a@b>|<c@d>|5|5|99|99|1|0|5\n"},
	        {"GREY|192.0.2.1|h|<a@b>|<c@d>|5|7|99|1|0",
	         "+GREY|192.0.2.1|h|<a@b>|<c@d>|7|5|7|99|1|0|7\n"},
	        {"SPAMTRAP|a@b", "+SPAMTRAP|a@b|0|0\n"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char in[128];
		(void)snprintf(in, sizeof in, "%s\n", rows[i].line);
		fixture_remove(f, "data.mdb");
		fixture_remove(f, "installed");
		assert_int_equal(import_merge(in), 0);
		assert_exported(rows[i].expected);
	}
	fixture_remove(f, "data.mdb");
	fixture_remove(f, "installed");
	int64_t before = clock_wall().secs;
	long long stamp = 0;
	assert_int_equal(import_merge("WHITE|192.0.2.1|||5|6|200000000000|7|8\n"), 0);
	assert_int_equal(run(-1, "-f", config, "export", "--merge", NULL), 0);
	assert_int_equal(sscanf(output, "+WHITE|192.0.2.1|%lld|", &stamp), 1);
	assert_in_range(stamp, before, clock_wall().secs); /* never later than now */
}

static void what_is_bad_is_told_by_its_line_and_nothing_is_joined(void **state)
{
	(void)state;
	char text[512];
	char expected[512];
	static const char good[] = "+SPAMTRAP|new@example.org|5|4\n";
	(void)snprintf(text, sizeof text, "%s+WHITE|192.0.2.1|x|5|6|7|8|9\n", good);
	(void)snprintf(expected, sizeof expected,
	               "miredb: %s:2: not a number: x\n"
	               "miredb: %s: 1 bad lines: nothing was imported\n",
	               input_path(), input_path());
	assert_int_equal(import_merge(text), 1);
	assert_string_equal(output, expected);
	(void)snprintf(text, sizeof text, "%s+WHITE|192.0.2.1|%lld|5|6|7|8|9\n", good,
	               (long long)clock_wall().secs + 700);
	assert_int_equal(import_merge(text), 1);
	assert_non_null(strstr(output, "input:2: changed "));
	assert_non_null(strstr(output, "in the future: the clocks differ by more than sync-skew"));
	assert_exported(stored_merge_list);
	(void)snprintf(text, sizeof text, "+WHITE|192.0.2.1|%lld|5|6|7|8|9\n",
	               (long long)clock_wall().secs + 500);
	assert_int_equal(import_merge(text), 0); /* sync-skew is 10 minutes */
}

static void what_was_cut_off_is_not_joined(void **state)
{
	(void)state;
	assert_int_equal(import_merge("+SPAMTRAP|new@example.org|5|4\n+SPAMTRAP|o@p|17"), 1);
	assert_non_null(strstr(output, "input:2: no end: the input was cut off\n"));
	assert_exported(stored_merge_list);
}

static void a_plain_import_takes_no_merge_form(void **state)
{
	(void)state;
	char expected[512];
	write_input("-WHITE|192.0.2.1|1000001|7|0|5000000|9|9\n");
	(void)snprintf(expected, sizeof expected,
	               "miredb: %s:1: a record for import --merge\n"
	               "miredb: %s: 1 bad lines: nothing was imported\n",
	               input_path(), input_path());
	assert_int_equal(run(-1, "-f", config, "import", input_path(), NULL), 1);
	assert_string_equal(output, expected);
	assert_exported(stored_merge_list);
}

static void merge_belongs_to_export_and_import(void **state)
{
	(void)state;
	static const char *const rows[][3] = {
	        {"--merge", NULL, NULL},         {"--merge", "192.0.2.1", NULL},
	        {"--merge", "-a", "192.0.2.1"},  {"--merge", "--watch", NULL},
	        {"--merge", "--json", "export"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(run(-1, "-f", config, rows[i][0], rows[i][1], rows[i][2], NULL),
		                 1);
		assert_non_null(strstr(output, "usage: miredb"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        MIREDB_TEST(an_export_has_every_field_and_what_was_deleted),
	        MIREDB_TEST(records_join_those_that_are_stored),
	        MIREDB_TEST(an_export_joins_its_own_store_without_a_trace),
	        MIREDB_TEST(lines_of_spamdb_have_the_stamp_they_prove),
	        MIREDB_TEST(what_is_bad_is_told_by_its_line_and_nothing_is_joined),
	        MIREDB_TEST(what_was_cut_off_is_not_joined),
	        MIREDB_TEST(a_plain_import_takes_no_merge_form),
	        MIREDB_TEST(merge_belongs_to_export_and_import),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
