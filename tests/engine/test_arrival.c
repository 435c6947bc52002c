/* How a client is met: which of what is known of its host comes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "engine/arrival.h"

static void lists_come_before_what_is_known_of_the_host(void **state)
{
	(void)state;
	static const struct {
		bool is_blacklist_only;
		bool is_on_list;
		enum cache_kind host;
		enum session_class cls;
	} rows[] = {
	        {false, false, CACHE_NONE, SESSION_GREY},
	        {false, false, CACHE_WHITE, SESSION_WHITE},
	        {false, false, CACHE_TRAPPED, SESSION_LISTED},
	        {false, false, CACHE_GREY, SESSION_UNKNOWN},
	        {false, true, CACHE_NONE, SESSION_LISTED},
	        {false, true, CACHE_WHITE, SESSION_LISTED},
	        {false, true, CACHE_TRAPPED, SESSION_LISTED},
	        {false, true, CACHE_GREY, SESSION_LISTED},
	        {true, false, CACHE_NONE, SESSION_PASSIVE},
	        {true, false, CACHE_WHITE, SESSION_PASSIVE},
	        {true, true, CACHE_NONE, SESSION_LISTED},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(
		        arrival_class(rows[i].is_blacklist_only, rows[i].is_on_list, rows[i].host),
		        rows[i].cls);
	}
}

static struct list_ranges *ranges_of(const char *text)
{
	struct cidr cidr;
	struct list_ranges *ranges = NULL;
	assert_int_equal(cidr_parse(span_of_str(text), &cidr, NULL), 0);
	assert_int_equal(list_ranges_new(&cidr, 1, &ranges), 0);
	return ranges;
}

static void messages_come_in_load_order_and_the_traps_last(void **state)
{
	(void)state;
	struct list_ranges *one = ranges_of("192.0.2.0/24");
	struct list_ranges *two = ranges_of("192.0.2.1");
	struct list_table *table = NULL;
	struct span messages[ARRIVAL_MESSAGES_MAX];
	struct addr addr;
	const struct list_source sources[] = {
	        {.tag = SPAN("one"), .text = SPAN("first"), .ranges = one},
	        {.tag = SPAN("two"), .text = SPAN("second"), .ranges = two},
	};
	assert_int_equal(list_table_build(sources, ARRAY_LEN(sources), &table), 0);
	assert_int_equal(addr_parse(SPAN("192.0.2.1"), &addr), 0);
	assert_int_equal(arrival_messages(table, &addr, "trap", messages), 3);
	assert_true(span_equal(messages[0], SPAN("first")));
	assert_true(span_equal(messages[1], SPAN("second")));
	assert_true(span_equal(messages[2], SPAN("trap")));
	assert_int_equal(arrival_messages(table, &addr, NULL, messages), 2);
	assert_int_equal(arrival_messages(NULL, &addr, "trap", messages), 1);
	list_table_free(table);
	list_ranges_free(one);
	list_ranges_free(two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(lists_come_before_what_is_known_of_the_host),
	        cmocka_unit_test(messages_come_in_load_order_and_the_traps_last),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
