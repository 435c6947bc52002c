/* Table, sets and elements against the real kernel. */
#include "fw_fixture.h"

#include "fw/fw_int.h"

/* Every way the kernel's features can be used; tests of elements run under each. */
static const struct {
	const char *name;
	enum conf_feature refresh, destroy;
} ways[] = {
        {"all features", CONF_FEATURE_AUTO, CONF_FEATURE_AUTO},
        {"no refresh", CONF_FEATURE_FALLBACK, CONF_FEATURE_AUTO},
        {"no destroy", CONF_FEATURE_AUTO, CONF_FEATURE_FALLBACK},
        {"neither", CONF_FEATURE_FALLBACK, CONF_FEATURE_FALLBACK},
};

static struct fw *open_way(size_t way)
{
	struct conf conf = test_conf();
	conf.refresh_feature = ways[way].refresh;
	conf.destroy_feature = ways[way].destroy;
	struct fw *fw = open_with(&conf);
	put_table(fw);
	return fw;
}

static void elements_of_both_families_are_added_and_deleted(void **state)
{
	(void)state;
	need_root();
	for (size_t way = 0; way < ARRAY_LEN(ways); way++) {
		struct fw *fw = open_way(way);
		struct fw_element put[] = {
		        element_of(FW_SET_WHITE, "192.0.2.1", 3600),
		        element_of(FW_SET_WHITE, "2001:db8::", 3600),
		        element_of(FW_SET_GREYTRAP, "192.0.2.2", 86400),
		        element_of(FW_SET_GREYTRAP, "2001:db8::2", 86400),
		};
		assert_int_equal(fw_apply(fw, put, ARRAY_LEN(put)), 0);
		assert_true(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
		assert_true(is_in(fw, FW_SET_WHITE, "2001:db8::"));
		assert_true(is_in(fw, FW_SET_GREYTRAP, "192.0.2.2"));
		assert_true(is_in(fw, FW_SET_GREYTRAP, "2001:db8::2"));
		assert_false(is_in(fw, FW_SET_WHITE, "192.0.2.2"));
		assert_false(is_in(fw, FW_SET_GREYTRAP, "2001:db8::"));
		struct fw_element gone[] = {
		        deletion_of(FW_SET_WHITE, "192.0.2.1"),
		        deletion_of(FW_SET_WHITE, "2001:db8::"),
		        deletion_of(FW_SET_GREYTRAP, "192.0.2.2"),
		};
		assert_int_equal(fw_apply(fw, gone, ARRAY_LEN(gone)), 0);
		assert_false(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
		assert_false(is_in(fw, FW_SET_WHITE, "2001:db8::"));
		assert_false(is_in(fw, FW_SET_GREYTRAP, "192.0.2.2"));
		assert_true(is_in(fw, FW_SET_GREYTRAP, "2001:db8::2"));
		close_and_remove(fw);
	}
}

static void deleting_what_is_not_there_changes_nothing_else(void **state)
{
	(void)state;
	need_root();
	for (size_t way = 0; way < ARRAY_LEN(ways); way++) {
		struct fw *fw = open_way(way);
		struct fw_element mixed[] = {
		        element_of(FW_SET_WHITE, "192.0.2.1", 3600),
		        deletion_of(FW_SET_WHITE, "192.0.2.99"),
		        deletion_of(FW_SET_WHITE, "192.0.2.99"),
		        element_of(FW_SET_WHITE, "192.0.2.3", 3600),
		};
		assert_int_equal(fw_apply(fw, mixed, ARRAY_LEN(mixed)), 0);
		assert_true(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
		assert_true(is_in(fw, FW_SET_WHITE, "192.0.2.3"));
		assert_false(is_in(fw, FW_SET_WHITE, "192.0.2.99"));
		close_and_remove(fw);
	}
}

static void changes_of_one_address_in_one_transaction_are_applied_in_order(void **state)
{
	(void)state;
	need_root();
	for (size_t way = 0; way < ARRAY_LEN(ways); way++) {
		struct fw *fw = open_way(way);
		struct fw_element changes[] = {
		        element_of(FW_SET_WHITE, "192.0.2.1", 3600),
		        deletion_of(FW_SET_WHITE, "192.0.2.1"),
		        element_of(FW_SET_WHITE, "192.0.2.1", 3600),
		        element_of(FW_SET_WHITE, "192.0.2.1", 3600),
		        element_of(FW_SET_WHITE, "192.0.2.2", 3600),
		        deletion_of(FW_SET_WHITE, "192.0.2.2"),
		};
		assert_int_equal(fw_apply(fw, changes, ARRAY_LEN(changes)), 0);
		assert_true(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
		assert_false(is_in(fw, FW_SET_WHITE, "192.0.2.2"));
		close_and_remove(fw);
	}
}

static void a_put_again_starts_the_timeout_again(void **state)
{
	(void)state;
	need_root();
	for (size_t way = 0; way < ARRAY_LEN(ways); way++) {
		struct fw *fw = open_way(way);
		struct fw_element element = element_of(FW_SET_WHITE, "192.0.2.1", 1000);
		assert_int_equal(fw_apply(fw, &element, 1), 0);
		element.timeout_secs = 864 * 3600 + 3600;
		assert_int_equal(fw_apply(fw, &element, 1), 0);
		const char *text =
		        output_of("nft get element inet mired spamd-white { 192.0.2.1 }");
		if (!strstr(text, "timeout 36d1h expires 36d") &&
		    !strstr(text, "timeout 36d1h expires 35d23h59m")) {
			fail_msg("%s: %s", ways[way].name, text);
		}
		close_and_remove(fw);
	}
}

static void a_forced_fallback_is_what_the_figures_show(void **state)
{
	(void)state;
	need_root();
	struct fw_stats stats;
	struct fw *fw = open_way(ARRAY_LEN(ways) - 1);
	fw_stats_get(fw, &stats);
	assert_false(stats.has_refresh);
	assert_false(stats.has_destroy);
	close_and_remove(fw);
	assert_false(prints("nft list tables", "mired"));
}

static void an_element_without_timeout_does_not_stay_for_ever(void **state)
{
	(void)state;
	need_root();
	struct fw *fw = open_way(0);
	struct fw_element element = element_of(FW_SET_WHITE, "192.0.2.1", 0);
	assert_int_equal(fw_apply(fw, &element, 1), 0);
	assert_true(prints("nft get element inet mired spamd-white { 192.0.2.1 }", "timeout 1s"));
	close_and_remove(fw);
}

static void figures_count_what_was_done(void **state)
{
	(void)state;
	need_root();
	struct fw *fw = open_way(0);
	struct fw_stats before;
	struct fw_stats after;
	fw_stats_get(fw, &before);
	static struct fw_element many[2500];
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		many[i] = (struct fw_element){.addr = addr_number((uint32_t)i),
		                              .timeout_secs = 60,
		                              .is_deleted = i >= 2000};
	}
	assert_int_equal(fw_apply(fw, many, ARRAY_LEN(many)), 0);
	fw_stats_get(fw, &after);
	/* without refresh and destroying deletion a change takes three elements, so that the bytes
	 * of a transaction are its bound, not the number of changes */
	uint64_t most = after.has_refresh && after.has_destroy ? 3 : 6;
	assert_in_range(after.transactions - before.transactions, 3, most);
	assert_int_equal(after.elements_added - before.elements_added, 2000);
	assert_int_equal(after.elements_deleted - before.elements_deleted, 500);
	assert_int_equal(after.failures, before.failures);
	close_and_remove(fw);
}

static void a_hundred_thousand_elements_are_replaced_at_once(void **state)
{
	(void)state;
	need_root();
	enum { N = 100000 };
	for (size_t way = 0; way < ARRAY_LEN(ways); way += ARRAY_LEN(ways) - 1) {
		char why[FW_WHY_MAX];
		struct fw *fw = open_way(way);
		struct fw_element old = element_of(FW_SET_WHITE, "192.0.2.1", 3600);
		struct fw_element trapped = element_of(FW_SET_GREYTRAP, "2001:db8::9", 3600);
		struct fw_element *all = calloc(N, sizeof *all);
		assert_non_null(all);
		for (uint32_t i = 0; i < N; i++) {
			all[i] = (struct fw_element){.addr = addr_number(i), .timeout_secs = 3600};
		}
		assert_int_equal(fw_apply(fw, &old, 1), 0);
		assert_int_equal(fw_apply(fw, &trapped, 1), 0);
		double start = seconds_now();
		assert_int_equal(replace_all(fw, all, N, why), 0);
		double first = seconds_now();
		assert_int_equal(replace_all(fw, all, N, why), 0);
		print_message("%s: %d elements in %.3f s, again in %.3f s\n", ways[way].name, N,
		              first - start, seconds_now() - first);
		assert_false(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
		assert_false(is_in(fw, FW_SET_GREYTRAP, "2001:db8::9"));
		for (uint32_t i = 0; i < N; i++) {
			assert_int_equal(fw_has(fw, FW_SET_WHITE, &all[i].addr), 1);
		}
		free(all);
		close_and_remove(fw);
	}
}

static void a_copy_too_large_for_one_message_is_replaced_in_pieces(void **state)
{
	(void)state;
	need_root();
	enum { N = 20000 };
	for (size_t way = 0; way < ARRAY_LEN(ways); way++) {
		char why[FW_WHY_MAX];
		struct fw *fw = open_way(way);
		struct fw_element old = element_of(FW_SET_WHITE, "192.0.2.1", 3600);
		static struct fw_element all[N];
		for (uint32_t i = 0; i < N; i++) {
			all[i] = (struct fw_element){.addr = addr_number(i), .timeout_secs = 3600};
		}
		assert_int_equal(fw_apply(fw, &old, 1), 0);
		fw->batch.bytes_max = 200000;
		assert_int_equal(replace_all(fw, all, N, why), 0);
		assert_false(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
		for (uint32_t i = 0; i < N; i++) {
			assert_int_equal(fw_has(fw, FW_SET_WHITE, &all[i].addr), 1);
		}
		assert_int_equal(watched(fw), FW_STATE_OK);
		close_and_remove(fw);
	}
}

/* Deletions among the changes are of hosts that the copy has, and of old ones. */
static void changes_follow_the_copy_in_the_same_transaction(void **state)
{
	(void)state;
	need_root();
	for (size_t way = 0; way < ARRAY_LEN(ways); way++) {
		char why[FW_WHY_MAX];
		struct fw *fw = open_way(way);
		struct fw_stats before;
		struct fw_stats after;
		const struct fw_element old[] = {
		        element_of(FW_SET_WHITE, "192.0.2.1", 3600),
		        element_of(FW_SET_WHITE, "192.0.2.2", 3600),
		};
		const struct fw_element hosts[] = {
		        element_of(FW_SET_WHITE, "192.0.2.2", 1000),
		        element_of(FW_SET_WHITE, "2001:db8::", 3600),
		        element_of(FW_SET_GREYTRAP, "192.0.2.3", 3600),
		};
		const struct fw_element changes[] = {
		        deletion_of(FW_SET_WHITE, "192.0.2.1"),
		        deletion_of(FW_SET_WHITE, "2001:db8::"),
		        element_of(FW_SET_WHITE, "192.0.2.2", 864 * 3600 + 3600),
		        element_of(FW_SET_WHITE, "192.0.2.9", 3600),
		};
		const struct fw_content content = {hosts, ARRAY_LEN(hosts), changes,
		                                   ARRAY_LEN(changes)};
		assert_int_equal(fw_apply(fw, old, ARRAY_LEN(old)), 0);
		fw_stats_get(fw, &before);
		assert_int_equal(fw_replace(fw, &content, why), 0);
		fw_stats_get(fw, &after);
		assert_int_equal(after.transactions - before.transactions, 1);
		assert_false(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
		assert_false(is_in(fw, FW_SET_WHITE, "2001:db8::"));
		assert_true(is_in(fw, FW_SET_WHITE, "192.0.2.9"));
		assert_true(is_in(fw, FW_SET_GREYTRAP, "192.0.2.3"));
		assert_true(prints("nft get element inet mired spamd-white { 192.0.2.2 }",
		                   "timeout 36d1h"));
		close_and_remove(fw);
	}
}

static void sets_are_empty_from_their_making_to_the_first_element(void **state)
{
	(void)state;
	need_root();
	struct fw *fw = open_way(0);
	struct fw_element element = element_of(FW_SET_WHITE, "192.0.2.1", 3600);
	assert_true(fw_is_empty(fw));
	assert_int_equal(fw_apply(fw, NULL, 0), 0);
	assert_true(fw_is_empty(fw));
	assert_int_equal(fw_fill(fw, &element, 1), 0);
	assert_false(fw_is_empty(fw));
	assert_true(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
	put_table(fw); /* keeps the sets */
	assert_false(fw_is_empty(fw));
	(void)output_of("nft flush ruleset");
	assert_int_equal(watched(fw), FW_STATE_GONE);
	put_table(fw);
	assert_true(fw_is_empty(fw));
	(void)output_of("nft 'delete table inet mired; add table inet mired; "
	                "add set inet mired spamd-white6 { type ipv6_addr; flags timeout; }'");
	put_table(fw); /* somebody else's set may hold anything */
	assert_false(fw_is_empty(fw));
	close_and_remove(fw);
}

static void learned_sets_are_counted_each_alone(void **state)
{
	(void)state;
	need_root();
	struct fw *fw = open_way(0);
	uint32_t counts[FW_LEARNED_ROWS];
	const uint32_t wanted[FW_LEARNED_ROWS] = {2, 1, 0, 1};
	const struct fw_element elements[] = {
	        element_of(FW_SET_WHITE, "192.0.2.1", 3600),
	        element_of(FW_SET_WHITE, "192.0.2.2", 3600),
	        element_of(FW_SET_WHITE, "192.0.2.2", 3600),
	        element_of(FW_SET_WHITE, "2001:db8::", 3600),
	        element_of(FW_SET_GREYTRAP, "2001:db8::1", 3600),
	};
	assert_int_equal(fw_apply(fw, elements, ARRAY_LEN(elements)), 0);
	int ret = fw_count(fw, counts);
	if (ret == -EOPNOTSUPP) {
		close_and_remove(fw);
		skip();
	}
	assert_int_equal(ret, 0);
	assert_memory_equal(counts, wanted, sizeof wanted);
	close_and_remove(fw);
}

static void nospamd_networks_become_ranges_of_the_interval_sets(void **state)
{
	(void)state;
	need_root();
	static const char *const networks[] = {
	        "192.0.2.0/25", "192.0.2.128/25", "198.51.100.7", "255.255.255.255",
	        "0.0.0.0/8",    "2001:db8::/32",  "::1",          "ffff::/16",
	};
	struct cidr cidrs[ARRAY_LEN(networks)];
	struct addr_range ranges[ARRAY_LEN(networks)];
	char why[FW_WHY_MAX];
	for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
		assert_int_equal(cidr_parse(span_of_str(networks[i]), &cidrs[i], NULL), 0);
	}
	size_t n = cidr_collapse(cidrs, ARRAY_LEN(networks), ranges);
	struct conf conf = test_conf();
	struct fw *fw = open_with(&conf);
	assert_int_equal(fw_put_table(fw, ranges, n, why), 0);
	assert_true(prints("nft list set inet mired nospamd",
	                   "elements = { 0.0.0.0/8, 192.0.2.0/24,\n"
	                   "\t\t\t     198.51.100.7, 255.255.255.255 }"));
	assert_true(prints("nft list set inet mired nospamd6", "elements = { ::1,\n"
	                                                       "\t\t\t     2001:db8::/32,\n"
	                                                       "\t\t\t     ffff::/16 }"));
	/* put again with less: replaced, not added */
	assert_int_equal(fw_put_table(fw, ranges + 1, 1, why), 0);
	assert_true(prints("nft list set inet mired nospamd", "elements = { 192.0.2.0/24 }"));
	assert_false(prints("nft list set inet mired nospamd6", "elements"));
	close_and_remove(fw);
}

/* The last address of each is that of the mapped block, ::ffff:255.255.255.255. */
static void a_network_that_ends_with_a_mapped_address_is_of_its_own_family(void **state)
{
	(void)state;
	need_root();
	static const char *const networks[] = {"::/80", "::fffe:0:0/95"};
	char why[FW_WHY_MAX];
	struct conf conf = test_conf();
	struct fw *fw = open_with(&conf);
	for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
		struct cidr cidrs[2];
		struct addr_range ranges[2];
		assert_int_equal(cidr_parse(span_of_str(networks[i]), &cidrs[0], NULL), 0);
		assert_int_equal(cidr_parse(span_of_str("2001:db8::/32"), &cidrs[1], NULL), 0);
		size_t n = cidr_collapse(cidrs, 2, ranges);
		assert_int_equal(n, 2);
		assert_int_equal(fw_put_table(fw, ranges, n, why), 0);
		assert_false(prints("nft list set inet mired nospamd", "elements"));
		assert_true(prints("nft list set inet mired nospamd6", networks[i]));
		assert_true(prints("nft list set inet mired nospamd6", "2001:db8::/32 }"));
		assert_int_equal(fw_set_spamd(fw, ranges, n, why), 0);
		assert_true(prints("nft list set inet mired spamd6", networks[i]));
		assert_false(prints("nft list set inet mired spamd", "elements"));
	}
	close_and_remove(fw);
}

static void a_large_nospamd_list_fits(void **state)
{
	(void)state;
	need_root();
	enum { N = 20000 };
	char why[FW_WHY_MAX];
	struct addr_range *ranges = calloc(N, sizeof *ranges);
	assert_non_null(ranges);
	for (uint32_t i = 0; i < N; i++) {
		ranges[i].first = addr_number(i * 8);
		ranges[i].last = addr_number(i * 8 + 3);
	}
	struct conf conf = test_conf();
	struct fw *fw = open_with(&conf);
	double start = seconds_now();
	assert_int_equal(fw_put_table(fw, ranges, N, why), 0);
	print_message("%d ranges in %.3f s\n", N, seconds_now() - start);
	(void)output_of("nft get element inet mired nospamd { 10.0.0.3 }");
	assert_int_not_equal(
	        system("nft get element inet mired nospamd '{ 10.0.0.4 }' >/dev/null 2>&1"), 0);
	free(ranges);
	close_and_remove(fw);
}

static void listed_networks_of_both_families_are_replaced_as_one(void **state)
{
	(void)state;
	need_root();
	char why[FW_WHY_MAX];
	const struct addr_range first[] = {
	        {addr_of("192.0.2.0"), addr_of("192.0.2.255")},
	        /* touching: the end of one is the start of the next */
	        {addr_of("198.51.100.0"), addr_of("198.51.100.7")},
	        {addr_of("198.51.100.8"), addr_of("198.51.100.8")},
	        {addr_of("255.255.255.255"), addr_of("255.255.255.255")},
	        {addr_of("2001:db8::"), addr_of("2001:db8::ffff")},
	};
	const struct addr_range second[] = {{addr_of("203.0.113.1"), addr_of("203.0.113.3")}};
	struct conf conf = test_conf();
	struct fw *fw = open_with(&conf);
	put_table(fw);
	assert_int_equal(fw_set_spamd(fw, first, ARRAY_LEN(first), why), 0);
	(void)output_of("nft get element inet mired spamd "
	                "{ 192.0.2.9, 198.51.100.7, 198.51.100.8, 255.255.255.255 }");
	(void)output_of("nft get element inet mired spamd6 { 2001:db8::8 }");
	assert_int_equal(fw_set_spamd(fw, second, ARRAY_LEN(second), why), 0);
	assert_true(
	        prints("nft list set inet mired spamd", "elements = { 203.0.113.1-203.0.113.3 }"));
	assert_false(prints("nft list set inet mired spamd6", "elements"));
	assert_int_equal(watched(fw), FW_STATE_OK);
	(void)output_of("nft delete table inet mired");
	assert_int_equal(fw_set_spamd(fw, second, ARRAY_LEN(second), why), -ENOENT);
	assert_non_null(strstr(why, "set spamd of table inet mired: "));
	assert_int_equal(watched(fw), FW_STATE_GONE);
	put_table(fw);
	assert_false(prints("nft list set inet mired spamd", "elements"));
	close_and_remove(fw);
}

static void exempt_networks_are_replaced_while_the_table_stands(void **state)
{
	(void)state;
	need_root();
	char why[FW_WHY_MAX];
	const struct addr_range ranges[] = {
	        {addr_of("192.0.2.0"), addr_of("192.0.2.255")},
	        {addr_of("2001:db8::"), addr_of("2001:db8::ffff")},
	};
	struct conf conf = test_conf();
	struct fw *fw = open_with(&conf);
	struct fw_element element = element_of(FW_SET_WHITE, "192.0.2.1", 3600);
	assert_int_equal(fw_put_table(fw, ranges, 1, why), 0);
	assert_int_equal(fw_apply(fw, &element, 1), 0);
	assert_int_equal(fw_set_nospamd(fw, ranges + 1, 1, why), 0);
	assert_false(prints("nft list set inet mired nospamd", "elements"));
	assert_true(prints("nft list set inet mired nospamd6", "2001:db8::/112"));
	assert_true(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
	assert_int_equal(fw_set_nospamd(fw, NULL, 0, why), 0);
	assert_false(prints("nft list set inet mired nospamd6", "elements"));
	close_and_remove(fw);
}

static void many_listed_networks_fit_into_one_transaction(void **state)
{
	(void)state;
	need_root();
	enum { N = 200000 };
	char why[FW_WHY_MAX];
	struct addr_range *ranges = calloc(N, sizeof *ranges);
	assert_non_null(ranges);
	for (uint32_t i = 0; i < N; i++) {
		ranges[i] = (struct addr_range){addr_number(8 * i), addr_number(8 * i + 3)};
	}
	struct conf conf = test_conf();
	struct fw *fw = open_with(&conf);
	put_table(fw);
	for (int i = 0; i < 2; i++) {
		double start = seconds_now();
		assert_int_equal(fw_set_spamd(fw, ranges, N, why), 0);
		print_message("%d networks %s in %.2f s\n", N, i ? "replaced" : "added",
		              seconds_now() - start);
	}
	(void)output_of("nft get element inet mired spamd { 10.24.105.251 }");
	assert_int_not_equal(
	        system("nft get element inet mired spamd '{ 10.24.105.252 }' >/dev/null 2>&1"), 0);
	free(ranges);
	close_and_remove(fw);
}

static void an_existing_table_keeps_its_elements(void **state)
{
	(void)state;
	need_root();
	struct fw *fw = open_way(0);
	struct fw_element element = element_of(FW_SET_WHITE, "192.0.2.1", 3600);
	assert_int_equal(fw_apply(fw, &element, 1), 0);
	fw_close(fw);
	fw = open_way(0);
	assert_true(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
	close_and_remove(fw);
}

static void a_set_of_another_type_is_made_anew_only_where_the_rules_are_ours(void **state)
{
	(void)state;
	need_root();
	char why[FW_WHY_MAX];
	(void)output_of("nft 'add table inet mired; "
	                "add set inet mired spamd-white { type ether_addr; }'");
	struct conf conf = test_conf();
	struct fw *fw = open_with(&conf);
	assert_int_equal(fw_put_table(fw, NULL, 0, why), -EEXIST);
	assert_non_null(strstr(why, "set spamd-white of table inet mired has another type"));
	fw_close(fw);
	conf.rules = CONF_RULES_LOCAL_MTA;
	fw = open_with(&conf);
	put_table(fw);
	assert_true(prints("nft list set inet mired spamd-white", "type ipv4_addr"));
	close_and_remove(fw);
}

static void a_write_into_a_lost_table_says_so(void **state)
{
	(void)state;
	need_root();
	for (size_t way = 0; way < ARRAY_LEN(ways); way++) {
		char why[FW_WHY_MAX];
		struct fw *fw = open_way(way);
		struct fw_element element = element_of(FW_SET_WHITE, "192.0.2.1", 3600);
		(void)output_of("nft delete table inet mired");
		assert_int_equal(fw_apply(fw, &element, 1), -ENOENT);
		assert_int_equal(replace_all(fw, &element, 1, why), -ENOENT);
		assert_int_equal(watched(fw), FW_STATE_GONE);
		put_table(fw);
		assert_int_equal(replace_all(fw, &element, 1, why), 0);
		assert_true(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
		close_and_remove(fw);
	}
}

static void two_instances_do_not_disturb_each_other(void **state)
{
	(void)state;
	need_root();
	struct conf conf = test_conf();
	struct fw *one = open_with(&conf);
	conf.nft_table = "mired-two";
	struct fw *two = open_with(&conf);
	put_table(one);
	put_table(two);
	struct fw_element element = element_of(FW_SET_WHITE, "192.0.2.1", 3600);
	assert_int_equal(fw_apply(one, &element, 1), 0);
	assert_true(is_in(one, FW_SET_WHITE, "192.0.2.1"));
	assert_false(is_in(two, FW_SET_WHITE, "192.0.2.1"));
	assert_int_equal(watched(one), FW_STATE_OK);
	assert_int_equal(watched(two), FW_STATE_OK);
	close_and_remove(two);
	assert_int_equal(watched(one), FW_STATE_OK);
	assert_true(is_in(one, FW_SET_WHITE, "192.0.2.1"));
	close_and_remove(one);
}

static void removing_a_missing_table_is_no_error(void **state)
{
	(void)state;
	need_root();
	struct conf conf = test_conf();
	struct fw *fw = open_with(&conf);
	assert_int_equal(fw_remove(fw), 0);
	close_and_remove(fw);
}

/* What the supervisor does at the end when the role could not: also where the role cannot start. */
static void a_table_is_removed_without_an_open_firewall(void **state)
{
	(void)state;
	need_root();
	(void)output_of("nft add table inet mired-left");
	assert_true(prints("nft list tables", "mired-left"));
	assert_int_equal(fw_remove_table("mired-left"), 0);
	assert_false(prints("nft list tables", "mired-left"));
	assert_int_equal(fw_remove_table("mired-left"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(elements_of_both_families_are_added_and_deleted),
	        cmocka_unit_test(deleting_what_is_not_there_changes_nothing_else),
	        cmocka_unit_test(changes_of_one_address_in_one_transaction_are_applied_in_order),
	        cmocka_unit_test(a_put_again_starts_the_timeout_again),
	        cmocka_unit_test(a_forced_fallback_is_what_the_figures_show),
	        cmocka_unit_test(an_element_without_timeout_does_not_stay_for_ever),
	        cmocka_unit_test(figures_count_what_was_done),
	        cmocka_unit_test(a_hundred_thousand_elements_are_replaced_at_once),
	        cmocka_unit_test(a_copy_too_large_for_one_message_is_replaced_in_pieces),
	        cmocka_unit_test(changes_follow_the_copy_in_the_same_transaction),
	        cmocka_unit_test(sets_are_empty_from_their_making_to_the_first_element),
	        cmocka_unit_test(learned_sets_are_counted_each_alone),
	        cmocka_unit_test(nospamd_networks_become_ranges_of_the_interval_sets),
	        cmocka_unit_test(a_network_that_ends_with_a_mapped_address_is_of_its_own_family),
	        cmocka_unit_test(a_large_nospamd_list_fits),
	        cmocka_unit_test(listed_networks_of_both_families_are_replaced_as_one),
	        cmocka_unit_test(exempt_networks_are_replaced_while_the_table_stands),
	        cmocka_unit_test(many_listed_networks_fit_into_one_transaction),
	        cmocka_unit_test(an_existing_table_keeps_its_elements),
	        cmocka_unit_test(a_set_of_another_type_is_made_anew_only_where_the_rules_are_ours),
	        cmocka_unit_test(a_write_into_a_lost_table_says_so),
	        cmocka_unit_test(two_instances_do_not_disturb_each_other),
	        cmocka_unit_test(removing_a_missing_table_is_no_error),
	        cmocka_unit_test(a_table_is_removed_without_an_open_firewall),
	};
	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
