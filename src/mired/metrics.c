/* Counters are named mired_NAME_total with the NAME of base/counters.h; a unit in front of it goes
 * to the end, as the names of Prometheus want it (bytes_sent: mired_sent_bytes_total). Two groups
 * of them are families with a label: what class a connection was of, and why something was dropped.
 */
#include "mired/metrics.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "mired/status.h"

#define MS_IN_SEC  1000.0
#define CLASS_NAME "class_"
#define DROP_GROUP "drops"

static_assert(sizeof(size_t) == sizeof(uint64_t), "sizes are read as counts");

/* --- counters of base/counters.h -------------------------------------------------------------- */

static uint64_t counter_value(const struct metrics_input *input, enum counter which)
{
	return counters_get(&input->figures->totals, which) + counters_get(input->control, which);
}

static bool is_class(enum counter which)
{
	return strncmp(counter_name(which), CLASS_NAME, strlen(CLASS_NAME)) == 0;
}

static bool is_drop(enum counter which)
{
	return strcmp(status_place_of(which).group, DROP_GROUP) == 0;
}

static void write_classes(struct exposition *to, const struct metrics_input *input)
{
	exposition_begin(to, EXPOSITION_COUNTER, "mired_connections_total",
	                 "connections by what their host was known as");
	for (enum counter i = 0; i < COUNTER_COUNT; i++) {
		if (is_class(i)) {
			exposition_count(to,
			                 &(struct exposition_label){
			                         "class", counter_name(i) + strlen(CLASS_NAME)},
			                 counter_value(input, i));
		}
	}
}

static void write_drops(struct exposition *to, const struct metrics_input *input)
{
	exposition_begin(to, EXPOSITION_COUNTER, "mired_drops_total",
	                 "connections and lines given up, see drops in mired-ctl(7)");
	for (enum counter i = 0; i < COUNTER_COUNT; i++) {
		if (is_drop(i)) {
			struct exposition_label reason = {"reason", status_place_of(i).name};
			exposition_count(to, &reason, counter_value(input, i));
		}
	}
}

static void write_counter(struct exposition *to, const struct metrics_input *input,
                          enum counter which)
{
	static const char unit[] = "bytes_";
	char name[EXPOSITION_NAME_MAX];
	const char *own = counter_name(which);
	bool has_unit = strncmp(own, unit, strlen(unit)) == 0;
	(void)snprintf(name, sizeof name, "mired_%s%s_total", has_unit ? own + strlen(unit) : own,
	               has_unit ? "_bytes" : "");
	exposition_begin(to, EXPOSITION_COUNTER, name, counter_help(which));
	exposition_count(to, NULL, counter_value(input, which));
}

static void write_counters(struct exposition *to, const struct metrics_input *input)
{
	write_classes(to, input);
	write_drops(to, input);
	for (enum counter i = 0; i < COUNTER_COUNT; i++) {
		if (!is_class(i) && !is_drop(i)) {
			write_counter(to, input, i);
		}
	}
}

/* --- figures that stand in struct engine_figures as they are ---------------------------------- */

enum kind { KIND_BOOL, KIND_U32, KIND_U64, KIND_DOUBLE };

#define AT(member) offsetof(struct engine_figures, member)

/* A row with a label and without a help is one more sample of the family above it. */
// clang-format off
static const struct {
	enum exposition_type type;
	enum kind kind;
	size_t offset;
	const char *name;
	const char *help;
	struct exposition_label label;
} rows[] = {
	{EXPOSITION_GAUGE, KIND_U64, AT(conns_grey), "mired_held_connections",
	 "connections now, by what their host is known as", {"class", "grey"}},
	{EXPOSITION_GAUGE, KIND_U64, AT(conns_white), NULL, NULL, {"class", "white"}},
	{EXPOSITION_GAUGE, KIND_U64, AT(conns_listed), NULL, NULL, {"class", "listed"}},
	{EXPOSITION_GAUGE, KIND_U64, AT(conns_unknown), NULL, NULL, {"class", "unknown"}},
	{EXPOSITION_GAUGE, KIND_U32, AT(capacity.max_connections), "mired_connections_limit",
	 "connections that can be held", {0}},
	{EXPOSITION_GAUGE, KIND_U32, AT(capacity.max_listed), "mired_connections_listed_limit",
	 "listed connections beyond these are not stuttered", {0}},
	{EXPOSITION_GAUGE, KIND_U32, AT(capacity.workers), "mired_workers",
	 "threads that hold connections", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(pace.budget_per_sec), "mired_stutter_budget_bytes_per_second",
	 "stuttered bytes a second that are allowed (byte-budget)", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(pace.carried_per_sec),
	 "mired_stutter_carried_bytes_per_second", "what of the budget the machine carries now", {0}},
	{EXPOSITION_GAUGE, KIND_DOUBLE, AT(pace.stretch_listed), "mired_stutter_stretch_ratio",
	 "how many times as long as configured a byte takes now", {"class", "listed"}},
	{EXPOSITION_GAUGE, KIND_DOUBLE, AT(pace.stretch_grey), NULL, NULL, {"class", "grey"}},
	{EXPOSITION_GAUGE, KIND_U64, AT(store.n_tuples), "mired_store_tuples",
	 "tuples stored", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(store.n_hosts), "mired_store_hosts",
	 "hosts stored, white and trapped", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(store.n_waiting), "mired_store_burst_tuples",
	 "tuples of a burst that are on disk and wait for their places", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(store.n_journal), "mired_store_journal_rows",
	 "changes kept for those who follow", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(store.used_bytes), "mired_store_used_bytes",
	 "bytes of the store in use", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(store.free_bytes), "mired_store_free_bytes",
	 "bytes of the store's file that wait for reuse", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(store.map_bytes), "mired_store_limit_bytes",
	 "bytes the store can hold (store-map)", {0}},
	{EXPOSITION_GAUGE, KIND_BOOL, AT(is_store_degraded), "mired_store_degraded",
	 "1: commits fail at present", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(keeper_waiting), "mired_store_waiting_requests",
	 "requests and changes that wait for a commit", {0}},
	{EXPOSITION_GAUGE, KIND_BOOL, AT(is_clock_paused), "mired_clock_paused",
	 "1: nothing expires until the clock is confirmed (miredctl clock-ok)", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(cached_hosts), "mired_cache_entries",
	 "entries of a cache in use", {"cache", "hosts"}},
	{EXPOSITION_GAUGE, KIND_U64, AT(cached_tuples), NULL, NULL, {"cache", "tuples"}},
	{EXPOSITION_GAUGE, KIND_BOOL, AT(has_firewall), "mired_firewall_connected",
	 "1: the firewall role runs", {0}},
	{EXPOSITION_GAUGE, KIND_BOOL, AT(firewall.is_complete), "mired_firewall_complete",
	 "1: table, elements and chains stand", {0}},
	{EXPOSITION_COUNTER, KIND_U64, AT(firewall.transactions),
	 "mired_firewall_transactions_total", "transactions of the packet filter", {0}},
	{EXPOSITION_COUNTER, KIND_U64, AT(firewall.failures), "mired_firewall_failures_total",
	 "transactions that the kernel refused", {0}},
	{EXPOSITION_COUNTER, KIND_U64, AT(firewall.elements_added),
	 "mired_firewall_elements_added_total", "elements put into sets", {0}},
	{EXPOSITION_COUNTER, KIND_U64, AT(firewall.elements_deleted),
	 "mired_firewall_elements_deleted_total", "elements taken out of sets", {0}},
	{EXPOSITION_COUNTER, KIND_U64, AT(firewall.restores), "mired_firewall_restores_total",
	 "times the table was gone and was made again", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(lists.n_lists), "mired_lists", "lists in force", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(lists.table_bytes), "mired_lists_memory_bytes",
	 "what their table takes", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(lists.n_domains), "mired_allowed_domains",
	 "entries of the file of allowed domains", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(trap_addresses), "mired_spamtraps",
	 "spamtrap addresses", {0}},
	{EXPOSITION_GAUGE, KIND_BOOL, AT(has_sync), "mired_sync_active",
	 "1: this host is synchronised with others", {0}},
	{EXPOSITION_GAUGE, KIND_U64, AT(sync.n_behind), "mired_sync_waiting_changes",
	 "changes that peers have not been told of", {0}},
	{EXPOSITION_COUNTER, KIND_U64, AT(sync.n_lost), "mired_sync_lost_total",
	 "times the journal no longer reached back to what peers know", {0}},
	{EXPOSITION_COUNTER, KIND_U64, AT(sync.n_strangers_dropped),
	 "mired_sync_strangers_dropped_total", "datagrams of hosts for which there was no place", {0}},
};
// clang-format on

#undef AT

static uint64_t read_count(const char *at, enum kind kind)
{
	bool truth = false;
	uint32_t u32 = 0;
	uint64_t u64 = 0;
	switch (kind) {
	case KIND_BOOL:
		memcpy(&truth, at, sizeof truth);
		return truth;
	case KIND_U32:
		memcpy(&u32, at, sizeof u32);
		return u32;
	case KIND_U64:
	case KIND_DOUBLE:
		break;
	}
	memcpy(&u64, at, sizeof u64);
	return u64;
}

static void write_row(struct exposition *to, const struct engine_figures *figures, size_t row)
{
	const struct exposition_label *label = rows[row].label.name ? &rows[row].label : NULL;
	const char *at = (const char *)figures + rows[row].offset;
	double number = 0;
	if (rows[row].name) {
		exposition_begin(to, rows[row].type, rows[row].name, rows[row].help);
	}
	if (rows[row].kind == KIND_DOUBLE) {
		memcpy(&number, at, sizeof number);
		exposition_number(to, label, number);
	} else {
		exposition_count(to, label, read_count(at, rows[row].kind));
	}
}

static void write_rows(struct exposition *to, const struct engine_figures *figures)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		write_row(to, figures, i);
	}
}

/* --- figures that are worked out -------------------------------------------------------------- */

static void write_gauge(struct exposition *to, const char *name, const char *help, double value)
{
	exposition_begin(to, EXPOSITION_GAUGE, name, help);
	exposition_number(to, NULL, value);
}

static void write_balance(struct exposition *to, const struct engine_figures *figures)
{
	uint64_t least = figures->worker_conns[0];
	uint64_t most = least;
	for (uint32_t i = 1; i < figures->capacity.workers && i < CONF_WORKERS_MAX; i++) {
		uint64_t n = figures->worker_conns[i];
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	exposition_begin(to, EXPOSITION_GAUGE, "mired_worker_connections",
	                 "connections of the worker that holds fewest and of the one that holds "
	                 "most");
	exposition_count(to, &(struct exposition_label){"which", "fewest"}, least);
	exposition_count(to, &(struct exposition_label){"which", "most"}, most);
}

static void write_slots(struct exposition *to, const struct conf *conf)
{
	exposition_begin(to, EXPOSITION_GAUGE, "mired_cache_slots", "entries a cache can hold");
	exposition_count(to, &(struct exposition_label){"cache", "hosts"}, conf->host_cache_slots);
	exposition_count(to, &(struct exposition_label){"cache", "tuples"},
	                 conf->tuple_cache_slots);
}

static void write_latency(struct exposition *to, const char *name, const char *help,
                          const struct latency_figures *latency)
{
	exposition_begin(to, EXPOSITION_HISTOGRAM, name, help);
	exposition_histogram(to, latency);
}

static void write_latencies(struct exposition *to, const struct engine_figures *figures)
{
	write_latency(to, "mired_commit_duration_seconds", "what a commit to the store took",
	              &figures->commit);
	write_latency(to, "mired_rcpt_durable_seconds",
	              "from RCPT until its new tuple or trap was on disk", &figures->durable);
	write_latency(to, "mired_firewall_delay_seconds",
	              "from a commit until the kernel's sets had what it decided",
	              &figures->firewall_delay);
}

static void write_worked_out(struct exposition *to, const struct metrics_input *input)
{
	const struct engine_figures *figures = input->figures;
	uint64_t last = figures->store.last_seq;
	uint64_t done = figures->firewall_seq < last ? figures->firewall_seq : last;
	exposition_begin(to, EXPOSITION_GAUGE, "mired_build_info", "the version that runs");
	exposition_count(to, &(struct exposition_label){"version", MIRED_VERSION}, 1);
	write_gauge(to, "mired_start_time_seconds", "when the engine started, since 1970",
	            (double)input->started.secs);
	write_gauge(to, "mired_firewall_configured", "1: mired keeps sets in the packet filter",
	            input->conf->firewall ? 1 : 0);
	write_gauge(to, "mired_firewall_waiting_changes",
	            "changes of the store that the kernel is not known to have",
	            figures->has_firewall ? (double)(last - done) : 0);
	write_gauge(to, "mired_lists_swap_seconds", "what putting the last list in force took",
	            (double)figures->lists.swap_ms / MS_IN_SEC);
	write_balance(to, figures);
	write_slots(to, input->conf);
	write_latencies(to, figures);
}

/* --- processes -------------------------------------------------------------------------------- */

static struct exposition_label role_of(const struct processes *processes, size_t i)
{
	return (struct exposition_label){"role", processes->process[i].role};
}

static void write_processes(struct exposition *to, const struct processes *processes)
{
	exposition_begin(to, EXPOSITION_COUNTER, "mired_process_cpu_seconds_total",
	                 "processor time used");
	for (size_t i = 0; i < processes->n; i++) {
		struct exposition_label role = role_of(processes, i);
		exposition_number(to, &role, (double)processes->process[i].cpu_ms / MS_IN_SEC);
	}
	exposition_begin(to, EXPOSITION_GAUGE, "mired_process_resident_memory_bytes",
	                 "memory in use, without the kernel's for connections");
	for (size_t i = 0; i < processes->n; i++) {
		struct exposition_label role = role_of(processes, i);
		exposition_count(to, &role, processes->process[i].resident_bytes);
	}
	exposition_begin(to, EXPOSITION_GAUGE, "mired_process_open_fds",
	                 "open files, without connections");
	for (size_t i = 0; i < processes->n; i++) {
		struct exposition_label role = role_of(processes, i);
		if (processes->process[i].n_files > 0) {
			exposition_count(to, &role, processes->process[i].n_files);
		}
	}
}

/* --- all of it -------------------------------------------------------------------------------- */

char *metrics_text(const struct metrics_input *input, enum exposition_format format)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	if (!out) {
		return NULL;
	}
	struct exposition to = {.out = out, .format = format};
	write_worked_out(&to, input);
	write_rows(&to, input->figures);
	metrics_write_lists(&to, input->lists);
	metrics_write_peers(&to, &input->figures->sync);
	write_processes(&to, input->processes);
	write_counters(&to, input);
	exposition_end(&to);
	bool is_whole = !ferror(out);
	if (fclose(out) != 0 || !is_whole) {
		free(text);
		return NULL;
	}
	return text;
}
