/* What the processes of this mired take, as /proc tells it: the engine (the process that asks), the
 * supervisor (its parent) and the supervisor's other child, the firewall. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROCESSES_MAX = 3 };

struct process {
	const char *role;
	double cpu_secs;
	uint64_t resident_bytes;
	bool has_files; /* the kernel tells it of other users' processes from Linux 6.2 on */
	uint64_t n_files;
};

struct processes {
	struct process process[PROCESSES_MAX];
	size_t n; /* those that run and may be seen */
};

void processes_read(struct processes *out);

/* Of one process; false when it cannot be read. role is borrowed. */
bool process_read(pid_t pid, const char *role, struct process *out);
