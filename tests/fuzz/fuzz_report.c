/* The report's file: any bytes. The rows that are read rise, and survive being written and read
 * again; what is counted on top of them keeps their order and number. */
#include <stdlib.h>
#include <string.h>

#include "mired/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct report *a, const struct report *b)
{
	ASSERT(report_count(a) == report_count(b));
	for (size_t i = 0; i < report_count(a); i++) {
		ASSERT(memcmp(report_row(a, i), report_row(b, i), sizeof *report_row(a, i)) == 0);
		ASSERT(i == 0 || report_row(a, i)->began.secs > report_row(a, i - 1)->began.secs);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct report_reading reading = {.offered = 1};
	struct report *report = report_new(1800);
	struct report *again = report_new(1800);
	char *text;
	size_t len;
	ASSERT(report && again);
	(void)report_parse(report, span_of(data, size));
	ASSERT(report_print(report, &text, &len) == 0);
	ASSERT(report_parse(again, span_of(text, len)) == 0);
	check_same(report, again);
	free(text);
	size_t n = report_count(report);
	report_read(report, &reading, (struct wall){1700000000});
	ASSERT(report_count(report) >= n && report_count(report) <= n + 1);
	report_free(report);
	report_free(again);
	return 0;
}
