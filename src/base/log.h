/* The process's log: each thread formats into its own bounded ring, one writer thread sends the
 * lines to syslog or stderr. Logging never blocks; a full ring drops the line and counts it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum { LOG_LINE_MAX = 1024 }; /* longer lines are cut */

struct log_options {
	const char *ident;    /* syslog ident, copied */
	bool to_stderr;       /* else syslog, facility daemon */
	enum log_level level; /* what is above is not formatted */
};

/* Starts the writer thread. Before it, and after log_close, lines go to stderr directly. One logger
 * a process: it is the one mutable global, because every module reports and none should carry a
 * handle for that. Call before other threads start. */
MUST_USE int log_open(const struct log_options *options);
/* Writes what is queued and stops the writer. No thread may log afterwards. */
void log_close(void);

/* Any thread. No newline at the end. Network bytes only through span_escape. */
void log_write(enum log_level level, const char *format, ...) PRINTF(2, 3);
#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Lines dropped since start. */
uint64_t log_dropped(void);
