/* Copies of a store: what they hold, what is refused, what an interrupted one leaves. The program
 * miredb's part is the rights: root reads the store as its user and keeps the copy for itself. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "store/lmdb_door.h"
#include "store/store_backup.h"
#include "store/store_space.h"
#include "store_fixture.h"

enum { N_ROWS = 3000 };

static char backup_path[FIXTURE_PATH_MAX + 64];

static int setup(void **state)
{
	int ret = fixture_setup(state);
	if (ret == 0) {
		fixture_path(*state, "data.backup", backup_path);
	}
	return ret;
}

static void fill(struct store *store, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i += 100) {
		assert_int_equal(rows_commit(store, i, i + 99), 0);
	}
}

static int back_up(struct fixture *f, struct store_copy_figures *figures)
{
	const struct store_source source = {.dir = f->dir, .map_bytes = FIXTURE_MAP_BYTES};
	return store_backup(&source, backup_path, figures, f->why);
}

/* Puts the backup where the store was, as the manual says. */
static void restore(const struct fixture *f)
{
	char path[FIXTURE_PATH_MAX + 64];
	fixture_path(f, "data.mdb", path);
	fixture_remove(f, "lock.mdb");
	assert_int_equal(rename(backup_path, path), 0);
}

static void assert_rows(struct fixture *f, uint32_t n)
{
	struct store *store = fixture_open(f);
	struct store_txn txn;
	struct store_reader *reader = fixture_reader(store);
	assert_int_equal(rows_walk(reader, NULL), n);
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	assert_true(row_is_stored(&txn, 0) && row_is_stored(&txn, n - 1));
	assert_false(row_is_stored(&txn, n));
	store_abort(&txn);
	store_reader_close(reader);
	store_close(store);
}

/* Deletes all but the first `left` of n rows, by their expiry. */
static void sweep(struct store *store, uint32_t n)
{
	struct store_txn txn;
	for (uint32_t done = 0; done < n; done += 100) {
		store_begin(store, &txn, (struct wall){FIXTURE_T0});
		assert_int_equal(store_sweep(&txn, (struct wall){FIXTURE_T0 + n + FIXTURE_LIFE},
		                             100, NULL, NULL),
		                 100);
		assert_int_equal(store_commit(&txn), 0);
	}
}

static void a_backup_holds_what_was_committed(void **state)
{
	struct fixture *f = *state;
	struct store_copy_figures figures = {0};
	struct stat st;
	struct store *store = fixture_open(f);
	fill(store, 0, N_ROWS);
	assert_int_equal(back_up(f, &figures), 0); /* beside the writer */
	fill(store, N_ROWS, 100);
	store_close(store);
	assert_int_equal(stat(backup_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, figures.copy_bytes);
	assert_true(figures.used_bytes > 100 * UINT64_C(1024));
	assert_true(figures.copy_bytes <= figures.used_bytes + (UINT64_C(256) << 10));
	assert_rows(f, N_ROWS + 100);
	restore(f);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
	assert_rows(f, N_ROWS);
}

static void a_restored_store_is_written_on(void **state)
{
	struct fixture *f = *state;
	struct store_copy_figures figures;
	struct store *store = fixture_open(f);
	fill(store, 0, N_ROWS);
	store_close(store);
	assert_int_equal(back_up(f, &figures), 0);
	restore(f);
	store = fixture_open(f);
	fill(store, N_ROWS, 500);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
	assert_rows(f, N_ROWS + 500);
}

static void both_meta_pages_of_a_copy_are_good(void **state)
{
	struct fixture *f = *state;
	struct store_copy_figures figures;
	MDB_env *env = NULL;
	MDB_envinfo info;
	struct store *store = fixture_open(f);
	fill(store, 0, 100);
	store_close(store);
	assert_int_equal(back_up(f, &figures), 0);
	restore(f);
	assert_int_equal(door_env_open(&env, f->dir, FIXTURE_MAP_BYTES, 8, MDB_RDONLY), 0);
	assert_int_equal(mdb_env_info(env, &info), 0);
	assert_int_equal(info.me_last_txnid, 2); /* LMDB's copy is 1, the other page 0: empty */
	mdb_env_close(env);
}

/* Commits of ten rows, one after the other, until told to stop by the pipe's end. */
static _Noreturn void commit_until(struct fixture *f, int stop_fd)
{
	char end;
	struct store *store = fixture_open(f);
	(void)fcntl(stop_fd, F_SETFL, O_NONBLOCK);
	for (uint32_t n = 0; read(stop_fd, &end, 1) != 0; n += 10) {
		if (rows_commit(store, n, n + 9)) {
			_exit(1);
		}
	}
	store_close(store);
	_exit(0);
}

static void a_backup_beside_commits_is_of_one_moment(void **state)
{
	struct fixture *f = *state;
	struct store_copy_figures figures;
	int fds[2];
	int status = 0;
	store_close(fixture_open(f));
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		(void)close(fds[1]);
		commit_until(f, fds[0]);
	}
	(void)close(fds[0]);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(back_up(f, &figures),
		                 0); /* checked whole: rows and counts agree */
	}
	(void)close(fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	restore(f);
	struct store *store = fixture_open(f);
	struct store_reader *reader = fixture_reader(store);
	int64_t n_rows = rows_walk(reader, NULL);
	assert_true(n_rows > 0 && n_rows % 10 == 0);
	store_reader_close(reader);
	store_close(store);
	assert_rows(f, (uint32_t)n_rows); /* the first ones, and none behind them */
}

static void a_newer_backup_replaces_an_older_one(void **state)
{
	struct fixture *f = *state;
	struct store_copy_figures figures;
	struct store *store = fixture_open(f);
	fill(store, 0, 100);
	assert_int_equal(back_up(f, &figures), 0);
	fill(store, 100, 100);
	assert_int_equal(back_up(f, &figures), 0);
	store_close(store);
	restore(f);
	assert_rows(f, 200);
}

static void what_is_no_backup_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct store_copy_figures figures;
	char text[16] = "";
	char store_path[FIXTURE_PATH_MAX + 64];
	store_close(fixture_open(f));
	int fd = open(backup_path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(fd, "precious", 8), 8);
	assert_int_equal(back_up(f, &figures), ERR_DENIED);
	assert_non_null(strstr(f->why, "no backup of a store"));
	assert_int_equal(pread(fd, text, sizeof text, 0), 8);
	assert_string_equal(text, "precious");
	(void)close(fd);
	(void)unlink(backup_path);
	fixture_path(f, "data.mdb", store_path);
	assert_int_equal(link(store_path, backup_path), 0);
	assert_int_equal(back_up(f, &figures), ERR_DENIED);
	assert_non_null(strstr(f->why, "the store itself"));
}

static void two_backups_to_one_file_do_not_meet(void **state)
{
	struct fixture *f = *state;
	struct store_copy_figures figures;
	char path[FIXTURE_PATH_MAX + 80];
	store_close(fixture_open(f));
	(void)snprintf(path, sizeof path, "%s.new", backup_path);
	assert_int_equal(mkdir(path, 0700), 0);
	int fd = open(path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(back_up(f, &figures), ERR_BUSY);
	(void)close(fd);
	/* what a killed one left is in nobody's way */
	(void)snprintf(path, sizeof path, "%s.new/data.mdb", backup_path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(fd, "half", 4), 4);
	(void)close(fd);
	assert_int_equal(back_up(f, &figures), 0);
	(void)snprintf(path, sizeof path, "%s.new", backup_path);
	assert_int_equal(access(path, F_OK), -1);
}

static void assert_nothing_left(struct fixture *f, int ret, int expected)
{
	char path[FIXTURE_PATH_MAX + 80];
	assert_int_equal(ret, expected);
	assert_int_not_equal(f->why[0], 0);
	(void)snprintf(path, sizeof path, "%s.new", backup_path);
	assert_int_equal(access(backup_path, F_OK), -1);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_damaged_store_gives_no_backup(void **state)
{
	struct fixture *f = *state;
	struct store_copy_figures figures;
	char path[FIXTURE_PATH_MAX + 64];
	uint8_t page[4096];
	int n_refused = 0;
	struct store *store = fixture_open(f);
	fill(store, 0, N_ROWS);
	store_close(store);
	fixture_path(f, "data.mdb", path);
	int fd = open(path, O_RDWR);
	for (off_t at = 2; at < 40; at++) { /* some are free pages: no loss */
		uint8_t saved[sizeof page];
		assert_int_equal(pread(fd, saved, sizeof saved, at * 4096), 4096);
		memset(page, 0x5a, sizeof page);
		assert_int_equal(pwrite(fd, page, sizeof page, at * 4096), 4096);
		int ret = back_up(f, &figures);
		if (ret) {
			assert_nothing_left(f, ret, ERR_CORRUPT);
			n_refused++;
		}
		(void)unlink(backup_path);
		assert_int_equal(pwrite(fd, saved, sizeof saved, at * 4096), 4096);
	}
	assert_in_range(n_refused, 20, 38);
	assert_int_equal(ftruncate(fd, (off_t)8 * 4096), 0);
	(void)close(fd);
	assert_nothing_left(f, back_up(f, &figures), ERR_CORRUPT);
	assert_non_null(strstr(f->why, "cut short"));
}

static void no_store_is_not_found(void **state)
{
	struct fixture *f = *state;
	struct store_copy_figures figures;
	assert_nothing_left(f, back_up(f, &figures), -ENOENT);
	assert_int_equal(store_compact(f->dir, FIXTURE_MAP_BYTES, &figures, f->why), ERR_NOT_FOUND);
}

static int refuse(void *ctx)
{
	(*(int *)ctx)++; /* in the child: not seen here */
	return -EPERM;
}

static void who_may_not_read_gets_no_backup(void **state)
{
	struct fixture *f = *state;
	struct store_copy_figures figures;
	int n_calls = 0;
	const struct store_source source = {
	        .dir = f->dir, .map_bytes = FIXTURE_MAP_BYTES, .become = refuse, .ctx = &n_calls};
	store_close(fixture_open(f));
	assert_nothing_left(f, store_backup(&source, backup_path, &figures, f->why), -EPERM);
	assert_int_equal(n_calls, 0);
}

static void compaction_drops_free_pages(void **state)
{
	struct fixture *f = *state;
	struct store_copy_figures figures = {0};
	struct store *store = fixture_open(f);
	fill(store, 0, N_ROWS);
	sweep(store, N_ROWS);
	fill(store, 0, 200);
	store_close(store);
	assert_int_equal(store_compact(f->dir, FIXTURE_MAP_BYTES, &figures, f->why), 0);
	assert_true(figures.free_bytes > figures.used_bytes / 2);
	assert_true(figures.copy_bytes < figures.used_bytes + figures.free_bytes / 2);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
	assert_rows(f, 200);
	store = fixture_open(f);
	fill(store, 200, N_ROWS);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
	assert_rows(f, N_ROWS + 200);
}

/* In a process of its own: LMDB's locks are a process's. */
static int compact_elsewhere(struct fixture *f)
{
	struct store_copy_figures figures;
	int status = 0;
	pid_t pid = fork();
	if (pid == 0) {
		int ret = store_compact(f->dir, FIXTURE_MAP_BYTES, &figures, f->why);
		_exit(ret == ERR_BUSY ? 1 : ret == 0 ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_store_in_use_is_not_compacted(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	fill(store, 0, 300);
	assert_int_equal(compact_elsewhere(f), 1);
	store_close(store);
	struct store_conf conf = fixture_conf(f);
	conf.read_only = true; /* a listing */
	assert_int_equal(store_open(&store, &conf, f->why), 0);
	assert_int_equal(compact_elsewhere(f), 1);
	store_close(store);
	assert_int_equal(compact_elsewhere(f), 0);
	assert_rows(f, 300);
}

static void space_is_judged_by_its_shares(void **state)
{
	static const uint64_t mib = 1 << 20;
	static const struct {
		struct store_stats stats;
		unsigned used_percent;
		enum store_space space;
		bool wants_compaction;
	} rows[] = {
	        {{.map_bytes = 0}, 0, STORE_SPACE_FINE, false},
	        {{.map_bytes = 1000 * mib, .used_bytes = 799 * mib}, 79, STORE_SPACE_FINE, false},
	        {{.map_bytes = 1000 * mib, .used_bytes = 800 * mib}, 80, STORE_SPACE_TIGHT, false},
	        {{.map_bytes = 1000 * mib, .used_bytes = 874 * mib}, 87, STORE_SPACE_TIGHT, false},
	        {{.map_bytes = 1000 * mib, .used_bytes = 875 * mib}, 87, STORE_SPACE_FULL, false},
	        {{.map_bytes = 1000 * mib, .used_bytes = 100 * mib, .free_bytes = 100 * mib},
	         10,
	         STORE_SPACE_FINE,
	         false},
	        {{.map_bytes = 1000 * mib, .used_bytes = 100 * mib, .free_bytes = 110 * mib},
	         10,
	         STORE_SPACE_FINE,
	         true},
	        {{.map_bytes = 1000 * mib, .used_bytes = 5 * mib, .free_bytes = 50 * mib},
	         0,
	         STORE_SPACE_FINE,
	         false},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(store_used_percent(&rows[i].stats), rows[i].used_percent);
		assert_int_equal(store_space_of(&rows[i].stats), rows[i].space);
		assert_int_equal(store_wants_compaction(&rows[i].stats), rows[i].wants_compaction);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_backup_holds_what_was_committed),
	        TEST(a_restored_store_is_written_on),
	        TEST(both_meta_pages_of_a_copy_are_good),
	        TEST(a_backup_beside_commits_is_of_one_moment),
	        TEST(a_newer_backup_replaces_an_older_one),
	        TEST(what_is_no_backup_is_left_alone),
	        TEST(two_backups_to_one_file_do_not_meet),
	        TEST(a_damaged_store_gives_no_backup),
	        TEST(no_store_is_not_found),
	        TEST(who_may_not_read_gets_no_backup),
	        TEST(compaction_drops_free_pages),
	        TEST(a_store_in_use_is_not_compacted),
	        cmocka_unit_test(space_is_judged_by_its_shares),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
