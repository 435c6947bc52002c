/* The key file and what it signs. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <nettle/hmac.h>

#include "base/err.h"
#include "sync_vectors.h"

enum { PATH_BYTES = 96, MIB = 1024 * 1024 };

struct fixture {
	char dir[64];
	char path[PATH_BYTES];
	char why[SYNC_KEY_WHY_MAX];
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);
	assert_non_null(fixture);
	(void)snprintf(fixture->dir, sizeof fixture->dir, "/tmp/mired-key-XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	(void)snprintf(fixture->path, sizeof fixture->path, "%s/sync.key", fixture->dir);
	*state = fixture;
	return 0;
}

/* rmdir fails, and so does the test, if anything else was left there. */
static int teardown(void **state)
{
	struct fixture *fixture = *state;
	(void)remove(fixture->path);
	assert_int_equal(rmdir(fixture->dir), 0);
	free(fixture);
	return 0;
}

static void write_file(const struct fixture *fixture, const void *bytes, size_t len)
{
	FILE *file = fopen(fixture->path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(fixture->path, 0600), 0);
}

static void the_key_is_the_text_of_the_files_digest(void **state)
{
	struct fixture *fixture = *state;
	struct span file = VECTOR_KEY_FILE;
	struct sync_key key;
	write_file(fixture, file.ptr, file.len);
	assert_int_equal(sync_key_read(fixture->path, &key, fixture->why), 0);
	assert_false(key.is_empty);
	assert_string_equal(key.text, VECTOR_KEY_TEXT);
	assert_string_equal(sync_key_of(file).text, VECTOR_KEY_TEXT);
	/* FIPS 180-4's example */
	assert_string_equal(sync_key_of(SPAN("abc")).text,
	                    "a9993e364706816aba3e25717850c26c9cd0d89d");
}

static void a_key_file_may_hold_any_bytes_up_to_a_bound(void **state)
{
	struct fixture *fixture = *state;
	struct sync_key key;
	write_file(fixture, "\0\xff\n\0", 4);
	assert_int_equal(sync_key_read(fixture->path, &key, fixture->why), 0);
	assert_string_equal(key.text, sync_key_of(SPAN("\0\xff\n\0")).text);
	char *large = calloc(1, MIB + 1);
	assert_non_null(large);
	write_file(fixture, large, MIB);
	assert_int_equal(sync_key_read(fixture->path, &key, fixture->why), 0);
	assert_string_equal(key.text, sync_key_of(span_of(large, MIB)).text);
	write_file(fixture, large, MIB + 1);
	assert_int_equal(sync_key_read(fixture->path, &key, fixture->why), ERR_TOO_LONG);
	assert_non_null(strstr(fixture->why, "more than 1048576 bytes"));
	free(large);
}

static void a_file_that_everybody_may_touch_is_refused_with_the_remedy(void **state)
{
	static const struct {
		mode_t mode;
		int ret;
		const char *shown;
	} rows[] = {
	        {0600, 0, NULL},
	        {0400, 0, NULL},
	        {0640, 0, NULL},
	        {0644, ERR_DENIED, "mode 0644 lets everybody in; chmod o= mends it"},
	        {0602, ERR_DENIED, "mode 0602 lets everybody in; chmod o= mends it"},
	        {0777, ERR_DENIED, "mode 0777 lets everybody in; chmod o= mends it"},
	};
	struct fixture *fixture = *state;
	struct sync_key key;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		write_file(fixture, "x", 1);
		assert_int_equal(chmod(fixture->path, rows[i].mode), 0);
		assert_int_equal(sync_key_read(fixture->path, &key, fixture->why), rows[i].ret);
		assert_true(!rows[i].shown || strstr(fixture->why, rows[i].shown));
		assert_true(!rows[i].shown || strstr(fixture->why, fixture->path));
	}
}

static void what_is_no_key_file_is_told_apart(void **state)
{
	struct fixture *fixture = *state;
	struct sync_key key;
	assert_int_equal(sync_key_read(fixture->path, &key, fixture->why), ERR_NOT_FOUND);
	assert_non_null(strstr(fixture->why, "miredctl sync-key makes one"));
	write_file(fixture, "", 0);
	assert_int_equal(sync_key_read(fixture->path, &key, fixture->why), ERR_TRUNCATED);
	assert_non_null(strstr(fixture->why, "empty"));
	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(mkfifo(fixture->path, 0600), 0);
	assert_int_equal(sync_key_read(fixture->path, &key, fixture->why), ERR_UNSUPPORTED);
	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(mkdir(fixture->path, 0700), 0);
	assert_int_equal(sync_key_read(fixture->path, &key, fixture->why), ERR_UNSUPPORTED);
	assert_int_equal(sync_key_read("/proc/1/mem/x", &key, fixture->why), -ENOTDIR);
	assert_non_null(strstr(fixture->why, "/proc/1/mem/x: Not a directory"));
}

static void a_new_key_is_random_private_and_made_once(void **state)
{
	struct fixture *fixture = *state;
	struct sync_key first;
	struct sync_key second;
	struct stat st;
	mode_t mask = umask(0);
	assert_int_equal(sync_key_make(fixture->path, fixture->why), 0);
	(void)umask(mask);
	assert_int_equal(stat(fixture->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 65);
	assert_int_equal(sync_key_read(fixture->path, &first, fixture->why), 0);
	assert_int_equal(sync_key_make(fixture->path, fixture->why), ERR_BUSY);
	assert_non_null(strstr(fixture->why, "there is one already"));
	assert_int_equal(sync_key_read(fixture->path, &second, fixture->why), 0);
	assert_string_equal(first.text, second.text);
	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(sync_key_make(fixture->path, fixture->why), 0);
	assert_int_equal(sync_key_read(fixture->path, &second, fixture->why), 0);
	assert_string_not_equal(first.text, second.text);
}

static void a_new_key_is_a_line_of_hex(void **state)
{
	struct fixture *fixture = *state;
	char line[80] = "";
	assert_int_equal(sync_key_make(fixture->path, fixture->why), 0);
	FILE *file = fopen(fixture->path, "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof line, file));
	(void)fclose(file);
	assert_int_equal(strspn(line, "0123456789abcdef"), 64);
	assert_string_equal(line + 64, "\n");
}

static void a_place_that_is_not_there_is_named(void **state)
{
	struct fixture *fixture = *state;
	char path[PATH_BYTES + 8];
	char longest[600];
	(void)snprintf(path, sizeof path, "%s/x/y", fixture->dir);
	assert_int_equal(sync_key_make(path, fixture->why), -ENOENT);
	assert_non_null(strstr(fixture->why, "/x/y: No such file or directory"));
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(sync_key_make(longest, fixture->why), ERR_TOO_LONG);
}

static void signatures_are_hmac_sha1_and_checked_whole(void **state)
{
	struct sync_key key = sync_key_of(VECTOR_KEY_FILE);
	struct sync_key empty = {.is_empty = true};
	struct span bytes = SPAN("any bytes");
	struct hmac_sha1_ctx ctx;
	uint8_t wanted[SYNC_MAC_BYTES];
	uint8_t mac[SYNC_MAC_BYTES];
	(void)state;
	sync_key_sign(&key, bytes, mac);
	hmac_sha1_set_key(&ctx, SYNC_KEY_CHARS, (const uint8_t *)VECTOR_KEY_TEXT);
	hmac_sha1_update(&ctx, bytes.len, bytes.ptr);
	hmac_sha1_digest(&ctx, sizeof wanted, wanted);
	assert_memory_equal(mac, wanted, sizeof mac);
	assert_true(sync_key_check(&key, bytes, mac));
	assert_false(sync_key_check(&empty, bytes, mac));
	assert_false(sync_key_check(&key, SPAN("any byte"), mac));
	for (size_t i = 0; i < sizeof mac; i++) {
		mac[i] ^= 1;
		assert_false(sync_key_check(&key, bytes, mac));
		mac[i] ^= 1;
	}
}

/* greyd's key is the same text with its NUL: 41 bytes. HMAC fills keys up with zeros. */
static void greyds_key_of_41_bytes_signs_the_same(void **state)
{
	struct sync_key key = sync_key_of(VECTOR_KEY_FILE);
	struct span bytes = SPAN("any bytes");
	struct hmac_sha1_ctx ctx;
	uint8_t greyds[SYNC_MAC_BYTES];
	(void)state;
	hmac_sha1_set_key(&ctx, SYNC_KEY_CHARS + 1, (const uint8_t *)VECTOR_KEY_TEXT);
	hmac_sha1_update(&ctx, bytes.len, bytes.ptr);
	hmac_sha1_digest(&ctx, sizeof greyds, greyds);
	assert_true(sync_key_check(&key, bytes, greyds));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(the_key_is_the_text_of_the_files_digest),
	        TEST(a_key_file_may_hold_any_bytes_up_to_a_bound),
	        TEST(a_file_that_everybody_may_touch_is_refused_with_the_remedy),
	        TEST(what_is_no_key_file_is_told_apart),
	        TEST(a_new_key_is_random_private_and_made_once),
	        TEST(a_new_key_is_a_line_of_hex),
	        TEST(a_place_that_is_not_there_is_named),
	        TEST(signatures_are_hmac_sha1_and_checked_whole),
	        TEST(greyds_key_of_41_bytes_signs_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
