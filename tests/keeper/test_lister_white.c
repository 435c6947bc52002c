/* What follows from lists: hosts that are white no more, readers that see whole tables, the
 * kernel's networks; and the allowed domains. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/socket.h>

#include "lister_fixture.h"

/* --- white hosts ------------------------------------------------------------------------------ */

static bool is_white(struct fixture *fix, const char *text)
{
	struct grey_record record;
	return world_host(&fix->world, text, RECORD_WHITE, &record);
}

static bool is_gone_soon(struct fixture *fix, const char *text)
{
	for (int i = 0; i < WORLD_WAIT_MS; i++) {
		if (!is_white(fix, text)) {
			return true;
		}
		world_sleep_ms(1);
	}
	return false;
}

static bool count_reaches(struct fixture *fix, enum counter which, uint64_t n)
{
	for (int i = 0; i < WORLD_WAIT_MS && lister_count(fix, which) < n; i++) {
		world_sleep_ms(1);
	}
	return lister_count(fix, which) == n;
}

static void a_white_host_on_a_new_list_is_white_no_more(void **state)
{
	struct fixture *fix = *state;
	lister_all_off(fix);
	world_seed_host(&fix->world, "192.0.2.7", RECORD_WHITE, 1000);
	world_seed_host(&fix->world, "198.51.100.7", RECORD_WHITE, 1000);
	world_seed_host(&fix->world, "192.0.2.8", RECORD_TRAPPED, 1000);
	lister_all_on(fix);
	lister_put(fix, "a;\"x\";inet;1;192.0.2.0/24;\n");
	assert_true(is_gone_soon(fix, "192.0.2.7"));
	assert_true(count_reaches(fix, COUNTER_hosts_delisted, 1));
	assert_true(is_white(fix, "198.51.100.7"));
	struct grey_record record;
	assert_true(world_host(&fix->world, "192.0.2.8", RECORD_TRAPPED, &record));
	struct lister_figures figures;
	lister_figures_get(fix->lister, &figures);
	assert_int_equal(figures.n_delisted, 1);
}

/* A white IPv6 host is a /64: one listed address of it is enough, and a neighbour's is not. */
static void an_ipv6_network_is_listed_with_any_of_its_addresses(void **state)
{
	struct fixture *fix = *state;
	lister_all_off(fix);
	world_seed_host(&fix->world, "2001:db8:0:1::", RECORD_WHITE, 1000);
	world_seed_host(&fix->world, "2001:db8:0:2::", RECORD_WHITE, 1000);
	world_seed_host(&fix->world, "2001:db8:0:3::", RECORD_WHITE, 1000);
	world_seed_host(&fix->world, "2001:db8:9:9::", RECORD_WHITE, 1000);
	lister_all_on(fix);
	lister_put(fix, "a;\"x\";inet;1;10.0.0.0/8;inet6;3;2001:db8:0:1:ffff:ffff:ffff:ffff/128;"
	                "2001:db8:0:3::/128;2001:db8:9::/48;\n");
	assert_true(is_gone_soon(fix, "2001:db8:0:1::"));
	assert_true(is_gone_soon(fix, "2001:db8:0:3::"));
	assert_true(is_gone_soon(fix, "2001:db8:9:9::"));
	assert_true(count_reaches(fix, COUNTER_hosts_delisted, 3));
	assert_true(is_white(fix, "2001:db8:0:2::"));
}

static void seed_many(struct fixture *fix, uint32_t first, uint32_t n)
{
	struct grey_record record = {.first = clock_wall(), .expire = {world_now_secs() + 1000}};
	for (uint32_t i = 0; i < n;) {
		struct store_txn txn;
		store_begin(fix->world.store, &txn, clock_wall());
		for (uint32_t end = i + 500; i < n && i < end; i++) {
			struct addr addr = addr_from_v4_be(htonl(first + i));
			store_put_host(&txn, &addr, RECORD_WHITE, &record);
		}
		assert_int_equal(store_commit(&txn), 0);
	}
}

static void more_hosts_than_the_keeper_takes_at_once_are_all_taken_off(void **state)
{
	enum { N = 10000, LISTED = 8192 };
	struct fixture *fix = *state;
	struct store_stats stats;
	lister_all_off(fix);
	seed_many(fix, 0x0a000000, N);
	lister_all_on(fix);
	struct mono begun = clock_mono();
	lister_put(fix, "a;\"x\";inet;1;10.0.0.0/19;\n"); /* 8192 of them */
	assert_true(count_reaches(fix, COUNTER_hosts_delisted, LISTED));
	print_message("%d of %d white hosts taken off in %lld ms\n", LISTED, N,
	              (long long)mono_diff_ms(clock_mono(), begun));
	assert_int_equal(store_stats_get(fix->world.reader, &stats), 0);
	assert_int_equal(stats.n_hosts, N - LISTED);
}

static void hosts_that_a_killed_process_left_white_are_taken_off_at_the_start(void **state)
{
	struct fixture *fix = *state;
	lister_put(fix, "a;\"x\";inet;1;192.0.2.0/24;\n");
	lister_all_off(fix);
	world_seed_host(&fix->world, "192.0.2.7", RECORD_WHITE, 1000);
	lister_all_on(fix);
	assert_true(is_gone_soon(fix, "192.0.2.7"));
}

/* --- readers ---------------------------------------------------------------------------------- */

enum { SWAPS = 200, READERS = 2 };

struct reader {
	const struct knowledge *knowledge;
	_Atomic bool must_stop;
	uint64_t n_looks;
	uint64_t n_halves; /* tables that were neither of the two */
};

/* Each table lists exactly one of the two networks. */
static void *reader_main(void *arg)
{
	struct reader *reader = arg;
	struct addr even = world_addr("10.0.0.9");
	struct addr odd = world_addr("10.1.0.9");
	qsbr_register();
	while (!atomic_load(&reader->must_stop)) {
		const struct list_table *table = knowledge_lists(reader->knowledge);
		lists_mask a = list_table_find(table, &even);
		lists_mask b = list_table_find(table, &odd);
		reader->n_halves += (a ^ b) != 1;
		reader->n_looks++;
		qsbr_quiescent();
	}
	qsbr_unregister();
	return NULL;
}

static void readers_see_one_whole_table_or_the_other(void **state)
{
	static const char *const lines[] = {"a;\"x\";inet;1;10.0.0.0/16;\n",
	                                    "a;\"y\";inet;2;10.1.0.0/17;10.1.128.0/17;\n"};
	struct fixture *fix = *state;
	struct reader readers[READERS];
	pthread_t threads[READERS];
	lister_put(fix, lines[1]);
	for (int i = 0; i < READERS; i++) {
		readers[i] = (struct reader){.knowledge = &fix->knowledge};
		assert_int_equal(pthread_create(&threads[i], NULL, reader_main, &readers[i]), 0);
	}
	for (int i = 0; i < SWAPS; i++) {
		lister_put(fix, lines[i % 2]);
	}
	for (int i = 0; i < READERS; i++) {
		atomic_store(&readers[i].must_stop, true);
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_true(readers[i].n_looks > SWAPS);
		assert_int_equal(readers[i].n_halves, 0);
	}
}

/* --- blacklist-only --------------------------------------------------------------------------- */

struct ranges {
	struct addr_range at[16];
	size_t n;
};

/* Takes messages until a set of ranges is complete. */
static void receive_ranges(int role, struct ranges *out)
{
	struct msg *msg = malloc(sizeof *msg);
	assert_non_null(msg);
	do {
		struct pollfd pfd = {.fd = role, .events = POLLIN};
		assert_int_equal(poll(&pfd, 1, WORLD_WAIT_MS), 1);
		assert_int_equal(msg_recv(role, msg), 0);
		out->n = msg->type == MSG_RANGES_BEGIN ? 0 : out->n;
		for (size_t i = 0; msg->type == MSG_RANGES && i < msg->n_ranges; i++) {
			assert_true(out->n < ARRAY_LEN(out->at));
			out->at[out->n++] = msg->ranges[i];
		}
	} while (msg->type != MSG_RANGES_END);
	free(msg);
}

static void assert_range(const struct addr_range *range, const char *first, const char *last)
{
	char text[ADDR_TEXT_MAX];
	assert_string_equal(addr_format(&range->first, text), first);
	assert_string_equal(addr_format(&range->last, text), last);
}

static void in_blacklist_only_mode_the_kernel_gets_the_union_of_all_lists(void **state)
{
	struct fixture *fix = *state;
	struct feeder_env env = {.conf = &fix->world.conf,
	                         .store = fix->world.store,
	                         .wake = fix->world.wake_feeder,
	                         .reasserts = fix->world.reasserts};
	struct ranges ranges = {.n = 0};
	int fds[2];
	assert_int_equal(feeder_start(&fix->feeder, &env), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	fix->world.conf.blacklist_only = true;
	lister_restart(fix);
	feeder_set_channel(fix->feeder, fds[1]);
	receive_ranges(fds[0], &ranges);
	assert_int_equal(ranges.n, 0);
	lister_put(fix, "a;\"x\";inet;1;192.0.2.0/25;inet6;1;2001:db8::/32;\n"
	                "b;\"x\";inet;2;192.0.2.128/25;198.51.100.7/32;\n");
	receive_ranges(fds[0], &ranges);
	assert_int_equal(ranges.n, 3);
	assert_range(&ranges.at[0], "192.0.2.0", "192.0.2.255");
	assert_range(&ranges.at[1], "198.51.100.7", "198.51.100.7");
	assert_range(&ranges.at[2], "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
	assert_int_equal(lister_ask(fix, LISTER_DROP, "b").ret, 0);
	receive_ranges(fds[0], &ranges);
	assert_int_equal(ranges.n, 2);
	assert_range(&ranges.at[0], "192.0.2.0", "192.0.2.127");
	(void)close(fds[0]);
}

/* --- allowed domains -------------------------------------------------------------------------- */

static bool is_allowed(struct fixture *fix, const char *address)
{
	qsbr_online();
	bool is_ok = domains_allow(knowledge_domains(&fix->knowledge), span_of_str(address));
	qsbr_offline();
	return is_ok;
}

static void allowed_domains_are_replaced_as_one(void **state)
{
	struct fixture *fix = *state;
	struct lister_figures figures;
	assert_true(is_allowed(fix, "anybody@example.org"));
	assert_int_equal(lister_ask(fix, LISTER_DOMAINS, "# ours\nexample.com\n").ret, 0);
	assert_true(is_allowed(fix, "a@example.com"));
	assert_false(is_allowed(fix, "a@notexample.com"));
	assert_int_equal(lister_ask(fix, LISTER_DOMAINS, "example.org\n@example.net\n").ret, 0);
	assert_false(is_allowed(fix, "a@example.com"));
	assert_true(is_allowed(fix, "a@example.net"));
	lister_figures_get(fix->lister, &figures);
	assert_int_equal(figures.n_domains, 2);
	assert_int_equal(lister_ask(fix, LISTER_DOMAINS, "").ret, 0);
	assert_true(is_allowed(fix, "anybody@example.com"));
}

static void a_bad_domain_is_named_and_the_others_are_loaded(void **state)
{
	struct fixture *fix = *state;
	struct lister_result result =
	        lister_ask(fix, LISTER_DOMAINS, "example.com\nnot a domain\nexample.org\n");
	assert_int_equal(result.ret, ERR_SYNTAX);
	assert_memory_equal(result.why, "alloweddomains:2: ", 18);
	assert_true(is_allowed(fix, "a@example.com"));
	assert_true(is_allowed(fix, "a@example.org"));
	assert_false(is_allowed(fix, "a@example.net"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        LISTER_TEST(a_white_host_on_a_new_list_is_white_no_more),
	        LISTER_TEST(an_ipv6_network_is_listed_with_any_of_its_addresses),
	        LISTER_TEST(more_hosts_than_the_keeper_takes_at_once_are_all_taken_off),
	        LISTER_TEST(hosts_that_a_killed_process_left_white_are_taken_off_at_the_start),
	        LISTER_TEST(readers_see_one_whole_table_or_the_other),
	        LISTER_TEST(in_blacklist_only_mode_the_kernel_gets_the_union_of_all_lists),
	        LISTER_TEST(allowed_domains_are_replaced_as_one),
	        LISTER_TEST(a_bad_domain_is_named_and_the_others_are_loaded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
