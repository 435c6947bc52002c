/* What puts, burials and sweeps make of one another: stamps, lives, and that any history of them
 * leaves a sound store. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include "tombstone_fixture.h"

enum { MAP_BYTES_SMALL = 8 << 20 };

/* --- stamps and lives ------------------------------------------------------------------------- */

enum deed { NOTHING, PUT, BURY };

static void do_deed(struct store_txn *txn, const struct addr *addr, enum deed deed, int64_t secs)
{
	struct grey_record record = record_at(secs, 500);
	switch (deed) {
	case NOTHING:
		break;
	case PUT:
		store_put_host(txn, addr, RECORD_WHITE, &record);
		break;
	case BURY:
		store_bury_host(txn, addr, RECORD_WHITE, after(secs), after(500));
		break;
	}
}

static void the_newer_fact_has_the_later_stamp(void **state)
{
	struct store *store = fixture_open(*state);
	static const struct {
		enum deed before;
		int64_t before_secs;
		enum deed deed;
		int64_t secs;
		int64_t stamp_secs;
	} rows[] = {
	        {NOTHING, 0, PUT, 10, 10}, {NOTHING, 0, BURY, 10, 10}, {PUT, 5, PUT, 10, 10},
	        {PUT, 10, PUT, 10, 10},    {PUT, 50, PUT, 10, 50},     {PUT, 5, BURY, 10, 10},
	        {PUT, 10, BURY, 10, 11},   {PUT, 50, BURY, 10, 51},    {BURY, 5, PUT, 10, 10},
	        {BURY, 10, PUT, 10, 11},   {BURY, 50, PUT, 10, 51},    {BURY, 5, BURY, 10, 10},
	        {BURY, 10, BURY, 10, 10},  {BURY, 50, BURY, 10, 50},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct addr addr = row_addr((uint32_t)i);
		struct store_txn txn;
		struct grey_record found;
		store_begin(store, &txn, t0);
		do_deed(&txn, &addr, rows[i].before, rows[i].before_secs);
		do_deed(&txn, &addr, rows[i].deed, rows[i].secs);
		assert_true(store_get_host_register(&txn, &addr, RECORD_WHITE, &found));
		assert_int_equal(found.is_deleted, rows[i].deed == BURY);
		assert_int_equal(found.changed_at.secs, after(rows[i].stamp_secs).secs);
		commit(&txn);
	}
	store_close(store);
}

static void stamps_of_tuples_and_spamtraps_go_by_the_same_rule(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_txn txn;
	struct row row;
	struct grey_record found;
	struct grey_record trap_record = trap_at(50);
	row_fill(&row, store, 1);
	row.record.changed_at = after(50);
	store_begin(store, &txn, t0);
	store_put_tuple(&txn, &row.key, &row.record, &row.spans);
	row.record.changed_at = after(20);
	row.record.bcount = 7;
	store_update_tuple(&txn, &row.key, &row.record, false);
	assert_true(store_get_tuple(&txn, &row.key, &found));
	assert_int_equal(found.bcount, 7);
	assert_int_equal(found.changed_at.secs, after(50).secs);
	store_bury_tuple(&txn, &row.key, after(20));
	assert_true(store_get_tuple_register(&txn, &row.key, &found));
	assert_int_equal(found.changed_at.secs, after(51).secs);
	store_put_trap_address(&txn, trap, &trap_record);
	assert_true(store_bury_trap_address(&txn, trap, after(20)));
	assert_true(store_get_trap_register(&txn, trap, &found));
	assert_int_equal(found.changed_at.secs, after(51).secs);
	commit(&txn);
	store_close(store);
}

static void a_put_revives_and_an_update_does_not(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_txn txn;
	struct row row;
	struct grey_record found;
	struct addr host = row_addr(50);
	struct grey_record record = record_at(200, 900);
	struct grey_record trap_record = trap_at(200);
	bury_one_of_each(store);
	row_fill(&row, store, 1);
	store_begin(store, &txn, after(200));
	store_update_tuple(&txn, &row.key, &row.record, true);
	assert_int_equal(txn.n_changes, 0);
	assert_false(store_get_tuple(&txn, &row.key, &found));
	row.record.first = after(200);
	store_put_tuple(&txn, &row.key, &row.record, &row.spans);
	store_put_host(&txn, &host, RECORD_WHITE, &record);
	store_put_trap_address(&txn, trap, &trap_record);
	assert_int_equal(txn.n_changes, 3);
	assert_true(store_get_tuple(&txn, &row.key, &found));
	assert_int_equal(found.first.secs, after(200).secs);
	assert_true(store_get_host(&txn, &host, RECORD_WHITE, &found));
	assert_int_equal(found.expire.secs, after(900).secs);
	assert_true(store_has_trap_address(&txn, trap));
	commit(&txn);
	assert_int_equal(stats_of(store).n_tombstones, 0);
	assert_int_equal(stats_of(store).n_expiry, 2);
	close_and_check(f, store);
}

static void a_tombstone_of_an_unknown_host_stands_alone(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_txn txn;
	struct addr host = row_addr(50);
	struct row row;
	struct grey_record found;
	row_fill(&row, store, 1);
	store_begin(store, &txn, t0);
	store_bury_host(&txn, &host, RECORD_TRAPPED, after(10), after(300));
	store_bury_tuple(&txn, &row.key, after(10)); /* whose texts nobody knows */
	assert_false(store_bury_trap_address(&txn, trap, after(10)));
	assert_int_equal(txn.n_changes, 0);
	assert_true(store_get_host_register(&txn, &host, RECORD_TRAPPED, &found));
	assert_int_equal(found.first.secs, 0);
	assert_int_equal(found.expire.secs, after(300).secs);
	assert_int_equal(found.bcount, 0);
	assert_false(store_get_tuple_register(&txn, &row.key, &found));
	assert_true(store_get_trap_register(&txn, trap, &found));
	assert_true(found.is_deleted);
	store_bury_host(&txn, &host, RECORD_TRAPPED, after(20), after(100));
	assert_true(store_get_host_register(&txn, &host, RECORD_TRAPPED, &found));
	assert_int_equal(found.expire.secs, after(300).secs);
	assert_int_equal(found.changed_at.secs, after(20).secs);
	commit(&txn);
	assert_int_equal(stats_of(store).n_tombstones, 2);
	close_and_check(f, store);
}

static void a_tombstone_is_put_as_it_stands(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_txn txn;
	struct row row;
	struct grey_record found;
	struct addr host = row_addr(50);
	struct grey_record record = record_at(100, 200);
	bury_one_of_each(store); /* the host's lives until 500 */
	record.is_deleted = true;
	row_fill(&row, store, 2);
	row.record.is_deleted = true;
	store_begin(store, &txn, after(100));
	store_put_host(&txn, &host, RECORD_WHITE, &record);
	store_put_tuple(&txn, &row.key, &row.record, &row.spans);
	assert_int_equal(txn.n_changes, 0); /* nothing live was there */
	assert_true(store_get_host_register(&txn, &host, RECORD_WHITE, &found));
	assert_int_equal(found.expire.secs, after(200).secs);
	row.record.is_deleted = false;
	store_put_tuple(&txn, &row.key, &row.record, &row.spans);
	row.record.is_deleted = true;
	store_put_tuple(&txn, &row.key, &row.record, &row.spans);
	assert_int_equal(txn.n_changes, 2);
	assert_false(store_get_tuple(&txn, &row.key, &found));
	commit(&txn);
	assert_int_equal(stats_of(store).n_tombstones, 4);
	close_and_check(f, store);
}

static void without_room_only_what_is_there_is_buried(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	struct store_txn txn;
	struct row row;
	struct grey_record found;
	struct addr stranger = row_addr(1U << 30);
	uint32_t n = 0;
	conf.map_bytes = MAP_BYTES_SMALL;
	conf.journal_max = 100;
	assert_int_equal(store_open(&store, &conf, f->why), 0);
	while (rows_commit(store, n, n + 49) == 0) {
		n += 50;
	}
	row_fill(&row, store, 7);
	store_begin(store, &txn, t0);
	store_bury_tuple(&txn, &row.key, after(FIXTURE_LIFE));
	store_bury_host(&txn, &stranger, RECORD_WHITE, t0, after(300));
	assert_false(store_bury_trap_address(&txn, trap, t0));
	assert_false(store_get_host_register(&txn, &stranger, RECORD_WHITE, &found));
	commit(&txn);
	store_begin(store, &txn, t0);
	assert_false(store_get_tuple(&txn, &row.key, &found));
	assert_true(store_get_tuple_register(&txn, &row.key, &found));
	store_abort(&txn);
	store_close(store);
	assert_int_equal(store_check(f->dir, conf.map_bytes, f->why), 0);
}

/* --- all of it, many times -------------------------------------------------------------------- */

enum { N_HOSTS = 20, N_STEPS = 3000, STEPS_PER_COMMIT = 25 };

struct model {
	bool is_there;
	bool is_deleted;
	int64_t stamp_secs;
	int64_t expire_secs;
};

static void model_put(struct model *m, int64_t secs, int64_t life, bool is_deleted, bool is_merge)
{
	bool is_turn = is_deleted != m->is_deleted && !is_merge;
	int64_t least = m->is_there ? m->stamp_secs + is_turn : secs;
	bool keeps = is_deleted && !is_merge && m->is_there && m->expire_secs > life;
	*m = (struct model){.is_there = true,
	                    .is_deleted = is_deleted,
	                    .stamp_secs = secs > least ? secs : least,
	                    .expire_secs = keeps ? m->expire_secs : life};
}

static void model_sweep(struct model *models, int64_t secs)
{
	for (size_t i = 0; i < N_HOSTS; i++) {
		models[i].is_there = models[i].is_there && models[i].expire_secs > secs;
	}
}

/* One random deed on store and model alike. */
static void step(struct store_txn *txn, struct model *models, unsigned *seed)
{
	uint32_t n = (uint32_t)rand_r(seed) % N_HOSTS;
	struct addr addr = row_addr(n);
	int64_t secs = rand_r(seed) % 1000;
	int64_t life = rand_r(seed) % 1000;
	struct grey_record record = record_at(secs, life);
	switch (rand_r(seed) % 8) {
	case 0:
	case 1:
	case 2:
		store_put_host(txn, &addr, RECORD_WHITE, &record);
		model_put(&models[n], secs, life, false, false);
		break;
	case 3:
		record.is_deleted = rand_r(seed) % 2;
		txn->is_merge = true;
		store_put_host(txn, &addr, RECORD_WHITE, &record);
		txn->is_merge = false;
		model_put(&models[n], secs, life, record.is_deleted, true);
		break;
	case 4:
		(void)store_sweep(txn, after(secs / 4), N_HOSTS, NULL, NULL);
		model_sweep(models, secs / 4);
		break;
	default:
		store_bury_host(txn, &addr, RECORD_WHITE, after(secs), after(life));
		model_put(&models[n], secs, life, true, false);
		break;
	}
}

static void assert_like_models(struct store_txn *txn, const struct model *models)
{
	for (uint32_t n = 0; n < N_HOSTS; n++) {
		const struct model *m = &models[n];
		struct addr addr = row_addr(n);
		struct grey_record found;
		assert_int_equal(store_get_host(txn, &addr, RECORD_WHITE, &found),
		                 m->is_there && !m->is_deleted);
		assert_int_equal(store_get_host_register(txn, &addr, RECORD_WHITE, &found),
		                 m->is_there);
		if (m->is_there) {
			assert_int_equal(found.is_deleted, m->is_deleted);
			assert_int_equal(found.changed_at.secs, after(m->stamp_secs).secs);
			assert_int_equal(found.expire.secs, after(m->expire_secs).secs);
		}
	}
}

static void any_history_leaves_a_sound_store(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct model models[N_HOSTS] = {{false, false, 0, 0}};
	unsigned seed = (unsigned)getpid();
	struct store_txn txn;
	print_message("seed %u\n", seed);
	for (int i = 0; i < N_STEPS; i += STEPS_PER_COMMIT) {
		store_begin(store, &txn, t0);
		for (int k = 0; k < STEPS_PER_COMMIT; k++) {
			step(&txn, models, &seed);
		}
		assert_like_models(&txn, models);
		commit(&txn);
		struct store_stats stats = stats_of(store);
		unsigned n_deleted = 0;
		unsigned n = walk_count(store, STORE_WALK_ALL | STORE_WALK_DELETED, &n_deleted);
		assert_int_equal(stats.n_tombstones, n_deleted);
		assert_int_equal(stats.n_hosts, n - n_deleted);
		assert_int_equal(stats.n_expiry, n);
	}
	close_and_check(f, store);
}

#define TOMBSTONE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TOMBSTONE_TEST(the_newer_fact_has_the_later_stamp),
	        TOMBSTONE_TEST(stamps_of_tuples_and_spamtraps_go_by_the_same_rule),
	        TOMBSTONE_TEST(a_put_revives_and_an_update_does_not),
	        TOMBSTONE_TEST(a_tombstone_of_an_unknown_host_stands_alone),
	        TOMBSTONE_TEST(a_tombstone_is_put_as_it_stands),
	        TOMBSTONE_TEST(without_room_only_what_is_there_is_buried),
	        TOMBSTONE_TEST(any_history_leaves_a_sound_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
