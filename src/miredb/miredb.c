/* miredb: spamdb(8) for mired's store. Reading goes to the store itself, whether the daemon runs or
 * not; changes go to the daemon when it runs. The modes have a file each. */
#include "miredb/miredb.h"

#include <signal.h>

#include "base/err.h"

static int check_main(const struct run *run)
{
	char why[STORE_WHY_MAX];
	int status = become_user(run);
	if (status) {
		return status;
	}
	int ret = store_check(run->dir, run->conf.map_bytes, why);
	if (ret) {
		return fail("%s: %s%s%s", run->dir, err_text(ret), why[0] ? ": " : "", why);
	}
	(void)printf("%s: sound\n", run->dir);
	return end_output();
}

static int help_main(const struct run *run)
{
	(void)run;
	return options_print_usage();
}

static int version_main(const struct run *run)
{
	(void)run;
	(void)puts("miredb " MIRED_VERSION);
	return end_output();
}

static const struct {
	int (*run)(const struct run *run);
	bool needs_conf;
} modes[] = {
        // clang-format off
	[MODE_LIST]    = {list_main, true},
	[MODE_CHANGE]  = {change_main, true},
	[MODE_EXPORT]  = {export_main, true},
	[MODE_IMPORT]  = {import_main, true},
	[MODE_WATCH]   = {watch_main, true},
	[MODE_CHECK]   = {check_main, true},
	[MODE_BACKUP]  = {backup_main, true},
	[MODE_COMPACT] = {compact_main, true},
	[MODE_HELP]    = {help_main, false},
	[MODE_VERSION] = {version_main, false},
        // clang-format on
};

static int run_configured(struct run *run)
{
	char why[CONF_ERROR_MAX];
	struct conf_cli cli = {.check_only = false};
	if (conf_load(&run->conf, &cli, run->options->config, 0, NULL, why)) {
		return fail("%s", why);
	}
	int len = snprintf(run->dir, sizeof run->dir, "%s/db", run->conf.state_dir);
	int status = len < 0 || len >= (int)sizeof run->dir ? fail("state-dir is too long")
	                                                    : modes[run->options->mode].run(run);
	conf_fini(&run->conf);
	return status;
}

int main(int argc, char **argv)
{
	struct options options;
	struct run run = {.options = &options};
	(void)signal(SIGPIPE, SIG_IGN); /* a reader that went away is a write error */
	int status = options_parse(argc, argv, &options);
	if (status) {
		return status;
	}
	return modes[options.mode].needs_conf ? run_configured(&run)
	                                      : modes[options.mode].run(&run);
}
