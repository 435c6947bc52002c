/* Writing whole files: every byte, then the disk, then the name. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int file_write_all(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);
		if (n < 0 && errno != EINTR) {
			return -errno;
		}
		bytes = n > 0 ? span_skip(bytes, (size_t)n) : bytes;
	}
	return 0;
}

static int write_temporary(const struct file_place *place, const struct span *parts, size_t n)
{
	int fd = openat(place->dir, place->temporary,
	                O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, place->mode);
	if (fd < 0) {
		return -errno;
	}
	int ret = 0;
	for (size_t i = 0; i < n && ret == 0; i++) {
		ret = file_write_all(fd, parts[i]);
	}
	if (ret == 0 && fsync(fd) < 0) {
		ret = -errno;
	}
	if (close(fd) < 0 && ret == 0) {
		ret = -errno;
	}
	return ret;
}

int file_replace(const struct file_place *place, const struct span *parts, size_t n)
{
	int ret = write_temporary(place, parts, n);
	if (ret == 0 && renameat(place->dir, place->temporary, place->dir, place->name) < 0) {
		ret = -errno;
	}
	if (ret != 0) {
		(void)unlinkat(place->dir, place->temporary, 0); /* it may not be there */
	}
	return ret;
}
