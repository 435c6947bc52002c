/* The thread that tells the daemon which addresses were seen, so that a slow or absent daemon never
 * keeps the reader from the kernel's log. Owns the table of sightings and guards it. */
#pragma once

#include <stdint.h>

#include "base/compiler.h"
#include "mired-logd/herald.h"
#include "mired-logd/sightings.h"

struct reporter;

struct reporter_options {
	const char *socket;   /* of the daemon; borrowed */
	uint32_t interval_ms; /* between reports of the same address */
	int64_t life_secs;    /* of a host on the whitelist from now on */
	/* tells the peers what the daemon has taken; borrowed, the reporter's thread is its owner
	 * until reporter_stop; NULL: there are none */
	struct herald *herald;
};

MUST_USE int reporter_start(struct reporter **out, const struct reporter_options *options);
/* One connection of this address was seen. Never waits for the daemon. */
void reporter_add(struct reporter *reporter, const struct addr *addr, bool is_outbound);

struct reporter_figures {
	uint64_t n_reported;  /* addresses, as many times as they were reported */
	uint64_t n_forgotten; /* sightings without room while the daemon was away */
	uint64_t n_refused;   /* reports the daemon did not take: no room */
	struct herald_figures told;
};
/* Any thread. */
void reporter_figures_get(struct reporter *reporter, struct reporter_figures *out);

/* Sends what waits, for a short time at most, and ends the thread. *last: the figures then. */
void reporter_stop(struct reporter *reporter, struct reporter_figures *last);
