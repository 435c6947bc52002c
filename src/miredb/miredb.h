/* What the parts of miredb share: its messages, its configuration, its ways to the store. */
#pragma once

#include <limits.h>
#include <stdio.h>

#include "base/compiler.h"
#include "conf/conf.h"
#include "miredb/options.h"
#include "store/store.h"

/* The count of failed keys is the exit status, which has eight bits: 256 must not look like none.
 */
enum { EXIT_KEYS_MAX = 255 };

struct run {
	const struct options *options;
	struct conf conf;
	char dir[PATH_MAX]; /* of the store */
};

/* Says why on stderr, and is the exit status 1. */
PRINTF(1, 2) int fail(const char *format, ...);
/* 0 when everything written to stdout has arrived; else says so, and is the exit status. */
int end_output(void);
int write_failed(int code);

/* Root becomes the store's user for good; anybody else stays who he is. 0 or the exit status. */
MUST_USE int become_user(const struct run *run);
/* Opens the store for reading, as become_user. 0 or the exit status after a message. */
MUST_USE int open_reader(const struct run *run, struct store **store, struct store_reader **reader);

/* The modes: each is the exit status. */
int list_main(const struct run *run);
int export_main(const struct run *run);
int watch_main(const struct run *run);
int change_main(const struct run *run);
int import_main(const struct run *run);
int backup_main(const struct run *run);
int compact_main(const struct run *run);
