/* Each check by a machine that lacks one thing; and the shipped sysctl files, which must be what
 * the judge asks for. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "said.h"
#include "verify/judge.h"

#define GIB (UINT64_C(1) << 30)

static void set(struct machine *machine, enum machine_item item, uint64_t n)
{
	machine->values[item] = (struct machine_value){.n = n, .is_known = true};
}

/* Carries 100,000 connections with the rules that redirect, and not many more. */
static struct machine usual_machine(void)
{
	struct machine machine = {.nofile_of = MACHINE_OF_UNIT};
	static const struct {
		enum machine_item item;
		uint64_t n;
	} rows[] = {
	        {MACHINE_SOMAXCONN, 4096},
	        {MACHINE_SYN_BACKLOG, 1024},
	        {MACHINE_SYNCOOKIES, 1},
	        {MACHINE_TCP_MEM, 25000},
	        {MACHINE_TCP_MEM_PRESSURE, 33333},
	        {MACHINE_TCP_MEM_HIGH, 50000},
	        {MACHINE_CONNTRACK_MAX, 262144},
	        {MACHINE_NR_OPEN, 1048576},
	        {MACHINE_FILE_MAX, 200000},
	        {MACHINE_URING_DISABLED, 0},
	        {MACHINE_NOFILE, 1048576},
	        {MACHINE_MEMORY_BYTES, 4 * GIB},
	        {MACHINE_CORES, 2},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		set(&machine, rows[i].item, rows[i].n);
	}
	return machine;
}

static struct conf usual_conf(void)
{
	return (struct conf){.firewall = true,
	                     .rules = CONF_RULES_GATEWAY,
	                     .backlog = 4096,
	                     .host_cache_slots = 1 << 20,
	                     .tuple_cache_slots = 1 << 20};
}

static const struct said *judge(const struct conf *conf, const struct machine *machine)
{
	static struct said said;
	said.n = 0;
	said.n_faults = judge_machine(conf, machine, hear, &said);
	return &said;
}

static void nothing_wrong_is_nothing_said(void **state)
{
	struct machine machine = usual_machine();
	struct conf conf = usual_conf();
	(void)state;
	assert_int_equal(judge(&conf, &machine)->n, 0);
	assert_int_equal(judge_connections(&conf, &machine), 100000);
	conf.max_connections = 90000;
	assert_int_equal(judge(&conf, &machine)->n, 0);
	assert_int_equal(judge_connections(&conf, &machine), 90000);
}

static void each_lack_is_one_finding_with_its_mend(void **state)
{
	static const struct {
		enum machine_item item;
		uint64_t n;
		enum severity severity;
		const char *text;
		const char *mend;
	} rows[] = {
	        {MACHINE_SOMAXCONN, 128, SEVERITY_WARNING,
	         "net.core.somaxconn is 128, must be 4096 or more for 100000 connections",
	         "sysctl -w net.core.somaxconn=4096"},
	        {MACHINE_TCP_MEM_HIGH, 49999, SEVERITY_WARNING, "net.ipv4.tcp_mem is 49999",
	         "sysctl -w net.ipv4.tcp_mem='25000 33333 50000'"},
	        {MACHINE_CONNTRACK_MAX, 65536, SEVERITY_ERROR,
	         "nf_conntrack_max is 65536, must be 200000",
	         "sysctl -w net.netfilter.nf_conntrack_max=200000"},
	        {MACHINE_NR_OPEN, 524288, SEVERITY_WARNING, "fs.nr_open is 524288, must be 1048576",
	         "sysctl -w fs.nr_open=1048576"},
	        {MACHINE_FILE_MAX, 100000, SEVERITY_ERROR, "fs.file-max is 100000, must be 165536",
	         "sysctl -w fs.file-max=165536"},
	        {MACHINE_URING_DISABLED, 2, SEVERITY_ERROR, "io_uring_disabled is 2",
	         "sysctl -w kernel.io_uring_disabled=0"},
	        {MACHINE_MEMORY_BYTES, 4 * GIB / 5, SEVERITY_WARNING,
	         "of memory there are 819 MiB: more than half", "max-connections = 90687"},
	        {MACHINE_MEMORY_BYTES, GIB / 2, SEVERITY_ERROR, "of memory there are 512 MiB",
	         "max-connections = 56679"},
	};
	struct conf conf = usual_conf();
	(void)state;
	conf.max_connections = 100000;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct machine machine = usual_machine();
		set(&machine, rows[i].item, rows[i].n);
		assert_only(judge(&conf, &machine), rows[i].severity, rows[i].text, rows[i].mend);
	}
}

/* Follows the finding's advice and nothing is left to say. */
static void what_the_mend_says_mends_it(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	unsigned long long value = 0;
	(void)state;
	set(&machine, MACHINE_CONNTRACK_MAX, 1);
	const struct said *said = judge(&conf, &machine);
	assert_int_equal(said->n, 1);
	assert_int_equal(sscanf(strchr(said->findings[0].mend, '='), "=%llu", &value), 1);
	set(&machine, MACHINE_CONNTRACK_MAX, value);
	assert_int_equal(judge(&conf, &machine)->n, 0);
}

static void the_syn_queue_counts_where_there_are_no_cookies(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	(void)state;
	set(&machine, MACHINE_SYNCOOKIES, 0);
	const struct said *said = judge(&conf, &machine);
	assert_int_equal(said->n_faults, 2);
	assert_non_null(strstr(said->findings[0].text, "tcp_syncookies is 0, must be 1"));
	assert_string_equal(said->findings[1].mend, "sysctl -w net.ipv4.tcp_max_syn_backlog=5461");
	set(&machine, MACHINE_SYN_BACKLOG, 5461);
	assert_int_equal(judge(&conf, &machine)->n_faults, 1);
}

static void the_conntrack_table_counts_where_connections_are_in_it(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	(void)state;
	set(&machine, MACHINE_CONNTRACK_MAX, 1000);
	conf.rules = CONF_RULES_LOCAL_MTA;
	assert_int_equal(judge(&conf, &machine)->n_faults, 1);
	conf.rules = CONF_RULES_NONE;
	assert_only(judge(&conf, &machine), SEVERITY_NOTE, "unless your rules say notrack",
	            "sysctl -w net.netfilter.nf_conntrack_max=200000");
	conf.rules = CONF_RULES_GATEWAY_TPROXY;
	assert_int_equal(judge(&conf, &machine)->n, 0);
}

static void tproxy_needs_its_routes(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	(void)state;
	conf.rules = CONF_RULES_GATEWAY_TPROXY;
	machine.routes_ret = ERR_NOT_FOUND;
	(void)snprintf(machine.routes_why, sizeof machine.routes_why, "no route");
	assert_only(judge(&conf, &machine), SEVERITY_ERROR, "no route", "mired-tproxy up");
	conf.firewall = false;
	assert_int_equal(judge(&conf, &machine)->n, 0);
}

static void an_input_that_drops_by_default_is_a_note(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	static const char text[] = "the chain inet filter input drops by default";
	(void)state;
	(void)snprintf(machine.input, sizeof machine.input, "inet filter input");
	conf.port = 8025;
	conf.low_priority_port = 8027;
	assert_only(judge(&conf, &machine), SEVERITY_NOTE, text, "tcp dport 8025 accept");
	conf.n_low_priority_mx = 1;
	assert_only(judge(&conf, &machine), SEVERITY_NOTE, text, "tcp dport { 8025, 8027 } accept");
	conf.rules = CONF_RULES_GATEWAY_TPROXY;
	assert_only(judge(&conf, &machine), SEVERITY_NOTE, text,
	            "meta mark & 0x02000000 != 0 accept");
	conf.rules = CONF_RULES_NONE;
	assert_int_equal(judge(&conf, &machine)->n, 0);
}

static void files_are_counted_by_worker(void **state)
{
	static const struct {
		uint32_t asked;
		uint32_t workers;
		uint64_t nofile;
		const char *text; /* NULL: fine */
		const char *mend;
		enum severity severity;
	} rows[] = {
	        {90000, 0, 1048576, NULL, NULL, SEVERITY_NOTE},
	        {90000, 0, 46528, NULL, NULL, SEVERITY_NOTE},
	        {90000, 0, 46527, "each of 2 workers needs 46528 for 90000 connections: fewer",
	         "LimitNOFILE=46528 in /etc/systemd/system/mired.service.d/limits.conf; or workers "
	         "= 3",
	         SEVERITY_ERROR},
	        {90000, 0, 20000, "fewer will be held",
	         "LimitNOFILE=46528 in /etc/systemd/system/mired.service.d/limits.conf; or workers "
	         "= 5",
	         SEVERITY_ERROR},
	        {90000, 6, 20000, NULL, NULL, SEVERITY_NOTE},
	        /* one alone gets them all: no chance is in it */
	        {20000, 1, 20000, NULL, NULL, SEVERITY_NOTE},
	        {90000, 2, 500, "fewer will be held",
	         "LimitNOFILE=46528 in /etc/systemd/system/mired.service.d/limits.conf",
	         SEVERITY_ERROR},
	        /* nothing asked for: no fault, but why there are no more */
	        {0, 0, 20000, "max-connections = auto is 37844 here", "", SEVERITY_NOTE},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conf conf = usual_conf();
		struct machine machine = usual_machine();
		conf.max_connections = rows[i].asked;
		conf.workers = rows[i].workers;
		set(&machine, MACHINE_NOFILE, rows[i].nofile);
		const struct said *said = judge(&conf, &machine);
		if (rows[i].text) {
			assert_only(said, rows[i].severity, rows[i].text, rows[i].mend);
		} else {
			assert_int_equal(said->n, 0);
		}
	}
}

static void a_limit_of_files_is_raised_where_it_is_set(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	(void)state;
	conf.max_connections = 90000;
	machine.nofile_of = MACHINE_OF_CALLER;
	set(&machine, MACHINE_NOFILE, 20000);
	assert_only(judge(&conf, &machine), SEVERITY_ERROR,
	            "this shell, and a mired it starts, has", "ulimit -Hn 46528; or workers = 5");
}

/* With the shipped settings, the unit's limit, and what the kernel sets itself. */
static void a_machine_of_any_size_is_fine_with_the_defaults(void **state)
{
	(void)state;
	for (uint64_t memory = GIB / 2; memory < 100 * GIB; memory = memory * 4 / 3) {
		struct conf conf = usual_conf();
		struct machine machine = usual_machine();
		uint64_t pages = memory / 4096;
		set(&machine, MACHINE_MEMORY_BYTES, memory);
		set(&machine, MACHINE_TCP_MEM, pages * 3 / 64);
		set(&machine, MACHINE_TCP_MEM_PRESSURE, pages / 16);
		set(&machine, MACHINE_TCP_MEM_HIGH, pages * 3 / 32);
		assert_int_equal(judge(&conf, &machine)->n_faults, 0);
		conf.max_connections = judge_connections(&conf, &machine);
		bool is_small = pages * 3 / 32 < conf.max_connections / 2;
		assert_int_equal(judge(&conf, &machine)->n_faults, is_small ? 1 : 0);
	}
}

static void caches_that_leave_no_memory_are_to_be_smaller(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	(void)state;
	set(&machine, MACHINE_MEMORY_BYTES, GIB / 5);
	const struct said *said = judge(&conf, &machine);
	assert_int_equal(said->n_faults, 1);
	assert_string_equal(said->findings[said->n - 1].mend,
	                    "host-cache = 524288, tuple-cache = 524288");
	conf.host_cache_slots = conf.tuple_cache_slots = 524288;
	assert_int_equal(judge(&conf, &machine)->n_faults, 0);
	conf = usual_conf();
	conf.max_connections = 100000;
	assert_only(judge(&conf, &machine), SEVERITY_ERROR, "of memory there are 204 MiB",
	            "max-connections = 22671, host-cache = 524288, tuple-cache = 524288");
}

static void the_number_of_workers_it_names_is_enough(void **state)
{
	(void)state;
	for (uint64_t nofile = 600; nofile < 80000; nofile = nofile * 5 / 3) {
		struct conf conf = usual_conf();
		struct machine machine = usual_machine();
		unsigned workers = 0;
		conf.max_connections = 80000;
		conf.workers = 1;
		set(&machine, MACHINE_NOFILE, nofile);
		const struct said *said = judge(&conf, &machine);
		assert_int_equal(said->n, 1);
		const char *advice = strstr(said->findings[0].mend, "workers = ");
		if (!advice) {
			assert_true(nofile < 1000); /* not even 256 of them */
			continue;
		}
		assert_int_equal(sscanf(advice, "workers = %u", &workers), 1);
		conf.workers = workers;
		assert_int_equal(judge(&conf, &machine)->n, 0);
		conf.workers = workers - 1;
		assert_int_equal(conf.workers ? judge(&conf, &machine)->n : 1, 1);
	}
}

static void what_is_not_known_is_a_note(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	(void)state;
	machine.values[MACHINE_TCP_MEM_HIGH].is_known = false;
	assert_only(judge(&conf, &machine), SEVERITY_NOTE,
	            "net.ipv4.tcp_mem is not to be seen here", "");
}

static void io_uring_that_fails_is_an_error(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	(void)state;
	machine.uring_ret = -EPERM;
	assert_only(judge(&conf, &machine), SEVERITY_ERROR,
	            "io_uring cannot be used (Operation not permitted)", "");
}

static void a_store_is_judged_by_its_figures(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	(void)state;
	machine.has_store = true;
	machine.store = (struct store_stats){.map_bytes = 10 * GIB, .used_bytes = 7 * GIB};
	assert_int_equal(judge(&conf, &machine)->n, 0);
	machine.store.used_bytes = 85 * GIB / 10;
	assert_only(judge(&conf, &machine), SEVERITY_WARNING, "the store uses 85 % of its map",
	            "store-map = 20480m");
	machine.store.used_bytes = 9 * GIB;
	assert_only(judge(&conf, &machine), SEVERITY_ERROR, "it takes no new records",
	            "store-map = 20480m");
	machine.store = (struct store_stats){
	        .map_bytes = 10 * GIB, .used_bytes = GIB, .free_bytes = 3 * GIB};
	assert_only(judge(&conf, &machine), SEVERITY_NOTE, "75 % of the store's file", "");
}

static void a_daemon_with_another_limit_is_told_of(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	(void)state;
	conf.max_connections = 50000;
	machine.daemon = 1;
	machine.daemon_max_connections = 50000;
	assert_int_equal(judge(&conf, &machine)->n, 0);
	machine.daemon_max_connections = 800;
	assert_only(judge(&conf, &machine), SEVERITY_NOTE, "holds 800 connections at most", "");
	assert_only(judge(&conf, &machine), SEVERITY_NOTE, "50000: it counts from the next start",
	            "");
	machine.daemon_max_connections = 60000;
	assert_only(judge(&conf, &machine), SEVERITY_NOTE, "50000: it counts from the next reload",
	            "");
}

/* --- the shipped files ------------------------------------------------------------------------ */

static void queues_must_be_moved_where_the_ports_outlive_mired(void **state)
{
	struct conf conf = usual_conf();
	struct machine machine = usual_machine();
	(void)state;
	set(&machine, MACHINE_MIGRATE_REQ, 0);
	assert_int_equal(judge(&conf, &machine)->n, 0);
	machine.is_activated = true;
	assert_only(judge(&conf, &machine), SEVERITY_WARNING,
	            "net.ipv4.tcp_migrate_req is 0, must be 1 or more",
	            "sysctl -w net.ipv4.tcp_migrate_req=1");
	conf.workers = 1;
	assert_int_equal(judge(&conf, &machine)->n, 0);
}

/* The values of a file in sysctl/, over those of the machine. */
static void apply_file(struct machine *machine, const char *name)
{
	char path[512];
	char line[256];
	size_t n_known = 0;
	(void)snprintf(path, sizeof path, TEST_SOURCE_DIR "/../sysctl/%s", name);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof line, file)) {
		char *equal = strstr(line, " = ");
		char *begin = line + (line[0] == '-');
		if (!equal || line[0] == '#') {
			continue;
		}
		*equal = '\0';
		for (enum machine_item item = 0; item < MACHINE_COUNT; item++) {
			uint64_t numbers[3];
			const char *sysctl = machine_sysctl(item);
			if (!sysctl || strcmp(sysctl, begin) != 0) {
				continue;
			}
			int n = machine_parse_numbers(span_of_str(equal + 3), numbers, 3);
			assert_in_range(n, 1, 3);
			for (int i = 0; i < n; i++) {
				set(machine, item + (enum machine_item)i, numbers[i]);
			}
			n_known++;
		}
	}
	(void)fclose(file);
	assert_true(n_known >= 4);
}

static void the_shipped_files_are_what_is_asked_for(void **state)
{
	static const struct {
		const char *file;
		uint32_t n_conns;
		uint32_t backlog;
		uint64_t memory;
	} rows[] = {
	        {"mired.conf", 0, 4096, 4 * GIB},
	        {"mired-million.conf", 1000000, 65535, 16 * GIB},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conf conf = usual_conf();
		struct machine machine = usual_machine();
		conf.max_connections = rows[i].n_conns;
		conf.backlog = rows[i].backlog;
		set(&machine, MACHINE_MEMORY_BYTES, rows[i].memory);
		set(&machine, MACHINE_SOMAXCONN, 1);
		set(&machine, MACHINE_CONNTRACK_MAX, 1);
		set(&machine, MACHINE_FILE_MAX, 1065536); /* said in a comment */
		machine.is_activated = true;
		apply_file(&machine, "mired.conf"); /* it is there in any case */
		apply_file(&machine, rows[i].file);
		assert_int_equal(judge(&conf, &machine)->n, 0);
		set(&machine, MACHINE_SYNCOOKIES, 0); /* the queue is long enough without, too */
		assert_int_equal(judge(&conf, &machine)->n, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(nothing_wrong_is_nothing_said),
	        cmocka_unit_test(each_lack_is_one_finding_with_its_mend),
	        cmocka_unit_test(what_the_mend_says_mends_it),
	        cmocka_unit_test(the_syn_queue_counts_where_there_are_no_cookies),
	        cmocka_unit_test(the_conntrack_table_counts_where_connections_are_in_it),
	        cmocka_unit_test(tproxy_needs_its_routes),
	        cmocka_unit_test(an_input_that_drops_by_default_is_a_note),
	        cmocka_unit_test(files_are_counted_by_worker),
	        cmocka_unit_test(a_limit_of_files_is_raised_where_it_is_set),
	        cmocka_unit_test(a_machine_of_any_size_is_fine_with_the_defaults),
	        cmocka_unit_test(caches_that_leave_no_memory_are_to_be_smaller),
	        cmocka_unit_test(the_number_of_workers_it_names_is_enough),
	        cmocka_unit_test(what_is_not_known_is_a_note),
	        cmocka_unit_test(io_uring_that_fails_is_an_error),
	        cmocka_unit_test(a_store_is_judged_by_its_figures),
	        cmocka_unit_test(a_daemon_with_another_limit_is_told_of),
	        cmocka_unit_test(queues_must_be_moved_where_the_ports_outlive_mired),
	        cmocka_unit_test(the_shipped_files_are_what_is_asked_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
