/* A row of the table is a figure: where it stands in the answers and how it is written. A figure
 * that is not in the answer (an older daemon) is left out. */
#include "miredctl/top_figures.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/span.h"

enum { PERCENT = 100, FIGURES_MAX = 12, MEMBERS_MAX = 32, PEERS_MAX = 64, WORKERS_MAX = 64 };

typedef void figure_text(const struct top_view *view, const json_t *value, const json_t *before,
                         char out[static TEXT_NAME_MAX]);

/* --- how figures are written; out is "" for what is left out --- */

static void as_count(const struct top_view *view, const json_t *value, const json_t *before,
                     char out[static TEXT_NAME_MAX])
{
	(void)view;
	(void)before;
	(void)text_count(json_number_value(value), out);
}

static void as_count_if_any(const struct top_view *view, const json_t *value, const json_t *before,
                            char out[static TEXT_NAME_MAX])
{
	if (json_number_value(value) > 0) {
		as_count(view, value, before, out);
	}
}

static void as_bytes(const struct top_view *view, const json_t *value, const json_t *before,
                     char out[static TEXT_NAME_MAX])
{
	(void)view;
	(void)before;
	(void)text_bytes(json_number_value(value), out);
}

static void as_bytes_per_sec(const struct top_view *view, const json_t *value, const json_t *before,
                             char out[static TEXT_NAME_MAX])
{
	char text[TEXT_NUMBER_MAX];
	(void)view;
	(void)before;
	(void)snprintf(out, TEXT_NAME_MAX, "%s/s", text_bytes(json_number_value(value), text));
}

static void as_ms(const struct top_view *view, const json_t *value, const json_t *before,
                  char out[static TEXT_NAME_MAX])
{
	double ms = json_number_value(value);
	(void)view;
	(void)before;
	(void)snprintf(out, TEXT_NAME_MAX, ms < 10 ? "%.2fms" : "%.0fms", ms);
}

static void as_factor(const struct top_view *view, const json_t *value, const json_t *before,
                      char out[static TEXT_NAME_MAX])
{
	(void)view;
	(void)before;
	(void)snprintf(out, TEXT_NAME_MAX, "x%.2f", json_number_value(value));
}

static void as_word(const struct top_view *view, const json_t *value, const json_t *before,
                    char out[static TEXT_NAME_MAX])
{
	(void)view;
	(void)before;
	if (json_is_string(value)) {
		(void)text_of(value, out, TEXT_NAME_MAX);
	} else {
		(void)snprintf(out, TEXT_NAME_MAX, "%s", json_is_true(value) ? "yes" : "no");
	}
}

/* False: there is no earlier figure of the same process. */
static bool rate_of(const struct top_view *view, const json_t *value, const json_t *before,
                    double *out)
{
	double secs = view->now.at_secs - view->before.at_secs;
	json_int_t pid = json_integer_value(json_object_get(view->now.status, "pid"));
	json_int_t pid_before = json_integer_value(json_object_get(view->before.status, "pid"));
	double more = json_number_value(value) - json_number_value(before);
	*out = secs > 0 ? more / secs : 0;
	return before && secs > 0 && pid == pid_before && more >= 0;
}

static void as_rate(const struct top_view *view, const json_t *value, const json_t *before,
                    char out[static TEXT_NAME_MAX])
{
	double rate;
	if (!rate_of(view, value, before, &rate)) {
		(void)snprintf(out, TEXT_NAME_MAX, "-");
	} else if (rate > 0 && rate < 10) {
		(void)snprintf(out, TEXT_NAME_MAX, "%.1f", rate);
	} else {
		(void)text_count(rate, out);
	}
}

static void as_byte_rate(const struct top_view *view, const json_t *value, const json_t *before,
                         char out[static TEXT_NAME_MAX])
{
	double rate;
	(void)snprintf(out, TEXT_NAME_MAX, "-");
	if (rate_of(view, value, before, &rate)) {
		(void)text_bytes(rate, out);
	}
}

/* Of milliseconds of processor time: 100 % is one processor. */
static void as_cpu(const struct top_view *view, const json_t *value, const json_t *before,
                   char out[static TEXT_NAME_MAX])
{
	double rate;
	(void)snprintf(out, TEXT_NAME_MAX, "-");
	if (rate_of(view, value, before, &rate)) {
		(void)snprintf(out, TEXT_NAME_MAX, "%.1f%%", rate / 1000 * PERCENT);
	}
}

static const json_t *find(const json_t *top, const char *group, const char *key)
{
	return json_object_get(group ? json_object_get(top, group) : top, key);
}

/* Of used bytes, among which are no free ones. */
static void as_map_share(const struct top_view *view, const json_t *value, const json_t *before,
                         char out[static TEXT_NAME_MAX])
{
	double map_bytes = json_number_value(find(view->now.status, "store", "map_bytes"));
	double used_bytes = json_number_value(value);
	(void)before;
	if (map_bytes > 0) {
		(void)snprintf(out, TEXT_NAME_MAX, "%.0f%%", used_bytes / map_bytes * PERCENT);
	}
}

/* Changes on disk that the kernel does not have. */
static void as_behind(const struct top_view *view, const json_t *value, const json_t *before,
                      char out[static TEXT_NAME_MAX])
{
	double last = json_number_value(find(view->now.status, "store", "last_seq"));
	double done = json_number_value(value);
	(void)before;
	(void)text_count(last > done ? last - done : 0, out);
}

/* --- figures by section --- */

struct figure {
	const char *name; /* "": the value alone */
	const char *group;
	const char *key;
	figure_text *text;
};

/* Figures that are not known beforehand: the members of an object, the items of a list. */
typedef bool more_figures(const struct top_view *view, size_t idx, char out[static TEXT_ROW_MAX]);

static more_figures more_drops;
static more_figures more_peers;
static more_figures more_states;
static more_figures more_workers;

// clang-format off
static const struct section {
	const char *name;
	bool is_extra;   /* only where there is room in plenty */
	more_figures *more;
	struct figure figures[FIGURES_MAX]; /* what matters most first: the rest may find no room */
} sections[] = {
	{"held", false, NULL, {
		{"",           "connections", "now",     as_count},
		{"of",         "connections", "max",     as_count},
		{"grey",       "connections", "grey",    as_count},
		{"white",      "connections", "white",   as_count},
		{"listed",     "classes",     "listed",  as_count},
		{"trapped",    "classes",     "trapped", as_count},
		{"passive",    "classes",     "passive", as_count_if_any},
		{"unknown",    "connections", "unknown", as_count},
		{"unstuttered so far", "connections", "listed_unstuttered", as_count_if_any},
	}},
	{"dialogue", true, more_states, {{0}}},
	{"a second", false, NULL, {
		{"accepted",   "connections", "total",   as_rate},
		{"closed",     "connections", "closed",  as_rate},
		{"deferred",   "greylist", "deferred",   as_rate},
		{"passed",     "connections", "passed",  as_rate},
		{"trapped",    "traps", "hosts_trapped", as_rate},
		{"stutter",    "bytes", "stuttered",     as_byte_rate},
		{"new tuples", "greylist", "new",        as_rate},
		{"early",      "greylist", "early",      as_rate},
		{"whitelisted", "greylist", "promoted",  as_rate},
		{"trap hits",  "traps", "hits",          as_rate},
		{"commands",   "dialogue", "commands",   as_rate},
		{"received",   "bytes", "received",      as_byte_rate},
	}},
	{"pace", false, NULL, {
		{"stuttered",  "pace", "stuttered_per_sec", as_bytes_per_sec},
		{"of",         "pace", "budget_per_sec", as_bytes_per_sec},
		{"stretch listed", "pace", "stretch_listed", as_factor},
		{"grey",       "pace", "stretch_grey",   as_factor},
		{"carried",    "pace", "carried_per_sec", as_bytes_per_sec},
	}},
	{"store", false, NULL, {
		{"tuples",     "greylist", "tuples",     as_count},
		{"hosts",      "greylist", "hosts",       as_count},
		{"spamtraps",  "traps", "addresses",     as_count},
		{"commit p50", "store", "commit_p50_ms", as_ms},
		{"p99",        "store", "commit_p99_ms", as_ms},
		{"map",        "store", "used_bytes",    as_map_share},
		{"waiting",    "store", "requests_waiting", as_count_if_any},
		{"unsettled",  "store", "burst_waiting", as_count_if_any},
		{"commits/s",  "store", "commits",       as_rate},
		{"failures",   "store", "commit_failures", as_count_if_any},
		{"bad records", "store", "bad_records",  as_count_if_any},
	}},
	{"firewall", false, NULL, {
		{"complete",   "firewall", "complete",   as_word},
		{"behind",     "firewall", "done_seq",   as_behind},
		{"delay p50",  "firewall", "delay_p50_ms", as_ms},
		{"p99",        "firewall", "delay_p99_ms", as_ms},
		{"added/s",    "firewall", "elements_added", as_rate},
		{"deleted/s",  "firewall", "elements_deleted", as_rate},
		{"failures",   "firewall", "failures",   as_count_if_any},
		{"restores",   "firewall", "restores",   as_count_if_any},
	}},
	{"lists", false, NULL, {
		{"in force",   "lists", "in_force",      as_count},
		{"networks",   "lists", "networks",      as_count},
		{"refused",    "lists", "refused",       as_count_if_any},
		{"delisted",   "lists", "delisted",      as_count_if_any},
	}},
	{"sync", false, more_peers, {
		{"active",     "sync", "active",         as_word},
		{"behind",     "sync", "behind",         as_count_if_any},
		{"in/s",       "sync", "datagrams_received", as_rate},
		{"out/s",      "sync", "datagrams_sent", as_rate},
		{"refused",    "sync", "blocks_refused", as_count_if_any},
	}},
	{"drops", false, more_drops, {{0}}},
	{"daemon", false, NULL, {
		{"memory",     "memory", "rss_bytes",    as_bytes},
		{"cpu",        "engine", "cpu_ms",       as_cpu},
		{"workers",    "engine", "workers",      as_count},
		{"accept",     "engine", "accept_mode",  as_word},
		{"clock jumps", "clock", "jumps",        as_count_if_any},
	}},
	{"workers", true, more_workers, {{0}}},
};
// clang-format on

/* The idx-th member that is more than 0. */
static bool member_figure(json_t *object, size_t idx, char out[static TEXT_ROW_MAX])
{
	const char *name;
	json_t *value;
	size_t i = 0;
	json_object_foreach(object, name, value)
	{
		char number[TEXT_NUMBER_MAX];
		char words[TEXT_NAME_MAX];
		if (json_number_value(value) > 0 && i++ == idx) {
			(void)snprintf(out, TEXT_ROW_MAX, "%s %s",
			               span_escape(span_of_str(name), words, sizeof words),
			               text_count(json_number_value(value), number));
			return idx < MEMBERS_MAX;
		}
	}
	return false;
}

static bool more_drops(const struct top_view *view, size_t idx, char out[static TEXT_ROW_MAX])
{
	json_t *drops = json_object_get(view->now.status, "drops");
	if (member_figure(drops, idx, out)) {
		return true;
	}
	(void)snprintf(out, TEXT_ROW_MAX, "none");
	return drops && idx == 0;
}

static bool more_states(const struct top_view *view, size_t idx, char out[static TEXT_ROW_MAX])
{
	return member_figure(json_object_get(view->now.held, "states"), idx, out);
}

/* Negative: never heard. */
static double silence_of(const json_t *peer)
{
	const json_t *silent = json_object_get(peer, "silent_secs");
	return silent ? json_number_value(silent) : -1;
}

/* Whoever was silent longest comes first, those never heard last: there may be many, and no
 * protocol says that a group speaks. */
static bool is_before(const json_t *peers, size_t a, size_t b)
{
	double secs_a = silence_of(json_array_get(peers, a));
	double secs_b = silence_of(json_array_get(peers, b));
	return secs_a > secs_b || (secs_a >= secs_b && a < b);
}

static const json_t *peer_in_order(const json_t *peers, size_t idx)
{
	size_t n = json_array_size(peers) < PEERS_MAX ? json_array_size(peers) : PEERS_MAX;
	for (size_t i = 0; i < n; i++) {
		size_t n_before = 0;
		for (size_t j = 0; j < n; j++) {
			n_before += is_before(peers, j, i);
		}
		if (n_before == idx) {
			return json_array_get(peers, i);
		}
	}
	return NULL;
}

static bool more_peers(const struct top_view *view, size_t idx, char out[static TEXT_ROW_MAX])
{
	const json_t *peer = peer_in_order(find(view->now.status, "sync", "peers"), idx);
	double silent_secs = silence_of(peer);
	char name[TEXT_NAME_MAX];
	char secs[TEXT_NUMBER_MAX];
	(void)text_of(json_object_get(peer, "name"), name, sizeof name);
	if (name[0] == '\0') {
		(void)text_of(json_object_get(peer, "address"), name, sizeof name);
	}
	(void)snprintf(out, TEXT_ROW_MAX, "%s %s", name,
	               silent_secs >= 0 ? text_secs(silent_secs, secs) : "never");
	return peer;
}

static bool more_workers(const struct top_view *view, size_t idx, char out[static TEXT_ROW_MAX])
{
	const json_t *conns =
	        json_array_get(find(view->now.status, "connections", "per_worker"), idx);
	char text[TEXT_NUMBER_MAX];
	(void)snprintf(out, TEXT_ROW_MAX, "%zu: %s", idx,
	               text_count(json_number_value(conns), text));
	return conns && idx < WORKERS_MAX;
}

/* --- the figures one by one --- */

size_t top_n_sections(void)
{
	return ARRAY_LEN(sections);
}

const char *top_section_name(size_t section)
{
	return sections[section].name;
}

bool top_section_is_extra(size_t section)
{
	return sections[section].is_extra;
}

static size_t n_figures(const struct section *section)
{
	size_t n = 0;
	while (n < FIGURES_MAX && section->figures[n].text) {
		n++;
	}
	return n;
}

/* In the answer to `status`, else in the one to `held`: they share no names. */
static const json_t *find_in(const struct top_sample *sample, const struct figure *figure)
{
	const json_t *value = find(sample->status, figure->group, figure->key);
	return value ? value : find(sample->held, figure->group, figure->key);
}

/* firewall = no: its figures would look like a failure. */
static bool is_unused(const struct top_view *view, const struct section *section)
{
	return strcmp(section->name, "firewall") == 0 &&
	       json_is_false(find(view->now.status, "firewall", "wanted"));
}

bool top_figure(const struct top_view *view, size_t idx_section, size_t idx,
                char out[static TEXT_ROW_MAX])
{
	const struct section *section = &sections[idx_section];
	size_t n = n_figures(section);
	out[0] = '\0';
	if (is_unused(view, section)) {
		(void)snprintf(out, TEXT_ROW_MAX, "not used");
		return idx == 0;
	}
	if (idx >= n) {
		return section->more && section->more(view, idx - n, out);
	}
	const struct figure *figure = &section->figures[idx];
	const json_t *value = find_in(&view->now, figure);
	char text[TEXT_NAME_MAX] = "";
	if (value) {
		figure->text(view, value, find_in(&view->before, figure), text);
	}
	if (text[0]) {
		(void)snprintf(out, TEXT_ROW_MAX, "%s%s%s", figure->name,
		               figure->name[0] ? " " : "", text);
	}
	return true;
}

/* --- attention --- */

static bool is_space_short(const json_t *value)
{
	const char *text = json_string_value(value);
	return text && strcmp(text, "fine") != 0;
}

static bool is_true(const json_t *value)
{
	return json_is_true(value);
}

static bool is_false(const json_t *value)
{
	return json_is_false(value);
}

static bool is_stretched(const json_t *value)
{
	static const double some = 1.05;
	return json_number_value(value) > some;
}

static const struct {
	const char *group;
	const char *key;
	bool (*is_wrong)(const json_t *value);
	const char *text;
} warnings[] = {
        {"store", "degraded", is_true, "the store does not take commits"},
        {"store", "space", is_space_short, "the store's map is nearly full"},
        {"firewall", "connected", is_false, "the firewall role does not run"},
        {"firewall", "complete", is_false, "the kernel's sets are not complete"},
        {"clock", "paused", is_true, "the clock jumped: miredctl clock-ok"},
        {"pace", "stretch_listed", is_stretched, "the stutter is stretched"},
};

bool top_attention(const struct top_view *view, size_t idx, const char **out)
{
	bool has_firewall = !json_is_false(find(view->now.status, "firewall", "wanted"));
	for (size_t i = 0; i < ARRAY_LEN(warnings); i++) {
		const json_t *value = find(view->now.status, warnings[i].group, warnings[i].key);
		bool is_wanted = has_firewall || strcmp(warnings[i].group, "firewall") != 0;
		if (value && is_wanted && warnings[i].is_wrong(value) && idx-- == 0) {
			*out = warnings[i].text;
			return true;
		}
	}
	return false;
}
