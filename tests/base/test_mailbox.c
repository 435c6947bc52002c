/* The message ring, alone and between two threads. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mailbox.h"

static void messages_come_out_in_order_with_their_length(void **state)
{
	struct mailbox *mailbox = mailbox_new(1024);
	size_t len;
	(void)state;
	assert_true(mailbox_is_empty(mailbox));
	assert_null(mailbox_peek(mailbox, &len));
	memcpy(mailbox_reserve(mailbox, 3), "abc", 3);
	mailbox_post(mailbox);
	(void)mailbox_reserve(mailbox, 0);
	mailbox_post(mailbox);
	assert_false(mailbox_is_empty(mailbox));
	assert_memory_equal(mailbox_peek(mailbox, &len), "abc", 3);
	assert_int_equal(len, 3);
	mailbox_release(mailbox);
	assert_non_null(mailbox_peek(mailbox, &len));
	assert_int_equal(len, 0);
	mailbox_release(mailbox);
	assert_true(mailbox_is_empty(mailbox));
	mailbox_free(mailbox);
}

static void an_unposted_reservation_is_forgotten(void **state)
{
	struct mailbox *mailbox = mailbox_new(1024);
	size_t len;
	(void)state;
	memcpy(mailbox_reserve(mailbox, 3), "abc", 3);
	assert_null(mailbox_peek(mailbox, &len));
	memcpy(mailbox_reserve(mailbox, 2), "de", 2);
	mailbox_post(mailbox);
	assert_memory_equal(mailbox_peek(mailbox, &len), "de", 2);
	mailbox_release(mailbox);
	assert_null(mailbox_peek(mailbox, &len));
	mailbox_free(mailbox);
}

static void a_full_mailbox_says_so_until_something_is_released(void **state)
{
	struct mailbox *mailbox = mailbox_new(1024);
	size_t len;
	int n_posted = 0;
	(void)state;
	while (mailbox_reserve(mailbox, 56)) {
		mailbox_post(mailbox);
		n_posted++;
	}
	assert_int_equal(n_posted, 16); /* 1024 / (56 + 8) */
	assert_null(mailbox_reserve(mailbox, 56));
	assert_non_null(mailbox_peek(mailbox, &len));
	mailbox_release(mailbox);
	assert_non_null(mailbox_reserve(mailbox, 56));
	mailbox_free(mailbox);
}

static void the_largest_message_always_fits_an_empty_mailbox(void **state)
{
	struct mailbox *mailbox = mailbox_new(1024);
	size_t len;
	(void)state;
	for (size_t i = 0; i < 200; i++) {
		size_t small = i % 60;
		(void)mailbox_reserve(mailbox, small);
		mailbox_post(mailbox);
		assert_non_null(mailbox_peek(mailbox, &len));
		mailbox_release(mailbox);
		uint8_t *large = mailbox_reserve(mailbox, 256);
		assert_non_null(large);
		assert_int_equal((uintptr_t)large % 8, 0);
		memset(large, (int)i, 256);
		mailbox_post(mailbox);
		const uint8_t *got = mailbox_peek(mailbox, &len);
		assert_int_equal(len, 256);
		assert_int_equal(got[255], (uint8_t)i);
		mailbox_release(mailbox);
	}
	mailbox_free(mailbox);
}

enum { N_MESSAGES = 200000 };

static size_t length_of(uint32_t n)
{
	return 4 + n * 7 % 200;
}

static void *write_all(void *arg)
{
	struct mailbox *mailbox = arg;
	for (uint32_t n = 0; n < N_MESSAGES;) {
		uint8_t *message = mailbox_reserve(mailbox, length_of(n));
		if (!message) {
			(void)sched_yield();
			continue;
		}
		memcpy(message, &n, sizeof n);
		memset(message + 4, (int)n, length_of(n) - 4);
		mailbox_post(mailbox);
		n++;
	}
	return NULL;
}

static void two_threads_pass_every_message_once_and_whole(void **state)
{
	struct mailbox *mailbox = mailbox_new(4096);
	pthread_t writer;
	(void)state;
	assert_int_equal(pthread_create(&writer, NULL, write_all, mailbox), 0);
	for (uint32_t n = 0; n < N_MESSAGES;) {
		size_t len;
		const uint8_t *message = mailbox_peek(mailbox, &len);
		if (!message) {
			(void)sched_yield();
			continue;
		}
		assert_int_equal(len, length_of(n));
		assert_memory_equal(message, &n, sizeof n);
		assert_true(len == 4 || message[len - 1] == (uint8_t)n);
		mailbox_release(mailbox);
		n++;
	}
	assert_int_equal(pthread_join(writer, NULL), 0);
	assert_true(mailbox_is_empty(mailbox));
	mailbox_free(mailbox);
}

static void a_mailbox_that_runs_empty_touches_only_its_beginning(void **state)
{
	(void)state;
	enum { SIZE = 1 << 20, LEN = 1000, MESSAGES = 5000, TOUCHED_MAX = 66 * 1024 };
	struct mailbox *mailbox = mailbox_new(SIZE);
	uint8_t *first = mailbox_reserve(mailbox, LEN);
	uint8_t *message = first;
	for (uint32_t i = 0; i < MESSAGES; i++) {
		size_t len;
		memcpy(message, &i, sizeof i);
		mailbox_post(mailbox);
		const uint8_t *read = mailbox_peek(mailbox, &len);
		assert_ptr_equal(read, message);
		assert_int_equal(len, LEN);
		mailbox_release(mailbox);
		message = mailbox_reserve(mailbox, LEN);
		assert_in_range(message - first, 0, TOUCHED_MAX);
	}
	mailbox_free(mailbox);
}

static void a_mailbox_that_is_never_empty_uses_all_of_its_room(void **state)
{
	(void)state;
	enum { SIZE = 1 << 18, LEN = 1000 };
	struct mailbox *mailbox = mailbox_new(SIZE);
	size_t n = 0;
	while (mailbox_reserve(mailbox, LEN)) {
		mailbox_post(mailbox);
		n++;
	}
	assert_int_equal(n, SIZE / (LEN + 8));
	for (; n > 0; n--) {
		size_t len;
		assert_non_null(mailbox_peek(mailbox, &len));
		mailbox_release(mailbox);
	}
	assert_true(mailbox_is_empty(mailbox));
	mailbox_free(mailbox);
}

/* Posts without a reader until there is no more room, then reads all. */
static size_t burst(struct mailbox *mailbox, size_t message_len)
{
	size_t n = 0;
	size_t len;
	while (mailbox_reserve(mailbox, message_len)) {
		mailbox_post(mailbox);
		n++;
	}
	while (mailbox_peek(mailbox, &len)) {
		mailbox_release(mailbox);
	}
	return n;
}

/* What is posted after 66 messages of 1000 bytes, each read at once: a little behind the place at
 * which a large mailbox begins anew. */
static size_t burst_after_little(struct mailbox *mailbox)
{
	enum { LITTLE = 66, LEN = 1000 };
	size_t len;
	for (int i = 0; i < LITTLE; i++) {
		assert_non_null(mailbox_reserve(mailbox, LEN));
		mailbox_post(mailbox);
		assert_non_null(mailbox_peek(mailbox, &len));
		mailbox_release(mailbox);
	}
	return burst(mailbox, LEN);
}

static void bursts_soon_have_all_of_the_room_of_a_mailbox_that_runs_empty(void **state)
{
	(void)state;
	enum { SIZE = 1 << 20, BURSTS_MAX = 5 };
	struct mailbox *mailbox = mailbox_new(SIZE);
	size_t n = 0;
	for (int i = 0; i < BURSTS_MAX; i++) {
		n = burst_after_little(mailbox);
	}
	assert_in_range(n, SIZE / 1008 - 1, SIZE / 1008);
	mailbox_free(mailbox);
}

static void the_first_burst_has_all_of_the_room_of_a_small_mailbox(void **state)
{
	(void)state;
	enum { SIZE = 256 << 10 };
	struct mailbox *mailbox = mailbox_new(SIZE);
	assert_in_range(burst_after_little(mailbox), SIZE / 1008 - 1, SIZE / 1008);
	mailbox_free(mailbox);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(messages_come_out_in_order_with_their_length),
	        cmocka_unit_test(an_unposted_reservation_is_forgotten),
	        cmocka_unit_test(a_full_mailbox_says_so_until_something_is_released),
	        cmocka_unit_test(the_largest_message_always_fits_an_empty_mailbox),
	        cmocka_unit_test(a_mailbox_that_runs_empty_touches_only_its_beginning),
	        cmocka_unit_test(a_mailbox_that_is_never_empty_uses_all_of_its_room),
	        cmocka_unit_test(bursts_soon_have_all_of_the_room_of_a_mailbox_that_runs_empty),
	        cmocka_unit_test(the_first_burst_has_all_of_the_room_of_a_small_mailbox),
	        cmocka_unit_test(two_threads_pass_every_message_once_and_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
