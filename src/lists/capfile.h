/* spamd.conf: capability records as cgetent(3) reads them, comments and continuation lines, tc=
 * includes, quoting and escapes, and what the fields mean. Pure: the file behind msg= and file= is
 * not read here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"

enum {
	CAPFILE_NAMES_MAX = 1000, /* entries of `all`, repeats included */
	CAPFILE_WHY_MAX = 256,
	CAPFILE_TC_MAX = 32,
};

enum capfile_method {
	CAPFILE_FILE,
	CAPFILE_HTTP,
	CAPFILE_HTTPS,
	CAPFILE_FTP,
	CAPFILE_EXEC,
};

/* One list in the order of `all`. Strings are decoded, NUL-terminated and owned. */
struct capfile_list {
	char *name;
	bool is_black;
	char *message; /* black: text, or the path of a file when is_message_file. White: NULL */
	bool is_message_file;
	enum capfile_method method;
	char *file; /* path, host/path, or command line */
};

struct capfile {
	struct capfile_list *lists;
	size_t n;
};

/* ERR_SYNTAX, ERR_NOT_FOUND, ERR_TOO_LONG, -ENOMEM with why = what spamd-setup says, with the line
 * where there is one; *out is empty then. */
MUST_USE int capfile_parse(struct span text, struct capfile *out, char why[static CAPFILE_WHY_MAX]);
void capfile_fini(struct capfile *file);
