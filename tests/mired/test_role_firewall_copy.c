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
	await_log(world, "complete copy of 200 hosts");
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

/* --- any order of what can happen ------------------------------------------------------------- */

enum { N_HOSTS = 40, N_ROUNDS = 10, SLICE_HOSTS = 5, LAG_MAX = 64, BY_HAND_SECS = 100 };

/* A store as the feeder sees it: what is in it, and the changes that were not sent yet. */
struct model {
	unsigned seed;
	bool is_there[FW_SET_COUNT][N_HOSTS];
	struct msg_element journal[LAG_MAX];
	uint16_t n_waiting;
	uint64_t seq;
	unsigned next; /* host of the copy that is being sent */
};

static unsigned any(struct model *model, unsigned below)
{
	return (unsigned)rand_r(&model->seed) % below;
}

static struct addr host_number(unsigned n)
{
	struct addr addr = n % 2 ? addr_of("2001:db8::") : addr_of("192.0.2.0");
	addr.bytes[n % 2 ? 7 : 15] = (uint8_t)n;
	return addr;
}

static struct msg_element host_element(unsigned set, unsigned n, bool is_deleted)
{
	return (struct msg_element){.addr = host_number(n),
	                            .set = (uint8_t)set,
	                            .is_deleted = is_deleted,
	                            .timeout_secs = is_deleted ? 0 : 3600};
}

static void store_changes(struct model *model)
{
	unsigned set = any(model, FW_SET_COUNT);
	unsigned n = any(model, N_HOSTS);
	if (model->n_waiting < LAG_MAX) {
		bool is_there = any(model, 2);
		model->is_there[set][n] = is_there;
		model->journal[model->n_waiting++] = host_element(set, n, !is_there);
	}
}

static void send_waiting(const struct world *world, struct model *model)
{
	struct msg msg = {.type = MSG_CHANGES, .n_elements = model->n_waiting};
	if (model->n_waiting > 0) {
		model->seq += model->n_waiting;
		msg.seq = model->seq;
		memcpy(msg.elements, model->journal, model->n_waiting * sizeof model->journal[0]);
		model->n_waiting = 0;
		send_msg(world->engine, msg);
	}
}

static void send_slice(const struct world *world, struct model *model)
{
	struct msg msg = {.type = MSG_FILL};
	for (unsigned i = 0; i < SLICE_HOSTS; i++, model->next++) {
		for (unsigned set = 0; set < FW_SET_COUNT; set++) {
			if (model->is_there[set][model->next]) {
				msg.elements[msg.n_elements++] =
				        host_element(set, model->next, false);
			}
		}
	}
	send_msg(world->engine, msg);
}

static void send_part(const struct world *world, struct model *model, unsigned n_hosts)
{
	model->next = 0;
	send_msg(world->engine, (struct msg){.type = MSG_FILL_BEGIN});
	while (model->next < n_hosts) {
		unsigned what = any(model, 8);
		if (what < 5) {
			store_changes(model);
		} else if (what < 6) {
			send_waiting(world, model);
		} else {
			send_slice(world, model);
		}
	}
}

static void send_whole(const struct world *world, struct model *model)
{
	send_part(world, model, N_HOSTS);
	model->seq++;
	send_msg(world->engine, (struct msg){.type = MSG_FILL_END, .seq = model->seq});
	send_waiting(world, model);
}

static void somebody_changes_elements(const struct world *world, struct model *model)
{
	for (int i = 0; i < 3; i++) {
		struct fw_element element = {.addr = host_number(any(model, N_HOSTS)),
		                             .set = (uint8_t)any(model, FW_SET_COUNT),
		                             .is_deleted = any(model, 2),
		                             .timeout_secs = BY_HAND_SECS};
		assert_int_equal(fw_apply(world->eye, &element, 1), 0);
	}
}

static void next_engine(struct world *world)
{
	(void)close(world->engine);
	connect_engine(world);
	(void)await_type(world->engine, MSG_NEED_FILL);
}

/* What makes the role ask for a copy. */
static void something_happens(struct world *world, struct model *model, const char *more)
{
	switch (any(model, 4)) {
	case 0: /* the engine dies in the middle of a copy, and another one after it */
		next_engine(world);
		send_part(world, model, N_HOSTS / 2);
		next_engine(world);
		break;
	case 1:
		next_engine(world);
		break;
	case 2:
		(void)kill(world->pid, SIGKILL);
		(void)waitpid(world->pid, NULL, 0);
		(void)close(world->supervisor);
		(void)close(world->engine);
		role_start_child(world, more);
		(void)await_type(world->engine, MSG_NEED_FILL);
		break;
	case 3:
		(void)output_of("nft flush ruleset");
		(void)await_type(world->engine, MSG_NEED_FILL);
		break;
	}
	model->n_waiting = 0; /* a new copy begins behind all of it */
}

static void assert_host_is(const struct world *world, enum fw_set set, unsigned host, bool is_there)
{
	struct addr addr = host_number(host);
	if (fw_has(world->eye, set, &addr) != is_there) {
		fail_msg("host %u of set %u", host, set);
	}
}

/* Each with the life the store gives it. */
static void assert_sets_are(const struct world *world, const struct model *model)
{
	int n_wanted = 0;
	int n = 0;
	for (unsigned set = 0; set < FW_SET_COUNT; set++) {
		for (unsigned host = 0; host < N_HOSTS; host++) {
			assert_host_is(world, set, host, model->is_there[set][host]);
			n_wanted += model->is_there[set][host];
		}
	}
	const char *at = strstr(output_of("nft list table inet mired"), "timeout 1h expires");
	while (at) {
		n++;
		at = strstr(at + 1, "timeout 1h expires");
	}
	assert_int_equal(n, n_wanted);
}

static void whatever_happens_the_sets_end_as_the_store(void **state)
{
	static const char *const ways[] = {
	        "", "kernel-set-refresh = fallback\n",
	        "kernel-set-refresh = fallback\nkernel-set-destroy = fallback\n"};
	need_root();
	struct world *world = *state;
	struct model model = {.seed = (unsigned)time(NULL)};
	print_message("seed %u\n", model.seed);
	for (size_t way = 0; way < ARRAY_LEN(ways); way++) {
		role_start_child(world, ways[way]);
		(void)await_type(world->engine, MSG_NEED_FILL);
		for (int round = 0; round < N_ROUNDS; round++) {
			send_whole(world, &model);
			(void)await_done(world, model.seq);
			assert_sets_are(world, &model);
			somebody_changes_elements(world, &model);
			something_happens(world, &model, ways[way]);
		}
		assert_int_equal(await_end(world), ROLE_EXIT_OK);
	}
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
	        ROLE_TEST(whatever_happens_the_sets_end_as_the_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
