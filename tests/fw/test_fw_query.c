/* Questions about addresses and counters, and counters in sets, against the real kernel. */
#include "fw_fixture.h"

#include "fw/fw_query.h"

static struct conf counting_conf(void)
{
	struct conf conf = gateway_conf();
	conf.set_counters = true;
	return conf;
}

static struct fw_query *query_with(const struct conf *conf)
{
	struct fw_query *query;
	assert_int_equal(fw_query_open(&query, conf), 0);
	return query;
}

static struct fw_membership membership(struct fw_query *query, enum fw_query_set set,
                                       const char *text)
{
	struct fw_membership sets[FW_QUERY_SETS];
	struct addr addr = addr_of(text);
	assert_int_equal(fw_query_address(query, &addr, sets), 0);
	return sets[set];
}

static void check_range(const struct fw_membership *in, const char *first, const char *last)
{
	char text[ADDR_TEXT_MAX];
	assert_true(in->is_in);
	assert_string_equal(addr_format(&in->range.first, text), first);
	assert_string_equal(addr_format(&in->range.last, text), last);
}

static void an_address_is_found_in_each_set_that_holds_it(void **state)
{
	(void)state;
	need_root();
	struct conf conf = gateway_conf();
	struct fw *fw = open_with(&conf);
	const struct fw_element elements[] = {
	        element_of(FW_SET_WHITE, "192.0.2.1", 3600),
	        element_of(FW_SET_GREYTRAP, "192.0.2.1", 60),
	        element_of(FW_SET_WHITE, "2001:db8:7::", 3600),
	};
	put_table(fw);
	assert_int_equal(fw_apply(fw, elements, ARRAY_LEN(elements)), 0);
	struct fw_query *query = query_with(&conf);
	struct fw_membership in = membership(query, FW_QUERY_WHITE, "192.0.2.1");
	check_range(&in, "192.0.2.1", "192.0.2.1");
	assert_string_equal(in.set, "spamd-white");
	assert_true(in.has_timeout);
	assert_int_equal(in.timeout_ms, 3600000);
	assert_in_range(in.left_ms, 3500000, 3600000);
	assert_false(in.has_count);
	in = membership(query, FW_QUERY_GREYTRAP, "192.0.2.1");
	assert_int_equal(in.timeout_ms, 60000);
	in = membership(query, FW_QUERY_WHITE, "2001:db8:7::99");
	check_range(&in, "2001:db8:7::", "2001:db8:7:0:ffff:ffff:ffff:ffff");
	assert_string_equal(in.set, "spamd-white6");
	assert_false(membership(query, FW_QUERY_WHITE, "2001:db8:8::99").is_in);
	assert_false(membership(query, FW_QUERY_GREYTRAP, "2001:db8:7::").is_in);
	assert_false(membership(query, FW_QUERY_NOSPAMD, "192.0.2.1").is_in);
	fw_query_close(query);
	close_and_remove(fw);
}

static void a_network_is_found_by_any_of_its_addresses(void **state)
{
	(void)state;
	need_root();
	static const struct {
		const char *first, *last;
	} networks[] = {
	        {"192.0.2.0", "192.0.2.127"},
	        {"192.0.2.129", "192.0.2.255"},
	        {"198.51.100.7", "198.51.100.7"},
	        {"240.0.0.0", "255.255.255.255"},
	        {"2001:db8::", "2001:db8::ffff"},
	        {"ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	};
	struct addr_range ranges[ARRAY_LEN(networks)];
	char why[FW_WHY_MAX];
	struct conf conf = gateway_conf();
	struct fw *fw = open_with(&conf);
	for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
		ranges[i] =
		        (struct addr_range){addr_of(networks[i].first), addr_of(networks[i].last)};
	}
	assert_int_equal(fw_put_table(fw, ranges, ARRAY_LEN(ranges), why), 0);
	assert_int_equal(fw_set_spamd(fw, ranges, 1, why), 0);
	struct fw_query *query = query_with(&conf);
	for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
		struct fw_membership in = membership(query, FW_QUERY_NOSPAMD, networks[i].first);
		check_range(&in, networks[i].first, networks[i].last);
		in = membership(query, FW_QUERY_NOSPAMD, networks[i].last);
		check_range(&in, networks[i].first, networks[i].last);
		assert_false(in.has_timeout);
	}
	struct fw_membership in = membership(query, FW_QUERY_NOSPAMD, "192.0.2.77");
	check_range(&in, "192.0.2.0", "192.0.2.127");
	in = membership(query, FW_QUERY_NOSPAMD, "255.255.255.254");
	check_range(&in, "240.0.0.0", "255.255.255.255");
	in = membership(query, FW_QUERY_SPAMD, "192.0.2.77");
	check_range(&in, "192.0.2.0", "192.0.2.127");
	static const char *const outside[] = {"0.0.0.0",         "192.0.1.255",  "192.0.2.128",
	                                      "192.0.3.0",       "198.51.100.6", "198.51.100.8",
	                                      "239.255.255.255", "::1:0:0:0",    "2001:db8::1:0"};
	for (size_t i = 0; i < ARRAY_LEN(outside); i++) {
		assert_false(membership(query, FW_QUERY_NOSPAMD, outside[i]).is_in);
	}
	fw_query_close(query);
	close_and_remove(fw);
}

static void without_a_table_that_is_the_answer(void **state)
{
	(void)state;
	need_root();
	struct conf conf = gateway_conf();
	struct fw_query *query = query_with(&conf);
	struct fw_membership sets[FW_QUERY_SETS];
	struct answer_counter counters[FW_COUNTERS_MAX];
	struct addr addr = addr_of("192.0.2.1");
	size_t n;
	assert_int_equal(fw_query_address(query, &addr, sets), -ENOENT);
	assert_int_equal(fw_query_counters(query, counters, &n), -ENOENT);
	/* a table without our sets holds nobody */
	(void)output_of("nft add table inet mired");
	assert_int_equal(fw_query_address(query, &addr, sets), 0);
	for (size_t i = 0; i < FW_QUERY_SETS; i++) {
		assert_false(sets[i].is_in);
	}
	assert_int_equal(fw_query_counters(query, counters, &n), 0);
	assert_int_equal(n, 0);
	(void)output_of("nft delete table inet mired");
	fw_query_close(query);
}

static const struct answer_counter *counter_of(const struct answer_counter *counters, size_t n,
                                               const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(counters[i].name, name) == 0) {
			return &counters[i];
		}
	}
	return NULL;
}

/* What a reload of mired does. */
static void exchanging_the_rules_leaves_their_counters(void **state)
{
	(void)state;
	need_root();
	struct conf confs[] = {gateway_conf(), local_conf()};
	confs[0].rules = CONF_RULES_GATEWAY_TPROXY; /* has objects that are no counters */
	for (size_t i = 0; i < ARRAY_LEN(confs); i++) {
		struct answer_counter counters[FW_COUNTERS_MAX];
		size_t n = 0;
		(void)output_of("nft 'add table inet mired; add counter inet mired c_white "
		                "{ packets 7 bytes 420 }; add counter inet mired mine; "
		                "add counter inet mired empty { packets 0 bytes 0 }'");
		struct fw *fw = open_with(&confs[i]);
		put_table(fw);
		put_chains(fw);
		put_chains(fw);
		struct fw_query *query = query_with(&confs[i]);
		assert_int_equal(fw_query_counters(query, counters, &n), 0);
		assert_int_equal(n, 6);
		static const char *const names[] = {"c_nospamd", "c_passed", "c_tarpit", "mine"};
		for (size_t name = 0; name < ARRAY_LEN(names); name++) {
			const struct answer_counter *counter = counter_of(counters, n, names[name]);
			assert_non_null(counter);
			assert_int_equal(counter->count.packets, 0);
		}
		const struct answer_counter *white = counter_of(counters, n, "c_white");
		assert_non_null(white);
		assert_int_equal(white->count.packets, 7);
		assert_int_equal(white->count.bytes, 420);
		fw_query_close(query);
		close_and_remove(fw);
	}
}

static void more_counters_than_there_is_room_for_are_an_error(void **state)
{
	(void)state;
	need_root();
	struct conf conf = gateway_conf();
	struct answer_counter counters[FW_COUNTERS_MAX];
	size_t n;
	(void)output_of("nft add table inet mired; for i in $(seq 70); do "
	                "echo add counter inet mired c$i; done | nft -f -");
	struct fw_query *query = query_with(&conf);
	assert_int_equal(fw_query_counters(query, counters, &n), ERR_TOO_LONG);
	(void)output_of("nft delete table inet mired");
	fw_query_close(query);
}

static void a_question_does_not_read_the_set(void **state)
{
	(void)state;
	need_root();
	enum { N = 50000 };
	char why[FW_WHY_MAX];
	struct fw_element *all = calloc(N, sizeof *all);
	assert_non_null(all);
	for (uint32_t i = 0; i < N; i++) {
		all[i] = (struct fw_element){.addr = addr_number(i), .timeout_secs = 3600};
	}
	struct conf conf = gateway_conf();
	struct fw *fw = open_with(&conf);
	put_table(fw);
	assert_int_equal(replace_all(fw, all, N, why), 0);
	struct fw_query *query = query_with(&conf);
	double start = seconds_now();
	for (unsigned i = 0; i < 100; i++) {
		assert_true(membership(query, FW_QUERY_WHITE, "10.0.0.77").is_in);
		assert_false(membership(query, FW_QUERY_WHITE, "192.0.2.1").is_in);
	}
	double took = seconds_now() - start;
	print_message("200 questions beside %d elements in %.4f s\n", N, took);
	/* dumping them takes a tenth of a second each time */
	assert_true(took < 1.0);
	fw_query_close(query);
	free(all);
	close_and_remove(fw);
}

/* --- counters in sets ------------------------------------------------------------------------- */

/* As if n packets had been seen, without sending any. */
static void put_counted(const char *set, const char *text, unsigned packets)
{
	char command[256];
	(void)snprintf(command, sizeof command,
	               "nft add element inet mired %s "
	               "'{ %s counter packets %u bytes %u timeout 1h }'",
	               set, text, packets, packets * 60);
	(void)output_of(command);
}

static void with_set_counters_every_set_counts(void **state)
{
	(void)state;
	need_root();
	const struct addr_range nospamd = {addr_of("192.0.2.0"), addr_of("192.0.2.255")};
	char why[FW_WHY_MAX];
	struct conf conf = counting_conf();
	struct fw *fw = open_with(&conf);
	const struct fw_element elements[] = {
	        element_of(FW_SET_WHITE, "192.0.2.1", 3600),
	        element_of(FW_SET_WHITE, "2001:db8:7::", 3600),
	        element_of(FW_SET_GREYTRAP, "192.0.2.1", 3600),
	        element_of(FW_SET_GREYTRAP, "2001:db8:7::", 3600),
	};
	assert_int_equal(fw_put_table(fw, &nospamd, 1, why), 0);
	assert_int_equal(fw_set_spamd(fw, &nospamd, 1, why), 0);
	assert_int_equal(fw_apply(fw, elements, ARRAY_LEN(elements)), 0);
	struct fw_query *query = query_with(&conf);
	for (unsigned set = 0; set < FW_QUERY_SETS; set++) {
		struct fw_membership in = membership(query, (enum fw_query_set)set, "192.0.2.1");
		assert_true(in.is_in);
		assert_true(in.has_count);
		assert_int_equal(in.count.packets, 0);
	}
	assert_true(membership(query, FW_QUERY_WHITE, "2001:db8:7::5").has_count);
	assert_true(membership(query, FW_QUERY_GREYTRAP, "2001:db8:7::").has_count);
	fw_query_close(query);
	close_and_remove(fw);
}

static void a_refresh_keeps_what_was_counted(void **state)
{
	(void)state;
	need_root();
	static const enum conf_feature ways[] = {CONF_FEATURE_AUTO, CONF_FEATURE_FALLBACK};
	for (size_t i = 0; i < ARRAY_LEN(ways) * ARRAY_LEN(ways); i++) {
		struct conf conf = counting_conf();
		conf.refresh_feature = ways[i % 2];
		conf.destroy_feature = ways[i / 2];
		struct fw *fw = open_with(&conf);
		put_table(fw);
		put_counted("spamd-white", "192.0.2.1", 7);
		put_counted("spamd-white6", "2001:db8:7::", 9);
		const struct fw_element refreshed[] = {
		        element_of(FW_SET_WHITE, "192.0.2.1", 7200),
		        element_of(FW_SET_WHITE, "192.0.2.2", 7200),
		        element_of(FW_SET_WHITE, "2001:db8:7::", 7200),
		};
		assert_int_equal(fw_apply(fw, refreshed, ARRAY_LEN(refreshed)), 0);
		struct fw_query *query = query_with(&conf);
		struct fw_membership in = membership(query, FW_QUERY_WHITE, "192.0.2.1");
		assert_int_equal(in.timeout_ms, 7200000);
		assert_int_equal(in.count.packets, 7);
		assert_int_equal(in.count.bytes, 420);
		in = membership(query, FW_QUERY_WHITE, "2001:db8:7::1");
		assert_int_equal(in.timeout_ms, 7200000);
		assert_int_equal(in.count.packets, 9);
		in = membership(query, FW_QUERY_WHITE, "192.0.2.2");
		assert_true(in.has_count);
		assert_int_equal(in.count.packets, 0);
		fw_query_close(query);
		close_and_remove(fw);
	}
}

static void a_changed_setting_makes_the_table_anew(void **state)
{
	(void)state;
	need_root();
	const struct fw_element element = element_of(FW_SET_WHITE, "192.0.2.1", 3600);
	for (unsigned i = 0; i < 4; i++) {
		struct conf conf = gateway_conf();
		conf.set_counters = i % 2;
		struct fw *fw = open_with(&conf);
		put_table(fw);
		/* the caller has to fill them, and puts the rules behind that */
		assert_true(fw_is_empty(fw));
		assert_int_equal(fw_apply(fw, &element, 1), 0);
		put_chains(fw);
		put_table(fw);
		assert_false(fw_is_empty(fw));
		struct fw_query *query = query_with(&conf);
		struct fw_membership in = membership(query, FW_QUERY_WHITE, "192.0.2.1");
		assert_true(in.is_in);
		assert_int_equal(in.has_count, i % 2);
		fw_query_close(query);
		fw_close(fw);
	}
	assert_int_equal(fw_remove_table("mired"), 0);
}

static void the_administrators_table_is_kept_and_the_difference_said(void **state)
{
	(void)state;
	need_root();
	char why[FW_WHY_MAX];
	struct conf conf = test_conf();
	struct fw *fw = open_with(&conf);
	put_table(fw);
	(void)output_of("nft add chain inet mired mine");
	fw_close(fw);
	conf.set_counters = true;
	fw = open_with(&conf);
	assert_int_equal(fw_put_table(fw, NULL, 0, why), 0);
	assert_non_null(strstr(why, "set-counters = yes, but set "));
	assert_true(prints("nft list chains inet", "mine"));
	fw_close(fw);
	conf.set_counters = false;
	fw = open_with(&conf);
	assert_int_equal(fw_put_table(fw, NULL, 0, why), 0);
	assert_string_equal(why, "");
	close_and_remove(fw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_address_is_found_in_each_set_that_holds_it),
	        cmocka_unit_test(a_network_is_found_by_any_of_its_addresses),
	        cmocka_unit_test(without_a_table_that_is_the_answer),
	        cmocka_unit_test(exchanging_the_rules_leaves_their_counters),
	        cmocka_unit_test(more_counters_than_there_is_room_for_are_an_error),
	        cmocka_unit_test(a_question_does_not_read_the_set),
	        cmocka_unit_test(with_set_counters_every_set_counts),
	        cmocka_unit_test(a_refresh_keeps_what_was_counted),
	        cmocka_unit_test(a_changed_setting_makes_the_table_anew),
	        cmocka_unit_test(the_administrators_table_is_kept_and_the_difference_said),
	};
	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
