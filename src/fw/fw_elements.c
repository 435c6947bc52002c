/* The elements of the learned sets: added, refreshed, deleted, replaced, counted. Big sets are
 * never dumped: the kernel walks them anew for each 32 KiB of answer, 50 s for a million elements.
 */
#include "fw/fw.h"

#include <errno.h>
#include <stdio.h>

#include <linux/netfilter/nf_tables.h>

#include "base/clock.h"
#include "base/err.h"
#include "fw/fw_int.h"

enum {
	/* fits the default send buffer, so that single changes need no larger one */
	APPLY_BYTES_MAX = 100000,
	/* a scratch timeout for an element that is deleted in the same transaction */
	DOOMED_TIMEOUT_SECS = 3600,
	SET_COUNT_ATTR = 20, /* NFTA_SET_COUNT, Linux 6.16; Debian 12's header lacks the name */
};

static const char *learned_set(unsigned set, const struct addr *addr)
{
	return fw_rows[2 * set + (addr_is_v4(addr) ? 0 : 1)].name;
}

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

/* What an element has counted, for the one that takes its place. Without an answer that begins at
 * zero; so does what counts between here and the transaction's end, some milliseconds. */
static void carry_count(struct fw *fw, const char *set, struct batch_element *key)
{
	struct answer_element old;
	if (fw_get_element(fw->nfnl, &fw->question, fw->table, set, key, &old) == 0 &&
	    old.has_count) {
		key->has_count = true;
		key->packets = old.count.packets;
		key->bytes = old.count.bytes;
	}
}

static void put_change(struct fw *fw, const struct fw_element *element)
{
	const char *set = learned_set(element->set, &element->addr);
	struct batch_element key = fw_element_key(&element->addr, 0);
	bool is_exchanged = !element->is_deleted && !fw->stats.has_refresh;
	if (is_exchanged && fw->has_counters) {
		carry_count(fw, set, &key);
	}
	if (element->is_deleted || is_exchanged) {
		put_deletion(fw, set, &element->addr);
	}
	if (!element->is_deleted) {
		key.timeout_ms = (uint64_t)timeout_of(element) * MS_PER_SEC;
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
	fw_begin(fw);
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
	for (size_t row = 0; row < FW_LEARNED_ROWS; row++) {
		batch_flush_set(&fw->batch, fw->table, fw_rows[row].name);
	}
}

/* All at once: no packet ever sees a set without an element that is in the old and the new copy. */
static int replace_at_once(struct fw *fw, const struct fw_content *content)
{
	fw_begin(fw);
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
	fw_begin(fw);
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
	fw_give_back_buffer(fw);
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

struct element_answer {
	struct answer_element element;
	int ret;
};

static void take_element(void *ctx, unsigned type, struct span attrs)
{
	struct element_answer *answer = ctx;
	if (type == NFT_MSG_NEWSETELEM) {
		answer->ret = answer_element(attrs, &answer->element);
	}
}

int fw_get_element(struct nfnl *nfnl, struct batch *question, const char *table, const char *set,
                   const struct batch_element *key, struct answer_element *out)
{
	struct element_answer answer = {.ret = -ENOENT};
	int ret = batch_request_element(question, nfnl_next_seq(nfnl), table, set, key);
	ret = ret ? ret : nfnl_get(nfnl, question, take_element, &answer);
	ret = ret ? ret : answer.ret;
	if (ret == 0 &&
	    (answer.element.key_len != key->key_len || answer.element.is_end != key->is_end)) {
		ret = -EBADMSG;
	}
	*out = answer.element;
	return ret;
}

int fw_has(struct fw *fw, enum fw_set set, const struct addr *addr)
{
	const struct batch_element key = fw_element_key(addr, 0);
	struct answer_element element;
	int ret = fw_get_element(fw->nfnl, &fw->question, fw->table, learned_set(set, addr), &key,
	                         &element);
	return ret == 0 ? 1 : ret == -ENOENT ? 0 : ret;
}

/* What the sets of a table say of themselves. */
struct count {
	const char *table;
	uint32_t *counts;
	bool has_count[FW_LEARNED_ROWS];
};

static void count_set(void *ctx, unsigned type, struct span attrs)
{
	struct count *count = ctx;
	if (type != NFT_MSG_NEWSET || !nfnl_attr_is_text(attrs, NFTA_SET_TABLE, count->table)) {
		return;
	}
	for (size_t row = 0; row < FW_LEARNED_ROWS; row++) {
		if (nfnl_attr_is_text(attrs, NFTA_SET_NAME, fw_rows[row].name)) {
			count->has_count[row] =
			        nfnl_attr_u32(attrs, SET_COUNT_ATTR, &count->counts[row]);
		}
	}
}

int fw_count(struct fw *fw, uint32_t counts[static FW_LEARNED_ROWS])
{
	struct count count = {.table = fw->table, .counts = counts};
	int ret =
	        batch_request(&fw->batch, nfnl_next_seq(fw->nfnl), NFT_MSG_GETSET, true, fw->table);
	ret = ret ? ret : nfnl_get(fw->nfnl, &fw->batch, count_set, &count);
	for (size_t row = 0; row < FW_LEARNED_ROWS && ret == 0; row++) {
		ret = count.has_count[row] ? 0 : -EOPNOTSUPP;
	}
	return ret;
}
