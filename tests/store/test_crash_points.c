/* kill -9 of a writer at each of its writes and syncs in turn, while tuples are taken in, get their
 * places, are counted, deleted and swept, and the journal is trimmed: the store holds exactly the
 * steps that were committed, as a store holds them that was never killed and lets nothing wait. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "store_fixture.h"

enum { N_KILLS = 150, ROWS_A_STEP = 20, ROWS_KEPT = 200, JOURNAL_MAX = 100 };

/* --- the point of death ----------------------------------------------------------------------- */

static long n_calls_left; /* of this process; 0: it lives on */

static void call_counted(void)
{
	if (n_calls_left > 0 && --n_calls_left == 0) {
		(void)kill(getpid(), SIGKILL);
	}
}

/* LMDB's calls come here instead of libc's. */
ssize_t pwrite(int fd, const void *buf, size_t n, off_t offset)
{
	call_counted();
	return syscall(SYS_pwrite64, fd, buf, n, offset);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	call_counted();
	return syscall(SYS_writev, fd, iov, n);
}

int fdatasync(int fd)
{
	call_counted();
	return (int)syscall(SYS_fdatasync, fd);
}

/* --- a history that follows from the number of its step --------------------------------------- */

static struct store *open_store(struct fixture *f)
{
	struct store *store = NULL;
	struct store_conf conf = fixture_conf(f);
	conf.journal_max = JOURNAL_MAX;
	int ret = store_open(&store, &conf, f->why);
	assert_string_equal(f->why, "");
	assert_int_equal(ret, 0);
	return store;
}

static void change_old(struct store_txn *txn, uint32_t step, uint32_t n)
{
	struct row row;
	row_fill(&row, txn->store, n);
	row.record.bcount = step;
	if (n % 3 == 0) {
		store_bury_tuple(txn, &row.key, row.record.changed_at);
	} else {
		store_update_tuple(txn, &row.key, &row.record, n % 2 == 0);
	}
}

static int commit_step(struct store *store, uint32_t step, bool may_wait)
{
	struct store_txn txn;
	struct row row;
	uint32_t first = step * ROWS_A_STEP;
	struct wall ended = {FIXTURE_T0 + FIXTURE_LIFE + (int64_t)first - ROWS_KEPT};
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	(void)store_sweep(&txn, ended, UINT32_MAX, NULL, NULL);
	for (uint32_t n = first; n < first + ROWS_A_STEP; n++) {
		row_fill(&row, store, n);
		if (!may_wait || !store_take_in(&txn, &row.key, &row.record, &row.spans)) {
			store_put_tuple(&txn, &row.key, &row.record, &row.spans);
		}
	}
	for (uint32_t i = 1; i < 8; i++) {
		uint32_t back = i * i * 3;
		change_old(&txn, step, first > back ? first - back : first);
	}
	if (may_wait) {
		(void)store_settle(&txn, ended, step * 7 % 50);
	}
	store_put_cursor(&txn, "step", step + 1);
	return store_commit(&txn);
}

static uint32_t steps_of(struct store *store)
{
	uint64_t step = 0;
	struct store_reader *reader = fixture_reader(store);
	assert_true(store_reader_cursor(reader, "step", &step) >= 0);
	store_reader_close(reader);
	return (uint32_t)step;
}

/* --- death and judgement ---------------------------------------------------------------------- */

/* Dies at its call number `point`; returns the number of steps that it told of. */
static uint32_t run_until_killed(struct fixture *f, uint32_t from, long point)
{
	int fds[2];
	int status = 0;
	uint32_t step = from;
	uint32_t told = 0;
	assert_int_equal(pipe(fds), 0);
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		struct store *store = open_store(f);
		n_calls_left = point;
		while (commit_step(store, step, true) == 0) {
			step++;
			(void)!write(fds[1], &step, sizeof step);
		}
		_exit(1);
	}
	(void)close(fds[1]);
	while (read(fds[0], &told, sizeof told) == sizeof told) {
		step = told;
	}
	(void)close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	return step;
}

static bool get_row(struct store_txn *txn, uint32_t n, struct grey_record *out)
{
	struct row row;
	memset(out, 0, sizeof *out);
	row_fill(&row, txn->store, n);
	return store_get_tuple_register(txn, &row.key, out);
}

static void assert_same(struct store *store, struct store *plain, uint32_t n_rows)
{
	struct store_txn txn[2];
	store_begin(store, &txn[0], (struct wall){FIXTURE_T0});
	store_begin(plain, &txn[1], (struct wall){FIXTURE_T0});
	for (uint32_t n = 0; n < n_rows; n++) {
		struct grey_record record[2];
		bool is_there = get_row(&txn[0], n, &record[0]);
		assert_int_equal(is_there, get_row(&txn[1], n, &record[1]));
		assert_int_equal(record[0].bcount, record[1].bcount);
		assert_int_equal(record[0].is_deleted, record[1].is_deleted);
		assert_int_equal(record[0].expire.secs, record[1].expire.secs);
	}
	store_abort(&txn[0]);
	store_abort(&txn[1]);
}

static void a_death_at_any_write_leaves_whole_steps(void **state)
{
	struct fixture *f = *state;
	void *other = NULL;
	uint32_t n_plain = 0;
	uint64_t n_waited = 0;
	assert_int_equal(fixture_setup(&other), 0);
	struct store *plain = open_store(other);
	for (long point = 1; point <= N_KILLS; point++) {
		uint32_t told = run_until_killed(f, n_plain, 1 + (point - 1) % 25);
		struct store *store = open_store(f);
		uint32_t n = steps_of(store);
		assert_true(n == told || n == told + 1);
		for (; n_plain < n; n_plain++) {
			assert_int_equal(commit_step(plain, n_plain, false), 0);
		}
		assert_same(store, plain, n * ROWS_A_STEP);
		n_waited += store_n_waiting(store);
		store_close(store);
		assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
	}
	print_message("%u steps, %llu waited at deaths\n", n_plain, (unsigned long long)n_waited);
	assert_true(n_plain > 0 && n_waited > 0);
	store_close(plain);
	assert_int_equal(fixture_teardown(&other), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_death_at_any_write_leaves_whole_steps,
	                                        fixture_setup, fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
