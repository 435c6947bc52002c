/* One record as a JSON object on one line. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "base/compiler.h"
#include "store/store.h"

/* {"kind":"GREY","address":…,"helo":…,"sender":…,"recipient":…,"first":…,"pass":…,"expire":…,
 * "bcount":…,"pcount":…}; a spamtrap has kind, address and first only. A text that is no UTF-8 has
 * each byte above 127 replaced by U+FFFD and is given exactly in a member of its name and "_hex".
 * -errno. */
MUST_USE int json_print_row(const struct store_row *row, FILE *out);

/* The same as an object, for those who add members; NULL never (an empty object without memory). */
json_t *json_of_row(const struct store_row *row);
/* Prints and frees it. -errno. */
MUST_USE int json_print(json_t *object, FILE *out);
