/* The last good copies of lists: STATE/lists/fetched/NAME, one file each, so that the data and what
 * is known of them change together. Text of a few lines, an empty line, the unpacked data:
 *
 *   mired-list 1
 *   source https://lists.example/bad.gz
 *   entries 1234
 *   bytes 20480
 *   crc32 1a2b3c4d
 *   etag "abc"                                    (if the server gave one)
 *   modified Sun, 22 Nov 2026 10:00:00 GMT        (the same)
 *
 * The file's time is when its data were last known to be current. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/span.h"
#include "mired-setup/bytes.h"

enum {
	COPY_SOURCE_MAX = 2048,
	COPY_ETAG_MAX = 256,
	COPY_DATE_MAX = 64,
	COPY_HEAD_MAX = 4096,
	COPY_NAME_MAX = 256, /* of a file */
	COPY_WHY_MAX = 256,
};

struct copy_meta {
	char source[COPY_SOURCE_MAX];
	char etag[COPY_ETAG_MAX];     /* "" = none */
	char modified[COPY_DATE_MAX]; /* "" = none */
	uint64_t n_entries;
	struct wall current_at; /* not in the text */
};

struct copy {
	struct copy_meta meta;
	struct bytes file;
	struct span data; /* in file */
};

/* Opens STATE/lists/fetched, made if missing and wanted. *dir is the caller's. ERR_NOT_FOUND,
 * -errno with why. */
MUST_USE int copy_dir_open(const char *state_dir, bool may_make, int *dir,
                           char why[static COPY_WHY_MAX]);
/* Keeps other runs out as long as *lock is open. ERR_BUSY, -errno. */
MUST_USE int copy_dir_lock(int dir, int *lock);

/* ERR_NOT_FOUND, ERR_CORRUPT (not what was written), ERR_TOO_LONG, -errno. Empty on failure. */
MUST_USE int copy_load(int dir, const char *name, size_t bytes_max, struct copy *out);
void copy_fini(struct copy *copy);
/* Replaces the copy, or leaves the old one as it is. -errno. */
MUST_USE int copy_store(int dir, const char *name, const struct copy_meta *meta, struct span data);
/* Its data were found to be current just now. */
void copy_touch(int dir, const char *name);

/* The parts of it. Pure. */

/* File name of a list's copy: what is no letter, digit, `-`, `_` or inner `.` as %XX. ERR_TOO_LONG.
 */
MUST_USE int copy_file_name(const char *name, char out[static COPY_NAME_MAX]);
/* The lines before the data; returns their length. */
size_t copy_format_head(const struct copy_meta *meta, struct span data,
                        char out[static COPY_HEAD_MAX]);
/* *data points into file. ERR_CORRUPT. */
MUST_USE int copy_parse(struct span file, struct copy_meta *meta, struct span *data);
/* Takes a header value a server sent, if it can be kept and sent back as it is; else "". */
void copy_take_value(const char *value, char *out, size_t size);
