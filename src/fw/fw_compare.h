/* Whether the rules in the kernel are those that a configuration gives. For administrators'
 * programs: it forks, and takes tens of milliseconds. */
#pragma once

#include <stdbool.h>

#include "base/compiler.h"
#include "base/span.h"
#include "conf/conf.h"
#include "fw/fw.h"

enum fw_standing {
	FW_STANDING_NONE,  /* there is no such table */
	FW_STANDING_SAME,  /* all is there that mired would make, and maybe more */
	FW_STANDING_OTHER, /* something is missing or different */
};

struct fw_comparison {
	enum fw_standing standing;
	char missing[FW_WHY_MAX]; /* OTHER: the first line of nft(8)'s listing that is not there */
};

/* Compares the table in the calling process's network namespace, without the elements of its sets,
 * with one that the daemon's own functions make in an empty namespace. -EPERM: only root can;
 * ERR_* with why. */
MUST_USE int fw_compare(const struct conf *conf, struct fw_comparison *out,
                        char why[static FW_WHY_MAX]);

/* True when all blocks of `wanted` (a line that ends in '{', to "}") are among those of `found`, in
 * whatever order, each with all its lines in their order; else *missing is the first line that is
 * not. Pure. */
bool fw_compare_lines(struct span wanted, struct span found, struct span *missing);
