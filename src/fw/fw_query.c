/* One get-element request a set. In a set of networks the kernel finds the range that begins at or
 * before an address (nft_set_rbtree.c); where that range ends is a second question: which end
 * stands next behind the address. A range to the very last address has no end. mired joins ranges
 * that touch; where somebody else put in two, they may be told as one. */
#include "fw/fw_query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/netfilter/nf_tables.h>

#include "base/err.h"
#include "fw/fw_int.h"

enum { DUMP_TRIES_MAX = 5, V4_AT = 12 };

struct fw_query {
	struct nfnl *nfnl;
	struct batch batch;
	char *table;
	unsigned ipv6_prefix;
};

static const unsigned first_rows[FW_QUERY_SETS] = {
        [FW_QUERY_NOSPAMD] = FW_ROW_NOSPAMD,
        [FW_QUERY_GREYTRAP] = 2 * FW_SET_GREYTRAP,
        [FW_QUERY_WHITE] = 2 * FW_SET_WHITE,
        [FW_QUERY_SPAMD] = FW_ROW_SPAMD,
};

int fw_query_open(struct fw_query **out, const struct conf *conf)
{
	struct fw_query *query = calloc(1, sizeof *query);
	if (!query) {
		return -ENOMEM;
	}
	batch_init(&query->batch);
	query->ipv6_prefix = conf->ipv6_prefix;
	query->table = strdup(conf->nft_table);
	int ret = query->table ? nfnl_open(&query->nfnl) : -ENOMEM;
	if (ret) {
		fw_query_close(query);
		return ret;
	}
	*out = query;
	return 0;
}

void fw_query_close(struct fw_query *query)
{
	if (query) {
		nfnl_close(query->nfnl);
		batch_fini(&query->batch);
		free(query->table);
		free(query);
	}
}

static void ignore(void *ctx, unsigned type, struct span attrs)
{
	(void)ctx;
	(void)type;
	(void)attrs;
}

/* -ENOENT without one: the same code says of an element only that it is not in its set. */
static int find_table(struct fw_query *query)
{
	int ret = batch_request(&query->batch, nfnl_next_seq(query->nfnl), NFT_MSG_GETTABLE, false,
	                        query->table);
	return ret ? ret : nfnl_get(query->nfnl, &query->batch, ignore, NULL);
}

/* --- elements --------------------------------------------------------------------------------- */

static int get_element(struct fw_query *query, const char *set, const struct batch_element *key,
                       struct answer_element *out)
{
	return fw_get_element(query->nfnl, &query->batch, query->table, set, key, out);
}

static struct addr addr_of_key(const uint8_t *key, size_t len)
{
	struct addr addr = addr_from_v4_be(0);
	memcpy(addr.bytes + (len == 4 ? V4_AT : 0), key, len);
	return addr;
}

static void key_before(uint8_t *key, size_t len)
{
	while (len-- > 0 && key[len]-- == 0) {
	}
}

/* The last address of the range that holds addr. */
static int find_last(struct fw_query *query, const char *set, const struct addr *addr,
                     struct addr *last)
{
	struct answer_element end = {0};
	struct batch_element key = fw_element_key(addr, 0);
	size_t len = key.key_len;
	key.is_end = true;
	int ret = fw_element_after(&key) ? get_element(query, set, &key, &end) : -ENOENT;
	if (ret == -ENOENT) {
		memset(end.key, 0, sizeof end.key); /* the address before this one is the last */
		ret = 0;
	}
	key_before(end.key, len);
	*last = addr_of_key(end.key, len);
	return ret;
}

/* Where a group of addresses is one element, the element stands for all of them. */
static struct addr_range group_range(const struct addr *addr, unsigned prefix)
{
	const struct cidr cidr = {addr_group(addr, prefix),
	                          (uint8_t)(addr_is_v4(addr) ? 128 : prefix)};
	return cidr_range(&cidr);
}

static int ask_set(struct fw_query *query, enum fw_query_set which, const struct addr *addr,
                   struct fw_membership *out)
{
	const struct fw_row *row = &fw_rows[first_rows[which] + (addr_is_v4(addr) ? 0 : 1)];
	unsigned prefix = which == FW_QUERY_WHITE ? query->ipv6_prefix : 128;
	struct addr_range range = group_range(addr, prefix);
	const struct batch_element key = fw_element_key(&range.first, 0);
	struct answer_element element;
	*out = (struct fw_membership){.set = row->name};
	int ret = get_element(query, row->name, &key, &element);
	if (ret == 0 && row->is_interval) {
		range.first = addr_of_key(element.key, element.key_len);
		ret = find_last(query, row->name, addr, &range.last);
	}
	if (ret) {
		return ret == -ENOENT ? 0 : ret;
	}
	out->is_in = true;
	out->range = range;
	out->has_timeout = element.has_timeout;
	out->timeout_ms = element.timeout_ms;
	out->left_ms = element.left_ms;
	out->has_count = element.has_count;
	out->count = element.count;
	return 0;
}

int fw_query_address(struct fw_query *query, const struct addr *addr,
                     struct fw_membership out[static FW_QUERY_SETS])
{
	int ret = find_table(query);
	for (unsigned i = 0; i < FW_QUERY_SETS && ret == 0; i++) {
		ret = ask_set(query, (enum fw_query_set)i, addr, &out[i]);
	}
	return ret;
}

/* --- counters --------------------------------------------------------------------------------- */

struct counters {
	const char *table;
	struct answer_counter *out;
	size_t n;
	int ret;
};

static void take_counter(void *ctx, unsigned type, struct span attrs)
{
	struct counters *counters = ctx;
	if (type != NFT_MSG_NEWOBJ || counters->ret) {
		return;
	}
	if (counters->n == FW_COUNTERS_MAX) {
		counters->ret = ERR_TOO_LONG;
		return;
	}
	int ret = answer_counter(attrs, counters->table, &counters->out[counters->n]);
	counters->n += ret == 0;
	counters->ret = ret == ERR_NOT_FOUND ? 0 : ret;
}

int fw_query_counters(struct fw_query *query, struct answer_counter out[static FW_COUNTERS_MAX],
                      size_t *n)
{
	struct counters counters;
	int ret = find_table(query);
	bool is_torn = ret == 0;
	/* the ruleset may change meanwhile: objects are few, and are asked for again */
	for (int i = 0; i < DUMP_TRIES_MAX && is_torn; i++) {
		counters = (struct counters){.table = query->table, .out = out};
		ret = batch_request(&query->batch, nfnl_next_seq(query->nfnl), NFT_MSG_GETOBJ, true,
		                    query->table);
		ret = ret ? ret : nfnl_get(query->nfnl, &query->batch, take_counter, &counters);
		is_torn = ret == -EINTR;
		ret = ret ? ret : counters.ret;
		*n = counters.n;
	}
	return ret;
}
