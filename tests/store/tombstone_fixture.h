/* What the tests of tombstones share: times after t0, and one deleted record of each kind. Include
 * after cmocka.h. */
#pragma once

#include "store_fixture.h"

static const struct wall t0 = {FIXTURE_T0};
static const struct span trap = SPAN("trap@example.org");

static inline struct wall after(int64_t secs)
{
	return (struct wall){FIXTURE_T0 + secs};
}

static inline struct grey_record record_at(int64_t changed_secs, int64_t life_secs)
{
	return (struct grey_record){.first = t0,
	                            .expire = after(life_secs),
	                            .changed_at = after(changed_secs),
	                            .bcount = 1};
}

static inline struct grey_record trap_at(int64_t changed_secs)
{
	return (struct grey_record){.first = t0, .changed_at = after(changed_secs), .bcount = 1};
}

static inline void commit(struct store_txn *txn)
{
	assert_int_equal(store_commit(txn), 0);
}

static inline void close_and_check(struct fixture *f, struct store *store)
{
	store_close(store);
	int ret = store_check(f->dir, FIXTURE_MAP_BYTES, f->why);
	if (ret) {
		print_error("store_check: %s\n", f->why);
	}
	assert_int_equal(ret, 0);
}

/* Rows that a walk of these parts finds, and how many of them are tombstones. */
static inline unsigned walk_count(struct store *store, unsigned parts, unsigned *n_deleted)
{
	struct store_reader *reader = fixture_reader(store);
	struct store_walk *walk = store_walk_new(reader, parts, NULL, NULL);
	const struct store_row *rows = NULL;
	unsigned n_rows = 0;
	int n = 0;
	*n_deleted = 0;
	while ((n = store_walk_next(walk, &rows, NULL)) > 0) {
		n_rows += (unsigned)n;
		for (int i = 0; i < n; i++) {
			*n_deleted += rows[i].record.is_deleted;
		}
	}
	assert_int_equal(n, 0);
	store_walk_free(walk);
	store_reader_close(reader);
	return n_rows;
}

static inline struct store_stats stats_of(struct store *store)
{
	struct store_reader *reader = fixture_reader(store);
	struct store_stats stats;
	assert_int_equal(store_stats_get(reader, &stats), 0);
	store_reader_close(reader);
	return stats;
}

/* A host, a tuple (row 1) and a spamtrap, then all of them buried at t0 + 100. */
static inline void bury_one_of_each(struct store *store)
{
	struct store_txn txn;
	struct row row;
	struct addr host = row_addr(50);
	struct grey_record record = record_at(0, 500);
	struct grey_record trap_record = trap_at(0);
	row_fill(&row, store, 1);
	store_begin(store, &txn, t0);
	row_put(&txn, 1);
	store_put_host(&txn, &host, RECORD_WHITE, &record);
	store_put_trap_address(&txn, trap, &trap_record);
	commit(&txn);
	store_begin(store, &txn, after(100));
	store_bury_tuple(&txn, &row.key, after(100));
	store_bury_host(&txn, &host, RECORD_WHITE, after(100), after(300));
	assert_true(store_bury_trap_address(&txn, trap, after(100)));
	commit(&txn);
}
