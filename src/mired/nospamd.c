/* See nospamd.h. */
#include "mired/nospamd.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"

enum { BAD_LINES_LOGGED = 100 }; /* the rest is counted */

struct bad_lines {
	const char *path;
	unsigned n;
};

static void log_bad_line(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	struct bad_lines *bad = ctx;
	char text[200];
	if (bad->n++ < BAD_LINES_LOGGED) {
		log_warning("%s:%u: %s: %s", bad->path, line_no, reason,
		            span_escape(line, text, sizeof text));
	}
}

int nospamd_parse(struct nospamd *nospamd, const char *path, struct span text)
{
	struct bad_lines bad = {.path = path};
	struct cidr *cidrs = calloc(FW_NOSPAMD_MAX, sizeof *cidrs);
	struct addr_range *ranges = calloc(FW_NOSPAMD_MAX, sizeof *ranges);
	if (!cidrs || !ranges) {
		free(cidrs);
		free(ranges);
		return -ENOMEM;
	}
	int n = cidr_parse_list(text, cidrs, FW_NOSPAMD_MAX, log_bad_line, &bad);
	if (n < 0) {
		log_warning("%s: only the first %d entries are used", path, FW_NOSPAMD_MAX);
		n = FW_NOSPAMD_MAX;
	}
	if (bad.n > BAD_LINES_LOGGED) {
		log_warning("%s: %u bad lines in all", path, bad.n);
	}
	nospamd_fini(nospamd);
	nospamd->ranges = ranges;
	nospamd->n = cidr_collapse(cidrs, (size_t)n, ranges);
	free(cidrs);
	return 0;
}

void nospamd_fini(struct nospamd *nospamd)
{
	free(nospamd->ranges);
	*nospamd = (struct nospamd){0};
}
