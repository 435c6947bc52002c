/* A damaged data file: refused or found by the check, never overwritten, never taken for a new
 * store. The reading happens in child processes, because damage may crash LMDB. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "store/lmdb_door.h"
#include "store_fixture.h"

enum { N_ROWS = 1500, N_SEEDS = 100, IMAGE_MAX = 4 << 20, STALL_MS = 3000 };
#define PAGE ((size_t)4096)

static uint8_t sound[IMAGE_MAX];
static uint8_t image[IMAGE_MAX];
static size_t n_image;

static void data_path(const struct fixture *f, char out[static FIXTURE_PATH_MAX + 64])
{
	fixture_path(f, "data.mdb", out);
}

static void image_write(const struct fixture *f, const uint8_t *bytes, size_t n)
{
	char path[FIXTURE_PATH_MAX + 64];
	data_path(f, path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	(void)close(fd);
}

/* The first n bytes of the file are those given. */
static void assert_untouched(const struct fixture *f, const uint8_t *bytes, size_t n)
{
	static uint8_t now[IMAGE_MAX];
	char path[FIXTURE_PATH_MAX + 64];
	data_path(f, path);
	int fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, now, n), (ssize_t)n);
	assert_memory_equal(now, bytes, n);
	(void)close(fd);
}

/* A store of N_ROWS, closed in order, with its bytes in `sound`. */
static int setup(void **state)
{
	char path[FIXTURE_PATH_MAX + 64];
	if (fixture_setup(state)) {
		return -1;
	}
	struct fixture *f = *state;
	struct store *store = fixture_open(f);
	struct store_reader *reader = fixture_reader(store);
	for (uint32_t n = 0; n < N_ROWS; n += 50) {
		assert_int_equal(rows_commit(store, n, n + 49), 0);
	}
	struct store_stats stats;
	assert_int_equal(store_stats_get(reader, &stats), 0);
	n_image = stats.used_bytes + stats.free_bytes;
	store_reader_close(reader);
	store_close(store);
	data_path(f, path);
	int fd = open(path, O_RDONLY);
	assert_true(fd >= 0 && n_image <= sizeof sound);
	assert_int_equal(read(fd, sound, n_image), (ssize_t)n_image);
	(void)close(fd);
	memcpy(image, sound, n_image);
	return 0;
}

/* Opens for writing as the engine does, and closes. It may be refused, crash, or hang. */
static void only_open(struct fixture *f)
{
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	if (store_open(&store, &conf, f->why) == 0) {
		store_close(store);
	}
	_exit(0);
}

/* Opens as well, and reads everything twice over; exits 7 if all was there. */
static void read_all(struct fixture *f)
{
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	uint64_t n_bad = 0;
	if (store_open(&store, &conf, f->why)) {
		_exit(1);
	}
	struct store_reader *reader = fixture_reader(store);
	int64_t n = rows_walk(reader, &n_bad);
	struct store_txn txn;
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	uint32_t n_found = 0;
	for (uint32_t i = 0; i < N_ROWS; i++) {
		n_found += row_is_stored(&txn, i);
	}
	store_abort(&txn);
	_exit(n == N_ROWS && n_bad == 0 && n_found == N_ROWS ? 7 : 2);
}

typedef void child_body(struct fixture *f);

/* True when the child ended with 7. */
static bool in_child(child_body *body, struct fixture *f)
{
	int status = 0;
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		(void)signal(SIGSEGV, SIG_DFL);
		(void)signal(SIGBUS, SIG_DFL);
		(void)signal(SIGABRT, SIG_DFL);
		(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		(void)alarm(STALL_MS / 1000); /* a tree in circles */
		int null = open("/dev/null", O_WRONLY);
		(void)dup2(null, STDERR_FILENO);
		body(f);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 7;
}

static void random_bytes(uint8_t *out, size_t n, unsigned *seed)
{
	for (size_t i = 0; i < n; i++) {
		out[i] = (uint8_t)(rand_r(seed) >> 7);
	}
}

/* One of five kinds of damage to one page behind the meta pages. */
static void damage(unsigned seed)
{
	unsigned kind = seed % 5;
	unsigned n_pages = (unsigned)(n_image / PAGE);
	uint8_t *page = image + PAGE * (2 + (unsigned)rand_r(&seed) % (n_pages - 2));
	size_t other = PAGE * (2 + (unsigned)rand_r(&seed) % (n_pages - 2));
	size_t at = (unsigned)rand_r(&seed) % PAGE;
	switch (kind) {
	case 0:
		memset(page, 0, PAGE);
		break;
	case 1:
		random_bytes(page, PAGE, &seed);
		break;
	case 2:
		random_bytes(page + at % (PAGE - 512), 512, &seed);
		break;
	case 3:
		page[at] ^= (uint8_t)(1U << (at % 8));
		break;
	default:
		memcpy(page, sound + other, PAGE);
		break;
	}
}

static void page_damage_is_found_or_harmless_and_never_overwritten(void **state)
{
	struct fixture *f = *state;
	unsigned n_found = 0;
	for (unsigned seed = 1; seed <= N_SEEDS; seed++) {
		memcpy(image, sound, n_image);
		damage(seed);
		image_write(f, image, n_image);
		int ret = store_check_within(f->dir, FIXTURE_MAP_BYTES, STALL_MS, f->why);
		assert_true(ret == 0 || ret == ERR_CORRUPT);
		assert_true(ret == 0 || f->why[0] != '\0');
		n_found += ret != 0;
		(void)in_child(only_open, f);
		if (ret == 0 && !in_child(read_all, f)) {
			fail_msg("seed %u: sound by the check, but not readable", seed);
		}
		assert_untouched(f, image, n_image);
	}
	print_message("%d damages: %u found, %u harmless\n", N_SEEDS, n_found, N_SEEDS - n_found);
	assert_true(n_found > N_SEEDS / 3);
}

static void a_bad_meta_page_is_refused(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	unsigned seed = 5;
	for (size_t page = 0; page < 2; page++) {
		for (int kind = 0; kind < 2; kind++) {
			memcpy(image, sound, n_image);
			memset(image + page * PAGE, 0, PAGE);
			if (kind == 1) {
				random_bytes(image + page * PAGE, PAGE, &seed);
			}
			image_write(f, image, n_image);
			assert_int_equal(store_open(&store, &conf, f->why), ERR_CORRUPT);
			assert_non_null(strstr(f->why, "left as it is"));
			assert_untouched(f, image, n_image);
			assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why),
			                 ERR_CORRUPT);
		}
	}
}

static void a_file_cut_short_is_refused(void **state)
{
	static const size_t cuts[] = {1, 100, PAGE, 2 * PAGE - 1, 2 * PAGE, 20 * PAGE};
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	for (size_t i = 0; i <= ARRAY_LEN(cuts); i++) {
		size_t n = i < ARRAY_LEN(cuts) ? cuts[i] : n_image - 1;
		image_write(f, sound, n);
		assert_int_equal(store_open(&store, &conf, f->why), ERR_CORRUPT);
		assert_untouched(f, sound, n);
		assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), ERR_CORRUPT);
	}
	image_write(f, sound, n_image);
	assert_true(in_child(read_all, f));
}

static void a_file_of_something_else_is_refused(void **state)
{
	struct fixture *f = *state;
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	unsigned seed = 9;
	random_bytes(image, 10 * PAGE, &seed);
	image_write(f, image, 10 * PAGE);
	assert_int_equal(store_open(&store, &conf, f->why), ERR_CORRUPT);
	assert_untouched(f, image, 10 * PAGE);
}

/* Flips a bit in the text of row 77, in all copies of it. */
static void damage_row_77(const struct fixture *f)
{
	static const char text[] = "<sender-77@example.org>";
	uint8_t *hit = memmem(image, n_image, text, sizeof text - 1);
	while (hit) { /* old copies on free pages as well */
		hit[3] ^= 0x20;
		hit = memmem(hit, n_image - (size_t)(hit - image), text, sizeof text - 1);
	}
	image_write(f, image, n_image);
}

static void a_damaged_record_counts_as_absent_and_can_be_written_again(void **state)
{
	struct fixture *f = *state;
	damage_row_77(f);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), ERR_CORRUPT);
	assert_non_null(strstr(f->why, "database tuple"));

	struct store *store = fixture_open(f);
	struct store_reader *reader = fixture_reader(store);
	uint64_t n_bad = 0;
	assert_int_equal(rows_walk(reader, &n_bad), N_ROWS - 1);
	assert_int_equal(n_bad, 1);
	struct store_txn txn;
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	assert_false(row_is_stored(&txn, 77));
	assert_true(row_is_stored(&txn, 78));
	row_put(&txn, 77);
	assert_int_equal(store_commit(&txn), 0);
	struct store_stats stats;
	assert_int_equal(store_stats_get(reader, &stats), 0);
	assert_true(stats.n_bad_records >= 2);
	assert_int_equal(rows_walk(reader, NULL), N_ROWS);
	store_reader_close(reader);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

static void the_sweep_drops_an_expiry_row_whose_record_lives_on(void **state)
{
	struct fixture *f = *state;
	struct store_txn txn;
	struct row row;
	damage_row_77(f);
	struct store *store = fixture_open(f);
	row_fill(&row, store, 77);
	row.record.expire.secs += 5000; /* the row for its old time cannot be known */
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	store_put_tuple(&txn, &row.key, &row.record, &row.spans);
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), ERR_CORRUPT);
	assert_non_null(strstr(f->why, "database expiry"));
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	assert_int_equal(store_sweep(&txn, row_record(77).expire, 1000, NULL, NULL), 78);
	struct grey_record found;
	assert_true(store_get_tuple(&txn, &row.key, &found));
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

static void a_damaged_tuple_is_deleted_without_a_tombstone(void **state)
{
	struct fixture *f = *state;
	struct store_txn txn;
	struct row row;
	struct grey_record found;
	damage_row_77(f);
	struct store *store = fixture_open(f);
	row_fill(&row, store, 77);
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	store_bury_tuple(&txn, &row.key, (struct wall){FIXTURE_T0});
	assert_int_equal(txn.n_changes, 1); /* it may have been a live one */
	assert_false(store_get_tuple_register(&txn, &row.key, &found));
	assert_int_equal(store_sweep(&txn, row_record(77).expire, 1000, NULL, NULL), 78);
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

static void a_first_start_that_was_interrupted_is_finished(void **state)
{
	struct fixture *f = *state;
	MDB_env *env = NULL;
	fixture_remove(f, "data.mdb");
	fixture_remove(f, "lock.mdb");
	fixture_remove(f, "installed");
	/* LMDB's file is there, without a first commit */
	assert_int_equal(door_env_open(&env, f->dir, FIXTURE_MAP_BYTES, 8, 0), 0);
	mdb_env_close(env);
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	conf.read_only = true;
	assert_int_equal(store_open(&store, &conf, f->why), ERR_CORRUPT);
	store = fixture_open(f);
	assert_int_equal(rows_commit(store, 0, 0), 0);
	store_close(store);
	/* the same with the marker is damage */
	fixture_remove(f, "data.mdb");
	fixture_remove(f, "lock.mdb");
	assert_int_equal(door_env_open(&env, f->dir, FIXTURE_MAP_BYTES, 8, 0), 0);
	mdb_env_close(env);
	conf.read_only = false;
	assert_int_equal(store_open(&store, &conf, f->why), ERR_CORRUPT);
}

/* Nobody is told that a store is missing because he may not look. */
static void a_check_that_cannot_look_says_so(void **state)
{
	struct fixture *f = *state;
	char path[FIXTURE_PATH_MAX + 64];
	fixture_path(f, "data.mdb", path);
	assert_int_equal(store_check(path, FIXTURE_MAP_BYTES, f->why), -ENOTDIR);
}

static void a_check_that_hangs_is_ended(void **state)
{
	struct fixture *f = *state;
	char path[FIXTURE_PATH_MAX + 64];
	fixture_path(f, "lock.mdb", path);
	int fd = open(path, O_RDWR);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETLK, &lock), 0); /* the child waits for it for ever */
	assert_int_equal(store_check_within(f->dir, FIXTURE_MAP_BYTES, 200, f->why), ERR_CORRUPT);
	assert_non_null(strstr(f->why, "200 ms"));
	(void)close(fd);
	assert_int_equal(store_check(f->dir, FIXTURE_MAP_BYTES, f->why), 0);
}

#define DAMAGE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        DAMAGE_TEST(page_damage_is_found_or_harmless_and_never_overwritten),
	        DAMAGE_TEST(a_bad_meta_page_is_refused),
	        DAMAGE_TEST(a_file_cut_short_is_refused),
	        DAMAGE_TEST(a_file_of_something_else_is_refused),
	        DAMAGE_TEST(a_damaged_record_counts_as_absent_and_can_be_written_again),
	        DAMAGE_TEST(the_sweep_drops_an_expiry_row_whose_record_lives_on),
	        DAMAGE_TEST(a_damaged_tuple_is_deleted_without_a_tombstone),
	        DAMAGE_TEST(a_first_start_that_was_interrupted_is_finished),
	        DAMAGE_TEST(a_check_that_cannot_look_says_so),
	        DAMAGE_TEST(a_check_that_hangs_is_ended),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
