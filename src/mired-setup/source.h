/* What spamd.conf says of one list, made ready while the caller's rights are still there: local
 * files are opened, message files read. */
#pragma once

#include <stdbool.h>

#include "base/compiler.h"
#include "lists/capfile.h"
#include "mired-setup/copy.h"
#include "mired-setup/say.h"

struct source {
	const struct capfile_list *list; /* borrowed */
	char text[COPY_SOURCE_MAX];      /* URL, path or command line */
	char shown[COPY_SOURCE_MAX]; /* the same for people: without the URL's user and password */
	int fd;                      /* method=file: the open file, -1 = see file_error */
	int file_error;
	char *message; /* of a black list; NULL = could not be read, see why; owned */
	char why[SAY_WHY_MAX];
};

/* The text, and whether the list can be handled at all: its name and its source have to fit where
 * they go. ERR_TOO_LONG, ERR_SYNTAX with why in *out. Pure. */
MUST_USE int source_describe(const struct capfile_list *list, struct source *out);
/* Opens and reads; what fails is kept in *source for the list's turn. */
void source_open(struct source *source);
void source_close(struct source *source);
