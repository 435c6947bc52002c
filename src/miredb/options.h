/* The command line: spamdb(8)'s options with their meaning, and ours. Of -a and -d, and of -G, -t
 * and -T, the last one counts. */
#pragma once

#include <stdbool.h>

#include "base/compiler.h"

enum mode {
	MODE_LIST, /* everything, or what the keys name */
	MODE_CHANGE,
	MODE_EXPORT,
	MODE_IMPORT,
	MODE_WATCH,
	MODE_CHECK,
	MODE_BACKUP,
	MODE_COMPACT,
	MODE_HELP,
	MODE_VERSION,
};

enum action { ACTION_NONE, ACTION_ADD, ACTION_DELETE };

enum key_type { KEY_WHITE, KEY_TRAPPED, KEY_SPAMTRAP, KEY_GREY };

struct options {
	const char *config; /* NULL = the default file */
	enum mode mode;
	enum action action; /* MODE_CHANGE */
	enum key_type type;
	bool is_json;
	bool is_merge;    /* export and import: the merge form */
	const char *file; /* of export, import (NULL = stdout, stdin) and backup */
	char **keys;
	int n_keys;
};

/* 0, or the exit status after a message. */
MUST_USE int options_parse(int argc, char **argv, struct options *options);
int options_print_usage(void);
