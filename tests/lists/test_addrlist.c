/* Address lists, shape by shape (manual of spamd-setup and its source, with the deviations told in
 * the header). */
#include "lists/addrlist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

struct row {
	const char *line;
	const char *want; /* "first-last", or NULL */
	int ret;
	bool had_host_bits;
};

static void check_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct addr_range range;
		bool had_host_bits;
		const char *reason = NULL;
		int ret = addrlist_parse_line(span_of_str(rows[i].line), &range, &had_host_bits,
		                              &reason);
		if (ret != rows[i].ret) {
			print_error("row \"%s\"\n", rows[i].line);
		}
		assert_int_equal(ret, rows[i].ret);
		if (ret) {
			assert_true(ret == ERR_NOT_FOUND || reason != NULL);
			continue;
		}
		char text[100];
		char first[ADDR_TEXT_MAX];
		char last[ADDR_TEXT_MAX];
		(void)snprintf(text, sizeof text, "%s-%s", addr_format(&range.first, first),
		               addr_format(&range.last, last));
		assert_string_equal(text, rows[i].want);
		assert_int_equal(had_host_bits, rows[i].had_host_bits);
	}
}

static void a_network_is_the_first_shape_and_its_host_bits_are_masked(void **state)
{
	(void)state;
	static const struct row rows[] = {
	        {"1.2.3.0/24", "1.2.3.0-1.2.3.255", 0, false},
	        {"1.2.3.4/24", "1.2.3.0-1.2.3.255", 0, true},
	        {"1.2.3.4/32 rest is ignored", "1.2.3.4-1.2.3.4", 0, false},
	        {"1.2.3.4/24;rest", "1.2.3.0-1.2.3.255", 0, true},
	        {"  1.2.3.0/24", "1.2.3.0-1.2.3.255", 0, false},
	        {"255.255.255.255/32", "255.255.255.255-255.255.255.255", 0, false},
	        {"128.0.0.0/1", "128.0.0.0-255.255.255.255", 0, false},
	        {"1.2.3.4/0", NULL, ERR_RANGE, false},
	        {"1.2.3.4/33", NULL, ERR_RANGE, false},
	        {"1.2.3.4/99999999999999999999", NULL, ERR_RANGE, false},
	        {"1.2.3.4 /24", NULL, ERR_SYNTAX, false},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void short_and_hex_forms_are_filled_with_zeros(void **state)
{
	(void)state;
	static const struct row rows[] = {
	        {"10", "10.0.0.0-10.0.0.0", 0, false},
	        {"10/8", "10.0.0.0-10.255.255.255", 0, false},
	        {"192.168.1/24", "192.168.1.0-192.168.1.255", 0, false},
	        {"192.168.1", "192.168.1.0-192.168.1.0", 0, false},
	        {"192.168.1 # ours", "192.168.1.0-192.168.1.0", 0, false},
	        {"0x0a/8", "10.0.0.0-10.255.255.255", 0, false},
	        {"0xC0a801/24", "192.168.1.0-192.168.1.255", 0, false},
	        {"0x0a", NULL, ERR_SYNTAX, false},
	        {"0x/8", NULL, ERR_SYNTAX, false},
	        {"0x0a0b0c0d0e/8", NULL, ERR_SYNTAX, false},
	        {"0x0g/8", NULL, ERR_SYNTAX, false},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void a_range_is_the_second_shape_and_needs_its_dash(void **state)
{
	(void)state;
	static const struct row rows[] = {
	        {"1.2.3.4-1.2.3.9", "1.2.3.4-1.2.3.9", 0, false},
	        {"1.2.3.4 - 1.2.3.9", "1.2.3.4-1.2.3.9", 0, false},
	        {"1.2.3.4\t--  1.2.3.9 rest", "1.2.3.4-1.2.3.9", 0, false},
	        {"10 - 10.0.0.9", "10.0.0.0-10.0.0.9", 0, false},
	        {"1.2.3.4 1.2.3.9", "1.2.3.4-1.2.3.4", 0, false},
	        {"1.2.3.4 200 hits", "1.2.3.4-1.2.3.4", 0, false},
	        {"1.2.3.4 - 200 hits", NULL, ERR_SYNTAX, false},
	        {"1.2.3.4 - known spammer", "1.2.3.4-1.2.3.4", 0, false},
	        {"1.2.3.9-1.2.3.4", NULL, ERR_RANGE, false},
	        {"1.2.3.4-1.2.3.4", "1.2.3.4-1.2.3.4", 0, false},
	        {"1.2.3.4-1.2.3.256", NULL, ERR_SYNTAX, false},
	        {"255.255.255.250-255.255.255.255", "255.255.255.250-255.255.255.255", 0, false},
	        {"0.0.0.0-255.255.255.255", "0.0.0.0-255.255.255.255", 0, false},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void a_host_is_the_third_shape_and_the_rest_is_ignored(void **state)
{
	(void)state;
	static const struct row rows[] = {
	        {"1.2.3.4", "1.2.3.4-1.2.3.4", 0, false},
	        {"1.2.3.4\r", "1.2.3.4-1.2.3.4", 0, false},
	        {"1.2.3.4/", "1.2.3.4-1.2.3.4", 0, false},
	        {"1.2.3.4/x", "1.2.3.4-1.2.3.4", 0, false},
	        {"1.2.3.4 # x", "1.2.3.4-1.2.3.4", 0, false},
	        {"1.2.3.4,spam", "1.2.3.4-1.2.3.4", 0, false},
	        {"255.255.255.255", "255.255.255.255-255.255.255.255", 0, false},
	        {"001.002.003.004", "1.2.3.4-1.2.3.4", 0, false},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void what_is_no_entry_is_a_comment_or_a_bad_line(void **state)
{
	(void)state;
	static const struct row rows[] = {
	        {"", NULL, ERR_NOT_FOUND, false},
	        {"   ", NULL, ERR_NOT_FOUND, false},
	        {"\t\r", NULL, ERR_NOT_FOUND, false},
	        {"# 1.2.3.4", NULL, ERR_NOT_FOUND, false},
	        {"  # 1.2.3.4", NULL, ERR_NOT_FOUND, false},
	        {"; Spamhaus DROP List 2026/11/22", NULL, ERR_NOT_FOUND, false},
	        {"\t1.2.3.4", NULL, ERR_SYNTAX, false},
	        {"mail.example.org", NULL, ERR_SYNTAX, false},
	        {"1and1.example.com", NULL, ERR_SYNTAX, false},
	        {"163.example.com", NULL, ERR_SYNTAX, false},
	        {"404 Not Found", NULL, ERR_SYNTAX, false},
	        {"<html><head>", NULL, ERR_SYNTAX, false},
	        {"1.2.3.256", NULL, ERR_SYNTAX, false},
	        {"1.2.3.4.5", NULL, ERR_SYNTAX, false},
	        {"1.2.3.", NULL, ERR_SYNTAX, false},
	        {"/24", NULL, ERR_SYNTAX, false},
	        {"-1.2.3.4", NULL, ERR_SYNTAX, false},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void ipv6_has_the_same_shapes(void **state)
{
	(void)state;
	static const struct row rows[] = {
	        {"2001:db8::/32", "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 0, false},
	        {"2001:db8::5/126 x", "2001:db8::4-2001:db8::7", 0, true},
	        {"2001:db8::5", "2001:db8::5-2001:db8::5", 0, false},
	        {"2001:db8::5/", "2001:db8::5-2001:db8::5", 0, false},
	        {"2001:db8::5 # x", "2001:db8::5-2001:db8::5", 0, false},
	        {"2001:db8::5-2001:db8::9", "2001:db8::5-2001:db8::9", 0, false},
	        {"2001:db8::5 - 2001:db8::9", "2001:db8::5-2001:db8::9", 0, false},
	        {"2001:db8::5 2001:db8::9", "2001:db8::5-2001:db8::5", 0, false},
	        {"2001:db8::5 - bad host", "2001:db8::5-2001:db8::5", 0, false},
	        {"2001:db8::9-2001:db8::5", NULL, ERR_RANGE, false},
	        {"2001:db8::/0", NULL, ERR_RANGE, false},
	        {"2001:db8::/129", NULL, ERR_RANGE, false},
	        {"2001:db8:: /32", NULL, ERR_SYNTAX, false},
	        {"2001:db8::5-1.2.3.4", "2001:db8::5-2001:db8::5", 0, false},
	        {"::1-::ffff:1.2.3.4", NULL, ERR_SYNTAX, false},
	        {"::ffff:1.2.3.4", "1.2.3.4-1.2.3.4", 0, false},
	        {"::ffff:1.2.3.0/120", "1.2.3.0-1.2.3.255", 0, false},
	        {"::ffff:0:0/96", NULL, ERR_RANGE, false},
	        {"12:34", NULL, ERR_SYNTAX, false},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

struct seen {
	size_t n_entries;
	size_t n_bad;
	unsigned bad_lines[4];
	int stop_with;
};

static int on_entry(void *ctx, const struct addr_range *range)
{
	struct seen *seen = ctx;
	assert_true(memcmp(&range->first, &range->last, sizeof range->first) <= 0);
	seen->n_entries++;
	return seen->stop_with;
}

static void on_bad(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	struct seen *seen = ctx;
	assert_true(line.len > 0);
	assert_non_null(reason);
	seen->bad_lines[seen->n_bad++] = line_no;
}

static void a_text_is_counted_and_its_bad_lines_are_told_by_number(void **state)
{
	(void)state;
	struct seen seen = {0};
	struct addrlist_figures figures;
	struct span text =
	        SPAN("# list\r\n1.2.3.4/24\r\n\r\nnonsense\r\n10.0.0.1-10.0.0.2\n9.9.9.9/"
	             "40\n2001:db8::1");
	assert_int_equal(addrlist_parse(text, on_entry, on_bad, &seen, &figures), 0);
	assert_int_equal(figures.n_entries, 3);
	assert_int_equal(seen.n_entries, 3);
	assert_int_equal(figures.n_masked, 1);
	assert_int_equal(figures.n_bad, 2);
	assert_int_equal(seen.bad_lines[0], 4);
	assert_int_equal(seen.bad_lines[1], 6);
	assert_int_equal(addrlist_parse(text, on_entry, NULL, &seen, &figures), 0);
}

/* What the lists that spamd.conf files name look like, as far as their comments and ends of lines.
 */
static void the_formats_that_are_published_load_without_a_bad_line(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t n_entries;
	} rows[] = {
	        /* traplists of bsdly and uatraps: one host a line, CR LF or not */
	        {"# Generated 2026-11-22\n#\n1.10.16.7\n1.11.69.2\n2001:db8::7\n", 3},
	        {"1.10.16.7\r\n1.11.69.2\r\n", 2},
	        /* DROP as a text, and its IPv6 twin */
	        {"; Spamhaus DROP List\n; Last-Modified: Sun\n1.10.16.0/20 ; SBL256894\n"
	         "1.19.0.0/16 ; SBL434604\n",
	         2},
	        {"; Spamhaus IPv6 DROP List\n2001:678:738::/48 ; SBL635837\n", 1},
	        /* nixspam as it was mirrored: columns filled with blanks */
	        {"1.2.3.4         \n101.0.40.88     \n", 2},
	        /* okean: ranges with a country behind them */
	        {"1.11.0.0 - 1.11.255.255 Korea\n1.16.0.0-1.19.255.255\n", 2},
	        /* rbldnsd */
	        {"192.0.2.0/24 listed since 2020-01-01\n192.0.2.9\t:2:spam\n", 2},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct seen seen = {0};
		struct addrlist_figures figures;
		assert_int_equal(addrlist_parse(span_of_str(rows[i].text), on_entry, on_bad, &seen,
		                                &figures),
		                 0);
		assert_int_equal(figures.n_bad, 0);
		assert_int_equal(figures.n_entries, rows[i].n_entries);
		assert_int_equal(figures.n_masked, 0);
	}
}

static void the_walk_ends_with_what_the_caller_says(void **state)
{
	(void)state;
	struct seen seen = {.stop_with = ERR_TOO_LONG};
	struct addrlist_figures figures;
	assert_int_equal(
	        addrlist_parse(SPAN("1.1.1.1\n2.2.2.2\n"), on_entry, NULL, &seen, &figures),
	        ERR_TOO_LONG);
	assert_int_equal(seen.n_entries, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_network_is_the_first_shape_and_its_host_bits_are_masked),
	        cmocka_unit_test(short_and_hex_forms_are_filled_with_zeros),
	        cmocka_unit_test(a_range_is_the_second_shape_and_needs_its_dash),
	        cmocka_unit_test(a_host_is_the_third_shape_and_the_rest_is_ignored),
	        cmocka_unit_test(what_is_no_entry_is_a_comment_or_a_bad_line),
	        cmocka_unit_test(ipv6_has_the_same_shapes),
	        cmocka_unit_test(a_text_is_counted_and_its_bad_lines_are_told_by_number),
	        cmocka_unit_test(the_formats_that_are_published_load_without_a_bad_line),
	        cmocka_unit_test(the_walk_ends_with_what_the_caller_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
