/* Table, sets and networks of one instance. The order at start and after a loss is table and sets,
 * elements, chains (fw_put_table, fw_fill or fw_replace, fw_put_chains): rules never stand before
 * what they look up, so a whitelisted host is never sent to the tarpit by a half-made table.
 *
 * Learned sets are hash sets with a timeout for each element; network sets are interval sets, which
 * cost O(size) at each commit and are therefore changed as a whole. Big sets are never dumped. */
#include "fw/fw.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/netfilter/nf_tables.h>

#include "base/err.h"
#include "fw/fw_int.h"
#include "mired/names.h"

enum {
	SEND_TRIES_MAX = 3,
	PUT_TRIES_MAX = 3,
	/* buffers beyond this are given back after use */
	KEEP_BYTES_MAX = 1 << 20,
	V4_OFFSET = 12,
};

const struct fw_row fw_rows[FW_ROW_COUNT] = {
        {MIRED_SET_WHITE, false, false},    {MIRED_SET_WHITE "6", true, false},
        {MIRED_SET_GREYTRAP, false, false}, {MIRED_SET_GREYTRAP "6", true, false},
        {MIRED_SET_NOSPAMD, false, true},   {MIRED_SET_NOSPAMD "6", true, true},
        {MIRED_SET_SPAMD, false, true},     {MIRED_SET_SPAMD "6", true, true},
};

static_assert(FW_SET_WHITE == 0 && FW_SET_GREYTRAP == 1, "rows of learned sets");

static struct batch_element key_of(const struct addr *addr, bool is_v6)
{
	struct batch_element element = {.key_len = is_v6 ? 16 : 4};
	memcpy(element.key, addr->bytes + (is_v6 ? 0 : V4_OFFSET), element.key_len);
	return element;
}

struct batch_element fw_element_key(const struct addr *addr, uint32_t timeout_secs)
{
	struct batch_element element = key_of(addr, !addr_is_v4(addr));
	element.timeout_ms = (uint64_t)timeout_secs * 1000;
	return element;
}

bool fw_element_after(struct batch_element *element)
{
	for (unsigned i = element->key_len; i-- > 0;) {
		if (++element->key[i] != 0) {
			return true;
		}
	}
	return false;
}

void fw_begin(struct fw *fw)
{
	batch_begin(&fw->batch, nfnl_next_seq(fw->nfnl));
}

/* Sequence numbers of a batch sent twice would be the same; that is harmless, because late answers
 * to the first sending are drained before the second. */
int fw_commit(struct fw *fw)
{
	int ret = batch_end(&fw->batch);
	for (int i = 0; ret == 0 && i < SEND_TRIES_MAX; i++) {
		ret = nfnl_commit(fw->nfnl, &fw->batch);
		if (ret != -ENOBUFS && ret != -ETIMEDOUT) {
			break;
		}
		ret = i + 1 < SEND_TRIES_MAX ? 0 : ret;
	}
	if (ret) {
		fw->stats.failures++;
		return ret;
	}
	fw->stats.transactions++;
	/* Not counted on by one: a transaction that changed nothing (flush of an empty set) leaves
	 * the ruleset's generation as it is, and the next change, somebody's flush, would be taken
	 * for ours. So the next look compares handles. */
	fw->snapshot.generation = 0;
	return 0;
}

int fw_open(struct fw **out, const struct conf *conf, char why[static FW_WHY_MAX])
{
	struct fw *fw = calloc(1, sizeof *fw);
	int ret = -ENOMEM;
	why[0] = '\0';
	if (!fw) {
		goto fail;
	}
	batch_init(&fw->batch);
	batch_init(&fw->question);
	fw->has_counters = conf->set_counters;
	fw->table = strdup(conf->nft_table);
	if (!fw->table) {
		goto fail;
	}
	if (conf->rules != CONF_RULES_NONE) {
		fw_rules_path(conf, fw->rules_path);
		ret = fw_rules_render(conf, &fw->rules, why);
		if (ret) {
			goto fail;
		}
	}
	ret = nfnl_open(&fw->nfnl);
	ret = ret ? ret : fw_probe(fw, conf);
	if (ret) {
		goto fail;
	}
	*out = fw;
	return 0;
fail:
	if (!why[0]) {
		(void)snprintf(why, FW_WHY_MAX, "nf_tables cannot be used: %s", err_text(ret));
	}
	fw_close(fw);
	return ret;
}

void fw_close(struct fw *fw)
{
	if (fw) {
		nfnl_close(fw->nfnl);
		batch_fini(&fw->batch);
		batch_fini(&fw->question);
		free(fw->rules);
		free(fw->table);
		free(fw);
	}
}

void fw_stats_get(const struct fw *fw, struct fw_stats *out)
{
	*out = fw->stats;
}

/* --- table and sets --------------------------------------------------------------------------- */

/* What a table of our name holds already. */
struct survey {
	const char *table;
	bool has_counters; /* wanted */
	bool is_present[FW_ROW_COUNT];
	size_t wrong_row;   /* a set that is not of our kind; FW_ROW_COUNT = none */
	size_t counted_row; /* one whose elements count although they should not, or do not */
};

static bool is_right_kind(const struct fw_row *row, struct span attrs)
{
	uint32_t flags = 0;
	uint32_t key_len = 0;
	(void)nfnl_attr_u32(attrs, NFTA_SET_FLAGS, &flags);
	(void)nfnl_attr_u32(attrs, NFTA_SET_KEY_LEN, &key_len);
	uint32_t wanted = row->is_interval ? NFT_SET_INTERVAL : NFT_SET_TIMEOUT;
	uint32_t unwanted = NFT_SET_MAP | NFT_SET_CONSTANT | NFT_SET_CONCAT |
	                    (row->is_interval ? 0 : NFT_SET_INTERVAL);
	return key_len == (row->is_v6 ? 16 : 4) && (flags & wanted) && !(flags & unwanted);
}

static void survey_set(void *ctx, unsigned type, struct span attrs)
{
	struct survey *survey = ctx;
	if (type != NFT_MSG_NEWSET || !nfnl_attr_is_text(attrs, NFTA_SET_TABLE, survey->table)) {
		return;
	}
	for (size_t i = 0; i < FW_ROW_COUNT; i++) {
		if (!nfnl_attr_is_text(attrs, NFTA_SET_NAME, fw_rows[i].name)) {
			continue;
		}
		survey->is_present[i] = true;
		if (!is_right_kind(&fw_rows[i], attrs)) {
			survey->wrong_row = i;
		}
		if (answer_counts_elements(attrs) != survey->has_counters) {
			survey->counted_row = i;
		}
	}
}

static int survey_table(struct fw *fw, struct survey *survey)
{
	*survey = (struct survey){.table = fw->table,
	                          .has_counters = fw->has_counters,
	                          .wrong_row = FW_ROW_COUNT,
	                          .counted_row = FW_ROW_COUNT};
	int ret =
	        batch_request(&fw->batch, nfnl_next_seq(fw->nfnl), NFT_MSG_GETSET, true, fw->table);
	ret = ret ? ret : nfnl_get(fw->nfnl, &fw->batch, survey_set, survey);
	return ret == -ENOENT ? 0 : ret;
}

static void add_sets(struct fw *fw, const struct survey *survey, bool is_remade)
{
	if (is_remade) {
		batch_add_table(&fw->batch, fw->table, 0);
		batch_delete_table(&fw->batch, fw->table);
	}
	batch_add_table(&fw->batch, fw->table, 0);
	for (size_t i = 0; i < FW_ROW_COUNT; i++) {
		const struct batch_set set = {
		        .name = fw_rows[i].name,
		        .id = (uint32_t)i + 1,
		        .flags = fw_rows[i].is_interval ? NFT_SET_INTERVAL : NFT_SET_TIMEOUT,
		        .is_v6 = fw_rows[i].is_v6,
		        .has_counters = fw->has_counters,
		};
		if (is_remade || !survey->is_present[i]) {
			batch_add_set(&fw->batch, fw->table, &set);
		}
	}
}

/* Replaces the content of one set of networks by those of its family. */
static void put_networks(struct fw *fw, size_t row, const struct addr_range *ranges, size_t n)
{
	const char *set = fw_rows[row].name;
	bool is_v6 = fw_rows[row].is_v6;
	batch_flush_set(&fw->batch, fw->table, set);
	for (size_t i = 0; i < n; i++) {
		if (addr_is_v4(&ranges[i].first) == is_v6) {
			continue;
		}
		struct batch_element first = key_of(&ranges[i].first, is_v6);
		struct batch_element end = key_of(&ranges[i].last, is_v6); /* may be a mapped one */
		end.is_end = true;
		batch_element(&fw->batch, BATCH_PUT, fw->table, set, &first);
		if (fw_element_after(&end)) {
			batch_element(&fw->batch, BATCH_PUT, fw->table, set, &end);
		}
	}
}

static void put_nospamd(struct fw *fw, const struct addr_range *ranges, size_t n)
{
	put_networks(fw, FW_ROW_NOSPAMD, ranges, n);
	put_networks(fw, FW_ROW_NOSPAMD + 1, ranges, n);
}

static bool makes_learned_sets(const struct survey *survey)
{
	for (size_t row = 0; row < FW_ROW_NOSPAMD; row++) {
		if (survey->is_present[row]) {
			return false;
		}
	}
	return true;
}

/* A table that holds rules of the administrator's is not ours to delete. Sets of another type are
 * an error then, those with other counters work: that is said in `why`. */
static int judge_survey(const struct fw *fw, const struct survey *survey, bool *is_remade,
                        char why[static FW_WHY_MAX])
{
	*is_remade = false;
	if (survey->wrong_row < FW_ROW_COUNT && !fw->rules) {
		(void)snprintf(why, FW_WHY_MAX,
		               "set %s of table inet %s has another type than needed; with rules = "
		               "none it is not replaced",
		               fw_rows[survey->wrong_row].name, fw->table);
		return -EEXIST;
	}
	if (survey->counted_row < FW_ROW_COUNT && !fw->rules) {
		(void)snprintf(why, FW_WHY_MAX,
		               "set-counters = %s, but set %s of table inet %s was made otherwise, "
		               "and with rules = none stays so until you delete it",
		               fw->has_counters ? "yes" : "no", fw_rows[survey->counted_row].name,
		               fw->table);
		return 0;
	}
	*is_remade = survey->wrong_row < FW_ROW_COUNT || survey->counted_row < FW_ROW_COUNT;
	return 0;
}

static int put_table_once(struct fw *fw, const struct addr_range *nospamd, size_t n_nospamd,
                          char why[static FW_WHY_MAX])
{
	struct survey survey;
	bool is_remade;
	int ret = survey_table(fw, &survey);
	ret = ret ? ret : judge_survey(fw, &survey, &is_remade, why);
	if (ret) {
		return ret;
	}
	fw_begin(fw);
	add_sets(fw, &survey, is_remade);
	put_nospamd(fw, nospamd, n_nospamd);
	ret = fw_commit(fw);
	fw->is_empty = ret == 0 && (is_remade || makes_learned_sets(&survey));
	return ret;
}

void fw_give_back_buffer(struct fw *fw)
{
	if (fw->batch.size > KEEP_BYTES_MAX) {
		batch_fini(&fw->batch);
		batch_init(&fw->batch);
	}
}

int fw_put_table(struct fw *fw, const struct addr_range *nospamd, size_t n_nospamd,
                 char why[static FW_WHY_MAX])
{
	int ret = -ENOENT;
	why[0] = '\0';
	/* somebody may flush between the survey and the transaction that builds on it */
	for (int i = 0; i < PUT_TRIES_MAX && (ret == -ENOENT || ret == -EINTR); i++) {
		ret = put_table_once(fw, nospamd, n_nospamd, why);
		ret = ret ? ret : fw_note(fw);
	}
	fw_give_back_buffer(fw);
	if (ret) {
		if (!why[0]) {
			(void)snprintf(why, FW_WHY_MAX, "table inet %s: %s", fw->table,
			               err_text(ret));
		}
		return ret;
	}
	if (fw->is_lost) {
		fw->stats.restores++;
		fw->is_lost = false;
	}
	return 0;
}

/* What became of a transaction with networks. */
static int networks_done(struct fw *fw, int ret, const char *set, char why[static FW_WHY_MAX])
{
	fw_give_back_buffer(fw);
	why[0] = '\0';
	if (ret) {
		fw->is_lost |= ret == -ENOENT;
		(void)snprintf(why, FW_WHY_MAX, "networks into set %s of table inet %s: %s", set,
		               fw->table, err_text(ret));
	}
	return ret;
}

int fw_set_nospamd(struct fw *fw, const struct addr_range *ranges, size_t n,
                   char why[static FW_WHY_MAX])
{
	fw_begin(fw);
	put_nospamd(fw, ranges, n);
	return networks_done(fw, fw_commit(fw), fw_rows[FW_ROW_NOSPAMD].name, why);
}

int fw_set_spamd(struct fw *fw, const struct addr_range *ranges, size_t n,
                 char why[static FW_WHY_MAX])
{
	int ret = 0;
	for (size_t row = FW_ROW_SPAMD; row < FW_ROW_COUNT && ret == 0; row++) {
		fw_begin(fw);
		put_networks(fw, row, ranges, n);
		ret = networks_done(fw, fw_commit(fw), fw_rows[row].name, why);
	}
	return ret;
}

int fw_set_rules(struct fw *fw, struct span text)
{
	if (!fw->rules || (strlen(fw->rules) == text.len &&
	                   (text.len == 0 || memcmp(fw->rules, text.ptr, text.len) == 0))) {
		return 0;
	}
	char *copy = strndup((const char *)text.ptr, text.len);
	if (!copy) {
		return -ENOMEM;
	}
	free(fw->rules);
	fw->rules = copy;
	return 1;
}

int fw_put_chains(struct fw *fw, char why[static FW_WHY_MAX])
{
	why[0] = '\0';
	if (!fw->rules) {
		return 0;
	}
	uint64_t table = fw->snapshot.table;
	int ret = fw_rules_run(fw->rules, fw->rules_path, why);
	if (ret) {
		fw->stats.failures++;
		return ret;
	}
	fw->stats.transactions++;
	ret = fw_note(fw);
	if (ret == -ENOENT || (ret == 0 && fw->snapshot.table != table)) {
		/* flushed as soon as it was there: the next look must not take it for ours */
		fw->is_lost = true;
		ret = -ENOENT;
	}
	if (ret) {
		(void)snprintf(why, FW_WHY_MAX, "table inet %s: %s", fw->table, err_text(ret));
	}
	return ret;
}

int fw_remove(struct fw *fw)
{
	fw_begin(fw);
	batch_add_table(&fw->batch, fw->table, 0);
	batch_delete_table(&fw->batch, fw->table);
	fw->snapshot = (struct fw_snapshot){0};
	return fw_commit(fw);
}

int fw_remove_table(const char *table)
{
	struct fw fw = {.table = strdup(table)};
	if (!fw.table) {
		return -ENOMEM;
	}
	batch_init(&fw.batch);
	int ret = nfnl_open(&fw.nfnl);
	ret = ret ? ret : fw_remove(&fw);
	nfnl_close(fw.nfnl);
	batch_fini(&fw.batch);
	free(fw.table);
	return ret;
}
