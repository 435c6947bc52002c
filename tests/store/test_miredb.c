/* The program miredb, run against a store made here: its lines to the byte, its exit codes, and
 * that root leaves no file of its own in the store. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include "miredb_fixture.h"

static void a_listing_is_spamdbs_to_the_byte(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, NULL), 0);
	assert_string_equal(output, stored_list);
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
	assert_string_equal(output, stored_list);
	store_close(store);
}

static void keys_print_their_records_and_count_the_absent(void **state)
{
	(void)state;
	assert_int_equal(run(-1, "-f", config, "192.0.2.1", "", NULL), 0);
	assert_string_equal(output, "WHITE|192.0.2.1|||1000000|1001500|4110400|2|5\n");
	assert_int_equal(run(-1, "-f", config, "2001:db8::bad", "192.0.2.9", "what@ever", NULL), 2);
	assert_string_equal(output, "TRAPPED|2001:db8::bad|1086400\n");
	assert_int_equal(run(-1, "-f", config, "<Trap@example.org>", NULL), 0);
	assert_string_equal(output, "SPAMTRAP|trap@example.org\n");
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
	        "\n"
	        "{\"kind\":\"SPAMTRAP\",\"address\":\"trap@example.org\",\"first\":1000000}\n");
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
	struct grey_record grey = {.first = {1},
	                           .pass = {2},
	                           .expire = {3},
	                           .changed_at = {1},
	                           .bcount = 1,
	                           .pcount = 0};
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

/* The caller may keep it where the store's user may not write. */
static void a_backup_belongs_to_the_caller(void **state)
{
	struct fixture *f = *state;
	char path[FIXTURE_PATH_MAX + 8];
	char data[FIXTURE_PATH_MAX + 64];
	struct stat st;
	(void)snprintf(path, sizeof path, "%s/dump", top);
	assert_int_equal(run(-1, "-f", config, "--backup", path, NULL), 0);
	assert_ptr_equal(strstr(output, path), output);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(st.st_mode & 07777, 0600);
	fixture_path(f, "data.mdb", data);
	fixture_remove(f, "lock.mdb");
	assert_int_equal(run(-1, "-f", config, "-d", "192.0.2.1", NULL), 0);
	assert_int_equal(rename(path, data), 0);
	assert_int_equal(geteuid() == 0 ? chown(data, NOBODY, NOBODY) : 0, 0);
	fixture_remove(f, "lock.mdb");
	assert_int_equal(run(-1, "-f", config, NULL), 0);
	assert_string_equal(output, stored_list);
	char aside[FIXTURE_PATH_MAX + 16];
	(void)snprintf(aside, sizeof aside, "%s.new", path);
	assert_int_equal(mkdir(aside, 0700), 0); /* as a killed one leaves it */
	assert_int_equal(geteuid() == 0 ? chown(aside, NOBODY, NOBODY) : 0, 0);
	assert_int_equal(run(-1, "-f", config, "--backup", path, NULL), 0);
	assert_int_equal(access(aside, F_OK), -1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(run(-1, "-f", config, "--backup", config, NULL), 1);
	assert_non_null(strstr(output, "is no backup of a store"));
	assert_int_equal(run(-1, "-f", config, "--backup", path, "more", NULL), 1);
}

static void compaction_waits_for_nobody(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(run(-1, "-f", config, "--compact", NULL), 0);
	assert_non_null(strstr(output, " MiB were free pages; now "));
	assert_int_equal(run(-1, "-f", config, NULL), 0);
	assert_string_equal(output, stored_list);
	if (geteuid() == 0) {
		assert_int_equal(chown(f->dir, 0, 0), 0);
	}
	struct store *store = fixture_open(f);
	if (geteuid() == 0) {
		give_to_nobody(f);
	}
	assert_int_equal(run(-1, "-f", config, "--compact", NULL), 1);
	assert_non_null(strstr(output, "stop mired first"));
	store_close(store);
}

static void networks_print_what_lies_in_them(void **state)
{
	(void)state;
	static const struct {
		const char *key;
		const char *expected;
		int status;
	} rows[] = {
	        {"192.0.2.0/29", "WHITE|192.0.2.1|||1000000|1001500|4110400|2|5\n", 0},
	        {"192.0.2.2/31", "", 1},
	        {"192.0.2.8/31",
	         "GREY|192.0.2.9|helo.example|<a\\x7cb@example.org>|<r\\x0aWHITE@example.net>|"
	         "1000000|1014400|1014400|1|0\n",
	         0},
	        {"2001:db8::/32", "TRAPPED|2001:db8::bad|1086400\n", 0},
	        {"2001:db8::bad/127", "TRAPPED|2001:db8::bad|1086400\n", 0},
	        {"2001:db8::ba0/126", "", 1},
	        {"192.0.2.0/33", "miredb: invalid network 192.0.2.0/33\n", 1},
	        {"0.0.0.0/0",
	         "WHITE|192.0.2.1|||1000000|1001500|4110400|2|5\n"
	         "GREY|192.0.2.9|helo.example|<a\\x7cb@example.org>|<r\\x0aWHITE@example.net>|"
	         "1000000|1014400|1014400|1|0\n",
	         0},
	        {"::/0", "TRAPPED|2001:db8::bad|1086400\n", 0},
	        {"::/64", "", 1}, /* IPv4 has its place in there */
	        {"::ffff:192.0.2.0/125", "WHITE|192.0.2.1|||1000000|1001500|4110400|2|5\n", 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(run(-1, "-f", config, rows[i].key, NULL), rows[i].status);
		assert_string_equal(output, rows[i].expected);
	}
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
	        MIREDB_TEST(a_backup_belongs_to_the_caller),
	        MIREDB_TEST(compaction_waits_for_nobody),
	        MIREDB_TEST(networks_print_what_lies_in_them),
	        MIREDB_TEST(help_and_version_need_no_store),
	        MIREDB_TEST(write_errors_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
