/* spamdb's text format, one record a line (spec: spamdb(8)), written and read. Times in epoch
 * seconds.
 *
 *   WHITE|IP|||FIRST|PASS|EXPIRE|BCOUNT|PCOUNT
 *   GREY|IP|HELO|SENDER|RCPT|FIRST|PASS|EXPIRE|BCOUNT|PCOUNT
 *   TRAPPED|IP|EXPIRE
 *   SPAMTRAP|ADDRESS
 *
 * A control character, a backslash or a `|` of a value stands as \xHH (two lower-case digits), so
 * that a line is always one record and reads back to the same bytes. Reading takes \xHH for a byte
 * only where writing would have made it: any other backslash, as in a dump of spamdb or greyd,
 * which escape nothing, is a backslash.
 *
 * The merge form has all that another gateway needs to join a record with its own (policy/merge.h),
 * `-` in the place of `+` for a record that was deleted at CHANGED:
 *
 *   +WHITE|IP|CHANGED|FIRST|PASS|EXPIRE|BCOUNT|PCOUNT
 *   +TRAPPED|IP|CHANGED|FIRST|PASS|EXPIRE|BCOUNT|PCOUNT
 *   +GREY|IP|HELO|SENDER|RCPT|CHANGED|FIRST|PASS|EXPIRE|BCOUNT|PCOUNT|LAST
 *   +SPAMTRAP|ADDRESS|CHANGED|FIRST */
#pragma once

#include <stdio.h>

#include "base/compiler.h"
#include "base/span.h"
#include "store/store.h"

enum {
	DUMP_WHY_MAX = 128,
	DUMP_TEXT_BYTES = 3 * RECORD_STRING_MAX,
	/* three texts of nothing but escapes, and what else a line of either form has, generously
	 */
	DUMP_LINE_MAX = 4 * DUMP_TEXT_BYTES + 256,
};

/* "WHITE", "TRAPPED", "GREY", "SPAMTRAP". */
const char *dump_kind_name(enum record_kind kind);
/* 0, or -errno of the stream. */
MUST_USE int dump_print(const struct store_row *row, FILE *out);
MUST_USE int dump_print_merge(const struct store_row *row, FILE *out);

/* A record read from a line. Texts lie in buf. */
struct dump_record {
	enum record_kind kind;
	struct addr addr;          /* whole; hosts and tuples */
	struct grey_record record; /* what the form has of it: TRAPPED of spamdb's, expire only */
	struct tuple_text text;    /* tuples; a spamtrap address (normalised) is text.recipient */
};

/* Whether a normalised text may be a spamtrap: valid (policy/trap.h) and without a bracket left
 * around it, which normalising it again, as reading does, would take away. */
bool dump_can_be_spamtrap(struct span address);

/* line: without its LF (one CR at its end is no part of it). Old GREY lines without helo have an
 * empty one. Where texts hold a bare `|`, the recipient begins at the last `<` behind a `|`, the
 * sender at the one before. ERR_SYNTAX, ERR_RANGE, ERR_TOO_LONG with why; ERR_UNSUPPORTED for a
 * record that mired keeps elsewhere (greyd's DOMAIN). Pure. */
MUST_USE int dump_parse(struct span line, uint8_t buf[static DUMP_TEXT_BYTES],
                        struct dump_record *out, char why[static DUMP_WHY_MAX]);
/* The same for the merge form, which is only ever ours: a bare `|` ends its field. */
MUST_USE int dump_parse_merge(struct span line, uint8_t buf[static DUMP_TEXT_BYTES],
                              struct dump_record *out, char why[static DUMP_WHY_MAX]);
/* Whether a line is one of the merge form, if any. */
bool dump_is_merge(struct span line);
