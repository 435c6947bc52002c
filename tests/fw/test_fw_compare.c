/* What stands in the kernel against what a configuration gives. */
#include "fw_fixture.h"

#include <sys/wait.h>

#include "fw/fw_compare.h"

static struct conf conf_with_rules(void)
{
	struct conf conf = test_conf();
	conf.rules = CONF_RULES_LOCAL_MTA;
	conf.traffic_class = "1:25";
	conf.firewall = true;
	return conf;
}

static bool is_among(const char *wanted, const char *found, const char *missing)
{
	struct span first = SPAN("");
	bool is_there = fw_compare_lines(span_of_str(wanted), span_of_str(found), &first);
	assert_true(is_there || span_equal(first, span_of_str(missing)));
	return is_there;
}

static void lines_are_looked_for_in_their_order(void **state)
{
	(void)state;
	assert_true(is_among("", "", ""));
	assert_true(is_among("a\n\tb\n", "a\n\t\tb\n", ""));
	assert_true(is_among("a\nb\n", "x\na\nx\nb\nx\n", "")); /* others may add */
	assert_false(is_among("a\nb\n", "b\na\n", "b"));
	assert_false(is_among("a\na\n", "a\n", "a"));
	assert_false(is_among("a\n", "", "a"));
	assert_false(is_among("tcp dport 25 accept\n", "tcp dport 2525 accept\n",
	                      "tcp dport 25 accept"));
}

static void blocks_are_looked_for_in_any_order(void **state)
{
	static const char wanted[] =
	        "table t {\n\tset s {\n\t}\n\n\tchain a {\n\t\tx\n\t\ty\n\t}\n}\n";
	(void)state;
	assert_true(is_among(wanted, wanted, ""));
	assert_true(is_among(
	        wanted, "table t {\nchain b {\n}\nchain a {\nx\nz\ny\n}\nset s {\n}\n}\n", ""));
	assert_false(is_among(wanted, "table t {\nset s {\n}\nchain a {\ny\nx\n}\n}\n", "y"));
	/* a line of another block is not this one's */
	assert_false(is_among(wanted,
	                      "table t {\nset s {\n}\nchain a {\nx\n}\nchain b {\ny\n}\n}\n", "y"));
	assert_false(is_among(wanted, "table t {\nset s {\n}\n}\n", "chain a {"));
	assert_false(is_among(wanted, "", "table t {"));
	assert_false(is_among(wanted, "table t {\nset s {\nchain a {", "x")); /* cut off */
}

static enum fw_standing standing_of(const struct conf *conf, struct fw_comparison *out)
{
	char why[FW_WHY_MAX];
	if (fw_compare(conf, out, why) != 0) {
		fail_msg("%s", why);
	}
	return out->standing;
}

static void put(const struct conf *conf)
{
	char why[FW_WHY_MAX];
	struct fw *fw = NULL;
	assert_int_equal(fw_open(&fw, conf, why), 0);
	assert_int_equal(fw_put_table(fw, NULL, 0, why), 0);
	assert_int_equal(fw_put_chains(fw, why), 0);
	const struct fw_element element = element_of(FW_SET_WHITE, "192.0.2.1", 3600);
	assert_int_equal(fw_fill(fw, &element, 1), 0);
	fw_close(fw);
}

static void what_the_configuration_gives_is_recognized(void **state)
{
	struct conf conf = conf_with_rules();
	struct fw_comparison comparison;
	(void)state;
	need_root();
	assert_int_equal(standing_of(&conf, &comparison), FW_STANDING_NONE);
	put(&conf);
	assert_int_equal(standing_of(&conf, &comparison), FW_STANDING_SAME);
	/* an administrator's own, which mired leaves alone */
	(void)output_of("nft add rule inet mired to_mired counter");
	(void)output_of("nft add chain inet mired mine");
	assert_int_equal(standing_of(&conf, &comparison), FW_STANDING_SAME);
	assert_int_equal(fw_remove_table(conf.nft_table), 0);
}

/* Where the table stays over a restart, its chains are not in the templates' order. */
static void rules_that_took_the_place_of_others_are_recognized(void **state)
{
	struct conf conf = conf_with_rules();
	struct fw_comparison comparison;
	(void)state;
	need_root();
	put(&conf);
	conf.rules = CONF_RULES_GATEWAY_TPROXY;
	conf.mx[0] = addr_of("192.0.2.25");
	conf.n_mx = 1;
	put(&conf);
	assert_int_equal(standing_of(&conf, &comparison), FW_STANDING_SAME);
	(void)output_of("nft flush chain inet mired smtp_in");
	assert_int_equal(standing_of(&conf, &comparison), FW_STANDING_OTHER);
	assert_int_equal(fw_remove_table(conf.nft_table), 0);
}

static void what_is_missing_or_different_is_shown(void **state)
{
	struct conf conf = conf_with_rules();
	struct fw_comparison comparison;
	(void)state;
	need_root();
	put(&conf);
	conf.nflog_in = 99;
	assert_int_equal(standing_of(&conf, &comparison), FW_STANDING_OTHER);
	assert_non_null(strstr(comparison.missing, "group 99"));
	conf.nflog_in = 25;
	(void)output_of("nft flush chain inet mired to_mired");
	assert_int_equal(standing_of(&conf, &comparison), FW_STANDING_OTHER);
	assert_int_equal(fw_remove_table(conf.nft_table), 0);
	(void)output_of("nft add table inet mired");
	assert_int_equal(standing_of(&conf, &comparison), FW_STANDING_OTHER);
	assert_int_equal(fw_remove_table(conf.nft_table), 0);
}

/* Without templates the sets are all that is ours. */
static void with_no_rules_the_sets_are_compared(void **state)
{
	struct conf conf = conf_with_rules();
	struct fw_comparison comparison;
	(void)state;
	need_root();
	conf.rules = CONF_RULES_NONE;
	put(&conf);
	(void)output_of("nft add chain inet mired mine");
	assert_int_equal(standing_of(&conf, &comparison), FW_STANDING_SAME);
	(void)output_of("nft delete set inet mired nospamd");
	assert_int_equal(standing_of(&conf, &comparison), FW_STANDING_OTHER);
	assert_string_equal(comparison.missing, "set nospamd {");
	assert_int_equal(fw_remove_table(conf.nft_table), 0);
}

static void what_cannot_be_rendered_is_said(void **state)
{
	struct conf conf = conf_with_rules();
	struct fw_comparison comparison;
	char why[FW_WHY_MAX];
	(void)state;
	need_root();
	conf.rules_dir = "/nonexistent";
	assert_int_equal(fw_compare(&conf, &comparison, why), ERR_UNSUPPORTED);
	assert_non_null(strstr(why, "/nonexistent/local-mta.nft"));
}

/* In a process of its own, which gives up its rights. */
static void only_root_can_look(void **state)
{
	(void)state;
	need_root();
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct conf conf = conf_with_rules();
		struct fw_comparison comparison;
		char why[FW_WHY_MAX];
		bool is_plain = setresuid(65534, 65534, 65534) == 0;
		_exit(is_plain && fw_compare(&conf, &comparison, why) == -EPERM ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(lines_are_looked_for_in_their_order),
	        cmocka_unit_test(blocks_are_looked_for_in_any_order),
	        cmocka_unit_test(what_the_configuration_gives_is_recognized),
	        cmocka_unit_test(rules_that_took_the_place_of_others_are_recognized),
	        cmocka_unit_test(what_is_missing_or_different_is_shown),
	        cmocka_unit_test(with_no_rules_the_sets_are_compared),
	        cmocka_unit_test(what_cannot_be_rendered_is_said),
	        cmocka_unit_test(only_root_can_look),
	};
	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
