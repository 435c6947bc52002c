/* Visiting: a handful of connections is opened, each then waits for its greeting and resets. */
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "crowd.h"

enum { READ_BYTES = 512, PATIENCE_SECS = 5 };

/* To the end of the greeting's line. */
static bool is_greeted(const struct crowd_member *member, int fd)
{
	const struct timeval patience = {.tv_sec = PATIENCE_SECS};
	char bytes[READ_BYTES];
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	for (unsigned n_reads = 0; n_reads < READ_BYTES; n_reads++) {
		ssize_t n = recv(fd, bytes, sizeof bytes, 0);
		if (n <= 0) {
			return false;
		}
		crowd_add(&member->figures->n_bytes, (uint64_t)n);
		if (memchr(bytes, '\n', (size_t)n)) {
			return true;
		}
	}
	return false;
}

static void end_visit(const struct crowd_member *member, int fd)
{
	if (fd < 0 || !is_greeted(member, fd)) {
		crowd_add(&member->figures->n_failed, 1);
	} else {
		crowd_add(&member->figures->n_opened, 1);
	}
	if (fd >= 0) {
		close(fd);
	}
}

void crowd_visit(const struct crowd_member *member)
{
	const struct crowd_options *options = member->options;
	int *fds = calloc(options->n_visit, sizeof *fds);
	uint64_t n = member->idx;
	if (!fds) {
		exit(1);
	}
	while (crowd_phase(member) != CROWD_ENDING) {
		for (uint64_t i = 0; i < options->n_visit; i++) {
			fds[i] = crowd_connect(member, n);
			n += options->n_processes;
		}
		for (uint64_t i = 0; i < options->n_visit; i++) {
			end_visit(member, fds[i]);
		}
		crowd_note_cpu(member);
	}
	free(fds);
}
