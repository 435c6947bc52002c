/* Start-up probes, in a scratch table which belongs to our socket: the kernel removes it should we
 * die half-way.
 *   - Refresh in place (Linux 6.12): an older kernel answers success and keeps the old expiry, so
 *     the element is read back.
 *   - DESTROYSETELEM (Linux 6.3): deleting a missing element is no error. */
#include "fw/fw_int.h"

#include <stdio.h>
#include <unistd.h>

#include <linux/netfilter/nf_tables.h>

enum { SCRATCH_TIMEOUT_SECS = 60, REFRESHED_TIMEOUT_SECS = 6000 };

#define SCRATCH_SET "probe"

struct scratch {
	char table[32];
	struct batch_element present;
	struct batch_element missing;
};

static int scratch_put(struct fw *fw, const struct scratch *scratch)
{
	const struct batch_set set = {.name = SCRATCH_SET, .id = 1, .flags = NFT_SET_TIMEOUT};
	batch_begin(&fw->batch, nfnl_next_seq(fw->nfnl));
	batch_add_table(&fw->batch, scratch->table, NFT_TABLE_F_OWNER);
	batch_add_set(&fw->batch, scratch->table, &set);
	batch_element(&fw->batch, BATCH_PUT, scratch->table, SCRATCH_SET, &scratch->present);
	return fw_commit(fw);
}

static int scratch_change(struct fw *fw, const struct scratch *scratch, enum batch_op op,
                          const struct batch_element *element)
{
	batch_begin(&fw->batch, nfnl_next_seq(fw->nfnl));
	batch_element(&fw->batch, op, scratch->table, SCRATCH_SET, element);
	return fw_commit(fw);
}

/* Finds the remaining life in the answer to a request for one element. */
static void read_expiration(void *ctx, unsigned type, struct span attrs)
{
	struct span list;
	struct span element;
	if (type == NFT_MSG_NEWSETELEM && nfnl_attr(attrs, NFTA_SET_ELEM_LIST_ELEMENTS, &list) &&
	    nfnl_attr(list, NFTA_LIST_ELEM, &element)) {
		(void)nfnl_attr_u64(element, NFTA_SET_ELEM_EXPIRATION, ctx);
	}
}

static bool can_refresh(struct fw *fw, const struct scratch *scratch)
{
	struct batch_element longer = scratch->present;
	longer.timeout_ms = (uint64_t)REFRESHED_TIMEOUT_SECS * 1000;
	if (scratch_change(fw, scratch, BATCH_PUT, &longer)) {
		return false;
	}
	uint64_t expiration_ms = 0;
	longer.timeout_ms = 0;
	int ret = batch_request_element(&fw->batch, nfnl_next_seq(fw->nfnl), scratch->table,
	                                SCRATCH_SET, &longer);
	ret = ret ? ret : nfnl_get(fw->nfnl, &fw->batch, read_expiration, &expiration_ms);
	return ret == 0 && expiration_ms > (uint64_t)SCRATCH_TIMEOUT_SECS * 1000;
}

int fw_probe(struct fw *fw, const struct conf *conf)
{
	struct addr present = addr_from_v4_be(1);
	struct addr missing = addr_from_v4_be(2);
	struct scratch scratch = {
	        .present = fw_element_key(&present, SCRATCH_TIMEOUT_SECS),
	        .missing = fw_element_key(&missing, 0),
	};
	(void)snprintf(scratch.table, sizeof scratch.table, "mired-probe-%d", (int)getpid());
	int ret = scratch_put(fw, &scratch);
	if (ret) {
		return ret;
	}
	fw->stats.has_refresh =
	        conf->refresh_feature == CONF_FEATURE_AUTO && can_refresh(fw, &scratch);
	fw->stats.has_destroy = conf->destroy_feature == CONF_FEATURE_AUTO &&
	                        scratch_change(fw, &scratch, BATCH_DESTROY, &scratch.missing) == 0;
	batch_begin(&fw->batch, nfnl_next_seq(fw->nfnl));
	batch_delete_table(&fw->batch, scratch.table);
	return fw_commit(fw);
}
