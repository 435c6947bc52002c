/* The administrator's exceptions: a file of addresses and networks that never meet mired. Read
 * while the process may still read it, parsed when the log is open. */
#pragma once

#include <stddef.h>

#include "base/compiler.h"
#include "fw/fw.h"
#include "policy/cidr.h"

struct nospamd {
	const char *path; /* the configuration's */
	char *text;       /* between nospamd_read and nospamd_parse */
	size_t len;
	struct addr_range *ranges; /* disjoint */
	size_t n;
};

/* Reads the bytes. A missing file in the usual place is empty. -errno, ERR_TOO_LONG with why. */
MUST_USE int nospamd_read(struct nospamd *nospamd, const char *path, char why[static FW_WHY_MAX]);
/* Makes ranges of them. Bad lines are logged and left out. -ENOMEM. */
MUST_USE int nospamd_parse(struct nospamd *nospamd);
void nospamd_fini(struct nospamd *nospamd);
