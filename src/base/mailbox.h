/* Bounded ring of variable-length messages from one thread to one other thread. Lock-free; the
 * writer publishes with release, the reader takes with acquire. Full is an answer, not an error:
 * the writer keeps its message and tries again later. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

struct mailbox;

/* size_bytes is rounded up to a power of two. NULL when memory is short. */
struct mailbox *mailbox_new(size_t size_bytes);
void mailbox_free(struct mailbox *mailbox);

/* Writer: room for one message of len bytes (8-byte aligned), or NULL when it does not fit now.
 * len <= size / 4. Publish it with mailbox_post before the next reserve; an unposted reservation
 * is forgotten. */
void *mailbox_reserve(struct mailbox *mailbox, size_t len);
void mailbox_post(struct mailbox *mailbox);

/* Reader: the oldest message and its length, or NULL when empty. It stays valid until
 * mailbox_release. */
const void *mailbox_peek(struct mailbox *mailbox, size_t *len);
void mailbox_release(struct mailbox *mailbox);

/* Either side, a moment's view. */
bool mailbox_is_empty(const struct mailbox *mailbox);
