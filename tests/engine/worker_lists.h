/* Lists, domains and spamtraps for the tests of the worker: what the lister and the keeper publish
 * in the daemon. Included after worker_world.h. */
#pragma once

#include "base/qsbr.h"
#include "keeper/knowledge.h"
#include "lists/ranges.h"

enum { LISTS_ROWS_MAX = 8, LISTS_CIDRS_MAX = 4 };

/* One list of the table to be built; networks as text, the last one NULL. */
struct list_row {
	const char *tag;
	const char *text;
	const char *networks[LISTS_CIDRS_MAX];
};

static inline struct list_ranges *lists_ranges(const struct list_row *row)
{
	struct cidr cidrs[LISTS_CIDRS_MAX];
	struct list_ranges *ranges;
	size_t n = 0;
	for (; n < LISTS_CIDRS_MAX && row->networks[n]; n++) {
		assert_int_equal(cidr_parse(span_of_str(row->networks[n]), &cidrs[n], NULL), 0);
	}
	assert_int_equal(list_ranges_new(cidrs, n, &ranges), 0);
	return ranges;
}

static inline struct list_table *lists_table(const struct list_row *rows, size_t n)
{
	struct list_source sources[LISTS_ROWS_MAX];
	struct list_ranges *ranges[LISTS_ROWS_MAX];
	struct list_table *table;
	for (size_t i = 0; i < n; i++) {
		ranges[i] = lists_ranges(&rows[i]);
		sources[i] = (struct list_source){.tag = span_of_str(rows[i].tag),
		                                  .text = span_of_str(rows[i].text),
		                                  .ranges = ranges[i]};
	}
	assert_int_equal(list_table_build(sources, n, &table), 0);
	for (size_t i = 0; i < n; i++) {
		list_ranges_free(ranges[i]);
	}
	return table;
}

/* Puts lists in force; the table before goes when no worker can hold it any more. */
static inline void lists_put(struct knowledge *knowledge, const struct list_row *rows, size_t n)
{
	struct list_table *before = qsbr_exchange(&knowledge->lists, lists_table(rows, n));
	qsbr_wait();
	list_table_free(before);
}

static inline void lists_put_domains(struct knowledge *knowledge, const char *text)
{
	struct domains *domains;
	assert_int_equal(domains_parse(span_of_str(text), NULL, NULL, &domains), 0);
	struct domains *before = qsbr_exchange(&knowledge->domains, domains);
	qsbr_wait();
	domains_free(before);
}

/* No worker may run any more. */
static inline void lists_free(struct knowledge *knowledge)
{
	list_table_free(qsbr_exchange(&knowledge->lists, NULL));
	domains_free(qsbr_exchange(&knowledge->domains, NULL));
	trapset_free(knowledge->traps);
}
