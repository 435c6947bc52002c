/* A store, a reader and tuples that wait for their places. Include after cmocka.h. */
#pragma once

#include "store_fixture.h"

#define INTAKE_TEST(name) cmocka_unit_test_setup_teardown(name, intake_setup, intake_teardown)

static const struct wall t0 = {FIXTURE_T0};

struct intake_test {
	struct fixture *fixture;
	struct store *store;
	struct store_reader *reader;
};

static inline int intake_setup(void **state)
{
	void *fixture = NULL;
	struct intake_test *t = calloc(1, sizeof *t);
	assert_int_equal(fixture_setup(&fixture), 0);
	t->fixture = fixture;
	t->store = fixture_open(t->fixture);
	t->reader = fixture_reader(t->store);
	*state = t;
	return 0;
}

static inline int intake_teardown(void **state)
{
	struct intake_test *t = *state;
	void *fixture = t->fixture;
	store_reader_close(t->reader);
	store_close(t->store);
	free(t);
	return fixture_teardown(&fixture);
}

static inline void reopen(struct intake_test *t)
{
	store_reader_close(t->reader);
	store_close(t->store);
	t->store = fixture_open(t->fixture);
	t->reader = fixture_reader(t->store);
}

static inline bool take_in(struct store_txn *txn, uint32_t n)
{
	struct row row;
	row_fill(&row, txn->store, n);
	return store_take_in(txn, &row.key, &row.record, &row.spans);
}

static inline void take_in_rows(struct intake_test *t, uint32_t first, uint32_t last)
{
	struct store_txn txn;
	store_begin(t->store, &txn, t0);
	for (uint32_t n = first; n <= last; n++) {
		assert_true(take_in(&txn, n));
	}
	assert_int_equal(store_commit(&txn), 0);
}

static inline struct store_settled settle(struct intake_test *t, struct wall now, unsigned max)
{
	struct store_txn txn;
	store_begin(t->store, &txn, t0);
	struct store_settled settled = store_settle(&txn, now, max);
	assert_int_equal(store_commit(&txn), 0);
	return settled;
}

static inline struct store_stats stats_of(struct intake_test *t)
{
	struct store_stats stats;
	assert_int_equal(store_stats_get(t->reader, &stats), 0);
	return stats;
}

static inline bool is_stored(struct intake_test *t, uint32_t n)
{
	struct store_txn txn;
	store_begin(t->store, &txn, t0);
	bool is = row_is_stored(&txn, n);
	store_abort(&txn);
	return is;
}

static inline void assert_sound(struct intake_test *t)
{
	int ret = store_check(t->fixture->dir, FIXTURE_MAP_BYTES, t->fixture->why);
	assert_string_equal(t->fixture->why, "");
	assert_int_equal(ret, 0);
}

static inline unsigned sweep(struct intake_test *t, struct wall now, unsigned max,
                             store_expired *expired)
{
	struct store_txn txn;
	store_begin(t->store, &txn, t0);
	unsigned n = store_sweep(&txn, now, max, expired, t->store);
	assert_int_equal(store_commit(&txn), 0);
	return n;
}
