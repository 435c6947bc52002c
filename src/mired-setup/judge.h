/* Is what came believable as a list? A list that is refused here is never put in force: the last
 * good copy stays. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "lists/capfile.h"

enum { JUDGE_WHY_MAX = 256 };

/* The unpacked data, before they are read. content_type: what the server called them, "" = it did
 * not say. ERR_SYNTAX (a web page), ERR_TRUNCATED (nothing at all from a download), with why. */
MUST_USE int judge_data(enum capfile_method method, struct span data, const char *content_type,
                        char why[static JUDGE_WHY_MAX]);

struct judge_counts {
	uint64_t n_entries;
	uint64_t n_bad;      /* lines that are nothing */
	bool has_before;     /* there is a good copy from the same source */
	uint64_t n_before;   /* its entries */
	uint32_t change_max; /* factor; 0 = any change is believed */
};

/* What was found in them. A list without entries is believed only where its sender vouches for it:
 * a local file, or a program that ended well. ERR_TRUNCATED, ERR_SYNTAX, ERR_RANGE, with why. */
MUST_USE int judge_counts(enum capfile_method method, const struct judge_counts *counts,
                          char why[static JUDGE_WHY_MAX]);
