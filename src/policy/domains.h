/* The allowed-domains file: which recipients exist here at all. One entry a line, white space
 * around it ignored, `#` lines and blanks skipped. Pure; immutable once made.
 *
 *   example.com        recipients in that domain and in the domains below it
 *   .example.com       in the domains below it
 *   @example.com       in exactly that domain
 *   user@example.com   that recipient
 *
 * spamd(8) compares plain suffixes, which lets notexample.com pass for example.com; here an entry
 * begins at a dot or at the @. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"
#include "policy/cidr.h"

enum { DOMAINS_MAX = 1000000, DOMAINS_LINE_MAX = 1023 };

struct domains;

/* Bad lines are reported (cidr_bad_line) and left out. ERR_TOO_LONG: more than DOMAINS_MAX entries;
 * -ENOMEM. */
MUST_USE int domains_parse(struct span text, cidr_bad_line *bad, void *ctx, struct domains **out);
void domains_free(struct domains *domains);
size_t domains_count(const struct domains *domains);
/* address: as trap_address_normalise makes it. No entries at all, or NULL: everything is allowed.
 */
bool domains_allow(const struct domains *domains, struct span address);
