/* The file: a line of head, then a line a row, numbers separated by one space:
 *
 *   mired report 1
 *   BEGAN SECS OFFERED DEFERRED PASSED TRAPPED TARPIT_SECS LOAD_MILLI N_LOADS
 *
 * A line without its LF was cut and counts for nothing. */
#include "mired/report.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define HEAD "mired report 1\n"

enum { N_FIELDS = 9, SECS_MAX = 24 * 3600 };
enum { LINES_MAX = 2 * REPORT_ROWS_MAX }; /* of a full file, and what damage makes of it */

#define BEGAN_MAX INT64_C(253402300799) /* the last second of year 9999 */
#define SUM_MAX   UINT64_C(1000000000000000)

struct report {
	uint32_t interval_secs;
	bool is_open;     /* a reading was taken: `open` is the row it opened */
	struct wall open; /* its beginning; as the oldest of too many it may be gone */
	struct report_reading last;
	size_t n;
	struct report_row rows[REPORT_ROWS_MAX]; /* rising */
};

static_assert(N_FIELDS * (20 + 1) <= REPORT_ROW_BYTES, "nine numbers and their separators fit");

struct report *report_new(uint32_t interval_secs)
{
	struct report *report = calloc(1, sizeof *report);
	if (report) {
		report->interval_secs = interval_secs;
	}
	return report;
}

void report_free(struct report *report)
{
	free(report);
}

size_t report_count(const struct report *report)
{
	return report->n;
}

const struct report_row *report_row(const struct report *report, size_t idx)
{
	ASSERT(idx < report->n);
	return &report->rows[idx];
}

/* --- rows ------------------------------------------------------------------------------------- */

static struct wall row_of(const struct report *report, struct wall now)
{
	int64_t secs = now.secs < 0 ? 0 : now.secs;
	secs = secs > BEGAN_MAX ? BEGAN_MAX : secs;
	return (struct wall){secs - secs % report->interval_secs};
}

/* The place of the first row that does not begin before; nearly always near the end. */
static size_t find_place(const struct report *report, struct wall began)
{
	size_t idx = report->n;
	while (idx > 0 && report->rows[idx - 1].began.secs >= began.secs) {
		idx--;
	}
	return idx;
}

static struct report_row *find_row(struct report *report, struct wall began)
{
	size_t idx = find_place(report, began);
	bool is_there = idx < report->n && report->rows[idx].began.secs == began.secs;
	return is_there ? &report->rows[idx] : NULL;
}

/* A full report loses its oldest row; one that would be the oldest is not added. */
static void add_row(struct report *report, const struct report_row *row)
{
	size_t idx = find_place(report, row->began);
	if (report->n == REPORT_ROWS_MAX) {
		if (idx == 0) {
			return;
		}
		idx--;
		report->n--;
		memmove(report->rows, report->rows + 1, report->n * sizeof report->rows[0]);
	}
	memmove(&report->rows[idx + 1], &report->rows[idx],
	        (report->n - idx) * sizeof report->rows[0]);
	report->rows[idx] = *row;
	report->n++;
}

/* The row of another interval that begins with it is carried on under the new one. */
static void open_row(struct report *report, struct wall began)
{
	struct report_row *row = find_row(report, began);
	if (row) {
		row->secs = report->interval_secs;
	} else {
		add_row(report,
		        &(struct report_row){.began = began, .secs = report->interval_secs});
	}
	report->open = began;
	report->is_open = true;
}

bool report_is_row_over(const struct report *report, struct wall now)
{
	return !report->is_open || report->open.secs != row_of(report, now).secs;
}

/* *last becomes what was read; the difference goes into *sum, which has a bound. */
static void carry(uint64_t *sum, uint64_t *last, uint64_t read)
{
	uint64_t more = read > *last ? read - *last : 0;
	*sum = more > SUM_MAX - *sum ? SUM_MAX : *sum + more;
	*last = read;
}

static void carry_all(struct report_reading *sums, struct report_reading *last,
                      const struct report_reading *reading)
{
	carry(&sums->offered, &last->offered, reading->offered);
	carry(&sums->deferred, &last->deferred, reading->deferred);
	carry(&sums->passed, &last->passed, reading->passed);
	carry(&sums->trapped, &last->trapped, reading->trapped);
	carry(&sums->tarpit_secs, &last->tarpit_secs, reading->tarpit_secs);
}

void report_read(struct report *report, const struct report_reading *reading, struct wall now)
{
	struct wall began = row_of(report, now);
	if (!report->is_open) {
		open_row(report, began);
	}
	struct report_row *row = find_row(report, report->open);
	if (row) {
		carry_all(&row->sums, &report->last, reading);
	}
	if (report->open.secs != began.secs) {
		open_row(report, began);
	}
}

void report_add_load(struct report *report, uint32_t load_milli)
{
	struct report_row *row = report->is_open ? find_row(report, report->open) : NULL;
	if (row && row->load_milli < SUM_MAX - load_milli && row->n_loads < SUM_MAX) {
		row->load_milli += load_milli;
		row->n_loads++;
	}
}

/* --- as text ---------------------------------------------------------------------------------- */

static int print_row(const struct report_row *row, char *out)
{
	return snprintf(out, REPORT_ROW_BYTES,
	                "%" PRId64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
	                " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
	                row->began.secs, row->secs, row->sums.offered, row->sums.deferred,
	                row->sums.passed, row->sums.trapped, row->sums.tarpit_secs, row->load_milli,
	                row->n_loads);
}

int report_print(const struct report *report, char **text, size_t *len)
{
	char *out = malloc(sizeof HEAD + report->n * REPORT_ROW_BYTES);
	if (!out) {
		return -ENOMEM;
	}
	memcpy(out, HEAD, sizeof HEAD);
	size_t at = strlen(HEAD);
	for (size_t i = 0; i < report->n; i++) {
		int n = print_row(&report->rows[i], out + at);
		at += n > 0 ? (size_t)n : 0;
	}
	*text = out;
	*len = at;
	return 0;
}

static int parse_row(struct span line, struct report_row *out)
{
	static const uint64_t bounds[N_FIELDS] = {BEGAN_MAX, SECS_MAX, SUM_MAX, SUM_MAX, SUM_MAX,
	                                          SUM_MAX,   SUM_MAX,  SUM_MAX, SUM_MAX};
	uint64_t fields[N_FIELDS];
	for (size_t i = 0; i < N_FIELDS; i++) {
		int ret = span_to_u64(span_cut(line, ' ', &line), bounds[i], &fields[i]);
		if (ret != 0) {
			return ret;
		}
	}
	if (line.len > 0 || fields[1] == 0) {
		return ERR_SYNTAX;
	}
	*out = (struct report_row){.began = {(int64_t)fields[0]},
	                           .secs = fields[1],
	                           .sums = {fields[2], fields[3], fields[4], fields[5], fields[6]},
	                           .load_milli = fields[7],
	                           .n_loads = fields[8]};
	return 0;
}

size_t report_parse(struct report *report, struct span text)
{
	size_t n_refused = 0;
	bool has_head = text.len >= strlen(HEAD) && memcmp(text.ptr, HEAD, strlen(HEAD)) == 0;
	if (has_head) {
		text = span_skip(text, strlen(HEAD));
	}
	for (size_t n = 0; text.len > 0 && n < LINES_MAX; n++) {
		struct report_row row;
		size_t len = text.len;
		struct span line = span_cut(text, '\n', &text);
		bool is_whole = line.len < len;
		if (!is_whole || parse_row(line, &row) != 0) {
			n_refused++;
		} else if (!find_row(report, row.began)) {
			add_row(report, &row);
		}
	}
	return n_refused + (text.len > 0);
}
