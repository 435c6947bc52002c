/* Tombstones: what was deleted, as the store keeps it; who sees it and who does not; and origins
 * and cursors of changes, which the same readers need. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include "tombstone_fixture.h"

/* --- who sees them ---------------------------------------------------------------------------- */

static void a_transaction_sees_tombstones_by_the_register_calls_alone(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_txn txn;
	struct row row;
	struct tuple_key key;
	struct grey_record found = {.bcount = 99};
	struct addr host = row_addr(50);
	bury_one_of_each(store);
	row_fill(&row, store, 1);
	store_begin(store, &txn, after(100));
	assert_false(store_get_tuple(&txn, &row.key, &found));
	assert_false(store_get_host(&txn, &host, RECORD_WHITE, &found));
	assert_false(store_has_trap_address(&txn, trap));
	assert_false(store_first_tuple(&txn, &row.key.addr, &key));
	assert_int_equal(found.bcount, 99);
	assert_true(store_get_tuple_register(&txn, &row.key, &found));
	assert_true(found.is_deleted);
	assert_int_equal(found.changed_at.secs, after(100).secs);
	assert_int_equal(found.expire.secs, row.record.expire.secs);
	assert_int_equal(found.bcount, row.record.bcount);
	assert_true(store_get_host_register(&txn, &host, RECORD_WHITE, &found));
	assert_true(found.is_deleted);
	assert_int_equal(found.expire.secs, after(500).secs); /* later than `until` */
	assert_int_equal(found.first.secs, t0.secs);
	assert_true(store_get_trap_register(&txn, trap, &found));
	assert_true(found.is_deleted);
	assert_int_equal(found.expire.secs, 0);
	assert_false(store_get_host_register(&txn, &host, RECORD_TRAPPED, &found));
	store_abort(&txn);
	close_and_check(f, store);
}

static void readers_and_figures_do_not_see_tombstones(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct addr host = row_addr(50);
	struct grey_record found;
	unsigned n_deleted = 0;
	bury_one_of_each(store);
	struct store_reader *reader = fixture_reader(store);
	assert_int_equal(store_reader_host(reader, &host, RECORD_WHITE, &found), 0);
	assert_int_equal(store_reader_trap_address(reader, trap, &found), 0);
	store_reader_close(reader);
	assert_int_equal(walk_count(store, STORE_WALK_ALL, &n_deleted), 0);
	assert_int_equal(walk_count(store, STORE_WALK_ALL | STORE_WALK_DELETED, &n_deleted), 3);
	assert_int_equal(n_deleted, 3);
	assert_int_equal(walk_count(store, STORE_WALK_HOSTS | STORE_WALK_DELETED, &n_deleted), 1);
	struct store_stats stats = stats_of(store);
	assert_int_equal(stats.n_hosts + stats.n_tuples + stats.n_trap_addresses, 0);
	assert_int_equal(stats.n_tombstones, 3);
	assert_int_equal(stats.n_expiry, 2); /* a spamtrap's has none */
	close_and_check(f, store);
}

static void a_walk_carries_the_texts_of_tombstones(void **state)
{
	struct store *store = fixture_open(*state);
	struct row row;
	bury_one_of_each(store);
	row_fill(&row, store, 1);
	struct store_reader *reader = fixture_reader(store);
	struct store_walk *walk = store_walk_new(
	        reader, STORE_WALK_TUPLES | STORE_WALK_TRAP_ADDRESSES | STORE_WALK_DELETED, NULL,
	        NULL);
	const struct store_row *rows = NULL;
	assert_int_equal(store_walk_next(walk, &rows, NULL), 1);
	assert_true(span_equal(rows[0].text.helo, row.spans.helo));
	assert_true(span_equal(rows[0].text.sender, row.spans.sender));
	assert_true(span_equal(rows[0].text.recipient, row.spans.recipient));
	assert_int_equal(store_walk_next(walk, &rows, NULL), 1);
	assert_true(span_equal(rows[0].text.recipient, trap));
	assert_int_equal(store_walk_next(walk, &rows, NULL), 0);
	store_walk_free(walk);
	store_reader_close(reader);
	store_close(store);
}

static void a_walk_goes_on_over_slices_of_nothing_but_tombstones(void **state)
{
	enum { N = 3 * STORE_SLICE_ROWS };
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_txn txn;
	struct grey_record record = record_at(0, 500);
	unsigned n_deleted = 0;
	store_begin(store, &txn, t0);
	for (uint32_t n = 0; n < N; n++) {
		struct addr addr = addr_from_v4_be(__builtin_bswap32(0x0a000000U + n));
		store_bury_host(&txn, &addr, RECORD_TRAPPED, t0, after(500));
	}
	struct addr last = addr_from_v4_be(__builtin_bswap32(0x0a000000U + N));
	store_put_host(&txn, &last, RECORD_TRAPPED, &record);
	commit(&txn);
	assert_int_equal(walk_count(store, STORE_WALK_ALL, &n_deleted), 1);
	assert_int_equal(walk_count(store, STORE_WALK_ALL | STORE_WALK_DELETED, &n_deleted), N + 1);
	assert_int_equal(n_deleted, N);
	close_and_check(f, store);
}

static void the_first_tuple_of_a_host_is_a_live_one(void **state)
{
	struct store *store = fixture_open(*state);
	struct addr host = row_addr(1);
	struct grey_record record = record_at(0, 500);
	struct store_txn txn;
	struct tuple_key key = {.addr = host};
	struct tuple_text text = {SPAN("h"), SPAN("a@b"), SPAN("c@d")};
	store_begin(store, &txn, t0);
	for (uint8_t n = 0; n < 3; n++) {
		key.hash[0] = n;
		store_put_tuple(&txn, &key, &record, &text);
	}
	for (uint8_t n = 0; n < 3; n++) {
		struct tuple_key found;
		assert_true(store_first_tuple(&txn, &host, &found));
		assert_int_equal(found.hash[0], n);
		store_bury_tuple(&txn, &found, t0);
	}
	assert_false(store_first_tuple(&txn, &host, &key));
	commit(&txn);
	store_close(store);
}

/* The next one's place is kept: 20,000 of them, each search passing all that went before, took
 * minutes. What revives or was not committed is found all the same. */
static void a_hosts_tuples_are_deleted_one_by_one(void **state)
{
	enum { N = 20000, PER_COMMIT = 500, PATIENCE_MS = 15000 };
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct grey_record record = record_at(0, 500);
	struct store_txn txn;
	struct tuple_key key = {.addr = row_addr(1)};
	struct tuple_key found;
	struct tuple_text text = {SPAN("h"), SPAN("a@b"), SPAN("c@d")};
	store_begin(store, &txn, t0);
	for (uint32_t n = 0; n < N; n++) {
		memcpy(key.hash, &n, sizeof n);
		store_put_tuple(&txn, &key, &record, &text);
	}
	commit(&txn);
	struct mono begun = clock_mono();
	for (uint32_t n = 0; n < N; n += PER_COMMIT) {
		store_begin(store, &txn, t0);
		for (uint32_t i = 0; i < PER_COMMIT; i++) {
			assert_true(store_first_tuple(&txn, &key.addr, &found));
			store_bury_tuple(&txn, &found, t0);
		}
		commit(&txn);
	}
	store_begin(store, &txn, t0);
	for (uint32_t n = 0; n < N; n++) {
		assert_false(store_first_tuple(&txn, &key.addr, &found));
	}
	store_put_tuple(&txn, &key, &record, &text);
	assert_true(store_first_tuple(&txn, &key.addr, &found));
	commit(&txn);
	assert_in_range(mono_diff_ms(clock_mono(), begun), 0, PATIENCE_MS);
	close_and_check(f, store);
}

static bool has_first(struct store_txn *txn, const struct tuple_key *key)
{
	struct tuple_key found;
	return store_first_tuple(txn, &key->addr, &found) &&
	       memcmp(found.hash, key->hash, sizeof found.hash) == 0;
}

static void the_first_tuple_is_found_after_an_abort_and_a_revival(void **state)
{
	struct store *store = fixture_open(*state);
	struct grey_record record = record_at(0, 500);
	struct store_txn txn;
	struct tuple_key low = {.addr = row_addr(1), .hash = {1}};
	struct tuple_key high = {.addr = row_addr(1), .hash = {2}};
	struct tuple_key other = {.addr = row_addr(2), .hash = {0}};
	struct tuple_text text = {SPAN("h"), SPAN("a@b"), SPAN("c@d")};
	store_begin(store, &txn, t0);
	store_put_tuple(&txn, &low, &record, &text);
	store_put_tuple(&txn, &high, &record, &text);
	commit(&txn);
	store_begin(store, &txn, t0);
	store_bury_tuple(&txn, &low, t0);
	assert_true(has_first(&txn, &high));
	store_abort(&txn);
	store_begin(store, &txn, t0);
	assert_true(has_first(&txn, &low));
	store_bury_tuple(&txn, &low, t0);
	assert_true(has_first(&txn, &high));
	store_put_tuple(&txn, &other, &record, &text);
	assert_true(has_first(&txn, &high));
	store_put_tuple(&txn, &low, &record, &text);
	assert_true(has_first(&txn, &low));
	assert_true(has_first(&txn, &other));
	assert_true(has_first(&txn, &low));
	commit(&txn);
	store_close(store);
}

/* --- sweep and journal ------------------------------------------------------------------------ */

static void count_expired(void *ctx, enum record_kind kind, const struct tuple_key *key)
{
	(void)kind;
	(void)key;
	(*(unsigned *)ctx)++;
}

static void the_end_of_a_tombstone_is_told_nobody(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_txn txn;
	struct grey_record found;
	struct wall end = after(INT64_C(10) * FIXTURE_LIFE);
	unsigned n_told = 0;
	bury_one_of_each(store);
	assert_int_equal(rows_commit(store, 2, 2), 0); /* lives, and is told */
	store_begin(store, &txn, after(1000));
	txn.origin = ORIGIN_MANUAL;
	assert_int_equal(store_sweep(&txn, end, 10, count_expired, &n_told), 3);
	assert_int_equal(n_told, 1);
	assert_int_equal(txn.n_changes, 1);
	assert_int_equal(txn.origin, ORIGIN_MANUAL);
	assert_true(store_get_trap_register(&txn, trap, &found)); /* kept for ever */
	commit(&txn);
	struct store_reader *reader = fixture_reader(store);
	struct journal_change change;
	uint64_t last = store_journal_last(reader);
	assert_int_equal(store_journal_read(reader, last - 1, &change, 1), 1);
	assert_int_equal(change.origin, ORIGIN_SILENT);
	assert_true(change.is_deleted);
	store_reader_close(reader);
	struct store_stats stats = stats_of(store);
	assert_int_equal(stats.n_tombstones, 1);
	assert_int_equal(stats.n_expiry, 0);
	close_and_check(f, store);
}

static void the_journal_says_where_changes_began(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_txn txn;
	struct addr host = row_addr(50);
	struct journal_change changes[8];
	static const struct {
		uint8_t kind;
		enum change_origin origin;
		bool is_deleted;
	} rows[] = {
	        {RECORD_GREY, ORIGIN_SILENT, false},     {RECORD_GREY, ORIGIN_ATTEMPT, false},
	        {RECORD_WHITE, ORIGIN_PROMOTION, false}, {RECORD_TRAPPED, ORIGIN_TRAP, false},
	        {RECORD_WHITE, ORIGIN_SILENT, true},     {RECORD_TRAPPED, ORIGIN_MANUAL, true},
	};
	struct grey_record record = record_at(0, 500);
	store_begin(store, &txn, t0);
	row_put(&txn, 1);
	txn.origin = ORIGIN_ATTEMPT;
	row_put(&txn, 2);
	txn.origin = ORIGIN_PROMOTION;
	store_put_host(&txn, &host, RECORD_WHITE, &record);
	txn.origin = ORIGIN_TRAP;
	store_put_host(&txn, &host, RECORD_TRAPPED, &record);
	txn.origin = ORIGIN_SILENT;
	store_bury_host(&txn, &host, RECORD_WHITE, t0, after(500));
	store_bury_host(&txn, &host, RECORD_WHITE, t0, after(500)); /* nothing is there any more */
	txn.origin = ORIGIN_MANUAL;
	store_bury_host(&txn, &host, RECORD_TRAPPED, t0, after(500));
	commit(&txn);
	struct store_reader *reader = fixture_reader(store);
	assert_int_equal(store_journal_read(reader, 0, changes, 8), ARRAY_LEN(rows));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(changes[i].kind, rows[i].kind);
		assert_int_equal(changes[i].origin, rows[i].origin);
		assert_int_equal(changes[i].is_deleted, rows[i].is_deleted);
	}
	store_reader_close(reader);
	store_close(store);
}

static void a_deletion_of_the_journal_leads_to_its_tombstone(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_reader *reader = fixture_reader(store);
	struct journal_change changes[8];
	struct store_row found;
	uint8_t buf[STORE_TEXT_BYTES];
	struct grey_record trap_record = trap_at(0);
	struct store_txn txn;
	bury_one_of_each(store); /* puts of tuple, host, trap; then deletions in the same order */
	assert_int_equal(store_journal_read(reader, 0, changes, 8), 6);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(store_reader_changed(reader, &changes[i], buf, &found), 0);
		assert_int_equal(store_reader_changed(reader, &changes[i + 3], buf, &found), 1);
		assert_true(found.record.is_deleted);
		assert_int_equal(found.record.changed_at.secs, after(100).secs);
	}
	assert_true(span_equal(found.text.recipient, trap));
	store_begin(store, &txn, t0);
	store_put_trap_address(&txn, trap, &trap_record);
	commit(&txn);
	assert_int_equal(store_reader_changed(reader, &changes[5], buf, &found), 0);
	assert_int_equal(store_reader_changed(reader, &changes[2], buf, &found), 1);
	store_reader_close(reader);
	store_close(store);
}

/* --- cursors ---------------------------------------------------------------------------------- */

static void a_cursor_is_kept_under_its_name_and_commits_with_the_rest(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_reader *reader = fixture_reader(store);
	struct store_txn txn;
	uint64_t seq = 4711;
	assert_int_equal(store_reader_cursor(reader, "sync", &seq), 0);
	assert_int_equal(seq, 4711);
	store_begin(store, &txn, t0);
	store_put_cursor(&txn, "sync", 12);
	store_abort(&txn);
	assert_int_equal(store_reader_cursor(reader, "sync", &seq), 0);
	store_begin(store, &txn, t0);
	store_put_cursor(&txn, "sync", 12);
	store_put_cursor(&txn, "other", UINT64_MAX);
	assert_int_equal(txn.n_changes, 0);
	commit(&txn);
	store_begin(store, &txn, t0);
	store_put_cursor(&txn, "sync", 13);
	commit(&txn);
	store_reader_close(reader);
	close_and_check(f, store);

	store = fixture_open(f);
	reader = fixture_reader(store);
	assert_int_equal(store_reader_cursor(reader, "sync", &seq), 1);
	assert_int_equal(seq, 13);
	assert_int_equal(store_reader_cursor(reader, "other", &seq), 1);
	assert_true(seq == UINT64_MAX);
	assert_int_equal(store_reader_cursor(reader, "syn", &seq), 0);
	store_reader_close(reader);
	store_close(store);
}

#define TOMBSTONE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TOMBSTONE_TEST(a_transaction_sees_tombstones_by_the_register_calls_alone),
	        TOMBSTONE_TEST(readers_and_figures_do_not_see_tombstones),
	        TOMBSTONE_TEST(a_walk_carries_the_texts_of_tombstones),
	        TOMBSTONE_TEST(a_walk_goes_on_over_slices_of_nothing_but_tombstones),
	        TOMBSTONE_TEST(the_first_tuple_of_a_host_is_a_live_one),
	        TOMBSTONE_TEST(a_hosts_tuples_are_deleted_one_by_one),
	        TOMBSTONE_TEST(the_first_tuple_is_found_after_an_abort_and_a_revival),
	        TOMBSTONE_TEST(the_end_of_a_tombstone_is_told_nobody),
	        TOMBSTONE_TEST(the_journal_says_where_changes_began),
	        TOMBSTONE_TEST(a_deletion_of_the_journal_leads_to_its_tombstone),
	        TOMBSTONE_TEST(a_cursor_is_kept_under_its_name_and_commits_with_the_rest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
