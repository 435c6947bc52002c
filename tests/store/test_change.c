/* Changes: their grammar, and what each does to the store and says it did. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>

#include "change_fixture.h"

/* --- grammar ---------------------------------------------------------------------------------- */

static void lines_are_read(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		enum change_kind kind;
		const char *addr; /* NULL: none */
		const char *recipient;
	} rows[] = {
	        {"white 192.0.2.1", CHANGE_WHITE, "192.0.2.1", ""},
	        {"trapped 2001:db8::1", CHANGE_TRAPPED, "2001:db8::1", ""},
	        {"spamtrap Trap@Example.org", CHANGE_SPAMTRAP, NULL, "trap@example.org"},
	        {"spamtrap <trap@example.org>", CHANGE_SPAMTRAP, NULL, "trap@example.org"},
	        {"delete 192.0.2.1", CHANGE_DELETE, "192.0.2.1", ""},
	        {"delete Trap@example.org", CHANGE_DELETE, NULL, "trap@example.org"},
	        {"delete what ever", CHANGE_DELETE, NULL, "what ever"},
	        {"delete-grey 192.0.2.1", CHANGE_DELETE_GREY, "192.0.2.1", ""},
	        {"put TRAPPED|192.0.2.1|77", CHANGE_PUT, "192.0.2.1", ""},
	        {"put SPAMTRAP|a@c", CHANGE_PUT, NULL, "a@c"},
	        {"merge -TRAPPED|192.0.2.1|1|2|3|4|5|6", CHANGE_MERGE, "192.0.2.1", ""},
	        {"merge +SPAMTRAP|a@c|1|2", CHANGE_MERGE, NULL, "a@c"},
	        {"seen in 192.0.2.1 5 3600", CHANGE_SEEN, "192.0.2.1", ""},
	        {"seen out 192.0.2.1 1 315360000", CHANGE_SEEN, "192.0.2.1", ""},
	};
	uint8_t buf[CHANGE_TEXT_BYTES];
	char why[CHANGE_WHY_MAX];
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct change change;
		char addr[ADDR_TEXT_MAX];
		int ret = change_parse(span_of_str(rows[i].line), buf, &change, why);
		assert_int_equal(ret, 0);
		assert_int_equal(change.kind, rows[i].kind);
		assert_int_equal(change.has_addr, rows[i].addr != NULL);
		if (rows[i].addr) {
			assert_string_equal(addr_format(&change.addr, addr), rows[i].addr);
		}
		assert_true(span_equal(change.text.recipient, span_of_str(rows[i].recipient)));
	}
}

static void numbers_and_records_are_carried(void **state)
{
	(void)state;
	uint8_t buf[CHANGE_TEXT_BYTES];
	char why[CHANGE_WHY_MAX];
	struct change change;
	assert_int_equal(change_parse(SPAN("seen out 192.0.2.1 5 3600"), buf, &change, why), 0);
	assert_int_equal(change.count, 5);
	assert_int_equal(change.life_secs, 3600);
	assert_true(change.is_outbound);
	assert_int_equal(change_parse(SPAN("put GREY|192.0.2.1|h\\x0a|<a b@c>|<d@e>|1|2|3|4|5"),
	                              buf, &change, why),
	                 0);
	assert_int_equal(change.record_kind, RECORD_GREY);
	assert_int_equal(change.record.bcount, 4);
	assert_true(span_equal(change.text.helo, SPAN("h\n")));
	assert_true(span_equal(change.text.sender, SPAN("<a b@c>")));
}

static void bad_lines_say_why_in_spamdbs_words(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		int code;
		const char *why;
	} rows[] = {
	        // clang-format off
		{"", ERR_SYNTAX, "no such change: "},
		{"black 192.0.2.1", ERR_SYNTAX, "no such change: black"},
		{"WHITE 192.0.2.1", ERR_SYNTAX, "no such change: WHITE"},
		{"white", ERR_SYNTAX, "invalid ip address "},
		{"white example.org", ERR_SYNTAX, "invalid ip address example.org"},
		{"white 192.0.2.1 x", ERR_SYNTAX, "too many words: x"},
		{"white  192.0.2.1", ERR_SYNTAX, "invalid ip address "},
		{"spamtrap nobody", ERR_SYNTAX, "not an email address: nobody"},
		{"spamtrap <<a@b>", ERR_SYNTAX, "not an email address: <<a@b>"},
		{"spamtrap a b@c", ERR_SYNTAX, "not an email address: a b@c"},
		{"delete ", ERR_SYNTAX, "no key"},
		{"put SPAMTRAP|a b@c", ERR_SYNTAX, "not an email address: a b@c"},
		{"put x", ERR_SYNTAX, "no kind of record: x"},
		{"put DOMAIN|example.org", ERR_UNSUPPORTED,
		 "a DOMAIN belongs into the file of allowed domains"},
		{"put +SPAMTRAP|a@c|1|2", ERR_SYNTAX, "a record for import --merge"},
		{"merge SPAMTRAP|a@c", ERR_SYNTAX, "neither + nor - at its head"},
		{"seen up 192.0.2.1 1 1", ERR_SYNTAX, "neither in nor out: up"},
		{"seen in 192.0.2.1 0 1", ERR_RANGE, "number out of range: 0"},
		{"seen in 192.0.2.1 1 315360001", ERR_RANGE, "number out of range: 315360001"},
		{"seen in 192.0.2.1 1", ERR_SYNTAX, "not a number: "},
	        // clang-format on
	};
	uint8_t buf[CHANGE_TEXT_BYTES];
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct change change;
		char why[CHANGE_WHY_MAX];
		int ret = change_parse(span_of_str(rows[i].line), buf, &change, why);
		assert_int_equal(ret, rows[i].code);
		assert_string_equal(why, rows[i].why);
	}
}

static void lines_and_mailboxes_have_a_bound(void **state)
{
	(void)state;
	static char line[CHANGE_LINE_MAX + 64];
	uint8_t buf[CHANGE_TEXT_BYTES];
	char why[CHANGE_WHY_MAX];
	struct change change;
	int len = snprintf(line, sizeof line, "spamtrap a@%01100d", 1);
	assert_int_equal(change_parse(span_of(line, (size_t)len), buf, &change, why), ERR_TOO_LONG);
	memset(line, 'a', sizeof line);
	assert_int_equal(change_parse(span_of(line, sizeof line), buf, &change, why), ERR_TOO_LONG);
}

/* --- what they do ----------------------------------------------------------------------------- */

static void a_white_host_is_added_renewed_and_deleted(void **state)
{
	struct store *store = fixture_open(*state);
	struct change_effect effect = apply(store, "white 192.0.2.1");
	assert_int_equal(effect.ret, 0);
	assert_true(effect.has_host && effect.is_white_now && !effect.is_trapped_now);
	assert_int_equal(effect.expire.secs, NOW + 36 * 86400);
	assert_string_equal(listing(store), "WHITE|192.0.2.1|||1000000|1000000|4110400|1|0\n");
	(void)apply_at(store, "white 192.0.2.1", NOW + 10);
	assert_string_equal(listing(store), "WHITE|192.0.2.1|||1000000|1000010|4110410|1|1\n");
	effect = apply(store, "delete 192.0.2.1");
	assert_int_equal(effect.ret, 0);
	assert_true(effect.has_host && !effect.is_white_now);
	assert_int_equal(effect.n_writes, 1);
	assert_string_equal(listing(store), "");
	effect = apply(store, "delete 192.0.2.1");
	assert_int_equal(effect.ret, ERR_NOT_FOUND);
	assert_int_equal(effect.n_writes, 0);
	store_close(store);
}

static void trapping_takes_the_white_register_and_back(void **state)
{
	struct store *store = fixture_open(*state);
	(void)apply(store, "white 192.0.2.1");
	struct change_effect effect = apply(store, "trapped 192.0.2.1");
	assert_true(effect.is_trapped_now && !effect.is_white_now);
	assert_int_equal(effect.n_writes, 2);
	assert_int_equal(effect.expire.secs, NOW + 86400);
	assert_string_equal(listing(store), "TRAPPED|192.0.2.1|1086400\n");
	effect = apply(store, "white 192.0.2.1");
	assert_true(!effect.is_trapped_now && effect.is_white_now);
	assert_string_equal(listing(store), "WHITE|192.0.2.1|||1000000|1000000|4110400|1|0\n");
	store_close(store);
}

static void ipv6_is_white_by_group_and_trapped_by_address(void **state)
{
	struct store *store = fixture_open(*state);
	struct change_effect effect = apply(store, "white 2001:db8::5");
	char text[ADDR_TEXT_MAX];
	assert_string_equal(addr_format(&effect.white_addr, text), "2001:db8::");
	assert_string_equal(addr_format(&effect.trapped_addr, text), "2001:db8::5");
	assert_string_equal(listing(store), "WHITE|2001:db8::|||1000000|1000000|4110400|1|0\n");
	(void)apply(store, "trapped 2001:db8::5");
	assert_string_equal(listing(store), "TRAPPED|2001:db8::5|1086400\n");
	(void)apply(store, "white 2001:db8::6");
	assert_string_equal(listing(store), "WHITE|2001:db8::|||1000000|1000000|4110400|1|0\n"
	                                    "TRAPPED|2001:db8::5|1086400\n");
	effect = apply(store, "delete 2001:db8::5");
	assert_int_equal(effect.n_writes, 2);
	assert_string_equal(listing(store), "");
	store_close(store);
}

static void spamtraps_come_and_go(void **state)
{
	struct store *store = fixture_open(*state);
	struct change_effect effect = apply(store, "spamtrap Trap@Example.org");
	assert_true(effect.has_spamtrap && !effect.is_spamtrap_deleted);
	assert_string_equal(listing(store), "SPAMTRAP|trap@example.org\n");
	effect = apply(store, "put SPAMTRAP|trap@example.org");
	assert_true(effect.has_spamtrap);
	assert_int_equal(effect.n_writes, 0);
	effect = apply_at(store, "spamtrap trap@example.org", NOW + 1); /* a later fact */
	assert_true(effect.has_spamtrap);
	assert_int_equal(effect.n_writes, 1);
	assert_string_equal(merge_listing(store), "+SPAMTRAP|trap@example.org|1000001|1000000\n");
	effect = apply(store, "delete TRAP@example.org");
	assert_true(effect.has_spamtrap && effect.is_spamtrap_deleted);
	assert_string_equal(listing(store), "");
	effect = apply(store, "delete trap@example.org");
	assert_int_equal(effect.ret, ERR_NOT_FOUND);
	assert_false(effect.has_spamtrap);
	store_close(store);
}

static void tuples_are_deleted_one_a_change(void **state)
{
	struct store *store = fixture_open(*state);
	(void)apply(store, "put GREY|192.0.2.1|h|<a@b>|<c@d>|1|2|9000000|4|0");
	(void)apply(store, "put GREY|192.0.2.1|h|<x@b>|<c@d>|1|2|9000000|4|0");
	(void)apply(store, "put GREY|192.0.2.2|h|<a@b>|<c@d>|1|2|9000000|4|0");
	for (int i = 0; i < 2; i++) {
		struct change_effect effect = apply(store, "delete-grey 192.0.2.1");
		assert_int_equal(effect.ret, 0);
		assert_true(effect.has_tuple);
	}
	assert_int_equal(apply(store, "delete-grey 192.0.2.1").ret, ERR_NOT_FOUND);
	assert_string_equal(listing(store), "GREY|192.0.2.2|h|<a@b>|<c@d>|1|2|9000000|4|0\n");
	store_close(store);
}

static void a_put_stores_the_record_as_it_is(void **state)
{
	static const char *const lines[] = {
	        "WHITE|192.0.2.1|||1|2|9000000|4|5", "TRAPPED|192.0.2.1|8000000",
	        "WHITE|2001:db8::|||1|2|9000000|4|5",
	        "GREY|192.0.2.9|h\\x7c|<a@b>|<c@d>|1|2|9000000|4|0", "SPAMTRAP|a@b"};
	struct store *store = fixture_open(*state);
	char expected[1024];
	for (int turn = 0; turn < 2; turn++) { /* a second time changes nothing */
		size_t len = 0;
		for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
			char line[256];
			(void)snprintf(line, sizeof line, "put %s", lines[i]);
			assert_int_equal(apply(store, line).ret, 0);
			len += (size_t)snprintf(expected + len, sizeof expected - len, "%s\n",
			                        lines[i]);
		}
	}
	assert_string_equal(listing(store), expected);
	struct change_effect effect = apply(store, "put WHITE|192.0.2.1|||1|2|9000000|4|5");
	assert_true(effect.is_trapped_now && !effect.is_white_now);
	assert_int_equal(effect.expire.secs, 8000000);
	store_close(store);
}

static void traffic_refreshes_and_never_untraps(void **state)
{
	struct store *store = fixture_open(*state);
	struct change_effect effect = apply(store, "seen in 192.0.2.1 3 1000");
	assert_true(effect.is_white_now);
	assert_string_equal(listing(store), "WHITE|192.0.2.1|||1000000|1000000|1001000|1|2\n");
	(void)apply_at(store, "seen in 192.0.2.1 2 1000", NOW + 5);
	assert_string_equal(listing(store), "WHITE|192.0.2.1|||1000000|1000000|1001005|1|4\n");
	(void)apply(store, "trapped 192.0.2.1");
	effect = apply(store, "seen out 192.0.2.1 1 1000");
	assert_true(effect.has_host && effect.is_trapped_now && !effect.is_white_now);
	assert_int_equal(effect.n_writes, 0);
	assert_string_equal(listing(store), "TRAPPED|192.0.2.1|1086400\n");
	store_close(store);
}

static void a_hit_traps_and_a_listed_host_is_no_longer_white(void **state)
{
	struct store *store = fixture_open(*state);
	struct change change = parsed("white 192.0.2.1");
	change.kind = CHANGE_DELIST;
	assert_int_equal(apply_change(store, &change, NOW).ret, ERR_NOT_FOUND);
	(void)apply(store, "white 192.0.2.1");
	struct change_effect effect = apply_change(store, &change, NOW);
	assert_int_equal(effect.ret, 0);
	assert_false(effect.is_white_now);
	assert_string_equal(listing(store), "");
	change.kind = CHANGE_TRAP_HIT;
	(void)apply_change(store, &change, NOW);
	effect = apply_change(store, &change, NOW + 100);
	assert_true(effect.is_trapped_now);
	assert_int_equal(effect.expire.secs, NOW + 100 + 86400);
	change.kind = CHANGE_DELIST;
	assert_int_equal(apply_change(store, &change, NOW).ret, ERR_NOT_FOUND);
	assert_string_equal(listing(store), "TRAPPED|192.0.2.1|1086500\n");
	store_close(store);
}

static void a_read_only_store_takes_no_change(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = fixture_open(f);
	struct change change = parsed("white 192.0.2.1");
	struct change_effect effect;
	struct store_txn txn;
	store_close(store);
	conf.read_only = true;
	assert_int_equal(store_open(&store, &conf, f->why), 0);
	store_begin(store, &txn, (struct wall){NOW});
	change_apply(&txn, &change_conf, (struct wall){NOW}, &change, &effect);
	assert_false(effect.is_white_now);
	assert_int_equal(store_commit(&txn), -EROFS);
	store_close(store);
}

/* --- tombstones and origins ------------------------------------------------------------------- */

static void deletions_leave_tombstones(void **state)
{
	struct store *store = fixture_open(*state);
	(void)apply(store, "seen in 192.0.2.1 1 1000");
	(void)apply_at(store, "delete 192.0.2.1", NOW + 5);
	assert_string_equal(merge_listing(store),
	                    "-WHITE|192.0.2.1|1000005|1000000|1000000|4110405|1|0\n");
	(void)apply_at(store, "seen in 192.0.2.1 1 1000", NOW + 6);
	assert_string_equal(merge_listing(store),
	                    "+WHITE|192.0.2.1|1000006|1000006|1000006|1001006|1|0\n");
	(void)apply_at(store, "delete 192.0.2.1", NOW - 300); /* the clock went back */
	assert_string_equal(merge_listing(store),
	                    "-WHITE|192.0.2.1|1000007|1000006|1000006|4110100|1|0\n");
	(void)apply(store, "put GREY|192.0.2.9|h|<a@b>|<c@d>|1|2|9000000|4|0");
	(void)apply_at(store, "delete-grey 192.0.2.9", NOW + 1);
	(void)apply(store, "spamtrap a@b");
	(void)apply_at(store, "delete a@b", NOW + 2);
	(void)apply(store, "delete never@there");
	assert_string_equal(merge_listing(store),
	                    "-WHITE|192.0.2.1|1000007|1000006|1000006|4110100|1|0\n"
	                    "-GREY|192.0.2.9|h|<a@b>|<c@d>|1000001|1|2|9000000|4|0|0\n"
	                    "-SPAMTRAP|a@b|1000002|1000000\n");
	store_close(store);
}

/* As long as it may live elsewhere; strangers are forgotten with their trap, however often they
 * come. */
static void a_trap_remembers_that_a_host_was_white(void **state)
{
	struct store *store = fixture_open(*state);
	(void)apply(store, "seen in 192.0.2.1 1 1000");
	(void)apply_at(store, "trapped 192.0.2.1", NOW + 1);
	(void)apply_at(store, "trapped 192.0.2.1", NOW + 2);
	(void)apply(store, "trapped 192.0.2.2");
	(void)apply_at(store, "trapped 192.0.2.2", NOW + 2);
	assert_string_equal(merge_listing(store),
	                    "-WHITE|192.0.2.1|1000002|1000000|1000000|4110402|1|0\n"
	                    "+TRAPPED|192.0.2.1|1000002|1000000|1000000|1086402|1|0\n"
	                    "-WHITE|192.0.2.2|1000002|0|0|1086402|0|0\n"
	                    "+TRAPPED|192.0.2.2|1000002|1000000|0|1086402|1|0\n");
	store_close(store);
}

static void trapping_leaves_one_in_the_white_register_and_white_by_hand_in_the_other(void **state)
{
	struct store *store = fixture_open(*state);
	(void)apply(store, "trapped 192.0.2.1");
	assert_string_equal(merge_listing(store),
	                    "-WHITE|192.0.2.1|1000000|0|0|1086400|0|0\n"
	                    "+TRAPPED|192.0.2.1|1000000|1000000|0|1086400|1|0\n");
	(void)apply_at(store, "white 192.0.2.1", NOW + 1);
	assert_string_equal(merge_listing(store),
	                    "+WHITE|192.0.2.1|1000001|1000000|1000001|4110401|1|0\n"
	                    "-TRAPPED|192.0.2.1|1000001|1000000|0|1086401|1|0\n");
	(void)apply(store, "seen in 192.0.2.2 3 1000");
	(void)apply(store, "white 192.0.2.3");
	assert_string_equal(merge_listing(store),
	                    "+WHITE|192.0.2.1|1000001|1000000|1000001|4110401|1|0\n"
	                    "-TRAPPED|192.0.2.1|1000001|1000000|0|1086401|1|0\n"
	                    "+WHITE|192.0.2.2|1000000|1000000|1000000|1001000|1|2\n"
	                    "+WHITE|192.0.2.3|1000000|1000000|1000000|4110400|1|0\n"
	                    "-TRAPPED|192.0.2.3|1000000|0|0|1086400|0|0\n");
	store_close(store);
}

static void peers_are_told_of_what_began_here(void **state)
{
	struct store *store = fixture_open(*state);
	struct change hit = parsed("white 192.0.2.1");
	hit.kind = CHANGE_TRAP_HIT;
	struct change peers_hit = hit;
	peers_hit.is_peers = true;
	static const struct {
		const char *line; /* NULL: a hit of a client, "": one of a peer's tuple */
		const char *journal;
	} rows[] = {
	        {"white 192.0.2.1", "W+m "},
	        {"trapped 192.0.2.1", "T+m W-. "},
	        {"white 192.0.2.1", "T-m W+m "},
	        {NULL, "T+t W-. "},
	        {"", "T+. "},
	        {"delete 192.0.2.1", "T-m "},
	        {"seen in 192.0.2.1 1 1000", "W+. "},
	        {"delete 192.0.2.1", "W-m "},
	        {"spamtrap a@b", "S+m "},
	        {"delete a@b", "S-m "},
	        {"put SPAMTRAP|a@b", "S+. "},
	        {"put WHITE|192.0.2.1|||1|2|9000000|4|5", "W+. "},
	        {"put GREY|192.0.2.1|h|<a@b>|<c@d>|1|2|9000000|4|0", "G+. "},
	        {"delete-grey 192.0.2.1", "G-. "},
	        {"merge +WHITE|192.0.2.1|2000000|2|3|9000000|5|6", "W+. "},
	        {"merge -WHITE|192.0.2.1|2000001|2|3|9000000|5|6", "W-. "},
	        {"merge -WHITE|192.0.2.1|2000001|2|3|9000000|5|6", ""},
	};
	uint64_t seq = 0;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *line = rows[i].line;
		if (line && line[0]) {
			(void)apply(store, line);
		} else {
			(void)apply_change(store, line ? &peers_hit : &hit, NOW);
		}
		assert_string_equal(journal(store, seq), rows[i].journal);
		seq += strlen(rows[i].journal) / 4;
	}
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(lines_are_read),
	        cmocka_unit_test(numbers_and_records_are_carried),
	        cmocka_unit_test(bad_lines_say_why_in_spamdbs_words),
	        cmocka_unit_test(lines_and_mailboxes_have_a_bound),
	        CHANGE_TEST(a_white_host_is_added_renewed_and_deleted),
	        CHANGE_TEST(trapping_takes_the_white_register_and_back),
	        CHANGE_TEST(ipv6_is_white_by_group_and_trapped_by_address),
	        CHANGE_TEST(spamtraps_come_and_go),
	        CHANGE_TEST(tuples_are_deleted_one_a_change),
	        CHANGE_TEST(a_put_stores_the_record_as_it_is),
	        CHANGE_TEST(traffic_refreshes_and_never_untraps),
	        CHANGE_TEST(a_hit_traps_and_a_listed_host_is_no_longer_white),
	        CHANGE_TEST(deletions_leave_tombstones),
	        CHANGE_TEST(
	                trapping_leaves_one_in_the_white_register_and_white_by_hand_in_the_other),
	        CHANGE_TEST(a_trap_remembers_that_a_host_was_white),
	        CHANGE_TEST(peers_are_told_of_what_began_here),
	        CHANGE_TEST(a_read_only_store_takes_no_change),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
