/* The pace of a worker's connections: spread over the stutter, stretched while bytes are scarce. */
#include "worker_world.h"

enum { CROWD = 320, STUTTER_MS = 400, TICKS_OF_A_STUTTER = STUTTER_MS / 20, WINDOW_BYTES = 6 };

static void close_all(const int fds[static CROWD])
{
	for (unsigned i = 0; i < CROWD; i++) {
		close(fds[i]);
	}
}

static void open_all(const struct world *world, int fds[static CROWD])
{
	for (unsigned i = 0; i < CROWD; i++) {
		fds[i] = client_open(world);
	}
}

/* A crowd of trapped hosts that begins to stutter. */
static void start_crowd(struct world *world, int fds[static CROWD], double bytes_per_sec)
{
	world->session.stutter_ms = STUTTER_MS;
	world->session.grey_stutter_ms = 60000;
	world->env.bytes_per_sec = bytes_per_sec;
	atomic_store(&world->keeper.host_answer, CACHE_TRAPPED);
	world_start(world);
	open_all(world, fds);
	world_wait_count(world, COUNTER_class_trapped, CROWD);
}

static double stuttered_in(const struct world *world, unsigned ms)
{
	uint64_t before = world_count(world, COUNTER_bytes_stuttered);
	struct mono since = clock_mono();
	usleep(ms * 1000U);
	uint64_t n = world_count(world, COUNTER_bytes_stuttered) - before;
	return (double)n * 1e9 / (double)(clock_mono().ns - since.ns);
}

/* The most bytes that were sent within a tick of one stutter, as the counter shows it. */
static uint64_t most_in_a_tick(const struct world *world)
{
	uint64_t most = 0;
	uint64_t before = world_count(world, COUNTER_bytes_stuttered);
	for (unsigned i = 0; i < TICKS_OF_A_STUTTER; i++) {
		usleep(20000);
		uint64_t now = world_count(world, COUNTER_bytes_stuttered);
		most = now - before > most ? now - before : most;
		before = now;
	}
	return most;
}

static void connections_of_a_burst_do_not_share_a_tick(void **state)
{
	struct world *world = *state;
	int fds[CROWD];
	start_crowd(world, fds, 100000);
	usleep(STUTTER_MS * 1000);
	assert_in_range(most_in_a_tick(world), CROWD / 8, CROWD * 2 / 3);
	close_all(fds);
}

static void what_a_worker_sends_is_held_to_its_budget_and_figures_say_so(void **state)
{
	struct world *world = *state;
	struct worker_figures figures = {0};
	int fds[CROWD];
	start_crowd(world, fds, 300); /* they want 800 */
	usleep(3000000);
	worker_figures_get(world->worker, &figures);
	/* the bytes may all lie at the window's edges, and one more of each connection there */
	double sent_per_sec =
	        stuttered_in(world, WINDOW_BYTES * figures.interval_ms[SESSION_PACE_LISTED]);
	worker_figures_get(world->worker, &figures);
	if (sent_per_sec > 390 || sent_per_sec < 150) {
		fail_msg("%f bytes a second", sent_per_sec);
	}
	assert_in_range(figures.interval_ms[SESSION_PACE_LISTED], 2 * STUTTER_MS, 4 * STUTTER_MS);
	assert_int_equal(figures.interval_ms[SESSION_PACE_GREY], STUTTER_MS);
	assert_true(figures.carried_per_sec <= 300);
	close_all(fds);
	world_wait_now(world, 0);
	usleep(3000000);
	worker_figures_get(world->worker, &figures);
	assert_in_range(figures.interval_ms[SESSION_PACE_LISTED], STUTTER_MS, STUTTER_MS + 20);
}

static void stretching_is_told_to_the_other_workers_and_taken_back_at_the_end(void **state)
{
	struct world *world = *state;
	_Atomic uint32_t n_stretching;
	int fds[CROWD];
	atomic_init(&n_stretching, 0);
	world->env.n_stretching = &n_stretching;
	start_crowd(world, fds, 300);
	world_wait_atomic(&n_stretching, 1);
	world_stop_worker(world);
	assert_int_equal(atomic_load(&n_stretching), 0);
	close_all(fds);
}

static void same_seed_makes_the_same_first_bytes(void **state)
{
	struct world *world = *state;
	static const uint32_t seed = 7;
	int64_t first_ms[2];
	world->session.stutter_ms = 2000;
	world->session.grey_stutter_ms = 60000;
	world->env.seed = seed;
	world_start(world);
	for (unsigned i = 0; i < 2; i++) {
		char byte;
		if (i > 0) {
			world_stop_worker(world);
			world_restart_worker(world);
		}
		int fd = client_open(world);
		struct mono opened = clock_mono();
		assert_true(client_byte(fd, &byte));
		first_ms[i] = mono_diff_ms(clock_mono(), opened);
		close(fd);
	}
	assert_in_range(first_ms[0] - first_ms[1] + 150, 0, 300);
	assert_true(first_ms[0] < 2150);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORLD_WAY(connections_of_a_burst_do_not_share_a_tick, AUTO),
	        WORLD_WAY(what_a_worker_sends_is_held_to_its_budget_and_figures_say_so, AUTO),
	        WORLD_WAY(stretching_is_told_to_the_other_workers_and_taken_back_at_the_end, AUTO),
	        WORLD_BOTH_WAYS(same_seed_makes_the_same_first_bytes),
	};
	return cmocka_run_group_tests(tests, quiet_log_open, quiet_log_close);
}
