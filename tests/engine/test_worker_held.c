/* A worker that is asked what it holds, while it serves. */
#include "worker_world.h"

static const struct held *ask(const struct world *world, const struct held_query *query)
{
	struct mono until = mono_add_ms(clock_mono(), PATIENCE_MS);
	worker_ask_held(world->worker, query);
	while (!worker_held(world->worker) && clock_mono().ns < until.ns) {
		usleep(1000);
	}
	assert_non_null(worker_held(world->worker));
	return worker_held(world->worker);
}

static void who_asks_is_told_of_every_connection_and_what_was_said_to_it(void **state)
{
	struct world *world = *state;
	static const struct held_query all = {0};
	int fds[3];
	world->session.stutter_ms = 20;
	world->session.grey_stutter_ms = 60000;
	world_start(world);
	for (unsigned i = 0; i < 3; i++) {
		fds[i] = client_open(world);
		client_expect(fds[i], "220 ");
	}
	client_say(fds[1], "HELO client.example\r\n");
	client_expect(fds[1], "250 ");
	const struct held *held = ask(world, &all);
	assert_int_equal(held->n, 3);
	assert_int_equal(held->n_class[HELD_GREY], 3);
	assert_int_equal(held->n_state[DIALOGUE_START], 2);
	assert_int_equal(held->n_state[DIALOGUE_READY], 1);
	assert_int_equal(held->n_longest, 3);
	size_t banner = strlen("220 mx.example.org ESMTP service\r\n");
	assert_int_equal(held->longest[2].sent_bytes, banner);
	assert_true(held->longest[0].sent_bytes + held->longest[1].sent_bytes > 2 * banner);
	for (unsigned i = 0; i < 3; i++) {
		close(fds[i]);
	}
	world_wait_now(world, 0);
	assert_int_equal(ask(world, &all)->n, 0);
}

static void a_question_for_an_address_is_answered_about_that_one(void **state)
{
	struct world *world = *state;
	struct held_query query = {.has_addr = true};
	world_start(world);
	int fd = client_open(world);
	client_expect(fd, "220 ");
	assert_int_equal(addr_parse(SPAN("127.0.0.1"), &query.addr), 0);
	assert_int_equal(ask(world, &query)->n, 1);
	assert_int_equal(addr_parse(SPAN("127.0.0.2"), &query.addr), 0);
	assert_int_equal(ask(world, &query)->n, 0);
	close(fd);
}

/* More than a slice of them, so that some come and go while the worker looks. One that was closed
 * is held until the worker has looked for its input. */
static void questions_one_after_the_other_do_not_disturb_clients_that_come_and_go(void **state)
{
	enum { N_CLIENTS = 5000, N_ROUNDS = 10 };
	struct world *world = *state;
	static const struct held_query all = {0};
	int *fds = calloc(N_CLIENTS, sizeof *fds);
	assert_non_null(fds);
	world->env.table_size = 2 * N_CLIENTS;
	world_start(world);
	for (unsigned i = 0; i < N_CLIENTS; i++) {
		fds[i] = client_open(world);
	}
	world_wait_now(world, N_CLIENTS);
	for (unsigned round = 0; round < N_ROUNDS; round++) {
		unsigned which = round * 7 % N_CLIENTS;
		worker_ask_held(world->worker, &all);
		close(fds[which]);
		fds[which] = client_open(world);
		client_expect(fds[which], "220 ");
		while (!worker_held(world->worker)) {
			usleep(1000);
		}
		assert_in_range(worker_held(world->worker)->n, N_CLIENTS - 1,
		                N_CLIENTS + 1 + round);
	}
	for (unsigned i = 0; i < N_CLIENTS; i++) {
		close(fds[i]);
	}
	free(fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORLD_WAY(who_asks_is_told_of_every_connection_and_what_was_said_to_it, AUTO),
	        WORLD_WAY(a_question_for_an_address_is_answered_about_that_one, AUTO),
	        WORLD_BOTH_WAYS(
	                questions_one_after_the_other_do_not_disturb_clients_that_come_and_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
