/* Layout: netlink(7) message header, struct nfgenmsg, attributes; all integers inside attributes
 * are big-endian. Everything stays 4-aligned because every piece is padded when it is written.
 *
 * Attribute numbers: the table's name is attribute 1 in every kind of message used here, which the
 * static assertions below keep true. */
#include "fw/batch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include "base/err.h"

#define ATTR_HEADER_BYTES sizeof(struct nlattr)

enum {
	TABLE_ATTR = NFTA_TABLE_NAME,
	SET_ATTR = NFTA_SET_ELEM_LIST_SET,
	DESTROY_SETELEM = 30, /* NFT_MSG_DESTROYSETELEM; Debian 12's header lacks the name */
	KEY_TYPE_V4 = 7,      /* nft's TYPE_IPADDR and TYPE_IP6ADDR: what `nft list` shows */
	KEY_TYPE_V6 = 8,
	/* An attribute's length has 16 bits; the list of elements is one attribute. */
	LIST_BYTES_MAX = 60000,
	BUFFER_BYTES_MIN = 4096,
};

static_assert(TABLE_ATTR == (int)NFTA_SET_TABLE, "table attribute");
static_assert(TABLE_ATTR == (int)NFTA_SET_ELEM_LIST_TABLE, "table attribute");
static_assert(TABLE_ATTR == (int)NFTA_CHAIN_TABLE, "table attribute");
static_assert(TABLE_ATTR == (int)NFTA_RULE_TABLE, "table attribute");

static const uint16_t op_types[BATCH_OP_COUNT] = {
        [BATCH_PUT] = NFT_MSG_NEWSETELEM,
        [BATCH_DELETE] = NFT_MSG_DELSETELEM,
        [BATCH_DESTROY] = DESTROY_SETELEM,
};

void batch_init(struct batch *batch)
{
	*batch = (struct batch){.bytes_max = BATCH_BYTES_MAX};
}

void batch_fini(struct batch *batch)
{
	free(batch->bytes);
	*batch = (struct batch){0};
}

/* Room for n zeroed bytes (rounded up to 4) at the end; NULL after an error. */
static uint8_t *extend(struct batch *batch, size_t n)
{
	n = NLMSG_ALIGN(n);
	if (batch->ret) {
		return NULL;
	}
	if (batch->len + n > batch->bytes_max) {
		batch->ret = ERR_TOO_LONG;
		return NULL;
	}
	if (batch->len + n > batch->size) {
		size_t size = batch->size ? batch->size : BUFFER_BYTES_MIN;
		while (size < batch->len + n) {
			size *= 2;
		}
		uint8_t *bytes = realloc(batch->bytes, size);
		if (!bytes) {
			batch->ret = -ENOMEM;
			return NULL;
		}
		batch->bytes = bytes;
		batch->size = size;
	}
	uint8_t *at = batch->bytes + batch->len;
	memset(at, 0, n);
	batch->len += n;
	return at;
}

static void put_attr(struct batch *batch, uint16_t type, const void *value, size_t len)
{
	uint8_t *at = extend(batch, ATTR_HEADER_BYTES + len);
	if (at) {
		struct nlattr attr = {.nla_len = (uint16_t)(ATTR_HEADER_BYTES + len),
		                      .nla_type = type};
		memcpy(at, &attr, sizeof attr);
		memcpy(at + ATTR_HEADER_BYTES, value, len);
	}
}

static void put_text(struct batch *batch, uint16_t type, const char *text)
{
	put_attr(batch, type, text, strlen(text) + 1);
}

static void put_u32(struct batch *batch, uint16_t type, uint32_t value)
{
	uint32_t value_be = htonl(value);
	put_attr(batch, type, &value_be, sizeof value_be);
}

static void put_u64(struct batch *batch, uint16_t type, uint64_t value)
{
	uint64_t value_be = htobe64(value);
	put_attr(batch, type, &value_be, sizeof value_be);
}

/* Opens a nested attribute; returns where it starts. Its length is written by nest_end. */
static size_t nest_begin(struct batch *batch, uint16_t type)
{
	size_t at = batch->len;
	put_attr(batch, type | NLA_F_NESTED, "", 0);
	return at;
}

static void nest_end(struct batch *batch, size_t at)
{
	if (!batch->ret) {
		uint16_t len = (uint16_t)(batch->len - at);
		memcpy(batch->bytes + at + offsetof(struct nlattr, nla_len), &len, sizeof len);
	}
}

/* What counts in an element, and in a set that makes each of its elements count. */
static void put_counter(struct batch *batch, uint16_t type, uint64_t packets, uint64_t bytes)
{
	size_t expression_at = nest_begin(batch, type);
	put_text(batch, NFTA_EXPR_NAME, "counter");
	size_t data_at = nest_begin(batch, NFTA_EXPR_DATA);
	put_u64(batch, NFTA_COUNTER_BYTES, bytes);
	put_u64(batch, NFTA_COUNTER_PACKETS, packets);
	nest_end(batch, data_at);
	nest_end(batch, expression_at);
}

/* A message without attributes; res_id only means something for batch begin and end. */
static void put_message(struct batch *batch, uint32_t seq, uint16_t type, uint16_t flags,
                        uint8_t family)
{
	size_t start = batch->len;
	uint8_t *at = extend(batch, NLMSG_HDRLEN + sizeof(struct nfgenmsg));
	if (!at) {
		return;
	}
	bool is_frame = type == NFNL_MSG_BATCH_BEGIN || type == NFNL_MSG_BATCH_END;
	struct nlmsghdr header = {
	        .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = seq};
	struct nfgenmsg body = {
	        .nfgen_family = family,
	        .version = NFNETLINK_V0,
	        .res_id = is_frame ? htons(NFNL_SUBSYS_NFTABLES) : 0,
	};
	memcpy(at, &header, sizeof header);
	memcpy(at + NLMSG_HDRLEN, &body, sizeof body);
	batch->msg_at = start;
	batch->last_seq = seq;
}

/* The last message reaches to the end of the buffer. */
static void close_message(struct batch *batch)
{
	if (batch->is_open) {
		nest_end(batch, batch->list_at);
		batch->is_open = false;
	}
	if (!batch->ret) {
		uint32_t len = (uint32_t)(batch->len - batch->msg_at);
		memcpy(batch->bytes + batch->msg_at + offsetof(struct nlmsghdr, nlmsg_len), &len,
		       sizeof len);
	}
}

static void next_message(struct batch *batch, unsigned type, uint16_t flags)
{
	close_message(batch);
	put_message(batch, batch->last_seq + 1, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags,
	            NFPROTO_INET);
}

static void restart(struct batch *batch)
{
	batch->len = 0;
	batch->ret = 0;
	batch->is_open = false;
}

void batch_begin(struct batch *batch, uint32_t seq)
{
	restart(batch);
	batch->first_seq = seq;
	put_message(batch, seq, NFNL_MSG_BATCH_BEGIN, 0, NFPROTO_UNSPEC);
}

int batch_end(struct batch *batch)
{
	close_message(batch);
	if (batch->ret) {
		return batch->ret;
	}
	uint16_t flags;
	uint8_t *at = batch->bytes + batch->msg_at + offsetof(struct nlmsghdr, nlmsg_flags);
	memcpy(&flags, at, sizeof flags);
	flags |= NLM_F_ACK;
	memcpy(at, &flags, sizeof flags);
	uint32_t last_seq = batch->last_seq;
	put_message(batch, last_seq + 1, NFNL_MSG_BATCH_END, 0, NFPROTO_UNSPEC);
	close_message(batch);
	batch->last_seq = last_seq; /* whose answer is waited for */
	return batch->ret;
}

void batch_add_table(struct batch *batch, const char *table, uint32_t flags)
{
	next_message(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	put_text(batch, TABLE_ATTR, table);
	put_u32(batch, NFTA_TABLE_FLAGS, flags);
}

void batch_delete_table(struct batch *batch, const char *table)
{
	next_message(batch, NFT_MSG_DELTABLE, 0);
	put_text(batch, TABLE_ATTR, table);
}

void batch_add_set(struct batch *batch, const char *table, const struct batch_set *set)
{
	next_message(batch, NFT_MSG_NEWSET, NLM_F_CREATE);
	put_text(batch, TABLE_ATTR, table);
	put_text(batch, NFTA_SET_NAME, set->name);
	put_u32(batch, NFTA_SET_ID, set->id);
	put_u32(batch, NFTA_SET_FLAGS, set->flags);
	put_u32(batch, NFTA_SET_KEY_TYPE, set->is_v6 ? KEY_TYPE_V6 : KEY_TYPE_V4);
	put_u32(batch, NFTA_SET_KEY_LEN, set->is_v6 ? 16 : 4);
	if (set->has_counters) {
		put_counter(batch, NFTA_SET_EXPR, 0, 0);
	}
}

void batch_flush_set(struct batch *batch, const char *table, const char *set)
{
	next_message(batch, NFT_MSG_DELSETELEM, 0);
	put_text(batch, TABLE_ATTR, table);
	put_text(batch, SET_ATTR, set);
}

static void open_list(struct batch *batch, const char *table, const char *set)
{
	put_text(batch, TABLE_ATTR, table);
	put_text(batch, SET_ATTR, set);
	batch->list_at = nest_begin(batch, NFTA_SET_ELEM_LIST_ELEMENTS);
	batch->set = set;
	batch->is_open = true;
}

static void put_element(struct batch *batch, const struct batch_element *element)
{
	size_t elem_at = nest_begin(batch, NFTA_LIST_ELEM);
	size_t key_at = nest_begin(batch, NFTA_SET_ELEM_KEY);
	put_attr(batch, NFTA_DATA_VALUE, element->key, element->key_len);
	nest_end(batch, key_at);
	if (element->is_end) {
		put_u32(batch, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
	}
	if (element->timeout_ms > 0) {
		put_u64(batch, NFTA_SET_ELEM_TIMEOUT, element->timeout_ms);
	}
	if (element->has_count) {
		put_counter(batch, NFTA_SET_ELEM_EXPR, element->packets, element->bytes);
	}
	nest_end(batch, elem_at);
}

void batch_element(struct batch *batch, enum batch_op op, const char *table, const char *set,
                   const struct batch_element *element)
{
	bool is_continued = batch->is_open && batch->op == op && strcmp(batch->set, set) == 0 &&
	                    batch->len - batch->list_at < LIST_BYTES_MAX;
	if (!is_continued) {
		next_message(batch, op_types[op], op == BATCH_PUT ? NLM_F_CREATE : 0);
		open_list(batch, table, set);
		batch->op = op;
	}
	put_element(batch, element);
}

static void request_begin(struct batch *batch, uint32_t seq, unsigned type, uint16_t flags,
                          uint8_t family)
{
	restart(batch);
	batch->first_seq = seq;
	put_message(batch, seq, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, family);
}

int batch_request(struct batch *batch, uint32_t seq, unsigned type, bool is_dump, const char *table)
{
	request_begin(batch, seq, type, is_dump ? NLM_F_DUMP : 0, NFPROTO_INET);
	if (table) {
		put_text(batch, TABLE_ATTR, table);
	}
	close_message(batch);
	return batch->ret;
}

int batch_request_chains(struct batch *batch, uint32_t seq, uint8_t family)
{
	request_begin(batch, seq, NFT_MSG_GETCHAIN, NLM_F_DUMP, family);
	close_message(batch);
	return batch->ret;
}

int batch_request_element(struct batch *batch, uint32_t seq, const char *table, const char *set,
                          const struct batch_element *element)
{
	/* asked to answer: where nothing ends behind an address Linux 6.18 says nothing else */
	request_begin(batch, seq, NFT_MSG_GETSETELEM, NLM_F_ACK, NFPROTO_INET);
	open_list(batch, table, set);
	put_element(batch, element);
	close_message(batch);
	return batch->ret;
}
