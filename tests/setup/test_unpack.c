/* gzip data, whole, cut, joined, damaged and far larger than they look. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/err.h"
#include "mired-setup/unpack.h"

enum { MAX = 1 << 20, GZIP = 15 + 16 };

/* Packs as gzip(1) does, behind what out holds. */
static void pack(const void *data, size_t len, struct bytes *out)
{
	z_stream stream = {.zalloc = Z_NULL};
	assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, GZIP, 8, Z_DEFAULT_STRATEGY), Z_OK);
	size_t room = deflateBound(&stream, len) + 64;
	assert_int_equal(bytes_reserve(out, room, SIZE_MAX), 0);
	stream.next_in = (Bytef *)(uintptr_t)data;
	stream.avail_in = (uInt)len;
	stream.next_out = out->ptr + out->len;
	stream.avail_out = (uInt)room;
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	out->len += room - stream.avail_out;
	(void)deflateEnd(&stream);
}

static void gzip_is_known_by_its_first_bytes(void **state)
{
	(void)state;
	assert_true(unpack_is_gzip(SPAN("\x1f\x8b\x08")));
	assert_false(unpack_is_gzip(SPAN("\x1f")));
	assert_false(unpack_is_gzip(SPAN("192.0.2.1\n")));
	assert_false(unpack_is_gzip(SPAN("")));
}

static void members_that_follow_each_other_are_one_text(void **state)
{
	(void)state;
	struct bytes packed = {.ptr = NULL};
	struct bytes out = {.ptr = NULL};
	pack("192.0.2.1\n", 10, &packed);
	pack("", 0, &packed);
	pack("2001:db8::1\n", 12, &packed);
	assert_int_equal(bytes_append(&packed, "garbage", 7, SIZE_MAX), 0);
	assert_int_equal(unpack_gzip(bytes_span(&packed), MAX, &out), 0);
	assert_int_equal(out.len, 22);
	assert_memory_equal(out.ptr, "192.0.2.1\n2001:db8::1\n", 22);
	bytes_fini(&out);
	bytes_fini(&packed);
}

static void every_cut_is_noticed(void **state)
{
	(void)state;
	struct bytes packed = {.ptr = NULL};
	pack("192.0.2.1\n192.0.2.2\n192.0.2.3\n", 30, &packed);
	for (size_t len = 2; len < packed.len; len++) {
		struct bytes out = {.ptr = NULL};
		uint8_t *cut = malloc(len); /* of its own, so that a step beyond it shows */
		assert_non_null(cut);
		memcpy(cut, packed.ptr, len);
		assert_int_equal(unpack_gzip(span_of(cut, len), MAX, &out), ERR_TRUNCATED);
		free(cut);
		bytes_fini(&out);
	}
	bytes_fini(&packed);
}

static void damage_is_noticed(void **state)
{
	(void)state;
	struct bytes packed = {.ptr = NULL};
	struct bytes out = {.ptr = NULL};
	pack("192.0.2.1\n192.0.2.2\n192.0.2.3\n", 30, &packed);
	packed.ptr[packed.len - 6] ^= 1; /* in the checksum */
	assert_int_equal(unpack_gzip(bytes_span(&packed), MAX, &out), ERR_CORRUPT);
	bytes_fini(&out);
	bytes_fini(&packed);
}

static void a_bomb_stops_at_the_bound(void **state)
{
	(void)state;
	static const size_t sizes[] = {MAX - 1, MAX, MAX + 1, 64 * (size_t)MAX};
	char *zeros = calloc(1, 64 * (size_t)MAX);
	assert_non_null(zeros);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct bytes packed = {.ptr = NULL};
		struct bytes out = {.ptr = NULL};
		pack(zeros, sizes[i], &packed);
		int expected = sizes[i] <= MAX ? 0 : ERR_TOO_LONG;
		assert_int_equal(unpack_gzip(bytes_span(&packed), MAX, &out), expected);
		assert_true(out.capacity <= MAX + 1);
		if (expected == 0) {
			assert_int_equal(out.len, sizes[i]);
		}
		bytes_fini(&out);
		bytes_fini(&packed);
	}
	free(zeros);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(gzip_is_known_by_its_first_bytes),
	        cmocka_unit_test(members_that_follow_each_other_are_one_text),
	        cmocka_unit_test(every_cut_is_noticed),
	        cmocka_unit_test(damage_is_noticed),
	        cmocka_unit_test(a_bomb_stops_at_the_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
