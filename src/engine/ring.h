/* One io_uring of one worker: made disabled, cut down to an allow-list of operations, enabled by
 * the thread that then is its only issuer. The one place that knows liburing. Accepted connections
 * live in the ring's own table of direct descriptors and are named by their index there.
 *
 * Requests are queued and go to the kernel with the next ring_submit or ring_wait; a full queue is
 * submitted on the way. Every ring_<request> returns false when the kernel takes none at present
 * (out of memory): nothing was queued then, try again at a later tick. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

enum {
	RING_WHY_MAX = 256,
	RING_SQ_ENTRIES = 512, /* two chunks of the worker */
	RING_CQ_ENTRIES =
	        4096, /* an accept burst beside a chunk; the kernel keeps what overflows */
	RING_TABLE_MAX = 1 << 20, /* io_uring: IORING_MAX_FIXED_FILES */
	RING_SLOT_MAX = 1 << 24,  /* slots that fit into a tag */
	RING_GENERATION_MASK = 0xffffff,
};

enum ring_op {
	RING_OP_NONE,
	RING_OP_ACCEPT,
	RING_OP_NAME,
	RING_OP_BYTE, /* a SEND whose success has no event */
	RING_OP_SEND,
	RING_OP_RECV,
	RING_OP_SHUTDOWN,
	RING_OP_CLOSE,
	RING_OP_CANCEL,
	RING_OP_WAKE,
	RING_OP_COUNT
};

/* What a request is about; comes back with its completion. Packed into user_data: operation 8 bits,
 * entry 8, generation 24, slot 24. */
struct ring_tag {
	enum ring_op op;
	uint32_t slot;       /* direct descriptor, or index of an accept request */
	uint32_t generation; /* of the slot, RING_GENERATION_MASK */
	uint8_t entry;       /* the issuer's own: place in its chunk */
};

uint64_t ring_tag_pack(struct ring_tag tag);
/* An unknown operation becomes RING_OP_NONE. */
struct ring_tag ring_tag_unpack(uint64_t user_data);

struct ring_event {
	struct ring_tag tag;
	int32_t res;
	bool has_more; /* the request stays armed (multishot accept) */
};

struct ring;

struct ring_options {
	uint32_t table_size; /* direct descriptors; counted against RLIMIT_NOFILE by the kernel */
	bool force_fallback; /* do not use SO_PEERNAME by URING_CMD even if the kernel has it */
};

/* Any thread. -errno with `why` naming the limit or setting that stands in the way. */
MUST_USE int ring_open(struct ring **out, const struct ring_options *options,
                       char why[static RING_WHY_MAX]);
/* Worker thread, once, before any request: it becomes the single issuer. Fails with ERR_DENIED when
 * an operation off the allow-list is not refused. */
MUST_USE int ring_enable(struct ring *ring);
/* Worker thread, or any when that has ended. What is still open in the table is closed by the
 * kernel some time later. */
void ring_close(struct ring *ring);
/* True when multishot accept with ring_name is usable; else only ring_accept_once. */
bool ring_has_name(const struct ring *ring);

/* Accepts on a plain descriptor into free slots; the result of each event is the slot or -errno,
 * -ENFILE when the table is full (that connection is closed by the kernel).
 *
 * Listeners are plain descriptors on purpose: on Linux 6.1 a pending request on a fixed file holds
 * back the closing of every direct descriptor removed after it was issued. */
bool ring_accept_multishot(struct ring *ring, int listener, struct ring_tag tag);
/* One connection; peer and peer_len stay valid until the event. */
bool ring_accept_once(struct ring *ring, int listener, struct ring_tag tag,
                      struct sockaddr_storage *peer, socklen_t *peer_len);
/* The peer's address of the slot, len bytes of it: exactly the family's size. */
bool ring_name(struct ring *ring, struct ring_tag tag, void *name, socklen_t len);
/* bytes stay valid until the event; with is_quiet until the next ring_submit has returned, because
 * success then has no event. Neither waits: what the socket cannot do at once is -EAGAIN. */
bool ring_send(struct ring *ring, struct ring_tag tag, struct span bytes, bool is_quiet);
bool ring_recv(struct ring *ring, struct ring_tag tag, uint8_t *buffer, uint32_t size);
/* Shuts the write side of the slot down. */
bool ring_shutdown(struct ring *ring, struct ring_tag tag);
/* Frees the slot; no other request may be under way on it. */
bool ring_close_slot(struct ring *ring, struct ring_tag tag);
/* Ends every pending accept on the listener. */
bool ring_cancel_accepts(struct ring *ring, int listener, struct ring_tag tag);
/* One event when the (plain) descriptor becomes readable. */
bool ring_wake_on(struct ring *ring, int fd, struct ring_tag tag);

/* True while requests are queued that the kernel has not taken yet. */
bool ring_has_queued(const struct ring *ring);
/* Hands what is queued to the kernel; does not wait. */
MUST_USE int ring_submit(struct ring *ring);
/* The same, then sleeps until there is an event or wait_ns have passed; 0 looks only. */
MUST_USE int ring_wait(struct ring *ring, int64_t wait_ns);
/* The same, but only n_events at once (no more than RING_CQ_ENTRIES) end the sleep. */
MUST_USE int ring_wait_many(struct ring *ring, unsigned n_events, int64_t wait_ns);
/* Takes the oldest event. */
bool ring_next(struct ring *ring, struct ring_event *out);
