/* No room: a full disk, a full map, a failed write of a meta page. Nothing committed is lost, the
 * code says which, and the same process goes on when there is room again. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include "broken_store.h"
#include "store_fixture.h"

enum { BALLAST_BYTES = 4 << 20, ROWS_PER_COMMIT = 50, COMMITS_MAX = 10000 };

static bool has_own_mounts;

/* Mounts made here are seen by nobody else and end with this process. */
static int group_setup(void **state)
{
	(void)state;
	has_own_mounts =
	        unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	return 0;
}

static int setup_tmpfs(void **state)
{
	if (fixture_setup(state)) {
		return -1;
	}
	struct fixture *f = *state;
	if (has_own_mounts) {
		return mount("tmpfs", f->dir, "tmpfs", 0, "size=8m,mode=0700");
	}
	return 0;
}

static int teardown_tmpfs(void **state)
{
	struct fixture *f = *state;
	if (has_own_mounts && umount2(f->dir, MNT_DETACH)) {
		return -1;
	}
	return fixture_teardown(state);
}

static void ballast_in(const struct fixture *f)
{
	char path[FIXTURE_PATH_MAX + 64];
	fixture_path(f, "ballast", path);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(posix_fallocate(fd, 0, BALLAST_BYTES), 0);
	(void)close(fd);
}

/* Commits from row 0 on until one fails; *n = rows committed. */
static int fill(struct store *store, uint32_t first, uint32_t *n)
{
	int ret = 0;
	*n = first;
	for (int i = 0; i < COMMITS_MAX && ret == 0; i++) {
		ret = rows_commit(store, *n, *n + ROWS_PER_COMMIT - 1);
		*n += ret == 0 ? ROWS_PER_COMMIT : 0;
	}
	return ret;
}

/* A store that has just taken all the room of the disk; *n = its rows. The ballast is what there is
 * to remove. */
static struct store *open_on_full_disk(struct fixture *f, uint32_t *n)
{
	ballast_in(f);
	struct store *store = fixture_open(f);
	assert_int_equal(fill(store, 0, n), ERR_FULL);
	return store;
}

static void assert_rows(struct store *store, uint32_t n)
{
	struct store_reader *reader = fixture_reader(store);
	uint64_t n_bad = 0;
	assert_int_equal(rows_walk(reader, &n_bad), n);
	assert_int_equal(n_bad, 0);
	assert_int_equal(store_journal_last(reader), n);
	store_reader_close(reader);
}

static void a_full_disk_fails_commits_until_there_is_room(void **state)
{
	struct fixture *f = *state;
	uint32_t n = 0;
	if (!has_own_mounts) {
		skip();
	}
	struct store *store = open_on_full_disk(f, &n);
	assert_true(n > ROWS_PER_COMMIT);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(rows_commit(store, n, n + ROWS_PER_COMMIT - 1), ERR_FULL);
		assert_rows(store, n);
	}
	fixture_remove(f, "ballast");
	assert_int_equal(rows_commit(store, n, n + ROWS_PER_COMMIT - 1), 0);
	assert_rows(store, n + ROWS_PER_COMMIT);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

/* Texts that take two pages each: the disk fills up in the middle of one write, and then LMDB says
 * EIO. */
static int commit_long(struct store *store, uint32_t n)
{
	static uint8_t longest[RECORD_STRING_MAX];
	struct tuple_text text = {span_of(longest, sizeof longest),
	                          span_of(longest, sizeof longest),
	                          span_of(longest, sizeof longest)};
	struct store_txn txn;
	struct addr addr = row_addr(n);
	struct grey_record record = row_record(n);
	struct tuple_key key = record_tuple_key(store_hash_key(store), &addr, &text);
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	for (int i = 0; i < 8; i++) {
		key.hash[0] = (uint8_t)i;
		store_put_tuple(&txn, &key, &record, &text);
	}
	return store_commit(&txn);
}

static void a_disk_that_fills_in_the_middle_of_a_write_is_full(void **state)
{
	struct fixture *f = *state;
	if (!has_own_mounts) {
		skip();
	}
	ballast_in(f);
	struct store *store = fixture_open(f);
	int ret = 0;
	uint32_t n = 0;
	while (n < COMMITS_MAX && (ret = commit_long(store, n)) == 0) {
		n++;
	}
	assert_int_equal(ret, ERR_FULL);
	assert_rows(store, n * 8);
	fixture_remove(f, "ballast");
	assert_int_equal(commit_long(store, n), 0);
	store_close(store);
}

static void closing_on_a_full_disk_loses_only_the_mark(void **state)
{
	struct fixture *f = *state;
	uint32_t n = 0;
	if (!has_own_mounts) {
		skip();
	}
	struct store *store = open_on_full_disk(f, &n);
	store_close(store);
	store = fixture_open(f);
	assert_rows(store, n);
	store_close(store);
	fixture_remove(f, "ballast");
}

static void a_full_map_still_lets_records_expire(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	struct store_txn txn;
	uint32_t n = 0;
	conf.map_bytes = 8 << 20;
	conf.journal_max = 100;
	assert_int_equal(store_open(&store, &conf, f->why), 0);
	assert_int_equal(fill(store, 0, &n), ERR_FULL);
	assert_int_equal(rows_commit(store, n, n), ERR_FULL);
	assert_int_equal(rows_commit(store, 0, 10), 0); /* known rows */
	/* pages are given back only when they are nearly empty, so most has to go */
	for (uint32_t i = 0; i < n * 9 / 10; i += 20) {
		store_begin(store, &txn, (struct wall){FIXTURE_T0});
		assert_int_equal(store_sweep(&txn, row_record(n).expire, 20, NULL, NULL), 20);
		assert_int_equal(store_commit(&txn), 0);
	}
	assert_int_equal(rows_commit(store, n, n), 0);
	store_close(store);
	assert_int_equal(store_check(f->dir, conf.map_bytes, f->why), 0);
}

static void a_failed_meta_page_asks_for_reopening(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	assert_int_equal(rows_commit(store, 0, 9), 0);
	broken_store_break(f->dir);
	assert_int_equal(rows_commit(store, 10, 19), ERR_PANIC);
	assert_int_equal(rows_commit(store, 10, 19), ERR_PANIC);
	store_close(store);
	store = fixture_open(f);
	assert_rows(store, 10);
	assert_int_equal(rows_commit(store, 10, 19), 0);
	store_close(store);
}

static void a_host_that_cannot_be_read_is_not_taken_for_absent(void **state)
{
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_reader *reader = fixture_reader(store);
	struct addr host = row_addr(50);
	struct addr stranger = row_addr(51);
	struct grey_record record = row_record(50);
	struct grey_record found = {.bcount = 0};
	struct store_txn txn;
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	store_put_host(&txn, &host, RECORD_WHITE, &record);
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(store_reader_host(reader, &host, RECORD_WHITE, &found), 1);
	assert_int_equal(found.bcount, record.bcount);
	assert_int_equal(store_reader_host(reader, &stranger, RECORD_WHITE, &found), 0);
	broken_store_break(f->dir);
	assert_int_equal(rows_commit(store, 0, 9), ERR_PANIC);
	assert_int_equal(store_reader_host(reader, &host, RECORD_WHITE, &found), ERR_PANIC);
	assert_int_equal(store_reader_host(reader, &stranger, RECORD_WHITE, &found), ERR_PANIC);
	store_reader_close(reader);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_full_disk_fails_commits_until_there_is_room,
	                                        setup_tmpfs, teardown_tmpfs),
	        cmocka_unit_test_setup_teardown(a_disk_that_fills_in_the_middle_of_a_write_is_full,
	                                        setup_tmpfs, teardown_tmpfs),
	        cmocka_unit_test_setup_teardown(closing_on_a_full_disk_loses_only_the_mark,
	                                        setup_tmpfs, teardown_tmpfs),
	        cmocka_unit_test_setup_teardown(a_full_map_still_lets_records_expire, fixture_setup,
	                                        fixture_teardown),
	        cmocka_unit_test_setup_teardown(a_failed_meta_page_asks_for_reopening,
	                                        fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(a_host_that_cannot_be_read_is_not_taken_for_absent,
	                                        fixture_setup, fixture_teardown),
	};
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
