/* The codecs of the store's rows: round trips, strictness, and that any flipped bit is noticed. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <string.h>

#include "base/err.h"
#include "store/record.h"

static const uint8_t secret[RECORD_HASH_KEY_BYTES] = "0123456789abcde";

static const struct grey_record sample = {
        .first = {1000},
        .pass = {2500},
        .expire = {15400},
        .changed_at = {1001},
        .bcount = 3,
        .pcount = 7,
        .last = {1700},
};

static const struct tuple_text sample_text = {
        .helo = SPAN("mx.example.org"),
        .sender = SPAN("<a|b\n@example.org>"),
        .recipient = SPAN("<\xff@example.net>"),
};

static struct addr some_addr(uint8_t last)
{
	struct addr addr = {{0x20, 1, 0xd, 0xb8}};
	addr.bytes[15] = last;
	return addr;
}

static struct span key_span(const struct record_key *key)
{
	return span_of(key->bytes, key->len);
}

static struct span value_span(const struct record_value *value)
{
	return span_of(value->bytes, value->len);
}

static void assert_span(struct span a, struct span b)
{
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.ptr, b.ptr, a.len);
}

static void assert_record(const struct grey_record *a, const struct grey_record *b)
{
	assert_int_equal(a->first.secs, b->first.secs);
	assert_int_equal(a->pass.secs, b->pass.secs);
	assert_int_equal(a->expire.secs, b->expire.secs);
	assert_int_equal(a->changed_at.secs, b->changed_at.secs);
	assert_int_equal(a->bcount, b->bcount);
	assert_int_equal(a->pcount, b->pcount);
	assert_int_equal(a->last.secs, b->last.secs);
	assert_int_equal(a->is_deleted, b->is_deleted);
}

static struct record_key tuple_row(struct record_value *value)
{
	struct addr addr = some_addr(9);
	struct tuple_key tuple = record_tuple_key(secret, &addr, &sample_text);
	struct record_key key = record_grey_key(&tuple);
	record_encode(key_span(&key), RECORD_GREY, &sample, &sample_text, value);
	return key;
}

static void a_tuple_reads_back_as_it_was_written(void **state)
{
	(void)state;
	struct record_value value;
	struct record_key key = tuple_row(&value);
	struct grey_record record;
	struct tuple_text text;
	assert_int_equal(
	        record_decode(key_span(&key), value_span(&value), RECORD_GREY, &record, &text), 0);
	assert_record(&record, &sample);
	assert_span(text.helo, sample_text.helo);
	assert_span(text.sender, sample_text.sender);
	assert_span(text.recipient, sample_text.recipient);
}

static void a_host_reads_back_as_it_was_written(void **state)
{
	(void)state;
	struct addr addr = some_addr(1);
	struct record_key key = record_host_key(&addr, RECORD_TRAPPED);
	struct record_value value;
	record_encode(key_span(&key), RECORD_TRAPPED, &sample, NULL, &value);
	struct grey_record record;
	struct tuple_text text;
	assert_int_equal(
	        record_decode(key_span(&key), value_span(&value), RECORD_TRAPPED, &record, &text),
	        0);
	assert_record(&record, &sample);
	assert_int_equal(text.helo.len + text.sender.len + text.recipient.len, 0);
	/* of the right checksum, but asked for as another kind */
	assert_int_equal(
	        record_decode(key_span(&key), value_span(&value), RECORD_WHITE, &record, NULL),
	        ERR_SYNTAX);
}

static void a_tombstone_reads_back_as_one(void **state)
{
	(void)state;
	struct addr addr = some_addr(1);
	struct record_key key = record_host_key(&addr, RECORD_WHITE);
	struct grey_record tombstone = sample;
	struct grey_record record;
	struct record_value value;
	tombstone.is_deleted = true;
	record_encode(key_span(&key), RECORD_WHITE, &tombstone, NULL, &value);
	assert_int_equal(
	        record_decode(key_span(&key), value_span(&value), RECORD_WHITE, &record, NULL), 0);
	assert_record(&record, &tombstone);
	value.bytes[6] = 2; /* is_deleted */
	record_seal(key_span(&key), &value);
	assert_int_equal(
	        record_decode(key_span(&key), value_span(&value), RECORD_WHITE, &record, NULL),
	        ERR_SYNTAX);
}

static void any_flipped_bit_is_noticed(void **state)
{
	(void)state;
	struct record_value value;
	struct record_key key = tuple_row(&value);
	struct grey_record record = {.bcount = 99};
	for (size_t bit = 0; bit < value.len * 8; bit++) {
		value.bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
		assert_int_equal(record_decode(key_span(&key), value_span(&value), RECORD_GREY,
		                               &record, NULL),
		                 ERR_CORRUPT);
		value.bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
	}
	assert_int_equal(record.bcount, 99);
}

static void a_value_under_another_key_is_noticed(void **state)
{
	(void)state;
	struct record_value value;
	struct record_key key = tuple_row(&value);
	key.bytes[0] ^= 1;
	struct grey_record record;
	assert_int_equal(
	        record_decode(key_span(&key), value_span(&value), RECORD_GREY, &record, NULL),
	        ERR_CORRUPT);
}

static void a_cut_value_is_noticed(void **state)
{
	(void)state;
	struct record_value value;
	struct record_key key = tuple_row(&value);
	struct grey_record record;
	for (size_t len = 0; len < value.len; len++) {
		assert_int_equal(record_decode(key_span(&key), span_of(value.bytes, len),
		                               RECORD_GREY, &record, NULL),
		                 ERR_CORRUPT);
	}
}

static void strings_beyond_the_bound_are_cut_in_key_and_value(void **state)
{
	(void)state;
	static uint8_t longest[RECORD_STRING_MAX + 50];
	memset(longest, 'x', sizeof longest);
	struct tuple_text text = {span_of(longest, sizeof longest),
	                          span_of(longest, sizeof longest),
	                          span_of(longest, sizeof longest)};
	struct tuple_text bound = {span_of(longest, RECORD_STRING_MAX),
	                           span_of(longest, RECORD_STRING_MAX),
	                           span_of(longest, RECORD_STRING_MAX)};
	struct addr addr = some_addr(2);
	struct tuple_key a = record_tuple_key(secret, &addr, &text);
	struct tuple_key b = record_tuple_key(secret, &addr, &bound);
	assert_memory_equal(a.hash, b.hash, sizeof a.hash);
	struct record_key key = record_grey_key(&a);
	struct record_value value;
	struct grey_record record;
	struct tuple_text back;
	record_encode(key_span(&key), RECORD_GREY, &sample, &text, &value);
	assert_int_equal(
	        record_decode(key_span(&key), value_span(&value), RECORD_GREY, &record, &back), 0);
	assert_span(back.recipient, bound.recipient);
}

static void times_outside_48_bits_are_cut(void **state)
{
	(void)state;
	struct grey_record odd = sample;
	odd.first.secs = -5;
	odd.expire.secs = INT64_MAX;
	struct addr addr = some_addr(3);
	struct record_key key = record_host_key(&addr, RECORD_WHITE);
	struct record_value value;
	struct grey_record record;
	record_encode(key_span(&key), RECORD_WHITE, &odd, NULL, &value);
	assert_int_equal(
	        record_decode(key_span(&key), value_span(&value), RECORD_WHITE, &record, NULL), 0);
	assert_int_equal(record.first.secs, 0);
	assert_int_equal(record.expire.secs, (INT64_C(1) << 48) - 1);
}

static void tuple_keys_differ_when_any_part_or_the_secret_differs(void **state)
{
	(void)state;
	static const struct tuple_text texts[] = {
	        {SPAN("ab"), SPAN("c"), SPAN("d")}, {SPAN("a"), SPAN("bc"), SPAN("d")},
	        {SPAN("ab"), SPAN("cd"), SPAN("")}, {SPAN("ab"), SPAN(""), SPAN("cd")},
	        {SPAN("AB"), SPAN("c"), SPAN("d")},
	};
	static const uint8_t other[RECORD_HASH_KEY_BYTES] = {1};
	struct addr addr = some_addr(1);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct tuple_key a = record_tuple_key(secret, &addr, &texts[i]);
		struct tuple_key keyed = record_tuple_key(other, &addr, &texts[i]);
		assert_memory_not_equal(a.hash, keyed.hash, sizeof a.hash);
		for (size_t j = 0; j < i; j++) {
			struct tuple_key b = record_tuple_key(secret, &addr, &texts[j]);
			assert_memory_not_equal(a.hash, b.hash, sizeof a.hash);
		}
	}
}

static struct tuple_key key_of(const char *helo, const char *sender, const char *recipient)
{
	struct addr addr = some_addr(1);
	struct tuple_text text = {span_of_str(helo), span_of_str(sender), span_of_str(recipient)};
	return record_tuple_key(secret, &addr, &text);
}

static void tuples_that_differ_in_brackets_or_case_of_the_addresses_are_one(void **state)
{
	(void)state;
	static const struct {
		const char *helo, *sender, *recipient;
		bool is_same;
	} rows[] = {
	        {"mx.Example.org", "A@example.org", "B@example.net", true},
	        {"mx.Example.org", "<a@EXAMPLE.org>", "<b@example.net>", true},
	        {"mx.Example.org", "<a@example.org", "b@example.net>", true},
	        {"mx.example.org", "<a@example.org>", "<b@example.net>", false},
	        {"<mx.Example.org>", "<a@example.org>", "<b@example.net>", false},
	        {"mx.Example.org", "<<a@example.org>>", "<b@example.net>", false},
	        {"mx.Example.org", "<>", "<b@example.net>", false},
	};
	struct tuple_key key = key_of("mx.Example.org", "a@example.org", "b@example.net");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tuple_key other = key_of(rows[i].helo, rows[i].sender, rows[i].recipient);
		assert_int_equal(memcmp(key.hash, other.hash, sizeof key.hash) == 0,
		                 rows[i].is_same);
	}
	struct tuple_key null_sender = key_of("h", "<>", "<b@example.net>");
	struct tuple_key bare = key_of("h", "", "b@example.net");
	assert_memory_equal(null_sender.hash, bare.hash, sizeof bare.hash);
}

static void a_text_that_was_cut_makes_the_key_it_had_whole(void **state)
{
	(void)state;
	static char longest[RECORD_STRING_MAX + 50];
	memset(longest, 'X', sizeof longest - 1);
	longest[0] = '<';
	longest[sizeof longest - 2] = '>';
	struct tuple_key whole = key_of("h", longest, "b@example.net");
	longest[RECORD_STRING_MAX] = '\0';
	struct tuple_key stored = key_of("h", longest, "b@example.net");
	assert_memory_equal(whole.hash, stored.hash, sizeof whole.hash);
}

static void expiry_keys_order_by_time_and_read_back(void **state)
{
	(void)state;
	static const int64_t times[] = {0, 1, 255, 256, 65536, INT64_C(0x123456789ab)};
	struct addr addr = some_addr(1);
	struct record_key host = record_host_key(&addr, RECORD_WHITE);
	struct record_key last = {.len = 0};
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		struct record_key row =
		        record_expiry_key((struct wall){times[i]}, RECORD_WHITE, &host);
		assert_true(i == 0 || memcmp(last.bytes, row.bytes, row.len) < 0);
		last = row;
		struct wall expire;
		enum record_kind kind = RECORD_GREY;
		struct record_key inner;
		assert_int_equal(record_expiry_key_decode(key_span(&row), &expire, &kind, &inner),
		                 0);
		assert_int_equal(expire.secs, times[i]);
		assert_int_equal(kind, RECORD_WHITE);
		assert_span(key_span(&inner), key_span(&host));
	}
}

static void keys_of_a_wrong_length_or_kind_are_refused(void **state)
{
	(void)state;
	struct addr addr = some_addr(1);
	struct record_key host = record_host_key(&addr, RECORD_WHITE);
	struct record_key row = record_expiry_key((struct wall){7}, RECORD_TRAPPED, &host);
	struct wall expire;
	enum record_kind kind = RECORD_GREY;
	struct record_key inner;
	struct tuple_key tuple;
	uint64_t seq = 0;
	/* says trapped, names a white host */
	assert_int_equal(record_expiry_key_decode(key_span(&row), &expire, &kind, &inner),
	                 ERR_SYNTAX);
	row = record_expiry_key((struct wall){7}, RECORD_WHITE, &host);
	for (size_t len = 0; len < row.len; len++) {
		assert_int_equal(
		        record_expiry_key_decode(span_of(row.bytes, len), &expire, &kind, &inner),
		        ERR_SYNTAX);
	}
	host.bytes[16] = RECORD_GREY;
	assert_int_equal(record_host_key_decode(key_span(&host), &addr, &kind), ERR_SYNTAX);
	assert_int_equal(record_grey_key_decode(key_span(&host), &tuple), ERR_SYNTAX);
	assert_int_equal(record_seq_key_decode(key_span(&host), &seq), ERR_SYNTAX);
}

static void a_change_reads_back_as_it_was_written(void **state)
{
	(void)state;
	struct journal_change change = {.seq = UINT64_C(0x1122334455667788),
	                                .at = {1234},
	                                .kind = RECORD_GREY,
	                                .is_deleted = true,
	                                .origin = ORIGIN_MANUAL,
	                                .addr = some_addr(5),
	                                .hash = {1, 2, 3},
	                                .expire = {99}};
	struct record_key key = record_seq_key(change.seq);
	struct record_value value;
	struct journal_change back;
	record_change_encode(&change, &value);
	assert_int_equal(record_change_decode(key_span(&key), value_span(&value), &back), 0);
	assert_int_equal(back.seq, change.seq);
	assert_int_equal(back.at.secs, 1234);
	assert_int_equal(back.kind, RECORD_GREY);
	assert_true(back.is_deleted);
	assert_int_equal(back.origin, ORIGIN_MANUAL);
	assert_true(addr_equal(&back.addr, &change.addr));
	assert_memory_equal(back.hash, change.hash, sizeof back.hash);
	assert_int_equal(back.expire.secs, 99);
	value.bytes[7] = ORIGIN_COUNT;
	record_seal(key_span(&key), &value);
	assert_int_equal(record_change_decode(key_span(&key), value_span(&value), &back),
	                 ERR_SYNTAX);
	key.bytes[7] ^= 1;
	assert_int_equal(record_change_decode(key_span(&key), value_span(&value), &back),
	                 ERR_CORRUPT);
}

static void meta_reads_back_and_damage_is_noticed(void **state)
{
	(void)state;
	struct store_meta meta = {.created = {77}, .is_clean = true};
	memcpy(meta.hash_key, secret, sizeof meta.hash_key);
	struct record_value value;
	struct store_meta back;
	record_meta_encode(&meta, &value);
	assert_int_equal(record_meta_decode(value_span(&value), &back), 0);
	assert_memory_equal(back.hash_key, secret, sizeof back.hash_key);
	assert_int_equal(back.created.secs, 77);
	assert_true(back.is_clean);
	for (size_t i = 0; i < value.len; i++) {
		value.bytes[i] ^= 0x40;
		assert_int_equal(record_meta_decode(value_span(&value), &back), ERR_CORRUPT);
		value.bytes[i] ^= 0x40;
	}
}

static void a_cursor_reads_back_under_its_name(void **state)
{
	(void)state;
	struct record_key key = record_cursor_key("sync");
	struct record_value value;
	uint64_t seq = 0;
	record_cursor_encode(key_span(&key), UINT64_C(0x1122334455667788), &value);
	assert_int_equal(record_cursor_decode(key_span(&key), value_span(&value), &seq), 0);
	assert_int_equal(seq, UINT64_C(0x1122334455667788));
	struct record_key other = record_cursor_key("sxnc");
	assert_int_equal(record_cursor_decode(key_span(&other), value_span(&value), &seq),
	                 ERR_CORRUPT);
	assert_int_equal(record_cursor_decode(record_meta_key, value_span(&value), &seq),
	                 ERR_SYNTAX);
	for (size_t len = 0; len < value.len; len++) {
		assert_int_equal(
		        record_cursor_decode(key_span(&key), span_of(value.bytes, len), &seq),
		        ERR_CORRUPT);
	}
}

static void sound_bytes_of_another_version_are_told_apart(void **state)
{
	(void)state;
	struct record_value value;
	struct record_key key = tuple_row(&value);
	struct grey_record record;
	value.bytes[4]++;
	record_seal(key_span(&key), &value);
	assert_int_equal(
	        record_decode(key_span(&key), value_span(&value), RECORD_GREY, &record, NULL),
	        ERR_VERSION);
	struct store_meta meta = {.created = {1}};
	record_meta_encode(&meta, &value);
	value.bytes[13]++; /* schema */
	record_seal(record_meta_key, &value);
	assert_int_equal(record_meta_decode(value_span(&value), &meta), ERR_VERSION);
	value.bytes[4] ^= 1; /* magic */
	record_seal(record_meta_key, &value);
	assert_int_equal(record_meta_decode(value_span(&value), &meta), ERR_SYNTAX);
}

static void lengths_that_do_not_add_up_are_refused(void **state)
{
	(void)state;
	struct grey_record record;
	for (size_t at = 45; at < 51; at++) { /* the three lengths */
		struct record_value value;
		struct record_key key = tuple_row(&value);
		value.bytes[at] ^= at % 2 ? 1 : 8;
		record_seal(key_span(&key), &value);
		assert_int_equal(record_decode(key_span(&key), value_span(&value), RECORD_GREY,
		                               &record, NULL),
		                 ERR_SYNTAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_tuple_reads_back_as_it_was_written),
	        cmocka_unit_test(a_host_reads_back_as_it_was_written),
	        cmocka_unit_test(a_tombstone_reads_back_as_one),
	        cmocka_unit_test(any_flipped_bit_is_noticed),
	        cmocka_unit_test(a_value_under_another_key_is_noticed),
	        cmocka_unit_test(a_cut_value_is_noticed),
	        cmocka_unit_test(strings_beyond_the_bound_are_cut_in_key_and_value),
	        cmocka_unit_test(times_outside_48_bits_are_cut),
	        cmocka_unit_test(tuple_keys_differ_when_any_part_or_the_secret_differs),
	        cmocka_unit_test(tuples_that_differ_in_brackets_or_case_of_the_addresses_are_one),
	        cmocka_unit_test(a_text_that_was_cut_makes_the_key_it_had_whole),
	        cmocka_unit_test(expiry_keys_order_by_time_and_read_back),
	        cmocka_unit_test(keys_of_a_wrong_length_or_kind_are_refused),
	        cmocka_unit_test(a_change_reads_back_as_it_was_written),
	        cmocka_unit_test(meta_reads_back_and_damage_is_noticed),
	        cmocka_unit_test(a_cursor_reads_back_under_its_name),
	        cmocka_unit_test(sound_bytes_of_another_version_are_told_apart),
	        cmocka_unit_test(lengths_that_do_not_add_up_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
