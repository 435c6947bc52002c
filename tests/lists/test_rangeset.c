/* The collapse of ranges: the rows of the specification, and random sets against a bitmap. */
#include "lists/rangeset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "lists/addrlist.h"

enum { N_MAX = 1000, WORLD = 256, N_ROUNDS = 2000, SEED = 20081101 };

static void add(struct rangeset *set, const char *text, bool is_white)
{
	struct addr_range range;
	bool had_host_bits;
	const char *reason;
	assert_int_equal(addrlist_parse_line(span_of_str(text), &range, &had_host_bits, &reason),
	                 0);
	assert_int_equal(rangeset_add(set, &range, is_white), 0);
}

/* Adds each word of the text; those that begin with ! are white. */
static void add_words(struct rangeset *set, const char *text)
{
	char copy[512];
	char *save;
	(void)snprintf(copy, sizeof copy, "%s", text);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		bool is_white = word[0] == '!';
		add(set, word + is_white, is_white);
	}
}

static void check_words(const char *in, const char *want)
{
	char got[1024] = "";
	char text[CIDR_TEXT_MAX];
	struct cidr *cidrs;
	size_t n;
	struct rangeset *set = rangeset_new(N_MAX);
	add_words(set, in);
	assert_int_equal(rangeset_finish(set, &cidrs, &n), 0);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "",
		               cidr_format(&cidrs[i], text));
	}
	assert_string_equal(got, want);
	free(cidrs);
	rangeset_free(set);
}

static void hosts_with_a_white_one_between(void **state)
{
	(void)state;
	check_words("1.2.3.4 1.2.3.5 1.2.3.6 1.2.3.7 !1.2.3.6", "1.2.3.4/31 1.2.3.7/32");
}

static void two_neighbours_become_one_network(void **state)
{
	(void)state;
	check_words("10.0.0.0/24 10.0.1.0/24", "10.0.0.0/23");
}

static void a_range_is_cut_at_the_alignments(void **state)
{
	(void)state;
	check_words("1.2.3.4-1.2.3.9", "1.2.3.4/30 1.2.3.8/31");
}

static void a_white_host_in_overlapping_networks(void **state)
{
	(void)state;
	check_words("10.0.0.0/24 10.0.0.128/25 !10.0.0.200",
	            "10.0.0.0/25 10.0.0.128/26 10.0.0.192/29 10.0.0.201/32 10.0.0.202/31 "
	            "10.0.0.204/30 10.0.0.208/28 10.0.0.224/27");
}

static void a_white_network_in_a_large_one_leaves_sixteen_blocks(void **state)
{
	(void)state;
	check_words("10.0.0.0/8 !10.1.2.0/24",
	            "10.0.0.0/16 10.1.0.0/23 10.1.3.0/24 10.1.4.0/22 10.1.8.0/21 10.1.16.0/20 "
	            "10.1.32.0/19 10.1.64.0/18 10.1.128.0/17 10.2.0.0/15 10.4.0.0/14 10.8.0.0/13 "
	            "10.16.0.0/12 10.32.0.0/11 10.64.0.0/10 10.128.0.0/9");
}

static void any_white_wins_however_nested(void **state)
{
	(void)state;
	check_words("10.0.0.0/8 10.1.0.0/16 10.1.1.0/24 10.1.1.1 !10.0.0.0/7 !10.1.1.1", "");
}

static void white_alone_has_no_effect(void **state)
{
	(void)state;
	check_words("!10.0.0.0/8", "");
	check_words("", "");
}

static void the_ends_of_both_families_are_no_special_case(void **state)
{
	(void)state;
	check_words("0.0.0.0", "0.0.0.0/32");
	check_words("255.255.255.255", "255.255.255.255/32");
	check_words("255.255.255.254 255.255.255.255 0.0.0.0", "0.0.0.0/32 255.255.255.254/31");
	check_words("0.0.0.0-255.255.255.255", "0.0.0.0/1 128.0.0.0/1");
	check_words("0.0.0.0-255.255.255.255 !255.255.255.255/1", "0.0.0.0/1");
	check_words("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/1 8000::/1");
	check_words("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 0.0.0.1",
	            "0.0.0.1/32 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128");
}

static void the_families_do_not_meet(void **state)
{
	(void)state;
	check_words("2001:db8::/32 10.0.0.0/8 !2001:db8:8000::/33", "10.0.0.0/8 2001:db8::/33");
	check_words("10.0.0.0/8 !::/1", "10.0.0.0/8");
	check_words("::/1 !0.0.0.0-255.255.255.255", "::/1");
	check_words("::/80", "::/80");
	check_words("::fffc:0:0/94 !::fffe:0:0/96", "::fffc:0:0/95"); /* not all of IPv4 */
	check_words("::fffe:ffff:ffff-::1:0:0:0", "::fffe:ffff:ffff/128 ::1:0:0:0/128");
}

static void a_reversed_or_mixed_range_is_refused(void **state)
{
	(void)state;
	struct rangeset *set = rangeset_new(N_MAX);
	struct addr_range range;
	assert_int_equal(addr_parse(SPAN("1.2.3.9"), &range.first), 0);
	assert_int_equal(addr_parse(SPAN("1.2.3.4"), &range.last), 0);
	assert_int_equal(rangeset_add(set, &range, false), ERR_RANGE);
	assert_int_equal(addr_parse(SPAN("2001:db8::1"), &range.last), 0);
	assert_int_equal(rangeset_add(set, &range, false), ERR_RANGE);
	assert_int_equal(rangeset_n_black(set), 0);
	rangeset_free(set);
}

static void more_than_the_bound_is_refused(void **state)
{
	(void)state;
	struct rangeset *set = rangeset_new(2);
	struct addr_range range;
	struct cidr *cidrs;
	size_t n;
	add(set, "10.0.0.1-10.0.0.6", false);
	add(set, "10.0.1.0", true);
	assert_int_equal(rangeset_n_black(set), 1);
	assert_int_equal(addr_parse(SPAN("1.2.3.4"), &range.first), 0);
	range.last = range.first;
	assert_int_equal(rangeset_add(set, &range, false), ERR_TOO_LONG);
	assert_int_equal(rangeset_finish(set, &cidrs, &n), ERR_TOO_LONG); /* four networks */
	rangeset_free(set);
}

/* A small world of addresses for random sets: the first or last WORLD of a family. */
static struct addr world_addr(const char *base, unsigned offset)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(base), &addr), 0);
	addr.bytes[15] = (uint8_t)offset;
	return addr;
}

struct marks {
	bool is_black[WORLD];
	bool is_white[WORLD];
};

static void add_random(struct rangeset *set, const char *base, struct marks *marks)
{
	unsigned first = (unsigned)random() % WORLD;
	unsigned last = first + (unsigned)random() % (WORLD - first);
	last = random() % 2 ? last : first + (last - first) / 16;
	bool is_white = random() % 3 == 0;
	struct addr_range range = {world_addr(base, first), world_addr(base, last)};
	assert_int_equal(rangeset_add(set, &range, is_white), 0);
	for (unsigned i = first; i <= last; i++) {
		(is_white ? marks->is_white : marks->is_black)[i] = true;
	}
}

/* The networks cover exactly what is marked, ascend, and no two of them could be one. */
static void check_cover(const struct cidr *cidrs, size_t n, const struct marks *marks)
{
	unsigned next = 0;
	for (size_t i = 0; i < n; i++) {
		struct addr_range range = cidr_range(&cidrs[i]);
		unsigned first = range.first.bytes[15];
		unsigned last = range.last.bytes[15];
		assert_true(first >= next);
		for (; next <= last; next++) {
			bool is_listed = marks->is_black[next] && !marks->is_white[next];
			assert_int_equal(is_listed, next >= first);
		}
		unsigned size = last - first + 1;
		bool is_left_half = size < WORLD && first / size % 2 == 0;
		if (is_left_half && i + 1 < n && cidrs[i + 1].bits == cidrs[i].bits) {
			assert_true(cidrs[i + 1].addr.bytes[15] != (uint8_t)(last + 1));
		}
	}
	for (; next < WORLD; next++) {
		assert_false(marks->is_black[next] && !marks->is_white[next]);
	}
}

static void random_sets_agree_with_a_bitmap(void **state)
{
	(void)state;
	static const char *const bases[] = {
	        "0.0.0.0", "255.255.255.0", "10.1.2.0",
	        "::",      "2001:db8::",    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00"};
	srandom(SEED);
	for (unsigned round = 0; round < N_ROUNDS; round++) {
		struct marks marks = {0};
		struct cidr *cidrs;
		size_t n;
		struct rangeset *set = rangeset_new(N_MAX);
		long n_ranges = random() % 30;
		for (long i = 0; i < n_ranges; i++) {
			add_random(set, bases[round % ARRAY_LEN(bases)], &marks);
		}
		assert_int_equal(rangeset_finish(set, &cidrs, &n), 0);
		check_cover(cidrs, n, &marks);
		free(cidrs);
		rangeset_free(set);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(hosts_with_a_white_one_between),
	        cmocka_unit_test(two_neighbours_become_one_network),
	        cmocka_unit_test(a_range_is_cut_at_the_alignments),
	        cmocka_unit_test(a_white_host_in_overlapping_networks),
	        cmocka_unit_test(a_white_network_in_a_large_one_leaves_sixteen_blocks),
	        cmocka_unit_test(any_white_wins_however_nested),
	        cmocka_unit_test(white_alone_has_no_effect),
	        cmocka_unit_test(the_ends_of_both_families_are_no_special_case),
	        cmocka_unit_test(the_families_do_not_meet),
	        cmocka_unit_test(a_reversed_or_mixed_range_is_refused),
	        cmocka_unit_test(more_than_the_bound_is_refused),
	        cmocka_unit_test(random_sets_agree_with_a_bitmap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
