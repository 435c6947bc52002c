/* The text that `metrics` answers: its form, its bounds, and that every counter is in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "mired/metrics.h"
#include "mired/status.h"

enum { LINE_MAX_BYTES = 512 };

struct fixture {
	struct engine_figures figures;
	struct counters control;
	struct conf conf;
	struct metrics_lists lists;
	struct processes processes;
	char *text;
};

static int setup(void **state)
{
	struct fixture *fix = aligned_alloc(_Alignof(struct fixture), sizeof *fix);
	assert_non_null(fix);
	memset(fix, 0, sizeof *fix);
	fix->figures.capacity.workers = 2;
	*state = fix;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fix = *state;
	free(fix->text);
	free(fix);
	return 0;
}

static const char *make(struct fixture *fix, enum exposition_format format)
{
	const struct metrics_input input = {.figures = &fix->figures,
	                                    .control = &fix->control,
	                                    .conf = &fix->conf,
	                                    .lists = &fix->lists,
	                                    .processes = &fix->processes,
	                                    .started = {1700000000}};
	free(fix->text);
	fix->text = metrics_text(&input, format);
	assert_non_null(fix->text);
	return fix->text;
}

static size_t count_of(const char *text, const char *part)
{
	size_t n = 0;
	for (const char *at = strstr(text, part); at; at = strstr(at + strlen(part), part)) {
		n++;
	}
	return n;
}

static void assert_has_line(const char *text, const char *line)
{
	char whole[LINE_MAX_BYTES];
	(void)snprintf(whole, sizeof whole, "\n%s\n", line);
	if (!strstr(text, whole)) {
		fail_msg("no line \"%s\" in\n%s", line, text);
	}
}

/* The line behind `name` and a blank. */
static uint64_t value_of(const char *text, const char *name)
{
	char start[LINE_MAX_BYTES];
	(void)snprintf(start, sizeof start, "\n%s ", name);
	const char *at = strstr(text, start);
	if (!at) {
		fail_msg("no %s", name);
		return 0;
	}
	return strtoull(at + strlen(start), NULL, 10);
}

/* As the manual says it is named. */
static void name_of_counter(enum counter which, char *out, size_t size)
{
	const char *name = counter_name(which);
	struct status_place place = status_place_of(which);
	if (strncmp(name, "class_", 6) == 0) {
		(void)snprintf(out, size, "mired_connections_total{class=\"%s\"}", name + 6);
	} else if (strcmp(place.group, "drops") == 0) {
		(void)snprintf(out, size, "mired_drops_total{reason=\"%s\"}", place.name);
	} else if (strncmp(name, "bytes_", 6) == 0) {
		(void)snprintf(out, size, "mired_%s_bytes_total", name + 6);
	} else {
		(void)snprintf(out, size, "mired_%s_total", name);
	}
}

static void every_counter_is_there_with_its_value_and_help(void **state)
{
	struct fixture *fix = *state;
	char name[EXPOSITION_NAME_MAX];
	char help[LINE_MAX_BYTES];
	for (enum counter i = 0; i < COUNTER_COUNT; i++) {
		counters_add(&fix->figures.totals, i, 1000 + i);
		counters_add(&fix->control, i, 1);
	}
	const char *text = make(fix, EXPOSITION_PLAIN);
	for (enum counter i = 0; i < COUNTER_COUNT; i++) {
		name_of_counter(i, name, sizeof name);
		assert_int_equal(value_of(text, name), 1001 + i);
		if (!strchr(name, '{')) {
			(void)snprintf(help, sizeof help, "# HELP %s %s", name, counter_help(i));
			assert_has_line(text, help);
		}
	}
}

static void each_counter_has_a_help_of_some_words(void **state)
{
	(void)state;
	for (enum counter i = 0; i < COUNTER_COUNT; i++) {
		assert_true(strlen(counter_help(i)) > 8 && strchr(counter_help(i), ' '));
		assert_null(strpbrk(counter_help(i), "\n\\"));
	}
}

static void head_lines_are_those_of_the_format(void **state)
{
	struct fixture *fix = *state;
	const char *text = make(fix, EXPOSITION_PLAIN);
	assert_has_line(text, "# TYPE mired_sent_bytes_total counter");
	assert_has_line(text, "# TYPE mired_store_used_bytes gauge");
	assert_null(strstr(text, "# UNIT"));
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
	text = make(fix, EXPOSITION_OPENMETRICS);
	assert_has_line(text, "# TYPE mired_sent_bytes counter\n# UNIT mired_sent_bytes bytes\n"
	                      "mired_sent_bytes_total 0");
	assert_has_line(text, "# TYPE mired_accepted counter\nmired_accepted_total 0");
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
}

static void no_family_and_no_sample_is_there_twice(void **state)
{
	struct fixture *fix = *state;
	char line[LINE_MAX_BYTES];
	const char *text = make(fix, EXPOSITION_PLAIN);
	for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
		size_t len = (size_t)(strchr(at, '\n') - at);
		const char *blank = memrchr(at, ' ', len);
		size_t n = strncmp(at, "# ", 2) == 0 ? len : (size_t)(blank - at) + 1;
		(void)snprintf(line, sizeof line, "\n%.*s", (int)n, at);
		assert_int_equal(count_of(text, line), at == text ? 0 : 1);
	}
}

static void a_histogram_is_cumulative(void **state)
{
	struct fixture *fix = *state;
	struct latency latency = {0};
	latency_add(&latency, 400000);
	latency_add(&latency, 3 * NS_PER_MS);
	latency_add(&latency, 60 * NS_PER_SEC);
	latency_figures_get(&latency, &fix->figures.commit);
	const char *text = make(fix, EXPOSITION_PLAIN);
	const char *name = "mired_commit_duration_seconds";
	char line[LINE_MAX_BYTES];
	static const struct {
		const char *le;
		unsigned n;
	} cases[] = {{"0.0005", 1}, {"0.0025", 1}, {"0.005", 2}, {"10", 2}, {"+Inf", 3}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		(void)snprintf(line, sizeof line, "%s_bucket{le=\"%s\"} %u", name, cases[i].le,
		               cases[i].n);
		assert_has_line(text, line);
	}
	assert_has_line(text, "mired_commit_duration_seconds_sum 60.0034");
	assert_has_line(text, "mired_commit_duration_seconds_count 3");
	assert_int_equal(count_of(text, "\nmired_commit_duration_seconds_bucket"),
	                 LATENCY_EDGES + 1);
}

static void what_stands_for_itself_keeps_its_value(void **state)
{
	struct fixture *fix = *state;
	fix->figures.conns_listed = 7;
	fix->figures.capacity.max_connections = 100000;
	fix->figures.store.map_bytes = UINT64_C(1) << 46;
	fix->figures.pace.stretch_grey = 1.25;
	fix->figures.firewall.is_complete = true;
	fix->figures.has_firewall = true;
	fix->figures.store.last_seq = 50;
	fix->figures.firewall_seq = 47;
	fix->figures.worker_conns[0] = 3;
	fix->figures.worker_conns[1] = 9;
	fix->conf.host_cache_slots = 4096;
	const char *text = make(fix, EXPOSITION_PLAIN);
	assert_has_line(text, "mired_held_connections{class=\"listed\"} 7");
	assert_has_line(text, "mired_connections_limit 100000");
	assert_has_line(text, "mired_store_limit_bytes 70368744177664");
	assert_has_line(text, "mired_stutter_stretch_ratio{class=\"grey\"} 1.25");
	assert_has_line(text, "mired_firewall_complete 1");
	assert_has_line(text, "mired_firewall_waiting_changes 3");
	assert_has_line(text, "mired_worker_connections{which=\"fewest\"} 3");
	assert_has_line(text, "mired_worker_connections{which=\"most\"} 9");
	assert_has_line(text, "mired_cache_slots{cache=\"hosts\"} 4096");
	assert_has_line(text, "mired_start_time_seconds 1700000000");
	assert_has_line(text, "mired_build_info{version=\"" MIRED_VERSION "\"} 1");
}

static void names_of_lists_are_escaped(void **state)
{
	struct fixture *fix = *state;
	metrics_add_list(&fix->lists, SPAN("a \"b\" \\ \n\xff"), 5, 1700000001);
	const char *text = make(fix, EXPOSITION_PLAIN);
	assert_has_line(text, "mired_list_networks{list=\"a \\\"b\\\" \\\\x5c \\\\x0a\\\\xff\"} 5");
}

static void names_that_are_the_same_when_cut_are_one_sample(void **state)
{
	struct fixture *fix = *state;
	char name[2 * METRICS_NAME_MAX];
	memset(name, 'n', sizeof name);
	metrics_add_list(&fix->lists, span_of(name, sizeof name), 5, 1700000009);
	metrics_add_list(&fix->lists, span_of(name, sizeof name - 1), 7, 1700000001);
	metrics_add_list(&fix->lists, SPAN(METRICS_OTHERS), 1, 1700000005);
	const char *text = make(fix, EXPOSITION_PLAIN);
	assert_int_equal(count_of(text, "\nmired_list_networks{"), 2);
	assert_has_line(text, "mired_list_networks{list=\"(others)\"} 8");
	assert_has_line(text, "mired_list_loaded_timestamp_seconds{list=\"(others)\"} 1700000001");
}

static struct syncer_peer_figures *add_peer(struct fixture *fix, const char *name)
{
	struct syncer_peer_figures *peer = &fix->figures.sync.peers[fix->figures.sync.n_peers++];
	(void)snprintf(peer->name, sizeof peer->name, "%s", name);
	return peer;
}

static void strangers_among_the_peers_get_no_label_of_their_own(void **state)
{
	struct fixture *fix = *state;
	struct syncer_peer_figures *peer = add_peer(fix, "mx2");
	peer->last_contact_secs = 1700000050;
	peer->in[0] = 3;
	peer->in[1] = 4;
	peer->out[1] = 5;
	peer->dropped[WIRE_DROP_MAC] = 1;
	peer->refused[SYNCER_REFUSED_SKEW] = 1;
	peer->out_failures = 1;
	add_peer(fix, "")->dropped[WIRE_DROP_MAC] = 10;
	add_peer(fix, "")->dropped[WIRE_DROP_MAC] = 20;
	const char *text = make(fix, EXPOSITION_PLAIN);
	assert_has_line(text, "mired_sync_peer_contact_timestamp_seconds{peer=\"mx2\"} 1700000050");
	assert_has_line(text, "mired_sync_peer_received_total{peer=\"mx2\"} 7");
	assert_has_line(text, "mired_sync_peer_sent_total{peer=\"mx2\"} 5");
	assert_has_line(text, "mired_sync_peer_faults_total{peer=\"mx2\"} 3");
	assert_has_line(text, "mired_sync_peer_faults_total{peer=\"(others)\"} 30");
	assert_int_equal(count_of(text, "\nmired_sync_peer_faults_total{"), 2);
}

static void a_peer_with_two_addresses_is_one_however_many_others_there_are(void **state)
{
	struct fixture *fix = *state;
	char name[32];
	for (int i = 0; i < METRICS_NAMED_MAX; i++) {
		(void)snprintf(name, sizeof name, "mx%d", i);
		add_peer(fix, name)->in[0] = 1;
	}
	add_peer(fix, "mx0")->in[0] = 5;
	add_peer(fix, "one-more")->in[0] = 7;
	const char *text = make(fix, EXPOSITION_PLAIN);
	assert_has_line(text, "mired_sync_peer_received_total{peer=\"mx0\"} 6");
	assert_has_line(text, "mired_sync_peer_received_total{peer=\"(others)\"} 7");
}

static void fill_to_the_bounds(struct fixture *fix)
{
	char name[32];
	fix->figures.capacity.workers = CONF_WORKERS_MAX;
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof name, "list-%d", i);
		metrics_add_list(&fix->lists, span_of_str(name), 1, 1700000000);
	}
	for (int i = 0; i < SYNCER_PEERS_MAX; i++) {
		(void)snprintf(name, sizeof name, "peer-%d", i);
		(void)add_peer(fix, name);
	}
	fix->processes.n = PROCESSES_MAX;
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		fix->processes.process[i] = (struct process){.role = "role", .n_files = 9};
	}
}

static void lists_peers_and_workers_without_number_keep_within_the_bound(void **state)
{
	struct fixture *fix = *state;
	fill_to_the_bounds(fix);
	size_t n_plain = count_of(make(fix, EXPOSITION_PLAIN), "\n");
	assert_has_line(fix->text, "mired_list_networks{list=\"(others)\"} 990");
	size_t n_strict = count_of(make(fix, EXPOSITION_OPENMETRICS), "\n");
	print_message("%zu lines, %zu in OpenMetrics\n", n_plain, n_strict);
	assert_in_range(n_plain, 200, METRICS_LINES_MAX - 1);
	assert_in_range(n_strict, 200, METRICS_LINES_MAX - 1);
}

static void a_process_tells_what_it_takes(void **state)
{
	struct process process;
	(void)state;
	volatile unsigned sum = 0;
	for (unsigned i = 0; i < 50U * 1000 * 1000; i++) {
		sum += i;
	}
	assert_true(process_read(getpid(), "me", &process));
	assert_string_equal(process.role, "me");
	assert_true(process.cpu_ms >= 10 && process.cpu_ms < 600000);
	assert_in_range(process.resident_bytes, 500000, INT64_C(1) << 40);
	uint64_t n_before = process.n_files;
	int fd = dup(STDOUT_FILENO);
	assert_true(process_read(getpid(), "me", &process));
	assert_int_equal(process.n_files, n_before + 1);
	(void)close(fd);
}

static void a_process_that_is_gone_is_left_out(void **state)
{
	struct process process = {.cpu_ms = 7};
	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_false(process_read(pid, "gone", &process));
	assert_int_equal(process.cpu_ms, 7);
}

static void the_firewall_tells_of_its_process_itself(void **state)
{
	struct processes processes;
	const struct msg_figures firewall = {
	        .cpu_ms = 1500, .resident_bytes = 4096, .open_files = 11};
	struct fixture *fix = *state;
	processes_read(&processes, NULL);
	assert_string_equal(processes.process[0].role, "engine");
	size_t n_without = processes.n;
	processes_read(&fix->processes, &firewall);
	assert_int_equal(fix->processes.n, n_without + 1);
	const char *text = make(fix, EXPOSITION_PLAIN);
	assert_has_line(text, "mired_process_cpu_seconds_total{role=\"firewall\"} 1.5");
	assert_has_line(text, "mired_process_resident_memory_bytes{role=\"firewall\"} 4096");
	assert_has_line(text, "mired_process_open_fds{role=\"firewall\"} 11");
}

#define METRICS_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        METRICS_TEST(every_counter_is_there_with_its_value_and_help),
	        METRICS_TEST(each_counter_has_a_help_of_some_words),
	        METRICS_TEST(head_lines_are_those_of_the_format),
	        METRICS_TEST(no_family_and_no_sample_is_there_twice),
	        METRICS_TEST(a_histogram_is_cumulative),
	        METRICS_TEST(what_stands_for_itself_keeps_its_value),
	        METRICS_TEST(names_of_lists_are_escaped),
	        METRICS_TEST(names_that_are_the_same_when_cut_are_one_sample),
	        METRICS_TEST(strangers_among_the_peers_get_no_label_of_their_own),
	        METRICS_TEST(a_peer_with_two_addresses_is_one_however_many_others_there_are),
	        METRICS_TEST(lists_peers_and_workers_without_number_keep_within_the_bound),
	        METRICS_TEST(a_process_tells_what_it_takes),
	        METRICS_TEST(a_process_that_is_gone_is_left_out),
	        METRICS_TEST(the_firewall_tells_of_its_process_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
