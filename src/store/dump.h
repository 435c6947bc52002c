/* spamdb's text format, one record a line (spec/greylist.md §6), written and read. Times in epoch
 * seconds.
 *
 *   WHITE|IP|||FIRST|PASS|EXPIRE|BCOUNT|PCOUNT
 *   GREY|IP|HELO|SENDER|RCPT|FIRST|PASS|EXPIRE|BCOUNT|PCOUNT
 *   TRAPPED|IP|EXPIRE
 *   SPAMTRAP|ADDRESS
 *
 * A control character, a backslash or (in helo, sender, recipient) a `|` of a value stands as \xHH,
 * so that a line is always one record and reads back to the same bytes. */
#pragma once

#include <stdio.h>

#include "base/compiler.h"
#include "base/span.h"
#include "store/store.h"

enum { DUMP_WHY_MAX = 128 };

/* 0, or -errno of the stream. */
MUST_USE int dump_print(const struct store_row *row, FILE *out);

/* A record read from a line. Texts lie in buf. */
struct dump_record {
	enum record_kind kind;
	struct addr addr;          /* whole; hosts and tuples */
	struct grey_record record; /* TRAPPED: expire only, as the format has no more */
	struct tuple_text text;    /* tuples; a spamtrap address (normalised) is text.recipient */
};

enum { DUMP_TEXT_BYTES = 3 * RECORD_STRING_MAX };

/* line: without its LF (one CR at its end is no part of it). Old GREY lines without helo have an
 * empty one. ERR_SYNTAX, ERR_RANGE, ERR_TOO_LONG with why. Pure. */
MUST_USE int dump_parse(struct span line, uint8_t buf[static DUMP_TEXT_BYTES],
                        struct dump_record *out, char why[static DUMP_WHY_MAX]);
