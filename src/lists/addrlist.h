/* Address lists in text form, one entry a line, as spamd-setup(8) reads them (spec: shapes A/N,
 * A - B, A; short forms like 192.168.1; the rest of a line is ignored), and IPv6 alike. Host bits
 * are masked off, a range needs its dash, reversed ranges and /0 are refused. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"
#include "policy/cidr.h"

/* Called for each entry, in order. Not 0 ends the walk with this code. */
typedef int addrlist_entry(void *ctx, const struct addr_range *range);

struct addrlist_figures {
	size_t n_entries;
	size_t n_bad;    /* lines that are no entry, comment or blank */
	size_t n_masked; /* networks whose host bits were masked off */
};

/* bad (may be NULL) hears of each bad line. 0 or what `entry` returned. */
MUST_USE int addrlist_parse(struct span text, addrlist_entry *entry, cidr_bad_line *bad, void *ctx,
                            struct addrlist_figures *figures);
/* One line. ERR_NOT_FOUND: blank or comment; ERR_SYNTAX, ERR_RANGE with *reason (static). */
MUST_USE int addrlist_parse_line(struct span line, struct addr_range *out, bool *had_host_bits,
                                 const char **reason);
