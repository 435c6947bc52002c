#include "mired/metrics_named.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"

/* --- lists ------------------------------------------------------------------------------------ */

static void name_of(char out[static METRICS_NAME_MAX], struct span text)
{
	(void)span_escape(text, out, METRICS_NAME_MAX);
}

/* A sample must not be there twice: long names may be the same as far as they are kept. */
static bool has_list(const struct metrics_lists *lists, const char *name)
{
	for (size_t i = 0; i < lists->n_named; i++) {
		if (strcmp(lists->list[i].name, name) == 0) {
			return true;
		}
	}
	return strcmp(name, METRICS_OTHERS) == 0;
}

void metrics_add_list(struct metrics_lists *lists, struct span tag, uint64_t n_networks,
                      int64_t loaded_secs)
{
	struct metrics_list *others = &lists->list[METRICS_NAMED_MAX];
	struct metrics_list list = {.n_networks = n_networks, .loaded_secs = loaded_secs};
	name_of(list.name, tag);
	if (lists->n_named < METRICS_NAMED_MAX && !has_list(lists, list.name)) {
		lists->list[lists->n_named++] = list;
		return;
	}
	if (!lists->has_others || loaded_secs < others->loaded_secs) {
		others->loaded_secs = loaded_secs;
	}
	(void)snprintf(others->name, sizeof others->name, METRICS_OTHERS);
	others->n_networks += n_networks;
	lists->has_others = true;
}

/* NULL behind the last. */
static const struct metrics_list *list_at(const struct metrics_lists *lists, size_t i)
{
	if (i < lists->n_named) {
		return &lists->list[i];
	}
	return i == lists->n_named && lists->has_others ? &lists->list[METRICS_NAMED_MAX] : NULL;
}

void metrics_write_lists(struct exposition *to, const struct metrics_lists *lists)
{
	const struct metrics_list *list;
	exposition_begin(to, EXPOSITION_GAUGE, "mired_list_networks", "networks of a list");
	for (size_t i = 0; (list = list_at(lists, i)) != NULL; i++) {
		exposition_count(to, &(struct exposition_label){"list", list->name},
		                 list->n_networks);
	}
	exposition_begin(to, EXPOSITION_GAUGE, "mired_list_loaded_timestamp_seconds",
	                 "when a list was loaded, since 1970");
	for (size_t i = 0; (list = list_at(lists, i)) != NULL; i++) {
		exposition_number(to, &(struct exposition_label){"list", list->name},
		                  (double)list->loaded_secs);
	}
}

/* --- peers ------------------------------------------------------------------------------------ */

struct peer {
	char name[METRICS_NAME_MAX];
	int64_t contact_secs;
	uint64_t n_received, n_sent, n_faults;
};

/* Each of the configured names, and behind them, where there are any, the others. */
struct peers {
	struct peer peer[METRICS_NAMED_MAX + 1];
	size_t n;
};

/* NULL: there is no place for it. */
static struct peer *find_peer(struct peers *peers, const char *name)
{
	for (size_t i = 0; i < peers->n; i++) {
		if (strcmp(peers->peer[i].name, name) == 0) {
			return &peers->peer[i];
		}
	}
	if (peers->n == METRICS_NAMED_MAX) {
		return NULL;
	}
	struct peer *peer = &peers->peer[peers->n++];
	*peer = (struct peer){.n_faults = 0};
	(void)snprintf(peer->name, sizeof peer->name, "%s", name);
	return peer;
}

static uint64_t sum_of(const uint64_t *values, size_t n)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++) {
		sum += values[i];
	}
	return sum;
}

static void add_peer(struct peer *to, const struct syncer_peer_figures *from)
{
	to->contact_secs = from->last_contact_secs > to->contact_secs ? from->last_contact_secs
	                                                              : to->contact_secs;
	to->n_received += sum_of(from->in, ARRAY_LEN(from->in));
	to->n_sent += sum_of(from->out, ARRAY_LEN(from->out));
	to->n_faults += sum_of(from->dropped, ARRAY_LEN(from->dropped)) +
	                sum_of(from->refused, ARRAY_LEN(from->refused)) + from->out_failures;
}

/* Whoever sends a datagram gets a place among the peers, but only configured names become labels.
 */
static void gather_peers(struct peers *peers, const struct syncer_figures *sync)
{
	struct peer others = {.name = METRICS_OTHERS};
	bool has_others = false;
	*peers = (struct peers){.n = 0};
	for (size_t i = 0; i < sync->n_peers; i++) {
		char name[METRICS_NAME_MAX];
		name_of(name, span_of_str(sync->peers[i].name));
		bool is_other = name[0] == '\0' || strcmp(name, METRICS_OTHERS) == 0;
		struct peer *peer = is_other ? NULL : find_peer(peers, name);
		has_others |= !peer;
		add_peer(peer ? peer : &others, &sync->peers[i]);
	}
	if (has_others) {
		peers->peer[peers->n++] = others;
	}
}

static void write_peer_counter(struct exposition *to, const char *name, const char *help,
                               const struct peers *peers, size_t offset)
{
	exposition_begin(to, EXPOSITION_COUNTER, name, help);
	for (size_t i = 0; i < peers->n; i++) {
		uint64_t value = 0;
		memcpy(&value, (const char *)&peers->peer[i] + offset, sizeof value);
		exposition_count(to, &(struct exposition_label){"peer", peers->peer[i].name},
		                 value);
	}
}

void metrics_write_peers(struct exposition *to, const struct syncer_figures *sync)
{
	struct peers peers;
	gather_peers(&peers, sync);
	exposition_begin(to, EXPOSITION_GAUGE, "mired_sync_peer_contact_timestamp_seconds",
	                 "last signed datagram of a peer, since 1970; 0: never");
	for (size_t i = 0; i < peers.n; i++) {
		exposition_number(to, &(struct exposition_label){"peer", peers.peer[i].name},
		                  (double)peers.peer[i].contact_secs);
	}
	write_peer_counter(to, "mired_sync_peer_received_total", "blocks taken from a peer", &peers,
	                   offsetof(struct peer, n_received));
	write_peer_counter(to, "mired_sync_peer_sent_total", "blocks sent to a peer", &peers,
	                   offsetof(struct peer, n_sent));
	write_peer_counter(
	        to, "mired_sync_peer_faults_total",
	        "what a peer sent and was dropped or refused, and what could not be sent", &peers,
	        offsetof(struct peer, n_faults));
}
