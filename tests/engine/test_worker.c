/* One worker, few clients: the pace, what hosts are, what happens to mails. Every test runs with
 * both ways of accepting. */
#include "worker_world.h"

static int64_t ms_since(struct mono start)
{
	return mono_diff_ms(clock_mono(), start);
}

static void expect_deferral(int fd)
{
	client_expect_envelope(fd);
	client_expect(fd, "451 Temporary failure, please try again later.");
	client_expect_end(fd);
}

static int open_with_mail(const struct world *world)
{
	int fd = client_open(world);
	client_say(fd, client_mail);
	return fd;
}

static int open_and_be_deferred(const struct world *world)
{
	int fd = open_with_mail(world);
	expect_deferral(fd);
	return fd;
}

static void grey_client_gets_single_bytes_and_then_the_rest_at_once(void **state)
{
	struct world *world = *state;
	world->session.stutter_ms = 200;
	world->session.grey_stutter_ms = 1300;
	world_start(world);
	int fd = client_open(world);
	struct mono last = clock_mono();
	char text[64] = "";
	for (int i = 0; i < 6; i++) {
		assert_true(client_byte(fd, &text[i]));
		int64_t gap_ms = ms_since(last);
		last = clock_mono();
		/* the first byte comes at any time of its stutter */
		if ((i > 0 && gap_ms < 140) || gap_ms > 300) {
			fail_msg("gap %d is %lld ms", i, (long long)gap_ms);
		}
		/* one byte, not two in one go */
		assert_int_equal(recv(fd, &text[i + 1], 1, MSG_DONTWAIT), -1);
	}
	char rest[WORLD_TEXT_MAX];
	client_line(fd, rest);
	assert_true(ms_since(last) < 1000);
	assert_string_equal(text, "220 mx");
	assert_string_equal(rest, ".example.org ESMTP service");
	world_wait_count(world, COUNTER_bytes_stuttered, 6);
	close(fd);
}

static void without_stutter_everything_comes_at_once(void **state)
{
	struct world *world = *state;
	world_start(world);
	struct mono start = clock_mono();
	int fd = open_and_be_deferred(world);
	assert_true(ms_since(start) < 2000);
	assert_int_equal(world_count(world, COUNTER_bytes_stuttered), 0);
	close(fd);
}

static void grey_stutter_of_zero_means_never(void **state)
{
	struct world *world = *state;
	world->session.stutter_ms = 10000;
	world->session.grey_stutter_ms = 0;
	world_start(world);
	struct mono start = clock_mono();
	int fd = client_open(world);
	client_expect(fd, "220 mx.example.org ESMTP service");
	assert_true(ms_since(start) < 2000);
	close(fd);
}

static void pipelined_commands_make_one_tuple_each_recipient(void **state)
{
	struct world *world = *state;
	world_start(world);
	int fd = open_and_be_deferred(world);
	assert_int_equal(atomic_load(&world->keeper.n_tuples), 1);
	pthread_mutex_lock(&world->keeper.lock);
	assert_string_equal(world->keeper.last, "client.example <a@b.example> <c@d.example>");
	assert_int_equal(addr_v4_be(&world->keeper.last_addr), htonl(INADDR_LOOPBACK));
	pthread_mutex_unlock(&world->keeper.lock);
	assert_int_equal(world_count(world, COUNTER_commands), 4);
	assert_int_equal(world_count(world, COUNTER_deferred), 1);
	assert_true(atomic_load(&n_wakes) > 0);
	close(fd);
	world_wait_now(world, 0);
}

static void commands_one_after_the_other_are_answered_in_turn(void **state)
{
	struct world *world = *state;
	world_start(world);
	int fd = client_open(world);
	client_expect(fd, "220 ");
	client_say(fd, "EHLO client.example\r\n");
	client_expect(fd, "250 ");
	client_say(fd, "NONSENSE\r\n");
	client_expect(fd, "500 ");
	client_say(fd, "MAIL FROM:<a@b.example>\r\n");
	client_expect(fd, "250 ");
	client_say(fd, "QUIT\r\n");
	client_expect(fd, "221 ");
	client_expect_end(fd);
	assert_int_equal(world_count(world, COUNTER_bad_commands), 1);
	close(fd);
	world_wait_count(world, COUNTER_closed, 1); /* the kernel has confirmed it */
	assert_int_equal(world_count(world, COUNTER_closed), 1);
}

static void final_deferral_waits_for_the_store(void **state)
{
	struct world *world = *state;
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_NONE, 1000);
	atomic_store(&world->keeper.hold, true);
	int fd = open_with_mail(world);
	client_expect_envelope(fd);
	assert_false(client_has_news(fd, 400));
	atomic_store(&world->keeper.hold, false);
	client_expect(fd, "451 ");
	client_expect_end(fd);
	assert_int_equal(world_count(world, COUNTER_deferred_unstored), 0);
	close(fd);
}

static void final_deferral_is_finished_after_store_wait(void **state)
{
	struct world *world = *state;
	world->session.store_wait_ms = 300;
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_NONE, 1000);
	atomic_store(&world->keeper.hold, true);
	int fd = open_and_be_deferred(world);
	world_wait_count(world, COUNTER_deferred_unstored, 1);
	atomic_store(&world->keeper.hold, false);
	close(fd);
}

static void known_early_tuple_needs_no_waiting(void **state)
{
	struct world *world = *state;
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_NONE, 1000);
	struct addr addr;
	assert_int_equal(addr_parse(SPAN("127.0.0.1"), &addr), 0);
	struct tuple_text text = {SPAN("client.example"), SPAN("<a@b.example>"),
	                          SPAN("<c@d.example>")};
	world_put_tuple(world, &addr, &text);
	atomic_store(&world->keeper.hold, true);
	int fd = open_and_be_deferred(world); /* although the keeper says nothing */
	assert_int_equal(world_count(world, COUNTER_deferred_unstored), 0);
	atomic_store(&world->keeper.hold, false);
	world_wait_atomic(&world->keeper.n_tuples, 1);
	close(fd);
}

static void white_host_is_told_to_the_keeper_and_makes_no_tuple(void **state)
{
	struct world *world = *state;
	world->session.stutter_ms = 10000;
	world->session.grey_stutter_ms = 60000;
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_WHITE, 1000);
	int fd = open_and_be_deferred(world);
	world_wait_atomic(&world->keeper.n_seen, 1);
	assert_int_equal(atomic_load(&world->keeper.n_tuples), 0);
	assert_int_equal(atomic_load(&world->keeper.n_hosts), 0);
	assert_int_equal(world_count(world, COUNTER_class_white), 1);
	close(fd);
}

static void white_answer_of_the_keeper_counts_as_well(void **state)
{
	struct world *world = *state;
	atomic_store(&world->keeper.host_answer, CACHE_WHITE);
	world_start(world);
	int fd = open_and_be_deferred(world);
	world_wait_atomic(&world->keeper.n_seen, 1);
	assert_int_equal(atomic_load(&world->keeper.n_hosts), 1);
	assert_int_equal(atomic_load(&world->keeper.n_tuples), 0);
	close(fd);
}

static void trapped_host_gets_a_refusal_that_names_it(void **state)
{
	struct world *world = *state;
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_TRAPPED, 1000);
	int fd = open_with_mail(world);
	client_expect_envelope(fd);
	client_expect(fd, "354 ");
	client_say(fd, "Subject: x\r\n\r\nbody\r\n.\r\n");
	char line[WORLD_TEXT_MAX];
	client_line(fd, line);
	assert_memory_equal(line, "450 ", 4);
	assert_string_equal(line, "450 127.0.0.1 wrote to a trap");
	client_expect_end(fd);
	assert_int_equal(atomic_load(&world->keeper.n_tuples), 0);
	assert_int_equal(world_count(world, COUNTER_class_trapped), 1);
	close(fd);
}

static void unknown_host_hears_nothing_until_it_is_known(void **state)
{
	struct world *world = *state;
	atomic_store(&world->keeper.hold, true);
	world_start(world);
	int fd = client_open(world);
	assert_false(client_has_news(fd, 300));
	struct worker_figures figures;
	worker_figures_get(world->worker, &figures);
	assert_int_equal(figures.n_unknown, 1);
	atomic_store(&world->keeper.hold, false);
	client_expect(fd, "220 ");
	worker_figures_get(world->worker, &figures);
	assert_int_equal(figures.n_unknown, 0);
	assert_int_equal(figures.n_grey, 1);
	close(fd);
}

static void expired_cache_entry_counts_as_absent(void **state)
{
	struct world *world = *state;
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_WHITE, -1);
	int fd = client_open(world);
	client_expect(fd, "220 ");
	assert_int_equal(atomic_load(&world->keeper.n_hosts), 1);
	assert_int_equal(world_count(world, COUNTER_class_white), 0);
	assert_int_equal(world_count(world, COUNTER_class_grey), 1);
	close(fd);
}

static void ipv6_clients_are_known_by_their_network(void **state)
{
	struct world *world = *state;
	world_start_sized(world, "::1", KEEPER_MAILBOX_BYTES);
	int fd = open_and_be_deferred(world);
	struct addr network;
	assert_int_equal(addr_parse(SPAN("::"), &network), 0);
	pthread_mutex_lock(&world->keeper.lock);
	assert_true(addr_equal(&world->keeper.last_addr, &network));
	pthread_mutex_unlock(&world->keeper.lock);
	close(fd);
}

static void half_open_client_is_answered_to_the_end(void **state)
{
	struct world *world = *state;
	world_start(world);
	int fd = open_with_mail(world);
	shutdown(fd, SHUT_WR);
	expect_deferral(fd);
	close(fd);
	world_wait_now(world, 0);
}

static void silent_client_is_closed_after_the_read_timeout(void **state)
{
	struct world *world = *state;
	world->session.read_timeout_ms = 300;
	world_start(world);
	int fd = client_open(world);
	client_expect(fd, "220 ");
	client_expect_end(fd);
	world_wait_count(world, COUNTER_read_timeouts, 1);
	close(fd);
}

static void client_that_goes_away_is_noticed(void **state)
{
	struct world *world = *state;
	world->session.stutter_ms = 100;
	world->session.grey_stutter_ms = 60000;
	world_start(world);
	close(client_open(world));
	world_wait_count(world, COUNTER_peer_closed, 1);
	world_wait_now(world, 0);
	/* the first byte that he does not take brings a reset */
	assert_in_range(world_count(world, COUNTER_bytes_stuttered), 0, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORLD_BOTH_WAYS(grey_client_gets_single_bytes_and_then_the_rest_at_once),
	        WORLD_BOTH_WAYS(without_stutter_everything_comes_at_once),
	        WORLD_BOTH_WAYS(grey_stutter_of_zero_means_never),
	        WORLD_BOTH_WAYS(pipelined_commands_make_one_tuple_each_recipient),
	        WORLD_BOTH_WAYS(commands_one_after_the_other_are_answered_in_turn),
	        WORLD_BOTH_WAYS(final_deferral_waits_for_the_store),
	        WORLD_BOTH_WAYS(final_deferral_is_finished_after_store_wait),
	        WORLD_BOTH_WAYS(known_early_tuple_needs_no_waiting),
	        WORLD_BOTH_WAYS(white_host_is_told_to_the_keeper_and_makes_no_tuple),
	        WORLD_BOTH_WAYS(white_answer_of_the_keeper_counts_as_well),
	        WORLD_BOTH_WAYS(trapped_host_gets_a_refusal_that_names_it),
	        WORLD_BOTH_WAYS(unknown_host_hears_nothing_until_it_is_known),
	        WORLD_BOTH_WAYS(expired_cache_entry_counts_as_absent),
	        WORLD_BOTH_WAYS(ipv6_clients_are_known_by_their_network),
	        WORLD_BOTH_WAYS(half_open_client_is_answered_to_the_end),
	        WORLD_BOTH_WAYS(silent_client_is_closed_after_the_read_timeout),
	        WORLD_BOTH_WAYS(client_that_goes_away_is_noticed),
	};
	return cmocka_run_group_tests(tests, quiet_log_open, quiet_log_close);
}
