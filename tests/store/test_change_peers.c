/* Changes from elsewhere: records of another gateway, and what peers tell. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include "change_fixture.h"

/* --- records of another gateway --------------------------------------------------------------- */

static void merges_join_what_is_stored(void **state)
{
	static const struct {
		const char *line;
		const char *expected;
	} rows[] = {
	        // clang-format off
		{"+WHITE|192.0.2.1|100|50|60|9000000|4|5",
		 "+WHITE|192.0.2.1|100|50|60|9000000|4|5\n"},
		{"+WHITE|192.0.2.1|99|40|70|9500000|5|4",
		 "+WHITE|192.0.2.1|100|40|60|9000000|5|5\n"},
		{"-WHITE|192.0.2.1|100|0|0|9900000|0|0",
		 "+WHITE|192.0.2.1|100|40|60|9000000|5|5\n"},
		{"-WHITE|192.0.2.1|101|0|0|9900000|0|0",
		 "-WHITE|192.0.2.1|101|40|0|9900000|5|5\n"},
		{"+WHITE|192.0.2.1|100|30|61|9000000|4|5",
		 "-WHITE|192.0.2.1|101|30|0|9900000|5|5\n"},
		{"+WHITE|192.0.2.1|102|90|61|9000000|0|0",
		 "+WHITE|192.0.2.1|102|30|61|9000000|5|5\n"},
		{"-WHITE|192.0.2.1|103|0|0|9000000|0|0",
		 "-WHITE|192.0.2.1|103|30|0|9000000|5|5\n"},
		{"-GREY|192.0.2.1|h|<A@b>|<c@d>|10|5|9|8000000|1|0|7",
		 "-WHITE|192.0.2.1|103|30|0|9000000|5|5\n"
		 "-GREY|192.0.2.1|h|<A@b>|<c@d>|10|5|9|8000000|1|0|7\n"},
		{"+GREY|192.0.2.1|h|a@b|c@d|9|6|8|9000000|2|1|6",
		 "-WHITE|192.0.2.1|103|30|0|9000000|5|5\n"
		 "-GREY|192.0.2.1|h|<A@b>|<c@d>|10|5|8|9000000|2|1|7\n"},
		{"+GREY|192.0.2.1|h|<A@B>|c@d|11|6|8|9000000|2|1|6",
		 "-WHITE|192.0.2.1|103|30|0|9000000|5|5\n"
		 "+GREY|192.0.2.1|h|<A@B>|c@d|11|5|8|9000000|2|1|7\n"},
		{"-SPAMTRAP|a@b|5|0",
		 "-WHITE|192.0.2.1|103|30|0|9000000|5|5\n"
		 "+GREY|192.0.2.1|h|<A@B>|c@d|11|5|8|9000000|2|1|7\n-SPAMTRAP|a@b|5|0\n"},
		{"+SPAMTRAP|a@b|5|3",
		 "-WHITE|192.0.2.1|103|30|0|9000000|5|5\n"
		 "+GREY|192.0.2.1|h|<A@B>|c@d|11|5|8|9000000|2|1|7\n+SPAMTRAP|a@b|5|3\n"},
	        // clang-format on
	};
	struct store *store = fixture_open(*state);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char line[256];
		(void)snprintf(line, sizeof line, "merge %s", rows[i].line);
		(void)apply(store, line);
		assert_string_equal(merge_listing(store), rows[i].expected);
		struct change_effect again = apply(store, line);
		assert_int_equal(again.n_writes, 0);
		assert_false(again.has_host || again.has_tuple || again.has_spamtrap);
		assert_string_equal(merge_listing(store), rows[i].expected);
	}
	store_close(store);
}

static void a_merge_says_what_it_did(void **state)
{
	struct store *store = fixture_open(*state);
	struct change_effect effect =
	        apply(store, "merge +WHITE|2001:db8::5|100|50|60|9000000|4|5");
	assert_true(effect.has_host && effect.is_white_now);
	assert_string_equal(listing(store), "WHITE|2001:db8::|||50|60|9000000|4|5\n");
	effect = apply(store, "merge +TRAPPED|2001:db8::5|100|50|60|9000000|4|0");
	assert_true(effect.is_trapped_now && !effect.is_white_now);
	effect = apply(store, "merge -TRAPPED|2001:db8::5|101|50|60|9000000|4|0");
	assert_true(effect.has_host && !effect.is_trapped_now);
	effect = apply(store, "merge +GREY|192.0.2.1|h|<a@b>|<c@d>|9|6|8|9000000|2|1|6");
	assert_true(effect.has_tuple && !effect.has_host);
	effect = apply(store, "merge +SPAMTRAP|a@b|5|3");
	assert_true(effect.has_spamtrap && !effect.is_spamtrap_deleted);
	effect = apply(store, "merge -SPAMTRAP|a@b|6|3");
	assert_true(effect.has_spamtrap && effect.is_spamtrap_deleted);
	effect = apply(store, "merge +SPAMTRAP|a@b|5|3");
	assert_false(effect.has_spamtrap);
	store_close(store);
}

/* --- what peers tell ---------------------------------------------------------------------------
 */

static struct change told(enum change_kind kind, enum record_kind record_kind, int64_t at)
{
	struct change change =
	        parsed(record_kind == RECORD_TRAP_ADDRESS ? "spamtrap a@b" : "white 192.0.2.1");
	change.kind = kind;
	change.record_kind = record_kind;
	change.record.changed_at.secs = at;
	change.record.expire.secs = NOW + 5000;
	return change;
}

static void what_peers_tell_counts_if_it_is_later(void **state)
{
	static const struct {
		enum change_kind kind;
		enum record_kind record_kind;
		int at;
		const char *expected; /* NULL: stale, as before */
	} rows[] = {
	        // clang-format off
		{CHANGE_PEER_HOST, RECORD_WHITE, 10,
		 "+WHITE|192.0.2.1|1000010|1000000|0|1005000|0|0\n"},
		{CHANGE_PEER_HOST, RECORD_WHITE, 10, NULL},
		{CHANGE_PEER_HOST, RECORD_WHITE, 11,
		 "+WHITE|192.0.2.1|1000011|1000000|0|1005000|0|1\n"},
		{CHANGE_PEER_DELETE, RECORD_WHITE, 11, NULL},
		{CHANGE_PEER_DELETE, RECORD_WHITE, 12,
		 "-WHITE|192.0.2.1|1000012|1000000|0|4110400|0|1\n"},
		{CHANGE_PEER_DELETE, RECORD_WHITE, 12, NULL},
		{CHANGE_PEER_HOST, RECORD_WHITE, 12, NULL},
		{CHANGE_PEER_DELETE, RECORD_TRAPPED, 13,
		 "-WHITE|192.0.2.1|1000012|1000000|0|4110400|0|1\n"
		 "-TRAPPED|192.0.2.1|1000013|0|0|1086400|0|0\n"},
		{CHANGE_PEER_HOST, RECORD_TRAPPED, 11, NULL},
		{CHANGE_PEER_HOST, RECORD_TRAPPED, 14,
		 "-WHITE|192.0.2.1|1000014|1000000|0|4110400|0|1\n"
		 "+TRAPPED|192.0.2.1|1000014|1000000|0|1005000|0|0\n"},
		{CHANGE_PEER_HOST, RECORD_TRAPPED, 15,
		 "-WHITE|192.0.2.1|1000015|1000000|0|4110400|0|1\n"
		 "+TRAPPED|192.0.2.1|1000015|1000000|0|1005000|1|0\n"},
		{CHANGE_PEER_HOST, RECORD_TRAPPED, 15, NULL},
		{CHANGE_PEER_HOST, RECORD_WHITE, 16, NULL},
		{CHANGE_PEER_MANUAL, RECORD_WHITE, 16,
		 "+WHITE|192.0.2.1|1000016|1000000|0|1005000|0|0\n"
		 "-TRAPPED|192.0.2.1|1000016|1000000|0|1086400|1|0\n"},
		{CHANGE_PEER_MANUAL, RECORD_WHITE, 16, NULL},
		{CHANGE_PEER_MANUAL, RECORD_TRAPPED, 16, NULL},
		{CHANGE_PEER_MANUAL, RECORD_TRAPPED, 17,
		 "-WHITE|192.0.2.1|1000017|1000000|0|4110400|0|0\n"
		 "+TRAPPED|192.0.2.1|1000017|1000000|0|1005000|0|0\n"},
	        // clang-format on
	};
	struct store *store = fixture_open(*state);
	char before[512] = "";
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct change change = told(rows[i].kind, rows[i].record_kind, NOW + rows[i].at);
		struct change_effect effect = apply_change(store, &change, NOW);
		assert_int_equal(effect.ret, rows[i].expected ? 0 : ERR_BUSY);
		assert_int_equal(effect.n_writes > 0, rows[i].expected != NULL);
		assert_int_equal(effect.has_host, rows[i].expected != NULL);
		const char *got = merge_listing(store);
		assert_string_equal(got, rows[i].expected ? rows[i].expected : before);
		(void)snprintf(before, sizeof before, "%s", got);
	}
	store_close(store);
}

static int print_kind(const struct store_row *row, FILE *out)
{
	return fprintf(out, "%d\n", (int)row->kind) > 0 ? 0 : -1;
}

/* As the syncer tells it: with the stamp that the register has by then. */
static void tell_on(struct store *from, struct store *to, enum change_kind kind,
                    enum record_kind record_kind)
{
	struct change change = told(kind, record_kind, 0);
	struct store_txn txn;
	struct grey_record record;
	store_begin(from, &txn, (struct wall){NOW});
	assert_true(store_get_host_register(&txn, &change.addr, record_kind, &record));
	store_abort(&txn);
	change.record.changed_at = record.changed_at;
	change.record.expire = record.expire;
	assert_int_equal(apply_change(to, &change, NOW).ret, 0);
}

/* Each of them within one second, and none is stale at the peer. */
static void what_is_told_of_one_second_counts_in_its_order(void **state)
{
	static const struct {
		const char *line;
		enum change_kind kind;
		enum record_kind record_kind;
	} rows[] = {
	        {"white 192.0.2.1", CHANGE_PEER_MANUAL, RECORD_WHITE},
	        {"delete 192.0.2.1", CHANGE_PEER_DELETE, RECORD_WHITE},
	        {"white 192.0.2.1", CHANGE_PEER_MANUAL, RECORD_WHITE},
	        {"trapped 192.0.2.1", CHANGE_PEER_MANUAL, RECORD_TRAPPED},
	        {"white 192.0.2.1", CHANGE_PEER_MANUAL, RECORD_WHITE},
	        {"trapped 192.0.2.1", CHANGE_PEER_MANUAL, RECORD_TRAPPED},
	        {"delete 192.0.2.1", CHANGE_PEER_DELETE, RECORD_TRAPPED},
	        {"trapped 192.0.2.1", CHANGE_PEER_MANUAL, RECORD_TRAPPED},
	};
	struct fixture *there_fixture = NULL;
	assert_int_equal(fixture_setup((void **)&there_fixture), 0);
	struct store *here = fixture_open(*state);
	struct store *there = fixture_open(there_fixture);
	char kinds[512];
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(apply(here, rows[i].line).ret, 0);
		tell_on(here, there, rows[i].kind, rows[i].record_kind);
		(void)snprintf(kinds, sizeof kinds, "%s",
		               list_by(here, STORE_WALK_HOSTS, print_kind));
		assert_string_equal(list_by(there, STORE_WALK_HOSTS, print_kind), kinds);
	}
	store_close(there);
	store_close(here);
	assert_int_equal(fixture_teardown((void **)&there_fixture), 0);
}

static void a_peers_promotion_keeps_when_it_was(void **state)
{
	struct store *store = fixture_open(*state);
	struct change change = told(CHANGE_PEER_HOST, RECORD_WHITE, NOW - 3);
	change.record.pass.secs = NOW - 3;
	struct change_effect effect = apply_change(store, &change, NOW);
	assert_true(effect.is_white_now);
	assert_int_equal(effect.expire.secs, NOW + 5000);
	assert_string_equal(merge_listing(store),
	                    "+WHITE|192.0.2.1|999997|1000000|999997|1005000|0|0\n");
	assert_string_equal(journal(store, 0), "W+. ");
	store_close(store);
}

static void peers_spamtraps_come_and_go(void **state)
{
	struct store *store = fixture_open(*state);
	struct change add = told(CHANGE_PEER_MANUAL, RECORD_TRAP_ADDRESS, NOW + 10);
	struct change delete = told(CHANGE_PEER_DELETE, RECORD_TRAP_ADDRESS, NOW + 11);
	struct change_effect effect = apply_change(store, &add, NOW);
	assert_true(effect.has_spamtrap && !effect.is_spamtrap_deleted);
	assert_int_equal(apply_change(store, &add, NOW).ret, ERR_BUSY);
	effect = apply_change(store, &delete, NOW);
	assert_true(effect.has_spamtrap && effect.is_spamtrap_deleted);
	assert_int_equal(apply_change(store, &delete, NOW).ret, ERR_BUSY);
	effect = apply_change(store, &add, NOW);
	assert_int_equal(effect.ret, ERR_BUSY);
	assert_false(effect.has_spamtrap);
	assert_string_equal(merge_listing(store), "-SPAMTRAP|a@b|1000011|1000010\n");
	assert_string_equal(journal(store, 0), "S+. S-. ");
	store_close(store);
}

static void the_cursor_is_kept(void **state)
{
	struct store *store = fixture_open(*state);
	struct change change = {.kind = CHANGE_CURSOR, .seq = 4711};
	uint64_t seq = 0;
	assert_int_equal(apply_change(store, &change, NOW).n_writes, 1);
	struct store_reader *reader = fixture_reader(store);
	assert_int_equal(store_reader_cursor(reader, CHANGE_SYNC_CURSOR, &seq), 1);
	assert_int_equal(seq, 4711);
	store_reader_close(reader);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        CHANGE_TEST(merges_join_what_is_stored),
	        CHANGE_TEST(a_merge_says_what_it_did),
	        CHANGE_TEST(what_peers_tell_counts_if_it_is_later),
	        CHANGE_TEST(what_is_told_of_one_second_counts_in_its_order),
	        CHANGE_TEST(a_peers_promotion_keeps_when_it_was),
	        CHANGE_TEST(peers_spamtraps_come_and_go),
	        CHANGE_TEST(the_cursor_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
