/* One worker and clients that push it: endless pipelining, a mailbox to the keeper that stays full,
 * a stop in the middle of it. Every test runs with both ways of accepting. */
#include "worker_world.h"

enum { SMALL_BYTES = 16384, REPEATS = 20 };

static void pushing_client_is_read_only_at_ticks(void **state)
{
	struct world *world = *state;
	world->session.look_max_ms = 20;
	world_start(world);
	char noops[600] = "";
	for (size_t i = 0; i + 1 < sizeof noops; i++) {
		noops[i] =
		        "NOOP\r\n"[i % 6]; /* what is sent in part spoils the next one: no matter */
	}
	int fd = client_open(world);
	struct mono start = clock_mono();
	int64_t ms = 0;
	for (; ms < 600; ms = mono_diff_ms(clock_mono(), start)) {
		char replies[4096];
		ssize_t n = send(fd, noops, strlen(noops), MSG_NOSIGNAL | MSG_DONTWAIT);
		assert_true(n >= 0 || errno == EAGAIN);
		(void)!recv(fd, replies, sizeof replies, MSG_DONTWAIT);
	}
	uint64_t n_reads = (uint64_t)ms / world->conf.tick_ms + 2;
	assert_in_range(world_count(world, COUNTER_bytes_received), 1, n_reads * SESSION_READ_MAX);
	close(fd);
}

static void delayed_event_is_counted_once(void **state)
{
	enum { CLIENTS = 400 };
	struct world *world = *state;
	world->conf.tick_ms = 10;
	atomic_store(&world->keeper.hold, true);
	world_start_sized(world, "127.0.0.1", SMALL_BYTES);
	int fds[CLIENTS];
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = client_open(world);
	}
	world_wait_count(world, COUNTER_events_delayed, 1);
	usleep(300000);
	assert_in_range(world_count(world, COUNTER_events_delayed), 1, CLIENTS);
	for (int i = 0; i < CLIENTS; i++) {
		close(fds[i]);
	}
}

/* The mailbox is full, but a client of a known host that has not ended its line waits for nothing.
 */
static void nothing_to_answer_is_nothing_delayed(void **state)
{
	enum { STRANGERS = 400 };
	struct world *world = *state;
	atomic_store(&world->keeper.hold, true);
	world_start_sized(world, "127.0.0.1", SMALL_BYTES);
	int fds[STRANGERS];
	for (int i = 0; i < STRANGERS; i++) {
		fds[i] = client_open(world);
	}
	world_wait_count(world, COUNTER_accepted, STRANGERS);
	world_put_host(world, "127.0.0.1", CACHE_NONE, 1000);
	usleep(100000);
	uint64_t n_delayed = world_count(world, COUNTER_events_delayed);
	assert_in_range(n_delayed, 1, STRANGERS);
	int known = client_open(world);
	client_expect(known, "220 ");
	client_say(known, "HELO cli");
	world_wait_count(world, COUNTER_bytes_received, 8);
	client_say(known, "ent");
	world_wait_count(world, COUNTER_bytes_received, 11);
	assert_int_equal(world_count(world, COUNTER_events_delayed), n_delayed);
	client_say(known, "\r\n");
	world_wait_count(world, COUNTER_events_delayed, n_delayed + 1);
	for (int i = 0; i < STRANGERS; i++) {
		close(fds[i]);
	}
	close(known);
}

/* After the stop nobody listens any more: the accepts under way have ended as well. */
static void stopped_worker_holds_no_listener(void **state)
{
	struct world *world = *state;
	world_start(world);
	for (int i = 0; i < REPEATS; i++) {
		world_stop_worker(world);
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fd, (const struct sockaddr *)&world->at, world->at_len),
		                 -1);
		assert_int_equal(errno, ECONNREFUSED);
		close(fd);
		world_restart_worker(world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORLD_BOTH_WAYS(pushing_client_is_read_only_at_ticks),
	        WORLD_BOTH_WAYS(nothing_to_answer_is_nothing_delayed),
	        WORLD_BOTH_WAYS(delayed_event_is_counted_once),
	        WORLD_BOTH_WAYS(stopped_worker_holds_no_listener),
	};
	return cmocka_run_group_tests(tests, quiet_log_open, quiet_log_close);
}
