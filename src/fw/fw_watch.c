/* Noticing that somebody else changed our parts of the ruleset. While its generation stays nothing
 * needs a look. When it moved, or we changed something ourselves (fw_commit), the handles are
 * compared. A handle is never used twice in a table and a table's never twice in a
 * namespace, so a part that was made anew differs from the old one. Objects which others add to
 * our table do not matter; elements are not looked at (dumping them is quadratic). */
#include "fw/fw_int.h"

#include <errno.h>

#include <linux/netfilter/nf_tables.h>

#include "base/err.h"

enum { DUMP_TRIES_MAX = 5 };

/* --- reading the ruleset ---------------------------------------------------------------------- */

struct generation_answer {
	uint32_t generation;
	bool is_there;
};

static void read_generation(void *ctx, unsigned type, struct span attrs)
{
	struct generation_answer *answer = ctx;
	if (type == NFT_MSG_NEWGEN) {
		answer->is_there = nfnl_attr_u32(attrs, NFTA_GEN_ID, &answer->generation);
	}
}

static int get_generation(struct fw *fw, uint32_t *generation)
{
	struct generation_answer answer = {0};
	int ret = batch_request(&fw->batch, nfnl_next_seq(fw->nfnl), NFT_MSG_GETGEN, false, NULL);
	ret = ret ? ret : nfnl_get(fw->nfnl, &fw->batch, read_generation, &answer);
	if (ret == 0 && !answer.is_there) {
		ret = -EBADMSG;
	}
	*generation = answer.generation;
	return ret;
}

/* What is asked for and where its handle and its table's name stand in the answers. */
struct kind {
	unsigned request, answer;
	uint16_t table_attr, handle_attr;
	bool is_rule_part; /* chains and rules are ours only if we have a rule template */
};

static const struct kind kinds[] = {
        {NFT_MSG_GETSET, NFT_MSG_NEWSET, NFTA_SET_TABLE, NFTA_SET_HANDLE, false},
        {NFT_MSG_GETCHAIN, NFT_MSG_NEWCHAIN, NFTA_CHAIN_TABLE, NFTA_CHAIN_HANDLE, true},
        {NFT_MSG_GETRULE, NFT_MSG_NEWRULE, NFTA_RULE_TABLE, NFTA_RULE_HANDLE, true},
};

struct collection {
	const struct fw *fw;
	const struct kind *kind;
	const struct fw_snapshot *noted; /* only its handles are wanted; NULL = all */
	struct fw_snapshot *snapshot;
	int ret;
};

static bool has_handle(const struct fw_snapshot *snapshot, uint64_t handle)
{
	for (size_t i = 0; i < snapshot->n_handles; i++) {
		if (snapshot->handles[i] == handle) {
			return true;
		}
	}
	return false;
}

/* A set counts only if it is one of ours: an administrator may have more in a table of mired's. */
static bool is_known_set(struct span attrs)
{
	for (size_t i = 0; i < FW_ROW_COUNT; i++) {
		if (nfnl_attr_is_text(attrs, NFTA_SET_NAME, fw_rows[i].name)) {
			return true;
		}
	}
	return false;
}

static void collect_handle(void *ctx, unsigned type, struct span attrs)
{
	struct collection *collection = ctx;
	const struct kind *kind = collection->kind;
	struct fw_snapshot *snapshot = collection->snapshot;
	uint64_t handle;
	/* older kernels answer with the chains of all tables */
	if (type != kind->answer ||
	    !nfnl_attr_is_text(attrs, kind->table_attr, collection->fw->table) ||
	    !nfnl_attr_u64(attrs, kind->handle_attr, &handle) ||
	    (type == NFT_MSG_NEWSET && !is_known_set(attrs))) {
		return;
	}
	if (collection->noted && !has_handle(collection->noted, handle)) {
		return;
	}
	if (snapshot->n_handles == FW_HANDLES_MAX) {
		collection->ret = ERR_TOO_LONG;
		return;
	}
	snapshot->handles[snapshot->n_handles++] = handle;
}

static void read_table(void *ctx, unsigned type, struct span attrs)
{
	if (type == NFT_MSG_NEWTABLE) {
		(void)nfnl_attr_u64(attrs, NFTA_TABLE_HANDLE, ctx);
	}
}

/* -ENOENT: no table. -EINTR: the ruleset changed meanwhile. */
static int get_handles(struct fw *fw, const struct fw_snapshot *noted, struct fw_snapshot *snapshot)
{
	snapshot->table = 0;
	snapshot->n_handles = 0;
	int ret = batch_request(&fw->batch, nfnl_next_seq(fw->nfnl), NFT_MSG_GETTABLE, false,
	                        fw->table);
	ret = ret ? ret : nfnl_get(fw->nfnl, &fw->batch, read_table, &snapshot->table);
	for (size_t i = 0; i < ARRAY_LEN(kinds) && ret == 0; i++) {
		if (kinds[i].is_rule_part && !fw->rules) {
			continue;
		}
		struct collection collection = {
		        .fw = fw, .kind = &kinds[i], .noted = noted, .snapshot = snapshot};
		ret = batch_request(&fw->batch, nfnl_next_seq(fw->nfnl), kinds[i].request, true,
		                    fw->table);
		ret = ret ? ret : nfnl_get(fw->nfnl, &fw->batch, collect_handle, &collection);
		ret = ret ? ret : collection.ret;
	}
	return ret;
}

/* The generation is read first: what changes while the handles are read is found by the next look.
 */
static int take_snapshot(struct fw *fw, const struct fw_snapshot *noted,
                         struct fw_snapshot *snapshot)
{
	int ret = -EINTR;
	for (int i = 0; i < DUMP_TRIES_MAX && ret == -EINTR; i++) {
		ret = get_generation(fw, &snapshot->generation);
		ret = ret ? ret : get_handles(fw, noted, snapshot);
	}
	return ret;
}

/* --- comparing -------------------------------------------------------------------------------- */

int fw_note(struct fw *fw)
{
	struct fw_snapshot now;
	int ret = take_snapshot(fw, NULL, &now);
	if (ret == 0) {
		fw->snapshot = now;
	}
	return ret;
}

static bool holds_all(const struct fw_snapshot *now, const struct fw_snapshot *noted)
{
	if (now->table != noted->table) {
		return false;
	}
	for (size_t i = 0; i < noted->n_handles; i++) {
		if (!has_handle(now, noted->handles[i])) {
			return false;
		}
	}
	return true;
}

int fw_watch(struct fw *fw, enum fw_state *state)
{
	struct fw_snapshot now = {0};
	uint32_t generation;
	*state = FW_STATE_GONE;
	if (fw->is_lost || fw->snapshot.table == 0) {
		return 0;
	}
	int ret = get_generation(fw, &generation);
	if (ret == 0 && generation == fw->snapshot.generation) {
		*state = FW_STATE_OK;
		return 0;
	}
	ret = ret ? ret : take_snapshot(fw, &fw->snapshot, &now);
	if (ret == -ENOENT || (ret == 0 && !holds_all(&now, &fw->snapshot))) {
		fw->is_lost = true;
		return 0;
	}
	if (ret == 0) {
		fw->snapshot.generation = now.generation;
	}
	*state = FW_STATE_OK;
	return ret == -EINTR ? 0 : ret;
}
