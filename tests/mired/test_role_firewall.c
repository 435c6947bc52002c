/* The firewall role: its steps, losses, changes and networks. */
#include "role_firewall_fixture.h"

static void rules_come_after_the_copy_and_then_it_says_ready(void **state)
{
	need_root();
	struct world *world = *state;
	role_start_child(world, "");
	(void)await_type(world->engine, MSG_NEED_FILL);
	assert_false(prints("nft list chains", "chain"));
	assert_true(prints("nft list set inet mired nospamd", "192.0.2.0/24"));
	assert_true(prints("nft list set inet mired nospamd6", "2001:db8:5::/48"));
	send_copy(world, 1000, 7);
	struct msg done = await_done(world, 7);
	assert_int_equal(done.figures.elements_added, 1000);
	assert_int_equal(done.figures.failures, 0);
	(void)await_type(world->supervisor, MSG_READY);
	assert_true(prints("nft list chains", "chain to_mired"));
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.3.231"));
	await_log(world, "nospamd:2: neither an address nor a network: "
	                 "nobody.example");
	send_msg(world->supervisor, (struct msg){.type = MSG_STOP});
	assert_int_equal(await_end(world), ROLE_EXIT_OK);
	assert_false(prints("nft list tables", "mired"));
}

static void rules_that_shall_be_kept_outlive_a_clean_stop(void **state)
{
	struct world *world = *state;
	need_root();
	bring_up(world, "keep-rules = yes\n", 3);
	send_msg(world->supervisor, (struct msg){.type = MSG_STOP});
	assert_int_equal(await_end(world), ROLE_EXIT_OK);
	assert_non_null(strstr(output_of("nft list table inet mired"), "chain to_mired"));
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.1"));
	assert_int_equal(fw_remove_table("mired"), 0);
}

static void it_runs_as_another_user_with_one_capability(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", 1);
	char command[128];
	(void)snprintf(command, sizeof command, "cat /proc/%d/status", (int)world->pid);
	const char *status = output_of(command);
	assert_non_null(strstr(status, "Uid:\t65534\t65534\t65534\t65534"));
	assert_non_null(strstr(status, "CapPrm:\t0000000000001000"));
	assert_non_null(strstr(status, "CapEff:\t0000000000001000"));
	assert_non_null(strstr(status, "NoNewPrivs:\t1"));
}

static void changes_are_in_the_kernel_when_they_are_answered(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", 10);
	double start = seconds_now();
	send_change(world, "198.51.100.9", false, 8);
	(void)await_done(world, 8);
	print_message("change to answer: %.1f ms\n", (seconds_now() - start) * 1000);
	assert_true(is_in(world->eye, FW_SET_WHITE, "198.51.100.9"));
	send_change(world, "198.51.100.9", true, 9);
	(void)await_done(world, 9);
	assert_false(is_in(world->eye, FW_SET_WHITE, "198.51.100.9"));
}

static void a_flushed_ruleset_is_back_within_two_seconds(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", N_WHITE);
	double start = seconds_now();
	(void)output_of("nft flush ruleset");
	(void)await_type(world->engine, MSG_NEED_FILL);
	double asked = seconds_now();
	send_copy(world, N_WHITE, 8);
	struct msg done = await_done(world, 8);
	double took = seconds_now() - start;
	print_message("%d entries back after %.3f s (asked for after %.3f s)\n", N_WHITE, took,
	              asked - start);
	assert_true(took < 2.0);
	assert_int_equal(done.figures.restores, 1);
	/* one message carried it all, also without root: a refused one would be counted */
	assert_int_equal(done.figures.failures, 0);
	for (uint32_t i = 0; i < N_WHITE; i++) {
		struct addr addr = addr_number(i);
		assert_int_equal(fw_has(world->eye, FW_SET_WHITE, &addr), 1);
	}
	assert_true(prints("nft list set inet mired nospamd", "192.0.2.0/24"));
	assert_true(prints("nft list chains", "chain to_mired"));
}

static void a_flush_in_the_middle_of_a_copy_needs_no_second_one(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", 10);
	send_msg(world->engine, (struct msg){.type = MSG_FILL_BEGIN});
	(void)usleep(100000);
	(void)output_of("nft flush ruleset");
	(void)usleep(200000);
	send_msg(world->engine, (struct msg){.type = MSG_FILL_END, .seq = 9});
	(void)await_done(world, 9);
	assert_true(prints("nft list chains", "chain to_mired"));
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.1"));
}

static void a_new_engine_is_asked_and_the_rules_stay_meanwhile(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", 10);
	(void)close(world->engine);
	connect_engine(world);
	(void)await_type(world->engine, MSG_NEED_FILL);
	assert_true(prints("nft list chains", "chain to_mired"));
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.9"));
	send_copy(world, 5, 20);
	(void)await_done(world, 20);
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.4"));
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.9"));
}

static void bad_messages_are_dropped_and_it_goes_on(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", 10);
	assert_int_equal(send(world->engine, "garbage", 7, 0), 7);
	send_msg(world->engine, (struct msg){.type = MSG_STOP});
	send_msg(world->engine, (struct msg){.type = MSG_FILL});
	send_msg(world->engine, (struct msg){.type = MSG_FILL_END, .seq = 99});
	assert_int_equal(send(world->supervisor, "garbage", 7, 0), 7);
	send_change(world, "198.51.100.9", false, 8);
	(void)await_done(world, 8);
	assert_true(is_in(world->eye, FW_SET_WHITE, "198.51.100.9"));
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.9"));
}

static void without_its_supervisor_it_leaves_the_table(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", 10);
	assert_int_equal(kill(world->pid, SIGTERM), 0);
	assert_int_equal(await_end(world), ROLE_EXIT_OK);
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.9"));
	/* the next one finds it and replaces what has changed */
	bring_up(world, "kernel-set-refresh = fallback\nkernel-set-destroy = fallback\n", 5);
	assert_false(is_in(world->eye, FW_SET_WHITE, "10.0.0.9"));
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.4"));
}

/* Changes that the kernel refuses are mended by a complete copy, and only by it. */
static void it_is_in_order_again_when_the_copy_is_in_the_kernel(void **state)
{
	need_root();
	struct world *world = *state;
	(void)output_of("nft add table inet mired; nft add set inet mired spamd-white "
	                "'{ type ipv4_addr; flags timeout; size 3; }'");
	bring_up(world, "", 2);
	send_change(world, "198.51.100.1", false, 8);
	send_change(world, "198.51.100.2", false, 9);
	(void)await_type(world->engine, MSG_NEED_FILL);
	await_log(world, "trying again");
	assert_null(strstr(log_of(world), "in order again"));
	send_copy(world, 1, 10);
	(void)await_done(world, 10);
	await_log(world, "in order again");
}

/* A table that belongs to another program's socket can be changed by nobody else. */
static FILE *let_another_program_own_the_table(void)
{
	FILE *nft = popen("exec nft -i >/dev/null 2>&1", "w");
	assert_non_null(nft);
	(void)fputs("delete table inet mired; add table inet mired { flags owner; }\n", nft);
	(void)fflush(nft);
	for (int i = 0; i < 100 && !prints("nft list tables", "mired"); i++) {
		(void)usleep(10000);
	}
	(void)usleep(300000);
	return nft;
}

static void a_table_it_cannot_remove_is_no_clean_end(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", 10);
	FILE *nft = let_another_program_own_the_table();
	send_msg(world->supervisor, (struct msg){.type = MSG_STOP});
	struct msg msg = await_type(world->supervisor, MSG_FATAL);
	assert_non_null(strstr(msg.text, "table inet mired cannot be removed: Operation not"));
	assert_int_equal(await_end(world), ROLE_EXIT_FAILED);
	(void)pclose(nft);
	assert_false(prints("nft list tables", "mired"));
}

/* Until a question about a set is answered with yes. */
static void await_element(const char *set, const char *element)
{
	char command[160];
	(void)snprintf(command, sizeof command,
	               "timeout 5 sh -c 'until nft get element inet mired %s \"{ %s }\" "
	               ">/dev/null 2>&1; do sleep 0.02; done'",
	               set, element);
	(void)output_of(command);
}

static void a_changed_nospamd_is_in_the_kernel_while_it_runs(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", 10);
	send_nospamd(world, "198.51.100.0/24\n300.1.1.1\n2001:db8:6::/48\n");
	await_element("nospamd6", "2001:db8:6::1");
	assert_false(prints("nft list set inet mired nospamd", "192.0.2.0/24"));
	assert_true(prints("nft list set inet mired nospamd", "198.51.100.0/24"));
	await_log(world, "/some/nospamd:2: ");
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.9"));
	/* it is the one that comes back after a loss */
	(void)output_of("nft flush ruleset");
	(void)await_type(world->engine, MSG_NEED_FILL);
	send_copy(world, 10, 8);
	(void)await_done(world, 8);
	assert_true(prints("nft list set inet mired nospamd", "198.51.100.0/24"));
	send_nospamd(world, "");
	send_nospamd(world, "203.0.113.9\n");
	await_element("nospamd", "203.0.113.9");
	assert_false(prints("nft list set inet mired nospamd", "198.51.100.0/24"));
}

/* The configuration with `more`, and the rules that follow from it, as a reload brings them. */
static void send_reload(const struct world *world, const char *more)
{
	struct conf conf;
	char why[FW_WHY_MAX > (int)CONF_ERROR_MAX ? FW_WHY_MAX : CONF_ERROR_MAX];
	char *text;
	int fd = conf_file(world, more);
	assert_int_equal(conf_load_fd(&conf, fd, why), 0);
	assert_int_equal(fw_rules_render(&conf, &text, why), 0);
	conf_fini(&conf);
	send_msg(world->supervisor, (struct msg){.type = MSG_CONF, .fd = fd});
	(void)close(fd);
	fd = memfd_create("rules", MFD_CLOEXEC);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	send_msg(world->supervisor, (struct msg){.type = MSG_RULES, .fd = fd});
	(void)close(fd);
	free(text);
}

static void other_rules_are_exchanged_and_the_table_stays(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "", 10);
	char *table = strdup(output_of("nft -a list tables"));
	send_reload(world, "smtp-port = 2525\n");
	await_log(world, "the rules are exchanged");
	send_change(world, "198.51.100.9", false, 8);
	(void)await_done(world, 8);
	const char *rules = output_of("nft list table inet mired");
	assert_non_null(strstr(rules, "dport 2525"));
	assert_string_equal(output_of("nft -a list tables"), table);
	free(table);
	assert_true(is_in(world->eye, FW_SET_WHITE, "10.0.0.9"));
	/* they are the ones that come back after a loss */
	(void)output_of("nft flush ruleset");
	(void)await_type(world->engine, MSG_NEED_FILL);
	send_copy(world, 10, 9);
	(void)await_done(world, 9);
	assert_non_null(strstr(output_of("nft list table inet mired"), "dport 2525"));
}

static void a_configuration_that_is_none_changes_nothing(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "keep-rules = no\n", 10);
	int fd = memfd_create("mired.conf", MFD_CLOEXEC);
	assert_int_equal(write(fd, "nonsense\n", 9), 9);
	send_msg(world->supervisor, (struct msg){.type = MSG_CONF, .fd = fd});
	(void)close(fd);
	await_log(world, "the old one stays in force");
	send_reload(world, "keep-rules = no\n");
	send_msg(world->supervisor, (struct msg){.type = MSG_STOP});
	assert_int_equal(await_end(world), ROLE_EXIT_OK);
	assert_null(strstr(log_of(world), "the rules are exchanged")); /* they are the same */
	assert_false(prints("nft list tables", "mired"));
}

static void send_ranges(const struct world *world, uint32_t n)
{
	struct msg msg = {.type = MSG_RANGES};
	send_msg(world->engine, (struct msg){.type = MSG_RANGES_BEGIN});
	for (uint32_t i = 0; i < n; i++) {
		msg.ranges[msg.n_ranges++] =
		        (struct addr_range){addr_number(8 * i), addr_number(8 * i + 3)};
		if (msg.n_ranges == MSG_RANGES_MAX || i + 1 == n) {
			send_msg(world->engine, msg);
			msg.n_ranges = 0;
		}
	}
	send_msg(world->engine, (struct msg){.type = MSG_RANGES_END});
}

static void listed_networks_are_replaced_and_come_back_after_a_loss(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "blacklist-only = yes\n", 10);
	assert_true(prints("nft list chain inet mired smtp_in", "goto blacklist"));
	send_ranges(world, 100000);
	await_element("spamd", "10.12.52.251"); /* the last one */
	send_ranges(world, 2);
	send_change(world, "198.51.100.9", false, 8);
	(void)await_done(world, 8);
	assert_true(
	        prints("nft list set inet mired spamd", "elements = { 10.0.0.0/30, 10.0.0.8/30 }"));
	(void)output_of("nft flush ruleset");
	(void)await_type(world->engine, MSG_NEED_FILL);
	send_copy(world, 10, 9);
	(void)await_done(world, 9);
	assert_true(
	        prints("nft list set inet mired spamd", "elements = { 10.0.0.0/30, 10.0.0.8/30 }"));
	await_log(world, "firewall: 100000 listed networks are in the kernel");
	send_ranges(world, 0);
	send_change(world, "198.51.100.9", false, 10);
	(void)await_done(world, 10);
	assert_false(prints("nft list set inet mired spamd", "elements"));
}

static void too_many_or_half_of_the_ranges_leave_the_old_ones(void **state)
{
	need_root();
	struct world *world = *state;
	bring_up(world, "blacklist-only = yes\nlist-prefixes = 1000\n", 10);
	send_ranges(world, 2);
	send_change(world, "198.51.100.9", false, 8);
	(void)await_done(world, 8);
	send_ranges(world, 1001);
	/* overlapping ones are refused by the kernel, which is no reason to try again for ever */
	struct msg overlap = {.type = MSG_RANGES, .n_ranges = 2};
	overlap.ranges[0] = (struct addr_range){addr_number(0), addr_number(10)};
	overlap.ranges[1] = (struct addr_range){addr_number(5), addr_number(20)};
	send_msg(world->engine, (struct msg){.type = MSG_RANGES_BEGIN});
	send_msg(world->engine, overlap);
	send_msg(world->engine, (struct msg){.type = MSG_RANGES_END});
	send_msg(world->engine, (struct msg){.type = MSG_RANGES_BEGIN});
	send_msg(world->engine, (struct msg){.type = MSG_RANGES});
	send_change(world, "198.51.100.9", true, 9);
	(void)await_done(world, 9);
	(void)close(world->engine);
	connect_engine(world);
	(void)await_type(world->engine, MSG_NEED_FILL);
	send_copy(world, 10, 9);
	(void)await_done(world, 9);
	assert_true(
	        prints("nft list set inet mired spamd", "elements = { 10.0.0.0/30, 10.0.0.8/30 }"));
	await_log(world, "more than 1000 listed networks");
}

static void what_it_cannot_start_with_is_said(void **state)
{
	need_root();
	struct world *world = *state;
	world->rules_dir = "/nonexistent";
	role_start_child(world, "");
	struct msg msg = await_type(world->supervisor, MSG_FATAL);
	assert_non_null(strstr(msg.text, "/nonexistent/local-mta.nft: No such file"));
	assert_int_equal(await_end(world), ROLE_EXIT_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        ROLE_TEST(rules_come_after_the_copy_and_then_it_says_ready),
	        ROLE_TEST(rules_that_shall_be_kept_outlive_a_clean_stop),
	        ROLE_TEST(it_runs_as_another_user_with_one_capability),
	        ROLE_TEST(changes_are_in_the_kernel_when_they_are_answered),
	        ROLE_TEST(a_flushed_ruleset_is_back_within_two_seconds),
	        ROLE_TEST(a_flush_in_the_middle_of_a_copy_needs_no_second_one),
	        ROLE_TEST(a_new_engine_is_asked_and_the_rules_stay_meanwhile),
	        ROLE_TEST(bad_messages_are_dropped_and_it_goes_on),
	        ROLE_TEST(without_its_supervisor_it_leaves_the_table),
	        ROLE_TEST(it_is_in_order_again_when_the_copy_is_in_the_kernel),
	        ROLE_TEST(a_table_it_cannot_remove_is_no_clean_end),
	        ROLE_TEST(a_changed_nospamd_is_in_the_kernel_while_it_runs),
	        ROLE_TEST(other_rules_are_exchanged_and_the_table_stays),
	        ROLE_TEST(a_configuration_that_is_none_changes_nothing),
	        ROLE_TEST(listed_networks_are_replaced_and_come_back_after_a_loss),
	        ROLE_TEST(too_many_or_half_of_the_ranges_leave_the_old_ones),
	        ROLE_TEST(what_it_cannot_start_with_is_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
