/* Addresses of both families. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/err.h"

static struct addr parsed(const char *text)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	return addr;
}

static void text_of_both_families_makes_the_round_trip(void **state)
{
	static const struct {
		const char *in;
		const char *out;
		bool is_v4;
	} rows[] = {
	        {"192.0.2.7", "192.0.2.7", true},
	        {"0.0.0.0", "0.0.0.0", true},
	        {"::ffff:192.0.2.7", "192.0.2.7", true},
	        {"2001:DB8:0:0::1", "2001:db8::1", false},
	        {"::", "::", false},
	        {"::1", "::1", false},
	        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
	         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false},
	};
	char text[ADDR_TEXT_MAX];
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct addr addr = parsed(rows[i].in);
		assert_string_equal(addr_format(&addr, text), rows[i].out);
		assert_int_equal(addr_is_v4(&addr), rows[i].is_v4);
	}
}

static void text_that_is_no_address_is_refused_and_changes_nothing(void **state)
{
	static const struct span rows[] = {
	        SPAN(""),
	        SPAN("192.0.2"),
	        SPAN("192.0.2.7 "),
	        SPAN(" 192.0.2.7"),
	        SPAN("192.0.2.256"),
	        SPAN("192.0.2.7/32"),
	        SPAN("192.0.2.7\0x"),
	        SPAN("1:2:3"),
	        SPAN("fe80::1%lo"),
	        SPAN("[::1]"),
	        SPAN("mail.example.org"),
	        SPAN("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2551"),
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct addr addr = parsed("192.0.2.1");
		struct addr before = addr;
		assert_int_equal(addr_parse(rows[i], &addr), ERR_SYNTAX);
		assert_true(addr_equal(&addr, &before));
	}
}

static void socket_addresses_keep_address_and_port(void **state)
{
	struct sockaddr_storage ss;
	struct addr v4 = parsed("192.0.2.7");
	struct addr v6 = parsed("2001:db8::7");
	struct addr back;
	(void)state;
	assert_int_equal(addr_to_sockaddr(&v4, 8025, &ss), sizeof(struct sockaddr_in));
	assert_int_equal(ss.ss_family, AF_INET);
	assert_int_equal(((struct sockaddr_in *)&ss)->sin_port, htons(8025));
	assert_int_equal(addr_from_sockaddr((struct sockaddr *)&ss, &back), 0);
	assert_true(addr_equal(&v4, &back));
	assert_int_equal(addr_to_sockaddr(&v6, 25, &ss), sizeof(struct sockaddr_in6));
	assert_int_equal(ss.ss_family, AF_INET6);
	assert_int_equal(addr_from_sockaddr((struct sockaddr *)&ss, &back), 0);
	assert_true(addr_equal(&v6, &back));
	ss.ss_family = AF_UNIX;
	assert_int_equal(addr_from_sockaddr((struct sockaddr *)&ss, &back), ERR_UNSUPPORTED);
}

static void v4_bytes_are_in_network_order(void **state)
{
	struct addr addr = parsed("1.2.3.4");
	struct addr back = addr_from_v4_be(htonl(0x01020304));
	(void)state;
	assert_int_equal(addr_v4_be(&addr), htonl(0x01020304));
	assert_true(addr_equal(&addr, &back));
}

static void hosts_are_grouped_by_prefix_in_v6_only(void **state)
{
	static const struct {
		const char *in;
		unsigned bits;
		const char *out;
	} rows[] = {
	        {"192.0.2.7", 64, "192.0.2.7"},
	        {"2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"},
	        {"2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"},
	        {"2001:db8:ffff:ffff::1", 52, "2001:db8:ffff:f000::"},
	        {"2001:db8:ffff:ffff::1", 47, "2001:db8:fffe::"},
	        {"2001:db8::1", 32, "2001:db8::"},
	        {"2001:db8::1", 0, "::"},
	};
	char text[ADDR_TEXT_MAX];
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct addr addr = parsed(rows[i].in);
		struct addr group = addr_group(&addr, rows[i].bits);
		assert_string_equal(addr_format(&group, text), rows[i].out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(text_of_both_families_makes_the_round_trip),
	        cmocka_unit_test(text_that_is_no_address_is_refused_and_changes_nothing),
	        cmocka_unit_test(socket_addresses_keep_address_and_port),
	        cmocka_unit_test(v4_bytes_are_in_network_order),
	        cmocka_unit_test(hosts_are_grouped_by_prefix_in_v6_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
