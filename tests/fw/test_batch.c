/* The bytes of batches. Numbers as in linux/netlink.h and linux/netfilter/nf_tables.h. */
#include "fw/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

enum { BYTES_MAX = 4 << 20 }; /* a bound that is reached sooner */

static const struct batch_element v4 = {.key = {192, 0, 2, 1}, .key_len = 4, .timeout_ms = 1000};

/* Calls per message, by walking the lengths. */
static unsigned count_messages(const struct batch *batch)
{
	unsigned n = 0;
	for (size_t at = 0; at < batch->len; n++) {
		uint32_t len;
		memcpy(&len, batch->bytes + at, sizeof len);
		assert_in_range(len, 20, batch->len - at);
		assert_int_equal(len % 4, 0);
		at += len;
	}
	return n;
}

static uint16_t flags_at(const struct batch *batch, size_t at)
{
	uint16_t flags;
	memcpy(&flags, batch->bytes + at + 6, sizeof flags);
	return flags;
}

static void a_batch_with_one_element_has_these_bytes(void **state)
{
	(void)state;
	/* little-endian hosts only: netlink headers are in host order */
	static const uint8_t wanted[] = {
	        /* begin: length 20, type 16, request, seq 7, no family, subsystem 10 */
	        20, 0, 0, 0, 16, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10,
	        /* NEWSETELEM (12) of subsystem 10: request | ack | create, seq 8, inet */
	        68, 0, 0, 0, 12, 10, 5, 4, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
	        /* table "t", set "s" */
	        6, 0, 1, 0, 't', 0, 0, 0, 6, 0, 2, 0, 's', 0, 0, 0,
	        /* list of elements: one, with key and timeout */
	        32, 0, 3, 0x80, 28, 0, 1, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 192, 0, 2, 1, 12, 0, 4,
	        0, 0, 0, 0, 0, 0, 0, 3, 0xe8,
	        /* end: type 17, seq 9 */
	        20, 0, 0, 0, 17, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10};
	struct batch batch;
	batch_init(&batch);
	batch_begin(&batch, 7);
	batch_element(&batch, BATCH_PUT, "t", "s", &v4);
	assert_int_equal(batch_end(&batch), 0);
	assert_int_equal(batch.len, sizeof wanted);
	assert_memory_equal(batch.bytes, wanted, sizeof wanted);
	assert_int_equal(batch.first_seq, 7);
	assert_int_equal(batch.last_seq, 8);
	batch_fini(&batch);
}

/* A counter: its name, then 84 bytes in 2 packets (or none). */
#define COUNTER(attribute, n_bytes, n_packets)                                                     \
	44, 0, attribute, 0x80, 12, 0, 1, 0, 'c', 'o', 'u', 'n', 't', 'e', 'r', 0, 28, 0, 2, 0x80, \
	        12, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, n_bytes, 12, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0,       \
	        n_packets

static void a_set_that_counts_says_so_by_an_expression(void **state)
{
	(void)state;
	static const uint8_t wanted[] = {COUNTER(17, 0, 0)};
	const struct batch_set set = {.name = "s", .id = 1, .has_counters = true};
	struct batch batch;
	batch_init(&batch);
	batch_begin(&batch, 1);
	batch_add_set(&batch, "t", &set);
	size_t end = batch.len;
	assert_memory_equal(batch.bytes + end - sizeof wanted, wanted, sizeof wanted);
	assert_int_equal(batch_end(&batch), 0);
	batch_fini(&batch);
}

static void an_element_may_go_on_counting(void **state)
{
	(void)state;
	static const uint8_t wanted[] = {COUNTER(7, 84, 2)};
	struct batch_element element = v4;
	element.has_count = true;
	element.packets = 2;
	element.bytes = 84;
	struct batch batch;
	batch_init(&batch);
	batch_begin(&batch, 1);
	batch_element(&batch, BATCH_PUT, "t", "s", &element);
	size_t end = batch.len;
	assert_memory_equal(batch.bytes + end - sizeof wanted, wanted, sizeof wanted);
	assert_int_equal(batch_end(&batch), 0);
	assert_int_equal(count_messages(&batch), 3);
	batch_fini(&batch);
}

static void elements_of_one_kind_share_a_message_up_to_the_attribute_limit(void **state)
{
	(void)state;
	struct batch batch;
	batch_init(&batch);
	batch_begin(&batch, 1);
	for (unsigned i = 0; i < 2000; i++) {
		batch_element(&batch, BATCH_PUT, "t", "s", &v4);
	}
	assert_int_equal(batch_end(&batch), 0);
	assert_int_equal(count_messages(&batch), 3);
	batch_begin(&batch, 1);
	for (unsigned i = 0; i < 5000; i++) {
		batch_element(&batch, BATCH_PUT, "t", "s", &v4);
	}
	assert_int_equal(batch_end(&batch), 0);
	assert_int_equal(count_messages(&batch), 5);
	batch_fini(&batch);
}

static void another_set_or_operation_starts_another_message(void **state)
{
	(void)state;
	struct batch batch;
	batch_init(&batch);
	batch_begin(&batch, 1);
	batch_element(&batch, BATCH_PUT, "t", "s", &v4);
	batch_element(&batch, BATCH_PUT, "t", "s6", &v4);
	batch_element(&batch, BATCH_DELETE, "t", "s6", &v4);
	batch_element(&batch, BATCH_DESTROY, "t", "s6", &v4);
	batch_flush_set(&batch, "t", "s6");
	batch_element(&batch, BATCH_DESTROY, "t", "s6", &v4);
	assert_int_equal(batch_end(&batch), 0);
	assert_int_equal(count_messages(&batch), 8);
	batch_fini(&batch);
}

static void only_the_last_message_asks_for_an_answer(void **state)
{
	(void)state;
	struct batch batch;
	batch_init(&batch);
	batch_begin(&batch, 1);
	batch_add_table(&batch, "t", 0);
	size_t first = batch.msg_at;
	batch_delete_table(&batch, "t");
	size_t last = batch.msg_at;
	assert_int_equal(batch_end(&batch), 0);
	assert_int_equal(flags_at(&batch, 0), 1);
	assert_int_equal(flags_at(&batch, first) & 4, 0);
	assert_int_equal(flags_at(&batch, last) & 4, 4);
	assert_int_equal(flags_at(&batch, batch.msg_at) & 4, 0);
	batch_fini(&batch);
}

static void a_batch_beyond_its_bound_fails_and_the_next_one_does_not(void **state)
{
	(void)state;
	struct batch batch;
	batch_init(&batch);
	assert_int_equal(batch.bytes_max, BATCH_BYTES_MAX);
	batch.bytes_max = BYTES_MAX;
	batch_begin(&batch, 1);
	for (unsigned i = 0; i < BYTES_MAX / 28; i++) {
		batch_element(&batch, BATCH_PUT, "t", "s", &v4);
	}
	assert_int_equal(batch_end(&batch), ERR_TOO_LONG);
	batch_begin(&batch, 1);
	batch_element(&batch, BATCH_PUT, "t", "s", &v4);
	assert_int_equal(batch_end(&batch), 0);
	batch_fini(&batch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_batch_with_one_element_has_these_bytes),
	        cmocka_unit_test(a_set_that_counts_says_so_by_an_expression),
	        cmocka_unit_test(an_element_may_go_on_counting),
	        cmocka_unit_test(elements_of_one_kind_share_a_message_up_to_the_attribute_limit),
	        cmocka_unit_test(another_set_or_operation_starts_another_message),
	        cmocka_unit_test(only_the_last_message_asks_for_an_answer),
	        cmocka_unit_test(a_batch_beyond_its_bound_fails_and_the_next_one_does_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
