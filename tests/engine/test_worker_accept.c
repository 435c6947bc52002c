/* Failures of accept which no test can cause from outside, told to the worker by hand; and its
 * clock, moved by hand. No ring, no thread. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/quiet_log.h"
#include "engine/worker_impl.h"

static const struct conf CONF = {.tick_ms = 50};

static int setup(void **state)
{
	struct worker *worker = aligned_alloc(CACHE_LINE, sizeof *worker);
	assert_non_null(worker);
	memset(worker, 0, sizeof *worker);
	worker->env.conf = &CONF;
	worker->env.n_listeners = 1;
	worker->tick_now = 1000;
	worker->tick_done = 1000;
	worker->wheel = wheel_new(WORKER_WHEEL_SLOTS, 2);
	worker->acceptors[0].n_armed = 1;
	*state = worker;
	return conn_table_init(&worker->conns, 2);
}

static int teardown(void **state)
{
	struct worker *worker = *state;
	wheel_free(worker->wheel);
	conn_table_fini(&worker->conns);
	free(worker);
	return 0;
}

static void fail_accept(struct worker *worker, int ret)
{
	struct ring_event event = {.tag = {.op = RING_OP_ACCEPT}, .res = ret};
	worker->acceptors[0].n_armed = 1;
	worker_on_accept(worker, &event);
	assert_int_equal(worker->acceptors[0].n_armed, 0);
}

static uint64_t count(const struct worker *worker, enum counter which)
{
	return counters_get(&worker->counters, which);
}

static void shortage_pauses_accepting_longer_and_longer(void **state)
{
	struct worker *worker = *state;
	struct acceptor *acceptor = &worker->acceptors[0];
	static const int reasons[] = {-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM, -EMFILE, -EMFILE};
	static const uint32_t pauses_ms[] = {100, 200, 400, 800, 1000, 1000};
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		fail_accept(worker, reasons[i]);
		assert_int_equal(acceptor->pause_ms, pauses_ms[i]);
		assert_int_equal(acceptor->rearm_tick,
		                 worker->tick_now + 1 + pauses_ms[i] / CONF.tick_ms);
		worker->tick_now = acceptor->rearm_tick;
	}
	assert_int_equal(count(worker, COUNTER_accept_errors), ARRAY_LEN(reasons));
	assert_int_equal(count(worker, COUNTER_ring_full), 0);
}

static void burst_of_failures_is_one_pause(void **state)
{
	struct worker *worker = *state;
	for (int i = 0; i < 64; i++) {
		fail_accept(worker, -EMFILE);
	}
	assert_int_equal(worker->acceptors[0].pause_ms, 100);
	assert_int_equal(count(worker, COUNTER_accept_errors), 64);
}

static void client_that_left_before_accept_does_not_pause(void **state)
{
	struct worker *worker = *state;
	fail_accept(worker, -ECONNABORTED);
	assert_int_equal(worker->acceptors[0].pause_ms, 0);
	assert_int_equal(worker->acceptors[0].rearm_tick, 0);
	assert_int_equal(count(worker, COUNTER_accept_errors), 1);
}

static void full_table_is_not_a_shortage(void **state)
{
	struct worker *worker = *state;
	(void)conn_open(&worker->conns, 0);
	(void)conn_open(&worker->conns, 1);
	fail_accept(worker, -ENFILE);
	assert_int_equal(count(worker, COUNTER_ring_full), 1);
	assert_int_equal(count(worker, COUNTER_accept_errors), 0);
	assert_int_equal(worker->acceptors[0].rearm_tick, 0);
}

static void cancelled_accept_at_the_end_is_no_error(void **state)
{
	struct worker *worker = *state;
	worker->is_ending = true;
	fail_accept(worker, -ECANCELED);
	assert_int_equal(count(worker, COUNTER_accept_errors), 0);
}

static void connection_due_beyond_a_revolution_is_put_within_it(void **state)
{
	struct worker *worker = *state;
	struct conn *conn = conn_open(&worker->conns, 1);
	conn->phase = CONN_OPEN;
	conn->session.due = mono_ms_add(worker->now_ms, 400 * 1000);
	worker_schedule(worker, 1, conn);
	assert_int_equal(wheel_take(worker->wheel, worker->tick_done + WORKER_WHEEL_SLOTS), 1);
}

static void connection_is_scheduled_at_the_first_tick_not_before_its_due(void **state)
{
	struct worker *worker = *state;
	struct conn *conn = conn_open(&worker->conns, 1);
	conn->phase = CONN_OPEN;
	worker->now.ns = (int64_t)worker->tick_now * CONF.tick_ms * NS_PER_MS;
	worker->now_ms = mono_to_ms(worker->now);
	conn->session.due = mono_ms_add(worker->now_ms, 101);
	worker_schedule(worker, 1, conn);
	assert_int_equal(wheel_take(worker->wheel, worker->tick_now + 2), WHEEL_NONE);
	assert_int_equal(wheel_take(worker->wheel, worker->tick_now + 3), 1);
	conn->session.due = worker->now_ms;
	worker_schedule(worker, 1, conn);
	assert_int_equal(worker->n_ready, 1);
	worker_schedule(worker, 1, conn); /* only once */
	assert_int_equal(worker->n_ready, 1);
}

/* More connections that want to be served at once than a turn may serve must not keep those of the
 * wheel waiting. */
static void crowd_that_is_ready_does_not_starve_what_is_due(void **state)
{
	enum { CROWD = 4000 };
	static const struct session_conf session_conf = {.store_wait_ms = 5000, .look_min_ms = 50};
	struct worker *worker = *state;
	struct conn_table few = worker->conns;
	struct wheel *small = worker->wheel;
	assert_int_equal(conn_table_init(&worker->conns, CROWD + 1), 0);
	worker->wheel = wheel_new(WORKER_WHEEL_SLOTS, CROWD + 1);
	worker->chunk = calloc(1, sizeof *worker->chunk);
	worker->env.session = &session_conf;
	for (uint32_t slot = 0; slot < CROWD; slot++) {
		struct conn *conn = conn_open(&worker->conns, slot);
		worker_schedule(worker, slot, conn);
		conn_release(&worker->conns, conn);
	}
	assert_int_equal(worker->n_ready, CROWD);
	struct conn *conn = conn_open(&worker->conns, CROWD);
	conn->phase = CONN_OPEN;
	session_start(&conn->session, &session_conf, SESSION_UNKNOWN, worker->now_ms);
	conn->session.due = worker->now_ms; /* holds, and says when it wants to be asked again */
	wheel_add(worker->wheel, CROWD, worker->tick_now + 1);
	worker->tick_now++;
	worker->turn_left = WORKER_TURN_MAX;
	worker_serve(worker);
	assert_int_equal(mono_ms_diff(conn->session.due, worker->now_ms), 5000);
	assert_in_range(worker->n_ready, 1, CROWD - WORKER_TURN_MAX / 2);
	free(worker->chunk);
	wheel_free(worker->wheel);
	conn_table_fini(&worker->conns);
	worker->wheel = small;
	worker->conns = few;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(shortage_pauses_accepting_longer_and_longer, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(burst_of_failures_is_one_pause, setup, teardown),
	        cmocka_unit_test_setup_teardown(client_that_left_before_accept_does_not_pause,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(full_table_is_not_a_shortage, setup, teardown),
	        cmocka_unit_test_setup_teardown(cancelled_accept_at_the_end_is_no_error, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(connection_due_beyond_a_revolution_is_put_within_it,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                connection_is_scheduled_at_the_first_tick_not_before_its_due, setup,
	                teardown),
	        cmocka_unit_test_setup_teardown(crowd_that_is_ready_does_not_starve_what_is_due,
	                                        setup, teardown),
	};
	return cmocka_run_group_tests(tests, quiet_log_open, quiet_log_close);
}
