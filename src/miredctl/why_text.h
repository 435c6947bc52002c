/* The answer to `why` in plain words. Pure but for `out` and the local time zone. */
#pragma once

#include <jansson.h>
#include <stdio.h>

/* answer: as mired-ctl(7) describes it, with two members more:
 *   kernel  {"error": TEXT}: nobody could be asked; else {"sets": [{"set": NAME, "timeout_secs": N
 *           (missing: it stays)}, ...]}, those that hold the address
 *   held    its connections now; null: not known
 * Members that are missing count as none. Borrowed; what could move a terminal is not printed. */
void why_text(const json_t *answer, FILE *out);
