/* The firewall role and complete copies: into empty sets, in the place of old content, cut short.
 */
#include "role_firewall_fixture.h"

static void a_copy_goes_into_empty_sets_as_it_comes(void **state)
{
	need_root();
	struct world *world = *state;
	role_start_child(world, "");
	(void)await_type(world->engine, MSG_NEED_FILL);
	send_msg(world->engine, (struct msg){.type = MSG_FILL_BEGIN});
	send_hosts(world, 0, 100);
	await_white(world, "10.0.0.99", true);
	send_change(world, "10.0.0.7", true, 8);
	send_change(world, "198.51.100.9", false, 9);
	await_white(world, "198.51.100.9", true);
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.7"));
	assert_false(prints("nft list chains", "chain"));
	send_hosts(world, 100, 100);
	send_msg(world->engine, (struct msg){.type = MSG_FILL_END, .seq = 9});
	struct msg done = await_done(world, 9);
	assert_int_equal(done.figures.elements_added, 201);
	assert_int_equal(done.figures.elements_deleted, 1);
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.199"));
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.7"));
	assert_non_null(strstr(log_of(world), "complete copy of 200 hosts"));
}

/* The old content stays until the new one takes its place, and changes do not wait for that. */
static void a_change_does_not_wait_for_a_copy_that_replaces_old_content(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", 100);
	send_msg(world->engine, (struct msg){.type = MSG_FILL_BEGIN});
	send_hosts(world, 0, 50);
	send_change(world, "10.0.0.7", true, 8);
	send_change(world, "10.0.0.8", true, 9);
	send_change(world, "10.0.0.8", false, 10);
	send_change(world, "198.51.100.9", false, 11);
	await_white(world, "198.51.100.9", true);
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.7"));
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.99"));
	send_hosts(world, 50, 10);
	send_msg(world->engine, (struct msg){.type = MSG_FILL_END, .seq = 11});
	(void)await_done(world, 11);
	assert_true(is_in(world->eye, FW_SET_WHITE, "198.51.100.9"));
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.8"));
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.59"));
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.7"));
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.99"));
}

/* What was streamed went with the table: only another copy has all of it. */
static void a_flush_in_the_middle_of_a_first_copy_is_mended_by_another(void **state)
{
	need_root();
	struct world *world = *state;
	role_start_child(world, "");
	(void)await_type(world->engine, MSG_NEED_FILL);
	send_msg(world->engine, (struct msg){.type = MSG_FILL_BEGIN});
	send_hosts(world, 0, 100);
	await_white(world, "10.0.0.99", true);
	(void)output_of("nft flush ruleset");
	send_hosts(world, 100, 100);
	(void)await_type(world->engine, MSG_NEED_FILL);
	send_hosts(world, 200, 100); /* was under way */
	send_msg(world->engine, (struct msg){.type = MSG_FILL_END, .seq = 8});
	send_change(world, "198.51.100.9", false, 9);
	(void)usleep(100000);
	assert_false(prints("nft list chains", "chain"));
	assert_false(is_in(world->eye, FW_SET_WHITE, "198.51.100.9"));
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.1.43"));
	send_copy(world, 150, 10);
	(void)await_done(world, 10);
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.99"));
	assert_null(strstr(log_of(world), "message of the engine dropped"));
}

/* Half a copy is in the sets, and its engine is gone: what the next one does not name must go. */
static void a_copy_that_was_not_finished_is_replaced_by_the_next_one(void **state)
{
	need_root();
	struct world *world = *state;
	role_start_child(world, "");
	(void)await_type(world->engine, MSG_NEED_FILL);
	send_msg(world->engine, (struct msg){.type = MSG_FILL_BEGIN});
	send_hosts(world, 0, 100);
	await_white(world, "10.0.0.99", true);
	(void)close(world->engine);
	connect_engine(world);
	(void)await_type(world->engine, MSG_NEED_FILL);
	send_copy(world, 50, 3);
	(void)await_done(world, 3);
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.49"));
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.99"));
}

/* A new engine's copy of n hosts, with these changes between its pieces. */
static struct msg copy_on_top(struct world *world, uint32_t n, bool has_changes)
{
	(void)close(world->engine);
	connect_engine(world);
	(void)await_type(world->engine, MSG_NEED_FILL);
	send_msg(world->engine, (struct msg){.type = MSG_FILL_BEGIN});
	send_hosts(world, 0, n);
	if (has_changes) {
		send_change(world, "10.0.0.7", true, 8);
		send_change(world, "10.0.0.8", true, 9);
		send_change(world, "10.0.0.8", false, 10);
		send_change(world, "198.51.100.9", false, 11);
		send_change(world, "198.51.100.10", false, 12);
		send_change(world, "198.51.100.10", true, 13);
		send_change(world, "2001:db8::", false, 14);
	}
	send_msg(world->engine, (struct msg){.type = MSG_FILL_END, .seq = 20});
	return await_done(world, 20);
}

static void what_the_sets_hold_already_is_not_replaced(void **state)
{
	need_root();
	struct world *world = *state;
	uint32_t counts[FW_LEARNED_ROWS];
	bring_up(world, "", 100);
	if (fw_count(world->eye, counts) != 0) {
		skip(); /* a kernel that does not count */
	}
	struct msg done = copy_on_top(world, 100, false);
	assert_int_equal(done.figures.elements_added, 200);
	done = copy_on_top(world, 100, true);
	assert_int_equal(done.figures.elements_added, 304);
	assert_int_equal(done.figures.elements_deleted, 3);
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.8"));
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.7"));
	assert_int_equal(fw_count(world->eye, counts), 0);
	assert_int_equal(counts[0], 100); /* one left, one came */
	assert_int_equal(counts[1], 1);
}

static void what_is_in_no_copy_any_more_is_replaced(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", 100);
	(void)copy_on_top(world, 99, false);
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.99"));
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.98"));
	(void)output_of("nft add element inet mired spamd-greytrap6 '{ 2001:db8::7 timeout 1h }'");
	(void)copy_on_top(world, 99, true);
	assert_false(is_in(world->eye, FW_SET_GREYTRAP, "2001:db8::7"));
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.7"));
	assert_true(is_in(world->eye, FW_SET_WHITE, "2001:db8::"));
	assert_true(is_in(world->eye, FW_SET_WHITE, "198.51.100.9"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        ROLE_TEST(a_copy_goes_into_empty_sets_as_it_comes),
	        ROLE_TEST(a_change_does_not_wait_for_a_copy_that_replaces_old_content),
	        ROLE_TEST(a_flush_in_the_middle_of_a_first_copy_is_mended_by_another),
	        ROLE_TEST(a_copy_that_was_not_finished_is_replaced_by_the_next_one),
	        ROLE_TEST(what_the_sets_hold_already_is_not_replaced),
	        ROLE_TEST(what_is_in_no_copy_any_more_is_replaced),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
