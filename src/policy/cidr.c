/* Networks and address lists. A network is kept in the mapped 16-byte form, so that one masking and
 * one ordering serve both families; the families never join, because the kernel keeps a set for
 * each. */
#include "policy/cidr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "policy/addrnum.h"

enum { ADDR_BITS = 128, V4_BITS = 32, V4_OFFSET_BITS = ADDR_BITS - V4_BITS };

/* Mask of byte i under a prefix of `bits`. */
static uint8_t mask_byte(unsigned bits, unsigned i)
{
	if (bits >= 8 * (i + 1)) {
		return 0xff;
	}
	return (uint8_t)(bits <= 8 * i ? 0 : 0xffU << (8 * (i + 1) - bits));
}

/* Prefix length as written, made to count from the start of the 16 bytes. A mapped address written
 * in IPv6 form is an IPv4 one, but its length counts 128 bits. */
static int prefix_parse(struct span address, struct span digits, bool is_v4, unsigned *bits)
{
	bool is_dotted = memchr(address.ptr, ':', address.len) == NULL;
	uint64_t n;
	int ret = span_to_u64(digits, is_dotted ? V4_BITS : ADDR_BITS, &n);
	if (ret) {
		return ret;
	}
	n += is_dotted ? V4_OFFSET_BITS : 0;
	if (n <= (is_v4 ? (uint64_t)V4_OFFSET_BITS : 0)) {
		return ERR_RANGE;
	}
	*bits = (unsigned)n;
	return 0;
}

int cidr_parse(struct span text, struct cidr *out, bool *had_host_bits)
{
	struct span digits;
	struct span address = span_cut(text, '/', &digits);
	struct addr addr;
	int ret = addr_parse(address, &addr);
	if (ret) {
		return ret;
	}
	unsigned bits = ADDR_BITS;
	if (address.len < text.len) {
		ret = prefix_parse(address, digits, addr_is_v4(&addr), &bits);
		if (ret) {
			return ret;
		}
	}
	bool is_cut = false;
	for (unsigned i = 0; i < sizeof addr.bytes; i++) {
		uint8_t kept = addr.bytes[i] & mask_byte(bits, i);
		is_cut |= kept != addr.bytes[i];
		addr.bytes[i] = kept;
	}
	*out = (struct cidr){.addr = addr, .bits = (uint8_t)bits};
	if (had_host_bits) {
		*had_host_bits = is_cut;
	}
	return 0;
}

struct addr_range cidr_range(const struct cidr *cidr)
{
	struct addr_range range = {.first = cidr->addr, .last = cidr->addr};
	for (unsigned i = 0; i < sizeof range.last.bytes; i++) {
		range.last.bytes[i] |= (uint8_t)~mask_byte(cidr->bits, i);
	}
	return range;
}

static const char *parse_reason(int code)
{
	return code == ERR_RANGE ? "prefix length out of range"
	                         : "neither an address nor a network";
}

int cidr_parse_list(struct span text, struct cidr *out, size_t max, cidr_bad_line *bad, void *ctx)
{
	size_t n = 0;
	for (unsigned line_no = 1; text.len > 0; line_no++) {
		struct span comment;
		struct span line = span_cut(text, '\n', &text);
		struct span entry = span_trim(span_cut(line, '#', &comment));
		if (entry.len == 0) {
			continue;
		}
		struct cidr cidr;
		int ret = cidr_parse(entry, &cidr, NULL);
		if (ret) {
			bad(ctx, line_no, span_trim(line), parse_reason(ret));
			continue;
		}
		if (n == max) {
			return ERR_TOO_LONG;
		}
		out[n++] = cidr;
	}
	return (int)n;
}

/* IPv4 before IPv6, then by first address. */
static int range_compare(const void *left, const void *right)
{
	const struct addr_range *a = left;
	const struct addr_range *b = right;
	bool a_is_v4 = addr_is_v4(&a->first);
	if (a_is_v4 != addr_is_v4(&b->first)) {
		return a_is_v4 ? -1 : 1;
	}
	return memcmp(a->first.bytes, b->first.bytes, sizeof a->first.bytes);
}

/* The address after *addr; all ones stay as they are. */
static struct addr addr_after(const struct addr *addr)
{
	struct addr next = *addr;
	for (unsigned i = sizeof next.bytes; i-- > 0;) {
		if (++next.bytes[i] != 0) {
			return next;
		}
	}
	return *addr;
}

/* Whether b, which sorts behind a, overlaps or touches it. */
static bool range_joins(const struct addr_range *a, const struct addr_range *b)
{
	if (addr_is_v4(&a->first) != addr_is_v4(&b->first)) {
		return false;
	}
	struct addr next = addr_after(&a->last);
	return memcmp(b->first.bytes, next.bytes, sizeof next.bytes) <= 0;
}

size_t cidr_collapse(const struct cidr *cidrs, size_t n, struct addr_range *ranges)
{
	if (n == 0) {
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		ranges[i] = cidr_range(&cidrs[i]);
	}
	qsort(ranges, n, sizeof *ranges, range_compare);
	size_t top = 0;
	for (size_t i = 1; i < n; i++) {
		if (!range_joins(&ranges[top], &ranges[i])) {
			ranges[++top] = ranges[i];
			continue;
		}
		if (memcmp(ranges[i].last.bytes, ranges[top].last.bytes,
		           sizeof ranges[i].last.bytes) > 0) {
			ranges[top].last = ranges[i].last;
		}
	}
	return top + 1;
}

static unsigned low_zeros(addrnum num)
{
	uint64_t low = (uint64_t)num;
	uint64_t high = (uint64_t)(num >> 64);
	if (low) {
		return (unsigned)__builtin_ctzll(low);
	}
	return high ? 64 + (unsigned)__builtin_ctzll(high) : ADDR_BITS;
}

/* Host bits of the largest network that begins at `first` and does not pass `last`. Everything at
 * once, /0, is nothing that a network may be: two halves. */
static unsigned host_bits_at(addrnum first, addrnum last, bool is_v4)
{
	unsigned most = is_v4 ? V4_BITS - 1 : ADDR_BITS - 1;
	unsigned bits = low_zeros(first);
	bits = bits < most ? bits : most;
	while (last - first < ((addrnum)1 << bits) - 1) {
		bits--;
	}
	return bits;
}

int cidr_cut(const struct addr_range *range, cidr_network *network, void *ctx)
{
	bool is_v4 = addr_is_v4(&range->first);
	addrnum first = addrnum_of(&range->first);
	addrnum last = addrnum_of(&range->last);
	addrnum end;
	int ret = 0;
	for (bool is_more = first <= last; is_more && ret == 0; first = end + 1) {
		unsigned bits = host_bits_at(first, last, is_v4);
		end = first + (((addrnum)1 << bits) - 1);
		struct cidr cidr = {.addr = addrnum_to_addr(first),
		                    .bits = (uint8_t)(ADDR_BITS - bits)};
		if (is_v4 || !addrnum_is_mapped(first)) {
			ret = network(ctx, &cidr);
		}
		is_more = end < last; /* counting on could wrap */
	}
	return ret;
}

const char *cidr_format(const struct cidr *cidr, char buf[static CIDR_TEXT_MAX])
{
	char text[ADDR_TEXT_MAX];
	unsigned bits = cidr->bits - (addr_is_v4(&cidr->addr) ? V4_OFFSET_BITS : 0U);
	(void)snprintf(buf, CIDR_TEXT_MAX, "%s/%u", addr_format(&cidr->addr, text), bits);
	return buf;
}
