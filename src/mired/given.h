/* Listening sockets that whoever started us holds and handed over (sd_listen_fds(3)): they stay
 * open when mired stops, and clients wait in their queues. What they listen at is read from them,
 * not believed. Used by the supervisor's only thread at the start. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "conf/conf.h"

enum {
	GIVEN_MAX = 64,      /* two ports, both families, and some workers of each */
	GIVEN_NAME_MAX = 64, /* FileDescriptorName=, the unit's name where it has none */
	GIVEN_WHY_MAX = 320,
};

struct given_socket {
	int fd;
	struct addr addr;
	uint16_t port;
	uid_t owner; /* who opened it */
	bool is_taken;
	char name[GIVEN_NAME_MAX];
};

struct given {
	struct given_socket sockets[GIVEN_MAX];
	size_t n;
};

/* Finds what was handed over, once in a process's life: roles must not find it again. Nothing is no
 * error. What is no listening stream socket of IPv4 or IPv6 is one: a negative code with why. */
MUST_USE int given_find(struct given *given, char why[static GIVEN_WHY_MAX]);

/* How many there are for this address and port. */
size_t given_count(const struct given *given, const struct addr *addr, uint16_t port);
/* Who opened the first of them; false when there is none. */
bool given_owner(const struct given *given, const struct addr *addr, uint16_t port, uid_t *out);
/* The next of them that nobody took, now the caller's; -1 when there is none. */
int given_take(struct given *given, const struct addr *addr, uint16_t port);
/* Closes those that nobody took. */
void given_close(struct given *given);
