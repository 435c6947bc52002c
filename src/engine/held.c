/* Counting held connections. The networks are kept as in "space saving" (Metwally, Agrawal, El
 * Abbadi 2005), in buckets so that finding the least one is a step: a network that finds no place
 * takes that of the lightest one in its bucket and its count as an error. */
#include "engine/held.h"

#include <string.h>

enum {
	TAG_V4 = 1, /* in the highest byte of a network's key */
	TAG_V6 = 2,
	TAG_SHIFT = 56,
	V4_AT = 12, /* of a mapped address: its first IPv4 byte */
	V4_KEY_BYTES = HELD_V4_BITS / 8,
	V6_KEY_BYTES = HELD_V6_BITS / 8,
	BUCKET_SHIFT = 64 - 9,
};

static_assert(HELD_BUCKETS == 1 << (64 - BUCKET_SHIFT), "a bucket for each value of the hash");

const char *held_class_name(enum held_class cls)
{
	static const char *const names[HELD_CLASS_COUNT] = {
	        [HELD_UNKNOWN] = "unknown", [HELD_GREY] = "grey",       [HELD_WHITE] = "white",
	        [HELD_LISTED] = "listed",   [HELD_TRAPPED] = "trapped", [HELD_PASSIVE] = "passive",
	};
	return names[cls];
}

void held_begin(struct held *held, const struct held_query *query, uint32_t n_listed)
{
	memset(held, 0, sizeof *held);
	held->query = *query;
	held->is_exact = true;
	held->lookup_every = 1;
	while (!query->has_addr && n_listed / held->lookup_every > HELD_LOOKUPS_MAX) {
		held->lookup_every *= 2;
	}
	held->has_estimates = held->lookup_every > 1;
}

/* --- lists --- */

static bool is_tag(const struct held_list *list, const uint8_t *tag, size_t len)
{
	return list->tag_len == len && memcmp(list->tag, tag, len) == 0;
}

/* `guess` is where it was the last time. */
static uint8_t place_of(struct held *held, struct span tag, size_t guess)
{
	size_t len = tag.len < HELD_TAG_MAX ? tag.len : HELD_TAG_MAX;
	if (guess < held->n_lists && is_tag(&held->lists[guess], tag.ptr, len)) {
		return (uint8_t)guess;
	}
	for (uint32_t i = 0; i < held->n_lists; i++) {
		if (is_tag(&held->lists[i], tag.ptr, len)) {
			return (uint8_t)i;
		}
	}
	if (held->n_lists == HELD_LISTS) {
		return HELD_NO_LIST;
	}
	struct held_list *list = &held->lists[held->n_lists];
	list->tag_len = (uint8_t)len;
	memcpy(list->tag, tag.ptr, len);
	return (uint8_t)held->n_lists++;
}

void held_view_init(struct held_view *view, struct held *held, const struct list_table *table,
                    struct mono_ms now)
{
	size_t n = table ? list_table_n_lists(table) : 0;
	view->table = table;
	view->now = now;
	for (size_t i = 0; i < n && i < LISTS_MAX; i++) {
		view->places[i] = place_of(held, list_table_tag(table, i), i);
	}
}

static void count_lists(struct held *held, const struct held_view *view, lists_mask mask)
{
	for (; mask; mask &= mask - 1) {
		uint8_t place = view->places[__builtin_ctzll(mask)];
		if (place == HELD_NO_LIST) {
			held->n_other_lists += held->lookup_every;
		} else {
			held->lists[place].n += held->lookup_every;
		}
	}
}

/* --- networks --- */

static uint64_t key_of(const struct addr *addr)
{
	bool is_v4 = addr_is_v4(addr);
	const uint8_t *bytes = addr->bytes + (is_v4 ? V4_AT : 0);
	uint64_t key = 0;
	for (unsigned i = 0; i < (is_v4 ? V4_KEY_BYTES : V6_KEY_BYTES); i++) {
		key = key << 8 | bytes[i];
	}
	return key | (uint64_t)(is_v4 ? TAG_V4 : TAG_V6) << TAG_SHIFT;
}

static struct held_top top_of(const struct held_network *network)
{
	bool is_v4 = network->key >> TAG_SHIFT == TAG_V4;
	struct held_top top = {.bits = is_v4 ? HELD_V4_BITS : HELD_V6_BITS,
	                       .n = network->count - network->error};
	uint64_t key = network->key;
	if (is_v4) {
		top.network = addr_from_v4_be(0);
	}
	for (unsigned i = is_v4 ? V4_KEY_BYTES : V6_KEY_BYTES; i > 0; i--, key >>= 8) {
		top.network.bytes[(is_v4 ? V4_AT : 0) + i - 1] = (uint8_t)key;
	}
	return top;
}

static void add_network(struct held *held, const struct held_network *network)
{
	uint64_t hash = network->key * UINT64_C(0x9e3779b97f4a7c15);
	struct held_network *bucket = held->networks[hash >> BUCKET_SHIFT];
	struct held_network *least = bucket;
	for (unsigned i = 0; i < HELD_WAYS; i++) {
		if (bucket[i].key == network->key) {
			bucket[i].count += network->count;
			bucket[i].error += network->error;
			return;
		}
		least = bucket[i].count < least->count ? &bucket[i] : least;
	}
	held->is_exact = held->is_exact && least->key == 0;
	*least = (struct held_network){.key = network->key,
	                               .count = least->count + network->count,
	                               .error = least->count + network->error};
}

size_t held_top_networks(const struct held *held, struct held_top *out, size_t n_max)
{
	size_t n = 0;
	for (size_t i = 0; i < (size_t)HELD_BUCKETS * HELD_WAYS && n_max > 0; i++) {
		const struct held_network *network = &held->networks[i / HELD_WAYS][i % HELD_WAYS];
		if (network->key == 0 ||
		    (n == n_max && network->count - network->error <= out[n - 1].n)) {
			continue;
		}
		struct held_top top = top_of(network);
		size_t at = n < n_max ? n++ : n - 1;
		for (; at > 0 && out[at - 1].n < top.n; at--) {
			out[at] = out[at - 1];
		}
		out[at] = top;
	}
	return n;
}

/* --- connections --- */

static bool is_among_longest(const struct held *held, uint32_t age_ms)
{
	return held->n_longest < HELD_LONGEST_MAX ||
	       age_ms > held->longest[HELD_LONGEST_MAX - 1].age_ms;
}

static void put_longest(struct held *held, const struct held_conn *one)
{
	uint32_t at = held->n_longest < HELD_LONGEST_MAX ? held->n_longest++ : HELD_LONGEST_MAX - 1;
	for (; at > 0 && held->longest[at - 1].age_ms < one->age_ms; at--) {
		held->longest[at] = held->longest[at - 1];
	}
	held->longest[at] = *one;
}

static enum held_class class_of(const struct conn *conn)
{
	switch ((enum session_class)conn->cls) {
	case SESSION_GREY:
		return HELD_GREY;
	case SESSION_WHITE:
		return HELD_WHITE;
	case SESSION_LISTED:
		return conn->is_trapped ? HELD_TRAPPED : HELD_LISTED;
	case SESSION_PASSIVE:
		return HELD_PASSIVE;
	case SESSION_UNKNOWN:
		break;
	}
	return HELD_UNKNOWN;
}

/* One in lookup_every, spread by the golden section so that no period of the table meets it. */
static bool is_looked_up(struct held *held)
{
	uint32_t place = held->n_lookups_due++ * UINT32_C(0x9e3779b1);
	return (uint64_t)place * held->lookup_every <= UINT32_MAX;
}

static void add_longest(struct held *held, const struct held_view *view, const struct conn *conn,
                        uint32_t age_ms)
{
	bool is_listed = conn->cls == SESSION_LISTED;
	lists_mask mask = is_listed ? list_table_find(view->table, &conn->peer) : 0;
	struct held_conn one = {
	        .peer = conn->peer,
	        .age_ms = age_ms,
	        .sent_bytes = session_sent_bytes(&conn->session),
	        .cls = (uint8_t)class_of(conn),
	        .state = conn->session.state,
	        .list = mask ? view->places[__builtin_ctzll(mask)] : HELD_NO_LIST,
	        .n_lists = (uint8_t)__builtin_popcountll(mask),
	};
	put_longest(held, &one);
}

void held_add(struct held *held, const struct held_view *view, const struct conn *conn)
{
	if (held->query.has_addr && !addr_equal(&held->query.addr, &conn->peer)) {
		return;
	}
	uint32_t age_ms = view->now.ms - conn->session.opened.ms;
	held->n++;
	held->n_class[class_of(conn)]++;
	held->n_state[conn->session.state]++;
	if (conn->cls == SESSION_LISTED && is_looked_up(held)) {
		count_lists(held, view, list_table_find(view->table, &conn->peer));
	}
	if (!held->query.has_addr) {
		struct held_network network = {.key = key_of(&conn->peer), .count = 1};
		add_network(held, &network);
	}
	if (is_among_longest(held, age_ms)) {
		add_longest(held, view, conn, age_ms);
	}
}

/* --- of several workers --- */

static void merge_lists(struct held *held, const struct held *other,
                        uint8_t places[static HELD_LISTS])
{
	for (uint32_t i = 0; i < other->n_lists; i++) {
		const struct held_list *list = &other->lists[i];
		places[i] = place_of(held, span_of(list->tag, list->tag_len), i);
		if (places[i] == HELD_NO_LIST) {
			held->n_other_lists += list->n;
		} else {
			held->lists[places[i]].n += list->n;
		}
	}
	held->n_other_lists += other->n_other_lists;
}

void held_merge(struct held *held, const struct held *other)
{
	uint8_t places[HELD_LISTS];
	held->n += other->n;
	for (unsigned i = 0; i < HELD_CLASS_COUNT; i++) {
		held->n_class[i] += other->n_class[i];
	}
	for (unsigned i = 0; i < DIALOGUE_STATE_COUNT; i++) {
		held->n_state[i] += other->n_state[i];
	}
	merge_lists(held, other, places);
	for (uint32_t i = 0; i < other->n_longest; i++) {
		struct held_conn one = other->longest[i];
		one.list = one.list == HELD_NO_LIST ? HELD_NO_LIST : places[one.list];
		if (is_among_longest(held, one.age_ms)) {
			put_longest(held, &one);
		}
	}
	held->has_estimates = held->has_estimates || other->has_estimates;
	held->is_exact = held->is_exact && other->is_exact;
	for (size_t i = 0; i < (size_t)HELD_BUCKETS * HELD_WAYS; i++) {
		const struct held_network *network = &other->networks[i / HELD_WAYS][i % HELD_WAYS];
		if (network->key != 0) {
			add_network(held, network);
		}
	}
}
