/* The feeder and the networks of the `spamd` sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "feeder_fixture.h"

static void role_until_ranges(struct fixture *fix, size_t n_sets)
{
	while (fix->kernel.n_range_sets < n_sets) {
		assert_true(role_receive(fix, WORLD_WAIT_MS));
	}
}

/* n networks of one address each, every second one. */
static struct addr_range *make_ranges(uint32_t first, size_t n)
{
	struct addr_range *ranges = calloc(n, sizeof *ranges);
	assert_non_null(ranges);
	for (size_t i = 0; i < n; i++) {
		ranges[i].first = addr_from_v4_be(htonl(first + 2 * (uint32_t)i));
		ranges[i].last = ranges[i].first;
	}
	return ranges;
}

static void assert_ranges(const struct kernel *kernel, uint32_t first, size_t n)
{
	assert_int_equal(kernel->n_ranges, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(ntohl(addr_v4_be(&kernel->ranges[i].first)), first + 2 * i);
		assert_true(addr_equal(&kernel->ranges[i].first, &kernel->ranges[i].last));
	}
}

static void each_new_role_gets_the_ranges(void **state)
{
	enum { N = 3 * MSG_RANGES_MAX + 7 };
	struct fixture *fix = *state;
	feeder_set_ranges(fix->feeder, make_ranges(0x0a000000, N), N);
	for (size_t i = 1; i <= 2; i++) {
		connect_role(fix);
		say(fix, MSG_NEED_FILL, 0);
		role_until_ranges(fix, i);
		assert_int_equal(fix->kernel.n_fills, i);
		assert_ranges(&fix->kernel, 0x0a000000, N);
	}
}

static void new_ranges_take_the_place_of_the_old_ones(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	feeder_set_ranges(fix->feeder, make_ranges(0x0a000000, 2000), 2000);
	role_until_ranges(fix, 1);
	assert_ranges(&fix->kernel, 0x0a000000, 2000);
	feeder_set_ranges(fix->feeder, make_ranges(0x0b000000, 10), 10);
	role_until_ranges(fix, 2);
	assert_ranges(&fix->kernel, 0x0b000000, 10);
	feeder_set_ranges(fix->feeder, NULL, 0);
	role_until_ranges(fix, 3);
	assert_int_equal(fix->kernel.n_ranges, 0);
}

static void without_a_role_only_the_last_ranges_are_kept(void **state)
{
	struct fixture *fix = *state;
	for (uint32_t i = 0; i < 50; i++) {
		feeder_set_ranges(fix->feeder, make_ranges(0x0a000000 + i, 100 + i), 100 + i);
	}
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_ranges(fix, 1);
	assert_ranges(&fix->kernel, 0x0a000000 + 49, 149);
	assert_false(role_receive(fix, 50));
	assert_int_equal(fix->kernel.n_range_sets, 1);
}

static void ranges_that_could_not_be_sent_are_sent_again(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	atomic_store(&n_sends_to_fail, 1);
	feeder_set_ranges(fix->feeder, make_ranges(0x0a000000, 500), 500);
	role_until_ranges(fix, 1);
	assert_ranges(&fix->kernel, 0x0a000000, 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WITH_FIXTURE(each_new_role_gets_the_ranges),
	        WITH_FIXTURE(new_ranges_take_the_place_of_the_old_ones),
	        WITH_FIXTURE(without_a_role_only_the_last_ranges_are_kept),
	        WITH_FIXTURE(ranges_that_could_not_be_sent_are_sent_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
