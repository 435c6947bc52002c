/* Counting held connections: classes, lists, those held longest, networks with most. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/held.h"
#include "policy/cidr.h"

enum { NOW_MS = 1000000 };

static struct held *held;
static struct held *other;
static const struct held_query ALL = {0};

static int setup(void **state)
{
	(void)state;
	held = calloc(1, sizeof *held);
	other = calloc(1, sizeof *other);
	held_begin(held, &ALL, 0);
	held_begin(other, &ALL, 0);
	return held && other ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(held);
	free(other);
	return 0;
}

static struct addr addr_of(const char *text)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	return addr;
}

static struct conn conn_of(const char *text, enum session_class cls, uint32_t age_ms)
{
	struct conn conn = {0};
	conn.peer = addr_of(text);
	conn.phase = CONN_OPEN;
	conn.cls = (unsigned)cls & 7U;
	conn.session.opened.ms = NOW_MS - age_ms;
	conn.session.state = DIALOGUE_START;
	return conn;
}

static void add_to(struct held *to, const struct list_table *table, const struct conn *conn)
{
	struct held_view view;
	held_view_init(&view, to, table, (struct mono_ms){NOW_MS});
	held_add(to, &view, conn);
}

static void add(const struct conn *conn)
{
	add_to(held, NULL, conn);
}

/* Tables of one network a list. */
static struct list_table *table_of(const char *const *names, const char *const *networks, size_t n)
{
	enum { N_MAX = 4 };
	struct list_table *table;
	struct list_source sources[N_MAX];
	struct list_ranges *ranges[N_MAX];
	assert_true(n <= N_MAX);
	for (size_t i = 0; i < n; i++) {
		struct cidr cidr;
		assert_int_equal(cidr_parse(span_of_str(networks[i]), &cidr, NULL), 0);
		assert_int_equal(list_ranges_new(&cidr, 1, &ranges[i]), 0);
		sources[i] = (struct list_source){span_of_str(names[i]), SPAN("text"), ranges[i]};
	}
	assert_int_equal(list_table_build(sources, n, &table), 0);
	for (size_t i = 0; i < n; i++) {
		list_ranges_free(ranges[i]);
	}
	return table;
}

static uint32_t count_of_list(const struct held *of, const char *name)
{
	for (uint32_t i = 0; i < of->n_lists; i++) {
		if (span_equal(span_of(of->lists[i].tag, of->lists[i].tag_len),
		               span_of_str(name))) {
			return of->lists[i].n;
		}
	}
	return 0;
}

/* --- classes and states --- */

static void a_listed_connection_counts_as_trapped_when_its_host_is(void **state)
{
	(void)state;
	struct conn conn = conn_of("192.0.2.1", SESSION_LISTED, 0);
	add(&conn);
	conn.is_trapped = true;
	add(&conn);
	conn = conn_of("192.0.2.1", SESSION_GREY, 0);
	conn.session.state = DIALOGUE_BANNER;
	add(&conn);
	assert_int_equal(held->n, 3);
	assert_int_equal(held->n_class[HELD_LISTED], 1);
	assert_int_equal(held->n_class[HELD_TRAPPED], 1);
	assert_int_equal(held->n_class[HELD_GREY], 1);
	assert_int_equal(held->n_state[DIALOGUE_START], 2);
	assert_int_equal(held->n_state[DIALOGUE_BANNER], 1);
}

static void each_class_has_a_name_and_a_count(void **state)
{
	(void)state;
	static const struct {
		enum session_class cls;
		enum held_class held_as;
		const char *name;
	} rows[] = {
	        {SESSION_UNKNOWN, HELD_UNKNOWN, "unknown"}, {SESSION_GREY, HELD_GREY, "grey"},
	        {SESSION_WHITE, HELD_WHITE, "white"},       {SESSION_LISTED, HELD_LISTED, "listed"},
	        {SESSION_PASSIVE, HELD_PASSIVE, "passive"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conn conn = conn_of("192.0.2.1", rows[i].cls, 0);
		add(&conn);
		assert_int_equal(held->n_class[rows[i].held_as], 1);
		assert_string_equal(held_class_name(rows[i].held_as), rows[i].name);
	}
	assert_string_equal(held_class_name(HELD_TRAPPED), "trapped");
}

/* --- lists --- */

static void a_connection_counts_for_every_list_that_holds_it(void **state)
{
	(void)state;
	static const char *const names[] = {"one", "two"};
	static const char *const networks[] = {"192.0.2.0/24", "192.0.2.128/25"};
	struct list_table *table = table_of(names, networks, 2);
	struct conn both = conn_of("192.0.2.200", SESSION_LISTED, 5000);
	struct conn first = conn_of("192.0.2.1", SESSION_LISTED, 4000);
	struct conn grey = conn_of("192.0.2.1", SESSION_GREY, 3000); /* listed since it came */
	add_to(held, table, &both);
	add_to(held, table, &first);
	add_to(held, table, &grey);
	assert_int_equal(count_of_list(held, "one"), 2);
	assert_int_equal(count_of_list(held, "two"), 1);
	assert_int_equal(held->longest[0].n_lists, 2);
	assert_int_equal(held->longest[0].list, 0);
	assert_int_equal(held->longest[2].list, HELD_NO_LIST);
	list_table_free(table);
}

static void a_table_replaced_while_one_looks_keeps_counts_by_name(void **state)
{
	(void)state;
	static const char *const names[] = {"one", "two"};
	static const char *const other_names[] = {"two", "new"};
	static const char *const networks[] = {"192.0.2.0/24", "198.51.100.0/24"};
	static const char *const other_networks[] = {"198.51.100.0/24", "192.0.2.0/24"};
	struct list_table *before = table_of(names, networks, 2);
	struct list_table *after = table_of(other_names, other_networks, 2);
	struct conn conn = conn_of("198.51.100.7", SESSION_LISTED, 0);
	add_to(held, before, &conn);
	add_to(held, after, &conn);
	conn = conn_of("192.0.2.7", SESSION_LISTED, 0);
	add_to(held, after, &conn);
	assert_int_equal(count_of_list(held, "one"), 0);
	assert_int_equal(count_of_list(held, "two"), 2);
	assert_int_equal(count_of_list(held, "new"), 1);
	list_table_free(before);
	list_table_free(after);
}

static void with_very_many_listed_connections_a_few_stand_for_all(void **state)
{
	(void)state;
	enum { N = 4 * HELD_LOOKUPS_MAX };
	static const char *const names[] = {"one", "two"};
	static const char *const networks[] = {"192.0.2.0/24", "192.0.2.0/25"};
	struct list_table *table = table_of(names, networks, 2);
	held_begin(held, &ALL, N);
	for (uint32_t i = 0; i < N; i++) {
		/* five of eight are on both lists */
		struct conn conn = conn_of(i % 8 < 5 ? "192.0.2.1" : "192.0.2.200", SESSION_LISTED,
		                           i % 16 * 5 % 16);
		add_to(held, table, &conn);
	}
	assert_int_equal(held->n_class[HELD_LISTED], N);
	assert_in_range(count_of_list(held, "one"), N - N / 50, N + N / 50);
	assert_in_range(count_of_list(held, "two"), N * 6 / 10, N * 65 / 100);
	assert_true(held->has_estimates);
	assert_int_equal(held->longest[0].age_ms, 15);
	assert_int_equal(held->longest[0].n_lists, 2);
	held_merge(other, held);
	assert_true(other->has_estimates);
	list_table_free(table);
}

/* --- those held longest --- */

static void the_longest_are_kept_in_order_whatever_order_they_come_in(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 10 * HELD_LONGEST_MAX; i++) {
		struct conn conn = conn_of("192.0.2.1", SESSION_GREY, i * 7919 % 1000);
		conn.session.sent_bytes = i;
		add(&conn);
	}
	assert_int_equal(held->n_longest, HELD_LONGEST_MAX);
	for (uint32_t i = 0; i < HELD_LONGEST_MAX; i++) {
		assert_int_equal(held->longest[i].age_ms, 999 - i);
		assert_int_equal(held->longest[i].sent_bytes * 7919 % 1000, 999 - i);
	}
}

static void an_age_beyond_half_the_range_of_its_clock_is_an_age(void **state)
{
	(void)state;
	struct conn conn = conn_of("192.0.2.1", SESSION_LISTED, UINT32_C(30) * 86400 * 1000);
	add(&conn);
	assert_int_equal(held->longest[0].age_ms, UINT32_C(30) * 86400 * 1000);
}

/* --- networks --- */

static void networks_are_v4_24_and_v6_48_most_first(void **state)
{
	(void)state;
	static const char *const peers[] = {
	        "192.0.2.1",          "192.0.2.255",    "192.0.3.1",    "2001:db8:1::1",
	        "2001:db8:1:ffff::2", "2001:db8:1:2::", "2001:db8:2::1"};
	static const struct {
		const char *network;
		unsigned bits, n;
	} wanted[] = {{"2001:db8:1::", 48, 3}, {"192.0.2.0", 24, 2}};
	struct held_top tops[HELD_NETWORKS_MAX];
	for (size_t i = 0; i < ARRAY_LEN(peers); i++) {
		struct conn conn = conn_of(peers[i], SESSION_GREY, 0);
		add(&conn);
	}
	assert_int_equal(held_top_networks(held, tops, HELD_NETWORKS_MAX), 4);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		struct addr network = addr_of(wanted[i].network);
		assert_true(addr_equal(&tops[i].network, &network));
		assert_int_equal(tops[i].bits, wanted[i].bits);
		assert_int_equal(tops[i].n, wanted[i].n);
	}
	assert_int_equal(held_top_networks(held, tops, 2), 2);
	assert_int_equal(tops[1].n, 2);
	assert_int_equal(held_top_networks(held, tops, 0), 0);
	assert_true(held->is_exact);
}

/* 40,000 networks of one connection each, and three of many, mixed among them. */
static void heavy_networks_are_found_among_more_than_there_is_room_for(void **state)
{
	(void)state;
	struct held_top tops[3];
	for (uint32_t i = 0; i < 40000; i++) {
		char text[ADDR_TEXT_MAX];
		(void)snprintf(text, sizeof text, "10.%u.%u.1", i >> 8, i & 255);
		struct conn conn = conn_of(text, SESSION_GREY, 0);
		add(&conn);
		if (i % 40 == 0) {
			(void)snprintf(text, sizeof text, "192.0.%u.1", i / 40 % 3);
			conn = conn_of(text, SESSION_GREY, 0);
			add(&conn);
		}
	}
	assert_false(held->is_exact);
	assert_int_equal(held_top_networks(held, tops, 3), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_memory_equal(tops[i].network.bytes + 12, "\xc0\0", 2);
		assert_in_range(tops[i].n, 200,
		                334); /* at least so many, never more than there are */
	}
}

/* --- one address, several workers --- */

static void a_query_for_an_address_counts_nothing_else(void **state)
{
	(void)state;
	struct held_query query = {.has_addr = true, .addr = addr_of("192.0.2.2")};
	struct held_top tops[1];
	held_begin(held, &query, 0);
	for (int i = 0; i < 3; i++) {
		struct conn conn = conn_of(i == 1 ? "192.0.2.2" : "192.0.2.1", SESSION_GREY, 7000);
		add(&conn);
	}
	assert_int_equal(held->n, 1);
	assert_int_equal(held->n_longest, 1);
	assert_true(addr_equal(&held->longest[0].peer, &query.addr));
	assert_int_equal(held_top_networks(held, tops, 1), 0);
}

static void what_two_workers_found_is_added_up(void **state)
{
	(void)state;
	static const char *const names[] = {"one", "two"};
	static const char *const swapped[] = {"two", "one"};
	static const char *const networks[] = {"192.0.2.0/24", "198.51.100.0/24"};
	static const char *const swapped_networks[] = {"198.51.100.0/24", "192.0.2.0/24"};
	struct list_table *table = table_of(names, networks, 2);
	struct list_table *other_table = table_of(swapped, swapped_networks, 2);
	struct conn young = conn_of("192.0.2.1", SESSION_LISTED, 1000);
	struct conn old = conn_of("198.51.100.1", SESSION_LISTED, 9000);
	struct held_top tops[2];
	add_to(held, table, &young);
	add_to(other, other_table, &young);
	add_to(other, other_table, &old);
	held_merge(held, other);
	assert_int_equal(held->n, 3);
	assert_int_equal(held->n_class[HELD_LISTED], 3);
	assert_int_equal(held->n_state[DIALOGUE_START], 3);
	assert_int_equal(count_of_list(held, "one"), 2);
	assert_int_equal(count_of_list(held, "two"), 1);
	assert_int_equal(held->longest[0].age_ms, 9000);
	assert_memory_equal(held->lists[held->longest[0].list].tag, "two", 3);
	assert_int_equal(held_top_networks(held, tops, 2), 2);
	assert_int_equal(tops[0].n, 2);
	list_table_free(table);
	list_table_free(other_table);
}

#define HELD_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        HELD_TEST(a_listed_connection_counts_as_trapped_when_its_host_is),
	        HELD_TEST(each_class_has_a_name_and_a_count),
	        HELD_TEST(a_connection_counts_for_every_list_that_holds_it),
	        HELD_TEST(a_table_replaced_while_one_looks_keeps_counts_by_name),
	        HELD_TEST(with_very_many_listed_connections_a_few_stand_for_all),
	        HELD_TEST(the_longest_are_kept_in_order_whatever_order_they_come_in),
	        HELD_TEST(an_age_beyond_half_the_range_of_its_clock_is_an_age),
	        HELD_TEST(networks_are_v4_24_and_v6_48_most_first),
	        HELD_TEST(heavy_networks_are_found_among_more_than_there_is_room_for),
	        HELD_TEST(a_query_for_an_address_counts_nothing_else),
	        HELD_TEST(what_two_workers_found_is_added_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
