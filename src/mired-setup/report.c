/* A report that is filled once and read by somebody who does not trust its writer. */
#include "mired-setup/report.h"

#include <stdarg.h>
#include <stdio.h>

void fetch_report_fail(struct fetch_report *report, int code, const char *format, ...)
{
	va_list args;
	report->code = code;
	va_start(args, format);
	/* clang-tidy 14 loses va_start in a file that is compiled twice, here and for its tests */
	(void)vsnprintf(report->why, // NOLINT(clang-analyzer-valist.Uninitialized)
	                FETCH_WHY_MAX, format, args);
	va_end(args);
}

void fetch_report_bound(struct fetch_report *report)
{
	report->why[sizeof report->why - 1] = '\0';
	report->etag[sizeof report->etag - 1] = '\0';
	report->modified[sizeof report->modified - 1] = '\0';
	report->content_type[sizeof report->content_type - 1] = '\0';
}
