/* Layout: attributes in attributes (linux/netfilter/nf_tables.h); an expression such as a counter
 * is a name and data of its own. All numbers are big-endian. */
#include "fw/answer.h"

#include <string.h>

#include <linux/netfilter/nf_tables.h>

#include "base/err.h"
#include "fw/nfnl.h"

/* The two numbers of a counter, as an expression and as an object. */
static bool read_count(struct span data, struct answer_count *out)
{
	return nfnl_attr_u64(data, NFTA_COUNTER_PACKETS, &out->packets) &&
	       nfnl_attr_u64(data, NFTA_COUNTER_BYTES, &out->bytes);
}

static bool is_counter(struct span expression)
{
	return nfnl_attr_is_text(expression, NFTA_EXPR_NAME, "counter");
}

/* The expression of an element or a set that has one; with several the counter is the first that
 * mired made. */
static bool find_expression(struct span attrs, unsigned one, unsigned several, struct span *out)
{
	struct span list;
	return nfnl_attr(attrs, one, out) ||
	       (nfnl_attr(attrs, several, &list) && nfnl_attr(list, NFTA_LIST_ELEM, out));
}

static bool read_key(struct span element, struct answer_element *out)
{
	struct span key;
	struct span value;
	if (!nfnl_attr(element, NFTA_SET_ELEM_KEY, &key) ||
	    !nfnl_attr(key, NFTA_DATA_VALUE, &value) || (value.len != 4 && value.len != 16)) {
		return false;
	}
	out->key_len = (uint8_t)value.len;
	memcpy(out->key, value.ptr, value.len);
	return true;
}

/* A permanent element has neither number. */
static bool read_times(struct span element, struct answer_element *out)
{
	struct span any;
	if (!nfnl_attr(element, NFTA_SET_ELEM_TIMEOUT, &any)) {
		return true;
	}
	out->has_timeout = true;
	return nfnl_attr_u64(element, NFTA_SET_ELEM_TIMEOUT, &out->timeout_ms) &&
	       nfnl_attr_u64(element, NFTA_SET_ELEM_EXPIRATION, &out->left_ms);
}

static bool read_element_count(struct span element, struct answer_element *out)
{
	struct span expression;
	struct span data;
	if (!find_expression(element, NFTA_SET_ELEM_EXPR, NFTA_SET_ELEM_EXPRESSIONS, &expression) ||
	    !is_counter(expression)) {
		return true;
	}
	out->has_count = true;
	return nfnl_attr(expression, NFTA_EXPR_DATA, &data) && read_count(data, &out->count);
}

int answer_element(struct span attrs, struct answer_element *out)
{
	struct answer_element read = {0};
	struct span list;
	struct span element;
	uint32_t flags = 0;
	if (!nfnl_attr(attrs, NFTA_SET_ELEM_LIST_ELEMENTS, &list) ||
	    !nfnl_attr(list, NFTA_LIST_ELEM, &element) || !read_key(element, &read) ||
	    !read_times(element, &read) || !read_element_count(element, &read)) {
		return ERR_CORRUPT;
	}
	(void)nfnl_attr_u32(element, NFTA_SET_ELEM_FLAGS, &flags);
	read.is_end = flags & NFT_SET_ELEM_INTERVAL_END;
	*out = read;
	return 0;
}

static bool read_name(struct span attrs, struct answer_counter *out)
{
	struct span name;
	if (!nfnl_attr(attrs, NFTA_OBJ_NAME, &name) || name.len < 2 ||
	    name.len > sizeof out->name || memchr(name.ptr, '\0', name.len) == NULL) {
		return false;
	}
	(void)span_to_str(name, out->name, sizeof out->name);
	return true;
}

int answer_counter(struct span attrs, const char *table, struct answer_counter *out)
{
	struct answer_counter read = {0};
	struct span data;
	uint32_t type;
	if (!nfnl_attr_u32(attrs, NFTA_OBJ_TYPE, &type) || type != NFT_OBJECT_COUNTER ||
	    !nfnl_attr_is_text(attrs, NFTA_OBJ_TABLE, table)) {
		return ERR_NOT_FOUND;
	}
	if (!read_name(attrs, &read) || !nfnl_attr(attrs, NFTA_OBJ_DATA, &data) ||
	    !read_count(data, &read.count)) {
		return ERR_CORRUPT;
	}
	*out = read;
	return 0;
}

bool answer_counts_elements(struct span attrs)
{
	struct span expression;
	return find_expression(attrs, NFTA_SET_EXPR, NFTA_SET_EXPRESSIONS, &expression) &&
	       is_counter(expression);
}
