/* Networks of both families, and the address-list files administrators write (nospamd). Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/span.h"

/* A network in mapped form: bits counts from the start of the 16 bytes, so IPv4 /24 is 120. Host
 * bits are zero. */
struct cidr {
	struct addr addr;
	uint8_t bits;
};

/* An inclusive range of addresses of one family. */
struct addr_range {
	struct addr first;
	struct addr last;
};

/* "192.0.2.7", "192.0.2.0/24", "2001:db8::/32". Host bits are masked off; *had_host_bits (may be
 * NULL) says so. /0 is refused (ERR_RANGE): it would mean everybody. */
MUST_USE int cidr_parse(struct span text, struct cidr *out, bool *had_host_bits);
struct addr_range cidr_range(const struct cidr *cidr);

/* Called for each bad line: number from 1, the line (without its end) and what is wrong with it. */
typedef void cidr_bad_line(void *ctx, unsigned line_no, struct span line, const char *reason);

/* Parses a file of one address or network a line; `#` starts a comment, blank lines are skipped.
 * Bad lines are reported and skipped. Writes at most max entries; ERR_TOO_LONG when there are more.
 * Returns the count of entries written or a negative code. */
MUST_USE int cidr_parse_list(struct span text, struct cidr *out, size_t max, cidr_bad_line *bad,
                             void *ctx);

/* Sorts and joins overlapping and touching networks of each family into disjoint ranges, in place
 * of nft's auto-merge. ranges has room for n. Returns how many there are. */
size_t cidr_collapse(const struct cidr *cidrs, size_t n, struct addr_range *ranges);

/* Called for each network, ascending. Not 0 ends the walk with this code. */
typedef int cidr_network(void *ctx, const struct cidr *cidr);
/* Cuts a range into the fewest aligned networks, ascending; a whole family into its two halves.
 * What is IPv4's in a range of IPv6 is left out where it would stand alone. */
int cidr_cut(const struct addr_range *range, cidr_network *network, void *ctx);
/* "192.0.2.0/24", "2001:db8::/32", always with the length. */
enum { CIDR_TEXT_MAX = 46 + 4 };
const char *cidr_format(const struct cidr *cidr, char buf[static CIDR_TEXT_MAX]);
