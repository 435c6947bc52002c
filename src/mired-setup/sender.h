/* The process that gives lists to the daemon: forked at the start, it keeps the caller's identity,
 * which is what the control socket judges rights by, and loses its capabilities. It handles
 * finished lines only and reads nothing that was fetched. It ends with the program. */
#pragma once

#include <stddef.h>

#include "base/compiler.h"
#include "policy/cidr.h"

enum { SENDER_WHY_MAX = 384 };

struct sender;

/* path: the control socket. -errno. */
MUST_USE int sender_start(const char *path, struct sender **out);
/* NULL is fine. */
void sender_stop(struct sender *sender);

/* A list to be replaced whole. message: decoded. n = 0 clears the list. */
struct sender_list {
	const char *tag;
	const char *message;
	const struct cidr *cidrs;
	size_t n;
};
/* Waits until the list is in force and on the daemon's disk. ERR_CLOSED: no daemon answers (why
 * names the socket). ERR_DENIED: the daemon refused it, why = its words. Any other code: its line
 * could not be made. */
MUST_USE int sender_wait_put(struct sender *sender, const struct sender_list *list,
                             char why[static SENDER_WHY_MAX]);
