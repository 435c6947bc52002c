/* Addresses out of logged packets: real headers, cut ones, and what is no mail server's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "mired-logd/packet.h"

/* 192.0.2.1 -> 198.51.100.25, a TCP SYN; the TCP header is cut off behind the ports */
static const uint8_t tcp4[] = {0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00,
                               0x40, 0x06, 0xb1, 0xe6, 192,  0,    2,    1,
                               198,  51,   100,  25,   0x9c, 0x40, 0x00, 0x19};
/* 2001:db8::1 -> 2001:db8:1::25 */
static const uint8_t tcp6[] = {0x60, 0, 0, 0, 0, 20, 6, 64, 0x20, 0x01, 0x0d, 0xb8, 0,    0,
                               0,    0, 0, 0, 0, 0,  0, 0,  0,    1,    0x20, 0x01, 0x0d, 0xb8,
                               0,    1, 0, 0, 0, 0,  0, 0,  0,    0,    0,    0x25};

struct edit {
	size_t at;
	uint8_t value;
};

static int peer_of(const uint8_t *bytes, size_t len, struct edit edit, bool is_outbound,
                   char text[static ADDR_TEXT_MAX])
{
	uint8_t copy[64];
	struct addr addr;
	memcpy(copy, bytes, len);
	if (edit.at < len) {
		copy[edit.at] = edit.value;
	}
	text[0] = '\0';
	int ret = packet_peer(span_of(copy, len), is_outbound, &addr);
	if (ret == 0) {
		(void)addr_format(&addr, text);
	}
	return ret;
}

static const struct edit none = {SIZE_MAX, 0};

static void inbound_is_the_source_and_outbound_the_destination(void **state)
{
	(void)state;
	char text[ADDR_TEXT_MAX];
	assert_int_equal(peer_of(tcp4, sizeof tcp4, none, false, text), 0);
	assert_string_equal(text, "192.0.2.1");
	assert_int_equal(peer_of(tcp4, sizeof tcp4, none, true, text), 0);
	assert_string_equal(text, "198.51.100.25");
	assert_int_equal(peer_of(tcp6, sizeof tcp6, none, false, text), 0);
	assert_string_equal(text, "2001:db8::1");
	assert_int_equal(peer_of(tcp6, sizeof tcp6, none, true, text), 0);
	assert_string_equal(text, "2001:db8:1::25");
}

static void a_packet_cut_inside_its_header_is_refused(void **state)
{
	(void)state;
	char text[ADDR_TEXT_MAX];
	for (size_t len = 0; len < 20; len++) {
		assert_int_equal(peer_of(tcp4, len, none, false, text), ERR_TRUNCATED);
	}
	assert_int_equal(peer_of(tcp4, 20, none, false, text), 0);
	for (size_t len = 1; len < 40; len++) {
		assert_int_equal(peer_of(tcp6, len, none, true, text), ERR_TRUNCATED);
	}
	assert_int_equal(peer_of(tcp6, 40, none, true, text), 0);
}

static void what_is_not_tcp_or_not_ip_is_refused(void **state)
{
	(void)state;
	static const struct {
		bool is_v6;
		struct edit edit;
		int ret;
	} rows[] = {
	        {false, {9, 17}, ERR_UNSUPPORTED}, /* UDP */
	        {false, {9, 1}, ERR_UNSUPPORTED},  /* ICMP */
	        {false, {0, 0x55}, ERR_SYNTAX},    /* version 5 */
	        {true, {6, 17}, ERR_UNSUPPORTED},
	        {true, {6, 58}, ERR_UNSUPPORTED},
	        {true, {6, 0}, 0},  /* hop-by-hop options: TCP may follow */
	        {true, {6, 44}, 0}, /* fragment */
	        {true, {6, 60}, 0}, /* destination options */
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[ADDR_TEXT_MAX];
		const uint8_t *bytes = rows[i].is_v6 ? tcp6 : tcp4;
		size_t len = rows[i].is_v6 ? sizeof tcp6 : sizeof tcp4;
		assert_int_equal(peer_of(bytes, len, rows[i].edit, false, text), rows[i].ret);
	}
}

static void addresses_of_no_host_are_refused(void **state)
{
	(void)state;
	static const uint8_t firsts[] = {0, 127, 224, 239, 255};
	char text[ADDR_TEXT_MAX];
	for (size_t i = 0; i < sizeof firsts; i++) {
		assert_int_equal(
		        peer_of(tcp4, sizeof tcp4, (struct edit){12, firsts[i]}, false, text),
		        ERR_SYNTAX);
	}
	assert_int_equal(peer_of(tcp4, sizeof tcp4, (struct edit){12, 223}, false, text), 0);
	assert_int_equal(peer_of(tcp6, sizeof tcp6, (struct edit){8, 0xff}, false, text),
	                 ERR_SYNTAX);
	uint8_t nobody[sizeof tcp6];
	memcpy(nobody, tcp6, sizeof nobody);
	memset(nobody + 8, 0, 15);
	assert_int_equal(peer_of(nobody, sizeof nobody, none, false, text), ERR_SYNTAX); /* ::1 */
	assert_int_equal(peer_of(nobody, sizeof nobody, (struct edit){23, 0}, false, text),
	                 ERR_SYNTAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(inbound_is_the_source_and_outbound_the_destination),
	        cmocka_unit_test(a_packet_cut_inside_its_header_is_refused),
	        cmocka_unit_test(what_is_not_tcp_or_not_ip_is_refused),
	        cmocka_unit_test(addresses_of_no_host_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
