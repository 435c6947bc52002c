/* How late stuttered bytes arrive, by the kernel's time of their reception, so that a measuring
 * program that has no processor at the moment measures right all the same. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"

enum { PACE_SECONDS_MAX = 600 };

struct pace {
	uint32_t ms; /* between two bytes as they ought to be; 0 = nothing is measured */
	struct mono start;
	uint64_t n_gaps;
	uint64_t n_merged; /* bytes not measured: read together with one that came later */
	/* the longest delay of each second since the start */
	int64_t late_max_ns[PACE_SECONDS_MAX];
};

/* Asks for the time of reception. -errno. */
int pace_open(int fd);
/* recv(2) without flags. *due_ns is kept for each connection, 0 at first: when the last byte was
 * due, counted from one that was punctual, so that two late ones in a row hide nothing. A byte that
 * is later than a tenth of the pace begins a new count, as it does in smtp/session.c. */
ssize_t pace_recv(struct pace *pace, int fd, void *bytes, size_t size, int64_t *due_ns);
/* "\"gaps\": N, \"merged\": N, \"late_ms\": [..], " without the seconds after the last. */
void pace_print(const struct pace *pace, uint32_t seconds);
