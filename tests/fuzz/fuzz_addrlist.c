/* Address lists: each entry is a range of one family in order, and the collapse of all of them
 * lists its ends. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "lists/addrlist.h"
#include "lists/rangeset.h"

enum { RANGES_MAX = 4096 };

static int add(void *ctx, const struct addr_range *range)
{
	ASSERT(!addr_is_v4(&range->first) || addr_is_v4(&range->last));
	ASSERT(memcmp(&range->first, &range->last, sizeof range->first) <= 0);
	return rangeset_add(ctx, range, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct addrlist_figures figures;
	struct cidr *cidrs = NULL;
	size_t n = 0;
	struct rangeset *set = rangeset_new(RANGES_MAX);
	ASSERT(set);
	int ret = addrlist_parse(span_of(data, size), add, NULL, set, &figures);
	ASSERT(ret == 0 || ret == ERR_TOO_LONG);
	ret = rangeset_finish(set, &cidrs, &n);
	ASSERT(ret == 0 || ret == ERR_TOO_LONG);
	ASSERT(ret || (n > 0) == (figures.n_entries > 0));
	free(ret ? NULL : cidrs);
	rangeset_free(set);
	return 0;
}
