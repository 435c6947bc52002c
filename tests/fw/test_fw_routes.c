/* What is said about routes that the TPROXY rules need and that are not there. */
#include "fw_fixture.h"

#include "fw/fw_routes.h"

static const char MARK_RULE[] = "fwmark 0x2000000/0x2000000 lookup 825";

static struct conf tproxy_conf(void)
{
	struct conf conf = gateway_conf();
	conf.rules = CONF_RULES_GATEWAY_TPROXY;
	conf.n_mx = 1;
	return conf;
}

static void run_ip(const char *arguments)
{
	char command[256];
	(void)snprintf(command, sizeof command, "ip %s 2>&1", arguments);
	(void)output_of(command);
}

static void add_rule(const char *family, const char *interface)
{
	char arguments[128];
	(void)snprintf(arguments, sizeof arguments, "%s rule add iif %s %s", family, interface,
	               MARK_RULE);
	run_ip(arguments);
}

static void write_accept(const char *digit)
{
	FILE *file = fopen("/proc/sys/net/ipv4/tcp_fwmark_accept", "we");
	assert_non_null(file);
	(void)fputs(digit, file);
	assert_int_equal(fclose(file), 0);
}

static void check_missing(const struct conf *conf, const char *reason)
{
	char why[FW_WHY_MAX];
	assert_int_equal(fw_routes_check(conf, why), ERR_NOT_FOUND);
	if (!strstr(why, reason)) {
		fail_msg("\"%s\" is not in \"%s\"", reason, why);
	}
}

static void check_good(const struct conf *conf)
{
	char why[FW_WHY_MAX];
	if (fw_routes_check(conf, why)) {
		fail_msg("fw_routes_check: %s", why);
	}
}

/* One after the other is put in place. */
static void each_part_that_is_missing_is_named(void **state)
{
	(void)state;
	need_root();
	struct conf conf = tproxy_conf();
	conf.interfaces[1] = "eth1.7";
	conf.n_interfaces = 2;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	run_ip("link set lo up");
	check_missing(&conf, "nobody will be held by IPv4: routing table 825 has no local route");
	run_ip("route add local 192.0.2.0/24 dev lo table 825");
	check_missing(&conf, "nobody will be held by IPv4: routing table 825 has no local route");
	run_ip("route add local default dev lo table 825");
	check_missing(&conf, "nobody will be held by IPv4: no routing rule for marked packets from "
	                     "interface lo");
	add_rule("-4", "lo");
	check_missing(&conf, "nobody will be held by IPv4: no routing rule for marked packets from "
	                     "interface eth1.7");
	run_ip("rule add iif eth1.7 fwmark 0x2000000 lookup 825"); /* of this mark only: too little
	                                                            */
	check_missing(&conf, "from interface eth1.7");
	add_rule("-4", "eth1.7");
	check_missing(&conf, "replies will be tracked: net.ipv4.tcp_fwmark_accept is 0");
	write_accept("1");
	check_good(&conf);
	conf.low_priority_mx[0] = addr_of("2001:db8::99");
	conf.n_low_priority_mx = 1;
	check_missing(&conf, "nobody will be held by IPv6: routing table 825 has no local route");
	run_ip("-6 route add local default dev lo table 825");
	add_rule("-6", "lo");
	check_missing(&conf, "nobody will be held by IPv6: no routing rule for marked packets from "
	                     "interface eth1.7");
	add_rule("-6", "eth1.7");
	check_good(&conf);
}

static void other_rules_need_none(void **state)
{
	(void)state;
	need_root();
	struct conf conf = gateway_conf();
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	check_good(&conf);
}

static void a_large_table_of_others_does_not_matter(void **state)
{
	(void)state;
	need_root();
	struct conf conf = tproxy_conf();
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	run_ip("link set lo up");
	(void)output_of("for i in $(seq 20000); do "
	                "echo route add 10.$((i / 65536)).$((i / 256 % 256)).$((i % 256)) dev lo; "
	                "done | ip -batch - 2>&1");
	double start = seconds_now();
	check_missing(&conf, "nobody will be held by IPv4: routing table 825 has no local route");
	assert_true(seconds_now() - start < 1.0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_part_that_is_missing_is_named),
	        cmocka_unit_test(other_rules_need_none),
	        cmocka_unit_test(a_large_table_of_others_does_not_matter),
	};
	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
