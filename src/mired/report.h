/* What a gateway did, a row per half hour (key report-interval): made from readings of counters
 * that only grow and a wall clock that may jump; printed and parsed as the file STATE/report. Pure;
 * mired/recorder.h reads counters, clock and file. Owner: one thread.
 *
 * Rows lie at multiples of the interval since 1970, in rising order, each once. What was counted
 * between two readings belongs to the row that was open at the earlier one, wherever the clock went
 * since: a jump makes no row twice and no number negative. There is no row for a time in which
 * nobody read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/span.h"

enum {
	REPORT_ROWS_MAX = 366 * 48, /* a year of half hours; the oldest goes */
	REPORT_ROW_BYTES = 192,     /* of a row as text, generously */
};

/* Counters since the start of the process, and likewise the sums of a row. */
struct report_reading {
	uint64_t offered;     /* connections, those that passed included */
	uint64_t deferred;    /* mails */
	uint64_t passed;      /* connections that the kernel let through to the mail server */
	uint64_t trapped;     /* hosts */
	uint64_t tarpit_secs; /* held by listed and trapped connections, in all */
};

struct report_row {
	struct wall began;
	uint64_t secs; /* its interval */
	struct report_reading sums;
	uint64_t load_milli; /* sum of n_loads samples of the 1-minute load average */
	uint64_t n_loads;
};

struct report;

/* interval_secs: 1 to a day. NULL: no memory. */
struct report *report_new(uint32_t interval_secs);
void report_free(struct report *report);

/* The clock has left the row that is open. */
bool report_is_row_over(const struct report *report, struct wall now);
/* Gives what was counted since the last reading (at first: since 0) to the open row, and opens that
 * of `now`. A counter that is smaller than before counts as unchanged. */
void report_read(struct report *report, const struct report_reading *reading, struct wall now);
/* A sample for the open row. */
void report_add_load(struct report *report, uint32_t load_milli);

size_t report_count(const struct report *report);
/* idx < report_count, oldest first; valid until the next call that changes the report. */
const struct report_row *report_row(const struct report *report, size_t idx);

/* The file's text, the caller's to free. -ENOMEM. */
MUST_USE int report_print(const struct report *report, char **text, size_t *len);
/* Adds the rows of a file's text; returns the number of lines that are none (an end cut off, bytes
 * overwritten), which are left out; what lies behind too many lines counts as one. A row that is
 * there already stays. */
size_t report_parse(struct report *report, struct span text);
