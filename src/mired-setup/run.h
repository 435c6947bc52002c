/* All lists in the order of spamd.conf: a black list starts a set, the white lists that follow it
 * are taken out of that set, the next black list finishes it and has it sent. */
#pragma once

#include <stddef.h>

#include "base/compiler.h"
#include "mired-setup/obtain.h"
#include "mired-setup/sender.h"
#include "mired-setup/source.h"

/* How mired-setup ends. */
enum run_exit {
	RUN_OK = 0,
	RUN_FATAL = 1,   /* nothing more could be done */
	RUN_PARTIAL = 2, /* a list is stale, missing, or was refused by the daemon */
};

/* sender NULL: nothing is sent. Says itself what is wrong. */
MUST_USE enum run_exit run_lists(const struct obtain_env *env, struct sender *sender,
                                 const struct source *sources, size_t n);
