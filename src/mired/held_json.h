/* Held connections as JSON, as mired-ctl(7) describes it. Pure. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "engine/held.h"

enum { HELD_JSON_LISTS_MAX = 16 }; /* told by name; the others together */

/* n: at most so many of the longest held and of the networks. */
json_t *held_json(const struct held *held, int64_t age_ms, size_t n);
/* Of a query for one address. */
json_t *held_address_json(const struct held *held, int64_t age_ms, size_t n);
