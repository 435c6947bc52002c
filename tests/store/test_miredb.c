/* The program miredb, run against a store made here: its lines to the byte, its exit codes, and
 * that root leaves no file of its own in the store. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>

#include "store_fixture.h"

enum { OUTPUT_MAX = 8192, ARGS_MAX = 8, NOBODY = 65534 };

static char top[FIXTURE_PATH_MAX]; /* state-dir; the store is its db */
static char program[PATH_MAX];
static char config[FIXTURE_PATH_MAX + 16];
static char output[OUTPUT_MAX]; /* stdout of the last run, then its stderr */

static const char expected_list[] =
        "WHITE|192.0.2.1|||1000000|1001500|4110400|2|5\n"
        "TRAPPED|2001:db8::bad|1086400\n"
        "GREY|192.0.2.9|helo.example|<a|b@example.org>|<r\\x0aWHITE@example.net>|1000000|1014400|"
        "1014400|1|0\n";

static void put_host(struct store_txn *txn, const char *text, enum record_kind kind,
                     struct grey_record record)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	store_put_host(txn, &addr, kind, &record);
}

static void fill(struct fixture *f)
{
	struct store *store = fixture_open(f);
	struct store_txn txn;
	struct addr addr;
	struct tuple_text text = {SPAN("helo.example"), SPAN("<a|b@example.org>"),
	                          SPAN("<r\nWHITE@example.net>")};
	struct grey_record grey = {{1000000}, {1014400}, {1014400}, {1000000}, 1, 0};
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	put_host(&txn, "192.0.2.1", RECORD_WHITE,
	         (struct grey_record){{1000000}, {1001500}, {4110400}, {1000000}, 2, 5});
	put_host(&txn, "2001:db8::bad", RECORD_TRAPPED,
	         (struct grey_record){{1000000}, {0}, {1086400}, {1000000}, 1, 0});
	assert_int_equal(addr_parse(SPAN("192.0.2.9"), &addr), 0);
	struct tuple_key key = record_tuple_key(store_hash_key(store), &addr, &text);
	store_put_tuple(&txn, &key, &grey, &text);
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);
}

static void give_to_nobody(const struct fixture *f)
{
	static const char *const names[] = {"data.mdb", "lock.mdb", "writer.lock", "installed"};
	assert_int_equal(chmod(top, 0755) | chown(f->dir, NOBODY, NOBODY), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[FIXTURE_PATH_MAX + 64];
		fixture_path(f, names[i], path);
		assert_int_equal(chown(path, NOBODY, NOBODY), 0);
	}
}

static int setup(void **state)
{
	if (fixture_setup(state)) {
		return -1;
	}
	struct fixture *f = *state;
	(void)snprintf(top, sizeof top, "%s", f->dir);
	(void)snprintf(f->dir, sizeof f->dir, "%.240s/db", top);
	(void)snprintf(config, sizeof config, "%s/mired.conf", top);
	FILE *file = fopen(config, "w");
	if (!file) {
		return -1;
	}
	(void)fprintf(file, "state-dir = \"%s\"\nuser = \"nobody\"\nstore-map = 256m\n", top);
	(void)fclose(file);
	fill(f);
	if (geteuid() == 0) {
		give_to_nobody(f);
	}
	ssize_t n = readlink("/proc/self/exe", program, sizeof program - 32);
	assert_true(n > 0);
	program[n] = '\0';
	(void)snprintf(program + strlen(dirname(program)), 16, "/../miredb");
	return access(program, X_OK);
}

static int teardown(void **state)
{
	char path[FIXTURE_PATH_MAX + 64];
	int ret = fixture_teardown(state);
	(void)snprintf(path, sizeof path, "%s/output", top);
	(void)unlink(path);
	(void)unlink(config);
	return ret | rmdir(top);
}

/* Runs miredb with these arguments (up to NULL), stdout to `out_fd` or into `output`. */
static int run(int out_fd, const char *first, ...)
{
	char *args[ARGS_MAX] = {program, (char *)(uintptr_t)first};
	char path[FIXTURE_PATH_MAX + 64];
	va_list list;
	va_start(list, first);
	for (int i = 2; first && i < ARGS_MAX && (args[i] = va_arg(list, char *)); i++) {
	}
	va_end(list);
	(void)snprintf(path, sizeof path, "%s/output", top);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
	assert_true(fd >= 0);
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		(void)dup2(out_fd >= 0 ? out_fd : fd, STDOUT_FILENO);
		(void)dup2(fd, STDERR_FILENO);
		(void)execv(program, args);
		_exit(127);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	ssize_t n = pread(fd, output, sizeof output - 1, 0);
	(void)close(fd);
	assert_true(n >= 0);
	output[n] = '\0';
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_listing_is_spamdbs_to_the_byte(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, NULL), 0);
	assert_string_equal(output, expected_list);
}

static void it_lists_beside_a_running_writer(void **state)
{
	struct fixture *f = *state;
	if (geteuid() == 0) {
		assert_int_equal(chown(f->dir, 0, 0), 0);
	}
	struct store *store = fixture_open(f);
	if (geteuid() == 0) {
		give_to_nobody(f);
	}
	assert_int_equal(run(-1, "-f", config, NULL), 0);
	assert_string_equal(output, expected_list);
	store_close(store);
}

static void keys_print_their_records_and_count_the_absent(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, "192.0.2.1", "", NULL), 0);
	assert_string_equal(output, "WHITE|192.0.2.1|||1000000|1001500|4110400|2|5\n");
	assert_int_equal(run(-1, "-f", config, "2001:db8::bad", "192.0.2.9", "what@ever", NULL), 2);
	assert_string_equal(output, "TRAPPED|2001:db8::bad|1086400\n");
}

static void json_gives_the_same_records(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, "--json", NULL), 0);
	assert_string_equal(
	        output,
	        "{\"kind\":\"WHITE\",\"address\":\"192.0.2.1\",\"first\":1000000,\"pass\":1001500,"
	        "\"expire\":4110400,\"bcount\":2,\"pcount\":5}\n"
	        "{\"kind\":\"TRAPPED\",\"address\":\"2001:db8::bad\",\"first\":1000000,\"pass\":0,"
	        "\"expire\":1086400,\"bcount\":1,\"pcount\":0}\n"
	        "{\"kind\":\"GREY\",\"address\":\"192.0.2.9\",\"helo\":\"helo.example\","
	        "\"sender\":\"<a|b@example.org>\",\"recipient\":\"<r\\nWHITE@example.net>\","
	        "\"first\":1000000,\"pass\":1014400,\"expire\":1014400,\"bcount\":1,\"pcount\":0}"
	        "\n");
}

static void json_carries_texts_that_are_no_utf8(void **state)
{
	struct fixture *f = *state;
	if (geteuid() == 0) {
		assert_int_equal(chown(f->dir, 0, 0), 0);
	}
	struct store *store = fixture_open(f);
	struct store_txn txn;
	struct addr addr;
	struct tuple_text text = {SPAN("h\xff"), SPAN("<>"), SPAN("<\xc3\xa4@example.net>")};
	struct grey_record grey = {{1}, {2}, {3}, {1}, 1, 0};
	assert_int_equal(addr_parse(SPAN("192.0.2.10"), &addr), 0);
	struct tuple_key key = record_tuple_key(store_hash_key(store), &addr, &text);
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	store_put_tuple(&txn, &key, &grey, &text);
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);
	if (geteuid() == 0) {
		give_to_nobody(f);
	}
	assert_int_equal(run(-1, "-f", config, "--json", NULL), 0);
	assert_non_null(strstr(output, "\"helo\":\"h\xef\xbf\xbd\""));
	assert_non_null(strstr(output, "\"helo_hex\":\"68ff\""));
	assert_non_null(strstr(output, "\"recipient\":\"<\xc3\xa4@example.net>\""));
}

static void root_leaves_no_file_of_its_own(void **state)
{
	struct fixture *f = *state;
	char path[FIXTURE_PATH_MAX + 64];
	struct stat st;
	if (geteuid() != 0) {
		skip();
	}
	fixture_remove(f, "lock.mdb");
	assert_int_equal(run(-1, "-f", config, NULL), 0);
	fixture_path(f, "lock.mdb", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, NOBODY);
}

static void check_says_sound_or_what_it_found(void **state)
{
	struct fixture *f = *state;
	char path[FIXTURE_PATH_MAX + 64];
	char expected[FIXTURE_PATH_MAX + 16];
	(void)snprintf(expected, sizeof expected, "%s: sound\n", f->dir);
	assert_int_equal(run(-1, "-f", config, "--check", NULL), 0);
	assert_string_equal(output, expected);
	fixture_path(f, "data.mdb", path);
	assert_int_equal(truncate(path, (off_t)3 * 4096), 0);
	assert_int_equal(run(-1, "--config", config, "--check", NULL), 1);
	assert_non_null(strstr(output, "cut short"));
	assert_int_equal(run(-1, "-f", config, NULL), 1);
	assert_non_null(strstr(output, "for reading"));
}

static void changing_options_are_refused(void **state)
{
	static const char *const letters[] = {"-a", "-d", "-G", "-T", "-t"};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(letters); i++) {
		char expected[64];
		(void)snprintf(expected, sizeof expected,
		               "miredb: %s is not supported in this version\n", letters[i]);
		assert_int_equal(run(-1, "-f", config, letters[i], "192.0.2.1", NULL), 1);
		assert_string_equal(output, expected);
	}
	assert_int_equal(run(-1, "-x", NULL), 1);
	assert_non_null(strstr(output, "usage: miredb"));
}

static void help_and_version_need_no_store(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "--help", NULL), 0);
	assert_non_null(strstr(output, "usage: miredb"));
	assert_int_equal(run(-1, "--version", NULL), 0);
	assert_non_null(strstr(output, MIRED_VERSION));
	assert_int_equal(run(-1, "-f", "/nonexistent/mired.conf", NULL), 1);
	assert_non_null(strstr(output, "/nonexistent/mired.conf"));
}

static void write_errors_are_told(void **state)
{
	int fds[2];
	(void)state;
	int full = open("/dev/full", O_WRONLY);
	assert_int_equal(run(full, "-f", config, NULL), 1);
	assert_string_equal(output, "miredb: cannot write: No space left on device\n");
	(void)close(full);
	assert_int_equal(pipe(fds), 0);
	(void)close(fds[0]);
	assert_int_equal(run(fds[1], "-f", config, "--json", NULL), 1);
	assert_string_equal(output, "miredb: cannot write: Broken pipe\n");
	(void)close(fds[1]);
}

#define MIREDB_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        MIREDB_TEST(a_listing_is_spamdbs_to_the_byte),
	        MIREDB_TEST(it_lists_beside_a_running_writer),
	        MIREDB_TEST(keys_print_their_records_and_count_the_absent),
	        MIREDB_TEST(json_gives_the_same_records),
	        MIREDB_TEST(json_carries_texts_that_are_no_utf8),
	        MIREDB_TEST(root_leaves_no_file_of_its_own),
	        MIREDB_TEST(check_says_sound_or_what_it_found),
	        MIREDB_TEST(changing_options_are_refused),
	        MIREDB_TEST(help_and_version_need_no_store),
	        MIREDB_TEST(write_errors_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
