/* Small files written whole. Any thread. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/span.h"

/* Writes all of it, however many calls that takes. -errno. */
MUST_USE int file_write_all(int fd, struct span bytes);

/* A file in a directory that is replaced as one. */
struct file_place {
	int dir;
	const char *name;
	const char
	        *temporary; /* beside it, while the new one is written; an old one is overwritten */
	mode_t mode;
};

/* The file's content becomes the parts, one behind the other: written aside, made durable and
 * renamed,
 * so that after a kill or a power cut it is the old one or the new one. The rename itself
 * is durable after an fsync of the directory, which is the caller's. -errno: the old file stands.
 */
MUST_USE int file_replace(const struct file_place *place, const struct span *parts, size_t n);
