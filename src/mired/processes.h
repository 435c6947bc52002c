/* What the processes of this mired take, as /proc tells it. Each looks at itself: the others have
 * users of their own, and a hardened service cannot even see them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "priv/msg.h"

enum { PROCESSES_MAX = 3 };

struct process {
	const char *role;
	uint64_t cpu_ms;
	uint64_t resident_bytes;
	uint64_t n_files; /* 0: not to be known */
};

struct processes {
	struct process process[PROCESSES_MAX];
	size_t n;
};

/* In the engine: its own, what the firewall role told (NULL: it is not there), and the supervisor's
 * where it may be seen. */
void processes_read(struct processes *out, const struct msg_figures *firewall);

/* Of one process; false when it cannot be read. role is borrowed. */
bool process_read(pid_t pid, const char *role, struct process *out);
