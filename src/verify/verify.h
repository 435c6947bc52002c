/* What can be known to be wrong with a configuration before anything is started. */
#pragma once

#include <stdio.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "conf/conf.h"

enum { VERIFY_WHY_MAX = 256 };

struct verify_user {
	uid_t uid;
	gid_t gid;
};

/* Finds the user a role shall run as. ERR_NOT_FOUND, or ERR_DENIED for root, with why. */
MUST_USE int verify_find_user(const char *name, struct verify_user *out,
                              char why[static VERIFY_WHY_MAX]);

/* mired --check-config: users, groups, lists of exempt networks and allowed domains, rule
 * template, key and targets of synchronisation. Writes one line a fault to `out` and returns how
 * many there are; notes are no faults.
 */
int verify_conf(const struct conf *conf, FILE *out);
/* What of it a running mired looks at before it takes on another configuration: users and rule
 * template. Names of peers may take minutes to find, and those it has stay. */
int verify_for_reload(const struct conf *conf, FILE *out);
/* Files of exempt networks and allowed domains: a fault for each line that would be left out. */
int verify_files(const struct conf *conf, FILE *out);
