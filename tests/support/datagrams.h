/* Datagrams on their way out, in batches and at a bounded rate, and the seeded chance by which the
 * programs here decide what to send. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "args.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/span.h"

enum { DATAGRAM_BYTES_MAX = 1600, DATAGRAMS_BATCH = 64 };

struct chance {
	uint64_t state; /* the seed, at first */
};

uint64_t chance_next(struct chance *chance);
/* 0 .. n - 1; n > 0. */
uint32_t chance_below(struct chance *chance, uint64_t n);

struct datagrams {
	int socket;
	uint64_t rate; /* a second */
	struct mono start;
	uint64_t n_sent;
	uint64_t n_failed; /* not taken by the kernel, or answered with "nobody there" */
	size_t n_waiting;
	struct mmsghdr headers[DATAGRAMS_BATCH];
	struct iovec parts[DATAGRAMS_BATCH];
	uint8_t bytes[DATAGRAMS_BATCH][DATAGRAM_BYTES_MAX];
};

/* False with errno. */
MUST_USE bool datagrams_open(struct datagrams *out, const struct args_place *to, uint64_t rate);
void datagrams_close(struct datagrams *out);
/* Copies (at most DATAGRAM_BYTES_MAX) and sends when a batch is full, waiting for its time. */
void datagrams_add(struct datagrams *out, struct span bytes);
void datagrams_flush(struct datagrams *out);
