/* One row an option. */
#include "mired-logd/options.h"

#include <getopt.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/span.h"
#include "mired/names.h"

enum { OPTION_HELP = 256, OPTION_VERSION, WHITEEXP_MAX_HOURS = 2160, HOUR_SECS = 3600 };

const char options_usage[] =
        "usage: mired-logd [-DI] [-f file] [-i interface] [-l in[:out]] [-W hours]\n"
        "                  [-Y target]\n"
        "\n"
        "Reads the kernel's log of passed SMTP connections and keeps mired's whitelist alive.\n"
        "  -D, --foreground           messages to stderr instead of syslog\n"
        "  -f, --config FILE          configuration (" MIRED_CONF_PATH ")\n"
        "  -I, --inbound-only         do not whitelist whom the mail servers write to\n"
        "  -i, --interface NAME       only connections that pass this interface\n"
        "  -l, --nflog IN[:OUT]       NFLOG groups (keys nflog-in, nflog-out)\n"
        "  -W, --whiteexp HOURS       life of a host on the whitelist (key whiteexp)\n"
        "  -Y, --sync-peer TARGET     tell this peer, or interface[:ttl], who was seen; "
        "repeatable\n"
        "      --help, --version\n";

static const struct option long_options[] = {
        {"foreground", no_argument, NULL, 'D'},         {"config", required_argument, NULL, 'f'},
        {"inbound-only", no_argument, NULL, 'I'},       {"interface", required_argument, NULL, 'i'},
        {"nflog", required_argument, NULL, 'l'},        {"whiteexp", required_argument, NULL, 'W'},
        {"sync-peer", required_argument, NULL, 'Y'},    {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION}, {NULL, 0, NULL, 0},
};

static int refuse(const char *what, const char *value, char why[static OPTIONS_WHY_MAX])
{
	char shown[64];
	(void)span_escape(span_of_str(value), shown, sizeof shown);
	(void)snprintf(why, OPTIONS_WHY_MAX, "%s: \"%s\"", what, shown);
	return ERR_SYNTAX;
}

static bool parse_group(struct span text, uint16_t *out)
{
	uint64_t number = 0;
	if (span_to_u64(text, UINT16_MAX, &number) != 0 || number == 0) {
		return false;
	}
	*out = (uint16_t)number;
	return true;
}

static int set_groups(struct options *options, const char *value, char why[static OPTIONS_WHY_MAX])
{
	struct span out;
	struct span in = span_cut(span_of_str(value), ':', &out);
	options->has_groups = true;
	options->has_group_out = strchr(value, ':') != NULL;
	if (!parse_group(in, &options->group_in) ||
	    (options->has_group_out && !parse_group(out, &options->group_out))) {
		return refuse("-l needs one or two NFLOG groups, IN[:OUT], 1 to 65535", value, why);
	}
	return options->has_group_out && options->group_in == options->group_out
	               ? refuse("-l needs two different groups", value, why)
	               : 0;
}

static int set_whiteexp(struct options *options, const char *value,
                        char why[static OPTIONS_WHY_MAX])
{
	uint64_t hours = 0;
	if (span_to_u64(span_of_str(value), WHITEEXP_MAX_HOURS, &hours) != 0 || hours == 0) {
		return refuse("-W needs hours, 1 to 2160", value, why);
	}
	options->whiteexp_secs = (int64_t)hours * HOUR_SECS;
	return 0;
}

static int set_interface(struct options *options, const char *value,
                         char why[static OPTIONS_WHY_MAX])
{
	if (*value == '\0' || strlen(value) >= IF_NAMESIZE) {
		return refuse("-i needs the name of an interface", value, why);
	}
	options->interface = value;
	return 0;
}

/* What it names is found out when it is resolved. */
static int add_peer(struct options *options, char *value, char why[static OPTIONS_WHY_MAX])
{
	if (*value == '\0') {
		return refuse("-Y needs a host, or interface[:ttl]", value, why);
	}
	if (options->n_peers == CONF_SYNC_PEERS_MAX) {
		return refuse("-Y is given too often", value, why);
	}
	options->peers[options->n_peers++] = value;
	return 0;
}

static int set_option(struct options *options, int letter, char why[static OPTIONS_WHY_MAX])
{
	switch (letter) {
	case 'D':
		options->is_foreground = true;
		return 0;
	case 'I':
		options->is_inbound_only = true;
		return 0;
	case 'f':
		options->config = optarg;
		return 0;
	case 'i':
		return set_interface(options, optarg, why);
	case 'l':
		return set_groups(options, optarg, why);
	case 'W':
		return set_whiteexp(options, optarg, why);
	case 'Y':
		return add_peer(options, optarg, why);
	case OPTION_HELP:
		options->is_help = true;
		return 0;
	case OPTION_VERSION:
		options->is_version = true;
		return 0;
	default:
		why[0] = '\0'; /* getopt has said it */
		return ERR_SYNTAX;
	}
}

int options_parse(int argc, char **argv, struct options *out, char why[static OPTIONS_WHY_MAX])
{
	*out = (struct options){0};
	optind = 0; /* glibc: start afresh */
	for (int c; (c = getopt_long(argc, argv, "Df:Ii:l:W:Y:", long_options, NULL)) != -1;) {
		int ret = set_option(out, c, why);
		if (ret != 0) {
			return ret;
		}
	}
	if (optind < argc) {
		return refuse("no arguments are taken", argv[optind], why);
	}
	return 0;
}
