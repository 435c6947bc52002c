/* Networks: parsing, lists with bad lines, and joining into ranges. */
#include "policy/cidr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static struct cidr must_parse(const char *text)
{
	struct cidr cidr;
	assert_int_equal(cidr_parse(span_of_str(text), &cidr, NULL), 0);
	return cidr;
}

static const char *range_text(const struct addr_range *range, char buf[static 100])
{
	char first[ADDR_TEXT_MAX];
	char last[ADDR_TEXT_MAX];
	(void)snprintf(buf, 100, "%s-%s", addr_format(&range->first, first),
	               addr_format(&range->last, last));
	return buf;
}

static void a_network_is_read_and_covers_its_range(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned bits;
		const char *range;
	} rows[] = {
	        {"192.0.2.7", 128, "192.0.2.7-192.0.2.7"},
	        {"192.0.2.0/24", 120, "192.0.2.0-192.0.2.255"},
	        {"192.0.2.130/25", 121, "192.0.2.128-192.0.2.255"},
	        {"10.1.2.3/1", 97, "0.0.0.0-127.255.255.255"},
	        {"2001:db8::/32", 32, "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},
	        {"2001:db8::5", 128, "2001:db8::5-2001:db8::5"},
	        {"::ffff:192.0.2.9/120", 120, "192.0.2.0-192.0.2.255"},
	        {"8000::/1", 1, "8000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[100];
		struct cidr cidr = must_parse(rows[i].text);
		assert_int_equal(cidr.bits, rows[i].bits);
		struct addr_range range = cidr_range(&cidr);
		assert_string_equal(range_text(&range, text), rows[i].range);
	}
}

static void host_bits_are_cut_and_reported(void **state)
{
	(void)state;
	struct cidr cidr;
	bool had_host_bits;
	assert_int_equal(cidr_parse(SPAN("192.0.2.7/24"), &cidr, &had_host_bits), 0);
	assert_true(had_host_bits);
	assert_int_equal(cidr_parse(SPAN("192.0.2.0/24"), &cidr, &had_host_bits), 0);
	assert_false(had_host_bits);
}

static void a_bad_network_is_refused_and_leaves_the_result_alone(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int code;
	} rows[] = {
	        {"0.0.0.0/0", ERR_RANGE},
	        {"::/0", ERR_RANGE},
	        {"1.2.3.4/33", ERR_RANGE},
	        {"::1/129", ERR_RANGE},
	        {"::ffff:0:0/96", ERR_RANGE},
	        {"1.2.3.4/", ERR_SYNTAX},
	        {"1.2.3.4/x", ERR_SYNTAX},
	        {"1.2.3.4/-1", ERR_SYNTAX},
	        {"1.2.3/24", ERR_SYNTAX},
	        {"1.2.3.4/24/8", ERR_SYNTAX},
	        {"", ERR_SYNTAX},
	        {"/24", ERR_SYNTAX},
	        {"mail.example.org", ERR_SYNTAX},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct cidr cidr = {.bits = 77};
		assert_int_equal(cidr_parse(span_of_str(rows[i].text), &cidr, NULL), rows[i].code);
		assert_int_equal(cidr.bits, 77);
	}
}

struct complaints {
	unsigned n;
	unsigned lines[8];
	char texts[8][40];
	const char *reasons[8];
};

static void note_bad(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	struct complaints *bad = ctx;
	assert_true(bad->n < ARRAY_LEN(bad->lines));
	bad->lines[bad->n] = line_no;
	bad->reasons[bad->n] = reason;
	(void)span_escape(line, bad->texts[bad->n], sizeof bad->texts[0]);
	bad->n++;
}

static void a_list_keeps_the_good_lines_and_reports_the_bad_ones(void **state)
{
	(void)state;
	struct cidr out[8];
	struct complaints bad = {0};
	struct span text = SPAN("# friends\n"
	                        "192.0.2.7\r\n"
	                        "\n"
	                        "  192.0.2.0/24   # their net\n"
	                        "192.0.2.300\n"
	                        "10.0.0.0/40 # too long\n"
	                        "1.2.3.4 5.6.7.8\n"
	                        "2001:db8::/32");
	assert_int_equal(cidr_parse_list(text, out, ARRAY_LEN(out), note_bad, &bad), 3);
	assert_int_equal(out[1].bits, 120);
	assert_int_equal(out[2].bits, 32);
	assert_int_equal(bad.n, 3);
	assert_int_equal(bad.lines[0], 5);
	assert_string_equal(bad.texts[0], "192.0.2.300");
	assert_string_equal(bad.reasons[0], "neither an address nor a network");
	assert_int_equal(bad.lines[1], 6);
	assert_string_equal(bad.reasons[1], "prefix length out of range");
	assert_string_equal(bad.texts[1], "10.0.0.0/40 # too long");
	assert_int_equal(bad.lines[2], 7);
}

static void a_list_longer_than_its_bound_is_an_error(void **state)
{
	(void)state;
	struct cidr out[2];
	struct complaints bad = {0};
	assert_int_equal(cidr_parse_list(SPAN("1.1.1.1\n2.2.2.2\n"), out, 2, note_bad, &bad), 2);
	assert_int_equal(cidr_parse_list(SPAN("1.1.1.1\n2.2.2.2\n3.3.3.3"), out, 2, note_bad, &bad),
	                 ERR_TOO_LONG);
	assert_int_equal(bad.n, 0);
}

static void an_empty_list_has_no_entries(void **state)
{
	(void)state;
	struct cidr out[1];
	assert_int_equal(cidr_parse_list(SPAN(""), out, 1, note_bad, NULL), 0);
	assert_int_equal(cidr_parse_list(SPAN("\n#\n \t\n"), out, 1, note_bad, NULL), 0);
	assert_int_equal(cidr_collapse(out, 0, NULL), 0);
}

static void overlapping_and_touching_networks_become_one_range(void **state)
{
	(void)state;
	static const char *const in[] = {
	        "192.0.3.0/24", "10.0.0.0/8",         "192.0.2.0/24", "2001:db8:1::/48",
	        "10.9.0.0/16",  "192.0.2.7",          "10.0.0.0/8",   "2001:db8::/48",
	        "192.0.5.0/24", "255.255.255.254/31", "::/1",         "8000::/1",
	};
	static const char *const want[] = {
	        "10.0.0.0-10.255.255.255",
	        "192.0.2.0-192.0.3.255",
	        "192.0.5.0-192.0.5.255",
	        "255.255.255.254-255.255.255.255",
	        "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	};
	struct cidr cidrs[ARRAY_LEN(in)];
	struct addr_range ranges[ARRAY_LEN(in)];
	for (size_t i = 0; i < ARRAY_LEN(in); i++) {
		cidrs[i] = must_parse(in[i]);
	}
	assert_int_equal(cidr_collapse(cidrs, ARRAY_LEN(in), ranges), ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		char text[100];
		assert_string_equal(range_text(&ranges[i], text), want[i]);
	}
}

static void the_last_address_does_not_touch_the_first(void **state)
{
	(void)state;
	struct cidr cidrs[2] = {must_parse("255.255.255.255"), must_parse("0.0.0.0")};
	struct addr_range ranges[2];
	assert_int_equal(cidr_collapse(cidrs, 2, ranges), 2);
	struct cidr v6[2] = {must_parse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
	                     must_parse("::")};
	assert_int_equal(cidr_collapse(v6, 2, ranges), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_network_is_read_and_covers_its_range),
	        cmocka_unit_test(host_bits_are_cut_and_reported),
	        cmocka_unit_test(a_bad_network_is_refused_and_leaves_the_result_alone),
	        cmocka_unit_test(a_list_keeps_the_good_lines_and_reports_the_bad_ones),
	        cmocka_unit_test(a_list_longer_than_its_bound_is_an_error),
	        cmocka_unit_test(an_empty_list_has_no_entries),
	        cmocka_unit_test(overlapping_and_touching_networks_become_one_range),
	        cmocka_unit_test(the_last_address_does_not_touch_the_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
