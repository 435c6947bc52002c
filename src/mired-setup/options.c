/* One row an option; the text and the table are read side by side. */
#include "mired-setup/options.h"

#include <getopt.h>

#include "base/err.h"
#include "mired/names.h"

enum { OPTION_HELP = 256, OPTION_VERSION };

static const struct option long_options[] = {
        {"blacklist-only", no_argument, NULL, 'b'},
        {"detach", no_argument, NULL, 'D'},
        {"debug", no_argument, NULL, 'd'},
        {"dry-run", no_argument, NULL, 'n'},
        {"config", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
};

static const char usage_text[] =
        "usage: mired-setup [-bDdn] [-f file]\n"
        "\n"
        "Fetches the lists that spamd.conf names and gives them to the running mired.\n"
        "  -b, --blacklist-only  accepted; the daemon fills the kernel's sets itself\n"
        "  -D, --detach          go to the background\n"
        "  -d, --debug           say what is fetched and how much it holds\n"
        "  -n, --dry-run         fetch and read, but give nothing to mired and keep no copy\n"
        "  -f, --config file     configuration (" MIRED_CONF_PATH ")\n"
        "      --help, --version\n";

void options_print_usage(FILE *out)
{
	(void)fputs(usage_text, out);
}

static int take_option(int letter, struct options *out)
{
	switch (letter) {
	case 'b':
		out->is_blacklist_only = true;
		return 0;
	case 'D':
		out->is_detached = true;
		return 0;
	case 'd':
		out->is_debug = true;
		return 0;
	case 'n':
		out->is_dry = true;
		return 0;
	case 'f':
		out->config = optarg;
		return 0;
	case OPTION_HELP:
		out->is_help = true;
		return 0;
	case OPTION_VERSION:
		out->is_version = true;
		return 0;
	default:
		return ERR_SYNTAX;
	}
}

int options_parse(int argc, char **argv, struct options *out)
{
	int letter;
	while ((letter = getopt_long(argc, argv, "bDdnf:", long_options, NULL)) != -1) {
		int ret = take_option(letter, out);
		if (ret) {
			return ret;
		}
	}
	return optind == argc ? 0 : ERR_SYNTAX;
}
