/* Pointers replaced under readers. Runs under ThreadSanitizer: a value freed too early, or a free
 * that is not ordered behind the last read, is a report. */
#include "base/qsbr.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/compiler.h"

enum { N_SWAPS = 2000, N_READERS = 2, VALUE_WORDS = 16, HOLD_MS = 50 };

struct value {
	uint64_t words[VALUE_WORDS]; /* all the same; SPOILT once freed */
};

static const uint64_t SPOILT = UINT64_MAX;

static struct value *value_new(uint64_t content)
{
	struct value *value = malloc(sizeof *value);
	ASSERT(value);
	for (size_t i = 0; i < VALUE_WORDS; i++) {
		value->words[i] = content;
	}
	return value;
}

static void value_spoil(struct value *value)
{
	for (size_t i = 0; i < VALUE_WORDS; i++) {
		value->words[i] = SPOILT;
	}
	free(value);
}

static void sleep_ms(long ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000};
	(void)nanosleep(&ts, NULL);
}

/* One thread of each test; steps are told by counting up `step`. */
struct world {
	struct qsbr_ptr ptr;
	_Atomic int step;
	_Atomic int n_ready;
	_Atomic bool is_over;
	_Atomic uint64_t n_loads;
	_Atomic uint64_t n_torn;
	_Atomic bool has_waited;
};

static void wait_for(_Atomic int *what, int value)
{
	while (atomic_load(what) < value) {
		sleep_ms(1);
	}
}

static void nothing_is_loaded_before_anything_is_published(void **state)
{
	(void)state;
	struct qsbr_ptr ptr = {0};
	int value = 7;
	qsbr_register();
	assert_null(qsbr_load(&ptr));
	assert_null(qsbr_exchange(&ptr, &value));
	assert_ptr_equal(qsbr_load(&ptr), &value);
	assert_ptr_equal(qsbr_exchange(&ptr, NULL), &value);
	assert_null(qsbr_load(&ptr));
	qsbr_unregister();
}

static void *read_all_the_time(void *arg)
{
	struct world *world = arg;
	uint64_t newest = 0;
	qsbr_register();
	atomic_fetch_add(&world->n_ready, 1);
	for (unsigned i = 0; !atomic_load(&world->is_over); i++) {
		const struct value *value = qsbr_load(&world->ptr);
		uint64_t first = value->words[0];
		for (size_t k = 1; k < VALUE_WORDS; k++) {
			atomic_fetch_add(&world->n_torn, value->words[k] != first);
		}
		atomic_fetch_add(&world->n_torn, first == SPOILT || first < newest);
		newest = first;
		atomic_fetch_add(&world->n_loads, 1);
		qsbr_quiescent();
		if (i % 64 == 0) {
			qsbr_offline();
			qsbr_online();
		}
	}
	qsbr_unregister();
	return NULL;
}

static void readers_see_whole_values_in_order_while_they_are_replaced(void **state)
{
	(void)state;
	static struct world world;
	pthread_t readers[N_READERS];
	(void)qsbr_exchange(&world.ptr, value_new(0));
	for (size_t i = 0; i < N_READERS; i++) {
		assert_int_equal(pthread_create(&readers[i], NULL, read_all_the_time, &world), 0);
	}
	wait_for(&world.n_ready, N_READERS);
	for (uint64_t n = 1; n <= N_SWAPS; n++) {
		struct value *old = qsbr_exchange(&world.ptr, value_new(n));
		qsbr_wait();
		value_spoil(old);
	}
	atomic_store(&world.is_over, true);
	for (size_t i = 0; i < N_READERS; i++) {
		assert_int_equal(pthread_join(readers[i], NULL), 0);
	}
	assert_int_equal(world.n_torn, 0);
	assert_true(world.n_loads > N_READERS);
	struct value *last = qsbr_exchange(&world.ptr, NULL);
	assert_int_equal(last->words[0], N_SWAPS);
	free(last);
}

static void *replace_and_wait(void *arg)
{
	struct world *world = arg;
	struct value *old = qsbr_exchange(&world->ptr, value_new(2));
	atomic_store(&world->step, 1);
	qsbr_wait();
	atomic_store(&world->has_waited, true);
	value_spoil(old);
	return NULL;
}

static void the_writer_waits_for_a_reader_that_holds_on(void **state)
{
	(void)state;
	static void (*const let_go[])(void) = {qsbr_quiescent, qsbr_offline, qsbr_unregister};
	for (size_t i = 0; i < ARRAY_LEN(let_go); i++) {
		struct world world = {0};
		pthread_t writer;
		qsbr_register();
		(void)qsbr_exchange(&world.ptr, value_new(1));
		const struct value *held = qsbr_load(&world.ptr);
		assert_int_equal(pthread_create(&writer, NULL, replace_and_wait, &world), 0);
		wait_for(&world.step, 1);
		sleep_ms(HOLD_MS);
		assert_false(world.has_waited);
		assert_int_equal(held->words[VALUE_WORDS - 1], 1);
		let_go[i]();
		assert_int_equal(pthread_join(writer, NULL), 0);
		assert_true(world.has_waited);
		free(qsbr_exchange(&world.ptr, NULL));
		if (let_go[i] != qsbr_unregister) {
			qsbr_unregister();
		}
	}
}

static void a_sleeping_reader_holds_nobody_up(void **state)
{
	(void)state;
	struct world world = {0};
	pthread_t writer;
	qsbr_register();
	(void)qsbr_exchange(&world.ptr, value_new(1));
	qsbr_offline();
	assert_int_equal(pthread_create(&writer, NULL, replace_and_wait, &world), 0);
	assert_int_equal(pthread_join(writer, NULL),
	                 0); /* returns although this thread says nothing */
	qsbr_online();
	const struct value *now = qsbr_load(&world.ptr);
	assert_int_equal(now->words[0], 2);
	qsbr_unregister();
	free(qsbr_exchange(&world.ptr, NULL));
}

static void a_writer_may_be_a_reader_itself(void **state)
{
	(void)state;
	struct qsbr_ptr ptr = {0};
	qsbr_register();
	(void)qsbr_exchange(&ptr, value_new(1));
	(void)qsbr_load(&ptr);
	struct value *old = qsbr_exchange(&ptr, value_new(2));
	qsbr_wait();
	value_spoil(old);
	struct value *now = qsbr_load(&ptr); /* still online */
	assert_int_equal(now->words[0], 2);
	qsbr_unregister();
	free(now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(nothing_is_loaded_before_anything_is_published),
	        cmocka_unit_test(readers_see_whole_values_in_order_while_they_are_replaced),
	        cmocka_unit_test(the_writer_waits_for_a_reader_that_holds_on),
	        cmocka_unit_test(a_sleeping_reader_holds_nobody_up),
	        cmocka_unit_test(a_writer_may_be_a_reader_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
