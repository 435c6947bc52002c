/* Starting a role: the same program executed again, with a channel at a fixed descriptor, nothing
 * else inherited and an address layout of its own. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/compiler.h"

enum role_kind { ROLE_ENGINE, ROLE_FIREWALL, ROLE_COUNT };

/* Descriptor of the channel to the supervisor inside a role. */
enum { ROLE_CHANNEL_FD = 3 };

/* How a role ends; the supervisor ends with the same numbers. */
enum role_exit {
	ROLE_EXIT_OK = 0,
	ROLE_EXIT_FAILED = 1, /* what went wrong was said in MSG_FATAL or in the log */
	ROLE_EXIT_USAGE = 2,
	ROLE_EXIT_STORE = 20, /* the store cannot be used */
};

/* "engine", "firewall". */
const char *role_name(enum role_kind kind);
/* True and *kind when the argument is the hidden option --role=NAME. */
bool role_of_option(const char *arg, enum role_kind *kind);
/* Executes `program` (usually /proc/self/exe) as a role. The child keeps stdin, stdout, stderr, the
 * environment and the limits; it is in a process group of its own, so that a Ctrl-C or a signal to
 * the group is left to the supervisor; it gets SIGTERM when the supervisor dies. *channel is our
 * end of its SOCK_SEQPACKET socket, close-on-exec, and the caller's. -errno; a failing exec shows
 * as a child that exits with 127. Main thread of the supervisor only. */
MUST_USE int role_start(enum role_kind kind, const char *program, pid_t *pid, int *channel);
