/* Addresses seen and not yet reported, and those reported a short while ago: a new address is due
 * at once, one that comes again is counted and due when an interval has passed since its last
 * report. Bounded. Pure: the clock is handed in. The caller guards it against other threads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/compiler.h"

struct sighting {
	struct addr addr;
	bool is_outbound;
	uint32_t count;
};

struct sightings;

/* n_max: addresses remembered, 1 to 2^24. NULL: no memory. */
struct sightings *sightings_new(uint32_t n_max, uint32_t interval_ms);
void sightings_free(struct sightings *sightings);
/* Adds sighting->count. False: the table is full of addresses that wait to be reported; this one is
 * forgotten. */
bool sightings_add(struct sightings *sightings, const struct sighting *sighting, struct mono now);
/* Takes what is due, oldest first, at most max; returns how many. */
size_t sightings_take(struct sightings *sightings, struct mono now, struct sighting *out,
                      size_t max);
/* A sighting that was taken and could not be reported: due at once, again. */
void sightings_return(struct sightings *sightings, const struct sighting *sighting,
                      struct mono now);
/* Milliseconds until something may be due: 0 = now; INT32_MAX = only after another sightings_add.
 */
int32_t sightings_wait_ms(const struct sightings *sightings, struct mono now);
/* Everything that waits is due now: the program ends. */
void sightings_hurry(struct sightings *sightings);
