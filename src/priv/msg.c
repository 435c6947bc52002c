/* The messages' byte layout, big-endian:
 *
 *   version(1) type(1), then by type
 *   LISTENER       worker(4) is_v6(1) is_low_priority(1)
 *   FATAL          length(2) text, without NUL
 *   FILL           count(2) elements
 *   FILL_END, RELOAD, RELOADED  seq(8)
 *   CHANGES        seq(8) count(2) elements
 *   DONE           seq(8) five figures(8 each) three booleans(1 each) three figures(8 each)
 *   RANGES         count(2) ranges
 *   all others     nothing
 *   element        address(16) timeout(4) set(1) is_deleted(1)
 *   range          first address(16) last address(16)
 *
 * One walk over the fields serves both directions, so that encoder and decoder cannot drift
 * apart: the cursor either puts a field or takes it, and remembers its first error. */
#include "priv/msg.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/err.h"
#include "conf/conf.h"

enum {
	WIRE_VERSION = 1,
	WIRE_SETS = 2,    /* white and greytrap */
	WIRE_FDS_MAX = 8, /* room for surplus descriptors, so that they are seen and closed */
};

enum body {
	BODY_NONE,
	BODY_LISTENER,
	BODY_TEXT,
	BODY_FILL,
	BODY_SEQ,
	BODY_CHANGES,
	BODY_DONE,
	BODY_RANGES
};

/* What belongs to each type. Row 0 is no message. */
static const struct {
	enum body body;
	bool has_fd;
} rows[MSG_TYPE_END] = {
        [MSG_CONF] = {BODY_NONE, true},          [MSG_LISTENER] = {BODY_LISTENER, true},
        [MSG_CONTROL] = {BODY_NONE, true},       [MSG_PEER] = {BODY_NONE, true},
        [MSG_START] = {BODY_NONE, false},        [MSG_STOP] = {BODY_NONE, false},
        [MSG_READY] = {BODY_NONE, false},        [MSG_FATAL] = {BODY_TEXT, false},
        [MSG_FILL_BEGIN] = {BODY_NONE, false},   [MSG_FILL] = {BODY_FILL, false},
        [MSG_FILL_END] = {BODY_SEQ, false},      [MSG_CHANGES] = {BODY_CHANGES, false},
        [MSG_NEED_FILL] = {BODY_NONE, false},    [MSG_DONE] = {BODY_DONE, false},
        [MSG_NOSPAMD] = {BODY_NONE, true},       [MSG_DOMAINS] = {BODY_NONE, true},
        [MSG_CFG] = {BODY_NONE, true},           [MSG_RELOAD] = {BODY_SEQ, false},
        [MSG_RANGES_BEGIN] = {BODY_NONE, false}, [MSG_RANGES] = {BODY_RANGES, false},
        [MSG_RANGES_END] = {BODY_NONE, false},   [MSG_SYNC] = {BODY_NONE, true},
        [MSG_SYNC_SOCKET] = {BODY_NONE, true},   [MSG_STATE] = {BODY_NONE, true},
        [MSG_RELOADED] = {BODY_SEQ, true},       [MSG_RULES] = {BODY_NONE, true},
};

/* The cursor: puts into `out` or takes from `in`, whichever is not NULL. */
struct wire {
	uint8_t *out;
	const uint8_t *in;
	size_t len; /* of the buffer */
	size_t pos;
	int ret; /* first error */
};

static void wire_fail(struct wire *wire, int code)
{
	if (!wire->ret) {
		wire->ret = code;
	}
}

static void wire_bytes(struct wire *wire, void *field, size_t n)
{
	if (wire->ret) {
		return;
	}
	if (n > wire->len - wire->pos) {
		wire_fail(wire, ERR_TRUNCATED);
		return;
	}
	if (wire->out) {
		memcpy(wire->out + wire->pos, field, n);
	} else {
		memcpy(field, wire->in + wire->pos, n);
	}
	wire->pos += n;
}

/* A number of n bytes, at most max. */
static uint64_t wire_number(struct wire *wire, uint64_t value, size_t n, uint64_t max)
{
	uint8_t bytes[8];
	for (size_t i = 0; i < n; i++) {
		bytes[i] = (uint8_t)(value >> (8 * (n - 1 - i)));
	}
	wire_bytes(wire, bytes, n);
	uint64_t result = 0;
	for (size_t i = 0; i < n && !wire->ret; i++) {
		result = result << 8 | bytes[i];
	}
	if (value > max || result > max) {
		wire_fail(wire, ERR_RANGE);
		return 0;
	}
	return result;
}

static void wire_u64(struct wire *wire, uint64_t *value)
{
	*value = wire_number(wire, *value, 8, UINT64_MAX);
}

static void wire_u32(struct wire *wire, uint32_t *value, uint32_t max)
{
	*value = (uint32_t)wire_number(wire, *value, 4, max);
}

static void wire_u16(struct wire *wire, uint16_t *value, uint16_t max)
{
	*value = (uint16_t)wire_number(wire, *value, 2, max);
}

static void wire_u8(struct wire *wire, uint8_t *value, uint8_t max)
{
	*value = (uint8_t)wire_number(wire, *value, 1, max);
}

static void wire_bool(struct wire *wire, bool *value)
{
	*value = wire_number(wire, *value, 1, 1) == 1;
}

static void wire_element(struct wire *wire, struct msg_element *element)
{
	wire_bytes(wire, element->addr.bytes, sizeof element->addr.bytes);
	wire_u32(wire, &element->timeout_secs, UINT32_MAX);
	wire_u8(wire, &element->set, WIRE_SETS - 1);
	wire_bool(wire, &element->is_deleted);
	/* to the kernel a timeout of 0 would mean for ever */
	if (!element->is_deleted && element->timeout_secs == 0) {
		wire_fail(wire, ERR_RANGE);
	}
}

static void wire_elements(struct wire *wire, struct msg *msg)
{
	wire_u16(wire, &msg->n_elements, MSG_ELEMENTS_MAX);
	for (uint16_t i = 0; i < msg->n_elements && !wire->ret; i++) {
		wire_element(wire, &msg->elements[i]);
	}
}

/* Of one family, and not backwards. The first address says the family: networks around that of the
 * mapped ones (::/80 to ::fffe:0:0/95) end with one. */
static bool range_is_sound(const struct addr_range *range)
{
	return (!addr_is_v4(&range->first) || addr_is_v4(&range->last)) &&
	       memcmp(range->first.bytes, range->last.bytes, sizeof range->first.bytes) <= 0;
}

static void wire_ranges(struct wire *wire, struct msg *msg)
{
	wire_u16(wire, &msg->n_ranges, MSG_RANGES_MAX);
	for (uint16_t i = 0; i < msg->n_ranges && !wire->ret; i++) {
		struct addr_range *range = &msg->ranges[i];
		wire_bytes(wire, range->first.bytes, sizeof range->first.bytes);
		wire_bytes(wire, range->last.bytes, sizeof range->last.bytes);
		if (!range_is_sound(range)) {
			wire_fail(wire, ERR_RANGE);
		}
	}
}

static void wire_text(struct wire *wire, struct msg *msg)
{
	uint16_t len = (uint16_t)strnlen(msg->text, sizeof msg->text);
	wire_u16(wire, &len, sizeof msg->text - 1);
	if (wire->ret) {
		return;
	}
	wire_bytes(wire, msg->text, len);
	msg->text[len] = '\0';
	if (strlen(msg->text) != len) {
		wire_fail(wire, ERR_SYNTAX);
	}
}

static void wire_figures(struct wire *wire, struct msg_figures *figures)
{
	wire_u64(wire, &figures->transactions);
	wire_u64(wire, &figures->failures);
	wire_u64(wire, &figures->elements_added);
	wire_u64(wire, &figures->elements_deleted);
	wire_u64(wire, &figures->restores);
	wire_bool(wire, &figures->has_refresh);
	wire_bool(wire, &figures->has_destroy);
	wire_bool(wire, &figures->is_complete);
	wire_u64(wire, &figures->cpu_ms);
	wire_u64(wire, &figures->resident_bytes);
	wire_u64(wire, &figures->open_files);
}

static void wire_body(struct wire *wire, struct msg *msg)
{
	switch (rows[msg->type].body) {
	case BODY_NONE:
		break;
	case BODY_LISTENER:
		wire_u32(wire, &msg->worker, CONF_WORKERS_MAX - 1);
		wire_bool(wire, &msg->is_v6);
		wire_bool(wire, &msg->is_low_priority);
		break;
	case BODY_TEXT:
		wire_text(wire, msg);
		break;
	case BODY_FILL:
		wire_elements(wire, msg);
		break;
	case BODY_SEQ:
		wire_u64(wire, &msg->seq);
		break;
	case BODY_CHANGES:
		wire_u64(wire, &msg->seq);
		wire_elements(wire, msg);
		break;
	case BODY_DONE:
		wire_u64(wire, &msg->seq);
		wire_figures(wire, &msg->figures);
		break;
	case BODY_RANGES:
		wire_ranges(wire, msg);
		break;
	}
}

static void wire_msg(struct wire *wire, struct msg *msg)
{
	uint8_t version = WIRE_VERSION;
	wire_u8(wire, &version, UINT8_MAX);
	if (!wire->ret && version != WIRE_VERSION) {
		wire_fail(wire, ERR_VERSION);
	}
	uint8_t type = (uint8_t)msg->type;
	wire_u8(wire, &type, MSG_TYPE_END - 1);
	if (!wire->ret && type == 0) {
		wire_fail(wire, ERR_RANGE);
	}
	if (!wire->ret) {
		msg->type = (enum msg_type)type;
		wire_body(wire, msg);
	}
}

int msg_encode(const struct msg *msg, uint8_t out[static MSG_BYTES_MAX], size_t *len)
{
	if ((unsigned)msg->type >= MSG_TYPE_END) {
		return ERR_RANGE;
	}
	struct msg copy = *msg;
	struct wire wire = {.out = out, .len = MSG_BYTES_MAX};
	wire_msg(&wire, &copy);
	if (!wire.ret) {
		*len = wire.pos;
	}
	return wire.ret;
}

int msg_decode(const uint8_t *bytes, size_t len, struct msg *out)
{
	struct msg msg = {.fd = -1};
	struct wire wire = {.in = bytes, .len = len};
	wire_msg(&wire, &msg);
	if (!wire.ret && wire.pos != wire.len) {
		wire_fail(&wire, ERR_SYNTAX);
	}
	if (!wire.ret) {
		*out = msg;
	}
	return wire.ret;
}

/* --- sending and receiving ------------------------------------------------------------------- */

union control {
	char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

static int transport_error(void)
{
	return errno == EPIPE || errno == ECONNRESET ? ERR_CLOSED : -errno;
}

int msg_send(int socket, const struct msg *msg)
{
	uint8_t bytes[MSG_BYTES_MAX];
	size_t len = 0;
	int ret = msg_encode(msg, bytes, &len);
	if (ret) {
		return ret;
	}
	if (rows[msg->type].has_fd != (msg->fd >= 0)) {
		return ERR_SYNTAX;
	}
	struct iovec iov = {.iov_base = bytes, .iov_len = len};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control = {0};
	if (msg->fd >= 0) {
		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(sizeof(int));
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &msg->fd, sizeof(int));
	}
	ssize_t n;
	do {
		n = sendmsg(socket, &header, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? transport_error() : 0;
}

/* Collects what came along; returns how many descriptors, of which fds has the first ones. */
static size_t take_fds(struct msghdr *header, int fds[static WIRE_FDS_MAX])
{
	size_t n_fds = 0;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
			continue;
		}
		size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n && n_fds < WIRE_FDS_MAX; i++) {
			memcpy(&fds[n_fds++], CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
		}
	}
	return n_fds;
}

static int check_received(const struct msghdr *header, const uint8_t *bytes, size_t len,
                          size_t n_fds, struct msg *msg)
{
	if (header->msg_flags & MSG_TRUNC) {
		return ERR_TOO_LONG;
	}
	int ret = msg_decode(bytes, len, msg);
	if (ret) {
		return ret;
	}
	/* MSG_CTRUNC: more came than there was room for; the kernel dropped those */
	size_t wanted = rows[msg->type].has_fd ? 1 : 0;
	return n_fds != wanted || (header->msg_flags & MSG_CTRUNC) ? ERR_SYNTAX : 0;
}

int msg_recv(int socket, struct msg *out)
{
	uint8_t bytes[MSG_BYTES_MAX];
	union control control = {0};
	struct iovec iov = {.iov_base = bytes, .iov_len = sizeof bytes};
	struct msghdr header = {.msg_iov = &iov,
	                        .msg_iovlen = 1,
	                        .msg_control = control.bytes,
	                        .msg_controllen = sizeof control.bytes};
	ssize_t n;
	do {
		n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		return transport_error();
	}
	int fds[WIRE_FDS_MAX];
	size_t n_fds = take_fds(&header, fds);
	struct msg msg;
	int ret = n == 0 ? ERR_CLOSED : check_received(&header, bytes, (size_t)n, n_fds, &msg);
	if (ret) {
		for (size_t i = 0; i < n_fds; i++) {
			(void)close(fds[i]);
		}
		return ret;
	}
	msg.fd = n_fds ? fds[0] : -1;
	*out = msg;
	return 0;
}
