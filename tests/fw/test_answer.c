/* What the kernel answers, decoded; and bytes it would never send, refused. */
#include "fw/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/err.h"

/* Attributes as strace shows them for a white host with a counter; 4-aligned as in a message. */
_Alignas(4) static const uint8_t element[] = {
        /* table "t", set "s" */
        6, 0, 1, 0, 't', 0, 0, 0, 6, 0, 2, 0, 's', 0, 0, 0,
        /* elements: one, with key 192.0.2.1 */
        88, 0, 3, 0x80, 84, 0, 1, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 192, 0, 2, 1,
        /* timeout 1000 ms, 500 left */
        12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 3, 0xe8, 12, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0xf4,
        /* expression: "counter" of 84 bytes and 2 packets */
        44, 0, 7, 0x80, 12, 0, 1, 0, 'c', 'o', 'u', 'n', 't', 'e', 'r', 0, 28, 0, 2, 0x80, 12, 0, 1,
        0, 0, 0, 0, 0, 0, 0, 0, 84, 12, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2};

_Alignas(4) static const uint8_t counter[] = {
        /* table "t", name "c_white", type counter */
        6, 0, 1, 0, 't', 0, 0, 0, 12, 0, 2, 0, 'c', '_', 'w', 'h', 'i', 't', 'e', 0, 8, 0, 3, 0, 0,
        0, 0, 1,
        /* data: 600 bytes, 10 packets */
        28, 0, 4, 0x80, 12, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0x58, 12, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0,
        10};

enum { KEY_AT = 28, FIRST_TIME_AT = 36, EXPRESSION_AT = 60, NAME_AT = 8, DATA_AT = 28 };

static void an_element_has_key_times_and_count(void **state)
{
	(void)state;
	static const uint8_t key[] = {192, 0, 2, 1};
	struct answer_element out;
	assert_int_equal(answer_element(span_of(element, sizeof element), &out), 0);
	assert_int_equal(out.key_len, 4);
	assert_memory_equal(out.key, key, sizeof key);
	assert_false(out.is_end);
	assert_true(out.has_timeout);
	assert_int_equal(out.timeout_ms, 1000);
	assert_int_equal(out.left_ms, 500);
	assert_true(out.has_count);
	assert_int_equal(out.count.packets, 2);
	assert_int_equal(out.count.bytes, 84);
}

static void a_counter_has_a_name_and_numbers(void **state)
{
	(void)state;
	struct answer_counter out;
	assert_int_equal(answer_counter(span_of(counter, sizeof counter), "t", &out), 0);
	assert_string_equal(out.name, "c_white");
	assert_int_equal(out.count.packets, 10);
	assert_int_equal(out.count.bytes, 600);
	assert_int_equal(answer_counter(span_of(counter, sizeof counter), "other", &out),
	                 ERR_NOT_FOUND);
}

static void an_object_of_another_kind_is_no_counter(void **state)
{
	(void)state;
	_Alignas(4) uint8_t bytes[sizeof counter];
	struct answer_counter out;
	memcpy(bytes, counter, sizeof bytes);
	bytes[DATA_AT - 1] = 2;
	assert_int_equal(answer_counter(span_of(bytes, sizeof bytes), "t", &out), ERR_NOT_FOUND);
}

/* Nothing is read behind the end; asan looks. */
static void what_is_cut_anywhere_is_refused(void **state)
{
	(void)state;
	for (size_t len = 0; len < sizeof element; len++) {
		_Alignas(4) uint8_t bytes[sizeof element];
		struct answer_element out;
		memcpy(bytes, element, len);
		assert_int_equal(answer_element(span_of(bytes, len), &out), ERR_CORRUPT);
	}
	for (size_t len = 0; len < sizeof counter; len++) {
		_Alignas(4) uint8_t bytes[sizeof counter];
		struct answer_counter out;
		memcpy(bytes, counter, len);
		assert_true(answer_counter(span_of(bytes, len), "t", &out) < 0);
	}
}

/* One byte of each length or type changed at a time. */
static void wrong_lengths_are_refused(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint8_t value;
	} rows[] = {
	        {KEY_AT, 7},             /* a key of 3 bytes */
	        {KEY_AT, 0},             /* an attribute shorter than its header */
	        {KEY_AT, 13},            /* longer than what holds it */
	        {FIRST_TIME_AT, 8},      /* a time of 4 bytes */
	        {FIRST_TIME_AT + 14, 6}, /* a timeout, but no expiry */
	        {EXPRESSION_AT + 16, 4}, /* a counter without numbers */
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_Alignas(4) uint8_t bytes[sizeof element];
		struct answer_element out = {.key_len = 99};
		memcpy(bytes, element, sizeof bytes);
		bytes[rows[i].at] = rows[i].value;
		if (answer_element(span_of(bytes, sizeof bytes), &out) != ERR_CORRUPT) {
			fail_msg("row %zu was taken", i);
		}
		assert_int_equal(out.key_len, 99);
	}
}

static void a_name_without_end_is_refused(void **state)
{
	(void)state;
	_Alignas(4) uint8_t bytes[sizeof counter];
	struct answer_counter out;
	memcpy(bytes, counter, sizeof bytes);
	bytes[NAME_AT + 11] = 'x';
	assert_int_equal(answer_counter(span_of(bytes, sizeof bytes), "t", &out), ERR_CORRUPT);
}

static void an_expression_other_than_a_counter_counts_nothing(void **state)
{
	(void)state;
	_Alignas(4) uint8_t bytes[sizeof element];
	struct answer_element out;
	memcpy(bytes, element, sizeof bytes);
	bytes[EXPRESSION_AT + 8] = 'C';
	assert_int_equal(answer_element(span_of(bytes, sizeof bytes), &out), 0);
	assert_false(out.has_count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_element_has_key_times_and_count),
	        cmocka_unit_test(a_counter_has_a_name_and_numbers),
	        cmocka_unit_test(an_object_of_another_kind_is_no_counter),
	        cmocka_unit_test(what_is_cut_anywhere_is_refused),
	        cmocka_unit_test(wrong_lengths_are_refused),
	        cmocka_unit_test(a_name_without_end_is_refused),
	        cmocka_unit_test(an_expression_other_than_a_counter_counts_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
