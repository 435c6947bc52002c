/* The command line of mired-logd: spamlogd(8)'s letters and their long names. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "conf/conf.h"

enum { OPTIONS_WHY_MAX = 256 };

struct options {
	const char *config;    /* -f; NULL = the default file */
	bool is_foreground;    /* -D: messages go to stderr */
	bool is_inbound_only;  /* -I */
	const char *interface; /* -i; NULL = all */
	bool has_groups;       /* -l */
	uint16_t group_in;
	bool has_group_out;
	uint16_t group_out;
	int64_t whiteexp_secs;            /* -W; 0 = the configuration's */
	char *peers[CONF_SYNC_PEERS_MAX]; /* -Y, in this order */
	size_t n_peers;
	bool is_help;
	bool is_version;
};

/* ERR_SYNTAX, ERR_UNSUPPORTED with why. Strings point into argv. */
MUST_USE int options_parse(int argc, char **argv, struct options *out,
                           char why[static OPTIONS_WHY_MAX]);
extern const char options_usage[];
