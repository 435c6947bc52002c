/* The kernel's packet log: NFLOG groups bound by somebody with CAP_NET_ADMIN, read by anybody who
 * holds the socket. The one place that knows libnetfilter_log. One owner thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

enum { NFLOG_WHY_MAX = 256 };

struct nflog;

struct nflog_packet {
	bool is_outbound;    /* by its group */
	uint32_t interface;  /* index: it came in by (in), or goes out by (out); 0 = unknown */
	struct span payload; /* valid in the call */
};
typedef void nflog_packet_handler(void *ctx, const struct nflog_packet *packet);

struct nflog_options {
	uint16_t group_in;
	uint16_t group_out;
	bool has_out;
	nflog_packet_handler *handler;
	void *ctx;
};

/* Opens the socket and binds the groups. ERR_BUSY: another process has a group; -errno; with why.
 */
MUST_USE int nflog_open_groups(struct nflog **out, const struct nflog_options *options,
                               char why[static NFLOG_WHY_MAX]);
void nflog_close_groups(struct nflog *nflog);
/* Poll it for POLLIN. */
int nflog_socket(const struct nflog *nflog);
/* Reads what is there, at most `max` datagrams of the kernel. -errno when the socket is of no more
 * use; a lost message is no error. */
MUST_USE int nflog_read(struct nflog *nflog, unsigned max);

struct nflog_figures {
	uint64_t n_messages;
	uint64_t n_lost;     /* gaps in the kernel's numbers */
	uint64_t n_overruns; /* times the kernel said that it had to drop */
};
void nflog_figures_get(const struct nflog *nflog, struct nflog_figures *out);
