/* Lists as they come, are replaced, kept on disk and found again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>

#include "lister_fixture.h"

#define LIST_A "a;\"from a\";inet;1;192.0.2.0/24;\n"
#define LIST_B "b;\"from b\";inet;1;192.0.2.128/25;inet6;1;2001:db8::/32;\n"

/* --- in memory -------------------------------------------------------------------------------- */

static void an_address_is_on_all_lists_that_hold_it(void **state)
{
	struct fixture *fix = *state;
	struct lister_result result = lister_ask(fix, LISTER_LINES, LIST_A LIST_B);
	assert_int_equal(result.ret, 0);
	assert_int_equal(result.n_lists, 2);
	assert_int_equal(result.n_networks, 3);
	assert_int_equal(lister_mask(fix, "192.0.2.1"), 1);
	assert_int_equal(lister_mask(fix, "192.0.2.200"), 3);
	assert_int_equal(lister_mask(fix, "2001:db8:1::1"), 2);
	assert_int_equal(lister_mask(fix, "192.0.3.1"), 0);
	struct lister_figures figures;
	lister_figures_get(fix->lister, &figures);
	assert_int_equal(figures.n_lists, 2);
	assert_int_equal(figures.n_networks, 3);
	assert_true(figures.table_bytes > 0);
}

static void the_same_tag_replaces_a_list_in_its_place(void **state)
{
	struct fixture *fix = *state;
	lister_put(fix, LIST_A LIST_B);
	lister_put(fix, "a;\"new\";inet;2;198.51.100.0/24;203.0.113.0/24;\n");
	lister_put(fix, "c;\"more\";inet;1;198.51.100.7/32;\n");
	assert_string_equal(lister_all(fix), "a=2 b=2 c=1 ");
	assert_int_equal(lister_mask(fix, "192.0.2.1"), 0);
	assert_int_equal(lister_mask(fix, "198.51.100.7"), 1 | 4);
}

static void a_bad_line_refuses_that_line_only_and_names_it(void **state)
{
	struct fixture *fix = *state;
	lister_put(fix, LIST_A LIST_B);
	struct lister_result result =
	        lister_ask(fix, LISTER_LINES,
	                   "a;\"x\";inet;2;198.51.100.0/24;198.51.100.300/32;\n"
	                   "b;\"x\";inet;1;203.0.113.0/24;\n");
	assert_true(result.ret < 0);
	assert_memory_equal(result.why, "line 1: ", 8);
	assert_int_equal(result.n_lists, 1);
	assert_int_equal(lister_mask(fix, "192.0.2.1"), 1);
	assert_int_equal(lister_mask(fix, "198.51.100.1"), 0);
	assert_int_equal(lister_mask(fix, "203.0.113.1"), 2);
	assert_int_equal(lister_count(fix, COUNTER_lists_refused), 1);
	assert_int_equal(lister_count(fix, COUNTER_lists_loaded), 3);
}

static void a_clear_list_keeps_its_tag_and_place(void **state)
{
	struct fixture *fix = *state;
	lister_put(fix, LIST_A LIST_B);
	lister_put(fix, "a;\nnever.seen;\n");
	assert_string_equal(lister_all(fix), "a=0 b=2 ");
	assert_int_equal(lister_mask(fix, "192.0.2.1"), 0);
	lister_put(fix, LIST_A);
	assert_string_equal(lister_all(fix), "a=1 b=2 ");
}

static void a_list_without_addresses_leaves_the_old_one(void **state)
{
	static const char *const lines[] = {"a;\"x\";inet;0;\n", "a;\"x\";\n", "a;\"x\"\n"};
	struct fixture *fix = *state;
	lister_put(fix, LIST_A);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct lister_result result = lister_ask(fix, LISTER_LINES, lines[i]);
		assert_true(result.ret < 0);
		assert_int_equal(result.n_lists, 0);
	}
	assert_int_equal(lister_mask(fix, "192.0.2.1"), 1);
}

static void of_two_lines_with_one_tag_the_last_counts(void **state)
{
	struct fixture *fix = *state;
	lister_put(fix, "a;\"x\";inet;1;198.51.100.0/24;\n\n" LIST_A);
	assert_string_equal(lister_all(fix), "a=1 ");
	assert_int_equal(lister_mask(fix, "192.0.2.1"), 1);
	assert_int_equal(lister_mask(fix, "198.51.100.1"), 0);
}

static void a_dropped_list_is_gone(void **state)
{
	struct fixture *fix = *state;
	lister_put(fix, LIST_A LIST_B);
	assert_int_equal(lister_ask(fix, LISTER_DROP, "a").ret, 0);
	assert_string_equal(lister_all(fix), "b=2 ");
	assert_int_equal(lister_mask(fix, "192.0.2.200"), 1);
	assert_int_equal(lister_ask(fix, LISTER_DROP, "a").ret, ERR_NOT_FOUND);
	assert_int_equal(lister_ask(fix, LISTER_DROP, "b").ret, 0);
	assert_int_equal(lister_mask(fix, "192.0.2.200"), 0);
	lister_restart(fix);
	assert_string_equal(lister_all(fix), "");
}

static void all_lists_together_have_one_bound(void **state)
{
	struct fixture *fix = *state;
	lister_set_prefixes_max(fix->lister, 3);
	lister_put(fix, LIST_A LIST_B);
	assert_int_equal(lister_ask(fix, LISTER_LINES, "c;\"x\";inet;1;10.0.0.0/8;\n").ret,
	                 ERR_TOO_LONG);
	lister_put(fix, "b;\"x\";inet;2;10.0.0.0/8;11.0.0.0/8;\n");
	assert_int_equal(
	        lister_ask(fix, LISTER_LINES, "a;\"x\";inet;2;10.0.0.0/8;11.0.0.0/8;\n").ret,
	        ERR_TOO_LONG);
	lister_put(fix, "b;\n");
	lister_put(fix, "c;\"x\";inet;2;10.0.0.0/8;11.0.0.0/8;\n");
	assert_string_equal(lister_all(fix), "a=1 b=0 c=2 ");
}

static void there_are_at_most_64_lists(void **state)
{
	struct fixture *fix = *state;
	char line[64];
	for (int i = 0; i < LISTS_MAX; i++) {
		(void)snprintf(line, sizeof line, "t%d;\"x\";inet;1;10.0.0.0/8;\n", i);
		lister_put(fix, line);
	}
	struct lister_result result = lister_ask(fix, LISTER_LINES, LIST_A);
	assert_int_equal(result.ret, ERR_TOO_LONG);
	assert_string_equal(result.why, "line 1: more than 64 lists");
	lister_put(fix, "t63;\"x\";inet;1;192.0.2.0/24;\n");
	assert_int_equal(lister_ask(fix, LISTER_DROP, "t0").ret, 0);
	lister_put(fix, LIST_A);
	lister_restart(fix);
	struct lister_figures figures;
	lister_figures_get(fix->lister, &figures);
	assert_int_equal(figures.n_lists, LISTS_MAX);
}

static void jobs_are_done_in_order_and_the_queue_is_bounded(void **state)
{
	struct fixture *fix = *state;
	char line[64];
	for (int i = 0; i < LISTER_QUEUE_MAX; i++) {
		int len = snprintf(line, sizeof line, "a;\"x\";inet;1;10.0.%d.0/24;\n", i);
		lister_post_bytes(fix, LISTER_LINES, line, (size_t)len);
	}
	char *late = strdup(LIST_A);
	assert_int_equal(lister_submit(fix->lister, LISTER_LINES, late, strlen(late), 1000),
	                 -EAGAIN);
	free(late);
	for (uint64_t i = 0; i < LISTER_QUEUE_MAX; i++) {
		struct lister_result result = lister_wait(fix);
		assert_int_equal(result.cookie, i + 1);
		assert_int_equal(result.ret, 0);
	}
	assert_int_equal(lister_mask(fix, "10.0.63.1"), 1);
	assert_int_equal(lister_mask(fix, "10.0.62.1"), 0);
	lister_put(fix, LIST_A);
}

/* --- on disk ---------------------------------------------------------------------------------- */

static void lists_are_in_force_again_after_a_restart(void **state)
{
	struct fixture *fix = *state;
	lister_put(fix, LIST_A LIST_B "third one;\"x\";192.0.2.1/32\n");
	lister_put(fix, "a;\"new\";inet;1;198.51.100.0/24;\n");
	lister_put(fix, "b;\n");
	lister_restart(fix);
	assert_string_equal(lister_all(fix), "a=1 b=0 third one=1 ");
	assert_int_equal(lister_mask(fix, "198.51.100.1"), 1);
	assert_int_equal(lister_mask(fix, "192.0.2.1"), 4);
	assert_true(lister_has_file(fix, "0001-a"));
	assert_true(lister_has_file(fix, "0003-third_one"));
	qsbr_online();
	assert_true(span_equal(list_table_text(knowledge_lists(&fix->knowledge), 0), SPAN("new")));
	qsbr_offline();
	assert_int_equal(lister_ask(fix, LISTER_DROP, "third one").ret, 0);
	assert_false(lister_has_file(fix, "0003-third_one"));
}

static void a_tag_cannot_name_another_file(void **state)
{
	struct fixture *fix = *state;
	lister_put(fix, "../../x;\"x\";inet;1;10.0.0.0/8;\n");
	assert_true(lister_has_file(fix, "0001-.._.._x"));
	lister_restart(fix);
	assert_string_equal(lister_all(fix), "../../x=1 ");
}

static void damaged_files_are_left_alone_and_the_others_load(void **state)
{
	static const char *const names[] = {"0002-cut", "0003-empty", "0005-again",
	                                    "rubbish",  "0006-two",   "0007-noise"};
	static const char *const texts[] = {"cut;\"x\";inet;2;10.0.0.0/8;",
	                                    "",
	                                    LIST_A,
	                                    "noise\n",
	                                    (LIST_B LIST_B),
	                                    "\x01\x02\n"};
	struct fixture *fix = *state;
	lister_put(fix, LIST_A);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		lister_write_file(fix, names[i], texts[i]);
	}
	lister_write_file(fix, "0004-b", LIST_B);
	lister_write_file(fix, ".new", LIST_B);
	lister_restart(fix);
	assert_string_equal(lister_all(fix), "a=1 b=2 ");
	assert_int_equal(lister_count(fix, COUNTER_lists_refused), 5);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_true(lister_has_file(fix, names[i]));
	}
	assert_false(lister_has_file(fix, ".new"));
	lister_put(fix, "c;\"x\";inet;1;10.0.0.0/8;\n");
	lister_restart(fix);
	assert_string_equal(lister_all(fix), "a=1 b=2 c=1 ");
}

static void a_list_that_came_anew_wins_over_a_file_that_could_not_be_used(void **state)
{
	struct fixture *fix = *state;
	lister_put(fix, "old;\"x\";inet;3;10.0.0.0/8;11.0.0.0/8;12.0.0.0/8;\n" LIST_A);
	fix->world.conf.list_prefixes_max = 2;
	lister_restart(fix);
	assert_string_equal(lister_all(fix), "a=1 ");
	lister_put(fix, "old;\"x\";inet;1;10.0.0.0/8;\n");
	fix->world.conf.list_prefixes_max = 4;
	lister_restart(fix);
	assert_string_equal(lister_all(fix), "a=1 old=1 ");
	assert_false(lister_has_file(fix, "0001-old"));
	assert_true(lister_has_file(fix, "0003-old"));
}

/* The list that goes is the last: its number, and its file, might be given again. */
static void the_order_of_lists_is_that_of_their_coming_over_drops_and_restarts(void **state)
{
	struct fixture *fix = *state;
	lister_put(fix, LIST_A LIST_B);
	assert_int_equal(lister_ask(fix, LISTER_DROP, "a").ret, 0);
	lister_put(fix, "c/d;\"x\";inet;1;10.0.0.0/8;\n" LIST_A);
	lister_restart(fix);
	assert_string_equal(lister_all(fix), "b=2 c/d=1 a=1 ");
	assert_int_equal(lister_ask(fix, LISTER_DROP, "a").ret, 0);
	lister_put(fix, "c_d;\"x\";inet;1;10.0.0.0/8;\nb;\n");
	lister_put(fix, LIST_B);
	lister_restart(fix);
	assert_string_equal(lister_all(fix), "b=2 c/d=1 c_d=1 ");
}

static void without_a_directory_lists_are_refused_with_the_reason(void **state)
{
	struct fixture *fix = *state;
	char path[256];
	lister_path(fix, "", path);
	assert_int_equal(rmdir(path), 0);
	path[strlen(path) - 1] = '\0';
	FILE *file = fopen(path, "we"); /* not a directory */
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	lister_restart(fix);
	struct lister_result result = lister_ask(fix, LISTER_LINES, LIST_A);
	assert_int_equal(result.ret, -ENOTDIR);
	assert_string_equal(result.why, "not kept on disk: Not a directory");
	assert_int_equal(lister_mask(fix, "192.0.2.1"), 0);
}

/* Mounts made here are seen by nobody else and end with this process. */
static bool mount_small(const struct fixture *fix)
{
	char path[256];
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		return false;
	}
	lister_path(fix, "", path);
	return mount("tmpfs", path, "tmpfs", 0, "size=64k,mode=0700") == 0;
}

static char *long_list(const char *tag, unsigned n, size_t *len)
{
	size_t size = 64 + (size_t)n * 24;
	char *text = malloc(size);
	assert_non_null(text);
	size_t at = (size_t)snprintf(text, size, "%s;\"x\";inet;%u;", tag, n);
	for (unsigned i = 0; i < n; i++) {
		at += (size_t)snprintf(text + at, size - at, "10.%u.%u.%u/32;", i >> 15 & 255,
		                       i >> 7 & 255, i << 1 & 255);
	}
	text[at++] = '\n';
	*len = at;
	return text;
}

static void a_full_disk_leaves_the_old_list_in_force_and_on_disk(void **state)
{
	struct fixture *fix = *state;
	size_t len = 0;
	if (!mount_small(fix)) {
		skip();
	}
	lister_restart(fix);
	lister_put(fix, LIST_A);
	char *text = long_list("a", 10000, &len);
	for (int i = 0; i < 3; i++) {
		lister_post_bytes(fix, LISTER_LINES, text, len);
		struct lister_result result = lister_wait(fix);
		assert_int_equal(result.ret, -ENOSPC);
		assert_string_equal(result.why, "not kept on disk: No space left on device");
		assert_int_equal(result.n_lists, 0);
	}
	free(text);
	assert_false(lister_has_file(fix, ".new"));
	/* of two lists the one that fits is taken */
	text = long_list("z", 10000, &len);
	char *both = malloc(len + sizeof LIST_B);
	assert_non_null(both);
	memcpy(both, text, len);
	memcpy(both + len, LIST_B, sizeof LIST_B);
	lister_post_bytes(fix, LISTER_LINES, both, len + sizeof LIST_B - 1);
	assert_int_equal(lister_wait(fix).ret, -ENOSPC);
	free(both);
	free(text);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(lister_all(fix), "a=1 b=2 ");
		assert_int_equal(lister_mask(fix, "192.0.2.1"), 1);
		assert_int_equal(lister_mask(fix, "10.0.0.2"), 0);
		lister_restart(fix);
	}
	char path[256];
	lister_path(fix, "", path);
	lister_end(fix);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	lister_begin(fix);
}

/* Told by what was done, not by the time: the job at hand is finished, those behind it are not. */
static void a_stop_does_not_wait_for_the_jobs(void **state)
{
	struct fixture *fix = *state;
	enum { NETWORKS = 10000 };
	char tag[16];
	fix->world.conf.list_prefixes_max = NETWORKS * LISTER_QUEUE_MAX;
	lister_restart(fix);
	for (int i = 0; i < LISTER_QUEUE_MAX; i++) {
		(void)snprintf(tag, sizeof tag, "q%d", i);
		size_t len = 0;
		char *text = long_list(tag, NETWORKS, &len);
		lister_post_bytes(fix, LISTER_LINES, text, len);
		free(text);
	}
	lister_restart(fix);
	(void)snprintf(tag, sizeof tag, "q%d=", LISTER_QUEUE_MAX - 1);
	assert_null(strstr(lister_all(fix), tag));
	lister_put(fix, LIST_B);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        LISTER_TEST(an_address_is_on_all_lists_that_hold_it),
	        LISTER_TEST(the_same_tag_replaces_a_list_in_its_place),
	        LISTER_TEST(a_bad_line_refuses_that_line_only_and_names_it),
	        LISTER_TEST(a_clear_list_keeps_its_tag_and_place),
	        LISTER_TEST(a_list_without_addresses_leaves_the_old_one),
	        LISTER_TEST(of_two_lines_with_one_tag_the_last_counts),
	        LISTER_TEST(a_dropped_list_is_gone),
	        LISTER_TEST(all_lists_together_have_one_bound),
	        LISTER_TEST(there_are_at_most_64_lists),
	        LISTER_TEST(jobs_are_done_in_order_and_the_queue_is_bounded),
	        LISTER_TEST(lists_are_in_force_again_after_a_restart),
	        LISTER_TEST(a_tag_cannot_name_another_file),
	        LISTER_TEST(damaged_files_are_left_alone_and_the_others_load),
	        LISTER_TEST(a_list_that_came_anew_wins_over_a_file_that_could_not_be_used),
	        LISTER_TEST(the_order_of_lists_is_that_of_their_coming_over_drops_and_restarts),
	        LISTER_TEST(without_a_directory_lists_are_refused_with_the_reason),
	        LISTER_TEST(a_full_disk_leaves_the_old_list_in_force_and_on_disk),
	        LISTER_TEST(a_stop_does_not_wait_for_the_jobs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
