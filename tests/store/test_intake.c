/* Tuples that wait for their places: as durable, visible and changeable as any other, whatever
 * comes first; placed in the end with all that a tuple has. Random histories, with and without
 * waiting, end in the same store. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <lmdb.h>
#include <time.h>

#include "intake_fixture.h"

enum {
	N_ROWS = 40,
	N_HISTORY_ROWS = 60,
	N_HISTORY_STEPS = 400,
	N_MANY = 3000,
	ONE_HOST = 8,
};

/* --- waiting ---------------------------------------------------------------------------------- */

static void a_tuple_that_waits_is_found_counted_and_walked(void **state)
{
	struct intake_test *t = *state;
	uint64_t n_bad = 0;
	take_in_rows(t, 0, N_ROWS - 1);
	struct store_stats stats = stats_of(t);
	assert_int_equal(stats.n_waiting, N_ROWS);
	assert_int_equal(stats.n_tuples, N_ROWS);
	assert_int_equal(stats.n_expiry, 0);
	assert_int_equal(stats.n_journal, 0);
	assert_int_equal(store_n_waiting(t->store), N_ROWS);
	assert_int_equal(rows_walk(t->reader, &n_bad), N_ROWS);
	assert_int_equal(n_bad, 0);
	for (uint32_t n = 0; n < N_ROWS; n++) {
		assert_true(is_stored(t, n));
	}
	assert_false(is_stored(t, N_ROWS));
	assert_sound(t);
}

static void its_row_has_its_texts_and_lies_within_the_bounds_of_a_walk(void **state)
{
	struct intake_test *t = *state;
	struct row row;
	const struct store_row *rows = NULL;
	take_in_rows(t, 0, N_ROWS - 1);
	row_fill(&row, t->store, 7);
	struct store_walk *walk =
	        store_walk_new(t->reader, STORE_WALK_TUPLES, &row.key.addr, &row.key.addr);
	assert_int_equal(store_walk_next(walk, &rows, NULL), 1);
	assert_memory_equal(&rows[0].key, &row.key, sizeof row.key);
	assert_true(span_equal(rows[0].text.sender, row.spans.sender));
	assert_true(span_equal(rows[0].text.helo, row.spans.helo));
	assert_int_equal(rows[0].record.bcount, row.record.bcount);
	assert_int_equal(store_walk_next(walk, &rows, NULL), 0);
	store_walk_free(walk);
}

static void the_next_opener_knows_what_waits(void **state)
{
	struct intake_test *t = *state;
	take_in_rows(t, 0, N_ROWS - 1);
	reopen(t);
	assert_int_equal(store_n_waiting(t->store), N_ROWS);
	assert_true(is_stored(t, 3));
	take_in_rows(t, N_ROWS, N_ROWS + 9);
	assert_int_equal(settle(t, t0, STORE_SETTLE_MAX).n_placed, N_ROWS + 10);
	assert_int_equal(stats_of(t).n_tuples, N_ROWS + 10);
	assert_sound(t);
}

/* --- places ----------------------------------------------------------------------------------- */

static void places_are_given_to_the_oldest_with_expiry_and_journal(void **state)
{
	struct intake_test *t = *state;
	struct journal_change changes[N_ROWS];
	take_in_rows(t, 0, N_ROWS - 1);
	assert_int_equal(settle(t, t0, 10).n_placed, 10);
	struct store_stats stats = stats_of(t);
	assert_int_equal(stats.n_waiting, N_ROWS - 10);
	assert_int_equal(stats.n_tuples, N_ROWS);
	assert_int_equal(stats.n_expiry, 10);
	assert_int_equal(store_journal_read(t->reader, 0, changes, N_ROWS), 10);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(changes[i].kind, RECORD_GREY);
		assert_int_equal(changes[i].origin, ORIGIN_ATTEMPT);
		assert_false(changes[i].is_deleted);
	}
	assert_sound(t);
	assert_int_equal(settle(t, t0, STORE_SETTLE_MAX).n_placed, N_ROWS - 10);
	assert_int_equal(stats_of(t).n_waiting, 0);
	assert_int_equal(settle(t, t0, STORE_SETTLE_MAX).n_placed, 0);
	for (uint32_t n = 0; n < N_ROWS; n++) {
		assert_true(is_stored(t, n));
	}
	assert_sound(t);
}

static void what_expired_while_it_waited_goes_untold(void **state)
{
	struct intake_test *t = *state;
	struct wall later = {FIXTURE_T0 + FIXTURE_LIFE + 4}; /* of rows 0 to 4 the end */
	take_in_rows(t, 0, 9);
	struct store_settled settled = settle(t, later, STORE_SETTLE_MAX);
	assert_int_equal(settled.n_expired, 5);
	assert_int_equal(settled.n_placed, 5);
	assert_int_equal(store_journal_last(t->reader), 5);
	assert_false(is_stored(t, 4));
	assert_true(is_stored(t, 5));
	assert_sound(t);
}

static unsigned n_told;

static void on_expired(void *ctx, enum record_kind kind, const struct tuple_key *key)
{
	struct store *store = ctx;
	struct row row;
	row_fill(&row, store, n_told++);
	assert_int_equal(kind, RECORD_GREY);
	assert_memory_equal(key, &row.key, sizeof row.key);
}

static void the_sweep_takes_the_oldest_whose_lives_have_ended(void **state)
{
	struct intake_test *t = *state;
	struct wall later = {FIXTURE_T0 + FIXTURE_LIFE + 4}; /* of rows 0 to 4 the end */
	take_in_rows(t, 0, 9);
	n_told = 0;
	assert_int_equal(sweep(t, (struct wall){later.secs - 5}, 100, on_expired), 0);
	assert_int_equal(sweep(t, later, 3, on_expired), 3);
	assert_int_equal(sweep(t, later, 3, on_expired), 2);
	assert_int_equal(sweep(t, later, 3, on_expired), 0);
	assert_int_equal(n_told, 5);
	assert_int_equal(store_n_waiting(t->store), 5);
	assert_int_equal(stats_of(t).n_waiting, 5);
	assert_int_equal(store_journal_last(t->reader), 0);
	assert_sound(t);
}

static void thousands_get_their_places_in_bounded_groups(void **state)
{
	struct intake_test *t = *state;
	unsigned n_groups = 0;
	take_in_rows(t, 0, N_MANY - 1);
	while (store_n_waiting(t->store) > 0) {
		assert_in_range(settle(t, t0, UINT32_MAX).n_placed, 1, STORE_SETTLE_MAX);
		n_groups++;
	}
	assert_int_equal(n_groups, (N_MANY + STORE_SETTLE_MAX - 1) / STORE_SETTLE_MAX);
	assert_int_equal(stats_of(t).n_tuples, N_MANY);
	assert_sound(t);
}

/* --- changes of what waits -------------------------------------------------------------------- */

static void a_mere_count_leaves_it_waiting(void **state)
{
	struct intake_test *t = *state;
	struct store_txn txn;
	struct row row;
	struct grey_record record;
	uint8_t buf[STORE_TEXT_BYTES];
	struct tuple_text text;
	take_in_rows(t, 0, 2);
	row_fill(&row, t->store, 1);
	row.record.bcount = 100;
	store_begin(t->store, &txn, t0);
	store_update_tuple(&txn, &row.key, &row.record, false);
	assert_int_equal(store_commit(&txn), 0);
	reopen(t);
	assert_int_equal(store_n_waiting(t->store), 3);
	store_begin(t->store, &txn, t0);
	assert_true(store_get_tuple(&txn, &row.key, &record));
	assert_int_equal(record.bcount, 100);
	assert_true(store_get_tuple_text(&txn, &row.key, buf, &text));
	assert_true(span_equal(text.sender, row.spans.sender));
	store_abort(&txn);
	assert_sound(t);
	assert_int_equal(settle(t, t0, STORE_SETTLE_MAX).n_placed, 3);
	assert_int_equal(stats_of(t).n_journal, 3);
	assert_sound(t);
}

static void an_update_a_put_and_a_burial_give_it_its_place_first(void **state)
{
	struct intake_test *t = *state;
	struct store_txn txn;
	struct grey_record record;
	struct row row[3];
	take_in_rows(t, 0, 2);
	store_begin(t->store, &txn, t0);
	for (uint32_t n = 0; n < 3; n++) {
		row_fill(&row[n], t->store, n);
		row[n].record.bcount = 100;
	}
	store_update_tuple(&txn, &row[0].key, &row[0].record, true);
	store_put_tuple(&txn, &row[1].key, &row[1].record, &row[1].spans);
	store_bury_tuple(&txn, &row[2].key, t0);
	assert_int_equal(store_n_waiting(t->store), 0);
	assert_true(store_get_tuple(&txn, &row[0].key, &record));
	assert_int_equal(record.bcount, 100);
	assert_int_equal(store_commit(&txn), 0);
	struct store_stats stats = stats_of(t);
	assert_int_equal(stats.n_tuples, 2);
	assert_int_equal(stats.n_tombstones, 1);
	assert_int_equal(stats.n_expiry, 3);
	assert_int_equal(stats.n_journal, 6); /* three places, an update, a put, a deletion */
	assert_sound(t);
}

static void an_abort_takes_back_what_came_and_what_got_its_place(void **state)
{
	struct intake_test *t = *state;
	struct store_txn txn;
	struct row row;
	take_in_rows(t, 0, 4);
	store_begin(t->store, &txn, t0);
	assert_true(take_in(&txn, 5));
	assert_int_equal(store_n_waiting(t->store), 6);
	row_fill(&row, t->store, 2);
	store_bury_tuple(&txn, &row.key, t0);
	assert_int_equal(store_settle(&txn, t0, 2).n_placed, 2);
	assert_int_equal(store_n_waiting(t->store), 3);
	store_abort(&txn);
	assert_int_equal(store_n_waiting(t->store), 5);
	for (uint32_t n = 0; n < 5; n++) {
		assert_true(is_stored(t, n));
	}
	assert_false(is_stored(t, 5));
	take_in_rows(t, 5, 5); /* under another number */
	assert_int_equal(settle(t, t0, STORE_SETTLE_MAX).n_placed, 6);
	assert_sound(t);
}

static void a_tuple_is_not_taken_in_twice(void **state)
{
	struct intake_test *t = *state;
	struct store_txn txn;
	store_begin(t->store, &txn, t0);
	assert_true(take_in(&txn, 1));
	assert_false(take_in(&txn, 1));
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(stats_of(t).n_waiting, 1);
}

/* --- whole hosts ------------------------------------------------------------------------------ */

/* Tuple n of one host. */
static struct tuple_key host_tuple(struct store_txn *txn, uint32_t n, bool is_taken_in)
{
	struct row row;
	row_fill(&row, txn->store, n);
	row.key.addr = row_addr(ONE_HOST);
	if (is_taken_in) {
		assert_true(store_take_in(txn, &row.key, &row.record, &row.spans));
	} else {
		store_put_tuple(txn, &row.key, &row.record, &row.spans);
	}
	return row.key;
}

static void a_hosts_tuples_are_found_one_by_one_until_none_is_left(void **state)
{
	struct intake_test *t = *state;
	struct store_txn txn;
	struct tuple_key key;
	struct addr host = row_addr(ONE_HOST);
	struct addr other = row_addr(ONE_HOST + 1);
	store_begin(t->store, &txn, t0);
	assert_false(store_has_tuple_of(&txn, &host));
	for (uint32_t n = 0; n < 6; n++) {
		(void)host_tuple(&txn, n, n % 2 == 0);
	}
	assert_int_equal(store_commit(&txn), 0);
	store_begin(t->store, &txn, t0);
	for (int i = 0; i < 6; i++) {
		assert_true(store_has_tuple_of(&txn, &host));
		assert_true(store_first_tuple(&txn, &host, &key));
		assert_true(addr_equal(&key.addr, &host));
		store_bury_tuple(&txn, &key, t0);
	}
	assert_false(store_first_tuple(&txn, &host, &key));
	assert_false(store_has_tuple_of(&txn, &host));
	assert_false(store_has_tuple_of(&txn, &other));
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(stats_of(t).n_tombstones, 6);
	assert_sound(t);
}

/* Of many that wait, some are one host's; a part of its deletions is taken back. */
static void a_hosts_tuples_are_found_among_many_that_wait(void **state)
{
	struct intake_test *t = *state;
	struct store_txn txn;
	struct tuple_key key;
	struct addr host = row_addr(ONE_HOST);
	store_begin(t->store, &txn, t0);
	for (uint32_t n = N_MANY; n < 2 * N_MANY; n++) {
		assert_true(take_in(&txn, n));
		if (n % 100 == 0) {
			(void)host_tuple(&txn, n, true);
		}
	}
	assert_int_equal(store_commit(&txn), 0);
	for (int is_kept = 0; is_kept < 2; is_kept++) {
		store_begin(t->store, &txn, t0);
		for (int i = 0; i < N_MANY / 100; i++) {
			assert_true(store_first_tuple(&txn, &host, &key));
			store_bury_tuple(&txn, &key, t0);
		}
		assert_false(store_first_tuple(&txn, &host, &key));
		if (is_kept) {
			(void)host_tuple(&txn, 1, true);
			assert_true(store_first_tuple(&txn, &host, &key));
			assert_int_equal(store_commit(&txn), 0);
		} else {
			store_abort(&txn);
		}
	}
	assert_int_equal(store_n_waiting(t->store), N_MANY + 1);
	assert_sound(t);
}

/* --- damage ----------------------------------------------------------------------------------- */

/* Changes a byte of the value of the intake's first row, or gives its tuple a place, too. */
static void damage(struct intake_test *t, bool is_place_given)
{
	MDB_env *env = NULL;
	MDB_txn *txn = NULL;
	MDB_dbi intake = 0;
	MDB_dbi tuple = 0;
	MDB_cursor *cursor = NULL;
	MDB_val key;
	MDB_val data;
	uint8_t bytes[RECORD_VALUE_MAX];
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_mapsize(env, FIXTURE_MAP_BYTES), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 16), 0);
	assert_int_equal(mdb_env_open(env, t->fixture->dir, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "intake", 0, &intake), 0);
	assert_int_equal(mdb_dbi_open(txn, "tuple", 0, &tuple), 0);
	assert_int_equal(mdb_cursor_open(txn, intake, &cursor), 0);
	assert_int_equal(mdb_cursor_get(cursor, &key, &data, MDB_FIRST), 0);
	memcpy(bytes, data.mv_data, data.mv_size);
	if (is_place_given) {
		MDB_val at = {RECORD_TUPLE_KEY_BYTES, bytes};
		MDB_val value = {data.mv_size - at.mv_size, bytes + at.mv_size};
		assert_int_equal(mdb_put(txn, tuple, &at, &value, 0), 0);
	} else {
		bytes[data.mv_size - 1] ^= 1;
		data.mv_data = bytes;
		assert_int_equal(mdb_cursor_put(cursor, &key, &data, MDB_CURRENT), 0);
	}
	mdb_cursor_close(cursor);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void a_damaged_row_is_found_by_the_check_and_counts_as_absent(void **state)
{
	struct intake_test *t = *state;
	struct store_txn txn;
	uint64_t n_bad = 0;
	take_in_rows(t, 0, 2);
	store_reader_close(t->reader);
	store_close(t->store);
	damage(t, false);
	assert_int_equal(store_check(t->fixture->dir, FIXTURE_MAP_BYTES, t->fixture->why),
	                 ERR_CORRUPT);
	assert_non_null(strstr(t->fixture->why, "intake"));
	t->store = fixture_open(t->fixture);
	t->reader = fixture_reader(t->store);
	assert_int_equal(rows_walk(t->reader, &n_bad), 2);
	assert_int_equal(n_bad, 1);
	assert_false(is_stored(t, 0));
	store_begin(t->store, &txn, t0);
	assert_int_equal(store_settle(&txn, t0, 10).n_placed, 3);
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(store_n_waiting(t->store), 0);
	assert_int_equal(stats_of(t).n_tuples, 2);
	assert_sound(t);
}

static void the_check_finds_a_tuple_that_waits_and_has_its_place(void **state)
{
	struct intake_test *t = *state;
	take_in_rows(t, 0, 2);
	store_reader_close(t->reader);
	store_close(t->store);
	damage(t, true);
	assert_int_equal(store_check(t->fixture->dir, FIXTURE_MAP_BYTES, t->fixture->why),
	                 ERR_CORRUPT);
	t->store = fixture_open(t->fixture);
	t->reader = fixture_reader(t->store);
}

/* --- histories -------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

/* A step on one tuple as the keeper would take it; the second store takes nothing in. */
static void step(struct store_txn *txn, uint32_t what, uint32_t n, bool may_wait)
{
	struct row row;
	struct grey_record old;
	row_fill(&row, txn->store, n);
	row.record.bcount = what;
	bool is_known = store_get_tuple_register(txn, &row.key, &old);
	switch (what % 4) {
	case 0:
		store_bury_tuple(txn, &row.key, (struct wall){FIXTURE_T0 + what});
		break;
	case 1:
		store_update_tuple(txn, &row.key, &row.record, what % 8 == 1);
		break;
	default:
		if (is_known || !may_wait ||
		    !store_take_in(txn, &row.key, &row.record, &row.spans)) {
			store_put_tuple(txn, &row.key, &row.record, &row.spans);
		}
		break;
	}
}

/* The same steps on both, committed or aborted alike. */
static void histories_step(struct store *const stores[2], uint32_t *x, unsigned n_steps)
{
	uint32_t seed = next_random(x);
	bool is_aborted = next_random(x) % 4 == 0;
	for (int i = 0; i < 2; i++) {
		struct store_txn txn;
		uint32_t own = seed | 1U;
		store_begin(stores[i], &txn, t0);
		for (unsigned s = 0; s < n_steps; s++) {
			uint32_t what = next_random(&own) % 1000;
			step(&txn, what, next_random(&own) % N_HISTORY_ROWS, i == 0);
		}
		if (i == 0 && seed % 3 == 0) {
			(void)store_settle(&txn, (struct wall){0}, seed % 16);
		}
		if (is_aborted) {
			store_abort(&txn);
		} else {
			assert_int_equal(store_commit(&txn), 0);
		}
	}
}

static void assert_same_rows(struct store *const stores[2])
{
	for (uint32_t n = 0; n < N_HISTORY_ROWS; n++) {
		struct grey_record record[2];
		bool is_there[2];
		for (int i = 0; i < 2; i++) {
			struct store_txn txn;
			struct row row;
			memset(&record[i], 0, sizeof record[i]);
			store_begin(stores[i], &txn, t0);
			row_fill(&row, stores[i], n);
			is_there[i] = store_get_tuple_register(&txn, &row.key, &record[i]);
			store_abort(&txn);
		}
		assert_int_equal(is_there[0], is_there[1]);
		assert_int_equal(record[0].bcount, record[1].bcount);
		assert_int_equal(record[0].is_deleted, record[1].is_deleted);
		assert_int_equal(record[0].changed_at.secs, record[1].changed_at.secs);
		assert_int_equal(record[0].expire.secs, record[1].expire.secs);
	}
}

static void histories_end_alike_with_and_without_waiting(void **state)
{
	struct intake_test *t = *state;
	void *other = NULL;
	uint32_t x = (uint32_t)time(NULL) | 1U;
	print_message("seed %u\n", x);
	assert_int_equal(intake_setup(&other), 0);
	struct intake_test *plain = other;
	for (int i = 0; i < N_HISTORY_STEPS; i++) {
		struct store *const stores[2] = {t->store, plain->store};
		histories_step(stores, &x, 1 + next_random(&x) % 12);
		if (i % 40 == 0) {
			assert_same_rows(stores);
			assert_int_equal(stats_of(t).n_tuples, stats_of(plain).n_tuples);
		}
		if (i % 100 == 0) {
			assert_sound(t);
			reopen(t);
		}
	}
	while (store_n_waiting(t->store) > 0) {
		(void)settle(t, (struct wall){0}, 7);
	}
	assert_same_rows((struct store *const[2]){t->store, plain->store});
	assert_int_equal(stats_of(t).n_expiry, stats_of(plain).n_expiry);
	assert_int_equal(stats_of(t).n_tombstones, stats_of(plain).n_tombstones);
	assert_sound(t);
	assert_int_equal(intake_teardown(&other), 0);
}

/* LMDB's branch pages: a header of 16 bytes with flags at 10 and the end of the nodes' places at
 * 12, the places, and nodes that begin with the number of the page below. */
static void lead_to_itself(uint8_t *page, uint64_t pgno)
{
	enum { FLAGS_AT = 10, LOWER_AT = 12, HEADER_BYTES = 16, IS_BRANCH = 1 };
	uint16_t flags;
	uint16_t lower;
	memcpy(&flags, page + FLAGS_AT, sizeof flags);
	memcpy(&lower, page + LOWER_AT, sizeof lower);
	for (unsigned at = HEADER_BYTES; flags == IS_BRANCH && at < lower; at += 2) {
		uint16_t node;
		memcpy(&node, page + at, sizeof node);
		memcpy(page + node, &pgno, 6);
	}
}

static void a_damaged_tree_of_waiting_tuples_is_refused_as_damage(void **state)
{
	enum { PAGE_BYTES = 4096, N_PAGES_MAX = 512 };
	struct intake_test *t = *state;
	char path[FIXTURE_PATH_MAX + 64];
	static uint8_t pages[N_PAGES_MAX][PAGE_BYTES];
	take_in_rows(t, 0, 199);
	store_reader_close(t->reader);
	store_close(t->store);
	t->reader = NULL;
	t->store = NULL;
	fixture_path(t->fixture, "data.mdb", path);
	FILE *file = fopen(path, "r+e");
	assert_non_null(file);
	size_t n = fread(pages, PAGE_BYTES, N_PAGES_MAX, file);
	for (size_t i = 2; i < n; i++) {
		lead_to_itself(pages[i], i);
	}
	rewind(file);
	assert_int_equal(fwrite(pages, PAGE_BYTES, n, file), n);
	assert_int_equal(fclose(file), 0);
	struct store_conf conf = fixture_conf(t->fixture);
	assert_int_equal(store_open(&t->store, &conf, t->fixture->why), ERR_CORRUPT);
	assert_non_null(strstr(t->fixture->why, "put back a backup"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        INTAKE_TEST(a_tuple_that_waits_is_found_counted_and_walked),
	        INTAKE_TEST(its_row_has_its_texts_and_lies_within_the_bounds_of_a_walk),
	        INTAKE_TEST(the_next_opener_knows_what_waits),
	        INTAKE_TEST(places_are_given_to_the_oldest_with_expiry_and_journal),
	        INTAKE_TEST(what_expired_while_it_waited_goes_untold),
	        INTAKE_TEST(the_sweep_takes_the_oldest_whose_lives_have_ended),
	        INTAKE_TEST(a_mere_count_leaves_it_waiting),
	        INTAKE_TEST(thousands_get_their_places_in_bounded_groups),
	        INTAKE_TEST(an_update_a_put_and_a_burial_give_it_its_place_first),
	        INTAKE_TEST(an_abort_takes_back_what_came_and_what_got_its_place),
	        INTAKE_TEST(a_tuple_is_not_taken_in_twice),
	        INTAKE_TEST(a_hosts_tuples_are_found_one_by_one_until_none_is_left),
	        INTAKE_TEST(a_hosts_tuples_are_found_among_many_that_wait),
	        INTAKE_TEST(a_damaged_row_is_found_by_the_check_and_counts_as_absent),
	        INTAKE_TEST(the_check_finds_a_tuple_that_waits_and_has_its_place),
	        INTAKE_TEST(a_damaged_tree_of_waiting_tuples_is_refused_as_damage),
	        INTAKE_TEST(histories_end_alike_with_and_without_waiting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
