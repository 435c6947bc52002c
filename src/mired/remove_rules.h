/* mired --remove-rules: takes away what a mired that was stopped has left in the packet filter. */
#pragma once

#include "base/compiler.h"
#include "conf/conf.h"

enum { REMOVE_RULES_WHY_MAX = 640 };

/* Removes the configuration's table; none is no error, and with firewall = no it is nobody's
 * business. ERR_BUSY: a mired runs on the configuration's state directory; a negative code with
 * why.
 */
MUST_USE int remove_rules_run(const struct conf *conf, char why[static REMOVE_RULES_WHY_MAX]);
/* The same with the usual table and state directory, for a configuration that cannot be read: its
 * rules would send strangers to a closed port until somebody has mended it. */
MUST_USE int remove_rules_run_usual(char why[static REMOVE_RULES_WHY_MAX]);
