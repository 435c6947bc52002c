/* Single-producer, single-consumer ring of records: an 8-byte header with the length, then the
 * message, padded to 8. A record never wraps: where it would, a padding record fills the rest of
 * the buffer. Positions count bytes since the start and never wrap in practice (64 bits).
 *
 * A buffer that has run empty is filled from its beginning again as soon as more than reuse_bytes
 * of it have been used: what only a burst needs is not touched, and costs no memory, before one.
 * The rest of the buffer is no room until the reader has passed it, so a writer that is refused
 * doubles reuse_bytes: after a few bursts all of the buffer is room for the next. Not so with small
 * buffers, as those of the log, where what is refused is lost. */
#include "base/mailbox.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum {
	HEADER_BYTES = 8,
	SIZE_MIN = 256,
	REUSE_MIN_BYTES = 64 * 1024,
	SPARED_BYTES = 512 * 1024, /* smaller ones are used whole */
};

#define PADDING UINT32_MAX

struct header {
	uint32_t len; /* of the message, or PADDING up to the end of the buffer */
	uint32_t unused;
};

struct mailbox {
	/* writer's line; `head` is read by the reader */
	_Atomic uint64_t head CACHE_ALIGNED;
	uint64_t reserved_head; /* head after the reservation; == head when there is none */
	uint64_t known_tail;
	size_t reuse_bytes;
	/* reader's line; `tail` is read by the writer */
	_Atomic uint64_t tail CACHE_ALIGNED;
	uint64_t next_tail; /* tail after the message peeked at */
	/* immutable */
	size_t size CACHE_ALIGNED;
	uint8_t bytes[] __attribute__((aligned(CACHE_LINE)));
};

struct mailbox *mailbox_new(size_t size_bytes)
{
	size_t size = SIZE_MIN;
	while (size < size_bytes && size <= SIZE_MAX / 4) {
		size *= 2;
	}
	struct mailbox *mailbox = aligned_alloc(CACHE_LINE, sizeof *mailbox + size);
	if (!mailbox) {
		return NULL;
	}
	atomic_init(&mailbox->head, 0);
	atomic_init(&mailbox->tail, 0);
	mailbox->reserved_head = 0;
	mailbox->known_tail = 0;
	mailbox->reuse_bytes = size < SPARED_BYTES ? size : REUSE_MIN_BYTES;
	mailbox->next_tail = 0;
	mailbox->size = size;
	return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
	free(mailbox);
}

static struct header *header_at(const struct mailbox *mailbox, uint64_t pos)
{
	return (struct header *)(void *)((uint8_t *)(uintptr_t)mailbox->bytes +
	                                 (pos & (mailbox->size - 1)));
}

static uint64_t record_bytes(size_t len)
{
	return HEADER_BYTES + ((len + 7) & ~(size_t)7);
}

static bool has_room(struct mailbox *mailbox, uint64_t end)
{
	if (end - mailbox->known_tail <= mailbox->size) {
		return true;
	}
	/* acquire: partner of the release in mailbox_release; what was read may be overwritten */
	mailbox->known_tail = atomic_load_explicit(&mailbox->tail, memory_order_acquire);
	return end - mailbox->known_tail <= mailbox->size;
}

/* Where a record of `need` bytes goes: behind the last one, or at the beginning of the buffer. */
static uint64_t place_for(struct mailbox *mailbox, uint64_t head, uint64_t need)
{
	uint64_t at = head & (mailbox->size - 1);
	uint64_t left = mailbox->size - at;
	if (need > left) {
		return head + left;
	}
	if (at < mailbox->reuse_bytes || left + need > mailbox->size) {
		return head;
	}
	/* acquire: as in has_room */
	mailbox->known_tail = atomic_load_explicit(&mailbox->tail, memory_order_acquire);
	return mailbox->known_tail == head ? head + left : head;
}

void *mailbox_reserve(struct mailbox *mailbox, size_t len)
{
	ASSERT(len <= mailbox->size / 4);
	uint64_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed); /* own */
	uint64_t need = record_bytes(len);
	uint64_t start = place_for(mailbox, head, need);
	mailbox->reserved_head = head;
	if (!has_room(mailbox, start + need)) {
		mailbox->reuse_bytes *= mailbox->reuse_bytes < mailbox->size ? 2 : 1;
		return NULL;
	}
	if (start != head) {
		header_at(mailbox, head)->len = PADDING;
	}
	struct header *header = header_at(mailbox, start);
	header->len = (uint32_t)len;
	mailbox->reserved_head = start + need;
	return header + 1;
}

void mailbox_post(struct mailbox *mailbox)
{
	ASSERT(mailbox->reserved_head !=
	       atomic_load_explicit(&mailbox->head, memory_order_relaxed));
	/* release: partner of the acquire in mailbox_peek; the message is written before it shows
	 */
	atomic_store_explicit(&mailbox->head, mailbox->reserved_head, memory_order_release);
}

const void *mailbox_peek(struct mailbox *mailbox, size_t *len)
{
	uint64_t tail = atomic_load_explicit(&mailbox->tail, memory_order_relaxed); /* own */
	/* acquire: partner of the release in mailbox_post */
	if (tail == atomic_load_explicit(&mailbox->head, memory_order_acquire)) {
		return NULL;
	}
	const struct header *header = header_at(mailbox, tail);
	if (header->len == PADDING) {
		/* the record behind it was published together with it */
		tail += mailbox->size - (tail & (mailbox->size - 1));
		header = header_at(mailbox, tail);
	}
	*len = header->len;
	mailbox->next_tail = tail + record_bytes(header->len);
	return header + 1;
}

void mailbox_release(struct mailbox *mailbox)
{
	ASSERT(mailbox->next_tail != atomic_load_explicit(&mailbox->tail, memory_order_relaxed));
	/* release: partner of the acquire in has_room; reading is over before it is overwritten */
	atomic_store_explicit(&mailbox->tail, mailbox->next_tail, memory_order_release);
}

bool mailbox_is_empty(const struct mailbox *mailbox)
{
	/* acquire: partners of the releases in mailbox_post and mailbox_release */
	return atomic_load_explicit(&mailbox->head, memory_order_acquire) ==
	       atomic_load_explicit(&mailbox->tail, memory_order_acquire);
}
