/* The budget of stuttered bytes, by simulation: connections with due times, a machine that serves
 * so many a second in the order they became due, and turns as late as that makes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "engine/budget.h"

enum { CONNS_MAX = 8000, TICK_MS = 50, STUTTER_MS = 1000, TICKS_A_SEC = 1000 / TICK_MS };

struct sim_conn {
	int64_t due_ms;
	enum session_pace pace; /* NONE: it is waiting for its client */
	bool is_queued;
};

struct sim {
	struct budget budget;
	struct sim_conn conns[CONNS_MAX];
	uint32_t queue[CONNS_MAX];
	uint32_t first, n_queued;
	uint32_t n_saying[SESSION_PACE_COUNT];
	double capacity_per_sec; /* of the machine */
	int64_t now_ms;
	uint64_t n_sent;
	uint64_t n_sent_of[SESSION_PACE_COUNT];
};

static struct sim sim;

static struct mono mono_of(int64_t ms)
{
	return (struct mono){ms * NS_PER_MS};
}

static int setup(void **state)
{
	(void)state;
	memset(&sim, 0, sizeof sim);
	sim.capacity_per_sec = 1e9;
	return 0;
}

static void start(double bytes_per_sec)
{
	budget_init(&sim.budget, bytes_per_sec, STUTTER_MS, TICK_MS, mono_of(0));
}

/* From connection `from` on, `n` of them want bytes of that pace from now on, at random phases. */
static void want(uint32_t from, uint32_t n, enum session_pace pace)
{
	for (uint32_t i = from; i < from + n; i++) {
		sim.n_saying[sim.conns[i].pace]--;
		sim.n_saying[pace]++;
		sim.conns[i].pace = pace;
		sim.conns[i].due_ms = sim.now_ms + 1 + (int64_t)(i * 7919U % STUTTER_MS);
	}
}

static void enqueue_due(void)
{
	for (uint32_t i = 0; i < CONNS_MAX; i++) {
		struct sim_conn *conn = &sim.conns[i];
		if (conn->pace != SESSION_PACE_NONE && !conn->is_queued &&
		    conn->due_ms <= sim.now_ms) {
			sim.queue[(sim.first + sim.n_queued++) % CONNS_MAX] = i;
			conn->is_queued = true;
		}
	}
}

static void serve_one(void)
{
	struct sim_conn *conn = &sim.conns[sim.queue[sim.first]];
	sim.first = (sim.first + 1) % CONNS_MAX;
	sim.n_queued--;
	conn->is_queued = false;
	if (conn->pace == SESSION_PACE_NONE) {
		return;
	}
	bool is_late = sim.now_ms - conn->due_ms > STUTTER_MS / 10;
	int64_t shifted_ms = conn->due_ms + sim.budget.lag_ms;
	int64_t late_from_ms = shifted_ms > sim.now_ms ? shifted_ms : sim.now_ms;
	int64_t from_ms = is_late ? late_from_ms : conn->due_ms;
	conn->due_ms = from_ms + sim.budget.interval_ms[conn->pace];
	sim.n_sent++;
	sim.n_sent_of[conn->pace]++;
}

static void tick(void)
{
	sim.now_ms += TICK_MS;
	enqueue_due();
	int64_t oldest_ms = sim.n_queued > 0 ? sim.conns[sim.queue[sim.first]].due_ms : sim.now_ms;
	int64_t late_ms = sim.now_ms - oldest_ms - TICK_MS;
	budget_late(&sim.budget, late_ms > 0 ? late_ms * NS_PER_MS : 0, mono_of(sim.now_ms));
	for (double n = sim.capacity_per_sec / TICKS_A_SEC; n >= 1 && sim.n_queued > 0; n--) {
		serve_one();
	}
	if (budget_is_over(&sim.budget, mono_of(sim.now_ms))) {
		budget_update(&sim.budget, sim.n_saying, sim.n_sent, mono_of(sim.now_ms));
	}
}

/* Bytes a second over the time that passed. */
static double run(uint32_t secs)
{
	uint64_t before = sim.n_sent;
	for (uint32_t i = 0; i < secs * TICKS_A_SEC; i++) {
		tick();
	}
	return (double)(sim.n_sent - before) / secs;
}

static double stretch_of(enum session_pace pace)
{
	return (double)sim.budget.interval_ms[pace] / STUTTER_MS;
}

static void assert_about(double value, double expected, double tolerance)
{
	if (value < expected * (1 - tolerance) || value > expected * (1 + tolerance)) {
		fail_msg("%f is not %f within %.0f %%", value, expected, tolerance * 100);
	}
}

/* --- the budget --- */

static void what_fits_into_the_budget_keeps_its_pace(void **state)
{
	(void)state;
	start(2000);
	want(0, 1000, SESSION_PACE_LISTED);
	want(1000, 1000, SESSION_PACE_GREY);
	assert_about(run(20), 2000, 0.02);
	assert_about(sim.budget.shown_per_sec, 2000, 0.02);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], STUTTER_MS);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_GREY], STUTTER_MS);
	assert_false(sim.budget.is_stretching);
}

static void listed_clients_make_room_for_greylisted_ones(void **state)
{
	(void)state;
	start(2000);
	want(0, 3000, SESSION_PACE_LISTED);
	want(3000, 1000, SESSION_PACE_GREY);
	run(10);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_GREY], STUTTER_MS);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], 3 * STUTTER_MS);
	assert_about(run(20), 2000, 0.05);
	assert_true(sim.budget.is_stretching);
}

static void
greylisted_clients_are_stretched_only_when_listed_ones_are_at_their_slowest(void **state)
{
	(void)state;
	start(1000);
	want(0, 6000, SESSION_PACE_LISTED);
	want(6000, 1800, SESSION_PACE_GREY);
	run(90);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], BUDGET_STUTTER_MAX_MS);
	/* 6000 / 60 s leave 900 a second */
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_GREY], 2 * STUTTER_MS);
	assert_about(run(60), 1000, 0.05);
}

static void nobody_waits_longer_than_a_minute_for_a_byte(void **state)
{
	(void)state;
	start(10);
	want(0, 4000, SESSION_PACE_LISTED);
	want(4000, 4000, SESSION_PACE_GREY);
	run(20);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], BUDGET_STUTTER_MAX_MS);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_GREY], BUDGET_STUTTER_MAX_MS);
}

static void pace_follows_a_burst_within_seconds_up_and_down(void **state)
{
	(void)state;
	start(1000);
	want(0, 500, SESSION_PACE_LISTED);
	run(5);
	want(500, 2500, SESSION_PACE_LISTED);
	run(3);
	assert_about(stretch_of(SESSION_PACE_LISTED), 3, 0.05);
	run(20);
	want(500, 2500, SESSION_PACE_NONE);
	run(3);
	assert_about(stretch_of(SESSION_PACE_LISTED), 1, 0.05);
	run(4);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], STUTTER_MS);
}

static void pace_does_not_swing(void **state)
{
	(void)state;
	start(1000);
	want(0, 5000, SESSION_PACE_LISTED);
	run(20);
	for (unsigned i = 0; i < 60; i++) {
		run(1);
		assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], 5 * STUTTER_MS);
	}
	assert_about(run(20), 1000, 0.05);
}

static void stretching_is_over_only_after_half_a_minute_without_it(void **state)
{
	(void)state;
	start(1000);
	want(0, 2000, SESSION_PACE_LISTED);
	run(10);
	assert_true(sim.budget.is_stretching);
	want(0, 1500, SESSION_PACE_NONE);
	run(20);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], STUTTER_MS);
	assert_true(sim.budget.is_stretching);
	run(30);
	assert_false(sim.budget.is_stretching);
}

static void without_stutter_there_is_nothing_to_stretch(void **state)
{
	(void)state;
	budget_init(&sim.budget, 1, 0, TICK_MS, mono_of(0));
	sim.n_saying[SESSION_PACE_LISTED] = 1000;
	budget_update(&sim.budget, sim.n_saying, 1000, mono_of(BUDGET_WINDOW_MS));
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], 0);
	assert_false(sim.budget.is_stretching);
}

/* --- the machine --- */

static void machine_that_carries_less_than_the_budget_is_not_overrun(void **state)
{
	(void)state;
	start(6000);
	sim.capacity_per_sec = 2000;
	want(0, 6000, SESSION_PACE_LISTED);
	run(40);
	double least = 1e9;
	double most = 0;
	for (unsigned i = 0; i < 120; i++) {
		run(1);
		double carried = sim.budget.carried_per_sec;
		least = carried < least ? carried : least;
		most = carried > most ? carried : most;
	}
	assert_true(least > 1400);
	assert_true(most < 2600);
	assert_about(run(60), 1900, 0.1);
	assert_true(sim.n_queued < 400); /* ticks are served in time: 200 ms at most */
}

static void slow_machine_with_slow_clients_settles_too(void **state)
{
	(void)state;
	start(8000);
	sim.capacity_per_sec = 500;
	want(0, 8000, SESSION_PACE_LISTED);
	run(120);
	assert_about(stretch_of(SESSION_PACE_LISTED), 17, 0.3);
	assert_about(run(60), 440, 0.15);
}

static void budget_comes_back_when_the_machine_does(void **state)
{
	(void)state;
	start(4000);
	sim.capacity_per_sec = 1000;
	want(0, 4000, SESSION_PACE_LISTED);
	run(30);
	assert_true(sim.budget.carried_per_sec < 1500);
	sim.capacity_per_sec = 1e9;
	run(150);
	assert_int_equal((int)sim.budget.carried_per_sec, 4000);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], STUTTER_MS);
}

static void pause_of_the_machine_costs_a_tenth_at_most_a_second(void **state)
{
	(void)state;
	start(4000);
	want(0, 4000, SESSION_PACE_LISTED);
	run(10);
	sim.now_ms += 3000; /* nothing ran */
	run(1);
	assert_true(sim.budget.carried_per_sec >= 4000 * 0.9 * 0.95);
	run(10);
	assert_about(run(10), 4000, 0.05);
}

/* Late by so much at that time; the lag from then on. */
static uint32_t lag_after(int64_t now_ms, int64_t late_ms)
{
	budget_late(&sim.budget, late_ms * NS_PER_MS, mono_of(now_ms));
	return sim.budget.lag_ms;
}

static void lag_is_that_of_the_pause_until_what_was_due_in_it_is_served(void **state)
{
	(void)state;
	start(4000);
	assert_int_equal(lag_after(10000, TICK_MS - 1), 0);
	assert_int_equal(lag_after(13000, 3000), 3000 + TICK_MS);
	assert_int_equal(lag_after(13010, 1500), 3000 + TICK_MS); /* of what was due before 13000 */
	assert_int_equal(lag_after(13020, 30), 0);
	assert_int_equal(lag_after(16000, 2000), 2000 + TICK_MS);
	assert_int_equal(lag_after(16010, 2005), 2005 + TICK_MS); /* it has grown */
	assert_int_equal(lag_after(16300, 150),
	                 150 + TICK_MS);            /* late again, with what was due since */
	assert_int_equal(lag_after(16310, -10), 0); /* nothing is due */
}

static void bytes_lie_apart_after_pauses_as_before(void **state)
{
	(void)state;
	start(1e6);
	want(0, 4000, SESSION_PACE_LISTED);
	(void)run(5);
	for (unsigned i = 0; i < 3; i++) {
		sim.now_ms += INT64_C(2) * STUTTER_MS; /* nothing ran */
		(void)run(3);
	}
	uint64_t most = 0;
	for (unsigned i = 0; i < 3 * TICKS_A_SEC; i++) {
		uint64_t before = sim.n_sent;
		tick();
		most = sim.n_sent - before > most ? sim.n_sent - before : most;
	}
	assert_in_range(most, 4000 / TICKS_A_SEC, 4000 * 2 / TICKS_A_SEC);
}

static void lateness_stretches_nobody_where_few_bytes_are_sent(void **state)
{
	(void)state;
	start(4000);
	want(0, 10, SESSION_PACE_LISTED);
	for (unsigned i = 0; i < 100; i++) {
		budget_late(&sim.budget, NS_PER_SEC, mono_of(sim.now_ms));
		run(1);
	}
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], STUTTER_MS);
}

/* In binary fractions a millisecond is easily lost, and less than the stutter is no pace at all. */
static void no_pace_is_faster_than_the_stutter(void **state)
{
	(void)state;
	static const uint32_t n_saying[SESSION_PACE_COUNT] = {0, 10, 10};
	for (uint32_t stutter_ms = 1; stutter_ms <= 10000; stutter_ms++) {
		struct budget *budget = &sim.budget;
		budget_init(budget, 1e6, stutter_ms, TICK_MS, mono_of(0));
		for (int i = 1; i <= 3; i++) {
			budget_update(budget, n_saying, 0, mono_of((int64_t)i * BUDGET_WINDOW_MS));
		}
		assert_int_equal(budget->interval_ms[SESSION_PACE_GREY], stutter_ms);
		assert_int_equal(budget->interval_ms[SESSION_PACE_LISTED], stutter_ms);
	}
}

static void other_settings_keep_the_stretch_and_what_the_machine_carries(void **state)
{
	(void)state;
	start(1000);
	want(0, 4000, SESSION_PACE_LISTED);
	(void)run(60);
	assert_about(stretch_of(SESSION_PACE_LISTED), 4, 0.05);
	sim.budget.carried_per_sec = 900;
	budget_set(&sim.budget, 1000, 2 * STUTTER_MS);
	assert_about(sim.budget.interval_ms[SESSION_PACE_LISTED], 8 * STUTTER_MS, 0.05);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_GREY], 2 * STUTTER_MS);
	assert_about(sim.budget.carried_per_sec, 900, 0.001);
	(void)run(60);
	assert_about(stretch_of(SESSION_PACE_LISTED), 4, 0.1);
	budget_set(&sim.budget, 4000, STUTTER_MS);
	assert_about(sim.budget.carried_per_sec, 4000, 0.001);
	(void)run(60);
	assert_about(stretch_of(SESSION_PACE_LISTED), 1, 0.02);
	budget_set(&sim.budget, 4000, 0);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], 0);
	budget_set(&sim.budget, 4000, STUTTER_MS);
	assert_int_equal(sim.budget.interval_ms[SESSION_PACE_LISTED], STUTTER_MS);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(what_fits_into_the_budget_keeps_its_pace),
	        TEST(listed_clients_make_room_for_greylisted_ones),
	        TEST(greylisted_clients_are_stretched_only_when_listed_ones_are_at_their_slowest),
	        TEST(nobody_waits_longer_than_a_minute_for_a_byte),
	        TEST(pace_follows_a_burst_within_seconds_up_and_down),
	        TEST(pace_does_not_swing),
	        TEST(stretching_is_over_only_after_half_a_minute_without_it),
	        TEST(without_stutter_there_is_nothing_to_stretch),
	        TEST(machine_that_carries_less_than_the_budget_is_not_overrun),
	        TEST(slow_machine_with_slow_clients_settles_too),
	        TEST(budget_comes_back_when_the_machine_does),
	        TEST(pause_of_the_machine_costs_a_tenth_at_most_a_second),
	        TEST(no_pace_is_faster_than_the_stutter),
	        TEST(other_settings_keep_the_stretch_and_what_the_machine_carries),
	        TEST(lateness_stretches_nobody_where_few_bytes_are_sent),
	        TEST(lag_is_that_of_the_pause_until_what_was_due_in_it_is_served),
	        TEST(bytes_lie_apart_after_pauses_as_before),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
