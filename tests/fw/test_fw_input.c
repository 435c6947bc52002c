/* Chains of others that drop at the input hook, of each family, beside those that do not. */
#include "fw_fixture.h"

#include "fw/fw_input.h"

static void nft(const char *command)
{
	char line[512];
	(void)snprintf(line, sizeof line, "nft '%s' 2>&1", command);
	assert_string_equal(output_of(line), "");
}

static void chains_that_drop_at_the_input_are_found(void **state)
{
	static const struct {
		const char *setup;
		const char *chain; /* "" = none */
	} rows[] = {
	        {"add table inet a", ""},
	        {"add chain inet a b { type filter hook input priority 0; policy accept; }", ""},
	        {"add chain inet a c { type filter hook forward priority 0; policy drop; }", ""},
	        {"add chain inet a plain", ""},
	        {"add table inet mired", ""},
	        {"add chain inet mired input { type filter hook input priority 0; policy drop; }",
	         ""},
	        {"add table arp filter", ""},
	        {"add chain arp filter out { type filter hook output priority 0; policy drop; }",
	         ""},
	        {"add table ip6 filter", ""},
	        {"add chain ip6 filter INPUT { type filter hook input priority 0; policy drop; }",
	         "ip6 filter INPUT"},
	        {"add table ip mired", "ip6 filter INPUT"},
	        {"add chain ip mired input { type filter hook input priority 0; policy drop; }",
	         "ip mired input"},
	        {"add chain inet a b { policy drop; }", "inet a b"},
	};
	struct conf conf = test_conf();
	char chain[FW_CHAIN_TEXT_MAX];
	(void)state;
	need_root();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		nft(rows[i].setup);
		assert_int_equal(fw_input_drops(&conf, chain), rows[i].chain[0] != '\0');
		assert_string_equal(chain, rows[i].chain);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(chains_that_drop_at_the_input_are_found),
	};
	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
