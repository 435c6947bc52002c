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

/* Options that only some subcommands take. */
enum {
	TAKES_ROWS = 1 << 0,
	TAKES_CHECK = 1 << 1,
	TAKES_DELAY = 1 << 2,
	TAKES_ONCE = 1 << 3,
	TAKES_HTTP = 1 << 4,
};

/* words: as the usage has them, [WORD] for one that may be missing; "" = takes none. */
// clang-format off
static const struct subcommand {
	const char *name;
	const char *words;
	size_t n_words_min;
	size_t n_words_max;
	unsigned options; /* TAKES_... */
	int (*run)(const struct call *call);
	const char *help;
} subcommands[] = {
	{"status", "", 0, 0, 0, run_request, "figures of the running daemon"},
	{"top", "", 0, 0, TAKES_ROWS | TAKES_DELAY | TAKES_ONCE, run_top,
		"the running daemon, live; -1 once, as text"},
	{"held", "[ADDRESS]", 0, 1, TAKES_ROWS, run_held,
		"connections held now, or those of an address"},
	{"version", "", 0, 0, 0, run_request, "version of the running daemon and of its protocol"},
	{"lists", "", 0, 0, 0, run_lists, "the lists in force, in the order of their messages"},
	{"report", "", 0, 0, TAKES_ROWS, run_report,
		"what was done, a row per half hour, newest last"},
	{"counters", "[ADDR...]", 0, COUNTERS_WORDS_MAX, 0, run_counters,
		"what the rules counted; with ADDR, in which sets of the kernel it is"},
	{"metrics", "[FORMAT]", 0, 1, TAKES_HTTP, run_metrics,
		"figures for Prometheus; --http serves them on metrics-port"},
	{"why", "ADDRESS [SENDER RECIPIENT]", 1, 3, 0, run_why,
		"what becomes of a host or its mail"},
	{"put-list", "FILE", 1, 1, 0, run_put_list, "put lists in force: spamd-cfg lines, - = stdin"},
	{"drop-list", "NAME", 1, 1, 0, run_drop_list, "take a list out of force"},
	{"reload", "", 0, 0, 0, run_reload,
		"read configuration and files again, bring the lists; say what changed"},
	{"clock-ok", "", 0, 0, 0, run_request, "the wall clock is right: resume expiry after a jump"},
	{"check", "", 0, 0, 0, run_check,
		"what is wrong with configuration and machine, and what mends it"},
	{"rules", "", 0, 0, 0, run_rules, "print the packet filter rules of the configuration"},
	{"sync-key", "", 0, 0, TAKES_CHECK, run_sync_key,
		"make the key that all gateways share, or --check it"},
};
// clang-format on

enum { OPTION_SOCKET = 256, OPTION_JSON, OPTION_CHECK, OPTION_HTTP, OPTION_HELP, OPTION_VERSION };

static const struct option options[] = {
        {"config", required_argument, NULL, 'f'},
        {"rows", required_argument, NULL, 'n'},
        {"delay", required_argument, NULL, 'd'},
        {"once", no_argument, NULL, '1'},
        {"socket", required_argument, NULL, OPTION_SOCKET},
        {"json", no_argument, NULL, OPTION_JSON},
        {"check", no_argument, NULL, OPTION_CHECK},
        {"http", no_argument, NULL, OPTION_HTTP},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
};

static void print_usage(FILE *out)
{
	(void)fputs(
	        "usage: miredctl [-f FILE] [--socket PATH] COMMAND [OPTION...]\n\n"
	        "  -f, --config FILE  configuration file (" MIRED_CONF_PATH ")\n"
	        "      --socket PATH  control socket (the configuration's)\n"
	        "  -n, --rows N       rows of report (48), of each table of held and top -1 (10)\n"
	        "  -d, --delay SECS   top: between two looks, 1 to 60 (2)\n"
	        "  -1, --once         top: print it once, as text\n"
	        "      --json         one JSON object\n"
	        "      --http         metrics: serve them on 127.0.0.1 until a signal\n"
	        "      --check        sync-key: only show how the key's digest begins\n"
	        "      --help, --version\n\n",
	        out);
	for (size_t i = 0; i < ARRAY_LEN(subcommands); i++) {
		(void)fprintf(out, "  %-9s %-9s %s\n", subcommands[i].name, subcommands[i].words,
		              subcommands[i].help);
	}
}

static int refuse_call(const char *reason, const char *what)
{
	(void)fprintf(stderr, "miredctl: %s%s\n", reason, what);
	print_usage(stderr);
	return EXIT_USAGE;
}

/* The first option that was given and is not for this subcommand; NULL: none. */
static const char *foreign_option(const struct subcommand *subcommand, const struct call *call)
{
	const struct {
		unsigned option;
		bool is_given;
		const char *text;
	} rows[] = {
	        {TAKES_ROWS, call->n_rows != NULL, "-n is not for "},
	        {TAKES_CHECK, call->is_check, "--check is not for "},
	        {TAKES_DELAY, call->delay != NULL, "-d is not for "},
	        {TAKES_ONCE, call->is_once, "-1 is not for "},
	        {TAKES_HTTP, call->is_http, "--http is not for "},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (rows[i].is_given && !(subcommand->options & rows[i].option)) {
			return rows[i].text;
		}
	}
	return NULL;
}

static const struct subcommand *find_subcommand(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(subcommands); i++) {
		if (strcmp(subcommands[i].name, name) == 0) {
			return &subcommands[i];
		}
	}
	return NULL;
}

static int run_subcommand(struct call *call, size_t n_words, char **words)
{
	if (n_words == 0) {
		return refuse_call("no command", "");
	}
	call->name = words[0];
	call->words = words + 1;
	call->n_words = n_words - 1;
	call->argument = n_words > 1 ? words[1] : NULL;
	const struct subcommand *subcommand = find_subcommand(call->name);
	if (!subcommand) {
		return refuse_call("unknown command: ", call->name);
	}
	if (call->n_words < subcommand->n_words_min) {
		return refuse_call("missing word: ", subcommand->words);
	}
	if (call->n_words > subcommand->n_words_max) {
		return refuse_call("too many words: ", call->words[subcommand->n_words_max]);
	}
	const char *foreign = foreign_option(subcommand, call);
	return foreign ? refuse_call(foreign, call->name) : subcommand->run(call);
}

int main(int argc, char **argv)
{
	struct call call = {0};
	for (int option; (option = getopt_long(argc, argv, "f:n:d:1", options, NULL)) != -1;) {
		switch (option) {
		case 'f':
			call.conf_path = optarg;
			break;
		case 'n':
			call.n_rows = optarg;
			break;
		case 'd':
			call.delay = optarg;
			break;
		case '1':
			call.is_once = true;
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
		case OPTION_HTTP:
			call.is_http = true;
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
	return run_subcommand(&call, (size_t)(argc - optind), argv + optind);
}
