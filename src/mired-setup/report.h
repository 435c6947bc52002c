/* How a fetch ended: what the child tells, and whoever else has to say that it failed. */
#pragma once

#include <stdint.h>

#include "base/compiler.h"
#include "mired-setup/copy.h"

enum { FETCH_WHY_MAX = 384, FETCH_TYPE_MAX = 128 };

/* How it ended. Travels from the child, which nobody trusts, to the program: whoever reads it ends
 * the strings first (fetch_report_bound). */
struct fetch_report {
	int32_t code;          /* 0, or a negative code with why */
	uint32_t is_unchanged; /* the server says that the copy is current; no data */
	char why[FETCH_WHY_MAX];
	char etag[COPY_ETAG_MAX];
	char modified[COPY_DATE_MAX];
	char content_type[FETCH_TYPE_MAX];
};

/* Fills code and why. */
void fetch_report_fail(struct fetch_report *report, int code, const char *format, ...) PRINTF(3, 4);
/* Ends the strings. */
void fetch_report_bound(struct fetch_report *report);
