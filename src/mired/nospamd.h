/* The administrator's exceptions: a list of addresses and networks that never meet mired. */
#pragma once

#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"
#include "fw/fw.h"
#include "policy/cidr.h"

struct nospamd {
	struct addr_range *ranges; /* disjoint; NULL when n is 0 */
	size_t n;
};

/* Makes ranges of the text, in place of what was there. Bad lines are logged with `path` and their
 * number, and left out; of too many the first FW_NOSPAMD_MAX are used. -ENOMEM: nothing changed. */
MUST_USE int nospamd_parse(struct nospamd *nospamd, const char *path, struct span text);
void nospamd_fini(struct nospamd *nospamd);
