/* Opening the store: who may, what is refused, and what two processes do beside each other. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/wait.h>

#include "store_fixture.h"

static const struct wall t0 = {FIXTURE_T0};

static void a_second_writer_is_refused(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		struct store_conf conf = fixture_conf(f);
		struct store *second = NULL;
		_exit(store_open(&second, &conf, f->why) == ERR_BUSY ? 7 : 1);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	store_close(store);
	store_close(fixture_open(f));
}

static void a_tool_reads_beside_the_writer(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	assert_int_equal(rows_commit(store, 0, 9), 0);
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		struct store_conf conf = fixture_conf(f);
		conf.read_only = true;
		conf.map_bytes = 1 << 20;
		struct store *tool = NULL;
		struct store_txn txn;
		if (store_open(&tool, &conf, f->why)) {
			_exit(1);
		}
		struct store_reader *reader = fixture_reader(tool);
		int64_t n = rows_walk(reader, NULL);
		store_begin(tool, &txn, t0);
		int ret = store_commit(&txn);
		_exit(n == 10 && ret == -EROFS ? 7 : 2);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	store_close(store);
}

static void a_tool_follows_when_the_writers_file_outgrows_its_map(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	int ready[2];
	int grown[2];
	store_close(fixture_open(f));
	assert_int_equal(pipe(ready) | pipe(grown), 0);
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		char byte = 0;
		struct store *tool = NULL;
		conf.read_only = true;
		conf.map_bytes = 64 << 10;
		int ret = store_open(&tool, &conf, f->why);
		struct store_reader *reader = ret ? NULL : fixture_reader(tool);
		ssize_t n = write(ready[1], &byte, 1) + read(grown[0], &byte, 1);
		_exit(n == 2 && reader && rows_walk(reader, NULL) == 2000 ? 7 : 1);
	}
	char byte = 0;
	assert_int_equal(read(ready[0], &byte, 1), 1);
	struct store *store = fixture_open(f);
	for (uint32_t n = 0; n < 2000; n += 500) {
		assert_int_equal(rows_commit(store, n, n + 499), 0);
	}
	assert_int_equal(write(grown[1], &byte, 1), 1);
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	store_close(store);
	for (int i = 0; i < 2; i++) {
		(void)close(ready[i]);
		(void)close(grown[i]);
	}
}

static void a_store_that_vanished_is_not_made_anew(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = fixture_open(f);
	char path[FIXTURE_PATH_MAX + 64];
	store_close(store);
	fixture_path(f, "data.mdb", path);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(store_open(&store, &conf, f->why), ERR_NOT_FOUND);
	assert_non_null(strstr(f->why, "missing or empty"));
	assert_non_null(strstr(f->why, "/installed"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(store_open(&store, &conf, f->why), ERR_NOT_FOUND);
	assert_int_equal(access(path, F_OK), -1);
	/* the way out the message names */
	fixture_remove(f, "installed");
	store_close(fixture_open(f));
}

static void without_create_a_missing_store_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	conf.create = false;
	assert_int_equal(store_open(&store, &conf, f->why), ERR_NOT_FOUND);
	conf.create = true;
	conf.read_only = true;
	assert_int_equal(store_open(&store, &conf, f->why), ERR_NOT_FOUND);
	conf.dir = "/nonexistent/store";
	assert_int_equal(store_open(&store, &conf, f->why), ERR_NOT_FOUND);
	assert_non_null(strstr(f->why, "/nonexistent/store"));
}

static void a_foreign_directory_is_refused(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	if (geteuid() != 0) {
		skip();
	}
	assert_int_equal(chown(f->dir, 65534, 65534), 0);
	assert_int_equal(store_open(&store, &conf, f->why), -EACCES);
	assert_non_null(strstr(f->why, "uid 65534"));
	assert_int_equal(chown(f->dir, 0, 0), 0);
}

static void files_are_for_the_owner_only(void **state)
{
	static const char *const names[] = {"data.mdb", "lock.mdb", "writer.lock", "installed"};
	struct fixture *f = *state;
	store_close(fixture_open(f));
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[FIXTURE_PATH_MAX + 64];
		struct stat st;
		fixture_path(f, names[i], path);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
}

static void a_check_beside_a_writer_finds_nothing(void **state)
{
	struct fixture *f = *state;
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		struct store *store = fixture_open(f);
		for (uint32_t n = 0;; n += 10) {
			struct store_txn txn;
			if (rows_commit(store, n, n + 9) ||
			    (n == 500 && write(fds[1], "", 1) != 1)) {
				_exit(1);
			}
			store_begin(store, &txn, t0);
			(void)store_sweep(&txn, row_record(n > 400 ? n - 400 : 0).expire, 20, NULL,
			                  NULL);
			if (store_commit(&txn)) {
				_exit(1);
			}
		}
	}
	char byte = 0;
	assert_int_equal(read(fds[0], &byte, 1), 1);
	for (int i = 0; i < 10; i++) {
		int ret = store_check(f->dir, FIXTURE_MAP_BYTES, f->why);
		assert_string_equal(f->why, "");
		assert_int_equal(ret, 0);
	}
	(void)kill(pid, SIGKILL);
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void a_process_can_check_the_store_it_has_open(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = fixture_open(f);
	assert_int_equal(rows_commit(store, 0, 99), 0);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
	assert_int_equal(rows_commit(store, 100, 199), 0);
	/* and has kept its lock */
	struct store *second = NULL;
	assert_int_equal(store_open(&second, &conf, f->why), ERR_BUSY);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

static void the_clean_mark_tells_a_stop_from_a_death(void **state)
{
	struct fixture *f = *state;
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		_exit(rows_commit(fixture_open(f), 0, 0) == 0 ? 7 : 1); /* no close */
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	struct store *store = fixture_open(f);
	assert_false(store_was_clean(store));
	store_close(store);
	store = fixture_open(f);
	assert_true(store_was_clean(store));
	store_close(store);
}

static MDB_txn *raw_begin(const struct fixture *f, MDB_env **env)
{
	MDB_txn *txn = NULL;
	assert_int_equal(mdb_env_create(env), 0);
	assert_int_equal(mdb_env_set_mapsize(*env, FIXTURE_MAP_BYTES), 0);
	assert_int_equal(mdb_env_set_maxdbs(*env, 16), 0);
	assert_int_equal(mdb_env_open(*env, f->dir, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(*env, NULL, 0, &txn), 0);
	return txn;
}

/* As the first version left it: its schema, and no spamtraps yet. */
static void make_old(const struct fixture *f)
{
	MDB_env *env = NULL;
	MDB_txn *txn = raw_begin(f, &env);
	MDB_dbi meta = 0;
	MDB_dbi trap = 0;
	MDB_val key = {record_meta_key.len, (void *)(uintptr_t)record_meta_key.ptr};
	MDB_val data;
	struct record_value value = {.len = 0};
	assert_int_equal(mdb_dbi_open(txn, "meta", 0, &meta), 0);
	assert_int_equal(mdb_dbi_open(txn, "trap", 0, &trap), 0);
	assert_int_equal(mdb_drop(txn, trap, 1), 0);
	assert_int_equal(mdb_get(txn, meta, &key, &data), 0);
	memcpy(value.bytes, data.mv_data, data.mv_size);
	value.len = data.mv_size;
	value.bytes[13] = 1; /* schema, behind sum and magic */
	record_seal(record_meta_key, &value);
	data = (MDB_val){value.len, value.bytes};
	assert_int_equal(mdb_put(txn, meta, &key, &data, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void a_store_with_other_rows_is_refused_with_what_to_do(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = fixture_open(f);
	assert_int_equal(rows_commit(store, 0, 9), 0);
	store_close(store);
	make_old(f);
	for (int read_only = 0; read_only < 2; read_only++) {
		conf.read_only = read_only;
		assert_int_equal(store_open(&store, &conf, f->why), ERR_VERSION);
		assert_non_null(strstr(f->why, f->dir));
		assert_non_null(strstr(f->why, "miredb export"));
		assert_non_null(strstr(f->why, "left as it is"));
	}
	assert_int_not_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
	/* what it advises leads to a store again */
	fixture_remove(f, "data.mdb");
	fixture_remove(f, "installed");
	store_close(fixture_open(f));
}

#define OPEN_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        OPEN_TEST(a_second_writer_is_refused),
	        OPEN_TEST(a_tool_reads_beside_the_writer),
	        OPEN_TEST(a_tool_follows_when_the_writers_file_outgrows_its_map),
	        OPEN_TEST(a_store_that_vanished_is_not_made_anew),
	        OPEN_TEST(without_create_a_missing_store_is_an_error),
	        OPEN_TEST(a_foreign_directory_is_refused),
	        OPEN_TEST(files_are_for_the_owner_only),
	        OPEN_TEST(a_check_beside_a_writer_finds_nothing),
	        OPEN_TEST(a_process_can_check_the_store_it_has_open),
	        OPEN_TEST(a_store_with_other_rows_is_refused_with_what_to_do),
	        OPEN_TEST(the_clean_mark_tells_a_stop_from_a_death),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
