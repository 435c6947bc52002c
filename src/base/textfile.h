/* A file of the administrator's (nospamd, allowed domains) on its way to a role: read by the
 * supervisor, which may read it, into a file in memory that nobody can change any more. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

enum { TEXTFILE_BYTES_MAX = 64 << 20, TEXTFILE_WHY_MAX = 600 };

struct textfile {
	char *bytes; /* NULL when len is 0; not NUL-terminated */
	size_t len;
	bool is_missing; /* it is not there, and it may be missing */
};

/* Reads the whole file. may_miss: none is an empty one. -errno, ERR_TOO_LONG, ERR_UNSUPPORTED (a
 * pipe, which would be waited for) with why naming the path. */
MUST_USE int textfile_read(const char *path, bool may_miss, struct textfile *out,
                           char why[static TEXTFILE_WHY_MAX]);
void textfile_fini(struct textfile *file);
/* A sealed memfd with its bytes, close-on-exec. -errno. */
MUST_USE int textfile_seal(const struct textfile *file);
