/* The bulky part of a session: its input, assembled into lines, and the values it keeps (HELO,
 * sender, recipient), packed into one block of a fixed size; at the end of a listed client's
 * dialogue its final reply instead of all that. Pure; owned by the session's thread.
 *
 *   bytes: [helo][sender][recipient] gap [waiting lines, each with LF][partial line]
 *      or: [list reply]
 *
 * A line is complete at LF or after SESSION_LINE_MAX bytes. What exceeds the bytes kept of a line
 * is counted and dropped. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "smtp/session.h"

enum text_value { TEXT_HELO, TEXT_SENDER, TEXT_RECIPIENT, TEXT_VALUE_COUNT };

struct session_text {
	uint16_t n_bytes; /* size of bytes[] */
	uint16_t value_len[TEXT_VALUE_COUNT];
	uint16_t in_pos;     /* first byte of input that is not taken yet */
	uint16_t in_end;     /* end of input */
	uint16_t line_bytes; /* received of the line that is not complete, dropped ones included */
	uint16_t line_kept;  /* of which are in bytes[] */
	uint8_t bytes[];
};

/* Bytes of new input that surely fit now. A LARGE text takes SESSION_READ_MAX whenever no complete
 * line waits. */
size_t text_free(const struct session_text *text);
/* Neither values nor input. */
bool text_is_empty(const struct session_text *text);
bool text_is_large(const struct session_text *text);
/* Appends input; returns how many bytes were taken, fewer than given only when the text is full.
 * *is_long (may be NULL) is set when a line was cut at SESSION_LINE_MAX, else left alone. */
size_t text_add(struct session_text *text, struct span bytes, bool *is_long);
bool text_has_line(const struct session_text *text);
/* The oldest complete line without its LF; only when text_has_line. The span stays valid until the
 * next text_add. */
struct span text_take_line(struct session_text *text);

struct span text_value(const struct session_text *text, enum text_value which);
/* Replaces a value by bytes of the line just taken (cut at SESSION_VALUE_MAX), or by nothing. */
void text_set_value(struct session_text *text, enum text_value which, struct span value);
/* Puts a list reply, as far as it fits, in place of everything else and returns it. */
struct span text_set_listed(struct session_text *text, const struct reply_lists *lists,
                            bool *is_cut);
