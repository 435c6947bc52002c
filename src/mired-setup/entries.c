/* Chooses the parser by content and counts. */
#include "mired-setup/entries.h"

#include <stdio.h>

#include "base/err.h"
#include "lists/jsonlist.h"

struct walk {
	const struct entries_visitor *visitor;
	uint64_t n;
	size_t n_max;
	bool is_too_long;
};

static int on_entry(void *ctx, const struct addr_range *range)
{
	struct walk *walk = ctx;
	if (walk->n == walk->n_max) {
		walk->is_too_long = true;
		return ERR_TOO_LONG;
	}
	walk->n++;
	return walk->visitor->entry ? walk->visitor->entry(walk->visitor->ctx, range) : 0;
}

static void on_bad(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	const struct walk *walk = ctx;
	if (walk->visitor->bad) {
		walk->visitor->bad(walk->visitor->ctx, line_no, line, reason);
	}
}

static int walk_json(struct span text, struct walk *walk, struct entries_counts *counts,
                     char why[static ENTRIES_WHY_MAX])
{
	struct jsonlist_figures figures = {.n_entries = 0};
	int ret = jsonlist_parse(text, on_entry, on_bad, walk, &figures);
	*counts = (struct entries_counts){.n_entries = figures.n_entries, .n_bad = figures.n_bad};
	if (ret == ERR_TRUNCATED && figures.n_declared >= 0) {
		(void)snprintf(why, ENTRIES_WHY_MAX,
		               "its metadata promise %lld records, but it holds %zu",
		               figures.n_declared, figures.n_entries);
	}
	return ret;
}

static int walk_text(struct span text, struct walk *walk, struct entries_counts *counts)
{
	struct addrlist_figures figures = {.n_entries = 0};
	int ret = addrlist_parse(text, on_entry, on_bad, walk, &figures);
	*counts = (struct entries_counts){.n_entries = figures.n_entries,
	                                  .n_bad = figures.n_bad,
	                                  .n_masked = figures.n_masked};
	return ret;
}

int entries_walk(struct span text, size_t n_max, const struct entries_visitor *visitor,
                 struct entries_counts *counts, char why[static ENTRIES_WHY_MAX])
{
	struct walk walk = {.visitor = visitor, .n_max = n_max};
	why[0] = '\0';
	int ret = jsonlist_is_json(text) ? walk_json(text, &walk, counts, why)
	                                 : walk_text(text, &walk, counts);
	if (walk.is_too_long) {
		(void)snprintf(why, ENTRIES_WHY_MAX, "it has more than %zu entries (list-prefixes)",
		               n_max);
	} else if (ret && why[0] == '\0') {
		(void)snprintf(why, ENTRIES_WHY_MAX, "%s", err_text(ret));
	}
	return ret;
}
