/* Networks in twenty lists: how long the table takes to build, what a network costs in memory, and
 * what a look-up costs for hits and misses of both families. Baselines: a sort of the same ranges
 * (what any build must do), one random access to memory of the table's size that must end before
 * the next begins (what any look-up must do), a binary search in all ranges of all lists sorted
 * into one array, and a binary search in each list in turn. Prints one figure a line, name and
 * number, for perf/lists.
 *
 * usage: bench_lists NETWORKS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "lists/table.h"

enum { N_LISTS = 20, N_LOOKUPS = 400000, V6_EVERY = 4, BEFORE_WARM = 1000 };

struct list {
	struct cidr *cidrs;
	struct addr_range *ranges; /* for the baseline */
	size_t n_ranges;
	size_t n;
};

static uint64_t next_random(void)
{
	static uint64_t x = 88172645463325252U;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static struct addr random_addr(bool is_v4)
{
	if (is_v4) {
		return addr_from_v4_be((uint32_t)(next_random() >> 20));
	}
	struct addr addr;
	uint64_t halves[2] = {next_random(), next_random()};
	memcpy(addr.bytes, halves, sizeof halves);
	addr.bytes[0] = 0x2a; /* where most of the world is */
	addr.bytes[1] &= 0x0f;
	return addr;
}

static void make_list(struct list *list, size_t n)
{
	list->cidrs = calloc(n, sizeof *list->cidrs);
	list->ranges = calloc(n, sizeof *list->ranges);
	list->n = n;
	if (!list->cidrs || !list->ranges) {
		exit(1);
	}
	for (size_t i = 0; i < n; i++) {
		list->cidrs[i] = (struct cidr){random_addr(i % V6_EVERY != 0), 128};
	}
	list->n_ranges = cidr_collapse(list->cidrs, n, list->ranges);
}

static bool is_before(const struct addr *a, const struct addr *b)
{
	bool a_is_v4 = addr_is_v4(a);
	if (a_is_v4 != addr_is_v4(b)) {
		return a_is_v4;
	}
	return memcmp(a->bytes, b->bytes, sizeof a->bytes) < 0;
}

static bool search(const struct addr_range *ranges, size_t n, const struct addr *addr)
{
	size_t low = 0;
	size_t high = n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (is_before(&ranges[middle].last, addr)) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low < n && !is_before(addr, &ranges[low].first);
}

static lists_mask search_all(const struct list *lists, const struct addr *addr)
{
	lists_mask mask = 0;
	for (size_t i = 0; i < N_LISTS; i++) {
		mask |= (lists_mask)search(lists[i].ranges, lists[i].n_ranges, addr) << i;
	}
	return mask;
}

static void fill_questions(struct addr *questions, const struct list *lists, bool is_v4,
                           bool is_hit)
{
	for (size_t i = 0; i < N_LOOKUPS; i++) {
		const struct list *list = &lists[next_random() % N_LISTS];
		size_t pick = (size_t)next_random() % (list->n / V6_EVERY) * V6_EVERY + is_v4;
		questions[i] = is_hit ? list->cidrs[pick].addr : random_addr(is_v4);
	}
}

/* --- baselines -------------------------------------------------------------------------------- */

static int compare_ranges(const void *a, const void *b)
{
	const struct addr_range *x = a;
	const struct addr_range *y = b;
	return is_before(&x->first, &y->first) ? -1 : is_before(&y->first, &x->first);
}

/* All ranges of all lists in one sorted array; what it does not say is which list. */
struct flat {
	struct addr_range *ranges;
	size_t n;
};

static struct flat flatten(const struct list *lists)
{
	struct flat flat = {.n = 0};
	for (size_t i = 0; i < N_LISTS; i++) {
		flat.n += lists[i].n_ranges;
	}
	flat.ranges = calloc(flat.n, sizeof *flat.ranges);
	if (!flat.ranges) {
		exit(1);
	}
	size_t at = 0;
	for (size_t i = 0; i < N_LISTS; i++) {
		memcpy(flat.ranges + at, lists[i].ranges, lists[i].n_ranges * sizeof *flat.ranges);
		at += lists[i].n_ranges;
	}
	return flat;
}

static double ns_each(struct mono since, size_t n)
{
	return (double)(clock_mono().ns - since.ns) / (double)n;
}

/* A walk through memory of so many bytes in which each step names the next one: one cycle through
 * all of it (Sattolo's shuffle). */
static double chain_ns(size_t bytes)
{
	size_t n = bytes / sizeof(uint32_t);
	uint32_t *next = malloc(n * sizeof *next);
	if (!next) {
		exit(1);
	}
	for (size_t i = 0; i < n; i++) {
		next[i] = (uint32_t)i;
	}
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = (size_t)(next_random() % i);
		uint32_t swapped = next[i];
		next[i] = next[j];
		next[j] = swapped;
	}
	struct mono since = clock_mono();
	uint32_t at = 0;
	for (size_t i = 0; i < N_LOOKUPS; i++) {
		at = next[at];
	}
	double ns = ns_each(since, N_LOOKUPS);
	/* the walk must not be optimised away */
	(void)fprintf(stderr, at == 0 ? "\n" : "");
	free(next);
	return ns;
}

/* --- look-ups --------------------------------------------------------------------------------- */

struct subject {
	const struct list_table *table;
	const struct list *lists;
	struct flat flat;
};

typedef bool look_up(const struct subject *subject, const struct addr *addr);

static bool in_table(const struct subject *subject, const struct addr *addr)
{
	return list_table_find(subject->table, addr) != 0;
}

static bool in_flat(const struct subject *subject, const struct addr *addr)
{
	return search(subject->flat.ranges, subject->flat.n, addr);
}

static bool in_each(const struct subject *subject, const struct addr *addr)
{
	return search_all(subject->lists, addr) != 0;
}

/* One in so many questions is asked where a way is slow. */
static const struct {
	const char *name;
	look_up *look_up;
	size_t one_in;
} look_ups[] = {{"table", in_table, 1}, {"array", in_flat, 1}, {"each", in_each, 20}};

static void bench_find(const struct subject *subject, bool is_v4, bool is_hit)
{
	struct addr *questions = calloc(N_LOOKUPS, sizeof *questions);
	const char *kind = is_hit ? "hit" : "any";
	if (!questions) {
		exit(1);
	}
	fill_questions(questions, subject->lists, is_v4, is_hit);
	for (size_t way = 0; way < ARRAY_LEN(look_ups); way++) {
		size_t n = N_LOOKUPS / look_ups[way].one_in;
		size_t n_listed = 0;
		for (size_t i = 0; i < BEFORE_WARM; i++) {
			(void)look_ups[way].look_up(subject, &questions[N_LOOKUPS - 1 - i]);
		}
		struct mono since = clock_mono();
		for (size_t i = 0; i < n; i++) {
			n_listed += look_ups[way].look_up(subject, &questions[i]);
		}
		(void)printf("v%d_%s_%s_ns %.2f\nv%d_%s_%s_listed %.5f\n", is_v4 ? 4 : 6, kind,
		             look_ups[way].name, ns_each(since, n), is_v4 ? 4 : 6, kind,
		             look_ups[way].name, (double)n_listed / (double)n);
	}
	free(questions);
}

/* --- building --------------------------------------------------------------------------------- */

static struct list_table *build(const struct list *lists, struct list_ranges **ranges, size_t n_all)
{
	struct list_source sources[N_LISTS];
	struct list_table *table = NULL;
	size_t bytes = 0;
	struct mono since = clock_mono();
	for (size_t i = 0; i < N_LISTS; i++) {
		if (list_ranges_new(lists[i].cidrs, lists[i].n, &ranges[i])) {
			exit(1);
		}
		sources[i] = (struct list_source){SPAN("tag"), SPAN("text"), ranges[i]};
		bytes += list_ranges_bytes(ranges[i]);
	}
	(void)printf("ranges_ns %.2f\n", ns_each(since, n_all));
	since = clock_mono();
	if (list_table_build(sources, N_LISTS, &table)) {
		exit(1);
	}
	(void)printf("table_ns %.2f\ntable_bytes %.2f\nranges_bytes %.2f\n", ns_each(since, n_all),
	             (double)list_table_bytes(table) / (double)n_all,
	             (double)bytes / (double)n_all);
	return table;
}

int main(int argc, char **argv)
{
	struct list lists[N_LISTS];
	struct list_ranges *ranges[N_LISTS];
	size_t n_all = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	if (n_all < (size_t)N_LISTS * V6_EVERY) {
		(void)fprintf(stderr, "usage: bench_lists NETWORKS\n");
		return 2;
	}
	for (size_t i = 0; i < N_LISTS; i++) {
		make_list(&lists[i], n_all / N_LISTS);
	}
	struct subject subject = {.lists = lists, .flat = flatten(lists)};
	struct list_table *table = build(lists, ranges, n_all);
	struct mono since = clock_mono();
	qsort(subject.flat.ranges, subject.flat.n, sizeof *subject.flat.ranges, compare_ranges);
	(void)printf("sort_ns %.2f\n", ns_each(since, n_all));
	(void)printf("chain_ns %.2f\n", chain_ns(list_table_bytes(table)));
	subject.table = table;
	for (int i = 0; i < 4; i++) {
		bench_find(&subject, i < 2, i % 2 == 0);
	}
	list_table_free(table);
	free(subject.flat.ranges);
	for (size_t i = 0; i < N_LISTS; i++) {
		list_ranges_free(ranges[i]);
		free(lists[i].cidrs);
		free(lists[i].ranges);
	}
	return 0;
}
