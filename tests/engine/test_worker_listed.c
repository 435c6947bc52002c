/* Listed and trapped clients at a real worker: with tables, domains and spamtraps as the daemon has
 * them, and a keeper played by the test. Every test of the dialogue runs with both ways of
 * accepting. */
#include "worker_world.h"

#include "engine/worker_impl.h"
#include "worker_lists.h"

static const char envelope[] =
        "HELO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<Trap@d.example>\r\n";
static const char mail[] = "Subject: x\r\n\r\nbody\r\n.\r\n";

static const struct list_row ONE_AND_TWO[] = {
        {"one", "%A is on one\\nask there", {"127.0.0.0/8", "::1"}},
        {"other", "not this one", {"192.0.2.0/24"}},
        {"two", "on two, too", {"127.0.0.1", "::/64"}},
};

static struct knowledge knowledge; /* one world at a time */

static int setup(void **state)
{
	(void)world_setup(state);
	struct world *world = *state;
	knowledge = (struct knowledge){.traps = trapset_new(world->hash_key)};
	world->env.knowledge = &knowledge;
	return knowledge.traps ? 0 : -1;
}

static int teardown(void **state)
{
	(void)world_teardown(state);
	lists_free(&knowledge);
	return 0;
}

static void set_trap(const char *address)
{
	assert_int_equal(trapset_add(knowledge.traps, span_of_str(address)), 0);
}

/* Says a whole mail to a server that reads it; what comes last is the caller's to expect. */
static int open_with_whole_mail(const struct world *world)
{
	int fd = client_open(world);
	client_say(fd, envelope);
	client_say(fd, "DATA\r\n");
	client_expect_envelope(fd);
	client_expect(fd, "354 ");
	client_say(fd, mail);
	return fd;
}

static void expect_last(const struct world *world, const char *text, const struct addr *peer,
                        uint16_t flags)
{
	struct world_keeper *keeper = (struct world_keeper *)&world->keeper;
	pthread_mutex_lock(&keeper->lock);
	assert_string_equal(keeper->last, text);
	assert_true(addr_equal(&keeper->last_peer, peer));
	assert_int_equal(keeper->last_flags, flags);
	pthread_mutex_unlock(&keeper->lock);
}

static struct addr addr_of(const char *text)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	return addr;
}

static void listed_host_is_told_of_all_its_lists(void **state)
{
	struct world *world = *state;
	lists_put(&knowledge, ONE_AND_TWO, 3);
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_NONE, 1000);
	int fd = open_with_whole_mail(world);
	client_expect(fd, "450-127.0.0.1 is on one");
	client_expect(fd, "450-ask there");
	client_expect(fd, "450 on two, too");
	client_expect_end(fd);
	assert_int_equal(world_count(world, COUNTER_class_listed), 1);
	assert_int_equal(world_count(world, COUNTER_class_trapped), 0);
	assert_int_equal(world_count(world, COUNTER_deferred), 1);
	assert_int_equal(atomic_load(&world->keeper.n_tuples), 0);
	close(fd);
}

static void listed_host_on_ipv6_is_told_with_550_where_that_is_set(void **state)
{
	struct world *world = *state;
	world->conf.listed_code = CONF_CODE_550;
	lists_put(&knowledge, ONE_AND_TWO, 3);
	world_start_sized(world, "::1", KEEPER_MAILBOX_BYTES);
	int fd = open_with_whole_mail(world);
	client_expect(fd, "550-::1 is on one");
	client_expect(fd, "550-ask there");
	client_expect(fd, "550 on two, too");
	client_expect_end(fd);
	close(fd);
}

static void listed_host_hears_a_byte_at_a_time_from_the_first_to_the_last(void **state)
{
	struct world *world = *state;
	world->session.stutter_ms = 20;
	world->session.grey_stutter_ms = 40;
	lists_put(&knowledge, ONE_AND_TWO, 1);
	world_start(world);
	struct mono began = clock_mono();
	int fd = open_with_whole_mail(world);
	client_expect(fd, "450-127.0.0.1 is on one");
	client_expect(fd, "450 ask there");
	client_expect_end(fd);
	/* It goes on counting while the client has not closed: no more than what has passed when it
	 * was read, no less than the pauses before all bytes but the first. */
	uint64_t n_secs = world_count(world, COUNTER_tarpit_seconds);
	uint64_t held_ms = (uint64_t)mono_diff_ms(clock_mono(), began);
	uint64_t n_bytes = world_count(world, COUNTER_bytes_stuttered);
	uint64_t paused_ms = (n_bytes - 1) * world->session.stutter_ms;
	assert_in_range(n_secs, paused_ms / MS_PER_SEC, held_ms / MS_PER_SEC);
	assert_int_equal(n_bytes, world_count(world, COUNTER_bytes_sent));
	close(fd);
}

static void trapped_host_on_a_list_is_told_both_and_the_trap_comes_last(void **state)
{
	struct world *world = *state;
	lists_put(&knowledge, ONE_AND_TWO, 1);
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_TRAPPED, 1000);
	int fd = open_with_whole_mail(world);
	client_expect(fd, "450-127.0.0.1 is on one");
	client_expect(fd, "450-ask there");
	client_expect(fd, "450 127.0.0.1 wrote to a trap");
	assert_int_equal(world_count(world, COUNTER_class_trapped), 1);
	close(fd);
}

/* The cache knows nothing of it: the keeper is asked, but nobody waits for it. */
static void listed_host_is_served_at_once_and_its_trap_is_shown_when_it_is_known(void **state)
{
	struct world *world = *state;
	lists_put(&knowledge, ONE_AND_TWO, 1);
	atomic_store(&world->keeper.host_answer, CACHE_TRAPPED);
	atomic_store(&world->keeper.hold, true);
	world_start(world);
	int fd = client_open(world);
	client_say(fd, envelope);
	client_expect_envelope(fd);
	atomic_store(&world->keeper.hold, false);
	world_wait_atomic(&world->keeper.n_hosts, 1);
	usleep(100 * 1000); /* the worker takes the answer at its next tick */
	client_say(fd, "DATA\r\n");
	client_expect(fd, "354 ");
	client_say(fd, mail);
	client_expect(fd, "450-127.0.0.1 is on one");
	client_expect(fd, "450-ask there");
	client_expect(fd, "450 127.0.0.1 wrote to a trap");
	close(fd);
}

static void long_messages_of_many_lists_are_said_whole(void **state)
{
	struct world *world = *state;
	char text[301];
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	struct list_row rows[LISTS_ROWS_MAX];
	for (size_t i = 0; i < LISTS_ROWS_MAX; i++) {
		rows[i] = (struct list_row){"list", text, {"127.0.0.0/8"}};
	}
	lists_put(&knowledge, rows, LISTS_ROWS_MAX);
	world_start(world);
	int fd = open_with_whole_mail(world);
	for (size_t i = 0; i < LISTS_ROWS_MAX; i++) {
		char line[WORLD_TEXT_MAX];
		client_line(fd, line);
		assert_int_equal(strlen(line), 304);
		assert_memory_equal(line, i + 1 < LISTS_ROWS_MAX ? "450-" : "450 ", 4);
	}
	client_expect_end(fd);
	close(fd);
}

/* Which lists it is on is asked when it is told: a pointer is never kept. */
static void list_that_goes_while_its_host_is_here_is_not_told(void **state)
{
	struct world *world = *state;
	lists_put(&knowledge, ONE_AND_TWO, 3);
	world_start(world);
	int fd = client_open(world);
	client_say(fd, envelope);
	client_expect_envelope(fd);
	lists_put(&knowledge, ONE_AND_TWO + 1, 2);
	client_say(fd, "DATA\r\n");
	client_expect(fd, "354 ");
	lists_put(&knowledge, ONE_AND_TWO + 1, 1);
	client_say(fd, mail);
	client_expect(fd, "450 Mail from your address is not accepted now");
	client_expect_end(fd);
	close(fd);
}

static void unlisted_host_is_read_and_deferred_where_nothing_is_greylisted(void **state)
{
	struct world *world = *state;
	world->conf.blacklist_only = true;
	lists_put(&knowledge, ONE_AND_TWO + 1, 1);
	set_trap("trap@d.example");
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_TRAPPED, 1000);
	int fd = open_with_whole_mail(world);
	client_expect(fd, "451 Temporary failure, please try again later.");
	client_expect_end(fd);
	close(fd);
	world_wait_now(world, 0);
	lists_put(&knowledge, ONE_AND_TWO, 1);
	fd = open_with_whole_mail(world);
	client_expect(fd, "450-127.0.0.1 is on one");
	client_expect(fd, "450 ask there");
	client_expect_end(fd);
	assert_int_equal(atomic_load(&world->keeper.n_hosts), 0);
	assert_int_equal(atomic_load(&world->keeper.n_tuples), 0);
	assert_int_equal(world_count(world, COUNTER_trap_hits), 0);
	close(fd);
}

static void listed_hosts_beyond_the_bound_are_not_stuttered(void **state)
{
	struct world *world = *state;
	world->session.stutter_ms = 100;
	world->env.max_listed = 1;
	lists_put(&knowledge, ONE_AND_TWO, 1);
	world_start(world);
	int stuttered = client_open(world);
	char byte;
	assert_true(client_byte(stuttered, &byte));
	int fd = open_with_whole_mail(world);
	client_expect(fd, "450-127.0.0.1 is on one");
	client_expect(fd, "450 ask there");
	client_expect_end(fd);
	assert_int_equal(world_count(world, COUNTER_listed_unstuttered), 1);
	assert_in_range(world_count(world, COUNTER_bytes_stuttered), 1, 60);
	close(fd);
	close(stuttered);
	world_wait_now(world, 0);
	assert_int_equal(atomic_load(&world->n_listed), 0);
}

static void mail_to_a_spamtrap_makes_a_grey_host_a_listed_one_at_once(void **state)
{
	struct world *world = *state;
	struct addr peer = addr_of("127.0.0.1");
	set_trap("trap@d.example");
	world_start(world);
	int fd = open_with_whole_mail(world);
	client_expect(fd, "450 127.0.0.1 wrote to a trap");
	client_expect_end(fd);
	assert_int_equal(world_count(world, COUNTER_trap_hits), 1);
	assert_int_equal(world_count(world, COUNTER_class_grey), 1);
	expect_last(world, "client.example <a@b.example> <Trap@d.example>", &peer, KEEPER_IS_TRAP);
	close(fd);
}

/* On disk and too early: without the trap nobody would wait for the keeper. */
static void known_early_tuple_does_not_hide_a_trap_hit(void **state)
{
	struct world *world = *state;
	struct addr peer = addr_of("127.0.0.1");
	set_trap("trap@d.example");
	world_start(world);
	struct tuple_text text = {SPAN("client.example"), SPAN("<a@b.example>"),
	                          SPAN("<Trap@d.example>")};
	world_put_tuple(world, &peer, &text);
	int fd = open_with_whole_mail(world);
	client_expect(fd, "450 127.0.0.1 wrote to a trap");
	expect_last(world, "client.example <a@b.example> <Trap@d.example>", &peer, KEEPER_IS_TRAP);
	close(fd);
}

static void trap_hit_goes_by_the_whole_address(void **state)
{
	struct world *world = *state;
	struct addr peer = addr_of("::1");
	set_trap("trap@d.example");
	world_start_sized(world, "::1", KEEPER_MAILBOX_BYTES);
	int fd = open_with_whole_mail(world);
	client_expect(fd, "450 ::1 wrote to a trap");
	expect_last(world, "client.example <a@b.example> <Trap@d.example>", &peer, KEEPER_IS_TRAP);
	close(fd);
}

static void domain_that_is_not_allowed_traps(void **state)
{
	struct world *world = *state;
	lists_put_domains(&knowledge, "example.com\n@d.example\n");
	world_start(world);
	int fd = client_open(world);
	client_say(fd, envelope);
	client_expect_envelope(fd);
	assert_int_equal(world_count(world, COUNTER_trap_hits), 0);
	client_say(fd, "RCPT TO:<x@notexample.com>\r\nDATA\r\n");
	client_expect(fd, "250 ");
	client_expect(fd, "354 ");
	client_say(fd, mail);
	client_expect(fd, "450 127.0.0.1 wrote to a trap");
	assert_int_equal(world_count(world, COUNTER_trap_hits), 1);
	close(fd);
}

static void whitelisted_host_that_writes_to_a_trap_is_listed(void **state)
{
	struct world *world = *state;
	struct addr peer = addr_of("127.0.0.1");
	set_trap("trap@d.example");
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_WHITE, 1000);
	int fd = open_with_whole_mail(world);
	client_expect(fd, "450 127.0.0.1 wrote to a trap");
	client_expect_end(fd);
	world_wait_atomic(&world->keeper.n_tuples, 1);
	expect_last(world, "client.example <a@b.example> <Trap@d.example>", &peer, KEEPER_IS_TRAP);
	close(fd);
}

static void each_hit_of_a_listed_host_is_told_to_the_keeper(void **state)
{
	struct world *world = *state;
	set_trap("trap@d.example");
	lists_put(&knowledge, ONE_AND_TWO, 1);
	world_start(world);
	atomic_store(&world->keeper.hold, true); /* nobody waits for it */
	int fd = client_open(world);
	client_say(fd, envelope);
	client_say(fd, "RCPT TO:<other@d.example>\r\nRCPT TO:<trap@D.example>\r\nDATA\r\n");
	client_expect_envelope(fd);
	client_expect(fd, "250 ");
	client_expect(fd, "250 ");
	client_expect(fd, "354 ");
	client_say(fd, mail);
	client_expect(fd, "450-127.0.0.1 is on one");
	client_expect(fd, "450-ask there");
	client_expect(fd, "450 127.0.0.1 wrote to a trap");
	atomic_store(&world->keeper.hold, false);
	world_wait_atomic(&world->keeper.n_tuples, 2);
	assert_int_equal(world_count(world, COUNTER_trap_hits), 2);
	close(fd);
}

static void without_helo_there_is_no_hit(void **state)
{
	struct world *world = *state;
	set_trap("trap@d.example");
	world_start(world);
	int fd = client_open(world);
	client_say(fd, "MAIL FROM:<a@b.example>\r\nRCPT TO:<trap@d.example>\r\nDATA\r\n");
	client_expect(fd, "220 ");
	client_expect(fd, "250 ");
	client_expect(fd, "250 ");
	client_expect(fd, "451 ");
	assert_int_equal(world_count(world, COUNTER_trap_hits), 0);
	assert_int_equal(world_count(world, COUNTER_tuples_no_helo), 1);
	assert_int_equal(atomic_load(&world->keeper.n_tuples), 0);
	close(fd);
}

static void low_priority_mx_is_told_to_the_keeper_and_its_word_lists_the_host(void **state)
{
	struct world *world = *state;
	struct addr peer = addr_of("127.0.0.1");
	world->listener.is_low_priority = true;
	atomic_store(&world->keeper.stored_answer, CACHE_TRAPPED);
	atomic_store(&world->keeper.hold, true);
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_NONE, 1000);
	int fd = client_open(world);
	client_say(fd, envelope);
	client_say(fd, "DATA\r\n");
	client_expect_envelope(fd);
	usleep(200 * 1000); /* DATA waits for the keeper's word on the RCPT before it */
	atomic_store(&world->keeper.hold, false);
	client_expect(fd, "354 ");
	expect_last(world, "client.example <a@b.example> <Trap@d.example>", &peer,
	            KEEPER_IS_LOW_PRIORITY);
	client_say(fd, mail);
	client_expect(fd, "450 127.0.0.1 wrote to a trap");
	assert_int_equal(world_count(world, COUNTER_trap_hits), 0);
	close(fd);
}

static void low_priority_mx_does_not_wait_for_a_keeper_longer_than_store_wait(void **state)
{
	struct world *world = *state;
	world->listener.is_low_priority = true;
	world->session.store_wait_ms = 200;
	atomic_store(&world->keeper.hold, true);
	world_start(world);
	world_put_host(world, "127.0.0.1", CACHE_NONE, 1000);
	int fd = client_open(world);
	client_say(fd, envelope);
	client_say(fd, "DATA\r\n");
	client_expect_envelope(fd);
	client_expect(fd, "451 ");
	client_expect_end(fd);
	assert_int_equal(world_count(world, COUNTER_deferred_unstored), 1);
	close(fd);
}

/* --- the log ------------------------------------------------------------------------------------
 */

static void tags_for_the_log_end_with_dots_before_they_are_too_long(void **state)
{
	static const char ten[] = "tag-of-ten";
	static const char five[] = "five5";
	static const struct {
		const char *tags[LISTS_ROWS_MAX];
		bool is_trapped;
		const char *text;
	} rows[] = {
	        {{NULL}, true, " spamd-greytrap"},
	        {{"uatraps", "nixspam"}, false, " uatraps nixspam"},
	        {{"uatraps", "nixspam"}, true, " uatraps nixspam spamd-greytrap"},
	        {{"b d\n"}, false, " b d\\x0a"},
	        {{ten, ten, ten, ten, ten, ten, "tag8tag8"},
	         false,
	         " tag-of-ten tag-of-ten tag-of-ten tag-of-ten tag-of-ten tag-of-ten tag8tag8"},
	        {{ten, ten, ten, ten, ten, ten, "tag9tag9t", "x"},
	         false,
	         " tag-of-ten tag-of-ten tag-of-ten tag-of-ten tag-of-ten tag-of-ten ..."},
	        {{ten, ten, ten, ten, ten, five},
	         true,
	         " tag-of-ten tag-of-ten tag-of-ten tag-of-ten tag-of-ten five5 ..."},
	};
	struct worker *worker = aligned_alloc(CACHE_LINE, sizeof *worker);
	(void)state;
	assert_non_null(worker);
	memset(worker, 0, sizeof *worker);
	knowledge = (struct knowledge){.traps = NULL};
	worker->env.knowledge = &knowledge;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct list_row lists[LISTS_ROWS_MAX];
		size_t n = 0;
		for (; n < LISTS_ROWS_MAX && rows[i].tags[n]; n++) {
			lists[n] = (struct list_row){rows[i].tags[n], "no", {"192.0.2.0/24"}};
		}
		lists_put(&knowledge, lists, n);
		struct conn conn = {.cls = SESSION_LISTED, .is_trapped = rows[i].is_trapped};
		conn.peer = addr_of("192.0.2.7");
		char out[TAGS_BYTES_MAX + sizeof " ..."];
		qsbr_register();
		assert_string_equal(worker_list_tags(worker, &conn, out), rows[i].text);
		conn.cls = SESSION_GREY;
		assert_string_equal(worker_list_tags(worker, &conn, out), "");
		qsbr_unregister();
	}
	lists_free(&knowledge);
	free(worker);
}

/* --- others replace what the worker reads
 * --------------------------------------------------------- */

static _Atomic bool is_over;

static void *swap_lists(void *arg)
{
	_Atomic uint32_t *n_swaps = arg;
	while (!atomic_load(&is_over)) {
		lists_put(&knowledge, ONE_AND_TWO, 1);
		lists_put(&knowledge, ONE_AND_TWO + 2, 1);
		lists_put_domains(&knowledge, "d.example\n");
		lists_put_domains(&knowledge, "@d.example\nexample.com\n");
		atomic_fetch_add(n_swaps, 1);
	}
	return NULL;
}

static void lists_are_replaced_while_their_hosts_come_and_go(void **state)
{
	enum { CLIENTS = 100 };
	struct world *world = *state;
	_Atomic uint32_t n_swaps = 0;
	pthread_t swapper;
	lists_put(&knowledge, ONE_AND_TWO, 1);
	world_start(world);
	atomic_store(&is_over, false);
	assert_int_equal(pthread_create(&swapper, NULL, swap_lists, &n_swaps), 0);
	for (int i = 0; i < CLIENTS; i++) {
		int fd = open_with_whole_mail(world);
		char line[WORLD_TEXT_MAX];
		client_line(fd, line);
		assert_true(strcmp(line, "450-127.0.0.1 is on one") == 0 ||
		            strcmp(line, "450 on two, too") == 0);
		close(fd);
	}
	atomic_store(&is_over, true);
	pthread_join(swapper, NULL);
	assert_int_equal(world_count(world, COUNTER_class_listed), CLIENTS);
	assert_int_equal(world_count(world, COUNTER_trap_hits), 0);
	assert_true(atomic_load(&n_swaps) >= 10);
}

// clang-format off
#define WAY(test, feature)                                                                         \
	{#test " (" #feature ")", test, setup, teardown, (void *)(uintptr_t)CONF_FEATURE_##feature}
#define BOTH_WAYS(test) WAY(test, AUTO), WAY(test, FALLBACK)
// clang-format on

int main(void)
{
	const struct CMUnitTest tests[] = {
	        BOTH_WAYS(listed_host_is_told_of_all_its_lists),
	        BOTH_WAYS(listed_host_on_ipv6_is_told_with_550_where_that_is_set),
	        BOTH_WAYS(listed_host_hears_a_byte_at_a_time_from_the_first_to_the_last),
	        BOTH_WAYS(trapped_host_on_a_list_is_told_both_and_the_trap_comes_last),
	        BOTH_WAYS(listed_host_is_served_at_once_and_its_trap_is_shown_when_it_is_known),
	        BOTH_WAYS(long_messages_of_many_lists_are_said_whole),
	        BOTH_WAYS(list_that_goes_while_its_host_is_here_is_not_told),
	        BOTH_WAYS(unlisted_host_is_read_and_deferred_where_nothing_is_greylisted),
	        BOTH_WAYS(listed_hosts_beyond_the_bound_are_not_stuttered),
	        BOTH_WAYS(mail_to_a_spamtrap_makes_a_grey_host_a_listed_one_at_once),
	        BOTH_WAYS(known_early_tuple_does_not_hide_a_trap_hit),
	        BOTH_WAYS(trap_hit_goes_by_the_whole_address),
	        BOTH_WAYS(domain_that_is_not_allowed_traps),
	        BOTH_WAYS(whitelisted_host_that_writes_to_a_trap_is_listed),
	        BOTH_WAYS(each_hit_of_a_listed_host_is_told_to_the_keeper),
	        BOTH_WAYS(without_helo_there_is_no_hit),
	        BOTH_WAYS(low_priority_mx_is_told_to_the_keeper_and_its_word_lists_the_host),
	        BOTH_WAYS(low_priority_mx_does_not_wait_for_a_keeper_longer_than_store_wait),
	        BOTH_WAYS(lists_are_replaced_while_their_hosts_come_and_go),
	        cmocka_unit_test(tags_for_the_log_end_with_dots_before_they_are_too_long),
	};
	return cmocka_run_group_tests(tests, quiet_log_open, quiet_log_close);
}
