/* Table, sets and elements of one instance. The order at start and after a loss is table and sets,
 * elements, chains (fw_put_table, fw_replace, fw_put_chains): rules never stand before what they
 * look up, so a whitelisted host is never sent to the tarpit by a half-made table.
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
	/* fits the default send buffer, so that single changes need no larger one */
	APPLY_BYTES_MAX = 100000,
	/* a scratch timeout for an element that is deleted in the same transaction */
	DOOMED_TIMEOUT_SECS = 3600,
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

struct batch_element fw_element_key(const struct addr *addr, uint32_t timeout_secs)
{
	struct batch_element element = {.timeout_ms = (uint64_t)timeout_secs * 1000};
	bool is_v4 = addr_is_v4(addr);
	element.key_len = is_v4 ? 4 : 16;
	memcpy(element.key, addr->bytes + (is_v4 ? V4_OFFSET : 0), element.key_len);
	return element;
}

static const char *learned_set(unsigned set, const struct addr *addr)
{
	return fw_rows[2 * set + (addr_is_v4(addr) ? 0 : 1)].name;
}

static void begin(struct fw *fw)
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
	bool is_present[FW_ROW_COUNT];
	size_t wrong_row; /* a set that is not of our kind; FW_ROW_COUNT = none */
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
	}
}

static int survey_table(struct fw *fw, struct survey *survey)
{
	*survey = (struct survey){.table = fw->table, .wrong_row = FW_ROW_COUNT};
	int ret =
	        batch_request(&fw->batch, nfnl_next_seq(fw->nfnl), NFT_MSG_GETSET, true, fw->table);
	ret = ret ? ret : nfnl_get(fw->nfnl, &fw->batch, survey_set, survey);
	return ret == -ENOENT ? 0 : ret;
}

static void add_sets(struct fw *fw, const struct survey *survey)
{
	bool is_remade = survey->wrong_row < FW_ROW_COUNT;
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
		};
		if (is_remade || !survey->is_present[i]) {
			batch_add_set(&fw->batch, fw->table, &set);
		}
	}
}

/* The first address behind a range; false when there is none. */
static bool element_after(struct batch_element *element)
{
	for (unsigned i = element->key_len; i-- > 0;) {
		if (++element->key[i] != 0) {
			return true;
		}
	}
	return false;
}

/* Replaces the content of one set of networks by those of its family. */
static void put_networks(struct fw *fw, size_t row, const struct addr_range *ranges, size_t n)
{
	const char *set = fw_rows[row].name;
	batch_flush_set(&fw->batch, fw->table, set);
	for (size_t i = 0; i < n; i++) {
		if (addr_is_v4(&ranges[i].first) == fw_rows[row].is_v6) {
			continue;
		}
		struct batch_element first = fw_element_key(&ranges[i].first, 0);
		struct batch_element end = fw_element_key(&ranges[i].last, 0);
		end.is_end = true;
		batch_element(&fw->batch, BATCH_PUT, fw->table, set, &first);
		if (element_after(&end)) {
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
	if (survey->wrong_row < FW_ROW_COUNT) {
		return true;
	}
	for (size_t row = 0; row < FW_ROW_NOSPAMD; row++) {
		if (survey->is_present[row]) {
			return false;
		}
	}
	return true;
}

static int put_table_once(struct fw *fw, const struct addr_range *nospamd, size_t n_nospamd,
                          char why[static FW_WHY_MAX])
{
	struct survey survey;
	int ret = survey_table(fw, &survey);
	if (ret) {
		return ret;
	}
	if (survey.wrong_row < FW_ROW_COUNT && !fw->rules) {
		(void)snprintf(why, FW_WHY_MAX,
		               "set %s of table inet %s has another type than needed; with rules = "
		               "none it is not replaced",
		               fw_rows[survey.wrong_row].name, fw->table);
		return -EEXIST;
	}
	begin(fw);
	add_sets(fw, &survey);
	put_nospamd(fw, nospamd, n_nospamd);
	ret = fw_commit(fw);
	fw->is_empty = ret == 0 && makes_learned_sets(&survey);
	return ret;
}

/* Buffers of a full copy are large and rarely needed. */
static void give_back_buffer(struct fw *fw)
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
	give_back_buffer(fw);
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
	give_back_buffer(fw);
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
	begin(fw);
	put_nospamd(fw, ranges, n);
	return networks_done(fw, fw_commit(fw), fw_rows[FW_ROW_NOSPAMD].name, why);
}

int fw_set_spamd(struct fw *fw, const struct addr_range *ranges, size_t n,
                 char why[static FW_WHY_MAX])
{
	int ret = 0;
	for (size_t row = FW_ROW_SPAMD; row < FW_ROW_COUNT && ret == 0; row++) {
		begin(fw);
		put_networks(fw, row, ranges, n);
		ret = networks_done(fw, fw_commit(fw), fw_rows[row].name, why);
	}
	return ret;
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
	begin(fw);
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

/* --- elements --------------------------------------------------------------------------------- */

static void put(struct fw *fw, enum batch_op op, const char *set,
                const struct batch_element *element)
{
	batch_element(&fw->batch, op, fw->table, set, element);
}

/* Without DESTROY a deletion of something that may be missing is made safe by adding it first, in
 * the same transaction. */
static void put_deletion(struct fw *fw, const char *set, const struct addr *addr)
{
	const struct batch_element key = fw_element_key(addr, 0);
	if (fw->stats.has_destroy) {
		put(fw, BATCH_DESTROY, set, &key);
		return;
	}
	const struct batch_element doomed = fw_element_key(addr, DOOMED_TIMEOUT_SECS);
	put(fw, BATCH_PUT, set, &doomed);
	put(fw, BATCH_DELETE, set, &key);
}

/* An element without timeout would stay for ever. */
static uint32_t timeout_of(const struct fw_element *element)
{
	return element->timeout_secs > 0 ? element->timeout_secs : 1;
}

static void put_change(struct fw *fw, const struct fw_element *element)
{
	const char *set = learned_set(element->set, &element->addr);
	if (element->is_deleted || !fw->stats.has_refresh) {
		put_deletion(fw, set, &element->addr);
	}
	if (!element->is_deleted) {
		const struct batch_element key =
		        fw_element_key(&element->addr, timeout_of(element));
		put(fw, BATCH_PUT, set, &key);
	}
}

static void count_elements(struct fw *fw, const struct fw_element *elements, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (elements[i].is_deleted) {
			fw->stats.elements_deleted++;
		} else {
			fw->stats.elements_added++;
		}
	}
}

/* For a set that does not have it, or will not mind. */
static void put_new(struct fw *fw, const struct fw_element *element)
{
	const struct batch_element key = fw_element_key(&element->addr, timeout_of(element));
	put(fw, BATCH_PUT, learned_set(element->set, &element->addr), &key);
}

typedef void put_one(struct fw *fw, const struct fw_element *element);

/* One transaction from the front of elements; *n_done says how many it took. */
static int apply_some(struct fw *fw, put_one *put_it, const struct fw_element *elements, size_t n,
                      size_t *n_done)
{
	begin(fw);
	size_t i;
	for (i = 0; i < n && i < FW_BATCH_MAX && fw->batch.len < APPLY_BYTES_MAX; i++) {
		put_it(fw, &elements[i]);
	}
	*n_done = i;
	return fw_commit(fw);
}

static int apply_all(struct fw *fw, put_one *put_it, const struct fw_element *elements, size_t n)
{
	fw->is_empty &= n == 0;
	for (size_t at = 0; at < n;) {
		size_t n_done;
		int ret = apply_some(fw, put_it, elements + at, n - at, &n_done);
		if (ret == -ENOENT && !fw->stats.has_destroy) {
			/* an element may have expired between being found and being deleted */
			ret = apply_some(fw, put_it, elements + at, n - at, &n_done);
		}
		if (ret) {
			fw->is_lost |= ret == -ENOENT;
			return ret;
		}
		count_elements(fw, elements + at, n_done);
		at += n_done;
	}
	return 0;
}

int fw_apply(struct fw *fw, const struct fw_element *elements, size_t n)
{
	return apply_all(fw, put_change, elements, n);
}

int fw_fill(struct fw *fw, const struct fw_element *elements, size_t n)
{
	return apply_all(fw, put_new, elements, n);
}

bool fw_is_empty(const struct fw *fw)
{
	return fw->is_empty;
}

static void flush_learned(struct fw *fw)
{
	for (size_t row = 0; row < FW_ROW_NOSPAMD; row++) {
		batch_flush_set(&fw->batch, fw->table, fw_rows[row].name);
	}
}

/* All at once: no packet ever sees a set without an element that is in the old and the new copy. */
static int replace_at_once(struct fw *fw, const struct fw_content *content)
{
	begin(fw);
	flush_learned(fw);
	for (size_t i = 0; i < content->n; i++) {
		put_new(fw, &content->elements[i]);
	}
	for (size_t i = 0; i < content->n_changes; i++) {
		put_change(fw, &content->changes[i]);
	}
	int ret = fw_commit(fw);
	if (ret == 0) {
		count_elements(fw, content->elements, content->n);
		count_elements(fw, content->changes, content->n_changes);
	}
	return ret;
}

/* Where the kernel does not take a message of that size (no right to a larger send buffer, or no
 * memory): empty the sets, then fill them piece by piece. A whitelisted host that connects in
 * between (about a second for a million) meets mired once and is deferred; keeping what is there
 * instead would leave hosts white which no longer are. */
static int replace_piecewise(struct fw *fw, const struct fw_content *content)
{
	begin(fw);
	flush_learned(fw);
	int ret = fw_commit(fw);
	ret = ret ? ret : fw_fill(fw, content->elements, content->n);
	return ret ? ret : fw_apply(fw, content->changes, content->n_changes);
}

int fw_replace(struct fw *fw, const struct fw_content *content, char why[static FW_WHY_MAX])
{
	why[0] = '\0';
	fw->is_empty = false;
	int ret = replace_at_once(fw, content);
	give_back_buffer(fw);
	if (ret == -EMSGSIZE || ret == -ENOMEM || ret == -ENOBUFS || ret == ERR_TOO_LONG) {
		ret = replace_piecewise(fw, content);
	}
	if (ret) {
		fw->is_lost |= ret == -ENOENT;
		(void)snprintf(why, FW_WHY_MAX, "%zu elements into the sets of table inet %s: %s",
		               content->n, fw->table, err_text(ret));
	}
	return ret;
}

static void note_presence(void *ctx, unsigned type, struct span attrs)
{
	(void)attrs;
	*(int *)ctx |= type == NFT_MSG_NEWSETELEM;
}

int fw_has(struct fw *fw, enum fw_set set, const struct addr *addr)
{
	const struct batch_element key = fw_element_key(addr, 0);
	int has = 0;
	int ret = batch_request_element(&fw->batch, nfnl_next_seq(fw->nfnl), fw->table,
	                                learned_set(set, addr), &key);
	ret = ret ? ret : nfnl_get(fw->nfnl, &fw->batch, note_presence, &has);
	return ret == 0 || ret == -ENOENT ? has : ret;
}
