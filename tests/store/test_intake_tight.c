/* Tuples that wait for their places while the map has no room for these: they leave by the end of
 * their lives or by deletion, and nothing of theirs takes the room that is kept for this. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include "intake_fixture.h"

enum { ROWS_A_COMMIT = 100, ROWS_A_DELETION = 20, N_TIGHT_MAX = 100000, TIGHT_MAP_BYTES = 8 << 20 };

/* Takes rows in, a few a commit, until the store has no room for more; how many it took. */
static uint32_t take_in_until_tight(struct store *store)
{
	for (uint32_t n = 0; n < N_TIGHT_MAX;) {
		struct store_txn txn;
		store_begin(store, &txn, t0);
		uint32_t end = n + ROWS_A_COMMIT;
		while (n < end && take_in(&txn, n)) {
			n++;
		}
		assert_int_equal(store_commit(&txn), 0);
		if (n < end) {
			return n;
		}
	}
	return N_TIGHT_MAX;
}

/* A store with a small map; how many rows it took in until it had no room for more. */
static uint32_t make_tight(struct intake_test *t)
{
	struct store_conf conf = fixture_conf(t->fixture);
	store_reader_close(t->reader);
	store_close(t->store);
	fixture_remove(t->fixture, "data.mdb");
	fixture_remove(t->fixture, "installed");
	conf.map_bytes = TIGHT_MAP_BYTES;
	assert_int_equal(store_open(&t->store, &conf, t->fixture->why), 0);
	t->reader = fixture_reader(t->store);
	uint32_t n = take_in_until_tight(t->store);
	assert_in_range(n, ROWS_A_COMMIT, N_TIGHT_MAX - 1);
	return n;
}

static void a_tight_map_takes_nothing_in_and_gives_no_places(void **state)
{
	struct intake_test *t = *state;
	struct store_txn txn;
	uint32_t n = make_tight(t);
	assert_int_equal(settle(t, t0, 10).n_placed, 0);
	assert_int_equal(store_n_waiting(t->store), n);
	assert_true(is_stored(t, n - 1));
	/* a deletion still goes through */
	struct row row;
	row_fill(&row, t->store, 0);
	store_begin(t->store, &txn, t0);
	store_bury_tuple(&txn, &row.key, t0);
	assert_int_equal(store_commit(&txn), 0);
	assert_false(is_stored(t, 0));
	assert_int_equal(store_n_waiting(t->store), n - 1);
}

/* Nothing but the end of lives makes room: else it would be full for good. */
static void what_waits_in_a_tight_map_is_swept_when_its_life_ends(void **state)
{
	struct intake_test *t = *state;
	uint32_t n = make_tight(t);
	struct wall end = {FIXTURE_T0 + FIXTURE_LIFE + n};
	unsigned n_swept = 0;
	for (uint32_t i = 0; i < n && store_n_waiting(t->store) > 0; i++) {
		n_swept += sweep(t, end, ROWS_A_COMMIT, NULL);
	}
	assert_int_equal(n_swept, n);
	assert_int_equal(store_n_waiting(t->store), 0);
	take_in_rows(t, 0, ROWS_A_COMMIT);
	assert_true(is_stored(t, 0));
}

/* The room that is kept for deletions is not for places. */
static void retries_of_what_waits_do_not_fill_a_tight_map(void **state)
{
	struct intake_test *t = *state;
	uint32_t n = make_tight(t);
	for (uint32_t first = 0; first < n; first += ROWS_A_COMMIT) {
		struct store_txn txn;
		store_begin(t->store, &txn, t0);
		for (uint32_t i = first; i < first + ROWS_A_COMMIT && i < n; i++) {
			struct row row;
			row_fill(&row, t->store, i);
			row.record.bcount++;
			store_update_tuple(&txn, &row.key, &row.record, i % 2 == 0);
		}
		assert_int_equal(store_commit(&txn), 0);
	}
	assert_int_equal(store_n_waiting(t->store), n);
	struct wall end = {FIXTURE_T0 + FIXTURE_LIFE + n};
	assert_int_equal(sweep(t, end, ROWS_A_COMMIT, NULL), ROWS_A_COMMIT);
}

/* No room for the tombstones either: nobody was told of what they would be of. */
static void all_that_waits_in_a_tight_map_can_be_deleted(void **state)
{
	struct intake_test *t = *state;
	uint32_t n = make_tight(t);
	for (uint32_t first = 0; first < n; first += ROWS_A_DELETION) {
		struct store_txn txn;
		store_begin(t->store, &txn, t0);
		for (uint32_t i = first; i < first + ROWS_A_DELETION && i < n; i++) {
			struct row row;
			row_fill(&row, t->store, i);
			store_bury_tuple(&txn, &row.key, t0);
		}
		assert_int_equal(store_commit(&txn), 0);
	}
	assert_int_equal(store_n_waiting(t->store), 0);
	assert_int_equal(stats_of(t).n_tuples, 0);
	take_in_rows(t, 0, ROWS_A_COMMIT);
}

static void a_put_over_what_waits_in_a_tight_map_finds_it_full(void **state)
{
	struct intake_test *t = *state;
	struct store_txn txn;
	uint32_t n = make_tight(t);
	store_begin(t->store, &txn, t0);
	row_put(&txn, 0);
	assert_int_equal(store_commit(&txn), ERR_FULL);
	assert_int_equal(store_n_waiting(t->store), n);
	assert_true(is_stored(t, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        INTAKE_TEST(a_tight_map_takes_nothing_in_and_gives_no_places),
	        INTAKE_TEST(what_waits_in_a_tight_map_is_swept_when_its_life_ends),
	        INTAKE_TEST(retries_of_what_waits_do_not_fill_a_tight_map),
	        INTAKE_TEST(all_that_waits_in_a_tight_map_can_be_deleted),
	        INTAKE_TEST(a_put_over_what_waits_in_a_tight_map_finds_it_full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
