/* The process that does one download or runs one program, and what it may use: a session of its
 * own, a pipe for data, a pipe for its report, limits. Its maker has no rights left, so it has
 * none.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "mired-setup/fetch.h"

enum { CHILD_WORDS_MAX = 64 }; /* of a command line */

struct child {
	pid_t pid;  /* also its process group */
	int pid_fd; /* readable when it has ended */
	int data;   /* read end */
	int report; /* read end */
};

/* Once, by the maker, before its first child: what a child leaves behind comes to it. -errno. */
MUST_USE int child_adopt(void);
/* close_fd: what the child must not have. -errno. */
MUST_USE int child_start(const struct fetch_job *job, int close_fd, struct child *out);
/* Ends it and whatever it started, reaps it and closes the pipes. *report: what it said, or how it
 * ended. */
void child_finish(struct child *child, struct fetch_report *report);
