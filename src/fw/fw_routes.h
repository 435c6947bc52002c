/* The routes that rules = gateway-tproxy needs besides rules; systemd/mired-tproxy sets them up. */
#pragma once

#include "base/compiler.h"
#include "conf/conf.h"
#include "fw/fw.h"

/* What the TPROXY rules mark, and the routing table for it. */
enum { FW_TPROXY_MARK = 0x02000000, FW_TPROXY_TABLE = 825 };

/* Whether the routes are there; 0 with other rules. ERR_NOT_FOUND = something is missing, and
 * nobody will be held; other codes = the kernel could not be asked. `why` says it. Any thread;
 * needs no rights. */
MUST_USE int fw_routes_check(const struct conf *conf, char why[static FW_WHY_MAX]);
