/* The program miredb run against a store made here; the tests of its modes share it. Include after
 * cmocka.h. As root the store belongs to nobody, who is the configuration's user. */
#pragma once

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>

#include "store_fixture.h"

enum { OUTPUT_MAX = 65536, ARGS_MAX = 12, NOBODY = 65534 };

static char top[FIXTURE_PATH_MAX]; /* state-dir; the store is its db */
static char program[PATH_MAX];
static char config[FIXTURE_PATH_MAX + 16];
static char output[OUTPUT_MAX]; /* stdout of the last run, then its stderr */

static const char stored_list[] =
        "WHITE|192.0.2.1|||1000000|1001500|4110400|2|5\n"
        "TRAPPED|2001:db8::bad|1086400\n"
        "GREY|192.0.2.9|helo.example|<a\\x7cb@example.org>|<r\\x0aWHITE@example.net>|1000000|"
        "1014400|1014400|1|0\n"
        "SPAMTRAP|trap@example.org\n";

static inline void put_host(struct store_txn *txn, const char *text, enum record_kind kind,
                            struct grey_record record)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	store_put_host(txn, &addr, kind, &record);
}

static inline void fill(struct fixture *f)
{
	struct store *store = fixture_open(f);
	struct store_txn txn;
	struct addr addr;
	struct tuple_text text = {SPAN("helo.example"), SPAN("<a|b@example.org>"),
	                          SPAN("<r\nWHITE@example.net>")};
	struct grey_record grey = {.first = {1000000},
	                           .pass = {1014400},
	                           .expire = {1014400},
	                           .changed_at = {1000000},
	                           .bcount = 1,
	                           .pcount = 0};
	store_begin(store, &txn, (struct wall){FIXTURE_T0});
	put_host(&txn, "192.0.2.1", RECORD_WHITE,
	         (struct grey_record){.first = {1000000},
	                              .pass = {1001500},
	                              .expire = {4110400},
	                              .changed_at = {1000000},
	                              .bcount = 2,
	                              .pcount = 5});
	put_host(&txn, "2001:db8::bad", RECORD_TRAPPED,
	         (struct grey_record){.first = {1000000},
	                              .pass = {0},
	                              .expire = {1086400},
	                              .changed_at = {1000000},
	                              .bcount = 1,
	                              .pcount = 0});
	assert_int_equal(addr_parse(SPAN("192.0.2.9"), &addr), 0);
	struct tuple_key key = record_tuple_key(store_hash_key(store), &addr, &text);
	store_put_tuple(&txn, &key, &grey, &text);
	grey = (struct grey_record){.first = {1000000}, .changed_at = {1000000}, .bcount = 1};
	store_put_trap_address(&txn, SPAN("trap@example.org"), &grey);
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);
}

static inline void give_to_nobody(const struct fixture *f)
{
	static const char *const names[] = {"data.mdb", "lock.mdb", "writer.lock", "installed"};
	assert_int_equal(chmod(top, 0755) | chown(f->dir, NOBODY, NOBODY), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[FIXTURE_PATH_MAX + 64];
		fixture_path(f, names[i], path);
		assert_int_equal(chown(path, NOBODY, NOBODY), 0);
	}
}

static inline int miredb_setup(void **state)
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
	(void)fprintf(file,
	              "state-dir = \"%s\"\nuser = \"nobody\"\nstore-map = 256m\n"
	              "control-socket = \"%s/sock\"\n",
	              top, top);
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

static inline int miredb_teardown(void **state)
{
	char path[FIXTURE_PATH_MAX + 64];
	int ret = fixture_teardown(state);
	static const char *const names[] = {"output", "input", "dump"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(path, sizeof path, "%s/%s", top, names[i]);
		(void)unlink(path);
	}
	(void)unlink(config);
	return ret | rmdir(top);
}

/* Runs miredb with these arguments (NULL at the end), stdout to `out_fd` or into `output`. */
static inline int run_args(int out_fd, char *const *args)
{
	char path[FIXTURE_PATH_MAX + 64];
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

/* The same with the arguments up to NULL. */
static inline int run(int out_fd, const char *first, ...)
{
	char *args[ARGS_MAX] = {program, (char *)(uintptr_t)first};
	va_list list;
	va_start(list, first);
	for (int i = 2; first && i < ARGS_MAX && (args[i] = va_arg(list, char *)); i++) {
	}
	va_end(list);
	return run_args(out_fd, args);
}

#define MIREDB_TEST(name) cmocka_unit_test_setup_teardown(name, miredb_setup, miredb_teardown)
