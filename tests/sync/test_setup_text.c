/* A setup on its way to a role: as text and back. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "sync/setup.h"

#define KEY  "key 5abc7b1e899f757f9891c65c481e8b4716abc4e1\n"
#define HEAD KEY "port 8025\ninterface 192.0.2.1\ngroup yes\nreceive no\n"

static void a_setup_reads_as_it_is_written(void **state)
{
	struct sync_setup setup;
	char text[SYNC_SETUP_TEXT_MAX];
	(void)state;
	assert_int_equal(
	        sync_setup_parse(SPAN(HEAD "peer 192.0.2.2 mx2\npeer 198.51.100.3 198.51.100.3\n"),
	                         &setup),
	        0);
	assert_string_equal(setup.key.text, "5abc7b1e899f757f9891c65c481e8b4716abc4e1");
	assert_false(setup.key.is_empty);
	assert_int_equal(setup.port, 8025);
	assert_int_equal(setup.interface_be, inet_addr("192.0.2.1"));
	assert_true(setup.has_group);
	assert_false(setup.must_receive);
	assert_int_equal(setup.n_peers, 2);
	assert_int_equal(setup.peers[0].addr_be, inet_addr("192.0.2.2"));
	assert_string_equal(setup.peers[0].name, "mx2");
	assert_string_equal(setup.peers[1].name, "198.51.100.3");
	assert_int_equal(sync_setup_print(&setup, text), 0);
	assert_string_equal(text, HEAD "peer 192.0.2.2 mx2\npeer 198.51.100.3 198.51.100.3\n");
}

static void the_empty_key_is_a_dash(void **state)
{
	static const char empty[] = "key -\nport 65535\ninterface 0.0.0.0\ngroup no\nreceive yes\n";
	struct sync_setup setup;
	char text[SYNC_SETUP_TEXT_MAX];
	(void)state;
	assert_int_equal(sync_setup_parse(span_of_str(empty), &setup), 0);
	assert_true(setup.key.is_empty);
	assert_string_equal(setup.key.text, "");
	assert_true(setup.must_receive);
	assert_int_equal(sync_setup_print(&setup, text), 0);
	assert_string_equal(text, empty);
}

static void the_largest_setup_fits(void **state)
{
	struct sync_setup setup = {.port = 65535, .interface_be = 0xffffffff};
	struct sync_setup again;
	char text[SYNC_SETUP_TEXT_MAX];
	(void)state;
	setup.key = sync_key_of(SPAN("x"));
	setup.n_peers = CONF_SYNC_PEERS_MAX;
	for (size_t i = 0; i < setup.n_peers; i++) {
		setup.peers[i].addr_be = 0xffffffff;
		memset(setup.peers[i].name, 'n', SYNC_NAME_MAX - 1);
	}
	assert_int_equal(sync_setup_print(&setup, text), 0);
	assert_int_equal(sync_setup_parse(span_of_str(text), &again), 0);
	assert_int_equal(again.n_peers, CONF_SYNC_PEERS_MAX);
	assert_string_equal(again.peers[CONF_SYNC_PEERS_MAX - 1].name, setup.peers[0].name);
	size_t len = strlen(text);
	(void)snprintf(text + len, sizeof text - len, "peer 192.0.2.2 one-more\n");
	assert_int_equal(sync_setup_parse(span_of_str(text), &again), ERR_TOO_LONG);
}

static void what_is_not_a_setup_changes_nothing(void **state)
{
	static const struct {
		const char *text;
	} rows[] = {
	        {""},
	        {"\n"},
	        {KEY},
	        {HEAD "peer 192.0.2.2 mx2"}, /* a line without end */
	        {HEAD "peer 192.0.2.2\n"},
	        {HEAD "peer 192.0.2.2 a b\n"},
	        {HEAD "peer 192.0.2.2 a\x01\n"},
	        {HEAD "peer 2001:db8::2 a\n"},
	        {HEAD "peer  192.0.2.2 a\n"},
	        {HEAD "\n"},
	        {HEAD "more 1\n"},
	        {"key 5abc\nport 1\ninterface 0.0.0.0\ngroup no\nreceive no\n"},
	        {"key 5ABC7B1E899F757F9891C65C481E8B4716ABC4E1\nport 1\ninterface 0.0.0.0\n"
	         "group no\nreceive no\n"},
	        {"key 5abc7b1e899f757f9891c65c481e8b4716abc4e1a\nport 1\ninterface 0.0.0.0\n"
	         "group no\nreceive no\n"},
	        {KEY "port 65536\ninterface 0.0.0.0\ngroup no\nreceive no\n"},
	        {KEY "port 1\ninterface eth0\ngroup no\nreceive no\n"},
	        {KEY "port 1\ninterface 0.0.0.0\ngroup maybe\nreceive no\n"},
	        {KEY "port 1\ninterface 0.0.0.0\nreceive no\ngroup no\n"},
	};
	static char large[SYNC_SETUP_TEXT_MAX + 1];
	struct sync_setup setup = {.n_peers = 7};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(sync_setup_parse(span_of_str(rows[i].text), &setup), ERR_SYNTAX);
		assert_int_equal(setup.n_peers, 7);
	}
	assert_int_equal(sync_setup_parse(span_of(large, sizeof large), &setup), ERR_TOO_LONG);
	assert_int_equal(setup.n_peers, 7);
}

static void names_that_do_not_fit_are_refused(void **state)
{
	struct sync_setup setup;
	char text[512];
	(void)state;
	for (int len = SYNC_NAME_MAX - 1; len <= SYNC_NAME_MAX; len++) {
		(void)snprintf(text, sizeof text, HEAD "peer 192.0.2.2 %0*d\n", len, 0);
		assert_int_equal(sync_setup_parse(span_of_str(text), &setup),
		                 len < SYNC_NAME_MAX ? 0 : ERR_SYNTAX);
	}
	assert_int_equal(strlen(setup.peers[0].name), SYNC_NAME_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_setup_reads_as_it_is_written),
	        cmocka_unit_test(the_empty_key_is_a_dash),
	        cmocka_unit_test(the_largest_setup_fits),
	        cmocka_unit_test(what_is_not_a_setup_changes_nothing),
	        cmocka_unit_test(names_that_do_not_fit_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
