/* Grows by doubling; a list of the greatest size costs at most twice its bytes while it grows. */
#include "mired-setup/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"

enum { BYTES_FIRST = 4096, BYTES_READ = 64 << 10 };

void bytes_fini(struct bytes *bytes)
{
	free(bytes->ptr);
	*bytes = (struct bytes){.ptr = NULL};
}

struct span bytes_span(const struct bytes *bytes)
{
	return span_of(bytes->ptr, bytes->len);
}

int bytes_reserve(struct bytes *bytes, size_t more, size_t max)
{
	if (more > max || bytes->len > max - more) {
		return ERR_TOO_LONG;
	}
	size_t needed = bytes->len + more;
	if (needed <= bytes->capacity) {
		return 0;
	}
	size_t capacity = bytes->capacity > max / 2 ? max : bytes->capacity * 2;
	capacity = capacity < BYTES_FIRST ? BYTES_FIRST : capacity;
	capacity = capacity < needed ? needed : capacity;
	uint8_t *ptr = realloc(bytes->ptr, capacity);
	if (!ptr) {
		return -ENOMEM;
	}
	bytes->ptr = ptr;
	bytes->capacity = capacity;
	return 0;
}

int bytes_append(struct bytes *bytes, const void *data, size_t len, size_t max)
{
	int ret = len > 0 ? bytes_reserve(bytes, len, max) : 0;
	if (ret == 0 && len > 0) {
		memcpy(bytes->ptr + bytes->len, data, len);
		bytes->len += len;
	}
	return ret;
}

int bytes_read_fd(struct bytes *bytes, int fd, size_t max)
{
	static const size_t step = BYTES_READ;
	for (;;) {
		/* one byte beyond the bound tells a file of exactly that size from a longer one */
		size_t room =
		        bytes->len < max && max - bytes->len > step ? step : max - bytes->len + 1;
		int ret = bytes_reserve(bytes, room, max + 1);
		if (ret) {
			return ret;
		}
		ssize_t n = read(fd, bytes->ptr + bytes->len, room);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return n == 0 ? 0 : -errno;
		}
		bytes->len += (size_t)n;
		if (bytes->len > max) {
			return ERR_TOO_LONG;
		}
	}
}
