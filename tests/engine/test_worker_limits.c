/* One worker against bounds, bad clients and crowds. */
#include "worker_world.h"

#include <netinet/tcp.h>

enum {
	CROWD = 2000,
	HORDE = 10000, /* open at the stop; needs the hard limit of RLIMIT_NOFILE above it */
	STOP_MS_MAX = 1000,
};

static int *open_many(const struct world *world, uint32_t n)
{
	int *fds = calloc(n, sizeof *fds);
	assert_non_null(fds);
	for (uint32_t i = 0; i < n; i++) {
		fds[i] = client_open(world);
	}
	return fds;
}

static void close_many(int *fds, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		close(fds[i]);
	}
	free(fds);
}

static void say_mail(const int *fds, int n)
{
	for (int i = 0; i < n; i++) {
		client_say(fds[i], client_mail);
	}
}

static void expect_deferrals(const int *fds, int n)
{
	for (int i = 0; i < n; i++) {
		client_expect_envelope(fds[i]);
		client_expect(fds[i], "451 ");
	}
}

static void connection_over_the_limit_is_closed_at_once(void **state)
{
	struct world *world = *state;
	world->session.stutter_ms = 200;
	world->session.grey_stutter_ms = 60000;
	world->env.max_connections = 3;
	world_start(world);
	int *fds = open_many(world, 3);
	world_wait_count(world, COUNTER_accepted, 3);
	int late = client_open(world);
	client_expect_end(late);
	close(late);
	world_wait_count(world, COUNTER_over_limit, 1);
	assert_int_equal(world_count(world, COUNTER_accepted), 3);
	/* the others are still served, and a place given back is given again */
	char byte;
	assert_true(client_byte(fds[0], &byte));
	close_many(fds, 3);
	world_wait_now(world, 0);
	late = client_open(world);
	assert_true(client_byte(late, &byte));
	close(late);
}

static void full_table_is_counted_apart_and_recovers(void **state)
{
	struct world *world = *state;
	world->env.table_size = 4;
	world_start(world);
	int *fds = open_many(world, 4);
	world_wait_count(world, COUNTER_accepted, 4);
	for (int i = 0; i < 20; i++) {
		int late = client_open(world);
		client_expect_end(late);
		close(late);
	}
	world_wait_count(world, COUNTER_ring_full, 20);
	assert_int_equal(world_count(world, COUNTER_accept_errors), 0);
	client_expect(fds[2], "220 ");
	close_many(fds, 4);
	world_wait_now(world, 0);
	int fd = client_open(world);
	client_expect(fd, "220 ");
	close(fd);
}

static void reset_in_every_state_leaves_nothing_behind(void **state)
{
	struct world *world = *state;
	world->session.stutter_ms = 20;
	world->session.grey_stutter_ms = 200;
	world_start(world);
	size_t len = strlen(client_mail);
	for (size_t n = 0; n <= len; n += 5) {
		int early = client_open(world);
		int fd = client_open(world);
		assert_int_equal(send(fd, client_mail, n, MSG_NOSIGNAL), (ssize_t)n);
		usleep((useconds_t)(n % 4) * 30000);
		client_reset(fd);
		client_reset(early);
	}
	world_wait_now(world, 0);
	/* a connection counts until the kernel has confirmed its close */
	world_wait_count(world, COUNTER_closed, world_count(world, COUNTER_accepted));
	assert_int_equal(world_count(world, COUNTER_closed), world_count(world, COUNTER_accepted));
	assert_int_equal(atomic_load(&world->n_connections), 0);
	assert_int_equal(world_count(world, COUNTER_stale_completions), 0);
}

static void line_without_end_is_cut_and_answered(void **state)
{
	struct world *world = *state;
	world_start(world);
	int fd = client_open(world);
	client_expect(fd, "220 ");
	char junk[10000];
	memset(junk, 'x', sizeof junk);
	assert_int_equal(send(fd, junk, sizeof junk, MSG_NOSIGNAL), sizeof junk);
	client_expect(fd, "500 ");
	assert_int_equal(world_count(world, COUNTER_long_lines), 1);
	client_say(fd, "\r\nQUIT\r\n");
	client_expect(fd, "500 ");
	client_expect(fd, "221 ");
	client_expect_end(fd);
	close(fd);
}

static void exhausted_texts_close_the_connection(void **state)
{
	enum { LARGE_TEXTS = 64 }; /* the least a table has */
	struct world *world = *state;
	world->env.table_size = 100;
	world_start(world);
	char half_line[700];
	memset(half_line, 'x', sizeof half_line);
	int *fds = open_many(world, LARGE_TEXTS + 1);
	for (int i = 0; i <= LARGE_TEXTS; i++) {
		assert_int_equal(send(fds[i], half_line, sizeof half_line, MSG_NOSIGNAL),
		                 sizeof half_line);
	}
	world_wait_count(world, COUNTER_no_text_memory, 1);
	world_wait_now(world, LARGE_TEXTS);
	close_many(fds, LARGE_TEXTS + 1);
	world_wait_now(world, 0);
	/* the pool is whole again */
	int fd = client_open(world);
	assert_int_equal(send(fd, half_line, sizeof half_line, MSG_NOSIGNAL), sizeof half_line);
	client_say(fd, "\r\n");
	client_expect(fd, "220 ");
	client_expect(fd, "500 ");
	close(fd);
}

static void full_mailbox_delays_and_loses_nothing(void **state)
{
	enum { CLIENTS = 200, SMALL_BYTES = 16384 };
	struct world *world = *state;
	world_start_sized(world, "127.0.0.1", SMALL_BYTES);
	world_put_host(world, "127.0.0.1", CACHE_NONE, 1000);
	atomic_store(&world->keeper.hold, true);
	int *fds = open_many(world, CLIENTS);
	say_mail(fds, CLIENTS);
	world_wait_count(world, COUNTER_events_delayed, 10);
	atomic_store(&world->keeper.hold, false);
	expect_deferrals(fds, CLIENTS);
	assert_int_equal(atomic_load(&world->keeper.n_tuples), CLIENTS);
	assert_int_equal(world_count(world, COUNTER_deferred), CLIENTS);
	close_many(fds, CLIENTS);
}

/* A store that fails or hangs for long: the way to the keeper is full and stays so. */
static void clients_are_deferred_although_the_mailbox_stays_full(void **state)
{
	enum { CLIENTS = 300, SMALL_BYTES = 16384 };
	struct world *world = *state;
	world->session.store_wait_ms = 400;
	world_start_sized(world, "127.0.0.1", SMALL_BYTES);
	world_put_host(world, "127.0.0.1", CACHE_NONE, 1000);
	atomic_store(&world->keeper.hold, true);
	int *fds = open_many(world, CLIENTS);
	say_mail(fds, CLIENTS);
	expect_deferrals(fds, CLIENTS);
	assert_int_equal(world_count(world, COUNTER_deferred_unstored), CLIENTS);
	close_many(fds, CLIENTS);
	/* and when the store is well again, tuples are kept again */
	atomic_store(&world->keeper.hold, false);
	world_wait_atomic(&world->keeper.n_tuples, 50);
	usleep(100000);
	uint32_t n_before = atomic_load(&world->keeper.n_tuples);
	assert_true(n_before < CLIENTS);
	fds = open_many(world, 1);
	say_mail(fds, 1);
	expect_deferrals(fds, 1);
	assert_int_equal(atomic_load(&world->keeper.n_tuples), n_before + 1);
	assert_int_equal(world_count(world, COUNTER_deferred_unstored), CLIENTS);
	close_many(fds, 1);
}

/* The session has gone on as a grey one; only then the answer comes that the host is white. */
static void late_white_answer_does_not_fill_the_mailbox(void **state)
{
	enum { CLIENTS = 300, SMALL_BYTES = 16384 };
	struct world *world = *state;
	world->session.store_wait_ms = 400;
	atomic_store(&world->keeper.host_answer, CACHE_WHITE);
	atomic_store(&world->keeper.hold, true);
	world_start_sized(world, "127.0.0.1", SMALL_BYTES);
	int *fds = open_many(world, CLIENTS);
	client_expect(fds[0], "220 ");
	client_say(fds[0], "HELO client.example\r\nMAIL FROM:<a@b.example>\r\n");
	client_expect(fds[0], "250 ");
	client_expect(fds[0], "250 ");
	atomic_store(&world->keeper.hold, false);
	world_wait_atomic(&world->keeper.n_hosts, 1);
	usleep(200000);
	atomic_store(&world->keeper.hold, true);
	usleep(50000);
	char rcpt[1024]; /* a few of them are more than the mailbox takes */
	(void)snprintf(rcpt, sizeof rcpt, "RCPT TO:<%0900d@d.example>\r\n", 0);
	for (int i = 0; i < 25; i++) {
		client_say(fds[0], rcpt);
		client_expect(fds[0], "250 ");
	}
	close_many(fds, CLIENTS);
	world_wait_now(world, 0);
}

static void unanswered_host_questions_are_asked_again_when_there_is_room(void **state)
{
	enum { CLIENTS = 400, SMALL_BYTES = 16384 };
	struct world *world = *state;
	atomic_store(&world->keeper.hold, true);
	world_start_sized(world, "127.0.0.1", SMALL_BYTES);
	int *fds = open_many(world, CLIENTS);
	world_wait_count(world, COUNTER_events_delayed, 10);
	atomic_store(&world->keeper.hold, false);
	for (int i = 0; i < CLIENTS; i++) {
		client_expect(fds[i], "220 ");
	}
	assert_int_equal(atomic_load(&world->keeper.n_hosts), CLIENTS);
	close_many(fds, CLIENTS);
}

static void late_answers_are_ignored(void **state)
{
	struct world *world = *state;
	world->session.store_wait_ms = 500;
	world->env.table_size = 1; /* so that the next connection gets the same slot */
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_NONE, 1000);
	atomic_store(&world->keeper.hold, true);
	int fd = client_open(world);
	client_say(fd, client_mail);
	client_expect(fd, "220 ");
	world_wait_count(world, COUNTER_deferred, 1);
	client_reset(fd);
	world_wait_count(world, COUNTER_closed, 1);
	fd = client_open(world);
	client_expect(fd, "220 ");
	atomic_store(&world->keeper.hold, false);
	world_wait_atomic(&world->keeper.n_tuples, 1);
	client_say(fd, "QUIT\r\n");
	client_expect(fd, "221 ");
	client_expect_end(fd);
	close(fd);
}

static void crowd_is_stuttered_in_time(void **state)
{
	struct world *world = *state;
	world->env.table_size = CROWD + 10;
	world->session.stutter_ms = 300;
	world->session.grey_stutter_ms = 60000;
	world_start(world);
	int *fds = open_many(world, CROWD);
	struct mono start = clock_mono();
	char text[4] = "";
	for (size_t n = 0; n < 3; n++) {
		for (uint32_t i = 0; i < CROWD; i++) {
			assert_true(client_byte(fds[i], &text[n]));
		}
	}
	int64_t took_ms = mono_diff_ms(clock_mono(), start);
	assert_string_equal(text, "220");
	assert_true(took_ms > 400);
	assert_true(took_ms < 5000);
	assert_int_equal(world_count(world, COUNTER_accepted), CROWD);
	world_wait_count(world, COUNTER_bytes_stuttered, UINT64_C(3) * CROWD);
	close_many(fds, CROWD);
	world_wait_now(world, 0);
	assert_int_equal(world_count(world, COUNTER_stale_completions), 0);
}

static uint32_t horde_size(void)
{
	struct rlimit limit;
	world_raise_limits();
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur > HORDE + 100 ? HORDE : (uint32_t)limit.rlim_cur - 100;
}

static void stop_with_many_open_is_quick(void **state)
{
	struct world *world = *state;
	uint32_t n = horde_size();
	world->env.table_size = n;
	world->session.stutter_ms = 1000;
	world->session.grey_stutter_ms = 60000;
	world_start(world);
	int *fds = open_many(world, n);
	world_wait_count(world, COUNTER_accepted, n);
	struct mono start = clock_mono();
	world_stop_worker(world);
	int64_t took_ms = mono_diff_ms(clock_mono(), start);
	print_message("stopped %u connections in %lld ms\n", n, (long long)took_ms);
	assert_int_equal(atomic_load(&world->n_connections), 0);
	assert_true(took_ms < STOP_MS_MAX);
	for (uint32_t i = 0; i < n; i += 97) {
		char byte;
		while (client_byte(fds[i], &byte)) {
		}
	}
	close_many(fds, n);
	world_restart_worker(world);
}

/* A client that reads nothing: its window closes, the write timeout ends it. */
static void client_that_never_reads_is_ended_by_the_write_timeout(void **state)
{
	struct world *world = *state;
	world->session.write_timeout_ms = 400;
	world_start(world);
	int size = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	assert_int_equal(connect(fd, (const struct sockaddr *)&world->at, world->at_len), 0);
	struct mono until = mono_add_ms(clock_mono(), PATIENCE_MS);
	while (world_count(world, COUNTER_write_timeouts) == 0 && clock_mono().ns < until.ns) {
		(void)!send(fd, "RSET\r\nRSET\r\nRSET\r\n", 18, MSG_NOSIGNAL | MSG_DONTWAIT);
		usleep(2000);
	}
	assert_int_equal(world_count(world, COUNTER_write_timeouts), 1);
	close(fd);
	world_wait_now(world, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORLD_BOTH_WAYS(connection_over_the_limit_is_closed_at_once),
	        WORLD_BOTH_WAYS(full_table_is_counted_apart_and_recovers),
	        WORLD_BOTH_WAYS(reset_in_every_state_leaves_nothing_behind),
	        WORLD_BOTH_WAYS(line_without_end_is_cut_and_answered),
	        WORLD_BOTH_WAYS(exhausted_texts_close_the_connection),
	        WORLD_BOTH_WAYS(full_mailbox_delays_and_loses_nothing),
	        WORLD_BOTH_WAYS(clients_are_deferred_although_the_mailbox_stays_full),
	        WORLD_BOTH_WAYS(late_white_answer_does_not_fill_the_mailbox),
	        WORLD_BOTH_WAYS(unanswered_host_questions_are_asked_again_when_there_is_room),
	        WORLD_BOTH_WAYS(late_answers_are_ignored),
	        WORLD_BOTH_WAYS(crowd_is_stuttered_in_time),
	        WORLD_BOTH_WAYS(stop_with_many_open_is_quick),
	        WORLD_BOTH_WAYS(client_that_never_reads_is_ended_by_the_write_timeout),
	};
	return cmocka_run_group_tests(tests, quiet_log_open, quiet_log_close);
}
