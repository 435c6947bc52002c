/* How many elements a copy and the changes between its pieces come to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/span.h"
#include "mired/copy.h"

enum { WHITE4, WHITE6, TRAP4, TRAP6 };

static struct addr addr_of(const char *text)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	return addr;
}

static void add(struct copy *copy, uint8_t set, const char *text)
{
	struct msg_element element = {.addr = addr_of(text), .timeout_secs = 60, .set = set};
	copy_add(copy, &element);
}

static void change(struct copy *copy, uint8_t set, const char *text, bool is_deleted)
{
	struct fw_element element = {
	        .addr = addr_of(text), .timeout_secs = 60, .set = set, .is_deleted = is_deleted};
	assert_true(copy_add_change(copy, &element));
}

static struct copy three_hosts(void)
{
	struct copy copy = {.state = COPY_GATHERED};
	add(&copy, FW_SET_WHITE, "192.0.2.1");
	add(&copy, FW_SET_WHITE, "2001:db8::");
	add(&copy, FW_SET_GREYTRAP, "192.0.2.1");
	return copy;
}

static void assert_counts(struct copy *copy, const uint32_t wanted[static FW_LEARNED_ROWS])
{
	uint32_t counts[FW_LEARNED_ROWS];
	assert_true(copy_count(copy, counts));
	assert_memory_equal(counts, wanted, sizeof counts);
	copy_fini(copy);
}

static void hosts_are_counted_by_set_and_family(void **state)
{
	(void)state;
	struct copy copy = three_hosts();
	assert_counts(&copy, (uint32_t[]){[WHITE4] = 1, [WHITE6] = 1, [TRAP4] = 1, [TRAP6] = 0});
}

static void nothing_comes_to_nothing(void **state)
{
	(void)state;
	struct copy copy = {0};
	assert_counts(&copy, (uint32_t[FW_LEARNED_ROWS]){0});
}

static void the_last_change_of_an_element_counts(void **state)
{
	(void)state;
	struct copy copy = three_hosts();
	change(&copy, FW_SET_WHITE, "192.0.2.1", true);
	change(&copy, FW_SET_WHITE, "2001:db8::", true);
	change(&copy, FW_SET_WHITE, "2001:db8::", false);
	change(&copy, FW_SET_WHITE, "192.0.2.9", false);
	change(&copy, FW_SET_WHITE, "192.0.2.9", false);
	change(&copy, FW_SET_WHITE, "192.0.2.8", false);
	change(&copy, FW_SET_WHITE, "192.0.2.8", true);
	change(&copy, FW_SET_GREYTRAP, "2001:db8::1", false);
	change(&copy, FW_SET_GREYTRAP, "192.0.2.7", true);
	assert_counts(&copy, (uint32_t[]){[WHITE4] = 1, [WHITE6] = 1, [TRAP4] = 1, [TRAP6] = 1});
}

static void a_copy_that_lost_some_is_not_counted(void **state)
{
	(void)state;
	uint32_t counts[FW_LEARNED_ROWS];
	struct copy copy = three_hosts();
	struct msg_element nonsense = {.set = FW_SET_COUNT, .timeout_secs = 60};
	copy_add(&copy, &nonsense);
	assert_int_equal(copy.n_left_out, 1);
	assert_false(copy_count(&copy, counts));
	copy_fini(&copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(hosts_are_counted_by_set_and_family),
	        cmocka_unit_test(nothing_comes_to_nothing),
	        cmocka_unit_test(the_last_change_of_an_element_counts),
	        cmocka_unit_test(a_copy_that_lost_some_is_not_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
