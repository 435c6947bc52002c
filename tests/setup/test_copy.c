/* Last good copies: text form, names, replacing, damage, locking, a full disk. */
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
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "mired-setup/copy.h"

enum { MAX = 1 << 20 };

struct place {
	char path[64];
	int dir;
};

static int set_up(void **state)
{
	char why[COPY_WHY_MAX];
	struct place *place = calloc(1, sizeof *place);
	(void)snprintf(place->path, sizeof place->path, "/tmp/mired-copy-XXXXXX");
	*state = place;
	return mkdtemp(place->path) && copy_dir_open(place->path, true, &place->dir, why) == 0 ? 0
	                                                                                       : -1;
}

static int tear_down(void **state)
{
	static const char *const files[] = {"bad.list", "bad.list.new", "lock", "a%2Fb.list"};
	struct place *place = *state;
	char path[128];
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		(void)unlinkat(place->dir, files[i], 0);
	}
	(void)close(place->dir);
	(void)snprintf(path, sizeof path, "%s/lists/fetched", place->path);
	int ret = rmdir(path);
	(void)snprintf(path, sizeof path, "%s/lists", place->path);
	ret |= rmdir(path) | rmdir(place->path);
	free(place);
	return ret;
}

static struct copy_meta some_meta(void)
{
	struct copy_meta meta = {.n_entries = 2};
	(void)snprintf(meta.source, sizeof meta.source, "https://lists.example/bad.gz");
	(void)snprintf(meta.etag, sizeof meta.etag, "\"abc def\"");
	(void)snprintf(meta.modified, sizeof meta.modified, "Sun, 22 Nov 2026 10:00:00 GMT");
	return meta;
}

#define SOME_DATA "192.0.2.1\n\n192.0.2.2\n"

static void what_is_stored_comes_back(void **state)
{
	const struct place *place = *state;
	struct copy_meta meta = some_meta();
	struct copy copy;
	assert_int_equal(copy_store(place->dir, "bad", &meta, SPAN(SOME_DATA)), 0);
	assert_int_equal(copy_load(place->dir, "bad", MAX, &copy), 0);
	assert_string_equal(copy.meta.source, meta.source);
	assert_string_equal(copy.meta.etag, meta.etag);
	assert_string_equal(copy.meta.modified, meta.modified);
	assert_int_equal(copy.meta.n_entries, 2);
	assert_true(copy.meta.current_at.secs > 0);
	assert_true(span_equal(copy.data, SPAN(SOME_DATA)));
	copy_fini(&copy);
}

static void a_copy_without_etag_and_without_data_is_one_too(void **state)
{
	const struct place *place = *state;
	struct copy_meta meta = {.n_entries = 0};
	struct copy copy;
	(void)snprintf(meta.source, sizeof meta.source, "/etc/mired/none");
	assert_int_equal(copy_store(place->dir, "a/b", &meta, span_of(NULL, 0)), 0);
	assert_int_equal(copy_load(place->dir, "a/b", MAX, &copy), 0);
	assert_string_equal(copy.meta.etag, "");
	assert_int_equal(copy.data.len, 0);
	copy_fini(&copy);
	assert_int_equal(faccessat(place->dir, "a%2Fb.list", R_OK, 0), 0);
}

static void a_missing_copy_is_not_found(void **state)
{
	const struct place *place = *state;
	struct copy copy;
	char why[COPY_WHY_MAX];
	int dir = -1;
	assert_int_equal(copy_load(place->dir, "bad", MAX, &copy), ERR_NOT_FOUND);
	assert_null(copy.file.ptr);
	assert_int_equal(copy_dir_open("/nonexistent", false, &dir, why), ERR_NOT_FOUND);
	assert_int_equal(dir, -1);
}

static void the_file_names_of_lists_stay_in_the_directory(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
	        {"uatraps", "uatraps.list"},
	        {"drop-v4_x", "drop-v4_x.list"},
	        {"../../x", "%2E.%2F..%2Fx.list"},
	        {".hidden", "%2Ehidden.list"},
	        {"bsdly.net", "bsdly.net.list"},
	        {"a b\xff", "a%20b%FF.list"},
	        {"lock", "lock.list"},
	};
	char name[COPY_NAME_MAX];
	char longest[300];
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(copy_file_name(rows[i][0], name), 0);
		assert_string_equal(name, rows[i][1]);
	}
	memset(longest, '/', sizeof longest);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(copy_file_name(longest, name), ERR_TOO_LONG);
	longest[64] = '\0';
	assert_int_equal(copy_file_name(longest, name), 0);
}

static void header_values_that_cannot_be_sent_back_are_dropped(void **state)
{
	(void)state;
	char out[8];
	copy_take_value("\"abc\"", out, sizeof out);
	assert_string_equal(out, "\"abc\"");
	copy_take_value("12345678", out, sizeof out);
	assert_string_equal(out, "");
	copy_take_value("a\r\nb", out, sizeof out);
	assert_string_equal(out, "");
	copy_take_value("", out, sizeof out);
	assert_string_equal(out, "");
}

static void every_cut_and_every_flipped_byte_is_noticed(void **state)
{
	(void)state;
	struct copy_meta meta = some_meta();
	struct copy_meta found;
	struct span data;
	char head[COPY_HEAD_MAX];
	size_t head_len = copy_format_head(&meta, SPAN(SOME_DATA), head);
	size_t len = head_len + sizeof SOME_DATA - 1;
	uint8_t *file = malloc(len);
	assert_non_null(file);
	memcpy(file, head, head_len);
	memcpy(file + head_len, SOME_DATA, sizeof SOME_DATA - 1);
	assert_int_equal(copy_parse(span_of(file, len), &found, &data), 0);
	for (size_t cut = 0; cut < len; cut++) {
		assert_int_equal(copy_parse(span_of(file, cut), &found, &data), ERR_CORRUPT);
	}
	for (size_t at = head_len; at < len; at++) {
		file[at] ^= 0x20;
		assert_int_equal(copy_parse(span_of(file, len), &found, &data), ERR_CORRUPT);
		file[at] ^= 0x20;
	}
	free(file);
}

static void heads_that_are_none_are_refused(void **state)
{
	(void)state;
	static const char *const rows[] = {
	        "",
	        "\n",
	        "mired-list 2\nsource x\nentries 0\nbytes 0\ncrc32 00000000\n\n",
	        "mired-list 1\nsource x\nentries 0\nbytes 0\n\n",
	        "mired-list 1\nsource x\nentries -1\nbytes 0\ncrc32 00000000\n\n",
	        "mired-list 1\nsource x\nentries 0\nbytes 0\ncrc32 0\n\n",
	        "mired-list 1\nsource x\nentries 0\nbytes 0\ncrc32 0000000g\n\n",
	        "mired-list 1\nsource x\nentries 0\nbytes 1\ncrc32 00000000\n\n",
	        "mired-list 1\nsource x\nentries 0\nbytes 0\ncrc32 00000000\nfoo bar\n\n",
	};
	struct copy_meta meta;
	struct span data;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(copy_parse(span_of_str(rows[i]), &meta, &data), ERR_CORRUPT);
	}
	const char *good = "mired-list 1\nsource x\nentries 0\nbytes 0\ncrc32 00000000\n\n";
	assert_int_equal(copy_parse(span_of_str(good), &meta, &data), 0);
}

/* A write fails after some bytes, as on a full disk. */
static void a_copy_that_cannot_be_written_leaves_the_old_one(void **state)
{
	const struct place *place = *state;
	struct copy_meta meta = some_meta();
	struct copy copy;
	struct rlimit old;
	static char large[64 << 10];
	assert_int_equal(copy_store(place->dir, "bad", &meta, SPAN(SOME_DATA)), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
	struct rlimit small = {.rlim_cur = 4096, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	int ret = copy_store(place->dir, "bad", &meta, span_of(large, sizeof large));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	(void)signal(SIGXFSZ, handler);
	assert_int_equal(ret, -EFBIG);
	assert_int_equal(faccessat(place->dir, "bad.list.new", F_OK, 0), -1);
	assert_int_equal(copy_load(place->dir, "bad", MAX, &copy), 0);
	assert_true(span_equal(copy.data, SPAN(SOME_DATA)));
	copy_fini(&copy);
}

static void a_copy_larger_than_the_bound_is_refused(void **state)
{
	const struct place *place = *state;
	struct copy_meta meta = some_meta();
	struct copy copy;
	static char large[64 << 10];
	assert_int_equal(copy_store(place->dir, "bad", &meta, span_of(large, sizeof large)), 0);
	assert_int_equal(copy_load(place->dir, "bad", 1024, &copy), ERR_TOO_LONG);
	assert_null(copy.file.ptr);
}

static void a_link_in_the_place_of_a_copy_is_not_followed(void **state)
{
	const struct place *place = *state;
	struct copy copy;
	assert_int_equal(symlinkat("/etc/passwd", place->dir, "bad.list"), 0);
	assert_int_equal(copy_load(place->dir, "bad", MAX, &copy), -ELOOP);
}

static void touching_makes_a_copy_current(void **state)
{
	const struct place *place = *state;
	struct copy_meta meta = some_meta();
	struct copy copy;
	const struct timespec old[] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	assert_int_equal(copy_store(place->dir, "bad", &meta, SPAN(SOME_DATA)), 0);
	assert_int_equal(utimensat(place->dir, "bad.list", old, 0), 0);
	assert_int_equal(copy_load(place->dir, "bad", MAX, &copy), 0);
	assert_int_equal(copy.meta.current_at.secs, 1000);
	copy_fini(&copy);
	copy_touch(place->dir, "bad");
	assert_int_equal(copy_load(place->dir, "bad", MAX, &copy), 0);
	assert_true(copy.meta.current_at.secs > 1000);
	copy_fini(&copy);
}

static void the_lock_is_held_by_one(void **state)
{
	const struct place *place = *state;
	int first = -1;
	int second = -1;
	assert_int_equal(copy_dir_lock(place->dir, &first), 0);
	assert_int_equal(copy_dir_lock(place->dir, &second), ERR_BUSY);
	assert_int_equal(second, -1);
	(void)close(first);
	assert_int_equal(copy_dir_lock(place->dir, &second), 0);
	(void)close(second);
}

#define PLACED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        PLACED(what_is_stored_comes_back),
	        PLACED(a_copy_without_etag_and_without_data_is_one_too),
	        PLACED(a_missing_copy_is_not_found),
	        cmocka_unit_test(the_file_names_of_lists_stay_in_the_directory),
	        cmocka_unit_test(header_values_that_cannot_be_sent_back_are_dropped),
	        cmocka_unit_test(every_cut_and_every_flipped_byte_is_noticed),
	        cmocka_unit_test(heads_that_are_none_are_refused),
	        PLACED(a_copy_that_cannot_be_written_leaves_the_old_one),
	        PLACED(a_copy_larger_than_the_bound_is_refused),
	        PLACED(a_link_in_the_place_of_a_copy_is_not_followed),
	        PLACED(touching_makes_a_copy_current),
	        PLACED(the_lock_is_held_by_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
