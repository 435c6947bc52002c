/* The table of all lists: small ones by hand, random ones against a search through each list. */
#include "lists/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

enum { CIDRS_MAX = 64, N_ROUNDS = 300, N_QUESTIONS = 400, SEED = 4711 };

static struct addr must_addr(const char *text)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	return addr;
}

static struct list_ranges *ranges_of(const char *text)
{
	char copy[256];
	char *save;
	struct cidr cidrs[CIDRS_MAX];
	size_t n = 0;
	struct list_ranges *ranges;
	(void)snprintf(copy, sizeof copy, "%s", text);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		assert_int_equal(cidr_parse(span_of_str(word), &cidrs[n++], NULL), 0);
	}
	assert_int_equal(list_ranges_new(cidrs, n, &ranges), 0);
	return ranges;
}

/* A table of lists of networks, given as words. */
static struct list_table *table_of(const char *const *lists, size_t n)
{
	struct list_source sources[LISTS_MAX];
	struct list_table *table;
	for (size_t i = 0; i < n; i++) {
		sources[i] = (struct list_source){SPAN("tag"), SPAN("text"), ranges_of(lists[i])};
	}
	assert_int_equal(list_table_build(sources, n, &table), 0);
	for (size_t i = 0; i < n; i++) {
		list_ranges_free((struct list_ranges *)sources[i].ranges);
	}
	return table;
}

static void a_host_is_on_all_lists_that_hold_it(void **state)
{
	(void)state;
	static const char *const lists[] = {
	        "10.0.0.0/8 192.0.2.7 2001:db8::/32",
	        "10.1.0.0/16 255.255.255.255 2001:db8:1::/48",
	        "",
	        "10.1.0.0/16 10.1.2.0/24 0.0.0.0/32 ::/128 8000::/1",
	};
	static const struct {
		const char *addr;
		lists_mask mask;
	} rows[] = {
	        {"9.255.255.255", 0},
	        {"10.0.0.0", 1},
	        {"10.0.255.255", 1},
	        {"10.1.0.0", 1 | 2 | 8},
	        {"10.1.2.3", 1 | 2 | 8},
	        {"10.1.255.255", 1 | 2 | 8},
	        {"10.2.0.0", 1},
	        {"10.255.255.255", 1},
	        {"11.0.0.0", 0},
	        {"192.0.2.6", 0},
	        {"192.0.2.7", 1},
	        {"192.0.2.8", 0},
	        {"255.255.255.254", 0},
	        {"255.255.255.255", 2},
	        {"0.0.0.0", 8},
	        {"0.0.0.1", 0},
	        {"::", 8},
	        {"::1", 0},
	        {"2001:db8::1", 1},
	        {"2001:db8:1::1", 1 | 2},
	        {"2001:db8:2::", 1},
	        {"2001:db9::", 0},
	        {"7fff:ffff::", 0},
	        {"8000::", 8},
	        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 8},
	};
	struct list_table *table = table_of(lists, ARRAY_LEN(lists));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct addr addr = must_addr(rows[i].addr);
		assert_int_equal(list_table_find(table, &addr), rows[i].mask);
	}
	assert_int_equal(list_table_n_lists(table), 4);
	assert_int_equal(list_table_n_ranges(table, 0), 3);
	assert_int_equal(list_table_n_ranges(table, 2), 0);
	assert_int_equal(list_table_n_ranges(table, 3), 4); /* 10.1/16 holds 10.1.2/24 */
	list_table_free(table);
}

static void no_table_and_an_empty_one_list_nobody(void **state)
{
	(void)state;
	struct addr addr = must_addr("192.0.2.7");
	struct list_table *table = table_of(NULL, 0);
	struct addr_range *ranges;
	size_t n;
	assert_int_equal(list_table_find(NULL, &addr), 0);
	assert_int_equal(list_table_find(table, &addr), 0);
	assert_false(list_table_has_any(NULL, &(struct addr_range){addr, addr}));
	assert_false(list_table_has_any(table, &(struct addr_range){addr, addr}));
	assert_int_equal(list_table_n_lists(NULL), 0);
	assert_int_equal(list_table_bytes(NULL), 0);
	assert_int_equal(list_table_union(NULL, &ranges, &n), 0);
	assert_null(ranges);
	assert_int_equal(list_table_union(table, &ranges, &n), 0);
	assert_null(ranges);
	assert_int_equal(n, 0);
	list_table_free(table);
	list_table_free(NULL);
	list_ranges_free(NULL);
}

static void tags_and_texts_are_copies_in_load_order(void **state)
{
	(void)state;
	char tag[] = "uatraps";
	char text[] = "Your address %A";
	struct list_ranges *ranges = ranges_of("10.0.0.0/8");
	struct list_source sources[] = {{SPAN("first"), SPAN(""), ranges},
	                                {span_of_str(tag), span_of_str(text), ranges}};
	struct list_table *table;
	assert_int_equal(list_table_build(sources, 2, &table), 0);
	list_ranges_free(ranges);
	memset(tag, 'x', sizeof tag);
	memset(text, 'x', sizeof text);
	assert_true(span_equal(list_table_tag(table, 0), SPAN("first")));
	assert_true(span_equal(list_table_text(table, 0), SPAN("")));
	assert_true(span_equal(list_table_tag(table, 1), SPAN("uatraps")));
	assert_true(span_equal(list_table_text(table, 1), SPAN("Your address %A")));
	list_table_free(table);
}

static void sixty_four_lists_are_told_apart_and_one_more_is_refused(void **state)
{
	(void)state;
	struct list_source sources[LISTS_MAX + 1];
	struct list_table *table;
	for (unsigned i = 0; i <= LISTS_MAX; i++) {
		char text[32];
		(void)snprintf(text, sizeof text, "10.0.0.%u/32 11.0.0.0/8", i);
		sources[i] = (struct list_source){SPAN("t"), SPAN("x"), ranges_of(text)};
	}
	assert_int_equal(list_table_build(sources, LISTS_MAX + 1, &table), ERR_TOO_LONG);
	assert_int_equal(list_table_build(sources, LISTS_MAX, &table), 0);
	for (unsigned i = 0; i < LISTS_MAX; i++) {
		struct addr addr = must_addr("10.0.0.0");
		addr.bytes[15] = (uint8_t)i;
		assert_true(list_table_find(table, &addr) == (lists_mask)1 << i);
	}
	struct addr all = must_addr("11.2.3.4");
	assert_true(list_table_find(table, &all) == UINT64_MAX);
	list_table_free(table);
	for (unsigned i = 0; i <= LISTS_MAX; i++) {
		list_ranges_free((struct list_ranges *)sources[i].ranges);
	}
}

static void the_union_joins_what_touches_and_keeps_the_families_apart(void **state)
{
	(void)state;
	static const char *const lists[] = {
	        "10.0.0.0/24 255.255.255.255 ::/1",
	        "10.0.1.0/24 10.0.3.0/24 8000::/1",
	        "10.0.0.128/25 0.0.0.0",
	};
	static const char *const want[] = {
	        "0.0.0.0-0.0.0.0",
	        "10.0.0.0-10.0.1.255",
	        "10.0.3.0-10.0.3.255",
	        "255.255.255.255-255.255.255.255",
	        "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	};
	struct list_table *table = table_of(lists, ARRAY_LEN(lists));
	struct addr_range *ranges;
	size_t n;
	assert_int_equal(list_table_union(table, &ranges, &n), 0);
	assert_int_equal(n, ARRAY_LEN(want));
	for (size_t i = 0; i < n; i++) {
		char text[100];
		char first[ADDR_TEXT_MAX];
		char last[ADDR_TEXT_MAX];
		(void)snprintf(text, sizeof text, "%s-%s", addr_format(&ranges[i].first, first),
		               addr_format(&ranges[i].last, last));
		assert_string_equal(text, want[i]);
	}
	free(ranges);
	list_table_free(table);
}

/* --- random lists ------------------------------------------------------------------------------
 */

struct world {
	struct addr_range ranges[LISTS_MAX][CIDRS_MAX]; /* of each network, as it was given */
	size_t n_ranges[LISTS_MAX];
	struct list_source sources[LISTS_MAX];
	size_t n_lists;
};

/* Near one another, so that lists overlap, and at the ends of the families. */
static struct addr random_addr(void)
{
	static const char *const bases[] = {
	        "10.0.0.0",   "255.255.0.0", "0.0.0.0",
	        "2001:db8::", "::",          "ffff:ffff:ffff:ffff:ffff:ffff:ffff:0"};
	struct addr addr = must_addr(bases[(size_t)random() % ARRAY_LEN(bases)]);
	addr.bytes[14] = (uint8_t)random();
	addr.bytes[15] = (uint8_t)random();
	return addr;
}

static void random_world(struct world *world)
{
	world->n_lists = 1 + (size_t)random() % 20;
	for (size_t i = 0; i < world->n_lists; i++) {
		struct list_ranges *ranges;
		struct cidr cidrs[CIDRS_MAX];
		size_t n = (size_t)random() % CIDRS_MAX;
		for (size_t k = 0; k < n; k++) {
			struct addr addr = random_addr();
			char text[CIDR_TEXT_MAX];
			char host[ADDR_TEXT_MAX];
			unsigned most = addr_is_v4(&addr) ? 32 : 128;
			(void)snprintf(text, sizeof text, "%s/%u", addr_format(&addr, host),
			               most - (unsigned)random() % 14);
			assert_int_equal(cidr_parse(span_of_str(text), &cidrs[k], NULL), 0);
			world->ranges[i][k] = cidr_range(&cidrs[k]);
		}
		world->n_ranges[i] = n;
		assert_int_equal(list_ranges_new(cidrs, n, &ranges), 0);
		world->sources[i] = (struct list_source){SPAN("t"), SPAN("x"), ranges};
	}
}

static bool is_in_ranges(const struct addr_range *ranges, size_t n, const struct addr *addr)
{
	bool is_v4 = addr_is_v4(addr);
	bool is_in = false;
	for (size_t i = 0; i < n && !is_in; i++) {
		is_in = memcmp(addr, &ranges[i].first, sizeof *addr) >= 0 &&
		        memcmp(addr, &ranges[i].last, sizeof *addr) <= 0 &&
		        is_v4 == addr_is_v4(&ranges[i].first);
	}
	return is_in;
}

static lists_mask search_each_list(const struct world *world, const struct addr *addr)
{
	lists_mask mask = 0;
	for (size_t i = 0; i < world->n_lists; i++) {
		bool is_in = is_in_ranges(world->ranges[i], world->n_ranges[i], addr);
		mask |= (lists_mask)is_in << i;
	}
	return mask;
}

/* A network around the address, and whether it has anything in common with a range. */
static void check_has_any(const struct list_table *table, const struct addr_range *ranges, size_t n,
                          const struct addr *addr)
{
	struct cidr cidr = {.addr = *addr, .bits = (uint8_t)(128 - random() % 20)};
	struct addr_range range = cidr_range(&cidr);
	bool is_v4 = addr_is_v4(addr);
	bool want = false;
	for (size_t i = 0; i < n && !want; i++) {
		want = memcmp(&range.last, &ranges[i].first, sizeof *addr) >= 0 &&
		       memcmp(&range.first, &ranges[i].last, sizeof *addr) <= 0 &&
		       is_v4 == addr_is_v4(&ranges[i].first);
	}
	assert_int_equal(list_table_has_any(table, &range), want);
}

static void random_tables_agree_with_a_search_through_each_list(void **state)
{
	(void)state;
	static struct world world;
	srandom(SEED);
	for (unsigned round = 0; round < N_ROUNDS; round++) {
		struct list_table *table;
		struct addr_range *ranges;
		size_t n;
		random_world(&world);
		assert_int_equal(list_table_build(world.sources, world.n_lists, &table), 0);
		assert_int_equal(list_table_union(table, &ranges, &n), 0);
		for (unsigned i = 0; i < N_QUESTIONS; i++) {
			struct addr addr = random_addr();
			lists_mask want = search_each_list(&world, &addr);
			assert_true(list_table_find(table, &addr) == want);
			assert_int_equal(is_in_ranges(ranges, n, &addr), want != 0);
			check_has_any(table, ranges, n, &addr);
		}
		free(ranges);
		list_table_free(table);
		for (size_t i = 0; i < world.n_lists; i++) {
			list_ranges_free((struct list_ranges *)world.sources[i].ranges);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_host_is_on_all_lists_that_hold_it),
	        cmocka_unit_test(no_table_and_an_empty_one_list_nobody),
	        cmocka_unit_test(tags_and_texts_are_copies_in_load_order),
	        cmocka_unit_test(sixty_four_lists_are_told_apart_and_one_more_is_refused),
	        cmocka_unit_test(the_union_joins_what_touches_and_keeps_the_families_apart),
	        cmocka_unit_test(random_tables_agree_with_a_search_through_each_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
