/* Whether a machine carries what a configuration asks for. Pure: over values that were read before.
 * Each check is a row of a table in judge.c. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "verify/finding.h"
#include "verify/machine.h"

/* The connections that are asked for: max-connections, or what `auto` makes of this machine. */
uint32_t judge_connections(const struct conf *conf, const struct machine *machine);

/* Hands each finding to sink. Returns how many there are but for notes. */
size_t judge_machine(const struct conf *conf, const struct machine *machine, finding_sink *sink,
                     void *ctx);
