/* The process's log: each thread formats into its own bounded ring, one writer thread sends the
 * lines to the journal, to syslog or to stderr. Logging never blocks; a full ring drops the line
 * and counts it. Lines whose number others decide (log_events.h) are limited by kind: what is more
 * in a second is not even formatted, but counted, and said when the second is over. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/log_events.h"

enum {
	LOG_LINE_MAX = 1024, /* longer lines are cut */
	LOG_RATE_NONE = 0,   /* no limit */
};

enum log_target {
	LOG_TARGET_STDERR,
	LOG_TARGET_AUTO,    /* the journal where there is one, else syslog */
	LOG_TARGET_JOURNAL, /* by its native protocol, with fields */
	LOG_TARGET_SYSLOG,  /* /dev/log (datagrams), facility daemon */
};

struct log_options {
	const char *ident; /* name in front of the lines, copied */
	enum log_target target;
	/* What is above is not formatted; LOG_LEVEL_DEBUG is `verbose`. Kinds of lines that spamd
	 * has at debug without -v are there from LOG_LEVEL_INFO on. */
	enum log_level level;
	uint32_t rate; /* lines of a kind in a second, or LOG_RATE_NONE */
	/* No thread, no ring and no rate, for a program that forks: a line is sent at once, and a
	 * log that does not take it costs at most a second. */
	bool is_direct;
};

/* Starts the writer thread. Before it, and after log_close, lines go to stderr directly. One logger
 * a process: it is the one mutable global, because every module reports and none should carry a
 * handle for that. Call before other threads start. A log that is not there is no failure: that is
 * said on stderr, lines wait in the rings until it is, and what finds no room is counted. */
MUST_USE int log_open(const struct log_options *options);
/* Writes what is queued and stops the writer. No thread may log afterwards. */
void log_close(void);

/* Any thread, at any time after log_open: hold from the next line on, the rate at once. */
void log_set_level(enum log_level level);
void log_set_rate(uint32_t rate);

/* Any thread. No newline at the end. Network bytes only through span_escape. */
void log_write(enum log_level level, const char *format, ...) PRINTF(2, 3);
#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Whether a line of this kind is logged now; a yes is taken from the second's share, so log_event
 * must follow. Ask before addresses and texts are made readable: in a flood that is the cost. Any
 * thread; reads no clock and takes no lock after the thread's first line. */
bool log_takes(enum log_event event);
/* A line of this kind with its fields, which only the journal shows. Any thread, after log_takes
 * (but for kinds that are logged always). */
void log_event(enum log_event event, const struct log_fields *fields, const char *format, ...)
        PRINTF(3, 4);

/* Since start: lines dropped because a ring was full or the log refused them, and lines not logged
 * because of the rate, of all kinds. */
uint64_t log_dropped(void);
uint64_t log_suppressed(void);
