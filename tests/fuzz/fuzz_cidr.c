/* Address lists as an administrator may write them, and their collapse into ranges. What comes out
 * must hold the promises of cidr.h whatever went in. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "policy/cidr.h"

enum { ENTRIES_MAX = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_bad(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	ASSERT(line_no > 0 && reason[0] != '\0');
	ASSERT(line.len == 0 || memchr(line.ptr, '\n', line.len) == NULL);
	++*(size_t *)ctx;
}

static int compare(const struct addr *a, const struct addr *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static void check_ranges(const struct addr_range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		ASSERT(compare(&ranges[i].first, &ranges[i].last) <= 0);
		bool is_v4 = addr_is_v4(&ranges[i].first);
		ASSERT(!is_v4 || addr_is_v4(&ranges[i].last));
		if (i > 0 && is_v4 == addr_is_v4(&ranges[i - 1].first)) {
			ASSERT(compare(&ranges[i - 1].last, &ranges[i].first) < 0);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cidr cidrs[ENTRIES_MAX];
	static struct addr_range ranges[ENTRIES_MAX];
	size_t n_bad = 0;
	int n = cidr_parse_list(span_of(data, size), cidrs, ENTRIES_MAX, count_bad, &n_bad);
	if (n < 0) {
		return 0;
	}
	ASSERT((size_t)n + n_bad <= size);
	size_t n_ranges = cidr_collapse(cidrs, (size_t)n, ranges);
	ASSERT(n_ranges <= (size_t)n && (n_ranges > 0) == (n > 0));
	check_ranges(ranges, n_ranges);
	return 0;
}
