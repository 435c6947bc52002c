/* kill -9 of a writer at random moments: the store holds exactly what was acknowledged, tombstones,
 * journal and cursor included, and at most the one commit that was complete before its
 * acknowledgement got out. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "store_fixture.h"

enum { N_KILLS = 60, KILL_AFTER_US_MAX = 30000, CHECK_EVERY = 10, BURY_EVERY = 3 };

/* Rows of the batch that begins at `first`: follows from it, so the parent knows the boundaries. */
static uint32_t batch_size(uint32_t first)
{
	return 1 + first * 7919 % 40;
}

static bool is_buried(uint32_t n)
{
	return n % BURY_EVERY == 0;
}

/* How many of the first n rows are. */
static uint32_t count_buried(uint32_t n)
{
	return (n + BURY_EVERY - 1) / BURY_EVERY;
}

/* The rows, some of them buried in the same breath, and a cursor that says how far it is. */
static int batch_commit(struct store *store, uint32_t first, uint32_t next)
{
	struct store_txn txn;
	struct row row;
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	for (uint32_t n = first; n < next; n++) {
		row_put(&txn, n);
		if (is_buried(n)) {
			row_fill(&row, store, n);
			store_bury_tuple(&txn, &row.key, row.record.changed_at);
		}
	}
	store_put_cursor(&txn, "rows", next);
	return store_commit(&txn);
}

/* Commits batches from row `first` on until it is killed; reports after each. */
static void write_until_killed(struct fixture *f, uint32_t first, int report_fd)
{
	struct store *store = fixture_open(f);
	for (uint32_t n = first;; n += batch_size(n)) {
		uint32_t next = n + batch_size(n);
		if (batch_commit(store, n, next) ||
		    write(report_fd, &next, sizeof next) != sizeof next) {
			_exit(1);
		}
	}
}

/* Kills a writer after a while; the number of rows it acknowledged. */
static uint32_t kill_one(struct fixture *f, uint32_t first, unsigned after_us)
{
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		(void)close(fds[0]);
		write_until_killed(f, first, fds[1]);
	}
	(void)close(fds[1]);
	(void)nanosleep(&(struct timespec){.tv_nsec = (long)after_us * 1000}, NULL);
	(void)kill(pid, SIGKILL);
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	uint32_t acked = first;
	uint32_t next = 0;
	while (read(fds[0], &next, sizeof next) == sizeof next) {
		acked = next;
	}
	(void)close(fds[0]);
	return acked;
}

/* Rows 0..n-1, each alive or buried as it should be. */
static void assert_rows(struct store *store, uint32_t n)
{
	struct store_txn txn;
	struct row row;
	struct grey_record found;
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(row_is_stored(&txn, i), !is_buried(i));
		row_fill(&row, store, i);
		assert_true(store_get_tuple_register(&txn, &row.key, &found));
		assert_int_equal(found.is_deleted, is_buried(i));
	}
	store_abort(&txn);
}

/* The rows in the store are exactly 0..n-1 for the returned n. */
static uint32_t verify(struct fixture *f, uint32_t acked)
{
	struct store *store = fixture_open(f);
	struct store_reader *reader = fixture_reader(store);
	uint64_t cursor = 0;
	int ret = store_reader_cursor(reader, "rows", &cursor);
	uint32_t n = (uint32_t)cursor;
	assert_int_equal(ret, n > 0);
	assert_true(n == acked || n == acked + batch_size(acked));
	assert_int_equal(store_journal_last(reader), n + count_buried(n));
	assert_int_equal(rows_walk(reader, NULL), n - count_buried(n));
	assert_rows(store, n);
	struct store_stats stats;
	assert_int_equal(store_stats_get(reader, &stats), 0);
	assert_int_equal(stats.n_expiry, n);
	assert_int_equal(stats.n_tombstones, count_buried(n));
	assert_int_equal(stats.n_bad_records, 0);
	store_reader_close(reader);
	store_close(store);
	return n;
}

static void kills_lose_nothing_that_was_acknowledged(void **state)
{
	struct fixture *f = *state;
	unsigned seed = (unsigned)time(NULL);
	unsigned n_extra = 0;
	uint32_t n = 0;
	for (int i = 0; i < N_KILLS; i++) {
		uint32_t acked = kill_one(f, n, (unsigned)rand_r(&seed) % KILL_AFTER_US_MAX);
		n = verify(f, acked);
		n_extra += n != acked;
		if (i % CHECK_EVERY == 0 && n > 0) {
			assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
		}
	}
	print_message("%d kills, %u rows, %u commits complete but not acknowledged\n", N_KILLS, n,
	              n_extra);
	assert_true(n > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(kills_lose_nothing_that_was_acknowledged,
	                                        fixture_setup, fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
