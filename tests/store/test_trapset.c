/* The spamtrap addresses in memory: members and strangers, growth, removal, their price; and a
 * reader beside the writer. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/qsbr.h"
#include "store/trapset.h"

enum { N_MANY = 100000, N_STANDING = 500, N_TURNS = 40, N_PASSING = 5000 };

static const uint8_t hash_key[RECORD_HASH_KEY_BYTES] = {1, 2, 3};

struct address {
	char text[48];
	struct span span;
};

static void address_of(struct address *address, const char *name, unsigned n)
{
	int len = snprintf(address->text, sizeof address->text, "%s-%u@example.org", name, n);
	address->span = span_of(address->text, (size_t)len);
}

static void add(struct trapset *set, const char *name, unsigned n)
{
	struct address address;
	address_of(&address, name, n);
	assert_int_equal(trapset_add(set, address.span), 0);
}

static void take(struct trapset *set, const char *name, unsigned n)
{
	struct address address;
	address_of(&address, name, n);
	trapset_remove(set, address.span);
}

static bool has(const struct trapset *set, const char *name, unsigned n)
{
	struct address address;
	address_of(&address, name, n);
	return trapset_has(set, address.span);
}

static int setup(void **state)
{
	*state = sodium_init() < 0 ? NULL : trapset_new(hash_key);
	qsbr_register();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	trapset_free(*state);
	qsbr_unregister();
	return 0;
}

static void members_are_found_and_strangers_are_not(void **state)
{
	struct trapset *set = *state;
	assert_false(trapset_has(NULL, SPAN("a@example.org")));
	assert_false(trapset_has(set, SPAN("a@example.org")));
	assert_int_equal(trapset_add(set, SPAN("a@example.org")), 0);
	assert_int_equal(trapset_add(set, SPAN("")), 0);
	assert_true(trapset_has(set, SPAN("a@example.org")));
	assert_true(trapset_has(set, SPAN("")));
	assert_false(trapset_has(set, SPAN("A@example.org")));
	assert_false(trapset_has(set, SPAN("a@example.or")));
	assert_int_equal(trapset_count(set), 2);
}

static void adding_and_removing_twice_changes_nothing(void **state)
{
	struct trapset *set = *state;
	add(set, "x", 1);
	add(set, "x", 1);
	assert_int_equal(trapset_count(set), 1);
	take(set, "x", 2);
	assert_int_equal(trapset_count(set), 1);
	take(set, "x", 1);
	take(set, "x", 1);
	assert_int_equal(trapset_count(set), 0);
	assert_false(has(set, "x", 1));
}

static void it_grows_and_costs_at_most_64_bytes_an_address(void **state)
{
	struct trapset *set = *state;
	for (unsigned n = 0; n < N_MANY; n++) {
		add(set, "many", n);
		if (n >= 1000) {
			assert_true(trapset_bytes(set) <= 64 * trapset_count(set));
		}
	}
	assert_int_equal(trapset_count(set), N_MANY);
	for (unsigned n = 0; n < N_MANY; n++) {
		assert_true(has(set, "many", n));
		assert_false(has(set, "none", n));
	}
}

static void removal_leaves_the_others_and_gives_the_place_back(void **state)
{
	struct trapset *set = *state;
	for (unsigned n = 0; n < 700; n++) {
		add(set, "stays", n);
	}
	size_t n_bytes = trapset_bytes(set);
	for (unsigned n = 0; n < N_MANY; n++) {
		add(set, "passes", n);
		take(set, "passes", n);
	}
	assert_int_equal(trapset_count(set), 700);
	assert_true(trapset_bytes(set) <= 2 * n_bytes);
	for (unsigned n = 0; n < 700; n++) {
		assert_true(has(set, "stays", n));
	}
	assert_false(has(set, "passes", N_MANY - 1));
}

struct reader {
	const struct trapset *set;
	_Atomic bool is_over;
	_Atomic unsigned n_rounds;
	unsigned n_missed; /* addresses that were there all the time */
	unsigned n_ghosts; /* addresses that never were */
};

static void *read_again_and_again(void *arg)
{
	struct reader *reader = arg;
	qsbr_register();
	do {
		for (unsigned n = 0; n < N_STANDING; n++) {
			reader->n_missed += !has(reader->set, "stays", n);
			reader->n_ghosts += has(reader->set, "never", n);
		}
		qsbr_quiescent();
		atomic_fetch_add_explicit(&reader->n_rounds, 1, memory_order_relaxed);
	} while (!atomic_load_explicit(&reader->is_over, memory_order_acquire));
	qsbr_unregister();
	return NULL;
}

static void a_reader_beside_the_writer_misses_nothing_that_stays(void **state)
{
	struct trapset *set = *state;
	struct reader reader = {.set = set};
	pthread_t thread;
	for (unsigned n = 0; n < N_STANDING; n++) {
		add(set, "stays", n);
	}
	assert_int_equal(pthread_create(&thread, NULL, read_again_and_again, &reader), 0);
	for (unsigned turn = 0; turn < N_TURNS; turn++) {
		for (unsigned n = 0; n < N_PASSING; n++) {
			add(set, "passes", turn * N_PASSING + n);
		}
		for (unsigned n = 0; n < N_PASSING; n++) {
			take(set, "passes", turn * N_PASSING + n);
		}
	}
	atomic_store_explicit(&reader.is_over, true, memory_order_release);
	qsbr_offline();
	assert_int_equal(pthread_join(thread, NULL), 0);
	qsbr_online();
	assert_true(atomic_load_explicit(&reader.n_rounds, memory_order_relaxed) >= 1);
	assert_int_equal(reader.n_missed, 0);
	assert_int_equal(reader.n_ghosts, 0);
	assert_int_equal(trapset_count(set), N_STANDING);
}

#define SET_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        SET_TEST(members_are_found_and_strangers_are_not),
	        SET_TEST(adding_and_removing_twice_changes_nothing),
	        SET_TEST(it_grows_and_costs_at_most_64_bytes_an_address),
	        SET_TEST(removal_leaves_the_others_and_gives_the_place_back),
	        SET_TEST(a_reader_beside_the_writer_misses_nothing_that_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
