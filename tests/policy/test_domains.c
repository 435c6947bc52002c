/* Allowed domains and the form in which recipients are compared. */
#include "policy/domains.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/trap.h"

static const struct {
	const char *in;
	const char *normal;
	bool is_trap;
} forms[] = {
        {"<User@Example.COM>", "user@example.com", true},
        {"user@example.com", "user@example.com", true},
        {"<<a@b>>", "<a@b>", true},
        {"<>", "", false},
        {"", "", false},
        {"postmaster", "postmaster", false},
        {"a b@c", "a b@c", false},
        {"a\t@c", "a\t@c", false},
};

static void a_recipient_is_compared_in_lower_case_without_brackets(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		uint8_t buf[TRAP_ADDRESS_MAX];
		struct span normal = trap_address_normalise(span_of_str(forms[i].in), buf);
		assert_true(span_equal(normal, span_of_str(forms[i].normal)));
		assert_int_equal(trap_address_is_valid(normal), forms[i].is_trap);
	}
}

static void a_recipient_is_cut_at_its_bound(void **state)
{
	(void)state;
	uint8_t long_one[TRAP_ADDRESS_MAX + 10];
	uint8_t buf[TRAP_ADDRESS_MAX];
	memset(long_one, 'A', sizeof long_one);
	struct span normal = trap_address_normalise(span_of(long_one, sizeof long_one), buf);
	assert_int_equal(normal.len, TRAP_ADDRESS_MAX);
	assert_int_equal(normal.ptr[TRAP_ADDRESS_MAX - 1], 'a');
}

static void every_byte_at_every_place_is_lowered_if_it_is_an_upper_case_letter(void **state)
{
	(void)state;
	for (unsigned c = 0; c <= UINT8_MAX; c++) {
		for (size_t at = 1; at < 19; at++) {
			uint8_t in[20];
			uint8_t buf[TRAP_ADDRESS_MAX];
			memset(in, '@', sizeof in);
			in[at] = (uint8_t)c;
			struct span normal = trap_address_normalise(span_of(in, sizeof in), buf);
			in[at] = c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : (uint8_t)c;
			assert_true(span_equal(normal, span_of(in, sizeof in)));
		}
	}
}

struct complaints {
	size_t n;
	unsigned lines[8];
};

static void note_bad(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	struct complaints *bad = ctx;
	assert_true(line.len > 0 && reason[0] != '\0');
	bad->lines[bad->n++] = line_no;
}

static struct domains *domains_of(const char *text, struct complaints *bad)
{
	struct domains *domains;
	*bad = (struct complaints){0};
	assert_int_equal(domains_parse(span_of_str(text), note_bad, bad, &domains), 0);
	return domains;
}

static void an_entry_begins_at_a_dot_or_at_the_at_sign(void **state)
{
	(void)state;
	static const struct {
		const char *file;
		const char *address;
		bool is_allowed;
	} rows[] = {
	        {"example.com", "u@example.com", true},
	        {"example.com", "u@mx.example.com", true},
	        {"example.com", "u@a.b.example.com", true},
	        {"example.com", "u@notexample.com", false},
	        {"example.com", "u@example.com.evil.org", false},
	        {"example.com", "u@example.co", false},
	        {"example.com", "example.com@evil.org", false},
	        {".example.com", "u@mx.example.com", true},
	        {".example.com", "u@example.com", false},
	        {".example.com", "u@x.notexample.com", false},
	        {"@example.com", "u@example.com", true},
	        {"@example.com", "u@mx.example.com", false},
	        {"u@example.com", "u@example.com", true},
	        {"u@example.com", "xu@example.com", false},
	        {"u@example.com", "u@mx.example.com", false},
	        {"Example.COM\r\n", "u@example.com", true},
	        {"  \texample.com  ", "u@example.com", true},
	        {"example.com", "postmaster", false},
	        {"postmaster", "postmaster", true},
	        {"example.com", "", false},
	        {"z.org\nexample.com\na.net\nexample.com", "u@example.com", true},
	        {"z.org\nexample.net\na.net", "u@example.com", false},
	        {"example.com", "\"a@evil.org\"@example.com", true},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct complaints bad;
		struct domains *domains = domains_of(rows[i].file, &bad);
		assert_int_equal(bad.n, 0);
		if (domains_allow(domains, span_of_str(rows[i].address)) != rows[i].is_allowed) {
			fail_msg("\"%s\": %s", rows[i].file, rows[i].address);
		}
		domains_free(domains);
	}
}

static void without_entries_everything_is_allowed(void **state)
{
	(void)state;
	struct complaints bad;
	struct domains *domains = domains_of("# nothing\n\n", &bad);
	assert_int_equal(domains_count(domains), 0);
	assert_true(domains_allow(domains, SPAN("u@example.com")));
	assert_true(domains_allow(NULL, SPAN("u@example.com")));
	assert_int_equal(domains_count(NULL), 0);
	domains_free(domains);
	domains_free(NULL);
}

static void bad_lines_are_told_and_the_rest_is_loaded(void **state)
{
	(void)state;
	struct complaints bad;
	struct domains *domains =
	        domains_of("# c\nexample.com\nexample.com # mine\n.\nu@\n@\nexample.org\n"
	                   "example.org\n",
	                   &bad);
	assert_int_equal(bad.n, 4);
	assert_int_equal(bad.lines[0], 3);
	assert_int_equal(bad.lines[1], 4);
	assert_int_equal(bad.lines[2], 5);
	assert_int_equal(bad.lines[3], 6);
	assert_int_equal(domains_count(domains), 2);
	domains_free(domains);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_recipient_is_compared_in_lower_case_without_brackets),
	        cmocka_unit_test(a_recipient_is_cut_at_its_bound),
	        cmocka_unit_test(
	                every_byte_at_every_place_is_lowered_if_it_is_an_upper_case_letter),
	        cmocka_unit_test(an_entry_begins_at_a_dot_or_at_the_at_sign),
	        cmocka_unit_test(without_entries_everything_is_allowed),
	        cmocka_unit_test(bad_lines_are_told_and_the_rest_is_loaded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
