/* Error codes. A fallible function returns 0 or a negative code: -errno for the system's errors,
 * a member of enum err for ours. */
#pragma once

#include "base/compiler.h"

enum err {
	ERR_SYNTAX = -1001,      /* bytes that are not what the grammar allows */
	ERR_RANGE = -1002,       /* a number outside its bounds */
	ERR_TOO_LONG = -1003,    /* more than the bound of a field, line, list or queue */
	ERR_TRUNCATED = -1004,   /* input ended inside an element */
	ERR_CORRUPT = -1005,     /* stored data whose checksum or structure is wrong */
	ERR_VERSION = -1006,     /* data of a format version this build does not know */
	ERR_NOT_FOUND = -1007,   /* the thing asked for does not exist */
	ERR_BUSY = -1008,        /* another process holds it */
	ERR_FULL = -1009,        /* disk, map, table or quota full */
	ERR_PANIC = -1010,       /* a store environment that must be closed and opened again */
	ERR_UNSUPPORTED = -1011, /* this kernel or this version cannot do it */
	ERR_CLOSED = -1012,      /* the other side is gone */
	ERR_DENIED = -1013,      /* the asker lacks the right */
};

/* A short English text for any code above or any -errno. Static storage (strerror for -errno:
 * valid until the same thread's next call). Any thread. */
const char *err_text(int code);
