/* The command line of mired-logd: spamlogd's letters, their long names, their bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "mired-logd/options.h"

static int parse(const char *const *words, struct options *out, char why[static OPTIONS_WHY_MAX])
{
	char *argv[8] = {(char *)"mired-logd"};
	int argc = 1;
	for (; words[argc - 1]; argc++) {
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	}
	return options_parse(argc, argv, out, why);
}

static void letters_and_long_names_mean_the_same(void **state)
{
	(void)state;
	static const char *const spellings[][7] = {
	        {"-DI", "-i", "eth0", "-l155:255", "-W", "24"},
	        {"--foreground", "--inbound-only", "--interface=eth0", "--nflog=155:255",
	         "--whiteexp=24"},
	};
	for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
		struct options options;
		char why[OPTIONS_WHY_MAX];
		assert_int_equal(parse(spellings[i], &options, why), 0);
		assert_true(options.is_foreground && options.is_inbound_only && options.has_groups);
		assert_string_equal(options.interface, "eth0");
		assert_int_equal(options.group_in, 155);
		assert_true(options.has_group_out);
		assert_int_equal(options.group_out, 255);
		assert_int_equal(options.whiteexp_secs, 24 * 3600);
	}
}

static void without_options_the_configuration_counts(void **state)
{
	(void)state;
	static const char *const words[] = {NULL};
	struct options options;
	char why[OPTIONS_WHY_MAX];
	assert_int_equal(parse(words, &options, why), 0);
	assert_false(options.has_groups);
	assert_int_equal(options.whiteexp_secs, 0);
	assert_null(options.interface);
}

static void peers_are_kept_in_their_order_up_to_a_bound(void **state)
{
	(void)state;
	static const char *const words[] = {"-Ymx2", "-Y", "eth0:4", "--sync-peer=192.0.2.3", NULL};
	char why[OPTIONS_WHY_MAX];
	struct options options;
	assert_int_equal(parse(words, &options, why), 0);
	assert_int_equal(options.n_peers, 3);
	assert_string_equal(options.peers[0], "mx2");
	assert_string_equal(options.peers[1], "eth0:4");
	assert_string_equal(options.peers[2], "192.0.2.3");
	char *argv[CONF_SYNC_PEERS_MAX + 3] = {(char *)(uintptr_t) "mired-logd"};
	for (int i = 1; i <= CONF_SYNC_PEERS_MAX + 1; i++) {
		argv[i] = (char *)(uintptr_t) "-Ymx2";
	}
	assert_int_equal(options_parse(CONF_SYNC_PEERS_MAX + 1, argv, &options, why), 0);
	assert_int_equal(options.n_peers, CONF_SYNC_PEERS_MAX);
	assert_int_equal(options_parse(CONF_SYNC_PEERS_MAX + 2, argv, &options, why), ERR_SYNTAX);
	assert_string_equal(why, "-Y is given too often: \"mx2\"");
}

static void bad_values_are_refused_with_a_reason(void **state)
{
	(void)state;
	static const struct {
		const char *words[4];
		int ret;
		const char *why;
	} rows[] = {
	        {{"-W", "0"}, ERR_SYNTAX, "-W needs hours, 1 to 2160: \"0\""},
	        {{"-W", "2161"}, ERR_SYNTAX, "-W needs hours, 1 to 2160: \"2161\""},
	        {{"-W", "1h"}, ERR_SYNTAX, "-W needs hours, 1 to 2160: \"1h\""},
	        {{"-l", "pflog0"},
	         ERR_SYNTAX,
	         "-l needs one or two NFLOG groups, IN[:OUT], 1 to 65535: \"pflog0\""},
	        {{"-l", "25:"},
	         ERR_SYNTAX,
	         "-l needs one or two NFLOG groups, IN[:OUT], 1 to 65535: \"25:\""},
	        {{"-l", "25:65536"},
	         ERR_SYNTAX,
	         "-l needs one or two NFLOG groups, IN[:OUT], 1 to 65535: \"25:65536\""},
	        {{"-l", "25:25"}, ERR_SYNTAX, "-l needs two different groups: \"25:25\""},
	        {{"-i", ""}, ERR_SYNTAX, "-i needs the name of an interface: \"\""},
	        {{"-i", "sixteen-letters-"},
	         ERR_SYNTAX,
	         "-i needs the name of an interface: \"sixteen-letters-\""},
	        {{"-Y", ""}, ERR_SYNTAX, "-Y needs a host, or interface[:ttl]: \"\""},
	        {{"extra"}, ERR_SYNTAX, "no arguments are taken: \"extra\""},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct options options;
		char why[OPTIONS_WHY_MAX];
		assert_int_equal(parse(rows[i].words, &options, why), rows[i].ret);
		assert_string_equal(why, rows[i].why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(letters_and_long_names_mean_the_same),
	        cmocka_unit_test(without_options_the_configuration_counts),
	        cmocka_unit_test(peers_are_kept_in_their_order_up_to_a_bound),
	        cmocka_unit_test(bad_values_are_refused_with_a_reason),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
