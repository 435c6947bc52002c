/* mired: reads the options, then is the supervisor; or one of its roles, when the supervisor
 * executed this program again. */
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/err.h"
#include "conf/conf.h"
#include "mired/remove_rules.h"
#include "mired/role_engine.h"
#include "mired/role_firewall.h"
#include "mired/supervisor.h"
#include "priv/role.h"
#include "priv/sandbox.h"
#include "verify/verify.h"

/* argv[0] says which role it is; the kernel's own name for the process would be "exe". */
static int run_role(enum role_kind kind, const char *title)
{
	(void)prctl(PR_SET_NAME, title);
	switch (kind) {
	case ROLE_ENGINE:
		return role_engine_main(ROLE_CHANNEL_FD);
	case ROLE_FIREWALL:
		return role_firewall_main(ROLE_CHANNEL_FD);
	case ROLE_COUNT:
		break;
	}
	return ROLE_EXIT_USAGE;
}

static int print_help(void)
{
	(void)printf("mired %s: SMTP tarpit and greylisting gateway. It stays in the foreground "
	             "whether or not -d is given.\n\n",
	             MIRED_VERSION);
	conf_print_help(stdout);
	return ROLE_EXIT_OK;
}

static int print_version(void)
{
	(void)printf("mired %s\n", MIRED_VERSION);
	return ROLE_EXIT_OK;
}

static int print_conf(const struct conf *conf)
{
	int ret = conf_print(conf, stdout);
	if (ret) {
		(void)fprintf(stderr, "mired: %s\n", err_text(ret));
	}
	return ret ? ROLE_EXIT_FAILED : ROLE_EXIT_OK;
}

static int check(const struct conf *conf)
{
	int n_faults = verify_conf(conf, stderr);
	if (n_faults == 0) {
		(void)printf("configuration is good\n");
	}
	return n_faults ? ROLE_EXIT_FAILED : ROLE_EXIT_OK;
}

/* conf NULL: it cannot be read, which is a failure even if the usual rules are gone. */
static int remove_rules(const struct conf *conf)
{
	char why[REMOVE_RULES_WHY_MAX] = "";
	int ret = conf ? remove_rules_run(conf, why) : remove_rules_run_usual(why);
	if (ret) {
		(void)fprintf(stderr, "mired: %s\n", why);
	}
	return ret || !conf ? ROLE_EXIT_FAILED : ROLE_EXIT_OK;
}

static int serve(struct conf *conf, int argc, char **argv)
{
	if (!sandbox_can_change_user()) {
		(void)fprintf(stderr, "mired: must be started as root, or with CAP_SETUID and "
		                      "CAP_SETGID; it gives that up for everything that talks to "
		                      "the network\n");
		return ROLE_EXIT_FAILED;
	}
	return supervisor_main(conf, argc, argv);
}

int main(int argc, char **argv)
{
	enum role_kind kind;
	if (argc == 2 && role_of_option(argv[1], &kind)) {
		return run_role(kind, argv[0]);
	}
	struct conf conf;
	struct conf_cli cli = {0};
	char why[CONF_ERROR_MAX] = "";
	if (conf_load(&conf, &cli, NULL, argc, argv, why) != 0) {
		(void)fprintf(stderr, "mired: %s\n", why);
		return cli.remove_rules ? remove_rules(NULL) : ROLE_EXIT_FAILED;
	}
	int status = cli.help           ? print_help()
	             : cli.version      ? print_version()
	             : cli.print        ? print_conf(&conf)
	             : cli.check_only   ? check(&conf)
	             : cli.remove_rules ? remove_rules(&conf)
	                                : serve(&conf, argc, argv);
	conf_fini(&conf);
	return fflush(stdout) == 0 ? status : ROLE_EXIT_FAILED;
}
