/* The netlink socket to nf_tables: sends what batch.h built and reads the answers. Every wait has a
 * bound. One owner thread, which must hold CAP_NET_ADMIN at each call. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "fw/batch.h"

struct nfnl;

MUST_USE int nfnl_open(struct nfnl **out);
/* NULL is fine. */
void nfnl_close(struct nfnl *nfnl);

/* First sequence number for the next batch or request. */
uint32_t nfnl_next_seq(const struct nfnl *nfnl);

/* Sends a finished batch and reads its outcome: 0 when all of it was done, or the first error, when
 * nothing was. -EMSGSIZE: larger than the send buffer may become. -ENOBUFS, -ETIMEDOUT: the outcome
 * is unknown. */
MUST_USE int nfnl_commit(struct nfnl *nfnl, const struct batch *batch);

/* One object of an answer: its message type (NFT_MSG_NEW*) and attributes, valid in the call. */
typedef void nfnl_object(void *ctx, unsigned type, struct span attrs);

/* Sends a request and hands over each object of the answer. -EINTR: the ruleset changed during a
 * dump, which may be incomplete. -ENOENT and others as the kernel says. */
MUST_USE int nfnl_get(struct nfnl *nfnl, const struct batch *request, nfnl_object *object,
                      void *ctx);

/* The value of one attribute; false when it is not there or the bytes are malformed. */
bool nfnl_attr(struct span attrs, unsigned type, struct span *value);
/* Big-endian numbers and texts as nf_tables sends them. */
bool nfnl_attr_u32(struct span attrs, unsigned type, uint32_t *out);
bool nfnl_attr_u64(struct span attrs, unsigned type, uint64_t *out);
bool nfnl_attr_is_text(struct span attrs, unsigned type, const char *text);
