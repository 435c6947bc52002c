/* Every counter stands in one of the object's groups: the table below names which, and has exactly
 * one row a counter. What is no counter is added by hand after it. */
#include "mired/status.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef MIRED_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "store/store_space.h"

// clang-format off
static const struct {
	enum counter counter;
	const char *group;
	const char *name;
} rows[] = {
	{COUNTER_accepted, "connections", "total"},
	{COUNTER_closed, "connections", "closed"},
	{COUNTER_class_grey, "connections", "total_grey"},
	{COUNTER_class_white, "connections", "total_white"},
	{COUNTER_class_listed, "connections", "total_listed"},
	{COUNTER_class_trapped, "connections", "total_trapped"},
	{COUNTER_listed_unstuttered, "connections", "listed_unstuttered"},
	{COUNTER_tarpit_seconds, "connections", "tarpit_secs"},
	{COUNTER_connections_passed, "connections", "passed"},
	{COUNTER_bytes_stuttered, "bytes", "stuttered"},
	{COUNTER_bytes_sent, "bytes", "sent"},
	{COUNTER_bytes_received, "bytes", "received"},
	{COUNTER_commands, "dialogue", "commands"},
	{COUNTER_bad_commands, "dialogue", "bad_commands"},
	{COUNTER_long_lines, "dialogue", "long_lines"},
	{COUNTER_deferred, "greylist", "deferred"},
	{COUNTER_deferred_unstored, "greylist", "deferred_unstored"},
	{COUNTER_tuples_new, "greylist", "new"},
	{COUNTER_tuples_early, "greylist", "early"},
	{COUNTER_burst_tuples, "store", "burst_tuples"},
	{COUNTER_tuples_passed, "greylist", "passed"},
	{COUNTER_hosts_promoted, "greylist", "promoted"},
	{COUNTER_hosts_reasserted, "greylist", "reasserted"},
	{COUNTER_tuples_no_helo, "greylist", "no_helo"},
	{COUNTER_events_delayed, "greylist", "events_delayed"},
	{COUNTER_expired_tuples, "greylist", "expired_tuples"},
	{COUNTER_expired_hosts, "greylist", "expired_hosts"},
	{COUNTER_clock_jumps, "clock", "jumps"},
	{COUNTER_commits, "store", "commits"},
	{COUNTER_commit_failures, "store", "commit_failures"},
	{COUNTER_commits_slow, "store", "commits_slow"},
	{COUNTER_changes, "store", "changes"},
	{COUNTER_sync_applied, "sync", "applied"},
	{COUNTER_sync_stale, "sync", "stale"},
	{COUNTER_store_bad_records, "store", "bad_records"},
	{COUNTER_cache_evictions, "store", "cache_evictions"},
	{COUNTER_fw_changes_sent, "firewall", "changes_sent"},
	{COUNTER_fw_fills, "firewall", "fills"},
	{COUNTER_fw_feed_behind, "firewall", "feed_behind"},
	{COUNTER_trap_hits, "traps", "hits"},
	{COUNTER_hosts_trapped, "traps", "hosts_trapped"},
	{COUNTER_lists_loaded, "lists", "loaded"},
	{COUNTER_lists_refused, "lists", "refused"},
	{COUNTER_hosts_delisted, "lists", "delisted"},
	{COUNTER_sync_sent, "sync", "datagrams_sent"},
	{COUNTER_sync_received, "sync", "datagrams_received"},
	{COUNTER_sync_dropped, "sync", "datagrams_dropped"},
	{COUNTER_sync_refused, "sync", "blocks_refused"},
	{COUNTER_ctl_requests, "control", "requests"},
	{COUNTER_ctl_refused, "control", "refused"},
	{COUNTER_ctl_bad_requests, "control", "bad_requests"},
	{COUNTER_seen_dropped, "control", "seen_dropped"},
	{COUNTER_cfg_sessions, "control", "cfg_sessions"},
	{COUNTER_cfg_refused, "control", "cfg_refused"},
	{COUNTER_over_limit, "drops", "over_limit"},
	{COUNTER_ring_full, "drops", "ring_full"},
	{COUNTER_accept_errors, "drops", "accept_errors"},
	{COUNTER_read_timeouts, "drops", "read_timeouts"},
	{COUNTER_write_timeouts, "drops", "write_timeouts"},
	{COUNTER_peer_closed, "drops", "peer_closed"},
	{COUNTER_stale_completions, "drops", "stale_completions"},
	{COUNTER_no_text_memory, "drops", "no_text_memory"},
	{COUNTER_log_dropped, "drops", "log_lines"},
	{COUNTER_log_suppressed, "drops", "log_suppressed"},
};
// clang-format on
static_assert(ARRAY_LEN(rows) == COUNTER_COUNT, "each counter has a place in the status");

struct status_place status_place_of(enum counter which)
{
	size_t i = 0;
	while (rows[i].counter != which) { /* each has a row */
		i++;
	}
	return (struct status_place){rows[i].group, rows[i].name};
}

static json_t *group_of(json_t *top, const char *name)
{
	json_t *group = json_object_get(top, name);
	if (!group) {
		group = json_object();
		(void)json_object_set_new(top, name, group);
	}
	return group;
}

static void put_u64(json_t *top, const char *group, const char *name, uint64_t value)
{
	(void)json_object_set_new(group_of(top, group), name, json_integer((json_int_t)value));
}

static void put_bool(json_t *top, const char *group, const char *name, bool value)
{
	(void)json_object_set_new(group_of(top, group), name, json_boolean(value));
}

static void put_text(json_t *top, const char *group, const char *name, const char *value)
{
	(void)json_object_set_new(group_of(top, group), name, json_string(value));
}

static void put_ms(json_t *top, const char *group, const char *name, double value_ms)
{
	(void)json_object_set_new(group_of(top, group), name, json_real(value_ms));
}

static void put_counters(json_t *top, const struct counters *engine, const struct counters *control)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t value = counters_get(engine, rows[i].counter) +
		                 counters_get(control, rows[i].counter);
		put_u64(top, rows[i].group, rows[i].name, value);
	}
}

static void put_array(json_t *group, const char *name, const uint64_t *values, uint32_t n)
{
	json_t *array = json_array();
	for (uint32_t i = 0; i < n && i < CONF_WORKERS_MAX; i++) {
		(void)json_array_append_new(array, json_integer((json_int_t)values[i]));
	}
	(void)json_object_set_new(group, name, array);
}

static void put_connections(json_t *top, const struct engine_figures *figures)
{
	const struct engine_capacity *capacity = &figures->capacity;
	put_u64(top, "connections", "now", figures->conns_now);
	put_u64(top, "connections", "grey", figures->conns_grey);
	put_u64(top, "connections", "white", figures->conns_white);
	put_u64(top, "connections", "listed", figures->conns_listed);
	put_u64(top, "connections", "unknown", figures->conns_unknown);
	put_u64(top, "connections", "max_listed", capacity->max_listed);
	put_u64(top, "connections", "max", capacity->max_connections);
	put_u64(top, "connections", "per_ring", capacity->per_ring);
	json_t *group = group_of(top, "connections");
	(void)json_object_set_new(group, "limit", json_string(capacity->limit));
	put_array(group, "per_worker", figures->worker_conns, capacity->workers);
	put_array(group, "per_worker_accepted", figures->worker_accepted, capacity->workers);
}

/* As they are configured. */
static json_t *listen_json(const struct conf *conf)
{
	json_t *array = json_array();
	for (size_t i = 0; i < conf->n_listen; i++) {
		char addr[ADDR_TEXT_MAX];
		char text[ADDR_TEXT_MAX + sizeof "[]:65535"];
		(void)snprintf(text, sizeof text,
		               addr_is_v4(&conf->listen[i]) ? "%s:%u" : "[%s]:%u",
		               addr_format(&conf->listen[i], addr), conf->port);
		(void)json_array_append_new(array, json_string(text));
	}
	return array;
}

static uint64_t cpu_ms(void)
{
	struct timespec used = {0};
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * MS_PER_SEC + (uint64_t)(used.tv_nsec / NS_PER_MS);
}

static void put_engine(json_t *top, const struct engine_figures *figures, const struct conf *conf)
{
	json_t *group = group_of(top, "engine");
	(void)json_object_set_new(group, "listen", listen_json(conf));
	put_u64(top, "engine", "cpu_ms", cpu_ms());
	put_u64(top, "engine", "workers", figures->capacity.workers);
	(void)json_object_set_new(group, "accept_mode", json_string(figures->accept_mode));
	put_bool(top, "clock", "paused", figures->is_clock_paused);
}

static void put_pace(json_t *top, const struct engine_pace *pace)
{
	json_t *group = group_of(top, "pace");
	put_u64(top, "pace", "budget_per_sec", pace->budget_per_sec);
	put_u64(top, "pace", "carried_per_sec", pace->carried_per_sec);
	put_u64(top, "pace", "stuttered_per_sec", pace->stuttered_per_sec);
	(void)json_object_set_new(group, "stretch_listed", json_real(pace->stretch_listed));
	(void)json_object_set_new(group, "stretch_grey", json_real(pace->stretch_grey));
}

static void put_store(json_t *top, const struct engine_figures *figures)
{
	const struct store_stats *store = &figures->store;
	put_u64(top, "greylist", "tuples", store->n_tuples);
	put_u64(top, "greylist", "hosts", store->n_hosts);
	put_bool(top, "store", "degraded", figures->is_store_degraded);
	put_ms(top, "store", "commit_p50_ms", figures->commit_p50_ms);
	put_ms(top, "store", "commit_p99_ms", figures->commit_p99_ms);
	put_u64(top, "store", "used_bytes", store->used_bytes);
	put_u64(top, "store", "free_bytes", store->free_bytes);
	put_u64(top, "store", "map_bytes", store->map_bytes);
	put_text(top, "store", "space", store_space_name(store_space_of(store)));
	put_u64(top, "store", "expiry_rows", store->n_expiry);
	put_u64(top, "store", "journal_rows", store->n_journal);
	put_u64(top, "store", "last_seq", store->last_seq);
	put_u64(top, "store", "burst_waiting", store->n_waiting);
	put_u64(top, "store", "requests_waiting", figures->keeper_waiting);
	put_u64(top, "store", "cached_hosts", figures->cached_hosts);
	put_u64(top, "store", "cached_tuples", figures->cached_tuples);
}

static void put_firewall(json_t *top, const struct engine_figures *figures, const struct conf *conf)
{
	const struct msg_figures *firewall = &figures->firewall;
	put_bool(top, "firewall", "wanted", conf->firewall);
	put_bool(top, "firewall", "connected", figures->has_firewall);
	put_bool(top, "firewall", "complete", firewall->is_complete);
	put_u64(top, "firewall", "done_seq", figures->firewall_seq);
	put_ms(top, "firewall", "delay_p50_ms", figures->firewall_p50_ms);
	put_ms(top, "firewall", "delay_p99_ms", figures->firewall_p99_ms);
	put_u64(top, "firewall", "transactions", firewall->transactions);
	put_u64(top, "firewall", "failures", firewall->failures);
	put_u64(top, "firewall", "elements_added", firewall->elements_added);
	put_u64(top, "firewall", "elements_deleted", firewall->elements_deleted);
	put_u64(top, "firewall", "restores", firewall->restores);
	put_bool(top, "firewall", "has_refresh", firewall->has_refresh);
	put_bool(top, "firewall", "has_destroy", firewall->has_destroy);
}

static void put_lists(json_t *top, const struct engine_figures *figures)
{
	const struct lister_figures *lists = &figures->lists;
	put_u64(top, "lists", "in_force", lists->n_lists);
	put_u64(top, "lists", "networks", lists->n_networks);
	put_u64(top, "lists", "table_bytes", lists->table_bytes);
	put_u64(top, "lists", "swap_ms", lists->swap_ms);
	put_u64(top, "traps", "allowed_domains", lists->n_domains);
	put_u64(top, "traps", "addresses", figures->trap_addresses);
	put_u64(top, "traps", "address_bytes", figures->trap_address_bytes);
}

static const char *const refusal_names[SYNCER_REFUSED_COUNT] = {
        [SYNCER_REFUSED_SKEW] = "skew",
        [SYNCER_REFUSED_FULL] = "full",
        [SYNCER_REFUSED_KIND] = "kind",
};

/* What never happened is left out: 64 peers are to be read by people. */
static void set_count(json_t *object, const char *name, uint64_t value)
{
	if (value > 0) {
		(void)json_object_set_new(object, name, json_integer((json_int_t)value));
	}
}

static json_t *types_json(const uint64_t blocks[static SYNCER_TYPES_MAX])
{
	json_t *object = json_object();
	for (size_t i = 0; syncer_type_at(i) != 0; i++) {
		set_count(object, wire_type_name(syncer_type_at(i)), blocks[i]);
	}
	return object;
}

static json_t *peer_json(const struct syncer_peer_figures *peer)
{
	char text[INET_ADDRSTRLEN] = "";
	json_t *object = json_object();
	json_t *dropped = json_object();
	json_t *refused = json_object();
	(void)inet_ntop(AF_INET, &peer->addr_be, text, sizeof text);
	(void)json_object_set_new(object, "address", json_string(text));
	(void)json_object_set_new(object, "name", json_string(peer->name));
	(void)json_object_set_new(object, "last_contact_at",
	                          json_integer((json_int_t)peer->last_contact_secs));
	if (peer->last_contact_secs > 0) {
		int64_t silent_secs = clock_wall().secs - peer->last_contact_secs;
		(void)json_object_set_new(object, "silent_secs", json_integer(silent_secs));
	}
	for (enum wire_drop i = WIRE_OK + 1; i < WIRE_DROP_COUNT; i++) {
		set_count(dropped, wire_drop_name(i), peer->dropped[i]);
	}
	for (size_t i = 0; i < SYNCER_REFUSED_COUNT; i++) {
		set_count(refused, refusal_names[i], peer->refused[i]);
	}
	(void)json_object_set_new(object, "in", types_json(peer->in));
	(void)json_object_set_new(object, "out", types_json(peer->out));
	(void)json_object_set_new(object, "dropped", dropped);
	(void)json_object_set_new(object, "refused", refused);
	(void)json_object_set_new(object, "failures", json_integer((json_int_t)peer->out_failures));
	return object;
}

/* The supervisor ends the start for every other reason. */
static const char *why_not_synchronised(const struct conf *conf)
{
	if (!sync_is_wanted(conf)) {
		return "not configured";
	}
	return conf->blacklist_only ? "no greylist" : "no key";
}

static void put_sync(json_t *top, const struct engine_figures *figures, const struct conf *conf)
{
	const struct syncer_figures *sync = &figures->sync;
	json_t *peers = json_array();
	put_bool(top, "sync", "active", figures->has_sync);
	put_text(top, "sync", "reason", figures->has_sync ? "" : why_not_synchronised(conf));
	put_bool(top, "sync", "receiving", sync->is_receiving);
	put_bool(top, "sync", "sending", sync->is_sending);
	put_bool(top, "sync", "empty_key", sync->is_empty_key);
	put_u64(top, "sync", "cursor", sync->cursor);
	put_u64(top, "sync", "behind", sync->n_behind);
	put_u64(top, "sync", "too_long", sync->n_too_long);
	put_u64(top, "sync", "lost", sync->n_lost);
	put_u64(top, "sync", "strangers_dropped", sync->n_strangers_dropped);
	for (size_t i = 0; i < sync->n_peers; i++) {
		(void)json_array_append_new(peers, peer_json(&sync->peers[i]));
	}
	(void)json_object_set_new(group_of(top, "sync"), "peers", peers);
}

/* Second field of statm: resident pages. */
static uint64_t resident_set_bytes(void)
{
	unsigned long long total = 0;
	unsigned long long resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	if (!file) {
		return 0;
	}
	int n = fscanf(file, "%llu %llu", &total, &resident); // NOLINT(cert-err34-c): kernel text
	(void)fclose(file);
	return n == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void put_memory(json_t *top)
{
	put_u64(top, "memory", "rss_bytes", resident_set_bytes());
#ifdef MIRED_JEMALLOC
	static const char *const names[][2] = {{"stats.allocated", "allocated_bytes"},
	                                       {"stats.resident", "resident_bytes"}};
	uint64_t epoch = 1; /* writing it makes jemalloc take its figures anew */
	(void)mallctl("epoch", NULL, NULL, &epoch, sizeof epoch);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		size_t value = 0;
		size_t len = sizeof value;
		if (mallctl(names[i][0], &value, &len, NULL, 0) == 0) {
			put_u64(top, "memory", names[i][1], value);
		}
	}
#endif
}

json_t *status_json(const struct engine_figures *figures, const struct counters *control,
                    const struct conf *conf, struct mono started)
{
	json_t *top = json_object();
	int64_t uptime_ms = mono_diff_ms(clock_mono(), started);
	(void)json_object_set_new(top, "version", json_string(MIRED_VERSION));
	(void)json_object_set_new(top, "pid", json_integer(getpid()));
	(void)json_object_set_new(top, "uptime_secs", json_integer(uptime_ms / MS_PER_SEC));
	put_connections(top, figures);
	put_counters(top, &figures->totals, control);
	put_store(top, figures);
	put_firewall(top, figures, conf);
	put_lists(top, figures);
	put_sync(top, figures, conf);
	put_engine(top, figures, conf);
	put_pace(top, &figures->pace);
	put_memory(top);
	return top;
}
