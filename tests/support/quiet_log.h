/* The log of a test program, as its group's setup and teardown: to stderr, errors only. */
#pragma once

#include "base/log.h"

static inline int quiet_log_open(void **state)
{
	static const struct log_options quiet = {
	        .ident = "test", .target = LOG_TARGET_STDERR, .level = LOG_LEVEL_ERROR};
	(void)state;
	return log_open(&quiet);
}

static inline int quiet_log_close(void **state)
{
	(void)state;
	log_close();
	return 0;
}
