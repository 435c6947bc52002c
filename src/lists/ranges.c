/* A list's addresses in compact form. IPv4 ranges are pairs of numbers. IPv6 ranges are cut into
 * networks again: there are never more of them than were given, and 17 bytes are less than 32. */
#include "lists/ranges.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "lists/ranges_int.h"

struct v4_range {
	uint32_t first;
	uint32_t last;
};

struct list_ranges {
	size_t n_v4;
	size_t n_v6;
	struct v4_range *v4;
	struct cidr *v6;
};

static_assert(sizeof(struct cidr) == 17, "what the header promises for an IPv6 network");

static int count_network(void *ctx, const struct cidr *cidr)
{
	(void)cidr;
	++*(size_t *)ctx;
	return 0;
}

static int add_network(void *ctx, const struct cidr *cidr)
{
	struct list_ranges *ranges = ctx;
	ranges->v6[ranges->n_v6++] = *cidr;
	return 0;
}

static int fill(struct list_ranges *out, const struct addr_range *ranges, size_t n)
{
	size_t n_v4 = 0;
	size_t n_v6 = 0;
	while (n_v4 < n && addr_is_v4(&ranges[n_v4].first)) {
		n_v4++;
	}
	for (size_t i = n_v4; i < n; i++) {
		(void)cidr_cut(&ranges[i], count_network, &n_v6);
	}
	out->v4 = n_v4 ? malloc(n_v4 * sizeof *out->v4) : NULL;
	out->v6 = n_v6 ? malloc(n_v6 * sizeof *out->v6) : NULL;
	if ((n_v4 && !out->v4) || (n_v6 && !out->v6)) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n_v4; i++) {
		out->v4[i] = (struct v4_range){be32toh(addr_v4_be(&ranges[i].first)),
		                               be32toh(addr_v4_be(&ranges[i].last))};
	}
	out->n_v4 = n_v4;
	for (size_t i = n_v4; i < n; i++) {
		(void)cidr_cut(&ranges[i], add_network, out);
	}
	return 0;
}

int list_ranges_new(const struct cidr *cidrs, size_t n, struct list_ranges **out)
{
	struct list_ranges *ranges = calloc(1, sizeof *ranges);
	struct addr_range *joined = reallocarray(NULL, n ? n : 1, sizeof *joined);
	int ret = -ENOMEM;
	if (ranges && joined) {
		ret = fill(ranges, joined, cidr_collapse(cidrs, n, joined));
	}
	free(joined);
	if (ret) {
		list_ranges_free(ranges);
		return ret;
	}
	*out = ranges;
	return 0;
}

void list_ranges_free(struct list_ranges *ranges)
{
	if (ranges) {
		free(ranges->v4);
		free(ranges->v6);
		free(ranges);
	}
}

size_t list_ranges_count(const struct list_ranges *ranges)
{
	return ranges->n_v4 + ranges->n_v6;
}

size_t list_ranges_bytes(const struct list_ranges *ranges)
{
	return sizeof *ranges + ranges->n_v4 * sizeof *ranges->v4 +
	       ranges->n_v6 * sizeof *ranges->v6;
}

size_t list_ranges_n(const struct list_ranges *ranges, bool is_v4)
{
	return is_v4 ? ranges->n_v4 : ranges->n_v6;
}

struct num_range list_ranges_at(const struct list_ranges *ranges, bool is_v4, size_t idx)
{
	if (is_v4) {
		addrnum mapped = addrnum_last(true) & ~(addrnum)UINT32_MAX;
		const struct v4_range *range = &ranges->v4[idx];
		return (struct num_range){mapped | range->first, mapped | range->last};
	}
	struct addr_range range = cidr_range(&ranges->v6[idx]);
	return (struct num_range){addrnum_of(&range.first), addrnum_of(&range.last)};
}
