/* Both groups are bound to one socket. The kernel numbers the messages of each group from 0
 * (NFULNL_CFG_F_SEQ), so a gap tells exactly how many were lost: when the socket's buffer is full,
 * the kernel drops and recv says ENOBUFS once. */
#include "mired-logd/nflog.h"

#include <errno.h>
#include <libnetfilter_log/libnetfilter_log.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/err.h"

enum {
	COPY_BYTES = 64,        /* an IPv6 header and a bit */
	FLUSH_CENTISECS = 10,   /* the kernel holds messages back for this long at most */
	BUFFER_BYTES = 4 << 20, /* 25,000 messages */
	DATAGRAM_BYTES = 1 << 17,
};

struct nflog_group {
	struct nflog *owner;
	struct nflog_g_handle *handle;
	bool is_outbound;
	uint32_t next_seq;
};

struct nflog {
	struct nflog_handle *handle;
	struct nflog_group groups[2];
	struct nflog_options options;
	struct nflog_figures figures;
	char datagram[DATAGRAM_BYTES];
};

static void count_seq(struct nflog_group *group, struct nflog_data *data)
{
	uint32_t seq;
	if (nflog_get_seq(data, &seq) != 0) {
		return;
	}
	group->owner->figures.n_lost += seq - group->next_seq; /* 32 bits, as the kernel's */
	group->next_seq = seq + 1;
}

static int on_message(struct nflog_g_handle *handle, struct nfgenmsg *header,
                      struct nflog_data *data, void *ctx)
{
	struct nflog_group *group = ctx;
	struct nflog *nflog = group->owner;
	char *payload = NULL;
	(void)handle;
	(void)header;
	nflog->figures.n_messages++;
	count_seq(group, data);
	int len = nflog_get_payload(data, &payload);
	struct nflog_packet packet = {
	        .is_outbound = group->is_outbound,
	        .interface = group->is_outbound ? nflog_get_outdev(data) : nflog_get_indev(data),
	        .payload = span_of(payload, len > 0 ? (size_t)len : 0),
	};
	nflog->options.handler(nflog->options.ctx, &packet);
	return 0;
}

/* EPERM: not root, or the group is somebody else's; EBUSY: the latter. */
static int explain(int error, uint16_t number, char why[static NFLOG_WHY_MAX])
{
	bool is_taken = error == EBUSY || error == EPERM;
	(void)snprintf(why, NFLOG_WHY_MAX, "NFLOG group %u: %s%s", number, err_text(-error),
	               is_taken ? " (another program reads it, or CAP_NET_ADMIN is missing)" : "");
	return is_taken ? ERR_BUSY : -error;
}

static int bind_group(struct nflog *nflog, struct nflog_group *group, uint16_t number,
                      char why[static NFLOG_WHY_MAX])
{
	group->owner = nflog;
	errno = 0;
	group->handle = nflog_bind_group(nflog->handle, number);
	if (!group->handle || nflog_set_flags(group->handle, NFULNL_CFG_F_SEQ) < 0 ||
	    nflog_set_timeout(group->handle, FLUSH_CENTISECS) < 0 ||
	    nflog_set_mode(group->handle, NFULNL_COPY_PACKET, COPY_BYTES) < 0) {
		return explain(errno ? errno : EIO, number, why);
	}
	(void)nflog_callback_register(group->handle, on_message, group);
	return 0;
}

/* A larger buffer is worth having, not needed. */
static void widen_buffer(int fd)
{
	int bytes = BUFFER_BYTES;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0) {
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
	}
}

int nflog_open_groups(struct nflog **out, const struct nflog_options *options,
                      char why[static NFLOG_WHY_MAX])
{
	struct nflog *nflog = calloc(1, sizeof *nflog);
	if (!nflog) {
		(void)snprintf(why, NFLOG_WHY_MAX, "%s", err_text(-ENOMEM));
		return -ENOMEM;
	}
	nflog->options = *options;
	nflog->groups[1].is_outbound = true;
	errno = 0;
	nflog->handle = nflog_open();
	if (!nflog->handle) {
		int ret = errno ? -errno : -EIO;
		(void)snprintf(why, NFLOG_WHY_MAX, "NFLOG socket: %s", err_text(ret));
		free(nflog);
		return ret;
	}
	widen_buffer(nflog_fd(nflog->handle));
	int ret = bind_group(nflog, &nflog->groups[0], options->group_in, why);
	if (ret == 0 && options->has_out) {
		ret = bind_group(nflog, &nflog->groups[1], options->group_out, why);
	}
	if (ret != 0) {
		nflog_close_groups(nflog);
		return ret;
	}
	*out = nflog;
	return 0;
}

/* The groups are unbound with their socket: unbinding by request needs the right we gave up. */
void nflog_close_groups(struct nflog *nflog)
{
	if (!nflog) {
		return;
	}
	(void)nflog_close(nflog->handle);
	for (size_t i = 0; i < ARRAY_LEN(nflog->groups); i++) {
		free(nflog->groups[i].handle);
	}
	free(nflog);
}

int nflog_socket(const struct nflog *nflog)
{
	return nflog_fd(nflog->handle);
}

int nflog_read(struct nflog *nflog, unsigned max)
{
	for (unsigned i = 0; i < max; i++) {
		ssize_t len = recv(nflog_fd(nflog->handle), nflog->datagram, sizeof nflog->datagram,
		                   MSG_DONTWAIT);
		if (len < 0 && errno == ENOBUFS) {
			nflog->figures.n_overruns++;
			continue;
		}
		if (len < 0 && errno == EINTR) {
			continue;
		}
		if (len < 0) {
			return errno == EAGAIN ? 0 : -errno;
		}
		(void)nflog_handle_packet(nflog->handle, nflog->datagram, (int)len);
	}
	return 0;
}

void nflog_figures_get(const struct nflog *nflog, struct nflog_figures *out)
{
	*out = nflog->figures;
}
