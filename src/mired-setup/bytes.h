/* A growing run of bytes with a bound: what was read so far of a list. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

struct bytes {
	uint8_t *ptr;
	size_t len;
	size_t capacity;
};

void bytes_fini(struct bytes *bytes);
struct span bytes_span(const struct bytes *bytes);
/* Room for `more` bytes behind the end (the caller fills it and adds to len). ERR_TOO_LONG when the
 * whole would be more than max, -ENOMEM. */
MUST_USE int bytes_reserve(struct bytes *bytes, size_t more, size_t max);
MUST_USE int bytes_append(struct bytes *bytes, const void *data, size_t len, size_t max);
/* Reads fd to its end. ERR_TOO_LONG when there are more than max bytes, -ENOMEM, -errno. */
MUST_USE int bytes_read_fd(struct bytes *bytes, int fd, size_t max);
