/* The seqlock cache: what it holds, whom it evicts, and that readers never see half a write. Built
 * with ThreadSanitizer the last test also shows that the protocol has no data race. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "store/cache.h"

enum { HAMMER_WRITES = 200000, HAMMER_KEYS = 24 };

static struct cache_key key_of(uint32_t n)
{
	struct cache_key key = {{0}};
	memcpy(key.bytes, &n, sizeof n);
	return key;
}

static struct cache_entry committed(uint32_t expire_secs)
{
	return (struct cache_entry){
	        .kind = CACHE_GREY, .is_committed = true, .expire_secs = expire_secs};
}

static bool put(struct cache *cache, uint32_t n, const struct cache_entry *entry)
{
	struct cache_key key = key_of(n);
	return cache_put(cache, &key, entry, NULL, NULL);
}

static bool has(const struct cache *cache, uint32_t n)
{
	struct cache_key key = key_of(n);
	struct cache_entry entry;
	return cache_get(cache, &key, &entry);
}

/* One group only, so that its filling is under control. */
static int setup(void **state)
{
	*state = cache_new(1);
	return *state == NULL;
}

static int teardown(void **state)
{
	cache_free(*state);
	return 0;
}

static void an_entry_reads_back_in_every_field(void **state)
{
	struct cache_key key = key_of(1);
	memset(key.bytes + 16, 0xee, 16);
	struct cache_entry entry = {.kind = CACHE_TRAPPED,
	                            .is_committed = true,
	                            .is_dirty = true,
	                            .first_secs = UINT32_MAX,
	                            .expire_secs = 4000000000U,
	                            .bcount = 12345678,
	                            .stamp = 3999999999U};
	struct cache_entry back;
	assert_true(cache_put(*state, &key, &entry, NULL, NULL));
	assert_true(cache_get(*state, &key, &back));
	assert_int_equal(back.kind, CACHE_TRAPPED);
	assert_true(back.is_committed);
	assert_true(back.is_dirty);
	assert_int_equal(back.first_secs, UINT32_MAX);
	assert_int_equal(back.expire_secs, 4000000000U);
	assert_int_equal(back.bcount, 12345678);
	assert_int_equal(back.stamp, 3999999999U);
	key.bytes[31] ^= 1;
	assert_false(cache_get(*state, &key, &back));
}

static void known_absence_is_an_entry_too(void **state)
{
	struct cache_entry none = {.kind = CACHE_NONE, .is_committed = true, .expire_secs = 5};
	struct cache_entry back = {.kind = CACHE_GREY};
	struct cache_key key = key_of(0);
	assert_false(has(*state, 0));
	assert_true(put(*state, 0, &none));
	assert_true(cache_get(*state, &key, &back));
	assert_int_equal(back.kind, CACHE_NONE);
}

static void a_second_put_overwrites_and_delete_removes(void **state)
{
	struct cache_entry entry = committed(10);
	struct cache_entry back;
	struct cache_key key = key_of(7);
	assert_true(put(*state, 7, &entry));
	entry.bcount = 2;
	assert_true(put(*state, 7, &entry));
	assert_int_equal(cache_used(*state), 1);
	assert_true(cache_get(*state, &key, &back));
	assert_int_equal(back.bcount, 2);
	cache_delete(*state, &key);
	cache_delete(*state, &key);
	assert_false(has(*state, 7));
	assert_int_equal(cache_used(*state), 0);
}

static void a_full_group_evicts_the_earliest_committed_expiry(void **state)
{
	struct cache_entry entry;
	for (uint32_t i = 0; i < CACHE_PROBE_MAX; i++) {
		entry = committed(100 + (i + 3) % CACHE_PROBE_MAX);
		entry.is_committed = i != 5; /* the earliest of all, but not on disk */
		assert_true(put(*state, i, &entry));
	}
	entry = committed(500);
	assert_true(put(*state, 100, &entry));
	assert_true(has(*state, 5));
	assert_false(has(*state, 6)); /* 101, the next */
	assert_true(has(*state, 100));
	assert_int_equal(cache_used(*state), CACHE_PROBE_MAX);
	assert_int_equal(cache_evicted(*state), 1);
}

static void a_dirty_entry_that_goes_is_handed_out(void **state)
{
	struct cache_entry entry = committed(10);
	entry.is_dirty = true;
	entry.bcount = 42;
	assert_true(put(*state, 77, &entry));
	entry = committed(20);
	for (uint32_t i = 1; i < CACHE_PROBE_MAX; i++) {
		assert_true(put(*state, i, &entry));
	}
	struct cache_key gone_key = {{0}};
	struct cache_entry gone = {.bcount = 1};
	struct cache_key key = key_of(200);
	struct cache_key expected = key_of(77);
	assert_true(cache_put(*state, &key, &entry, &gone_key, &gone));
	assert_true(gone.is_dirty);
	assert_int_equal(gone.bcount, 42);
	assert_memory_equal(gone_key.bytes, expected.bytes, sizeof expected.bytes);
	/* the next one that goes is clean: nothing to save */
	key = key_of(201);
	assert_true(cache_put(*state, &key, &entry, &gone_key, &gone));
	assert_false(gone.is_dirty);
	assert_int_equal(gone.bcount, 0);
}

static void a_group_of_uncommitted_entries_takes_no_more(void **state)
{
	struct cache_entry entry = committed(10);
	entry.is_committed = false;
	for (uint32_t i = 0; i < CACHE_PROBE_MAX; i++) {
		assert_true(put(*state, i, &entry));
	}
	assert_false(put(*state, 50, &entry));
	assert_false(has(*state, 50));
	entry.is_committed = true;
	assert_true(put(*state, 3, &entry)); /* its own slot is always there */
	assert_true(put(*state, 50, &entry));
	assert_false(has(*state, 3));
}

static void a_large_table_holds_what_fits(void **state)
{
	(void)state;
	struct cache *cache = cache_new(1 << 16);
	struct cache_entry entry = committed(10);
	for (uint32_t i = 0; i < 20000; i++) {
		assert_true(put(cache, i, &entry));
	}
	uint64_t n = 0;
	for (uint32_t i = 0; i < 20000; i++) {
		n += has(cache, i);
	}
	assert_int_equal(n, cache_used(cache));
	assert_int_equal(n + cache_evicted(cache), 20000);
	assert_true(n > 19900); /* load 0.3: hardly a group is full */
	cache_free(cache);
}

/* Every field of the n-th write follows from n, so a mixture of two writes shows. */
static struct cache_entry hammer_entry(uint32_t n)
{
	return (struct cache_entry){.kind = (uint8_t)(n % 4),
	                            .is_committed = true,
	                            .is_dirty = n & 1,
	                            .first_secs = n,
	                            .expire_secs = n * 3,
	                            .bcount = n * 5,
	                            .stamp = n * 7};
}

static bool is_same(const struct cache_entry *a, const struct cache_entry *b)
{
	return a->kind == b->kind && a->is_dirty == b->is_dirty &&
	       a->expire_secs == b->expire_secs && a->bcount == b->bcount && a->stamp == b->stamp;
}

struct hammer {
	struct cache *cache;
	_Atomic bool is_over;
	uint64_t n_seen;
	uint64_t n_mixed;
};

static void *hammer_read(void *arg)
{
	struct hammer *hammer = arg;
	for (uint32_t i = 0; !atomic_load_explicit(&hammer->is_over, memory_order_acquire); i++) {
		struct cache_key key = key_of(i % HAMMER_KEYS);
		struct cache_entry entry;
		if (cache_get(hammer->cache, &key, &entry)) {
			struct cache_entry whole = hammer_entry(entry.first_secs);
			hammer->n_seen++;
			hammer->n_mixed += !is_same(&whole, &entry) ||
			                   entry.first_secs % HAMMER_KEYS != i % HAMMER_KEYS;
		}
	}
	return NULL;
}

static void readers_never_see_a_mixture_of_two_writes(void **state)
{
	(void)state;
	struct hammer hammer = {.cache = cache_new(32)};
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, hammer_read, &hammer), 0);
	for (uint32_t n = 0; n < HAMMER_WRITES; n++) {
		struct cache_key key = key_of(n % HAMMER_KEYS);
		struct cache_entry entry = hammer_entry(n);
		(void)cache_put(hammer.cache, &key, &entry, NULL, NULL);
		if (n % 5 == 0) {
			key = key_of((n / 5) % HAMMER_KEYS);
			cache_delete(hammer.cache, &key);
		}
	}
	atomic_store_explicit(&hammer.is_over, true, memory_order_release);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(hammer.n_mixed, 0);
	assert_true(cache_used(hammer.cache) <= 32);
	cache_free(hammer.cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(an_entry_reads_back_in_every_field, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(known_absence_is_an_entry_too, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_second_put_overwrites_and_delete_removes, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(a_full_group_evicts_the_earliest_committed_expiry,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(a_dirty_entry_that_goes_is_handed_out, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(a_group_of_uncommitted_entries_takes_no_more, setup,
	                                        teardown),
	        cmocka_unit_test(a_large_table_holds_what_fits),
	        cmocka_unit_test(readers_never_see_a_mixture_of_two_writes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
