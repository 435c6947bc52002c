/* Asks nf_tables for its chains, which are few whatever the size of sets. iptables of today is
 * among them: its tables are those of the families ip and ip6. */
#include "fw/fw_input.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdint.h>
#include <stdio.h>

#include "fw/batch.h"
#include "fw/nfnl.h"

enum { NAME_MAX_SHOWN = 128 };

/* Families whose input hook a TCP packet passes. */
static const struct family {
	uint8_t number;
	const char *text;
} families[] = {
        {NFPROTO_INET, "inet"},
        {NFPROTO_IPV4, "ip"},
        {NFPROTO_IPV6, "ip6"},
};

struct search {
	const struct conf *conf;
	const struct family *family;
	char *chain; /* FW_CHAIN_TEXT_MAX bytes */
	bool is_found;
};

static bool is_dropping_input(struct span attrs)
{
	struct span hook;
	uint32_t number = 0;
	uint32_t policy = NF_ACCEPT;
	return nfnl_attr(attrs, NFTA_CHAIN_HOOK, &hook) &&
	       nfnl_attr_u32(hook, NFTA_HOOK_HOOKNUM, &number) && number == NF_INET_LOCAL_IN &&
	       nfnl_attr_u32(attrs, NFTA_CHAIN_POLICY, &policy) && policy == NF_DROP;
}

static const char *name_of(struct span attrs, unsigned type, char out[static NAME_MAX_SHOWN])
{
	struct span name = span_of_str("");
	if (nfnl_attr(attrs, type, &name) && name.len > 0) {
		name.len--; /* the NUL */
	}
	return span_escape(name, out, NAME_MAX_SHOWN);
}

static void see_chain(void *ctx, unsigned type, struct span attrs)
{
	struct search *search = ctx;
	char table[NAME_MAX_SHOWN];
	char chain[NAME_MAX_SHOWN];
	bool is_ours = search->family->number == NFPROTO_INET &&
	               nfnl_attr_is_text(attrs, NFTA_CHAIN_TABLE, search->conf->nft_table);
	if (type != NFT_MSG_NEWCHAIN || search->is_found || is_ours || !is_dropping_input(attrs)) {
		return;
	}
	search->is_found = true;
	(void)snprintf(search->chain, FW_CHAIN_TEXT_MAX, "%s %s %s", search->family->text,
	               name_of(attrs, NFTA_CHAIN_TABLE, table),
	               name_of(attrs, NFTA_CHAIN_NAME, chain));
}

bool fw_input_drops(const struct conf *conf, char chain[static FW_CHAIN_TEXT_MAX])
{
	struct search search = {.conf = conf, .chain = chain};
	struct nfnl *nfnl = NULL;
	struct batch batch;
	chain[0] = '\0';
	if (nfnl_open(&nfnl)) {
		return false;
	}
	batch_init(&batch);
	for (size_t i = 0; i < ARRAY_LEN(families) && !search.is_found; i++) {
		search.family = &families[i];
		if (batch_request_chains(&batch, nfnl_next_seq(nfnl), families[i].number) ||
		    nfnl_get(nfnl, &batch, see_chain, &search)) {
			continue; /* what cannot be asked is not known to drop */
		}
	}
	batch_fini(&batch);
	nfnl_close(nfnl);
	return search.is_found;
}
