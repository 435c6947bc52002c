/* The rule templates: what is made of them, and that the kernel takes it. */
#include "fw_fixture.h"

static char *rendered(const struct conf *conf)
{
	char why[FW_WHY_MAX];
	char *text = NULL;
	if (fw_rules_render(conf, &text, why)) {
		fail_msg("fw_rules_render: %s", why);
	}
	return text;
}

static void check_refused(const struct conf *conf, const char *reason)
{
	char why[FW_WHY_MAX];
	char *text = NULL;
	assert_true(fw_rules_render(conf, &text, why) < 0);
	assert_null(text);
	if (!strstr(why, reason)) {
		fail_msg("\"%s\" is not in \"%s\"", reason, why);
	}
}

/* --- rendering -------------------------------------------------------------------------------- */

static void a_gateways_rules_name_its_mxes_by_family(void **state)
{
	(void)state;
	struct conf conf = gateway_conf();
	char *text = rendered(&conf);
	assert_non_null(strstr(text, "\ntable inet mired\nflush table inet mired\n"));
	assert_non_null(strstr(text, "iifname { \"lo\" } ip daddr { 192.0.2.25, 192.0.2.26 } tcp "
	                             "dport 25 jump smtp_in\n"));
	assert_non_null(strstr(text, "iifname { \"lo\" } ip6 daddr { 2001:db8:2::25 } tcp dport 25 "
	                             "jump smtp_in\n"));
	assert_non_null(strstr(text, "ip6 saddr & ffff:ffff:ffff:ffff:: @spamd-white6 counter"));
	assert_non_null(strstr(text, "redirect to :8025\n"));
	free(text);
}

static void a_family_without_mx_has_no_rules(void **state)
{
	(void)state;
	struct conf conf = gateway_conf();
	conf.n_mx = 1;
	char *text = rendered(&conf);
	assert_null(strstr(text, "ip6 daddr"));
	assert_non_null(strstr(text, "ip daddr { 192.0.2.25 }"));
	free(text);
	conf.mx[0] = conf.mx[1];
	text = rendered(&conf);
	assert_null(strstr(text, "ip daddr"));
	assert_non_null(strstr(text, "ip6 daddr { 2001:db8:2::25 }"));
	free(text);
}

static void several_interfaces_ports_and_prefixes_are_taken_from_the_configuration(void **state)
{
	(void)state;
	struct conf conf = local_conf();
	conf.nft_table = "mired-two";
	conf.port = 9025;
	conf.smtp_port = 2525;
	conf.ipv6_prefix = 56;
	char *text = rendered(&conf);
	assert_non_null(strstr(text, "\ntable inet mired-two {\n"));
	assert_non_null(strstr(text,
	                       "iifname { \"lo\", \"eth1.7\" } fib daddr type local tcp dport "
	                       "2525 jump smtp_in\n"));
	assert_non_null(strstr(text, "ip6 saddr & ffff:ffff:ffff:ff00:: @spamd-white6"));
	assert_non_null(strstr(text, "redirect to :9025\n"));
	free(text);
}

static void the_mode_chooses_between_two_bodies(void **state)
{
	(void)state;
	struct conf conf = gateway_conf();
	char *text = rendered(&conf);
	assert_non_null(strstr(text, "\t\tgoto greylist\n"));
	assert_null(strstr(text, "goto blacklist"));
	free(text);
	conf.blacklist_only = true;
	text = rendered(&conf);
	assert_non_null(strstr(text, "\t\tgoto blacklist\n"));
	assert_null(strstr(text, "goto greylist"));
	free(text);
}

static void low_priority_addresses_have_rules_only_when_there_are_some(void **state)
{
	(void)state;
	struct conf conf = gateway_conf();
	conf.low_priority_port = 8027;
	char *text = rendered(&conf);
	assert_null(strstr(text, "8027"));
	free(text);
	conf.low_priority_mx[0] = addr_of("192.0.2.99");
	conf.n_low_priority_mx = 1;
	text = rendered(&conf);
	assert_non_null(strstr(text, "ip daddr { 192.0.2.99 } tcp dport 25 jump smtp_in\n"));
	assert_non_null(
	        strstr(text, "ip daddr { 192.0.2.99 } meta l4proto tcp redirect to :8027\n"));
	assert_non_null(strstr(text, "tcp dport 8027 ct status and dnat == 0 drop\n"));
	free(text);
}

static void outbound_mail_is_logged_of_the_mtas_only(void **state)
{
	(void)state;
	struct conf conf = gateway_conf();
	conf.nflog_in = 125;
	conf.nflog_out = 126;
	char *text = rendered(&conf);
	assert_non_null(strstr(text, "ip saddr { 192.0.2.25, 192.0.2.26 } tcp dport 25 ct state"));
	assert_non_null(strstr(text, "log group 125 snaplen"));
	assert_non_null(strstr(text, "log group 126 snaplen"));
	free(text);
	conf.mta[0] = addr_of("10.0.0.25");
	conf.n_mta = 1;
	text = rendered(&conf);
	assert_non_null(strstr(text, "ip saddr { 10.0.0.25 } tcp dport 25 ct state new"));
	assert_null(strstr(text, "saddr { 192.0.2.25"));
	assert_null(strstr(text, "saddr { 2001:"));
	free(text);
	conf = local_conf();
	text = rendered(&conf);
	assert_non_null(strstr(text, "fib saddr type local tcp dport 25 ct state new"));
	assert_null(strstr(text, "saddr {"));
	free(text);
	conf.mta[0] = addr_of("2001:db8::25");
	conf.n_mta = 1;
	text = rendered(&conf);
	assert_null(strstr(text, "fib saddr"));
	assert_non_null(strstr(text, "ip6 saddr { 2001:db8::25 } tcp dport 25 ct state new"));
	free(text);
}

/* --- the file for TPROXY ---------------------------------------------------------------------- */

static struct conf tproxy_conf(void)
{
	struct conf conf = gateway_conf();
	conf.rules = CONF_RULES_GATEWAY_TPROXY;
	return conf;
}

static unsigned times_in(const char *text, const char *wanted)
{
	unsigned n = 0;
	for (const char *at = text; (at = strstr(at, wanted)) != NULL; at++) {
		n++;
	}
	return n;
}

static void tproxy_rules_look_at_each_mx_before_and_after_tracking(void **state)
{
	(void)state;
	struct conf conf = tproxy_conf();
	char *text = rendered(&conf);
	assert_non_null(strstr(text, "\ntable inet mired\nflush table inet mired\n"));
	assert_int_equal(times_in(text, "iifname { \"lo\" } ip daddr { 192.0.2.25, 192.0.2.26 } "
	                                "tcp dport 25 goto "),
	                 2);
	assert_int_equal(times_in(text, "iifname { \"lo\" } ip6 daddr { 2001:db8:2::25 } tcp "
	                                "dport 25 goto "),
	                 2);
	assert_int_equal(times_in(text, " goto smtp_in\n"), 2);
	assert_int_equal(times_in(text, " goto steer\n"), 2);
	assert_non_null(strstr(text, "tproxy ip to :8025 accept\n"));
	assert_non_null(strstr(text, "tproxy ip6 to :8025 accept\n"));
	assert_non_null(strstr(text, "tcp dport 8025 drop\n"));
	assert_null(strstr(text, "redirect"));
	free(text);
	conf.n_mx = 1;
	text = rendered(&conf);
	assert_null(strstr(text, "ip6 daddr"));
	assert_null(strstr(text, "ip6 saddr {"));
	free(text);
}

static void tproxy_rules_are_filled_from_the_same_keys(void **state)
{
	(void)state;
	struct conf conf = tproxy_conf();
	conf.low_priority_port = 8027;
	conf.nflog_in = 125;
	conf.nflog_out = 126;
	conf.ipv6_prefix = 56;
	conf.smtp_port = 2525;
	char *text = rendered(&conf);
	assert_null(strstr(text, "8027"));
	assert_non_null(strstr(text, "\t\tgoto greylist\n"));
	assert_non_null(strstr(text, "ip6 saddr & ffff:ffff:ffff:ff00:: @spamd-white6"));
	assert_non_null(strstr(text, "ip saddr { 192.0.2.25, 192.0.2.26 } tcp dport 25 ct state"));
	assert_int_equal(times_in(text, "log group 125 "), 1);
	assert_int_equal(times_in(text, "log group 126 "), 1);
	assert_non_null(strstr(text, "tcp sport 2525 meta mark"));
	free(text);
	conf.blacklist_only = true;
	conf.low_priority_mx[0] = addr_of("192.0.2.99");
	conf.low_priority_mx[1] = addr_of("2001:db8::99");
	conf.n_low_priority_mx = 2;
	text = rendered(&conf);
	assert_non_null(strstr(text, "\t\tgoto blacklist\n"));
	assert_int_equal(times_in(text, "ip daddr { 192.0.2.99 } tcp dport 2525 goto "), 2);
	assert_int_equal(times_in(text, "ip6 daddr { 2001:db8::99 } tcp dport 2525 goto "), 2);
	assert_int_equal(times_in(text, "to :8027 accept\n"), 2);
	assert_non_null(strstr(text, "tcp dport 8027 drop\n"));
	free(text);
}

/* How often a rule gives what is sent this class. */
static unsigned times_classed(const struct conf *conf, const char *class)
{
	char wanted[64];
	(void)snprintf(wanted, sizeof wanted, "meta priority set %s\n", class);
	char *text = rendered(conf);
	unsigned n = times_in(text, wanted);
	assert_int_equal(times_in(text, "meta priority"), n);
	free(text);
	return n;
}

static void what_is_sent_to_held_clients_has_the_class_of_the_configuration(void **state)
{
	(void)state;
	struct conf confs[] = {local_conf(), gateway_conf(), tproxy_conf()};
	static char low[] = "1:A", high[] = "fffe:FFFF", off[] = "off", bad[] = "1:25 accept";
	for (size_t i = 0; i < ARRAY_LEN(confs); i++) {
		assert_int_equal(times_classed(&confs[i], "1:25"), 1);
		confs[i].traffic_class = low;
		assert_int_equal(times_classed(&confs[i], "1:a"), 1);
		confs[i].traffic_class = off;
		assert_int_equal(times_classed(&confs[i], ""), 0);
		confs[i].traffic_class = high;
		confs[i].low_priority_mx[0] = addr_of("192.0.2.99");
		confs[i].n_low_priority_mx = 1;
		confs[i].low_priority_port = 8027;
		/* TPROXY's answers come from the port that was asked, whoever asked */
		assert_int_equal(times_classed(&confs[i], "fffe:ffff"), i == 2 ? 1 : 2);
		confs[i].traffic_class = bad;
		check_refused(&confs[i], "");
	}
}

/* --- what is refused -------------------------------------------------------------------------- */

static void nothing_is_rendered_when_the_administrator_writes_the_rules(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	char *text = rendered(&conf);
	assert_string_equal(text, "");
	free(text);
}

static void names_that_could_be_program_text_are_refused(void **state)
{
	(void)state;
	struct conf conf = local_conf();
	conf.interfaces[1] = "x\" } accept";
	check_refused(&conf, "interface \"x\" } accept\" is not a plain name");
	conf.interfaces[1] = "sixteen-letters-";
	check_refused(&conf, "is not a plain name");
	conf.n_interfaces = 0;
	check_refused(&conf, "interface is not set");
	conf = local_conf();
	conf.nft_table = "a; flush ruleset";
	check_refused(&conf, "nft-table \"a; flush ruleset\" is not a plain name");
	conf = gateway_conf();
	conf.n_mx = 0;
	check_refused(&conf, "mx-addresses is empty");
}

static void a_template_that_is_missing_or_wrong_is_named(void **state)
{
	(void)state;
	char dir[] = "/tmp/mired-test-XXXXXX";
	char path[64];
	char reason[128];
	assert_non_null(mkdtemp(dir));
	struct conf conf = local_conf();
	conf.rules_dir = dir;
	(void)snprintf(path, sizeof path, "%s/local-mta.nft", dir);
	(void)snprintf(reason, sizeof reason, "%s: No such file", path);
	check_refused(&conf, reason);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	(void)fputs("# @FINE@\ntable inet @TABLE@\n@PORTS@\n", file);
	(void)fclose(file);
	(void)snprintf(reason, sizeof reason, "%s:3: unknown placeholder @PORTS@", path);
	check_refused(&conf, reason);
	(void)unlink(path);
	(void)rmdir(dir);
}

/* --- the kernel ------------------------------------------------------------------------------- */

static unsigned count_of(const char *command, const char *wanted)
{
	return times_in(output_of(command), wanted);
}

static void every_template_loads_with_every_kind_of_prefix(void **state)
{
	(void)state;
	need_root();
	static const unsigned prefixes[] = {32, 48, 64, 127, 128};
	struct conf confs[] = {local_conf(), gateway_conf(), tproxy_conf()};
	const char *const priorities[] = {"dstnat - 5", "dstnat - 5", "priority raw"};
	for (size_t i = 0; i < ARRAY_LEN(confs) * ARRAY_LEN(prefixes) * 2; i++) {
		struct conf *conf = &confs[i % 3];
		conf->ipv6_prefix = prefixes[i / 6];
		conf->blacklist_only = i % 2;
		conf->traffic_class = i % 4 < 2 ? "fffe:ffff" : "off";
		conf->low_priority_mx[0] = addr_of("192.0.2.99");
		conf->low_priority_mx[1] = addr_of("2001:db8::99");
		conf->n_low_priority_mx = i / 3 % 3;
		struct fw *fw = open_with(conf);
		put_table(fw);
		put_chains(fw);
		assert_true(prints("nft list chains inet", priorities[i % 3]));
		assert_int_equal(watched(fw), FW_STATE_OK);
		close_and_remove(fw);
	}
}

/* A killed mired leaves its table, and the next one may be configured otherwise. */
static void each_template_loads_over_what_another_left(void **state)
{
	(void)state;
	need_root();
	struct conf confs[] = {gateway_conf(), tproxy_conf(), local_conf(), tproxy_conf(),
	                       gateway_conf()};
	static const unsigned n_redirects[] = {1, 0, 1, 0, 1};
	for (size_t i = 0; i < ARRAY_LEN(confs); i++) {
		struct fw *fw = open_with(&confs[i]);
		put_table(fw);
		put_chains(fw);
		assert_int_equal(watched(fw), FW_STATE_OK);
		assert_int_equal(count_of("nft list table inet mired", "redirect to"),
		                 n_redirects[i]);
		assert_int_equal(count_of("nft list table inet mired", "tproxy ip"),
		                 n_redirects[i] ? 0 : 2);
		fw_close(fw);
	}
	struct fw *fw = open_with(&confs[0]);
	close_and_remove(fw);
}

static void loading_again_keeps_elements_and_doubles_no_rule(void **state)
{
	(void)state;
	need_root();
	struct conf conf = gateway_conf();
	struct fw *fw = open_with(&conf);
	struct fw_element element = element_of(FW_SET_WHITE, "192.0.2.1", 3600);
	put_table(fw);
	assert_int_equal(fw_apply(fw, &element, 1), 0);
	put_chains(fw);
	fw_close(fw);
	conf.n_mx = 1;
	fw = open_with(&conf);
	put_table(fw);
	put_chains(fw);
	assert_true(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
	assert_int_equal(count_of("nft list table inet mired", "jump smtp_in"), 1);
	assert_int_equal(count_of("nft list table inet mired", "redirect to"), 1);
	close_and_remove(fw);
}

static void loading_does_not_read_the_elements(void **state)
{
	(void)state;
	need_root();
	enum { N = 200000 };
	char why[FW_WHY_MAX];
	struct fw_element *all = calloc(N, sizeof *all);
	assert_non_null(all);
	for (uint32_t i = 0; i < N; i++) {
		all[i] = (struct fw_element){.addr = addr_number(i), .timeout_secs = 3600};
	}
	struct conf conf = local_conf();
	struct fw *fw = open_with(&conf);
	put_table(fw);
	assert_int_equal(replace_all(fw, all, N, why), 0);
	double start = seconds_now();
	put_chains(fw);
	double took = seconds_now() - start;
	print_message("rules on top of %d elements in %.3f s\n", N, took);
	/* dumping them takes seconds */
	assert_true(took < 1.0);
	free(all);
	close_and_remove(fw);
}

/* The line is the template's, because filling keeps lines. */
static void what_the_packet_filter_refuses_is_named_by_file_and_line(void **state)
{
	(void)state;
	need_root();
	char dir[] = "/tmp/mired-test-XXXXXX";
	char path[64];
	char reason[128];
	char why[FW_WHY_MAX];
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/local-mta.nft", dir);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	(void)fputs("# mine\n\ntable inet @TABLE@ {\n\tchain c {\n\t\ttcp dport nonsense accept\n"
	            "\t}\n}\n",
	            file);
	(void)fclose(file);
	struct conf conf = local_conf();
	conf.rules_dir = dir;
	struct fw *fw = open_with(&conf);
	put_table(fw);
	assert_true(fw_put_chains(fw, why) < 0);
	(void)snprintf(reason, sizeof reason, "%s:5:", path);
	assert_memory_equal(why, reason, strlen(reason));
	assert_non_null(strstr(why, "Error: "));
	assert_null(strchr(why, '\n'));
	close_and_remove(fw);
	(void)unlink(path);
	(void)rmdir(dir);
}

static void rules_without_their_table_fail_whole(void **state)
{
	(void)state;
	need_root();
	char why[FW_WHY_MAX];
	struct conf conf = local_conf();
	struct fw *fw = open_with(&conf);
	put_table(fw);
	(void)output_of("nft flush ruleset");
	assert_true(fw_put_chains(fw, why) < 0);
	assert_true(strlen(why) > 0);
	assert_null(strchr(why, '\n'));
	assert_false(prints("nft list ruleset", "mired"));
	fw_close(fw);
}

static void the_watch_sees_rules_and_chains_that_go(void **state)
{
	(void)state;
	need_root();
	static const char *const acts[] = {
	        "nft flush chain inet mired to_mired",
	        "nft flush table inet mired",
	        "nft 'flush chain inet mired input; delete chain inet mired input'",
	};
	struct conf conf = local_conf();
	struct fw *fw = open_with(&conf);
	for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
		put_table(fw);
		put_chains(fw);
		(void)output_of("nft insert rule inet mired smtp_in ip saddr 192.0.2.99 accept");
		(void)output_of("nft add chain inet mired mine");
		assert_int_equal(watched(fw), FW_STATE_OK);
		(void)output_of(acts[i]);
		assert_int_equal(watched(fw), FW_STATE_GONE);
	}
	close_and_remove(fw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_gateways_rules_name_its_mxes_by_family),
	        cmocka_unit_test(a_family_without_mx_has_no_rules),
	        cmocka_unit_test(
	                several_interfaces_ports_and_prefixes_are_taken_from_the_configuration),
	        cmocka_unit_test(the_mode_chooses_between_two_bodies),
	        cmocka_unit_test(low_priority_addresses_have_rules_only_when_there_are_some),
	        cmocka_unit_test(outbound_mail_is_logged_of_the_mtas_only),
	        cmocka_unit_test(tproxy_rules_look_at_each_mx_before_and_after_tracking),
	        cmocka_unit_test(tproxy_rules_are_filled_from_the_same_keys),
	        cmocka_unit_test(what_is_sent_to_held_clients_has_the_class_of_the_configuration),
	        cmocka_unit_test(nothing_is_rendered_when_the_administrator_writes_the_rules),
	        cmocka_unit_test(names_that_could_be_program_text_are_refused),
	        cmocka_unit_test(a_template_that_is_missing_or_wrong_is_named),
	        cmocka_unit_test(every_template_loads_with_every_kind_of_prefix),
	        cmocka_unit_test(each_template_loads_over_what_another_left),
	        cmocka_unit_test(loading_again_keeps_elements_and_doubles_no_rule),
	        cmocka_unit_test(loading_does_not_read_the_elements),
	        cmocka_unit_test(what_the_packet_filter_refuses_is_named_by_file_and_line),
	        cmocka_unit_test(rules_without_their_table_fail_whole),
	        cmocka_unit_test(the_watch_sees_rules_and_chains_that_go),
	};
	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
