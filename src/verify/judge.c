/* Two tables: `minima` of values that must be so large, with the need as a function of the
 * question; `checks` of what is no mere minimum. The figures behind the needs are measured, see
 * perf/README.md. */
#include "verify/judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "engine/capacity.h"
#include "engine/engine.h"
#include "store/store_space.h"

enum {
	/* An entry stays for minutes after its connection has ended. */
	CONNTRACK_ENTRIES = 2,
	/* Of the connections, one in so many holds a page of TCP's memory account: a byte that was
	 * not acknowledged, or one that was not read. */
	TCP_MEM_DIVISOR = 2,
	/* Files of everybody else on the machine. */
	OTHER_FILES = 65536,
	/* The kernel's limit of the SYN queue without cookies: a quarter is kept for known hosts.
	 */
	SYN_SHARE = 3,
	SYN_OF = 4,
	CACHE_SLOT_BYTES = 64,
	MIB_BYTES = 1 << 20,
};

#define UNIT_DROP_IN "/etc/systemd/system/mired.service.d/limits.conf"

struct question {
	const struct conf *conf;
	const struct machine *machine;
	struct engine_capacity capacity;
	uint64_t n_conns; /* asked for */
	uint64_t n_files; /* a worker's ring of that many needs */
	finding_sink *sink;
	void *ctx;
	size_t n_findings;
};

static uint64_t value(const struct question *q, enum machine_item item)
{
	return q->machine->values[item].n;
}

static bool is_known(const struct question *q, enum machine_item item)
{
	return q->machine->values[item].is_known;
}

static void give(struct question *q, const struct finding *finding)
{
	q->n_findings += finding->severity != SEVERITY_NOTE;
	q->sink(q->ctx, finding);
}

PRINTF(3, 4)
static void find(struct question *q, enum severity severity, const char *format, ...)
{
	struct finding finding = {.severity = severity};
	va_list args;
	va_start(args, format);
	(void)vsnprintf(finding.text, sizeof finding.text, format, args);
	va_end(args);
	give(q, &finding);
}

/* --- values that must be so large ------------------------------------------------------------- */

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t need_backlog(const struct question *q)
{
	return q->conf->backlog;
}

static uint64_t need_syn_backlog(const struct question *q)
{
	return (uint64_t)q->conf->backlog * SYN_OF / SYN_SHARE;
}

static uint64_t need_one(const struct question *q)
{
	(void)q;
	return 1;
}

static uint64_t need_tcp_mem(const struct question *q)
{
	return q->n_conns / TCP_MEM_DIVISOR;
}

static uint64_t need_conntrack(const struct question *q)
{
	return CONNTRACK_ENTRIES * q->n_conns;
}

/* A unit that asks for more than fs.nr_open does not get it. */
static uint64_t need_nr_open(const struct question *q)
{
	bool has_unit =
	        q->machine->nofile_of == MACHINE_OF_UNIT && value(q, MACHINE_NOFILE) != UINT64_MAX;
	return max_u64(q->n_files, has_unit ? value(q, MACHINE_NOFILE) : 0);
}

static uint64_t need_file_max(const struct question *q)
{
	return q->n_conns + OTHER_FILES;
}

static bool always(const struct question *q)
{
	(void)q;
	return true;
}

static bool has_no_cookies(const struct question *q)
{
	return is_known(q, MACHINE_SYNCOOKIES) && value(q, MACHINE_SYNCOOKIES) == 0;
}

static bool is_redirected(const struct question *q)
{
	return q->conf->firewall &&
	       (q->conf->rules == CONF_RULES_GATEWAY || q->conf->rules == CONF_RULES_LOCAL_MTA);
}

static bool has_own_rules(const struct question *q)
{
	return !q->conf->firewall || q->conf->rules == CONF_RULES_NONE;
}

static bool is_asked(const struct question *q)
{
	return q->conf->max_connections > 0;
}

/* The kernel's own value is by its memory, and that of a small machine is less than the worst that
 * as many connections as its memory carries may need. */
static bool is_auto(const struct question *q)
{
	return !is_asked(q);
}

/* One worker has the socket that is held, and no other. */
static bool has_queues_to_move(const struct question *q)
{
	return q->machine->is_activated && q->capacity.workers > 1;
}

static const struct minimum {
	enum machine_item item;
	enum severity severity;
	bool (*applies)(const struct question *q);
	uint64_t (*need)(const struct question *q);
	const char *otherwise;
} minima[] = {
        {MACHINE_SOMAXCONN, SEVERITY_WARNING, always, need_backlog,
         "the backlog is cut to it, and a burst of connections is not accepted"},
        {MACHINE_SYNCOOKIES, SEVERITY_WARNING, always, need_one,
         "a flood of SYN packets keeps everybody out"},
        {MACHINE_SYN_BACKLOG, SEVERITY_WARNING, has_no_cookies, need_syn_backlog,
         "without SYN cookies a burst of connections is not accepted"},
        {MACHINE_MIGRATE_REQ, SEVERITY_WARNING, has_queues_to_move, need_one,
         "at a restart, clients are lost that wait for another worker than the first"},
        {MACHINE_TCP_MEM_HIGH, SEVERITY_WARNING, is_asked, need_tcp_mem,
         "the kernel drops what arrives for any connection of this host"},
        {MACHINE_TCP_MEM_HIGH, SEVERITY_NOTE, is_auto, need_tcp_mem,
         "if they all leave data unacknowledged, the kernel drops what arrives for any "
         "connection of this host"},
        {MACHINE_CONNTRACK_MAX, SEVERITY_ERROR, is_redirected, need_conntrack,
         "when the table is full mail for the mail server is refused, too; or use "
         "rules = gateway-tproxy"},
        {MACHINE_CONNTRACK_MAX, SEVERITY_NOTE, has_own_rules, need_conntrack,
         "unless your rules say notrack"},
        {MACHINE_NR_OPEN, SEVERITY_WARNING, always, need_nr_open,
         "a service that asks for more files than this does not get them"},
        {MACHINE_FILE_MAX, SEVERITY_ERROR, always, need_file_max,
         "files of the whole machine: nobody can open another one"},
};

/* tcp_mem is three values, which keep their order and are never lowered. */
static const char *sysctl_of(const struct question *q, const struct minimum *row, uint64_t need,
                             char mend[static FINDING_MEND_MAX])
{
	if (row->item != MACHINE_TCP_MEM_HIGH) {
		const char *name = machine_sysctl(row->item);
		(void)snprintf(mend, FINDING_MEND_MAX, "sysctl -w %s=%llu", name,
		               (unsigned long long)need);
		return name;
	}
	const char *name = machine_sysctl(MACHINE_TCP_MEM);
	(void)snprintf(
	        mend, FINDING_MEND_MAX, "sysctl -w %s='%llu %llu %llu'", name,
	        (unsigned long long)max_u64(value(q, MACHINE_TCP_MEM), need / 2),
	        (unsigned long long)max_u64(value(q, MACHINE_TCP_MEM_PRESSURE), need / 3 * 2),
	        (unsigned long long)need);
	return name;
}

static void judge_minimum(struct question *q, const struct minimum *row)
{
	struct finding finding = {.severity = row->severity};
	uint64_t need = row->need(q);
	const char *name = sysctl_of(q, row, need, finding.mend);
	if (!is_known(q, row->item)) {
		find(q, SEVERITY_NOTE,
		     "%s is not to be seen here (in a network namespace, or its module is not "
		     "loaded): it must be %llu or more",
		     name, (unsigned long long)need);
		return;
	}
	if (value(q, row->item) >= need) {
		return;
	}
	(void)snprintf(finding.text, sizeof finding.text,
	               "%s is %llu, must be %llu or more for %llu connections: %s", name,
	               (unsigned long long)value(q, row->item), (unsigned long long)need,
	               (unsigned long long)q->n_conns, row->otherwise);
	give(q, &finding);
}

static void judge_minima(struct question *q)
{
	for (size_t i = 0; i < ARRAY_LEN(minima); i++) {
		if (minima[i].applies(q)) {
			judge_minimum(q, &minima[i]);
		}
	}
}

/* --- what is no mere minimum ------------------------------------------------------------------ */

/* Whose limit it is, and where it is set. */
static const struct {
	const char *owner;
	const char *setting;
	const char *place;
} limits_of_files[] = {
        [MACHINE_OF_DAEMON] = {"the mired that runs has", "LimitNOFILE=", " in " UNIT_DROP_IN},
        [MACHINE_OF_UNIT] = {"mired.service has", "LimitNOFILE=", " in " UNIT_DROP_IN},
        [MACHINE_OF_CALLER] = {"this shell, and a mired it starts, has", "ulimit -Hn ", ""},
};

static void judge_files(struct question *q)
{
	struct finding finding = {.severity = SEVERITY_ERROR};
	enum machine_nofile of = q->machine->nofile_of;
	uint64_t nofile = value(q, MACHINE_NOFILE);
	uint32_t workers = capacity_workers_for(q->n_conns, nofile);
	if (q->capacity.max_connections >= q->n_conns) {
		return;
	}
	(void)snprintf(finding.text, sizeof finding.text,
	               "%s a limit of %llu files, each of %u workers needs %llu for %llu "
	               "connections: fewer will be held",
	               limits_of_files[of].owner, (unsigned long long)nofile, q->capacity.workers,
	               (unsigned long long)q->n_files, (unsigned long long)q->n_conns);
	int len =
	        snprintf(finding.mend, sizeof finding.mend, "%s%llu%s", limits_of_files[of].setting,
	                 (unsigned long long)q->n_files, limits_of_files[of].place);
	if (workers > 0) {
		(void)snprintf(finding.mend + len, sizeof finding.mend - (size_t)len,
		               "; or workers = %u", workers);
	}
	give(q, &finding);
}

static uint64_t power_of_two_below(uint64_t n)
{
	uint64_t power = 1;
	while (power <= n / 2) {
		power *= 2;
	}
	return power;
}

/* Connections in half of the memory, caches in what they leave. */
static void mend_memory(const struct question *q, uint64_t conns, uint64_t caches,
                        char mend[static FINDING_MEND_MAX])
{
	uint64_t memory = value(q, MACHINE_MEMORY_BYTES);
	uint64_t half = memory / CAPACITY_MEMORY_SHARE;
	uint64_t rest = memory - (conns < half ? conns : half);
	uint64_t slots = power_of_two_below(rest / 2 / CACHE_SLOT_BYTES);
	int len = 0;
	if (conns > half) {
		len = snprintf(mend, FINDING_MEND_MAX, "max-connections = %llu",
		               (unsigned long long)(half / CAPACITY_CONNECTION_BYTES));
	}
	if (caches > rest) {
		(void)snprintf(mend + len, FINDING_MEND_MAX - (size_t)len,
		               "%shost-cache = %llu, tuple-cache = %llu", len ? ", " : "",
		               (unsigned long long)slots, (unsigned long long)slots);
	}
}

static void judge_memory(struct question *q)
{
	uint64_t memory = value(q, MACHINE_MEMORY_BYTES);
	uint64_t conns = q->n_conns * CAPACITY_CONNECTION_BYTES;
	uint64_t caches = ((uint64_t)q->conf->host_cache_slots + q->conf->tuple_cache_slots) *
	                  CACHE_SLOT_BYTES;
	if (!is_known(q, MACHINE_MEMORY_BYTES) ||
	    (conns <= memory / CAPACITY_MEMORY_SHARE && conns + caches <= memory)) {
		return;
	}
	bool is_too_much = conns + caches > memory;
	struct finding finding = {.severity = is_too_much ? SEVERITY_ERROR : SEVERITY_WARNING};
	(void)snprintf(finding.text, sizeof finding.text,
	               "%llu connections take %llu MiB, the caches %llu MiB; of memory there are "
	               "%llu MiB%s",
	               (unsigned long long)q->n_conns, (unsigned long long)(conns / MIB_BYTES),
	               (unsigned long long)(caches / MIB_BYTES),
	               (unsigned long long)(memory / MIB_BYTES),
	               is_too_much ? "" : ": more than half of it, and the store wants the rest");
	mend_memory(q, conns, caches, finding.mend);
	give(q, &finding);
}

static void judge_auto(struct question *q)
{
	if (q->conf->max_connections == 0 && q->capacity.limit[0]) {
		find(q, SEVERITY_NOTE, "max-connections = auto is %u here; in the way of more: %s",
		     q->capacity.max_connections, q->capacity.limit);
	}
}

static void judge_uring(struct question *q)
{
	struct finding finding = {.severity = SEVERITY_ERROR};
	if (value(q, MACHINE_URING_DISABLED) > 0) {
		(void)snprintf(finding.text, sizeof finding.text,
		               "kernel.io_uring_disabled is %llu: mired's engine cannot work",
		               (unsigned long long)value(q, MACHINE_URING_DISABLED));
		(void)snprintf(finding.mend, sizeof finding.mend,
		               "sysctl -w kernel.io_uring_disabled=0");
		give(q, &finding);
	} else if (q->machine->uring_ret) {
		find(q, SEVERITY_ERROR,
		     "io_uring cannot be used (%s): mired's engine cannot work; a container's "
		     "seccomp filter may forbid it",
		     err_text(q->machine->uring_ret));
	}
}

static void judge_routes(struct question *q)
{
	struct finding finding = {.severity = q->machine->routes_ret == ERR_NOT_FOUND
	                                              ? SEVERITY_ERROR
	                                              : SEVERITY_NOTE,
	                          .mend = "mired-tproxy up"};
	if (q->conf->firewall && q->machine->routes_ret) {
		(void)snprintf(finding.text, sizeof finding.text, "%s", q->machine->routes_why);
		give(q, &finding);
	}
}

/* What its rules accept is not known. */
static void judge_input(struct question *q)
{
	const struct conf *conf = q->conf;
	struct finding finding = {.severity = SEVERITY_NOTE};
	if (!q->machine->input[0] || has_own_rules(q)) {
		return;
	}
	(void)snprintf(finding.text, sizeof finding.text,
	               "the chain %s drops by default: it needs a rule that accepts what is led to "
	               "mired",
	               q->machine->input);
	if (!is_redirected(q)) {
		(void)snprintf(finding.mend, sizeof finding.mend,
		               "meta mark & 0x02000000 != 0 accept");
	} else if (conf->n_low_priority_mx > 0) {
		(void)snprintf(finding.mend, sizeof finding.mend, "tcp dport { %u, %u } accept",
		               conf->port, conf->low_priority_port);
	} else {
		(void)snprintf(finding.mend, sizeof finding.mend, "tcp dport %u accept",
		               conf->port);
	}
	give(q, &finding);
}

static void judge_daemon(struct question *q)
{
	bool is_more = q->conf->max_connections > q->machine->daemon_max_connections;
	if (q->machine->daemon > 0 && q->conf->max_connections > 0 &&
	    q->machine->daemon_max_connections != q->conf->max_connections) {
		find(q, SEVERITY_NOTE,
		     "the mired that runs holds %u connections at most, the configuration asks for "
		     "%u: it counts from the next %s",
		     q->machine->daemon_max_connections, q->conf->max_connections,
		     is_more ? "start" : "reload");
	}
}

static void judge_store(struct question *q)
{
	const struct store_stats *store = &q->machine->store;
	struct finding finding = {.severity = SEVERITY_WARNING};
	enum store_space space = q->machine->has_store ? store_space_of(store) : STORE_SPACE_FINE;
	if (space != STORE_SPACE_FINE) {
		finding.severity = space == STORE_SPACE_FULL ? SEVERITY_ERROR : SEVERITY_WARNING;
		(void)snprintf(finding.text, sizeof finding.text, "the store uses %u %% of its %s",
		               store_used_percent(store),
		               space == STORE_SPACE_FULL
		                       ? "map: it takes no new records"
		                       : "map; nearly full, it takes no new ones");
		(void)snprintf(finding.mend, sizeof finding.mend, "store-map = %llum",
		               (unsigned long long)(2 * store->map_bytes / MIB_BYTES));
		give(q, &finding);
	}
	if (q->machine->has_store && store_wants_compaction(store)) {
		find(q, SEVERITY_NOTE,
		     "%u %% of the store's file are free pages: stop mired, miredb --compact, "
		     "start "
		     "it",
		     store_free_percent(store));
	}
}

static void (*const checks[])(struct question *q) = {
        judge_auto,   judge_files, judge_memory, judge_minima, judge_uring,
        judge_routes, judge_input, judge_store,  judge_daemon,
};

/* --- the whole -------------------------------------------------------------------------------- */

static void capacity_with(const struct conf *conf, const struct machine *machine, uint64_t nofile,
                          struct engine_capacity *out)
{
	engine_capacity_of(conf, nofile, (uint32_t)machine->values[MACHINE_CORES].n,
	                   machine->values[MACHINE_MEMORY_BYTES].n, out);
}

uint32_t judge_connections(const struct conf *conf, const struct machine *machine)
{
	struct engine_capacity capacity;
	capacity_with(conf, machine, machine->values[MACHINE_NOFILE].n, &capacity);
	return conf->max_connections > 0 ? conf->max_connections : capacity.max_connections;
}

size_t judge_machine(const struct conf *conf, const struct machine *machine, finding_sink *sink,
                     void *ctx)
{
	struct question q = {.conf = conf, .machine = machine, .sink = sink, .ctx = ctx};
	struct engine_capacity unlimited;
	struct conf asked = *conf;
	q.n_conns = asked.max_connections = judge_connections(conf, machine);
	capacity_with(conf, machine, machine->values[MACHINE_NOFILE].n, &q.capacity);
	capacity_with(&asked, machine, UINT64_MAX / CONF_WORKERS_MAX, &unlimited);
	q.n_files = unlimited.per_ring;
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		checks[i](&q);
	}
	return q.n_findings;
}
