/* The watch over what stands in the real kernel. */
#include "fw_fixture.h"

static struct fw *open_with_table(void)
{
	struct conf conf = test_conf();
	struct fw *fw = open_with(&conf);
	put_table(fw);
	return fw;
}

static void the_watch_sees_a_flush_and_nothing_else(void **state)
{
	(void)state;
	need_root();
	struct fw *fw = open_with_table();
	struct fw_stats stats;
	assert_int_equal(watched(fw), FW_STATE_OK);
	struct fw_element element = element_of(FW_SET_WHITE, "192.0.2.1", 3600);
	assert_int_equal(fw_apply(fw, &element, 1), 0);
	assert_int_equal(watched(fw), FW_STATE_OK);
	(void)output_of("nft 'add table inet other; add set inet other x { type ipv4_addr; }'");
	assert_int_equal(watched(fw), FW_STATE_OK);
	(void)output_of("nft add element inet mired nospamd { 192.0.2.77 }");
	assert_int_equal(watched(fw), FW_STATE_OK);
	(void)output_of("nft flush ruleset");
	assert_int_equal(watched(fw), FW_STATE_GONE);
	assert_int_equal(watched(fw), FW_STATE_GONE);
	put_table(fw);
	assert_int_equal(watched(fw), FW_STATE_OK);
	assert_false(is_in(fw, FW_SET_WHITE, "192.0.2.1"));
	fw_stats_get(fw, &stats);
	assert_int_equal(stats.restores, 1);
	close_and_remove(fw);
}

/* A transaction that changes nothing does not raise the generation of the ruleset. */
static void the_watch_sees_a_flush_behind_a_change_that_was_none(void **state)
{
	(void)state;
	need_root();
	char why[FW_WHY_MAX];
	struct conf conf = test_conf();
	struct fw *fw = open_with(&conf);
	put_table(fw);
	assert_int_equal(watched(fw), FW_STATE_OK);
	assert_int_equal(replace_all(fw, NULL, 0, why), 0);
	(void)output_of("nft flush ruleset");
	assert_int_equal(watched(fw), FW_STATE_GONE);
	fw_close(fw);
}

static void the_watch_sees_a_table_made_again_under_the_same_name(void **state)
{
	(void)state;
	need_root();
	struct fw *fw = open_with_table();
	(void)output_of("nft list table inet mired > /dev/null; "
	                "nft \"delete table inet mired; $(nft list table inet mired)\"");
	assert_int_equal(watched(fw), FW_STATE_GONE);
	close_and_remove(fw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_watch_sees_a_flush_and_nothing_else),
	        cmocka_unit_test(the_watch_sees_a_flush_behind_a_change_that_was_none),
	        cmocka_unit_test(the_watch_sees_a_table_made_again_under_the_same_name),
	};
	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
