/* Whether a machine carries what a configuration asks for. Pure: over values that were read before.
 * Each check is a row of a table in judge.c. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "verify/machine.h"

enum severity {
	SEVERITY_ERROR,   /* it will not be carried */
	SEVERITY_WARNING, /* not under load, or at the cost of others */
	SEVERITY_NOTE,    /* nothing to mend, or not known to be wrong */
	SEVERITY_COUNT
};

enum { FINDING_TEXT_MAX = 1024, FINDING_MEND_MAX = 256 };

struct finding {
	enum severity severity;
	char text[FINDING_TEXT_MAX];
	char mend[FINDING_MEND_MAX]; /* a command, or a line for a file; may be empty */
};

typedef void finding_sink(void *ctx, const struct finding *finding);

const char *severity_name(enum severity severity);

/* The connections that are asked for: max-connections, or what `auto` makes of this machine. */
uint32_t judge_connections(const struct conf *conf, const struct machine *machine);

/* Hands each finding to sink. Returns how many there are but for notes. */
size_t judge_machine(const struct conf *conf, const struct machine *machine, finding_sink *sink,
                     void *ctx);
