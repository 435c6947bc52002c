/* miredctl: asks a running mired over its control socket, or says what the configuration means. One
 * row a subcommand. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "conf/conf.h"
#include "fw/fw.h"
#include "mired/names.h"
#include "miredctl/call.h"

int call_complain(const char *about, const char *reason)
{
	(void)fprintf(stderr, "miredctl: %s: %s\n", about, reason);
	return EXIT_FAILED;
}

int call_end_output(void)
{
	return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK
	                                              : call_complain("output", strerror(errno));
}

static int run_rules(const struct call *call)
{
	struct conf conf;
	char why[FW_WHY_MAX];
	char conf_why[CONF_ERROR_MAX];
	char *text;
	if (conf_load(&conf, NULL, call->conf_path, 0, NULL, conf_why) != 0) {
		return call_complain("configuration", conf_why);
	}
	int ret = fw_rules_render(&conf, &text, why);
	conf_fini(&conf);
	if (ret != 0) {
		return call_complain(call->name, why);
	}
	if (text[0] == '\0') {
		(void)fputs("miredctl: rules = none: mired installs sets only, no chains\n",
		            stderr);
	}
	(void)fputs(text, stdout);
	free(text);
	return call_end_output();
}

static const struct {
	const char *name;
	const char *argument; /* its word in the usage; NULL = takes none */
	int (*run)(const struct call *call);
	const char *help;
} subcommands[] = {
        {"status", NULL, run_request, "figures of the running daemon"},
        {"version", NULL, run_request, "version of the running daemon and of its protocol"},
        {"lists", NULL, run_lists, "the lists in force, in the order of their messages"},
        {"report", NULL, run_report, "what was done, a row per half hour, newest last"},
        {"put-list", "FILE", run_put_list, "put lists in force: spamd-cfg lines, - = stdin"},
        {"drop-list", "NAME", run_drop_list, "take a list out of force"},
        {"reload", NULL, run_request, "read nospamd and the allowed domains again"},
        {"clock-ok", NULL, run_request, "the wall clock is right: resume expiry after a jump"},
        {"check", NULL, run_check,
         "what is wrong with configuration and machine, and what mends it"},
        {"rules", NULL, run_rules, "print the packet filter rules of the configuration"},
        {"sync-key", NULL, run_sync_key, "make the key that all gateways share, or --check it"},
};

enum { OPTION_SOCKET = 256, OPTION_JSON, OPTION_CHECK, OPTION_HELP, OPTION_VERSION };

static const struct option options[] = {
        {"config", required_argument, NULL, 'f'},
        {"rows", required_argument, NULL, 'n'},
        {"socket", required_argument, NULL, OPTION_SOCKET},
        {"json", no_argument, NULL, OPTION_JSON},
        {"check", no_argument, NULL, OPTION_CHECK},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
};

static void print_usage(FILE *out)
{
	(void)fputs(
	        "usage: miredctl [-f FILE] [--socket PATH] COMMAND [-n ROWS] [--json] [--check]\n\n"
	        "  -f, --config FILE  configuration file (" MIRED_CONF_PATH ")\n"
	        "      --socket PATH  control socket (the configuration's)\n"
	        "  -n, --rows N       rows of the report (48)\n"
	        "      --json         one JSON object\n"
	        "      --check        sync-key: only show how the key's digest begins\n"
	        "      --help, --version\n\n",
	        out);
	for (size_t i = 0; i < ARRAY_LEN(subcommands); i++) {
		const char *argument = subcommands[i].argument;
		(void)fprintf(out, "  %-9s %-5s %s\n", subcommands[i].name,
		              argument ? argument : "", subcommands[i].help);
	}
}

static int refuse_call(const char *reason, const char *what)
{
	(void)fprintf(stderr, "miredctl: %s%s\n", reason, what);
	print_usage(stderr);
	return EXIT_USAGE;
}

static int run_subcommand(struct call *call, int n_words, char **words)
{
	if (n_words == 0) {
		return refuse_call("no command", "");
	}
	call->name = words[0];
	for (size_t i = 0; i < ARRAY_LEN(subcommands); i++) {
		if (strcmp(subcommands[i].name, words[0]) != 0) {
			continue;
		}
		int n_wanted = subcommands[i].argument ? 2 : 1;
		if (n_words < n_wanted) {
			return refuse_call("missing word: ", subcommands[i].argument);
		}
		if (n_words > n_wanted) {
			return refuse_call("too many words: ", words[n_wanted]);
		}
		if (call->is_check && subcommands[i].run != run_sync_key) {
			return refuse_call("--check is for sync-key, not for ", words[0]);
		}
		if (call->n_rows && subcommands[i].run != run_report) {
			return refuse_call("-n is for report, not for ", words[0]);
		}
		call->argument = n_wanted == 2 ? words[1] : NULL;
		return subcommands[i].run(call);
	}
	return refuse_call("unknown command: ", words[0]);
}

int main(int argc, char **argv)
{
	struct call call = {0};
	for (int option; (option = getopt_long(argc, argv, "f:n:", options, NULL)) != -1;) {
		switch (option) {
		case 'f':
			call.conf_path = optarg;
			break;
		case 'n':
			call.n_rows = optarg;
			break;
		case OPTION_SOCKET:
			call.socket = optarg;
			break;
		case OPTION_JSON:
			call.is_json = true;
			break;
		case OPTION_CHECK:
			call.is_check = true;
			break;
		case OPTION_HELP:
			print_usage(stdout);
			return call_end_output();
		case OPTION_VERSION:
			(void)puts("miredctl " MIRED_VERSION);
			return call_end_output();
		default:
			print_usage(stderr);
			return EXIT_USAGE;
		}
	}
	return run_subcommand(&call, argc - optind, argv + optind);
}
