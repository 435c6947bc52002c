/* One record as one line: in spamdb's form, or as a JSON object. No store, no options here. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/compiler.h"
#include "store/store.h"

/* WHITE|IP|||FIRST|PASS|EXPIRE|BCOUNT|PCOUNT, GREY|IP|HELO|SENDER|RCPT|FIRST|…, TRAPPED|IP|EXPIRE.
 * Values are verbatim, a '|' too, as in spamdb; only control characters become \xHH, for a line
 * feed in a value would forge a record. -errno, what the stream says. */
MUST_USE int print_plain(const struct store_row *row, FILE *out);

/* {"kind":"GREY","address":…,"helo":…,"sender":…,"recipient":…,"first":…,"pass":…,"expire":…,
 * "bcount":…,"pcount":…}. A text that is no UTF-8 has each byte above 127 replaced by U+FFFD and
 * is given exactly in a member of its name and "_hex". -errno. */
MUST_USE int print_json(const struct store_row *row, FILE *out);
