/* What the configuration says about the log, in the logger's words. */
#pragma once

#include "base/log.h"
#include "conf/conf.h"

/* ident NULL: the configuration's. The strings are *conf's or the caller's. */
struct log_options conf_log_options(const struct conf *conf, const char *ident);
