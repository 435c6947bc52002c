/* Sources as spamd.conf names them: texts, names that cannot be used, messages from files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "lists/cfgline.h"
#include "mired-setup/bytes.h"
#include "mired-setup/source.h"

static char long_name[CFGLINE_TAG_MAX + 2];

static void a_source_has_a_text_or_a_reason(void **state)
{
	(void)state;
	memset(long_name, 'n', sizeof long_name - 1);
	const struct {
		char *name;
		enum capfile_method method;
		char *file;
		int expected;
		const char *text;
	} rows[] = {
	        {"a", CAPFILE_FILE, "/var/db/a.txt", 0, "/var/db/a.txt"},
	        {"a", CAPFILE_HTTP, "lists.example/a.gz", 0, "http://lists.example/a.gz"},
	        {"a", CAPFILE_HTTPS, "lists.example/a", 0, "https://lists.example/a"},
	        {"a", CAPFILE_FTP, "lists.example/a", 0, "ftp://lists.example/a"},
	        {"a", CAPFILE_EXEC, "cat\t/a  b", 0, "cat /a  b"},
	        {"a", CAPFILE_HTTP, "lists.example/a\nX: y", ERR_SYNTAX, NULL},
	        {"a;b", CAPFILE_FILE, "/a", ERR_SYNTAX, NULL},
	        {"a\x1b", CAPFILE_FILE, "/a", ERR_SYNTAX, NULL},
	        {long_name, CAPFILE_FILE, "/a", ERR_TOO_LONG, NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct capfile_list list = {
		        .name = rows[i].name, .method = rows[i].method, .file = rows[i].file};
		struct source source;
		assert_int_equal(source_describe(&list, &source), rows[i].expected);
		if (rows[i].text) {
			assert_string_equal(source.text, rows[i].text);
		} else {
			assert_true(source.why[0] != '\0');
		}
	}
}

static void a_password_is_not_shown(void **state)
{
	(void)state;
	const struct {
		enum capfile_method method;
		char *file;
		const char *shown;
	} rows[] = {
	        {CAPFILE_HTTPS, "me:secret@lists.example/a@b", "https://***@lists.example/a@b"},
	        {CAPFILE_FTP, "me:sec@ret@lists.example", "ftp://***@lists.example"},
	        {CAPFILE_HTTP, "lists.example/a@b", "http://lists.example/a@b"},
	        {CAPFILE_HTTP, "a:b@lists.example?c@d", "http://***@lists.example?c@d"},
	        {CAPFILE_FILE, "a@b/c", "a@b/c"},
	        {CAPFILE_EXEC, "mail a@b", "mail a@b"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct capfile_list list = {
		        .name = "a", .method = rows[i].method, .file = rows[i].file};
		struct source source;
		assert_int_equal(source_describe(&list, &source), 0);
		assert_string_equal(source.shown, rows[i].shown);
		assert_non_null(strstr(source.text, rows[i].file));
	}
}

static void write_file(const char *path, const void *data, size_t len)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

static void a_message_comes_from_the_text_or_from_a_file(void **state)
{
	(void)state;
	char path[] = "/tmp/mired-source-XXXXXX";
	static char large[CFGLINE_TEXT_MAX + 1];
	struct capfile_list list = {.name = "a",
	                            .is_black = true,
	                            .message = path,
	                            .is_message_file = true,
	                            .method = CAPFILE_FILE,
	                            .file = "/nonexistent/list"};
	struct source source;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	(void)close(fd);
	memset(large, 'm', sizeof large);
	const struct {
		const void *data;
		size_t len;
		const char *expected; /* NULL: refused */
	} rows[] = {{"line one\nline \"two\"\n", 20, "line one\nline \"two\"\n"},
	            {"", 0, ""},
	            {"a\0b", 3, NULL},
	            {large, sizeof large, NULL}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		write_file(path, rows[i].data, rows[i].len);
		assert_int_equal(source_describe(&list, &source), 0);
		source_open(&source);
		assert_int_equal(source.message != NULL, rows[i].expected != NULL);
		if (rows[i].expected) {
			assert_string_equal(source.message, rows[i].expected);
		} else {
			assert_non_null(strstr(source.why, path));
		}
		assert_int_equal(source.file_error, -ENOENT);
		source_close(&source);
	}
	(void)unlink(path);
	list.is_message_file = false;
	assert_int_equal(source_describe(&list, &source), 0);
	source_open(&source);
	assert_string_equal(source.message, path);
	source_close(&source);
}

static void only_plain_files_are_opened(void **state)
{
	(void)state;
	char path[] = "/tmp/mired-source-XXXXXX";
	assert_non_null(mkdtemp(path));
	char fifo[64];
	(void)snprintf(fifo, sizeof fifo, "%s/fifo", path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	const struct {
		char *file;
		int expected;
	} rows[] = {{fifo, ERR_UNSUPPORTED},
	            {path, -EISDIR},
	            {"/dev/null", ERR_UNSUPPORTED},
	            {"/proc/self/status", 0}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct capfile_list list = {
		        .name = "w", .method = CAPFILE_FILE, .file = rows[i].file};
		struct source source;
		assert_int_equal(source_describe(&list, &source), 0);
		source_open(&source);
		assert_int_equal(source.file_error, rows[i].expected);
		assert_int_equal(source.fd >= 0, rows[i].expected == 0);
		source_close(&source);
	}
	(void)unlink(fifo);
	(void)rmdir(path);
}

static void the_example_file_is_right(void **state)
{
	(void)state;
	static const struct {
		const char *name, *text;
	} expected[] = {
	        {"bsdly", "https://www.bsdly.net/~peter/bsdly.net.traplist"},
	        {"override", "/etc/mired/override.txt"},
	        {"drop4", "https://www.spamhaus.org/drop/drop_v4.json"},
	        {"override", "/etc/mired/override.txt"},
	        {"drop6", "https://www.spamhaus.org/drop/drop_v6.json"},
	};
	struct bytes bytes = {.ptr = NULL};
	struct capfile file;
	char why[CAPFILE_WHY_MAX] = "";
	int fd = open(SETUP_DIR "/spamd.conf.example", O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(bytes_read_fd(&bytes, fd, 1 << 20), 0);
	(void)close(fd);
	assert_int_equal(capfile_parse(bytes_span(&bytes), &file, why), 0);
	assert_int_equal(file.n, ARRAY_LEN(expected));
	for (size_t i = 0; i < file.n; i++) {
		struct source source;
		assert_int_equal(source_describe(&file.lists[i], &source), 0);
		assert_string_equal(file.lists[i].name, expected[i].name);
		assert_string_equal(source.text, expected[i].text);
	}
	assert_string_equal(file.lists[0].message,
	                    "Your address %A has sent mail to a spamtrap of bsdly.net\n"
	                    "within the last 24 hours. See "
	                    "https://www.bsdly.net/~peter/traplist.shtml");
	capfile_fini(&file);
	bytes_fini(&bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_source_has_a_text_or_a_reason),
	        cmocka_unit_test(a_password_is_not_shown),
	        cmocka_unit_test(a_message_comes_from_the_text_or_from_a_file),
	        cmocka_unit_test(only_plain_files_are_opened),
	        cmocka_unit_test(the_example_file_is_right),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
