/* miredctl: asks a running mired over its control socket, or says what the configuration means. One
 * row a subcommand. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "conf/conf.h"
#include "ctl/ctl.h"
#include "ctl/format.h"
#include "fw/fw.h"
#include "mired/names.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, ANSWER_WAIT_MS = 10000 };

struct call {
	const char *conf_path; /* NULL = the default one */
	const char *socket;    /* NULL = the configuration's */
	bool is_json;
};

typedef int subcommand(const struct call *call, const char *name);

static int complain(const char *about, const char *reason)
{
	(void)fprintf(stderr, "miredctl: %s: %s\n", about, reason);
	return EXIT_FAILED;
}

/* Copies the socket's path; an asker who may not read the default configuration gets the default
 * socket. */
static int find_socket(const struct call *call, char *path, size_t size)
{
	struct conf conf;
	char why[CONF_ERROR_MAX];
	if (call->socket) {
		(void)snprintf(path, size, "%s", call->socket);
		return 0;
	}
	int ret = conf_load(&conf, NULL, call->conf_path, 0, NULL, why);
	if (ret == -EACCES && !call->conf_path) {
		(void)snprintf(path, size, "%s", MIRED_SOCKET_PATH);
		return 0;
	}
	if (ret != 0) {
		(void)complain("configuration", why);
		return ret;
	}
	(void)snprintf(path, size, "%s", conf.control_socket);
	conf_fini(&conf);
	return 0;
}

static int ask(const struct call *call, const char *request, json_t **answer)
{
	char path[4096];
	if (find_socket(call, path, sizeof path) != 0) {
		return EXIT_FAILED;
	}
	int ret = ctl_wait_request(path, request, ANSWER_WAIT_MS, answer);
	if (ret == -ENOENT || ret == -ECONNREFUSED) {
		(void)fprintf(stderr, "miredctl: no mired answers at %s: %s\n", path,
		              err_text(ret));
		return EXIT_FAILED;
	}
	if (ret != 0) {
		return complain(path, err_text(ret));
	}
	const char *error = json_string_value(json_object_get(*answer, "error"));
	if (error) {
		(void)complain(request, error);
		json_decref(*answer);
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

static int end_output(void)
{
	return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK
	                                              : complain("output", strerror(errno));
}

/* Sends the subcommand's name as the request and shows the answer. */
static int run_request(const struct call *call, const char *name)
{
	json_t *answer;
	int ret = ask(call, name, &answer);
	if (ret != EXIT_OK) {
		return ret;
	}
	if (call->is_json) {
		(void)json_dumpf(answer, stdout, JSON_COMPACT);
		(void)fputc('\n', stdout);
	} else {
		format_figures(answer, stdout);
	}
	json_decref(answer);
	return end_output();
}

static int run_rules(const struct call *call, const char *name)
{
	struct conf conf;
	char why[FW_WHY_MAX];
	char conf_why[CONF_ERROR_MAX];
	char *text;
	if (conf_load(&conf, NULL, call->conf_path, 0, NULL, conf_why) != 0) {
		return complain("configuration", conf_why);
	}
	int ret = fw_rules_render(&conf, &text, why);
	conf_fini(&conf);
	if (ret != 0) {
		return complain(name, why);
	}
	if (text[0] == '\0') {
		(void)fputs("miredctl: rules = none: mired installs sets only, no chains\n",
		            stderr);
	}
	(void)fputs(text, stdout);
	free(text);
	return end_output();
}

static const struct {
	const char *name;
	subcommand *run;
	const char *help;
} subcommands[] = {
        {"status", run_request, "figures of the running daemon"},
        {"version", run_request, "version of the running daemon and of its protocol"},
        {"clock-ok", run_request, "the wall clock is right: resume expiry after a jump"},
        {"rules", run_rules, "print the packet filter rules of the configuration"},
};

enum { OPTION_SOCKET = 256, OPTION_JSON, OPTION_HELP, OPTION_VERSION };

static const struct option options[] = {
        {"config", required_argument, NULL, 'f'},
        {"socket", required_argument, NULL, OPTION_SOCKET},
        {"json", no_argument, NULL, OPTION_JSON},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
};

static void print_usage(FILE *out)
{
	(void)fputs("usage: miredctl [-f FILE] [--socket PATH] COMMAND [--json]\n\n"
	            "  -f, --config FILE  configuration file (" MIRED_CONF_PATH ")\n"
	            "      --socket PATH  control socket (the configuration's)\n"
	            "      --json         the daemon's answer as it came\n"
	            "      --help, --version\n\n",
	            out);
	for (size_t i = 0; i < ARRAY_LEN(subcommands); i++) {
		(void)fprintf(out, "  %-10s %s\n", subcommands[i].name, subcommands[i].help);
	}
}

static int refuse_call(const char *reason, const char *what)
{
	(void)fprintf(stderr, "miredctl: %s%s\n", reason, what);
	print_usage(stderr);
	return EXIT_USAGE;
}

static int run_subcommand(const struct call *call, int n_words, char **words)
{
	if (n_words == 0) {
		return refuse_call("no command", "");
	}
	if (n_words > 1) {
		return refuse_call("too many words: ", words[1]);
	}
	for (size_t i = 0; i < ARRAY_LEN(subcommands); i++) {
		if (strcmp(subcommands[i].name, words[0]) == 0) {
			return subcommands[i].run(call, words[0]);
		}
	}
	return refuse_call("unknown command: ", words[0]);
}

int main(int argc, char **argv)
{
	struct call call = {0};
	for (int option; (option = getopt_long(argc, argv, "f:", options, NULL)) != -1;) {
		switch (option) {
		case 'f':
			call.conf_path = optarg;
			break;
		case OPTION_SOCKET:
			call.socket = optarg;
			break;
		case OPTION_JSON:
			call.is_json = true;
			break;
		case OPTION_HELP:
			print_usage(stdout);
			return end_output();
		case OPTION_VERSION:
			(void)puts("miredctl " MIRED_VERSION);
			return end_output();
		default:
			print_usage(stderr);
			return EXIT_USAGE;
		}
	}
	return run_subcommand(&call, argc - optind, argv + optind);
}
