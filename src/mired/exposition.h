/* Writes figures as Prometheus reads them: the text format 0.0.4, which promtool checks, or
 * OpenMetrics 1.0. No text is both: of a counter the one wants the whole name in its head lines,
 * the other wants it without _total. Pure but for the stream. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "keeper/latency.h"

enum exposition_format { EXPOSITION_PLAIN, EXPOSITION_OPENMETRICS };

enum exposition_type { EXPOSITION_COUNTER, EXPOSITION_GAUGE, EXPOSITION_HISTOGRAM };

enum { EXPOSITION_NAME_MAX = 96 };

struct exposition {
	FILE *out;
	enum exposition_format format;
	char name[EXPOSITION_NAME_MAX]; /* of the family under way */
};

struct exposition_label {
	const char *name;
	const char *value; /* any text */
};

/* Begins a family: its head lines. name is complete: with _total if it is a counter, and with its
 * unit (_seconds, _bytes) where it has one. */
void exposition_begin(struct exposition *exposition, enum exposition_type type, const char *name,
                      const char *help);
/* One sample of it; label may be NULL. */
void exposition_count(struct exposition *exposition, const struct exposition_label *label,
                      uint64_t value);
void exposition_number(struct exposition *exposition, const struct exposition_label *label,
                       double value);
/* All samples of a histogram. */
void exposition_histogram(struct exposition *exposition, const struct latency_figures *figures);
/* The last line. */
void exposition_end(struct exposition *exposition);
