/* What of the machine bears on how many connections it carries, read once: values here, judgement
 * in judge.h. Reading needs no rights; what cannot be read is not known. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/span.h"
#include "conf/conf.h"
#include "fw/fw.h"
#include "fw/fw_input.h"
#include "store/store.h"

enum machine_item {
	MACHINE_SOMAXCONN,
	MACHINE_SYN_BACKLOG,
	MACHINE_SYNCOOKIES,
	MACHINE_TCP_MEM, /* pages; the first of three: low, pressure, high */
	MACHINE_TCP_MEM_PRESSURE,
	MACHINE_TCP_MEM_HIGH,
	MACHINE_CONNTRACK_MAX,
	MACHINE_NR_OPEN,
	MACHINE_FILE_MAX,
	MACHINE_URING_DISABLED,
	MACHINE_MIGRATE_REQ,
	MACHINE_NOFILE, /* the hard limit of files, as mired has it or would have it */
	MACHINE_MEMORY_BYTES,
	MACHINE_CORES,
	MACHINE_COUNT
};

struct machine_value {
	uint64_t n;
	bool is_known;
};

/* Whose limit of files that is. */
enum machine_nofile { MACHINE_OF_DAEMON, MACHINE_OF_UNIT, MACHINE_OF_CALLER };

struct machine {
	struct machine_value values[MACHINE_COUNT];
	enum machine_nofile nofile_of;
	int uring_ret;  /* 0: a ring can be made here; else -errno */
	int routes_ret; /* fw_routes_check */
	char routes_why[FW_WHY_MAX];
	char input[FW_CHAIN_TEXT_MAX]; /* fw_input_drops; "": none, or not known */
	bool is_activated;             /* mired.socket holds the ports; set by the caller */
	/* of the daemon that runs; set by the caller, who asks it */
	pid_t daemon; /* 0: none */
	uint32_t daemon_max_connections;
	bool has_store;
	struct store_stats store;
};

/* Fills all but what the caller sets. */
void machine_read(struct machine *machine, const struct conf *conf);

/* "net.core.somaxconn"; NULL for what is no sysctl of its own. */
const char *machine_sysctl(enum machine_item item);

/* --- machine_text.c: texts of the kernel and of systemctl; pure --------------------------------
 */

/* Up to n_max decimal numbers between white space, and nothing else. The count, ERR_SYNTAX,
 * ERR_RANGE; negative ones are ERR_RANGE. */
int machine_parse_numbers(struct span text, uint64_t *out, size_t n_max);
/* /proc/PID/limits: the hard limit of open files; UINT64_MAX for "unlimited". ERR_SYNTAX. */
MUST_USE int machine_parse_limits(struct span text, uint64_t *hard);
/* `systemctl show -p LoadState -p LimitNOFILE`: the hard limit of a unit that is there.
 * ERR_NOT_FOUND: it is not; ERR_SYNTAX. */
MUST_USE int machine_parse_unit(struct span text, uint64_t *hard);
