/* Coalescing in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mired-logd/sightings.h"

enum { INTERVAL_MS = 1000, N_MAX = 4, TAKE_MAX = 16 };

struct fixture {
	struct sightings *sightings;
	struct mono now;
	struct sighting taken[TAKE_MAX];
};

static int setup(void **state)
{
	static struct fixture fixture;
	fixture = (struct fixture){.sightings = sightings_new(N_MAX, INTERVAL_MS)};
	*state = &fixture;
	return fixture.sightings ? 0 : -1;
}

static int teardown(void **state)
{
	const struct fixture *fixture = *state;
	sightings_free(fixture->sightings);
	return 0;
}

static bool add(struct fixture *fixture, uint8_t host, bool is_outbound)
{
	struct sighting seen = {.is_outbound = is_outbound, .count = 1};
	seen.addr = (struct addr){.bytes = {[10] = 0xff, 0xff, 192, 0, 2, host}};
	return sightings_add(fixture->sightings, &seen, fixture->now);
}

static size_t take(struct fixture *fixture)
{
	return sightings_take(fixture->sightings, fixture->now, fixture->taken, TAKE_MAX);
}

static void pass(struct fixture *fixture, int64_t ms)
{
	fixture->now = mono_add_ms(fixture->now, ms);
}

static void a_new_address_is_due_at_once(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(sightings_wait_ms(fixture->sightings, fixture->now), INT32_MAX);
	assert_true(add(fixture, 1, false));
	assert_int_equal(sightings_wait_ms(fixture->sightings, fixture->now), 0);
	assert_int_equal(take(fixture), 1);
	assert_int_equal(fixture->taken[0].count, 1);
	assert_int_equal(fixture->taken[0].addr.bytes[15], 1);
	assert_int_equal(take(fixture), 0);
}

static void what_comes_again_is_counted_and_due_after_the_interval(void **state)
{
	struct fixture *fixture = *state;
	assert_true(add(fixture, 1, false));
	assert_int_equal(take(fixture), 1);
	for (int i = 0; i < 5; i++) {
		pass(fixture, 100);
		assert_true(add(fixture, 1, false));
		assert_int_equal(take(fixture), 0);
	}
	assert_in_range(sightings_wait_ms(fixture->sightings, fixture->now), 500, 501);
	pass(fixture, 500);
	assert_int_equal(take(fixture), 1);
	assert_int_equal(fixture->taken[0].count, 5);
	pass(fixture, INTERVAL_MS);
	assert_int_equal(take(fixture), 0);
	assert_int_equal(sightings_wait_ms(fixture->sightings, fixture->now), INT32_MAX);
}

static void directions_are_told_apart(void **state)
{
	struct fixture *fixture = *state;
	assert_true(add(fixture, 1, false));
	assert_true(add(fixture, 1, true));
	assert_int_equal(take(fixture), 2);
	assert_false(fixture->taken[0].is_outbound);
	assert_true(fixture->taken[1].is_outbound);
}

static void what_could_not_be_reported_is_due_again_with_its_count(void **state)
{
	struct fixture *fixture = *state;
	assert_true(add(fixture, 1, false));
	assert_true(add(fixture, 1, false));
	assert_int_equal(take(fixture), 1);
	assert_int_equal(fixture->taken[0].count, 2);
	assert_true(add(fixture, 1, false));
	sightings_return(fixture->sightings, &fixture->taken[0], fixture->now);
	assert_int_equal(take(fixture), 1);
	assert_int_equal(fixture->taken[0].count, 3);
}

static void a_full_table_forgets_what_was_reported_before_what_waits(void **state)
{
	struct fixture *fixture = *state;
	for (int host = 1; host <= N_MAX; host++) {
		assert_true(add(fixture, (uint8_t)host, false));
	}
	assert_false(add(fixture, 99, false)); /* all wait */
	assert_int_equal(take(fixture), N_MAX);
	assert_true(add(fixture, 1, false)); /* counts, rests */
	assert_false(
	        add(fixture, 99, false)); /* the oldest has something to report: it goes first */
	assert_int_equal(take(fixture), 1);
	assert_int_equal(fixture->taken[0].addr.bytes[15], 1);
	assert_true(add(fixture, 99, false)); /* in the place of host 2 */
	assert_int_equal(take(fixture), 1);
	assert_int_equal(fixture->taken[0].addr.bytes[15], 99);
}

static void an_end_makes_everything_due(void **state)
{
	struct fixture *fixture = *state;
	assert_true(add(fixture, 1, false));
	assert_true(add(fixture, 2, false));
	assert_int_equal(take(fixture), 2);
	assert_true(add(fixture, 2, false));
	assert_int_equal(take(fixture), 0);
	sightings_hurry(fixture->sightings);
	assert_int_equal(take(fixture), 1);
	assert_int_equal(fixture->taken[0].addr.bytes[15], 2);
}

static void counts_end_at_their_largest_value(void **state)
{
	struct fixture *fixture = *state;
	struct sighting seen = {.count = UINT32_MAX, .addr = {.bytes = {0x20, 0x01}}};
	assert_true(sightings_add(fixture->sightings, &seen, fixture->now));
	assert_true(sightings_add(fixture->sightings, &seen, fixture->now));
	assert_int_equal(take(fixture), 1);
	assert_true(fixture->taken[0].count == UINT32_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_new_address_is_due_at_once),
	        TEST(what_comes_again_is_counted_and_due_after_the_interval),
	        TEST(directions_are_told_apart),
	        TEST(what_could_not_be_reported_is_due_again_with_its_count),
	        TEST(a_full_table_forgets_what_was_reported_before_what_waits),
	        TEST(an_end_makes_everything_due),
	        TEST(counts_end_at_their_largest_value),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
