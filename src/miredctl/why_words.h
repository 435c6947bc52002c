/* How why_text.c and why_fate.c print a text, a time, a number. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

enum { WHY_INDENT = 11 }; /* columns in front of what a line says */

/* 0 when it is missing. */
int64_t why_int(const json_t *object, const char *name);
/* NULL: "?". What is not printable ASCII becomes `?`. */
void why_put(FILE *out, const char *text);
/* "2026-11-23 06:26:13", local time. */
void why_put_clock(FILE *out, int64_t at_secs);
/* The same and how far off: "... (in 20m 55s)", "... (3d 2h ago)", "... (now)". */
void why_put_time(FILE *out, int64_t at_secs, int64_t now_secs);
/* "20m 55s": the two largest units. */
void why_put_secs(FILE *out, int64_t secs);
/* "once", "3 times", and what comes behind it. */
void why_put_times(FILE *out, int64_t n, const char *end);
