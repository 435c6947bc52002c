/* Builder of nfnetlink messages for nf_tables: a batch (one transaction) or a single request, as
 * bytes in one growing buffer. Errors are sticky: after the first one later calls do nothing and
 * batch_end tells. Pure: no socket; the numbers are those of linux/netfilter/nf_tables.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* One transaction at most: 4 million elements in 40 bytes each fit. */
enum { BATCH_BYTES_MAX = 256 << 20 };

struct batch {
	uint8_t *bytes;
	size_t len, size;
	size_t bytes_max;   /* BATCH_BYTES_MAX unless the owner sets less */
	int ret;            /* first error */
	uint32_t first_seq; /* of the begin message */
	uint32_t last_seq;  /* of the message written last */
	size_t msg_at;      /* start of the message written last */
	/* the open message of elements, if any */
	bool is_open;
	unsigned op;
	const char *set;
	size_t list_at;
};

void batch_init(struct batch *batch);
void batch_fini(struct batch *batch);

/* Starts a transaction whose messages are numbered from seq; what the buffer held is forgotten. */
void batch_begin(struct batch *batch, uint32_t seq);
/* Ends it; the last message before the end asks for the kernel's answer. 0, -ENOMEM, ERR_TOO_LONG.
 */
MUST_USE int batch_end(struct batch *batch);

void batch_add_table(struct batch *batch, const char *table, uint32_t flags);
void batch_delete_table(struct batch *batch, const char *table);

/* A set of addresses. id: any number that is unique in the transaction. */
struct batch_set {
	const char *name;
	uint32_t id;
	uint32_t flags; /* NFT_SET_* */
	bool is_v6;
	bool has_counters; /* packets and bytes of each element */
};
void batch_add_set(struct batch *batch, const char *table, const struct batch_set *set);
void batch_flush_set(struct batch *batch, const char *table, const char *set);

enum batch_op {
	BATCH_PUT,     /* add, or refresh where the kernel can */
	BATCH_DELETE,  /* a missing element fails the transaction */
	BATCH_DESTROY, /* a missing element is no error; Linux 6.3 */
	BATCH_OP_COUNT
};

struct batch_element {
	uint8_t key[16];
	uint8_t key_len;     /* 4 or 16 */
	bool is_end;         /* first address behind a range of an interval set */
	uint64_t timeout_ms; /* 0 = none */
	bool has_count;      /* its counter goes on from these; in a set with counters only */
	uint64_t packets;
	uint64_t bytes;
};
/* Elements of the same operation and set that follow each other share a message. `set` must stay
 * valid until batch_end. */
void batch_element(struct batch *batch, enum batch_op op, const char *table, const char *set,
                   const struct batch_element *element);

/* A single request instead of a batch, into the emptied buffer: message type NFT_MSG_GET*, for all
 * objects of the table (dump) or for the table itself. table NULL: no attribute. */
MUST_USE int batch_request(struct batch *batch, uint32_t seq, unsigned type, bool is_dump,
                           const char *table);
/* The request for all chains of a family (NFPROTO_*), in whatever table. */
MUST_USE int batch_request_chains(struct batch *batch, uint32_t seq, uint8_t family);
/* The request for one element. */
MUST_USE int batch_request_element(struct batch *batch, uint32_t seq, const char *table,
                                   const char *set, const struct batch_element *element);
