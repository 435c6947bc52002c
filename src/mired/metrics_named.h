/* Metrics whose labels are names: lists and peers. The administrator names them, and beyond
 * METRICS_NAMED_MAX of a kind they are added up under METRICS_OTHERS, so that nobody else decides
 * how many samples there are. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "keeper/syncer.h"
#include "mired/exposition.h"

enum { METRICS_NAMED_MAX = 10, METRICS_NAME_MAX = 64 };

#define METRICS_OTHERS "(others)"

struct metrics_list {
	char name[METRICS_NAME_MAX];
	uint64_t n_networks;
	int64_t loaded_secs; /* the oldest of those added up */
};

/* The last place is that of all others. */
struct metrics_lists {
	struct metrics_list list[METRICS_NAMED_MAX + 1];
	size_t n_named;
	bool has_others;
};

/* Adds one to a struct that began all zero. */
void metrics_add_list(struct metrics_lists *lists, struct span tag, uint64_t n_networks,
                      int64_t loaded_secs);

void metrics_write_lists(struct exposition *to, const struct metrics_lists *lists);
void metrics_write_peers(struct exposition *to, const struct syncer_figures *sync);
