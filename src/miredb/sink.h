/* Where changes go: to the daemon when it runs (its control socket takes a connection), else
 * straight into the store as its user. Never to the store behind the back of a daemon that refuses.
 */
#pragma once

#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"
#include "miredb/miredb.h"

struct sink;

/* 0 or the exit status after a message. */
MUST_USE int sink_open(struct sink **out, const struct run *run);
void sink_close(struct sink *sink);
/* True when a line of so many bytes (with its LF) must wait for the next batch. */
bool sink_is_full(const struct sink *sink, size_t len);
/* Adds a line (see store/change.h) to the batch. */
void sink_add(struct sink *sink, struct span line);

/* Called for each line of the batch that failed, in order; idx counts from 0. is_absent: there was
 * nothing to delete. */
typedef void sink_failed(void *ctx, unsigned idx, const char *error, bool is_absent);
/* Carries the batch out: each of its lines is on disk or has failed. 0, or the exit status after a
 * message when it is not known to be. */
MUST_USE int sink_flush(struct sink *sink, sink_failed *failed, void *ctx);
