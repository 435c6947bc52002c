/* The words of the request `why`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/err.h"
#include "mired/why_query.h"

static void addresses_and_mails_are_taken(void **state)
{
	(void)state;
	static const struct {
		const char *args;
		const char *addr;
		bool has_mail;
		const char *sender;
		const char *recipient;
	} rows[] = {
	        {"192.0.2.1", "192.0.2.1", false, "", ""},
	        {"  2001:db8::1  ", "2001:db8::1", false, "", ""},
	        {"::ffff:192.0.2.1", "192.0.2.1", false, "", ""},
	        {"192.0.2.1 a@b c@d", "192.0.2.1", true, "a@b", "c@d"},
	        {"192.0.2.1 <> <c@d>", "192.0.2.1", true, "<>", "<c@d>"},
	        {"192.0.2.1  <\"a b\"@c>  <d e@f> ", "192.0.2.1", true, "<\"a b\"@c>", "<d e@f>"},
	        {"192.0.2.1 <\"a>b\"@c> d@e", "192.0.2.1", true, "<\"a>b\"@c>", "d@e"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char why[WHY_QUERY_ERROR_MAX] = "";
		char ip[ADDR_TEXT_MAX];
		struct why_query query;
		if (why_query_parse(span_of_str(rows[i].args), &query, why) != 0) {
			fail_msg("%s: %s", rows[i].args, why);
		}
		assert_string_equal(addr_format(&query.addr, ip), rows[i].addr);
		assert_int_equal(query.has_mail, rows[i].has_mail);
		assert_true(span_equal(query.sender, span_of_str(rows[i].sender)));
		assert_true(span_equal(query.recipient, span_of_str(rows[i].recipient)));
	}
}

static void what_is_wrong_is_said(void **state)
{
	(void)state;
	static const struct {
		const char *args;
		const char *why;
	} rows[] = {
	        {"", "why needs an IP address"},
	        {"   ", "why needs an IP address"},
	        {"192.0.2.0/24", "192.0.2.0/24 is a network: ask for one address of it"},
	        {"mail.example", "mail.example is no IP address (names are not looked up)"},
	        {"192.0.2.256", "192.0.2.256 is no IP address (names are not looked up)"},
	        {"192.0.2.1 a@b", "a@b is a sender without a recipient"},
	        {"192.0.2.1 <a@b c@d", "<a@b c@d is a sender without a recipient"},
	        {"192.0.2.1 a@b c@d e@f", "e@f is too much: put an address with blanks into <>"},
	        {"192.0.2.1 a@b <c@d> \\", "\\x5c is too much: put an address with blanks into <>"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char why[WHY_QUERY_ERROR_MAX] = "";
		struct why_query query = {.has_mail = true};
		assert_int_equal(why_query_parse(span_of_str(rows[i].args), &query, why),
		                 ERR_SYNTAX);
		assert_string_equal(why, rows[i].why);
		assert_true(query.has_mail); /* untouched */
	}
}

static void a_long_wrong_word_is_cut(void **state)
{
	char args[2000];
	char why[WHY_QUERY_ERROR_MAX];
	struct why_query query;
	(void)state;
	memset(args, 'x', sizeof args);
	assert_int_equal(why_query_parse(span_of(args, sizeof args), &query, why), ERR_SYNTAX);
	assert_non_null(strstr(why, " is no IP address (names are not looked up)"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(addresses_and_mails_are_taken),
	        cmocka_unit_test(what_is_wrong_is_said),
	        cmocka_unit_test(a_long_wrong_word_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
