/* Lines of the spamd-cfg protocol, by which a list is put into the daemon, in both forms; also how
 * the daemon keeps lists on disk. Pure.
 *
 *   tag;                                                       clear the list
 *   tag;"text";inet;2;192.0.2.0/24;198.51.100.1/32;inet6;1;2001:db8::/32;
 *   tag;"text";192.0.2.0/24;198.51.100.1/32                     the form before 2015
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/compiler.h"
#include "base/span.h"
#include "policy/cidr.h"

enum { CFGLINE_TAG_MAX = 64, CFGLINE_TEXT_MAX = 4096, CFGLINE_WHY_MAX = 256 };

/* tag and text point into the parsed line; text stands without its enclosing quotes, its escapes
 * (see reply_render_lists) untouched. */
struct cfgline {
	struct span tag;
	struct span text;
	bool is_clear;
	struct cidr *cidrs; /* as written, host bits masked; owned */
	size_t n;
};

/* line: without its LF. Whole or not at all: one bad address refuses the line. ERR_SYNTAX,
 * ERR_RANGE, ERR_TRUNCATED (fewer items than counted), ERR_TOO_LONG (more than n_max networks, or a
 * tag or text beyond its bound), -ENOMEM, with why. */
MUST_USE int cfgline_parse(struct span line, size_t n_max, struct cfgline *out,
                           char why[static CFGLINE_WHY_MAX]);
void cfgline_fini(struct cfgline *line);
/* Writes the newest form with its LF. text: decoded; `"` and line breaks are escaped here
 * (spamd-setup: LF -> \n, " -> \"), everything else goes as it is. -errno of the stream. */
MUST_USE int cfgline_write_decoded(FILE *out, const char *tag, const char *text,
                                   const struct cidr *cidrs, size_t n);
/* The same for a text that is escaped already (as cfgline_parse gives it). */
MUST_USE int cfgline_write(FILE *out, const struct cfgline *line);
