/* One driven session a test, for the tests of the session. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "driver.h"

enum { BANNER_BYTES = sizeof "220 mail.example.org ESMTP Mailer\r\n" - 1 };

static struct driver *driver;

static inline int setup(void **state)
{
	(void)state;
	driver = calloc(1, sizeof *driver);
	if (!driver) {
		return -1;
	}
	driver_conf(&driver->conf);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	driver_stop(driver);
	free(driver);
	return 0;
}
