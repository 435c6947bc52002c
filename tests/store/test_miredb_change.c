/* miredb changing a store that no daemon has open: spamdb's messages and exit codes, export and
 * import. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <sys/resource.h>

#include "miredb_fixture.h"
#include "store/dump.h"

enum { N_MANY = 100000, MANY_BATCH = 1000 };

static void assert_listed(const char *expected)
{
	assert_int_equal(run(-1, "-f", config, NULL), 0);
	assert_string_equal(output, expected);
}

static void write_input(const char *text, size_t len)
{
	char path[FIXTURE_PATH_MAX + 64];
	(void)snprintf(path, sizeof path, "%s/input", top);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

static const char *in_top(const char *name)
{
	static char paths[2][FIXTURE_PATH_MAX + 64];
	static int turn;
	turn ^= 1;
	(void)snprintf(paths[turn], sizeof paths[turn], "%s/%s", top, name);
	return paths[turn];
}

/* --- keys ------------------------------------------------------------------------------------- */

static void each_kind_of_key_is_added(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, "-a", "192.0.2.5", "", "2001:db8:1::9", NULL), 0);
	assert_string_equal(output, "");
	assert_int_equal(run(-1, "-f", config, "-a", "-t", "192.0.2.6", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "--add", "--spamtrap", "New@Example.org", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "192.0.2.5", "192.0.2.6", "new@example.org",
	                     "2001:db8:1::77", NULL),
	                 0);
	static const char *const kinds[] = {"WHITE|192.0.2.5|||", "TRAPPED|192.0.2.6|",
	                                    "SPAMTRAP|new@example.org\n", "WHITE|2001:db8:1::|||"};
	const char *at = output;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		assert_ptr_equal(strstr(at, kinds[i]), at);
		at = strchr(at, '\n') + 1;
	}
}

static void trapping_a_white_host_and_back(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(run(-1, "-f", config, "-a", "192.0.2.5", NULL), 0);
	}
	assert_int_equal(run(-1, "-f", config, "192.0.2.5", NULL), 0);
	assert_non_null(strstr(output, "|1|2\n"));
	assert_int_equal(run(-1, "-f", config, "-t", "-a", "192.0.2.5", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "192.0.2.5", NULL), 0);
	assert_ptr_equal(strstr(output, "TRAPPED|192.0.2.5|"), output);
	assert_int_equal(run(-1, "-f", config, "-a", "192.0.2.5", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "192.0.2.5", NULL), 0);
	assert_ptr_equal(strstr(output, "WHITE|192.0.2.5|||"), output);
	assert_non_null(strstr(output, "|1|0\n"));
}

static void each_kind_of_key_is_deleted(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, "-d", "192.0.2.1", "2001:db8::bad", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "-d", "-T", "trap@example.org", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "-d", "-G", "192.0.2.9", NULL), 0);
	assert_string_equal(output, "");
	assert_listed("");
	assert_int_equal(run(-1, "-f", config, "-d", "-G", "192.0.2.9", NULL), 1);
	assert_string_equal(output, "miredb: no entry for 192.0.2.9\n");
}

static void failed_keys_are_told_in_order_and_counted(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, "-d", "192.0.2.77", "a b", "192.0.2.1", "x@y", NULL),
	                 3);
	assert_string_equal(output, "miredb: no entry for 192.0.2.77\n"
	                            "miredb: no entry for a b\n"
	                            "miredb: no entry for x@y\n");
	assert_int_equal(run(-1, "-f", config, "-a", "example.org", "192.0.2.5", "192.0.2", NULL),
	                 2);
	assert_string_equal(output, "miredb: invalid ip address example.org\n"
	                            "miredb: invalid ip address 192.0.2\n");
	assert_int_equal(run(-1, "-f", config, "192.0.2.5", NULL), 0);
}

static void a_spamtrap_that_is_no_address_ends_it_at_once(void **state)
{
	(void)state;
	assert_int_equal(
	        run(-1, "-f", config, "-a", "-T", "one@example.org", "two", "three@b", NULL), 255);
	assert_string_equal(output, "miredb: not an email address: two\n");
	assert_int_equal(run(-1, "-f", config, "one@example.org", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "three@b", NULL), 1);
}

static void senseless_calls_have_spamdbs_exit_codes(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, "-a", NULL), 2);
	assert_string_equal(output, "miredb: no addresses specified\n");
	assert_int_equal(run(-1, "-f", config, "-d", NULL), 2);
	assert_string_equal(output, "miredb: no addresses specified\n");
	assert_int_equal(run(-1, "-f", config, "-a", "-G", "192.0.2.1", NULL), 2);
	assert_string_equal(output, "miredb: cannot add GREY entries\n");
	static const char *const alone[] = {"-G", "-t", "-T"};
	for (size_t i = 0; i < ARRAY_LEN(alone); i++) {
		assert_int_equal(run(-1, "-f", config, alone[i], "192.0.2.1", NULL), 1);
		assert_ptr_equal(strstr(output, "usage: miredb"), output);
	}
	assert_listed(stored_list);
}

static void the_last_option_wins(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, "-a", "-d", "192.0.2.1", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "192.0.2.1", NULL), 1);
	assert_int_equal(run(-1, "-f", config, "-d", "-G", "-T", "-t", "-a", "192.0.2.1", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "192.0.2.1", NULL), 0);
	assert_ptr_equal(strstr(output, "TRAPPED|"), output);
}

static void more_than_255_failures_are_255(void **state)
{
	(void)state;
	enum { N_KEYS = 300 };
	char text[N_KEYS][16];
	char *args[N_KEYS + 5] = {program, (char *)(uintptr_t) "-f", config,
	                          (char *)(uintptr_t) "-d"};
	for (int i = 0; i < N_KEYS; i++) {
		(void)snprintf(text[i], sizeof text[i], "10.0.%d.%d", i / 256, i % 256);
		args[4 + i] = text[i];
	}
	assert_int_equal(run_args(-1, args), 255);
}

static void nothing_of_roots_is_left_in_the_store(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = {"data.mdb", "lock.mdb", "writer.lock"};
	if (geteuid() != 0) {
		skip();
	}
	fixture_remove(f, "lock.mdb");
	fixture_remove(f, "writer.lock");
	assert_int_equal(run(-1, "-f", config, "-a", "192.0.2.5", NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[FIXTURE_PATH_MAX + 64];
		struct stat st;
		fixture_path(f, names[i], path);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_uid, NOBODY);
	}
}

/* The store was written in 1970, so to it this clock has jumped: unless the kernel vouches for the
 * clock, the store's time stands still, or the daemon would take everything in it for expired. */
static void a_clock_that_jumped_is_not_written_to_the_store(void **state)
{
	(void)state;
	long long first = 0;
	assert_int_equal(run(-1, "-f", config, "-a", "192.0.2.5", NULL), 0);
	assert_int_equal(run(-1, "-f", config, "192.0.2.5", NULL), 0);
	assert_int_equal(sscanf(output, "WHITE|192.0.2.5|||%lld|", &first), 1);
	if (clock_is_synchronised()) {
		assert_in_range(clock_wall().secs - first, 0, 60);
	} else {
		assert_int_equal(first, FIXTURE_T0);
	}
}

static void another_writer_is_told(void **state)
{
	struct fixture *f = *state;
	if (geteuid() == 0) {
		assert_int_equal(chown(f->dir, 0, 0), 0);
	}
	struct store *store = fixture_open(f);
	if (geteuid() == 0) {
		give_to_nobody(f);
	}
	assert_int_equal(run(-1, "-f", config, "-a", "192.0.2.5", NULL), 1);
	assert_non_null(strstr(output, "for writing"));
	assert_non_null(strstr(output, "another process writes"));
	store_close(store);
}

/* --- export and import ------------------------------------------------------------------------ */

static void an_export_is_the_listing_and_comes_back(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, "export", NULL), 0);
	assert_string_equal(output, stored_list);
	assert_int_equal(run(-1, "-f", config, "export", in_top("dump"), NULL), 0);
	assert_string_equal(output, "");
	assert_int_equal(
	        run(-1, "-f", config, "-d", "192.0.2.1", "2001:db8::bad", "trap@example.org", NULL),
	        0);
	assert_int_equal(run(-1, "-f", config, "-dG", "192.0.2.9", NULL), 0);
	assert_listed("");
	assert_int_equal(run(-1, "-f", config, "import", in_top("dump"), NULL), 0);
	assert_listed(stored_list);
	assert_int_equal(run(-1, "-f", config, "import", in_top("dump"), NULL), 0);
	assert_listed(stored_list);
}

/* Whoever exports to the same file every night keeps the last good one. */
static void an_export_that_cannot_begin_leaves_the_older_one(void **state)
{
	struct fixture *f = *state;
	char text[64] = "";
	write_input("older", 5);
	fixture_remove(f, "data.mdb");
	assert_int_equal(run(-1, "-f", config, "export", in_top("input"), NULL), 1);
	assert_non_null(strstr(output, "data.mdb is missing"));
	assert_null(strstr(output, "not complete"));
	FILE *file = fopen(in_top("input"), "r");
	assert_non_null(file);
	assert_int_equal(fread(text, 1, sizeof text, file), 5);
	assert_int_equal(fclose(file), 0);
	assert_string_equal(text, "older");
}

static void a_bad_line_is_told_and_nothing_is_imported(void **state)
{
	(void)state;
	char expected[1024];
	static const char text[] = "WHITE|192.0.2.50|||1|2|9000000|1|0\n"
	                           "\n"
	                           "WHITE|192.0.2.300|||1|2|9000000|1|0\n"
	                           "TRAPPED|192.0.2.51|x\n";
	write_input(text, sizeof text - 1);
	assert_int_equal(run(-1, "-f", config, "import", in_top("input"), NULL), 1);
	(void)snprintf(expected, sizeof expected,
	               "miredb: %s/input:3: invalid ip address 192.0.2.300\n"
	               "miredb: %s/input:4: not a number: x\n"
	               "miredb: %s/input: 2 bad lines: nothing was imported\n",
	               top, top, top);
	assert_string_equal(output, expected);
	assert_listed(stored_list);
}

/* A line takes no memory beyond what a record may have. */
static void a_line_of_a_hundred_megabytes_is_a_bad_line(void **state)
{
	(void)state;
	enum { LEN = 100 << 20, RSS_MAX_KIB = 90 << 10 };
	struct rusage usage;
	write_input("\n", 1);
	assert_int_equal(truncate(in_top("input"), LEN), 0);
	assert_int_equal(run(-1, "-f", config, "import", in_top("input"), NULL), 1);
	assert_non_null(strstr(output, "/input:2: a line of more than 12532 bytes\n"));
	assert_non_null(strstr(output, "/input: 1 bad lines: nothing was imported\n"));
	assert_int_equal(getrusage(RUSAGE_CHILDREN, &usage), 0);
	assert_in_range(usage.ru_maxrss, 0, RSS_MAX_KIB);
}

/* A child that adds a line ten thousand times a second. */
static pid_t begin_writer(const char *line)
{
	pid_t pid = fork();
	if (pid == 0) {
		FILE *file = fopen(in_top("input"), "a");
		while (file && fputs(line, file) >= 0 && fflush(file) == 0) {
			(void)usleep(100);
		}
		_exit(1);
	}
	return pid;
}

static void an_input_that_is_written_to_is_not_imported(void **state)
{
	(void)state;
	static const char line[] = "WHITE|192.0.2.50|||1|2|9000000|1|0\n";
	static char text[N_MANY * (sizeof line - 1)];
	for (size_t i = 0; i < N_MANY; i++) {
		memcpy(text + i * (sizeof line - 1), line, sizeof line - 1);
	}
	write_input(text, sizeof text);
	pid_t writer = begin_writer(line);
	int status = run(-1, "-f", config, "import", in_top("input"), NULL);
	assert_int_equal(kill(writer, SIGKILL), 0);
	assert_int_equal(waitpid(writer, NULL, 0), writer);
	assert_int_equal(status, 1);
	assert_non_null(strstr(output, "/input: somebody writes to it"));
	assert_listed(stored_list);
}

static void what_mired_keeps_elsewhere_is_left_out_and_told(void **state)
{
	(void)state;
	char expected[1024];
	static const char text[] = "DOMAIN|example.org\nSPAMTRAP|a@example.org";
	write_input(text, sizeof text - 1);
	assert_int_equal(run(-1, "-f", config, "import", in_top("input"), NULL), 0);
	(void)snprintf(
	        expected, sizeof expected,
	        "miredb: %s/input:1: a DOMAIN belongs into the file of allowed domains: left "
	        "out\n",
	        top);
	assert_string_equal(output, expected);
	assert_int_equal(run(-1, "-f", config, "a@example.org", NULL), 0);
}

static void a_missing_input_is_told(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, "import", "/", NULL), 1);
	assert_string_equal(output, "miredb: /: keeping it in a temporary file: Is a directory\n");
	assert_int_equal(run(-1, "-f", config, "import", "/nonexistent/dump", NULL), 1);
	assert_string_equal(output, "miredb: /nonexistent/dump: No such file or directory\n");
	assert_int_equal(run(-1, "-f", config, "export", "/nonexistent/dump", NULL), 1);
	assert_string_equal(output, "miredb: /nonexistent/dump: No such file or directory\n");
	assert_int_equal(run(-1, "-f", config, "import", "a", "b", NULL), 1);
	assert_ptr_equal(strstr(output, "usage: miredb"), output);
}

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return *seed >> 33;
}

static struct span hostile_text(uint8_t *buf, size_t max, uint64_t *seed)
{
	static const uint8_t nasty[] = {'|', '\\', 'x', '\n', '\r', '0', '5', 'c', 0, 0xff, '<'};
	size_t len = next_random(seed) % max;
	for (size_t i = 0; i < len; i++) {
		uint64_t n = next_random(seed);
		buf[i] = n % 2 ? nasty[n / 2 % sizeof nasty] : (uint8_t)(n / 2);
	}
	return span_of(buf, len);
}

static void put_hostile(struct store_txn *txn, uint32_t n, uint64_t *seed)
{
	uint8_t bufs[3][64];
	struct addr addr = row_addr(n);
	struct grey_record record = row_record(n);
	struct tuple_text text = {hostile_text(bufs[0], 64, seed), hostile_text(bufs[1], 64, seed),
	                          hostile_text(bufs[2], 64, seed)};
	char trap[32];
	if (n % 4 == 0) {
		store_put_host(txn, &addr, n % 8 ? RECORD_WHITE : RECORD_TRAPPED, &record);
	} else if (n % 4 == 1) {
		int len = snprintf(trap, sizeof trap, "trap|\\%u@example.org", n);
		store_put_trap_address(txn, span_of(trap, (size_t)len), &record);
	} else {
		struct tuple_key key = record_tuple_key(store_hash_key(txn->store), &addr, &text);
		store_put_tuple(txn, &key, &record, &text);
	}
}

static void fill_hostile(struct fixture *f)
{
	uint64_t seed = (uint64_t)clock_mono().ns;
	print_message("seed %llu\n", (unsigned long long)seed);
	if (geteuid() == 0) {
		assert_int_equal(chown(f->dir, 0, 0), 0);
	}
	struct store *store = fixture_open(f);
	for (uint32_t n = 0; n < N_MANY; n += MANY_BATCH) {
		struct store_txn txn;
		store_begin(store, &txn, (struct wall){FIXTURE_T0});
		for (uint32_t i = n; i < n + MANY_BATCH; i++) {
			put_hostile(&txn, i, &seed);
		}
		assert_int_equal(store_commit(&txn), 0);
	}
	store_close(store);
	if (geteuid() == 0) {
		give_to_nobody(f);
	}
}

/* Through a pipe, as it would be typed, into a store that is not there yet; sorted, for a new store
 * has a hash key and so an order of its own. */
static void any_bytes_survive_export_and_import_into_an_empty_store(void **state)
{
	static const char script[] =
	        "set -e; export LC_ALL=C; cd $TOP; mkdir -m 755 other; mkdir -m 700 other/db\n"
	        "chown 65534:65534 other other/db 2>/dev/null || true\n"
	        "sed 's,state-dir = \"[^\"]*,&/other,' mired.conf >other.conf\n"
	        "$MIREDB -f mired.conf export | $MIREDB -f other.conf import\n"
	        "$MIREDB -f mired.conf export | sort >one\n"
	        "$MIREDB -f other.conf export | sort >two\n"
	        "cmp one two; test $(wc -l <one) -gt $N_LEAST\n"
	        "$MIREDB -f other.conf --check >/dev/null\n"
	        "rm -r other other.conf one two\n";
	char n_least[16];
	fill_hostile(*state);
	(void)snprintf(n_least, sizeof n_least, "%d", N_MANY * 9 / 10);
	assert_int_equal(setenv("TOP", top, 1) | setenv("MIREDB", program, 1) |
	                         setenv("N_LEAST", n_least, 1),
	                 0);
	assert_int_equal(system(script), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        MIREDB_TEST(each_kind_of_key_is_added),
	        MIREDB_TEST(trapping_a_white_host_and_back),
	        MIREDB_TEST(each_kind_of_key_is_deleted),
	        MIREDB_TEST(failed_keys_are_told_in_order_and_counted),
	        MIREDB_TEST(a_spamtrap_that_is_no_address_ends_it_at_once),
	        MIREDB_TEST(senseless_calls_have_spamdbs_exit_codes),
	        MIREDB_TEST(the_last_option_wins),
	        MIREDB_TEST(more_than_255_failures_are_255),
	        MIREDB_TEST(nothing_of_roots_is_left_in_the_store),
	        MIREDB_TEST(a_clock_that_jumped_is_not_written_to_the_store),
	        MIREDB_TEST(another_writer_is_told),
	        MIREDB_TEST(an_export_is_the_listing_and_comes_back),
	        MIREDB_TEST(an_export_that_cannot_begin_leaves_the_older_one),
	        MIREDB_TEST(a_bad_line_is_told_and_nothing_is_imported),
	        MIREDB_TEST(a_line_of_a_hundred_megabytes_is_a_bad_line),
	        MIREDB_TEST(an_input_that_is_written_to_is_not_imported),
	        MIREDB_TEST(what_mired_keeps_elsewhere_is_left_out_and_told),
	        MIREDB_TEST(a_missing_input_is_told),
	        MIREDB_TEST(any_bytes_survive_export_and_import_into_an_empty_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
