/* The door to liburing: the only file that includes its header. Facts about the kernel that shape
 * this file:
 *  - liburing 2.3 as a shared library exports neither io_uring_enable_rings nor
 *    io_uring_register_restrictions, so both go through io_uring_register;
 *  - a CLOSE of a direct descriptor must not carry IOSQE_FIXED_FILE (io_close_prep: EBADF), so the
 *    restrictions allow that flag and cannot require it;
 *  - IORING_OP_TIMEOUT is not on the list: the only clock is the wait's own argument.
 * Owner: the worker's thread, once enabled. */
#include "engine/ring.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

#ifndef SO_PEERNAME
#define SO_PEERNAME 28
#endif

enum {
	SOCKET_CMD_GETSOCKOPT =
	        2, /* SOCKET_URING_OP_GETSOCKOPT of Linux 6.7, newer than our headers */
	GETSOCKOPT_LEVEL_AT = 16, /* where such a command keeps its arguments in the SQE */
	GETSOCKOPT_NAME_AT = 20,
	GETSOCKOPT_LEN_AT = 44,
	GETSOCKOPT_VALUE_AT = 48,
	IOWQ_WORKERS = 2, /* only SHUTDOWN goes there, and it never blocks for long */
};

static_assert(sizeof(struct io_uring_sqe) == GETSOCKOPT_VALUE_AT + 16, "layout of an SQE");

struct ring {
	struct io_uring uring;
	bool has_name;
};

static const uint8_t OPS_ALLOWED[] = {
        IORING_OP_ACCEPT, IORING_OP_SEND,      IORING_OP_RECV,     IORING_OP_SHUTDOWN,
        IORING_OP_CLOSE,  IORING_OP_URING_CMD, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL,
};

uint64_t ring_tag_pack(struct ring_tag tag)
{
	return (uint64_t)tag.op << 56 | (uint64_t)tag.entry << 48 |
	       (uint64_t)(tag.generation & RING_GENERATION_MASK) << 24 |
	       (tag.slot & (RING_SLOT_MAX - 1));
}

struct ring_tag ring_tag_unpack(uint64_t user_data)
{
	uint8_t op = (uint8_t)(user_data >> 56);
	return (struct ring_tag){
	        .op = op < RING_OP_COUNT ? (enum ring_op)op : RING_OP_NONE,
	        .entry = (uint8_t)(user_data >> 48),
	        .generation = (uint32_t)(user_data >> 24) & RING_GENERATION_MASK,
	        .slot = (uint32_t)user_data & (RING_SLOT_MAX - 1),
	};
}

static void prepare_getsockopt(struct io_uring_sqe *sqe, int fd, void *value, socklen_t len)
{
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	uint8_t *raw = (uint8_t *)sqe;
	uint32_t level = SOL_SOCKET;
	uint32_t name = SO_PEERNAME;
	uint32_t value_len = len;
	uint64_t value_at = (uint64_t)(uintptr_t)value;
	sqe->cmd_op = SOCKET_CMD_GETSOCKOPT;
	memcpy(raw + GETSOCKOPT_LEVEL_AT, &level, sizeof level);
	memcpy(raw + GETSOCKOPT_NAME_AT, &name, sizeof name);
	memcpy(raw + GETSOCKOPT_LEN_AT, &value_len, sizeof value_len);
	memcpy(raw + GETSOCKOPT_VALUE_AT, &value_at, sizeof value_at);
}

/* Asks one end of a socket pair for its peer's name; whatever goes wrong means "no". */
static bool probe_name_on(struct io_uring *uring, int fd)
{
	sa_family_t family = AF_UNSPEC;
	struct io_uring_sqe *sqe = io_uring_get_sqe(uring);
	prepare_getsockopt(sqe, fd, &family, sizeof family);
	if (io_uring_submit_and_wait(uring, 1) < 0) {
		return false;
	}
	struct io_uring_cqe *cqe;
	if (io_uring_peek_cqe(uring, &cqe) != 0) {
		return false;
	}
	int res = cqe->res;
	io_uring_cqe_seen(uring, cqe);
	return res == (int)sizeof family && family == AF_UNIX;
}

/* On a ring of its own, because the worker's is still disabled. */
static bool probe_name(void)
{
	struct io_uring uring;
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		return false;
	}
	bool has_name = false;
	if (io_uring_queue_init(2, &uring, 0) == 0) {
		has_name = probe_name_on(&uring, pair[0]);
		io_uring_queue_exit(&uring);
	}
	close(pair[0]);
	close(pair[1]);
	return has_name;
}

static const char *setup_hint(int ret)
{
	switch (ret) {
	case -EPERM:
	case -EACCES:
		return "see the sysctl kernel.io_uring_disabled (must be 0, or 1 with the right "
		       "group) "
		       "and the seccomp filter of the container";
	case -ENOSYS:
		return "this kernel was built without io_uring";
	case -EINVAL:
		return "Linux 6.1 or newer is needed (SINGLE_ISSUER, DEFER_TASKRUN)";
	case -ENOMEM:
		return "memory is short: see RLIMIT_MEMLOCK and the memory limit of the control "
		       "group";
	case -EMFILE:
	case -ENFILE:
		return "too many open files: see RLIMIT_NOFILE and the sysctl fs.file-max";
	default:
		return "io_uring could not be set up";
	}
}

static int restrict_ring(struct io_uring *uring)
{
	struct io_uring_restriction rules[ARRAY_LEN(OPS_ALLOWED) + 2] = {
	        {.opcode = IORING_RESTRICTION_REGISTER_OP,
	         .register_op = IORING_REGISTER_ENABLE_RINGS},
	        {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
	         .sqe_flags = IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS},
	};
	for (size_t i = 0; i < ARRAY_LEN(OPS_ALLOWED); i++) {
		rules[i + 2].opcode = IORING_RESTRICTION_SQE_OP;
		rules[i + 2].sqe_op = OPS_ALLOWED[i];
	}
	return io_uring_register((unsigned)uring->ring_fd, IORING_REGISTER_RESTRICTIONS, rules,
	                         ARRAY_LEN(rules));
}

static int prepare_table(struct io_uring *uring, uint32_t size, char why[static RING_WHY_MAX])
{
	int ret = io_uring_register_files_sparse(uring, size);
	if (ret < 0) {
		(void)snprintf(why, RING_WHY_MAX,
		               "a table of %u direct descriptors was refused: %s%s", size,
		               err_text(ret), ret == -EMFILE ? " (RLIMIT_NOFILE is lower)" : "");
	}
	return ret;
}

/* Table, limits and restrictions, while the ring is disabled. */
static int furnish(struct io_uring *uring, const struct ring_options *options,
                   char why[static RING_WHY_MAX])
{
	int ret = prepare_table(uring, options->table_size, why);
	if (ret < 0) {
		return ret;
	}
	unsigned workers[2] = {IOWQ_WORKERS, IOWQ_WORKERS};
	ret = io_uring_register_iowq_max_workers(uring, workers);
	if (ret < 0) {
		(void)snprintf(why, RING_WHY_MAX, "io_uring's worker limit was refused: %s",
		               err_text(ret));
		return ret;
	}
	ret = restrict_ring(uring);
	if (ret < 0) {
		(void)snprintf(why, RING_WHY_MAX, "io_uring's restrictions were refused: %s",
		               err_text(ret));
	}
	return ret;
}

int ring_open(struct ring **out, const struct ring_options *options, char why[static RING_WHY_MAX])
{
	struct ring *ring = calloc(1, sizeof *ring);
	if (!ring) {
		(void)snprintf(why, RING_WHY_MAX, "out of memory");
		return -ENOMEM;
	}
	struct io_uring_params params = {
	        .flags = IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER |
	                 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
	        .cq_entries = RING_CQ_ENTRIES,
	};
	int ret = io_uring_queue_init_params(RING_SQ_ENTRIES, &ring->uring, &params);
	if (ret < 0) {
		(void)snprintf(why, RING_WHY_MAX, "io_uring: %s; %s", err_text(ret),
		               setup_hint(ret));
		free(ring);
		return ret;
	}
	ret = furnish(&ring->uring, options, why);
	if (ret < 0) {
		io_uring_queue_exit(&ring->uring);
		free(ring);
		return ret;
	}
	ring->has_name = !options->force_fallback && probe_name();
	*out = ring;
	return 0;
}

/* Tries an operation that is not on the list. */
static int check_restrictions(struct io_uring *uring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(uring);
	io_uring_prep_nop(sqe);
	int ret = io_uring_submit_and_wait(uring, 1);
	if (ret < 0) {
		return ret;
	}
	struct io_uring_cqe *cqe;
	ret = io_uring_peek_cqe(uring, &cqe);
	if (ret < 0) {
		return ret;
	}
	bool is_refused = cqe->res == -EACCES;
	io_uring_cqe_seen(uring, cqe);
	return is_refused ? 0 : ERR_DENIED;
}

int ring_enable(struct ring *ring)
{
	int ret = io_uring_register((unsigned)ring->uring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
	                            NULL, 0);
	return ret < 0 ? ret : check_restrictions(&ring->uring);
}

void ring_close(struct ring *ring)
{
	if (!ring) {
		return;
	}
	io_uring_queue_exit(&ring->uring);
	free(ring);
}

bool ring_has_name(const struct ring *ring)
{
	return ring->has_name;
}

/* The next free SQE, making room by a submit when there is none. */
static struct io_uring_sqe *take_sqe(struct ring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
	if (sqe) {
		return sqe;
	}
	(void)io_uring_submit(&ring->uring);
	return io_uring_get_sqe(&ring->uring);
}

static bool finish_sqe(struct io_uring_sqe *sqe, struct ring_tag tag, unsigned flags)
{
	sqe->flags = (uint8_t)flags;
	sqe->user_data = ring_tag_pack(tag);
	return true;
}

/* io_uring_prep_accept_direct of 2.3 turns "allocate a slot" into "no slot", hence by hand. */
static bool queue_accept(struct ring *ring, int listener, struct ring_tag tag,
                         struct sockaddr_storage *peer, socklen_t *peer_len)
{
	struct io_uring_sqe *sqe = take_sqe(ring);
	if (!sqe) {
		return false;
	}
	io_uring_prep_rw(IORING_OP_ACCEPT, sqe, listener, peer, 0, (uint64_t)(uintptr_t)peer_len);
	sqe->file_index = IORING_FILE_INDEX_ALLOC;
	sqe->ioprio = (uint16_t)(peer ? 0U : IORING_ACCEPT_MULTISHOT);
	return finish_sqe(sqe, tag, 0);
}

bool ring_accept_multishot(struct ring *ring, int listener, struct ring_tag tag)
{
	return queue_accept(ring, listener, tag, NULL, NULL);
}

bool ring_accept_once(struct ring *ring, int listener, struct ring_tag tag,
                      struct sockaddr_storage *peer, socklen_t *peer_len)
{
	*peer_len = sizeof *peer;
	return queue_accept(ring, listener, tag, peer, peer_len);
}

bool ring_name(struct ring *ring, struct ring_tag tag, void *name, socklen_t len)
{
	struct io_uring_sqe *sqe = take_sqe(ring);
	if (!sqe) {
		return false;
	}
	prepare_getsockopt(sqe, (int)tag.slot, name, len);
	return finish_sqe(sqe, tag, IOSQE_FIXED_FILE);
}

bool ring_send(struct ring *ring, struct ring_tag tag, struct span bytes, bool is_quiet)
{
	struct io_uring_sqe *sqe = take_sqe(ring);
	if (!sqe) {
		return false;
	}
	io_uring_prep_send(sqe, (int)tag.slot, bytes.ptr, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return finish_sqe(sqe, tag, IOSQE_FIXED_FILE | (is_quiet ? IOSQE_CQE_SKIP_SUCCESS : 0U));
}

bool ring_recv(struct ring *ring, struct ring_tag tag, uint8_t *buffer, uint32_t size)
{
	struct io_uring_sqe *sqe = take_sqe(ring);
	if (!sqe) {
		return false;
	}
	io_uring_prep_recv(sqe, (int)tag.slot, buffer, size, MSG_DONTWAIT);
	return finish_sqe(sqe, tag, IOSQE_FIXED_FILE);
}

bool ring_shutdown(struct ring *ring, struct ring_tag tag)
{
	struct io_uring_sqe *sqe = take_sqe(ring);
	if (!sqe) {
		return false;
	}
	io_uring_prep_shutdown(sqe, (int)tag.slot, SHUT_WR);
	return finish_sqe(sqe, tag, IOSQE_FIXED_FILE);
}

bool ring_close_slot(struct ring *ring, struct ring_tag tag)
{
	struct io_uring_sqe *sqe = take_sqe(ring);
	if (!sqe) {
		return false;
	}
	io_uring_prep_close_direct(sqe, tag.slot);
	return finish_sqe(sqe, tag, 0);
}

bool ring_cancel_accepts(struct ring *ring, int listener, struct ring_tag tag)
{
	struct io_uring_sqe *sqe = take_sqe(ring);
	if (!sqe) {
		return false;
	}
	io_uring_prep_rw(IORING_OP_ASYNC_CANCEL, sqe, listener, NULL, 0, 0);
	sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
	return finish_sqe(sqe, tag, 0);
}

bool ring_wake_on(struct ring *ring, int fd, struct ring_tag tag)
{
	struct io_uring_sqe *sqe = take_sqe(ring);
	if (!sqe) {
		return false;
	}
	io_uring_prep_poll_add(sqe, fd, POLLIN);
	return finish_sqe(sqe, tag, 0);
}

bool ring_has_queued(const struct ring *ring)
{
	return io_uring_sq_ready(&ring->uring) > 0;
}

int ring_submit(struct ring *ring)
{
	int ret = io_uring_submit(&ring->uring);
	return ret < 0 ? ret : 0;
}

int ring_wait(struct ring *ring, int64_t wait_ns)
{
	return ring_wait_many(ring, 1, wait_ns);
}

int ring_wait_many(struct ring *ring, unsigned n_events, int64_t wait_ns)
{
	struct __kernel_timespec timeout = {
	        .tv_sec = wait_ns / NS_PER_SEC,
	        .tv_nsec = wait_ns % NS_PER_SEC,
	};
	struct io_uring_cqe *cqe;
	int ret = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, n_events, &timeout, NULL);
	return ret < 0 && ret != -ETIME && ret != -EINTR ? ret : 0;
}

bool ring_next(struct ring *ring, struct ring_event *out)
{
	struct io_uring_cqe *cqe;
	if (io_uring_peek_cqe(&ring->uring, &cqe) != 0) {
		return false;
	}
	*out = (struct ring_event){
	        .tag = ring_tag_unpack(cqe->user_data),
	        .res = cqe->res,
	        .has_more = (cqe->flags & IORING_CQE_F_MORE) != 0,
	};
	io_uring_cqe_seen(&ring->uring, cqe);
	return true;
}
