/* Two million networks in twenty lists: how long the table takes to build, what a network costs,
 * and what a look-up costs for hits and misses of both families. The baseline is a binary search
 * through each list in turn.
 *
 * usage: bench_lists [NETWORKS] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "lists/table.h"

enum { N_LISTS = 20, N_LOOKUPS = 400000, V6_EVERY = 4 };

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

static bool search(const struct list *list, const struct addr *addr)
{
	size_t low = 0;
	size_t high = list->n_ranges;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (is_before(&list->ranges[middle].last, addr)) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low < list->n_ranges && !is_before(addr, &list->ranges[low].first);
}

static lists_mask search_all(const struct list *lists, const struct addr *addr)
{
	lists_mask mask = 0;
	for (size_t i = 0; i < N_LISTS; i++) {
		mask |= (lists_mask)search(&lists[i], addr) << i;
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

static double ns_each(struct mono since, size_t n)
{
	return (double)(clock_mono().ns - since.ns) / (double)n;
}

static void bench_find(const struct list_table *table, const struct list *lists, bool is_v4,
                       bool is_hit)
{
	struct addr *questions = calloc(N_LOOKUPS, sizeof *questions);
	size_t n_listed = 0;
	size_t n_baseline = 0;
	enum { N_BASELINE = N_LOOKUPS / 20 };
	if (!questions) {
		exit(1);
	}
	fill_questions(questions, lists, is_v4, is_hit);
	struct mono since = clock_mono();
	for (size_t i = 0; i < N_LOOKUPS; i++) {
		n_listed += list_table_find(table, &questions[i]) != 0;
	}
	double ns = ns_each(since, N_LOOKUPS);
	since = clock_mono();
	for (size_t i = 0; i < N_BASELINE; i++) {
		n_baseline += search_all(lists, &questions[i]) != 0;
	}
	double baseline_ns = ns_each(since, N_BASELINE);
	(void)printf(
	        "look-up %s %s: %.0f ns (%.1f %% listed), list by list %.0f ns (%.1f %%), ratio "
	        "%.3f\n",
	        is_v4 ? "IPv4" : "IPv6", is_hit ? "hit " : "any ", ns,
	        100.0 * (double)n_listed / N_LOOKUPS, baseline_ns,
	        100.0 * (double)n_baseline / N_BASELINE, ns / baseline_ns);
	free(questions);
}

int main(int argc, char **argv)
{
	struct list lists[N_LISTS];
	struct list_source sources[N_LISTS];
	struct list_ranges *ranges[N_LISTS];
	struct list_table *table;
	struct utsname machine;
	size_t n_all = argc > 1 ? strtoul(argv[1], NULL, 10) : 2000000;
	size_t bytes = 0;
	(void)uname(&machine);
	(void)printf("%s %s: %zu networks in %d lists\n", machine.sysname, machine.release, n_all,
	             N_LISTS);
	for (size_t i = 0; i < N_LISTS; i++) {
		make_list(&lists[i], n_all / N_LISTS);
	}
	struct mono since = clock_mono();
	for (size_t i = 0; i < N_LISTS; i++) {
		if (list_ranges_new(lists[i].cidrs, lists[i].n, &ranges[i])) {
			return 1;
		}
		sources[i] = (struct list_source){SPAN("tag"), SPAN("text"), ranges[i]};
		bytes += list_ranges_bytes(ranges[i]);
	}
	double ranges_ms = ns_each(since, 1000000);
	since = clock_mono();
	if (list_table_build(sources, N_LISTS, &table)) {
		return 1;
	}
	(void)printf("ranges %.0f ms, table %.0f ms\n", ranges_ms, ns_each(since, 1000000));
	(void)printf("bytes a network: table %.1f, ranges kept %.1f\n",
	             (double)list_table_bytes(table) / (double)n_all,
	             (double)bytes / (double)n_all);
	for (int i = 0; i < 4; i++) {
		bench_find(table, lists, i < 2, i % 2 == 0);
	}
	list_table_free(table);
	for (size_t i = 0; i < N_LISTS; i++) {
		list_ranges_free(ranges[i]);
		free(lists[i].cidrs);
		free(lists[i].ranges);
	}
	return 0;
}
