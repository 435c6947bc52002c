/* The keeper with a store that fails: limits, a full map, a full disk. Nothing is answered before
 * it is on disk, nothing is lost, and it goes on by itself when there is room. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../store/broken_store.h"
#include "keeper_world.h"

enum { SKIPPED = 77 };

static void limit_file_size(rlim_t bytes)
{
	struct rlimit limit;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_failed_commit_answers_nothing_and_is_tried_again(void **state)
{
	struct world *world = *state;
	struct world_tuple known = letter;
	struct keeper_answer answer;
	known.recipient = "known@example.net";
	(void)signal(SIGXFSZ, SIG_IGN);
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &known);
	limit_file_size(4096);
	for (uint32_t slot = 0; slot < 3; slot++) {
		assert_true(world_post(world, 1, KEEPER_TUPLE, slot, &letter));
	}
	keeper_wake(world->keeper);
	bool has_failed = world_reaches(world, COUNTER_commit_failures, 3);
	bool was_answered = world_answer_within(world, 1, 0, &answer);
	bool was_degraded = world_is_degraded(world);
	struct keeper_answer early = world_ask(world, KEEPER_TUPLE, &known);
	struct keeper_answer host = world_ask(world, KEEPER_HOST, &letter);
	limit_file_size(RLIM_INFINITY);
	assert_true(has_failed);
	assert_false(was_answered);
	assert_true(was_degraded);
	assert_int_equal(early.kind, KEEPER_ANSWER_STORED);
	assert_int_equal(host.host, CACHE_NONE);
	for (uint32_t slot = 0; slot < 3; slot++) {
		assert_int_equal(world_answer(world, 1).conn.slot, slot);
	}
	struct grey_record record = {.bcount = 0};
	assert_true(world_find(world, &letter, &record));
	assert_int_equal(record.bcount, 3);
	assert_false(world_is_degraded(world));
	assert_int_equal(world_count(world, COUNTER_tuples_new), 2);
}

static void a_full_map_recovers_as_tuples_expire(void **state)
{
	struct world *world = *state;
	world_fini(world);
	world_init(world);
	world_close_store(world);
	world_remove_dir(world->dir);
	world->conf.map_bytes = 256 << 10;
	world->conf.journal_max = 10;
	world->conf.greyexp_secs = 3;
	world->conf.commit_max = 16;
	world_open_store(world);
	world_start(world);
	char rcpt[301];
	uint32_t n_posted = 0;
	for (; !world_is_degraded(world) && n_posted < 5000; n_posted++) {
		struct world_tuple tuple = letter;
		(void)snprintf(rcpt, sizeof rcpt, "%0300u", n_posted);
		tuple.recipient = rcpt;
		assert_true(world_post(world, 0, KEEPER_TUPLE, n_posted, &tuple));
		keeper_wake(world->keeper);
		world_sleep_ms(n_posted % 8 == 0 ? 1 : 0);
	}
	assert_in_range(n_posted, 100, 4999);
	for (uint32_t i = 0; i < n_posted; i++) {
		assert_int_equal(world_answer(world, 0).conn.slot, i);
	}
	assert_false(world_is_degraded(world));
	assert_int_equal(world_count(world, COUNTER_tuples_new), n_posted);
}

/* --- a full disk ------------------------------------------------------------------------------ */

static void fill_disk(const char *path)
{
	static char block[4096];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	while (write(fd, block, sizeof block) == (ssize_t)sizeof block) {
	}
	(void)close(fd);
}

/* In a mount namespace of its own, so that the small file system goes with the process. */
static void serve_on_a_full_disk(struct world *world)
{
	char ballast[128];
	struct keeper_answer answer;
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("tmpfs", world->dir, "tmpfs", 0, "size=8m,mode=0700"), 0);
	(void)snprintf(ballast, sizeof ballast, "%s/ballast", world->dir);
	world_open_store(world);
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &letter);
	fill_disk(ballast);
	char rcpt[32];
	uint32_t n = 0;
	for (; !world_is_degraded(world) && n < 20000; n++) {
		struct world_tuple tuple = letter;
		(void)snprintf(rcpt, sizeof rcpt, "b%u@example.net", n);
		tuple.recipient = rcpt;
		assert_true(world_post(world, 0, KEEPER_TUPLE, n, &tuple));
		keeper_wake(world->keeper);
		world_sleep_ms(n % 16 == 0 ? 1 : 0);
	}
	assert_true(world_is_degraded(world));
	assert_int_equal(world_ask_on(world, 1, KEEPER_TUPLE, &letter).kind, KEEPER_ANSWER_STORED);
	assert_int_equal(unlink(ballast), 0);
	for (uint32_t i = 0; i < n; i++) {
		assert_true(world_answer_within(world, 0, WORLD_WAIT_MS, &answer));
		assert_int_equal(answer.conn.slot, i);
	}
	assert_false(world_is_degraded(world));
	assert_int_equal(world_count(world, COUNTER_tuples_new), n + 1);
	struct store_stats stats;
	assert_int_equal(store_stats_get(world->reader, &stats), 0);
	assert_int_equal(stats.n_tuples, n + 1);
	world_stop(world);
}

static void a_full_disk_is_survived(void **state)
{
	struct world *world = *state;
	world_close_store(world);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) != 0) {
			_exit(SKIPPED);
		}
		serve_on_a_full_disk(world);
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	world_open_store(world);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
		skip(); /* needs the right to mount */
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* "Unknown" for now is the only answer there is; remembered, it would make a white host grey for an
 * hour behind a moment's trouble. */
static void a_host_that_cannot_be_read_is_not_remembered_as_unknown(void **state)
{
	struct world *world = *state;
	struct world_tuple other = letter;
	struct addr addr = world_addr(letter.addr);
	struct cache_key key = {{0}};
	struct cache_entry entry;
	memcpy(key.bytes, addr.bytes, sizeof addr.bytes);
	other.addr = "192.0.2.99";
	world_seed_host(world, letter.addr, RECORD_WHITE, 1000);
	world_start(world);
	broken_store_break(world->dir);
	assert_true(world_post(world, 1, KEEPER_TUPLE, 0, &other));
	keeper_wake(world->keeper);
	assert_true(world_reaches(world, COUNTER_commit_failures, 1));
	for (int i = 0; i < 2; i++) {
		struct keeper_answer answer = world_ask(world, KEEPER_HOST, &letter);
		assert_int_equal(answer.kind, KEEPER_ANSWER_HOST);
		assert_int_equal(answer.host, CACHE_NONE);
		assert_false(cache_get(world->hosts, &key, &entry));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORLD_TEST(a_failed_commit_answers_nothing_and_is_tried_again),
	        WORLD_TEST(a_full_map_recovers_as_tuples_expire),
	        WORLD_TEST(a_full_disk_is_survived),
	        WORLD_TEST(a_host_that_cannot_be_read_is_not_remembered_as_unknown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
