/* Names and order of the members are what mired-ctl(7) says. */
#include "mired/held_json.h"

#include <stdio.h>

#include "base/compiler.h"
#include "smtp/dialogue.h"

enum {
	TAG_TEXT_MAX = 4 * HELD_TAG_MAX + 1, /* each byte escaped */
	NETWORK_TEXT_MAX = ADDR_TEXT_MAX + 4,
};

static void set_new(json_t *object, const char *name, json_t *value)
{
	(void)json_object_set_new(object, name, value);
}

static void set_count(json_t *object, const char *name, uint64_t value)
{
	set_new(object, name, json_integer((json_int_t)value));
}

static json_t *tag_json(const struct held *held, uint8_t place)
{
	char text[TAG_TEXT_MAX] = "";
	if (place < held->n_lists) {
		const struct held_list *list = &held->lists[place];
		(void)span_escape(span_of(list->tag, list->tag_len), text, sizeof text);
	}
	return json_string(text);
}

static json_t *classes_json(const struct held *held)
{
	json_t *classes = json_object();
	for (enum held_class i = 0; i < HELD_CLASS_COUNT; i++) {
		set_count(classes, held_class_name(i), held->n_class[i]);
	}
	return classes;
}

static json_t *states_json(const struct held *held)
{
	json_t *states = json_object();
	for (unsigned i = 0; i < DIALOGUE_STATE_COUNT; i++) {
		set_count(states, dialogue_states[i].name, held->n_state[i]);
	}
	return states;
}

/* --- lists: most connections first; those of which none is held are left out --- */

/* The place after `before` in that order; HELD_NO_LIST: there is none. */
static uint8_t next_list(const struct held *held, uint8_t before)
{
	uint8_t best = HELD_NO_LIST;
	for (uint8_t i = 0; i < held->n_lists; i++) {
		uint32_t n = held->lists[i].n;
		uint32_t n_before = before == HELD_NO_LIST ? UINT32_MAX : held->lists[before].n;
		bool is_after = n < n_before || (n == n_before && i > before);
		if (n > 0 && is_after && (best == HELD_NO_LIST || n > held->lists[best].n)) {
			best = i;
		}
	}
	return best;
}

static void put_lists(json_t *top, const struct held *held)
{
	json_t *lists = json_array();
	uint64_t n_other = held->n_other_lists;
	size_t n = 0;
	for (uint8_t i = next_list(held, HELD_NO_LIST); i != HELD_NO_LIST;
	     i = next_list(held, i), n++) {
		if (n >= HELD_JSON_LISTS_MAX) {
			n_other += held->lists[i].n;
			continue;
		}
		json_t *list = json_object();
		set_new(list, "name", tag_json(held, i));
		set_count(list, "connections", held->lists[i].n);
		(void)json_array_append_new(lists, list);
	}
	set_new(top, "lists", lists);
	set_count(top, "other_lists", n_other);
	set_new(top, "lists_exact", json_boolean(!held->has_estimates));
}

/* --- one by one --- */

static json_t *conn_json(const struct held *held, const struct held_conn *conn)
{
	char text[ADDR_TEXT_MAX];
	json_t *object = json_object();
	set_new(object, "address", json_string(addr_format(&conn->peer, text)));
	set_count(object, "held_secs", conn->age_ms / MS_PER_SEC);
	set_new(object, "class", json_string(held_class_name((enum held_class)conn->cls)));
	set_new(object, "list", tag_json(held, conn->list));
	set_count(object, "lists", conn->n_lists);
	set_new(object, "state", json_string(dialogue_states[conn->state].name));
	set_count(object, "sent_bytes", conn->sent_bytes);
	return object;
}

static json_t *longest_json(const struct held *held, size_t n)
{
	json_t *longest = json_array();
	for (size_t i = 0; i < held->n_longest && i < n; i++) {
		(void)json_array_append_new(longest, conn_json(held, &held->longest[i]));
	}
	return longest;
}

static json_t *networks_json(const struct held *held, size_t n)
{
	struct held_top tops[HELD_NETWORKS_MAX];
	size_t n_tops =
	        held_top_networks(held, tops, n < HELD_NETWORKS_MAX ? n : HELD_NETWORKS_MAX);
	json_t *networks = json_array();
	for (size_t i = 0; i < n_tops; i++) {
		char addr[ADDR_TEXT_MAX];
		char text[NETWORK_TEXT_MAX];
		json_t *object = json_object();
		(void)snprintf(text, sizeof text, "%s/%u", addr_format(&tops[i].network, addr),
		               tops[i].bits);
		set_new(object, "network", json_string(text));
		set_count(object, "connections", tops[i].n);
		(void)json_array_append_new(networks, object);
	}
	return networks;
}

json_t *held_json(const struct held *held, int64_t age_ms, size_t n)
{
	json_t *top = json_object();
	set_count(top, "age_ms", (uint64_t)age_ms);
	set_count(top, "connections", held->n);
	set_new(top, "classes", classes_json(held));
	set_new(top, "states", states_json(held));
	put_lists(top, held);
	set_new(top, "longest", longest_json(held, n));
	set_new(top, "networks", networks_json(held, n));
	set_new(top, "networks_exact", json_boolean(held->is_exact));
	return top;
}

json_t *held_address_json(const struct held *held, int64_t age_ms, size_t n)
{
	char text[ADDR_TEXT_MAX];
	json_t *top = json_object();
	set_new(top, "address", json_string(addr_format(&held->query.addr, text)));
	set_count(top, "age_ms", (uint64_t)age_ms);
	set_count(top, "connections", held->n);
	set_new(top, "longest", longest_json(held, n));
	return top;
}
