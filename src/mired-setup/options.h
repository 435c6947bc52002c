/* The command line of mired-setup. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/compiler.h"

struct options {
	const char *config;     /* -f, NULL = the default file */
	bool is_blacklist_only; /* -b */
	bool is_detached;       /* -D */
	bool is_debug;          /* -d */
	bool is_dry;            /* -n */
	bool is_help;
	bool is_version;
};

/* ERR_SYNTAX: getopt has said what is wrong. */
MUST_USE int options_parse(int argc, char **argv, struct options *out);
void options_print_usage(FILE *out);
