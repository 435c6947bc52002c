/* Lists of JSON lines: entries are ranges in order, and a truncated list is told. */
#include <string.h>

#include "base/err.h"
#include "lists/jsonlist.h"

static int count(void *ctx, const struct addr_range *range)
{
	ASSERT(memcmp(&range->first, &range->last, sizeof range->first) <= 0);
	++*(size_t *)ctx;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n = 0;
	struct jsonlist_figures figures;
	struct span text = span_of(data, size);
	(void)jsonlist_is_json(text);
	int ret = jsonlist_parse(text, count, NULL, &n, &figures);
	ASSERT(ret == 0 || ret == ERR_TRUNCATED);
	ASSERT(n == figures.n_entries);
	return 0;
}
