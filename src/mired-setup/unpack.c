/* zlib in steps, so that a small file that unpacks to a huge one stops at the bound. */
#include "mired-setup/unpack.h"

#include <errno.h>
#include <limits.h>
#include <zlib.h>

#include "base/err.h"

enum {
	UNPACK_STEP = 64 << 10,
	GZIP_ONLY = 15 + 16, /* window bits of inflateInit2: largest window, gzip header */
};

bool unpack_is_gzip(struct span data)
{
	return data.len >= 2 && data.ptr[0] == 0x1f && data.ptr[1] == 0x8b;
}

/* Gives zlib the next piece of the input; its counter is narrower than ours. */
static void feed(z_stream *stream, struct span *rest)
{
	if (stream->avail_in == 0 && rest->len > 0) {
		uInt n = rest->len < INT_MAX ? (uInt)rest->len : INT_MAX;
		stream->next_in = (Bytef *)(uintptr_t)rest->ptr;
		stream->avail_in = n;
		*rest = span_skip(*rest, n);
	}
}

static int error_of(int zret)
{
	return zret == Z_MEM_ERROR ? -ENOMEM : zret == Z_BUF_ERROR ? ERR_TRUNCATED : ERR_CORRUPT;
}

/* One step of output. *is_end: a member is complete. */
static int inflate_step(z_stream *stream, size_t max, struct bytes *out, bool *is_end)
{
	int ret = bytes_reserve(out, 1, max);
	if (ret == 0 && out->capacity - out->len < UNPACK_STEP && max - out->len >= UNPACK_STEP) {
		ret = bytes_reserve(out, UNPACK_STEP, max);
	}
	if (ret) {
		return ret;
	}
	size_t room = out->capacity - out->len;
	room = room > UNPACK_STEP ? UNPACK_STEP : room;
	stream->next_out = out->ptr + out->len;
	stream->avail_out = (uInt)room;
	int zret = inflate(stream, Z_NO_FLUSH);
	out->len += room - stream->avail_out;
	*is_end = zret == Z_STREAM_END;
	return zret == Z_OK || zret == Z_STREAM_END ? 0 : error_of(zret);
}

/* Whether another member follows directly. */
static bool has_next_member(const z_stream *stream, struct span rest)
{
	struct span left = stream->avail_in > 0 ? span_of(stream->next_in, stream->avail_in) : rest;
	return unpack_is_gzip(left);
}

int unpack_gzip(struct span data, size_t max, struct bytes *out)
{
	z_stream stream = {.zalloc = Z_NULL};
	struct span rest = data;
	if (inflateInit2(&stream, GZIP_ONLY) != Z_OK) {
		return -ENOMEM;
	}
	int ret = 0;
	for (bool is_done = false; ret == 0 && !is_done;) {
		bool is_end = false;
		feed(&stream, &rest);
		/* the bound is one byte higher here: a list of exactly that size still has to meet
		 * its end mark */
		ret = inflate_step(&stream, max + 1, out, &is_end);
		if (ret == 0 && out->len > max) {
			ret = ERR_TOO_LONG;
		}
		if (ret == 0 && is_end) {
			is_done = !has_next_member(&stream, rest) || inflateReset(&stream) != Z_OK;
		}
	}
	(void)inflateEnd(&stream);
	return ret;
}
