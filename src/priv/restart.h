/* When a dead role is started again, and when that is hopeless. Pure: the clock is handed in. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

enum {
	RESTART_FIRST_MS = 100, /* listening sockets are open meanwhile: clients only wait */
	RESTART_MIN_MS = 1000,  /* the second in a row, then doubling */
	RESTART_MAX_MS = 60000,
	RESTART_HEALTHY_MS = 60000, /* who lived this long starts over */
	RESTART_CRASH_MS = 10000,   /* a crash this soon after the start is the store's fault */
	RESTART_STORE_MAX = 3,      /* deaths in the store in a row */
};

/* One role's record. Starts as zeros. */
struct restart {
	uint32_t n_failures; /* in a row */
	uint32_t n_store;    /* of them in the store, in a row */
};

/* How a role ended, by wait's status. */
struct restart_death {
	int status;    /* as from waitpid */
	bool is_store; /* it said itself that the store is the reason */
	struct mono started;
	struct mono now;
};

enum restart_verdict { RESTART_AGAIN, RESTART_GIVE_UP };

/* Counts one death. RESTART_AGAIN: start it after *wait_ms. RESTART_GIVE_UP: it died in the store
 * RESTART_STORE_MAX times in a row. */
enum restart_verdict restart_died(struct restart *restart, const struct restart_death *death,
                                  uint32_t *wait_ms);
