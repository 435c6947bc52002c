/* Options in two steps: what is written there, then what it makes of the run. */
#include "miredb/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "mired/names.h"
#include "miredb/miredb.h"

enum {
	OPTION_JSON = 256,
	OPTION_MERGE,
	OPTION_CHECK,
	OPTION_BACKUP,
	OPTION_COMPACT,
	OPTION_WATCH,
	OPTION_HELP,
	OPTION_VERSION,
};

/* A spamdb's own exit status for a call that cannot be meant. */
enum { EXIT_SENSELESS = 2 };

static const struct option long_options[] = {
        // clang-format off
	{"add",      no_argument,       NULL, 'a'},
	{"delete",   no_argument,       NULL, 'd'},
	{"grey",     no_argument,       NULL, 'G'},
	{"trapped",  no_argument,       NULL, 't'},
	{"spamtrap", no_argument,       NULL, 'T'},
	{"config",   required_argument, NULL, 'f'},
	{"json",     no_argument,       NULL, OPTION_JSON},
	{"merge",    no_argument,       NULL, OPTION_MERGE},
	{"check",    no_argument,       NULL, OPTION_CHECK},
	{"backup",   required_argument, NULL, OPTION_BACKUP},
	{"compact",  no_argument,       NULL, OPTION_COMPACT},
	{"watch",    no_argument,       NULL, OPTION_WATCH},
	{"help",     no_argument,       NULL, OPTION_HELP},
	{"version",  no_argument,       NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0},
        // clang-format on
};

static const char usage_text[] =
        "usage: miredb [-f file] [--json] [key ...]\n"
        "       miredb [-f file] -a [-t | -T] key ...\n"
        "       miredb [-f file] -d [-G | -t | -T] key ...\n"
        "       miredb [-f file] export [--merge] [file]\n"
        "       miredb [-f file] import [--merge] [file]\n"
        "       miredb [-f file] [--json] --watch\n"
        "       miredb [-f file] --check\n"
        "       miredb [-f file] --backup file\n"
        "       miredb [-f file] --compact\n"
        "\n"
        "Lists what mired's store holds, one record a line, or the records of these keys; changes\n"
        "it, through the daemon when that runs. A key is an address, a network (listing only) or "
        "a\n"
        "spamtrap's mail address.\n"
        "  -a, --add          whitelist; with -t trap, with -T make a spamtrap\n"
        "  -d, --delete       delete whatever is under the key; with -G one tuple of the host\n"
        "  -G, --grey         the key is the address of a tuple\n"
        "  -t, --trapped      the key is the address of a trapped host\n"
        "  -T, --spamtrap     the key is a mail address\n"
        "  -f, --config file  configuration (" MIRED_CONF_PATH ")\n"
        "      --json         one JSON object a line\n"
        "      --merge        records with all that another gateway needs to join them with its "
        "own\n"
        "      --watch        print changes as they happen\n"
        "      --check        walk the whole store and verify it\n"
        "      --backup file  copy the store to a file, and verify the copy\n"
        "      --compact      write the store anew without free pages, while no daemon runs\n"
        "      --help, --version\n";

int options_print_usage(void)
{
	(void)fputs(usage_text, stdout);
	return end_output();
}

static int usage(void)
{
	(void)fputs(usage_text, stderr);
	return 1;
}

static int take_option(int c, struct options *options)
{
	switch (c) {
	case 'f':
		options->config = optarg;
		return 0;
	case 'a':
		options->action = ACTION_ADD;
		return 0;
	case 'd':
		options->action = ACTION_DELETE;
		return 0;
	case 'G':
		options->type = KEY_GREY;
		return 0;
	case 't':
		options->type = KEY_TRAPPED;
		return 0;
	case 'T':
		options->type = KEY_SPAMTRAP;
		return 0;
	case OPTION_JSON:
		options->is_json = true;
		return 0;
	case OPTION_MERGE:
		options->is_merge = true;
		return 0;
	case OPTION_CHECK:
		options->mode = MODE_CHECK;
		return 0;
	case OPTION_BACKUP:
		options->mode = MODE_BACKUP;
		options->file = optarg;
		return 0;
	case OPTION_COMPACT:
		options->mode = MODE_COMPACT;
		return 0;
	case OPTION_WATCH:
		options->mode = MODE_WATCH;
		return 0;
	case OPTION_HELP:
		options->mode = MODE_HELP;
		return 0;
	case OPTION_VERSION:
		options->mode = MODE_VERSION;
		return 0;
	default:
		return usage();
	}
}

/* `export` and `import` are no addresses, so they can be no key of a listing. */
static void take_subcommand(struct options *options)
{
	if (options->n_keys == 0) {
		return;
	}
	if (strcmp(options->keys[0], "export") == 0) {
		options->mode = MODE_EXPORT;
	} else if (strcmp(options->keys[0], "import") == 0) {
		options->mode = MODE_IMPORT;
	} else {
		return;
	}
	options->file = options->n_keys > 1 ? options->keys[1] : NULL;
	options->keys += options->n_keys > 1 ? 2 : 1;
	options->n_keys -= options->n_keys > 1 ? 2 : 1;
}

/* spamdb's rules. */
static int check_change(struct options *options)
{
	if (options->action == ACTION_NONE) {
		return options->type == KEY_WHITE ? 0 : usage();
	}
	if (options->mode != MODE_LIST || options->is_json) {
		return usage();
	}
	options->mode = MODE_CHANGE;
	if (options->action == ACTION_ADD && options->type == KEY_GREY) {
		(void)fail("cannot add GREY entries");
		return EXIT_SENSELESS;
	}
	if (options->n_keys == 0) {
		(void)fail("no addresses specified");
		return EXIT_SENSELESS;
	}
	return 0;
}

static int check_rest(const struct options *options)
{
	if (options->is_merge && options->mode != MODE_EXPORT && options->mode != MODE_IMPORT) {
		return usage();
	}
	switch (options->mode) {
	case MODE_LIST:
	case MODE_CHANGE:
	case MODE_HELP:
	case MODE_VERSION:
		return 0;
	case MODE_EXPORT:
	case MODE_IMPORT:
		return options->is_json || options->n_keys > 0 ? usage() : 0;
	case MODE_CHECK:
		return options->n_keys > 0 ? fail("--check takes no addresses") : 0;
	case MODE_BACKUP:
		return options->n_keys > 0 ? fail("--backup takes one file") : 0;
	case MODE_COMPACT:
		return options->n_keys > 0 ? fail("--compact takes no addresses") : 0;
	case MODE_WATCH:
		return options->n_keys > 0 ? fail("--watch takes no addresses") : 0;
	}
	return 0;
}

int options_parse(int argc, char **argv, struct options *options)
{
	int c = 0;
	int status = 0;
	*options = (struct options){.config = NULL};
	while (status == 0 && (c = getopt_long(argc, argv, "f:adGTt", long_options, NULL)) != -1) {
		status = take_option(c, options);
	}
	options->keys = argv + optind;
	options->n_keys = argc - optind;
	if (status == 0 && options->action == ACTION_NONE && options->mode == MODE_LIST) {
		take_subcommand(options);
	}
	status = status ? status : check_change(options);
	return status ? status : check_rest(options);
}
