/* What it costs a worker to look through its connections (engine/held.c): nanoseconds a connection
 * for grey ones, for listed ones with 600,000 networks in 20 lists, and while one address is looked
 * for. Baseline: a pass that reads one field of each entry, which any look must do. Prints one
 * figure a line, name and number.
 *
 * usage: bench_held CONNECTIONS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/held.h"
#include "lists/table.h"

enum { N_LISTS = 20, N_NETWORKS = 600000, SLICE = 2048, ROUNDS = 5 };

static uint64_t next_random(void)
{
	static uint64_t x = 88172645463325252U;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static struct addr random_addr(void)
{
	return addr_from_v4_be((uint32_t)(next_random() >> 20));
}

static struct list_table *make_lists(void)
{
	struct list_table *table;
	struct list_source sources[N_LISTS];
	struct list_ranges *ranges[N_LISTS];
	static char names[N_LISTS][16];
	enum { EACH = N_NETWORKS / N_LISTS };
	struct cidr *cidrs = calloc(EACH, sizeof *cidrs);
	for (unsigned i = 0; i < N_LISTS; i++) {
		for (unsigned j = 0; cidrs && j < EACH; j++) {
			cidrs[j] = (struct cidr){random_addr(), 128};
		}
		(void)snprintf(names[i], sizeof names[i], "list%u", i);
		if (!cidrs || list_ranges_new(cidrs, EACH, &ranges[i]) != 0) {
			exit(1);
		}
		sources[i] = (struct list_source){span_of_str(names[i]), SPAN("text"), ranges[i]};
	}
	if (list_table_build(sources, N_LISTS, &table) != 0) {
		exit(1);
	}
	for (unsigned i = 0; i < N_LISTS; i++) {
		list_ranges_free(ranges[i]);
	}
	free(cidrs);
	return table;
}

static void fill(struct conn_table *conns, enum session_class cls)
{
	for (uint32_t i = 0; i < conns->size; i++) {
		struct conn *conn = conn_at(conns, i);
		conn->phase = CONN_OPEN;
		conn->cls = (unsigned)cls & 7U;
		conn->peer = random_addr();
		conn->session.state = DIALOGUE_START;
		conn->session.opened.ms =
		        i; /* the first ones are the oldest, as the kernel deals */
	}
}

static double ns_each(struct mono began, const struct conn_table *conns)
{
	return (double)(clock_mono().ns - began.ns) / conns->size;
}

static double look(struct held *held, const struct held_query *query,
                   const struct list_table *lists, const struct conn_table *conns)
{
	struct mono began = clock_mono();
	bool is_listed = conn_at(conns, 0)->cls == SESSION_LISTED;
	held_begin(held, query, is_listed ? conns->size : 0);
	for (uint32_t slot = 0; slot < conns->size;) {
		struct held_view view;
		held_view_init(&view, held, lists, (struct mono_ms){2 * conns->size});
		for (uint32_t i = 0; i < SLICE && slot < conns->size; i++) {
			held_add(held, &view, conn_at(conns, slot++));
		}
	}
	return ns_each(began, conns);
}

static double pass(const struct conn_table *conns)
{
	struct mono began = clock_mono();
	volatile uint32_t sum = 0;
	for (uint32_t slot = 0; slot < conns->size; slot++) {
		sum += conn_at(conns, slot)->session.opened.ms;
	}
	return ns_each(began, conns);
}

static void print_least(const char *name, const double *ns)
{
	double least = ns[0];
	for (unsigned i = 1; i < ROUNDS; i++) {
		least = ns[i] < least ? ns[i] : least;
	}
	(void)printf("%s %.1f\n", name, least);
}

int main(int argc, char **argv)
{
	uint64_t n = 0;
	struct conn_table conns;
	static struct held held;
	const struct held_query all = {0};
	const struct held_query one = {.has_addr = true, .addr = addr_from_v4_be(1)};
	double ns[4][ROUNDS];
	if (argc != 2 || span_to_u64(span_of_str(argv[1]), CONN_TABLE_MAX, &n) != 0 || n == 0 ||
	    conn_table_init(&conns, (uint32_t)n) != 0) {
		(void)fputs("usage: bench_held CONNECTIONS\n", stderr);
		return 2;
	}
	struct list_table *lists = make_lists();
	for (unsigned round = 0; round < ROUNDS; round++) {
		fill(&conns, SESSION_GREY);
		ns[0][round] = pass(&conns);
		ns[1][round] = look(&held, &all, lists, &conns);
		ns[2][round] = look(&held, &one, lists, &conns);
		fill(&conns, SESSION_LISTED);
		ns[3][round] = look(&held, &all, lists, &conns);
	}
	print_least("pass_ns", ns[0]);
	print_least("address_ns", ns[2]);
	print_least("grey_ns", ns[1]);
	print_least("listed_ns", ns[3]);
	list_table_free(lists);
	conn_table_fini(&conns);
	return 0;
}
