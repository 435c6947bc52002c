/* Spamtrap addresses in the store: put, found, deleted, told by the journal, walked; walks of parts
 * and between bounds; a store of the time before spamtraps. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "store_fixture.h"

static const struct wall t0 = {FIXTURE_T0};

static struct grey_record trap_record(void)
{
	return (struct grey_record){.first = t0, .changed_at = t0, .bcount = 1};
}

static void put_traps(struct store *store, const char *const *addresses, size_t n)
{
	struct store_txn txn;
	struct grey_record record = trap_record();
	store_begin(store, &txn, t0);
	for (size_t i = 0; i < n; i++) {
		store_put_trap_address(&txn, span_of_str(addresses[i]), &record);
	}
	assert_int_equal(store_commit(&txn), 0);
}

static void a_spamtrap_is_there_until_it_is_deleted(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_reader *reader = fixture_reader(store);
	static const char *const addresses[] = {"trap@example.org", "other@example.org"};
	struct grey_record found;
	put_traps(store, addresses, 2);
	assert_int_equal(store_reader_trap_address(reader, SPAN("trap@example.org"), &found), 1);
	assert_int_equal(found.first.secs, FIXTURE_T0);
	assert_int_equal(found.expire.secs, 0);
	assert_int_equal(store_reader_trap_address(reader, SPAN("trap@example.or"), &found), 0);
	struct store_txn txn;
	store_begin(store, &txn, t0);
	assert_true(store_has_trap_address(&txn, SPAN("trap@example.org")));
	assert_false(store_has_trap_address(&txn, SPAN("nobody@example.org")));
	assert_true(store_bury_trap_address(&txn, SPAN("trap@example.org"), txn.now));
	assert_false(store_bury_trap_address(&txn, SPAN("trap@example.org"), txn.now));
	assert_false(store_has_trap_address(&txn, SPAN("trap@example.org")));
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(store_reader_trap_address(reader, SPAN("trap@example.org"), &found), 0);
	assert_int_equal(store_reader_trap_address(reader, SPAN("other@example.org"), &found), 1);
	struct store_stats stats;
	assert_int_equal(store_stats_get(reader, &stats), 0);
	assert_int_equal(stats.n_trap_addresses, 1);
	assert_int_equal(stats.n_expiry, 0);
	store_reader_close(reader);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

static void the_sweep_leaves_spamtraps_alone(void **state)
{
	struct store *store = fixture_open(*state);
	static const char *const addresses[] = {"trap@example.org"};
	put_traps(store, addresses, 1);
	struct store_txn txn;
	store_begin(store, &txn, t0);
	assert_int_equal(store_sweep(&txn, (struct wall){INT64_C(1) << 40}, 10, NULL, NULL), 0);
	assert_true(store_has_trap_address(&txn, SPAN("trap@example.org")));
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);
}

static void the_journal_names_spamtraps_by_their_hash(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_reader *reader = fixture_reader(store);
	static const char *const addresses[] = {"trap@example.org"};
	struct journal_change changes[4];
	uint8_t hash[RECORD_HASH_BYTES];
	put_traps(store, addresses, 1);
	struct store_txn txn;
	store_begin(store, &txn, t0);
	assert_true(store_bury_trap_address(&txn, SPAN("trap@example.org"), txn.now));
	assert_int_equal(store_commit(&txn), 0);
	record_trap_hash(store_hash_key(store), SPAN("trap@example.org"), hash);
	assert_int_equal(store_journal_read(reader, 0, changes, 4), 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(changes[i].kind, RECORD_TRAP_ADDRESS);
		assert_int_equal(changes[i].is_deleted, i);
		assert_memory_equal(changes[i].hash, hash, sizeof hash);
	}
	store_reader_close(reader);
	store_close(store);
}

static void a_change_leads_to_its_record_with_its_texts(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_reader *reader = fixture_reader(store);
	static const char *const addresses[] = {"trap@example.org"};
	struct journal_change changes[4];
	uint8_t buf[STORE_TEXT_BYTES];
	struct store_row found;
	struct row row;
	row_fill(&row, store, 1);
	put_traps(store, addresses, 1);
	assert_int_equal(rows_commit(store, 1, 1), 0);
	assert_int_equal(store_journal_read(reader, 0, changes, 4), 2);
	assert_int_equal(store_reader_changed(reader, &changes[0], buf, &found), 1);
	assert_int_equal(found.kind, RECORD_TRAP_ADDRESS);
	assert_true(span_equal(found.text.recipient, SPAN("trap@example.org")));
	assert_int_equal(store_reader_changed(reader, &changes[1], buf, &found), 1);
	assert_int_equal(found.kind, RECORD_GREY);
	assert_int_equal(found.record.bcount, row.record.bcount);
	assert_true(span_equal(found.text.helo, row.spans.helo));
	assert_true(span_equal(found.text.sender, row.spans.sender));
	changes[1].kind = RECORD_WHITE;
	assert_int_equal(store_reader_changed(reader, &changes[1], buf, &found), 0);
	store_reader_close(reader);
	store_close(store);
}

/* --- walks ------------------------------------------------------------------------------------ */

static int walk_parts(struct store_reader *reader, unsigned parts, unsigned n_of[static 5])
{
	struct store_walk *walk = store_walk_new(reader, parts, NULL, NULL);
	const struct store_row *rows = NULL;
	int n = 0;
	memset(n_of, 0, 5 * sizeof *n_of);
	while ((n = store_walk_next(walk, &rows, NULL)) > 0) {
		for (int i = 0; i < n; i++) {
			n_of[rows[i].kind]++;
		}
	}
	store_walk_free(walk);
	return n;
}

static void a_walk_visits_the_parts_it_was_asked_for(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_reader *reader = fixture_reader(store);
	static const char *const addresses[] = {"a@example.org", "b@example.org", "c@example.org"};
	unsigned n[5];
	struct addr host = row_addr(1);
	struct grey_record record = row_record(1);
	put_traps(store, addresses, 3);
	assert_int_equal(rows_commit(store, 0, 4), 0);
	struct store_txn txn;
	store_begin(store, &txn, t0);
	store_put_host(&txn, &host, RECORD_WHITE, &record);
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(walk_parts(reader, STORE_WALK_ALL, n), 0);
	assert_int_equal(n[RECORD_WHITE], 1);
	assert_int_equal(n[RECORD_GREY], 5);
	assert_int_equal(n[RECORD_TRAP_ADDRESS], 3);
	assert_int_equal(walk_parts(reader, STORE_WALK_HOSTS | STORE_WALK_TRAP_ADDRESSES, n), 0);
	assert_int_equal(n[RECORD_WHITE] + n[RECORD_GREY] + n[RECORD_TRAP_ADDRESS], 4);
	assert_int_equal(n[RECORD_GREY], 0);
	assert_int_equal(walk_parts(reader, 0, n), 0);
	assert_int_equal(n[RECORD_WHITE] + n[RECORD_GREY] + n[RECORD_TRAP_ADDRESS], 0);
	store_reader_close(reader);
	store_close(store);
}

static void a_walk_carries_the_text_of_spamtraps(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_reader *reader = fixture_reader(store);
	static const char *const addresses[] = {"trap@example.org"};
	const struct store_row *rows = NULL;
	put_traps(store, addresses, 1);
	struct store_walk *walk = store_walk_new(reader, STORE_WALK_TRAP_ADDRESSES, NULL, NULL);
	assert_int_equal(store_walk_next(walk, &rows, NULL), 1);
	assert_int_equal(rows[0].kind, RECORD_TRAP_ADDRESS);
	assert_true(span_equal(rows[0].text.recipient, SPAN("trap@example.org")));
	assert_int_equal(rows[0].text.helo.len + rows[0].text.sender.len, 0);
	store_walk_free(walk);
	store_reader_close(reader);
	store_close(store);
}

static struct addr v4(uint32_t host_order)
{
	return addr_from_v4_be(__builtin_bswap32(host_order));
}

static void put_white(struct store *store, uint32_t first, uint32_t n)
{
	struct store_txn txn;
	struct grey_record record = row_record(1);
	store_begin(store, &txn, t0);
	for (uint32_t i = 0; i < n; i++) {
		struct addr addr = v4(first + i);
		store_put_host(&txn, &addr, RECORD_WHITE, &record);
	}
	assert_int_equal(store_commit(&txn), 0);
}

static void put_tuple_of(struct store *store, uint32_t host)
{
	struct row row;
	struct store_txn txn;
	row_fill(&row, store, 1);
	row.key.addr = v4(host);
	store_begin(store, &txn, t0);
	store_put_tuple(&txn, &row.key, &row.record, &row.spans);
	assert_int_equal(store_commit(&txn), 0);
}

static int64_t count_between(struct store_reader *reader, uint32_t first, uint32_t last)
{
	struct addr lowest = v4(first);
	struct addr highest = v4(last);
	struct store_walk *walk =
	        store_walk_new(reader, STORE_WALK_HOSTS | STORE_WALK_TUPLES, &lowest, &highest);
	const struct store_row *rows = NULL;
	int64_t n_rows = 0;
	int n = 0;
	while ((n = store_walk_next(walk, &rows, NULL)) > 0) {
		for (int i = 0; i < n; i++) {
			const uint8_t *addr = rows[i].key.addr.bytes;
			assert_true(memcmp(addr, lowest.bytes, sizeof lowest.bytes) >= 0);
			assert_true(memcmp(addr, highest.bytes, sizeof highest.bytes) <= 0);
		}
		n_rows += n;
	}
	store_walk_free(walk);
	assert_int_equal(n, 0);
	return n_rows;
}

static void bounds_are_inclusive_and_hold_across_slices(void **state)
{
	struct store *store = fixture_open(*state);
	struct store_reader *reader = fixture_reader(store);
	put_white(store, 0x0a000000, 1000);
	put_white(store, 0x0a000000 + 1000, 1000);
	put_white(store, 0x0a000000 + 2000, 1000);
	put_tuple_of(store, 0x0a000000);
	put_tuple_of(store, 0x0a000010);
	put_tuple_of(store, 0x0a000fff);
	assert_int_equal(count_between(reader, 0x0a000000, 0x0a000000), 2);
	assert_int_equal(count_between(reader, 0x0a000001, 0x0a00000f), 15);
	assert_int_equal(count_between(reader, 0x0a000001, 0x0a000010), 17);
	assert_int_equal(count_between(reader, 0x0a000000, 0x0a0007ff), 2048 + 2);
	assert_int_equal(count_between(reader, 0x0a000000, 0x0a0fffff), 3000 + 3);
	assert_int_equal(count_between(reader, 0x09000000, 0x09ffffff), 0);
	assert_int_equal(count_between(reader, 0x0b000000, 0x0bffffff), 0);
	assert_int_equal(count_between(reader, 0x0a000010, 0x0a00000f), 0);
	store_reader_close(reader);
	store_close(store);
}

static void the_first_tuple_of_a_host_is_found_by_its_address(void **state)
{
	struct store *store = fixture_open(*state);
	struct tuple_key key;
	struct store_txn txn;
	put_tuple_of(store, 0x0a000010);
	put_tuple_of(store, 0x0a000020);
	store_begin(store, &txn, t0);
	struct addr host = v4(0x0a000010);
	struct addr before = v4(0x0a00000f);
	struct addr behind = v4(0x0a000021);
	assert_false(store_first_tuple(&txn, &before, &key));
	assert_false(store_first_tuple(&txn, &behind, &key));
	assert_true(store_first_tuple(&txn, &host, &key));
	assert_true(addr_equal(&key.addr, &host));
	store_bury_tuple(&txn, &key, txn.now);
	assert_false(store_first_tuple(&txn, &host, &key));
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);
}

#define TRAP_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TRAP_TEST(a_spamtrap_is_there_until_it_is_deleted),
	        TRAP_TEST(the_sweep_leaves_spamtraps_alone),
	        TRAP_TEST(the_journal_names_spamtraps_by_their_hash),
	        TRAP_TEST(a_change_leads_to_its_record_with_its_texts),
	        TRAP_TEST(a_walk_visits_the_parts_it_was_asked_for),
	        TRAP_TEST(a_walk_carries_the_text_of_spamtraps),
	        TRAP_TEST(bounds_are_inclusive_and_hold_across_slices),
	        TRAP_TEST(the_first_tuple_of_a_host_is_found_by_its_address),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
