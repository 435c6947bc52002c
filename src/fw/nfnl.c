/* nfnetlink works while it is being sent to: the answers stand in the receive buffer when the send
 * returns, so that a batch's outcome is read without waiting. What can happen to a batch:
 *   - done: the message that asked (the last one) is answered with 0;
 *   - refused: each bad message is answered with its error, and nothing of the batch was done;
 *   - the commit failed: the begin message is answered with the error, nothing was done;
 *   - the receive buffer overflowed (ENOBUFS): unknown; batches are idempotent, so send it again.
 */
#include "fw/nfnl.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/err.h"

enum {
	RECEIVE_BYTES = 64 << 10, /* dumps come in pieces of at most 32 KiB */
	/* nothing takes this long but a kernel that is busy with somebody else's transaction */
	ANSWER_WAIT_SECS = 5,
	SEND_MARGIN_BYTES = 4096,
	ANSWERS_MAX = 100000, /* messages read for one request; a bound on a loop, never reached */
};

struct nfnl {
	struct mnl_socket *socket;
	uint32_t seq;
	int send_buffer_bytes;
	_Alignas(struct nlmsghdr) uint8_t buffer[RECEIVE_BYTES];
};

int nfnl_open(struct nfnl **out)
{
	struct nfnl *nfnl = calloc(1, sizeof *nfnl);
	if (!nfnl) {
		return -ENOMEM;
	}
	int ret;
	nfnl->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!nfnl->socket || mnl_socket_bind(nfnl->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		ret = -errno;
		nfnl_close(nfnl);
		return ret;
	}
	struct timeval wait = {.tv_sec = ANSWER_WAIT_SECS};
	int fd = mnl_socket_get_fd(nfnl->socket);
	socklen_t len = sizeof nfnl->send_buffer_bytes;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &nfnl->send_buffer_bytes, &len) < 0) {
		ret = -errno;
		nfnl_close(nfnl);
		return ret;
	}
	nfnl->seq = 1;
	*out = nfnl;
	return 0;
}

void nfnl_close(struct nfnl *nfnl)
{
	if (nfnl && nfnl->socket) {
		(void)mnl_socket_close(nfnl->socket);
	}
	free(nfnl);
}

uint32_t nfnl_next_seq(const struct nfnl *nfnl)
{
	return nfnl->seq;
}

/* The kernel refuses a message larger than the send buffer; the default one holds 7000 elements. */
static void raise_send_buffer(struct nfnl *nfnl, size_t bytes)
{
	int wanted = (int)bytes + SEND_MARGIN_BYTES;
	if (wanted <= nfnl->send_buffer_bytes) {
		return;
	}
	int fd = mnl_socket_get_fd(nfnl->socket);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &wanted, sizeof wanted) == 0) {
		nfnl->send_buffer_bytes = wanted;
	}
}

/* One datagram into the buffer: its length, 0 when there is none now (flags MSG_DONTWAIT), or a
 * negative code. */
static int receive(struct nfnl *nfnl, int flags)
{
	for (;;) {
		ssize_t n = recv(mnl_socket_get_fd(nfnl->socket), nfnl->buffer, sizeof nfnl->buffer,
		                 flags);
		if (n >= 0) {
			return (int)n;
		}
		if (errno == EAGAIN) {
			return flags & MSG_DONTWAIT ? 0 : -ETIMEDOUT;
		}
		if (errno != EINTR) {
			return -errno;
		}
	}
}

/* Forgets answers that came too late for the request they belong to. */
static void drain(struct nfnl *nfnl)
{
	for (int i = 0; i < ANSWERS_MAX && receive(nfnl, MSG_DONTWAIT) != 0; i++) {
	}
}

static int send_all(struct nfnl *nfnl, const struct batch *batch)
{
	drain(nfnl);
	raise_send_buffer(nfnl, batch->len);
	nfnl->seq = batch->last_seq + 2; /* the end message has a number too */
	ssize_t n = mnl_socket_sendto(nfnl->socket, batch->bytes, batch->len);
	return n < 0 ? -errno : 0;
}

static bool is_ours(const struct batch *batch, const struct nlmsghdr *message)
{
	return message->nlmsg_seq - batch->first_seq <= batch->last_seq - batch->first_seq;
}

static int error_of(const struct nlmsghdr *message)
{
	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct nlmsgerr)) {
		return -EBADMSG;
	}
	const struct nlmsgerr *error = mnl_nlmsg_get_payload(message);
	return error->error > 0 ? -error->error : error->error;
}

/* What has been learned about a batch so far. */
struct outcome {
	int error; /* first one */
	bool is_answered;
};

static void read_answers(const struct nfnl *nfnl, int len, const struct batch *batch,
                         struct outcome *outcome)
{
	const struct nlmsghdr *message = (const void *)nfnl->buffer;
	for (; mnl_nlmsg_ok(message, len); message = mnl_nlmsg_next(message, &len)) {
		if (message->nlmsg_type != NLMSG_ERROR || !is_ours(batch, message)) {
			continue;
		}
		int error = error_of(message);
		if (error && !outcome->error) {
			outcome->error = error;
		}
		outcome->is_answered = true;
	}
}

int nfnl_commit(struct nfnl *nfnl, const struct batch *batch)
{
	int ret = send_all(nfnl, batch);
	if (ret) {
		return ret;
	}
	struct outcome outcome = {0};
	for (int i = 0; i < ANSWERS_MAX; i++) {
		int n = receive(nfnl, outcome.is_answered ? MSG_DONTWAIT : 0);
		if (n < 0) {
			return n;
		}
		if (n == 0) {
			break;
		}
		read_answers(nfnl, n, batch, &outcome);
	}
	return outcome.error;
}

/* Hands over the objects of one datagram. 1 = more will come, 0 = complete, negative = error. */
static int read_objects(const struct nfnl *nfnl, int len, const struct batch *request,
                        nfnl_object *object, void *ctx)
{
	const struct nlmsghdr *message = (const void *)nfnl->buffer;
	for (; mnl_nlmsg_ok(message, len); message = mnl_nlmsg_next(message, &len)) {
		if (!is_ours(request, message)) {
			continue;
		}
		if (message->nlmsg_flags & NLM_F_DUMP_INTR) {
			return -EINTR;
		}
		if (message->nlmsg_type == NLMSG_ERROR) {
			return error_of(message);
		}
		if (message->nlmsg_type == NLMSG_DONE) {
			return 0;
		}
		if (mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg)) {
			return -EBADMSG;
		}
		const uint8_t *attrs =
		        mnl_nlmsg_get_payload_offset(message, sizeof(struct nfgenmsg));
		const uint8_t *end = (const uint8_t *)message + message->nlmsg_len;
		object(ctx, message->nlmsg_type & 0xff, span_of(attrs, (size_t)(end - attrs)));
		if (!(message->nlmsg_flags & NLM_F_MULTI)) {
			return 0;
		}
	}
	return 1;
}

int nfnl_get(struct nfnl *nfnl, const struct batch *request, nfnl_object *object, void *ctx)
{
	int ret = send_all(nfnl, request);
	for (int i = 0; i < ANSWERS_MAX && ret == 0; i++) {
		int n = receive(nfnl, 0);
		if (n < 0) {
			return n;
		}
		ret = read_objects(nfnl, n, request, object, ctx);
		if (ret == 0) {
			return 0;
		}
		ret = ret > 0 ? 0 : ret;
	}
	return ret ? ret : -EBADMSG;
}

bool nfnl_attr(struct span attrs, unsigned type, struct span *value)
{
	int left = (int)attrs.len;
	const struct nlattr *attr = (const void *)attrs.ptr;
	for (; mnl_attr_ok(attr, left); attr = mnl_attr_next(attr)) {
		if (mnl_attr_get_type(attr) == type) {
			*value =
			        span_of(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
			return true;
		}
		left -= (int)MNL_ALIGN(attr->nla_len);
	}
	return false;
}

bool nfnl_attr_u32(struct span attrs, unsigned type, uint32_t *out)
{
	struct span value;
	uint32_t value_be;
	if (!nfnl_attr(attrs, type, &value) || value.len != sizeof value_be) {
		return false;
	}
	memcpy(&value_be, value.ptr, sizeof value_be);
	*out = be32toh(value_be);
	return true;
}

bool nfnl_attr_u64(struct span attrs, unsigned type, uint64_t *out)
{
	struct span value;
	uint64_t value_be;
	if (!nfnl_attr(attrs, type, &value) || value.len != sizeof value_be) {
		return false;
	}
	memcpy(&value_be, value.ptr, sizeof value_be);
	*out = be64toh(value_be);
	return true;
}

bool nfnl_attr_is_text(struct span attrs, unsigned type, const char *text)
{
	struct span value;
	size_t len = strlen(text) + 1;
	return nfnl_attr(attrs, type, &value) && value.len == len &&
	       memcmp(value.ptr, text, len) == 0;
}
