/* The store in good health: what is committed is there again, in every view of it. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <pthread.h>
#include <stdatomic.h>

#include "store_fixture.h"

static const struct wall t0 = {FIXTURE_T0};

static void committed_records_are_there_after_reopening(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	uint8_t hash_key[RECORD_HASH_KEY_BYTES];
	memcpy(hash_key, store_hash_key(store), sizeof hash_key);
	struct addr host = row_addr(7);
	struct grey_record white = row_record(7);
	struct store_txn txn;
	store_begin(store, &txn, t0);
	row_put(&txn, 1);
	store_put_host(&txn, &host, RECORD_WHITE, &white);
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);

	store = fixture_open(f);
	assert_true(store_was_clean(store));
	assert_memory_equal(store_hash_key(store), hash_key, sizeof hash_key);
	assert_int_equal(store_newest(store).secs, t0.secs);
	struct grey_record found;
	store_begin(store, &txn, t0);
	assert_true(row_is_stored(&txn, 1));
	assert_false(row_is_stored(&txn, 2));
	assert_true(store_get_host(&txn, &host, RECORD_WHITE, &found));
	assert_int_equal(found.expire.secs, white.expire.secs);
	assert_false(store_get_host(&txn, &host, RECORD_TRAPPED, &found));
	store_abort(&txn);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

static void aborted_changes_are_not_there(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_txn txn;
	store_begin(store, &txn, t0);
	row_put(&txn, 1);
	assert_true(row_is_stored(&txn, 1));
	store_abort(&txn);
	store_begin(store, &txn, t0);
	assert_false(row_is_stored(&txn, 1));
	assert_int_equal(txn.seq, 0);
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);
}

static void an_update_keeps_the_text_and_moves_the_expiry(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_reader *reader = fixture_reader(store);
	struct row row;
	row_fill(&row, store, 3);
	assert_int_equal(rows_commit(store, 3, 3), 0);
	row.record.expire.secs += 100;
	row.record.bcount = 9;
	struct store_txn txn;
	store_begin(store, &txn, t0);
	store_update_tuple(&txn, &row.key, &row.record, false);
	row.record.expire.secs += 100; /* twice in one transaction */
	store_update_tuple(&txn, &row.key, &row.record, true);
	assert_int_equal(store_commit(&txn), 0);

	const struct store_row *rows = NULL;
	struct store_walk *walk = store_walk_new(reader, STORE_WALK_ALL, NULL, NULL);
	assert_int_equal(store_walk_next(walk, &rows, NULL), 1);
	assert_int_equal(rows[0].kind, RECORD_GREY);
	assert_int_equal(rows[0].record.bcount, 9);
	assert_int_equal(rows[0].record.expire.secs, row.record.expire.secs);
	assert_true(span_equal(rows[0].text.sender, row.spans.sender));
	assert_true(span_equal(rows[0].text.recipient, row.spans.recipient));
	assert_int_equal(store_walk_next(walk, &rows, NULL), 0);
	store_walk_free(walk);
	struct store_stats stats;
	assert_int_equal(store_stats_get(reader, &stats), 0);
	assert_int_equal(stats.n_tuples, 1);
	assert_int_equal(stats.n_expiry, 1);
	assert_int_equal(stats.n_journal, 2); /* the put and the second update */
	store_reader_close(reader);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

static void an_update_of_an_absent_tuple_changes_nothing(void **state)
{
	struct store *store = fixture_open(*state);
	struct row row;
	row_fill(&row, store, 3);
	struct store_txn txn;
	store_begin(store, &txn, t0);
	store_update_tuple(&txn, &row.key, &row.record, true);
	assert_int_equal(txn.n_changes, 0);
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);
}

static void what_was_deleted_is_not_there_any_more(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_reader *reader = fixture_reader(store);
	struct addr host = row_addr(50);
	struct grey_record record = row_record(50);
	struct store_txn txn;
	struct row row;
	row_fill(&row, store, 1);
	assert_int_equal(rows_commit(store, 1, 2), 0);
	store_begin(store, &txn, t0);
	store_put_host(&txn, &host, RECORD_TRAPPED, &record);
	store_bury_host(&txn, &host, RECORD_TRAPPED, txn.now, txn.now);
	store_bury_host(&txn, &host, RECORD_WHITE, txn.now, txn.now); /* was never there */
	store_bury_tuple(&txn, &row.key, txn.now);
	assert_int_equal(store_commit(&txn), 0);
	struct store_stats stats;
	assert_int_equal(store_stats_get(reader, &stats), 0);
	assert_int_equal(stats.n_hosts, 0);
	assert_int_equal(stats.n_tuples, 1);
	assert_int_equal(stats.n_tombstones, 3);
	assert_int_equal(stats.n_expiry, 4);
	assert_int_equal(stats.last_seq, 5); /* 2 puts, put and delete of the host, delete */
	struct grey_record found;
	assert_int_equal(store_reader_host(reader, &host, RECORD_TRAPPED, &found), 0);
	store_reader_close(reader);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

/* --- journal ---------------------------------------------------------------------------------- */

static void the_journal_tells_changes_in_order(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_reader *reader = fixture_reader(store);
	struct journal_change changes[8];
	struct addr host = row_addr(9);
	struct grey_record record = row_record(9);
	assert_int_equal(store_journal_read(reader, 0, changes, 8), 0);
	assert_int_equal(rows_commit(store, 1, 2), 0);
	struct store_txn txn;
	store_begin(store, &txn, (struct wall){FIXTURE_T0 + 50});
	store_put_host(&txn, &host, RECORD_WHITE, &record);
	store_bury_host(&txn, &host, RECORD_WHITE, txn.now, txn.now);
	assert_int_equal(txn.seq, 4);
	assert_int_equal(store_journal_read(reader, 0, changes, 8), 2); /* not committed yet */
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(store_journal_read(reader, 0, changes, 8), 4);
	assert_int_equal(store_journal_last(reader), 4);
	assert_int_equal(changes[0].kind, RECORD_GREY);
	assert_int_equal(changes[2].kind, RECORD_WHITE);
	assert_false(changes[2].is_deleted);
	assert_true(changes[3].is_deleted);
	assert_true(addr_equal(&changes[3].addr, &host));
	assert_int_equal(changes[3].at.secs, FIXTURE_T0 + 50);
	assert_int_equal(changes[2].expire.secs, record.expire.secs);
	assert_int_equal(store_journal_read(reader, 2, changes, 1), 1);
	assert_int_equal(changes[0].seq, 3);
	assert_int_equal(store_journal_read(reader, 4, changes, 8), 0);
	store_reader_close(reader);
	store_close(store);
}

static void a_reader_left_behind_by_the_journal_is_told(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	conf.journal_max = 10;
	struct store *store = NULL;
	assert_int_equal(store_open(&store, &conf, f->why), 0);
	struct store_reader *reader = fixture_reader(store);
	struct journal_change changes[32];
	for (uint32_t n = 0; n < 30; n += 3) {
		assert_int_equal(rows_commit(store, n, n + 2), 0);
	}
	struct store_stats stats;
	assert_int_equal(store_stats_get(reader, &stats), 0);
	assert_int_equal(stats.n_journal, 10);
	assert_int_equal(stats.last_seq, 30);
	assert_int_equal(store_journal_read(reader, 5, changes, 32), ERR_NOT_FOUND);
	assert_int_equal(store_journal_read(reader, 19, changes, 32), ERR_NOT_FOUND);
	assert_int_equal(store_journal_read(reader, 20, changes, 32), 10);
	assert_int_equal(store_journal_read(reader, 31, changes, 32), ERR_NOT_FOUND);
	store_reader_close(reader);
	store_close(store);
}

static void a_lowered_journal_bound_is_reached_in_small_steps(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = fixture_open(f);
	assert_int_equal(rows_commit(store, 0, 199), 0);
	store_close(store);
	conf.journal_max = 50;
	assert_int_equal(store_open(&store, &conf, f->why), 0);
	struct store_reader *reader = fixture_reader(store);
	struct store_stats stats;
	uint64_t before = 200;
	for (uint32_t n = 200; n < 212; n++) {
		assert_int_equal(rows_commit(store, n, n), 0);
		assert_int_equal(store_stats_get(reader, &stats), 0);
		assert_true(before + 1 - stats.n_journal <= 17);
		before = stats.n_journal;
	}
	assert_int_equal(before, 50);
	store_reader_close(reader);
	store_close(store);
}

/* --- sweep ------------------------------------------------------------------------------------ */

struct swept {
	unsigned n;
	unsigned n_hosts;
};

static void on_expired(void *ctx, enum record_kind kind, const struct tuple_key *key)
{
	struct swept *swept = ctx;
	(void)key;
	swept->n++;
	swept->n_hosts += kind == RECORD_WHITE;
}

static void the_sweep_takes_the_oldest_first_and_no_more_than_asked(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_reader *reader = fixture_reader(store);
	struct addr host = row_addr(3);
	struct grey_record white = row_record(3);
	struct swept swept = {0, 0};
	struct store_txn txn;
	struct wall due_of_9 = row_record(9).expire;
	assert_int_equal(rows_commit(store, 0, 19), 0);
	store_begin(store, &txn, t0);
	store_put_host(&txn, &host, RECORD_WHITE, &white);
	/* nothing is due one second before the first expiry */
	struct wall early = {row_record(0).expire.secs - 1};
	assert_int_equal(store_sweep(&txn, early, 100, on_expired, &swept), 0);
	assert_int_equal(store_sweep(&txn, due_of_9, 4, on_expired, &swept), 4);
	assert_int_equal(store_sweep(&txn, due_of_9, 100, on_expired, &swept), 7);
	assert_int_equal(store_sweep(&txn, due_of_9, 100, on_expired, &swept), 0);
	assert_int_equal(swept.n, 11);
	assert_int_equal(swept.n_hosts, 1);
	assert_false(row_is_stored(&txn, 9));
	assert_true(row_is_stored(&txn, 10));
	assert_int_equal(store_commit(&txn), 0);
	struct store_stats stats;
	assert_int_equal(store_stats_get(reader, &stats), 0);
	assert_int_equal(stats.n_tuples, 10);
	assert_int_equal(stats.n_expiry, 10);
	assert_int_equal(stats.n_hosts, 0);
	assert_int_equal(stats.last_seq, 20 + 1 + 11);
	store_reader_close(reader);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

static void the_sweep_sees_what_its_own_transaction_put(void **state)
{
	struct store *store = fixture_open(*state);
	struct swept swept = {0, 0};
	struct store_txn txn;
	store_begin(store, &txn, t0);
	row_put(&txn, 1);
	assert_int_equal(store_sweep(&txn, row_record(1).expire, 10, on_expired, &swept), 1);
	assert_false(row_is_stored(&txn, 1));
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);
}

/* --- readers ---------------------------------------------------------------------------------- */

static void a_walk_meets_every_row_once_in_slices(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_reader *reader = fixture_reader(store);
	enum { N = 3500 };
	static bool seen[N];
	memset(seen, 0, sizeof seen);
	for (uint32_t n = 0; n < N; n += 500) {
		assert_int_equal(rows_commit(store, n, n + 499), 0);
	}
	struct store_walk *walk = store_walk_new(reader, STORE_WALK_ALL, NULL, NULL);
	const struct store_row *rows = NULL;
	int n = 0;
	unsigned n_slices = 0;
	while ((n = store_walk_next(walk, &rows, NULL)) > 0) {
		assert_true(n <= STORE_SLICE_ROWS);
		n_slices++;
		for (int i = 0; i < n; i++) {
			assert_in_range(rows[i].record.bcount, 1, N);
			assert_false(seen[rows[i].record.bcount - 1]);
			seen[rows[i].record.bcount - 1] = true;
		}
	}
	assert_int_equal(n, 0);
	assert_true(n_slices >= 4);
	for (int i = 0; i < N; i++) {
		assert_true(seen[i]);
	}
	store_walk_free(walk);
	store_reader_close(reader);
	store_close(store);
}

static void the_longest_texts_fit_a_walk(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_reader *reader = fixture_reader(store);
	static uint8_t longest[RECORD_STRING_MAX];
	memset(longest, 'y', sizeof longest);
	struct tuple_text text = {span_of(longest, sizeof longest),
	                          span_of(longest, sizeof longest),
	                          span_of(longest, sizeof longest)};
	struct store_txn txn;
	store_begin(store, &txn, t0);
	for (uint32_t n = 0; n < 200; n++) {
		struct addr addr = row_addr(n);
		struct tuple_key key = record_tuple_key(store_hash_key(store), &addr, &text);
		struct grey_record record = row_record(n);
		store_put_tuple(&txn, &key, &record, &text);
	}
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(rows_walk(reader, NULL), 200);
	store_reader_close(reader);
	store_close(store);
}

static void a_transaction_larger_than_the_waiting_list_is_whole(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	assert_int_equal(rows_commit(store, 0, 2499), 0);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

static void readers_beyond_the_bound_are_told(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	struct store_reader *readers[64];
	int n = 0;
	int ret = 0;
	conf.readers_max = 4;
	assert_int_equal(store_open(&store, &conf, f->why), 0);
	while (n < 64 && (ret = store_reader_open(store, &readers[n])) == 0) {
		n++;
	}
	assert_int_equal(ret, ERR_BUSY);
	assert_true(n >= 4);
	assert_int_equal(rows_commit(store, 0, 9), 0);
	for (int i = 0; i < n; i++) {
		store_reader_close(readers[i]);
	}
	store_close(store);
}

struct walker {
	struct store *store;
	_Atomic bool is_over;
	int64_t fewest;
	uint64_t n_bad;
	unsigned n_walks;
};

static void *walk_again_and_again(void *arg)
{
	struct walker *w = arg;
	struct store_reader *reader = NULL;
	if (store_reader_open(w->store, &reader)) {
		w->fewest = -1;
		return NULL;
	}
	while (!atomic_load_explicit(&w->is_over, memory_order_acquire) || w->n_walks == 0) {
		int64_t n = rows_walk(reader, &w->n_bad);
		w->fewest = n < w->fewest ? n : w->fewest;
		w->n_walks++;
	}
	store_reader_close(reader);
	return NULL;
}

static void walks_beside_a_writer_miss_no_standing_row(void **state)
{
	struct store *store = fixture_open(*state);
	struct walker walker = {.store = store, .fewest = INT64_MAX};
	pthread_t thread;
	for (uint32_t n = 0; n < 3000; n += 500) {
		assert_int_equal(rows_commit(store, n, n + 499), 0);
	}
	assert_int_equal(pthread_create(&thread, NULL, walk_again_and_again, &walker), 0);
	for (uint32_t n = 3000; n < 5000; n += 20) {
		assert_int_equal(rows_commit(store, n, n + 19), 0);
	}
	atomic_store_explicit(&walker.is_over, true, memory_order_release);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(walker.fewest >= 3000);
	assert_int_equal(walker.n_bad, 0);
	store_close(store);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(committed_records_are_there_after_reopening),
	        STORE_TEST(aborted_changes_are_not_there),
	        STORE_TEST(an_update_keeps_the_text_and_moves_the_expiry),
	        STORE_TEST(an_update_of_an_absent_tuple_changes_nothing),
	        STORE_TEST(what_was_deleted_is_not_there_any_more),
	        STORE_TEST(the_journal_tells_changes_in_order),
	        STORE_TEST(a_reader_left_behind_by_the_journal_is_told),
	        STORE_TEST(a_lowered_journal_bound_is_reached_in_small_steps),
	        STORE_TEST(the_sweep_takes_the_oldest_first_and_no_more_than_asked),
	        STORE_TEST(the_sweep_sees_what_its_own_transaction_put),
	        STORE_TEST(a_walk_meets_every_row_once_in_slices),
	        STORE_TEST(the_longest_texts_fit_a_walk),
	        STORE_TEST(a_transaction_larger_than_the_waiting_list_is_whole),
	        STORE_TEST(readers_beyond_the_bound_are_told),
	        STORE_TEST(walks_beside_a_writer_miss_no_standing_row),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
