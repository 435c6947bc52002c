/* Packing of a session's input and values, see text.h. No pointer into bytes[] outlives a call but
 * the spans handed out. */
#include "smtp/text.h"

#include <assert.h>
#include <string.h>

#include "smtp/session_impl.h"

/* A text which is LARGE always has room for one more read of SESSION_READ_MAX bytes and a line's
 * LF, whatever the values grow to, unless complete lines wait. */
enum { READ_RESERVE = SESSION_READ_MAX + 1 };

#define LARGE_BYTES  (SESSION_TEXT_LARGE - sizeof(struct session_text))
#define VALUES_BYTES ((size_t)3 * SESSION_VALUE_MAX)

static_assert(LARGE_BYTES >= VALUES_BYTES + READ_RESERVE + SESSION_LINE_KEEP,
              "a LARGE text keeps one line of full length beside everything else");
static_assert(LARGE_BYTES >= REPLY_LISTED_MAX, "a LARGE text takes every list reply");
static_assert(SESSION_TEXT_LARGE <= UINT16_MAX, "offsets are 16 bits");
static_assert(SESSION_LINE_MAX < UINT16_MAX, "line_bytes is 16 bits");

void session_text_init(struct session_text *text, size_t size)
{
	ASSERT(size == SESSION_TEXT_SMALL || size == SESSION_TEXT_LARGE);
	memset(text, 0, sizeof *text);
	text->n_bytes = (uint16_t)(size - sizeof *text);
}

bool text_is_large(const struct session_text *text)
{
	return text->n_bytes >= LARGE_BYTES;
}

static uint16_t value_start(const struct session_text *text, unsigned which)
{
	unsigned start = 0;
	for (unsigned i = 0; i < which; i++) {
		start += text->value_len[i];
	}
	return (uint16_t)start;
}

struct span text_value(const struct session_text *text, enum text_value which)
{
	return span_of(text->bytes + value_start(text, which), text->value_len[which]);
}

void text_set_value(struct session_text *text, enum text_value which, struct span value)
{
	uint8_t copy[SESSION_VALUE_MAX];
	uint16_t len = (uint16_t)(value.len < sizeof copy ? value.len : sizeof copy);
	if (len) {
		memcpy(copy, value.ptr, len);
	}
	uint16_t start = value_start(text, which);
	uint16_t old_end = (uint16_t)(start + text->value_len[which]);
	uint16_t end = value_start(text, TEXT_VALUE_COUNT);
	/* The value was part of a line that has been taken, so the gap is at least as long. */
	ASSERT(end - old_end + start + len <= text->in_pos);
	memmove(text->bytes + start + len, text->bytes + old_end, (size_t)(end - old_end));
	if (len) {
		memcpy(text->bytes + start, copy, len);
	}
	text->value_len[which] = len;
}

struct span text_set_listed(struct session_text *text, const struct reply_lists *lists,
                            bool *is_cut)
{
	size_t room = text->n_bytes < REPLY_LISTED_MAX ? text->n_bytes : REPLY_LISTED_MAX;
	size_t len = reply_render_lists(lists, text->bytes, room, is_cut);
	memset(text->value_len, 0, sizeof text->value_len);
	text->in_pos = text->in_end = (uint16_t)len;
	text->line_bytes = text->line_kept = 0;
	return span_of(text->bytes, len);
}

void session_text_move(struct session *session, struct session_text *to,
                       const struct session_text *from)
{
	ASSERT(to->n_bytes >= from->n_bytes);
	uint16_t n_bytes = to->n_bytes;
	*to = *from;
	to->n_bytes = n_bytes;
	memcpy(to->bytes, from->bytes, from->in_end);
	if (said_id(session->reply) == REPLY_LISTED && session->out) {
		session->out = to->bytes; /* there is nothing else in the text */
	}
}

static uint16_t bytes_used(const struct session_text *text)
{
	return (uint16_t)(value_start(text, TEXT_VALUE_COUNT) + text->in_end - text->in_pos);
}

size_t text_free(const struct session_text *text)
{
	size_t n_free = (size_t)text->n_bytes - bytes_used(text);
	return n_free ? n_free - 1 : 0; /* the last one is for a line's LF */
}

bool text_is_empty(const struct session_text *text)
{
	return bytes_used(text) == 0 && text->line_bytes == 0;
}

static void close_gap(struct session_text *text)
{
	uint16_t start = value_start(text, TEXT_VALUE_COUNT);
	uint16_t len = (uint16_t)(text->in_end - text->in_pos);
	if (start != text->in_pos) {
		memmove(text->bytes + start, text->bytes + text->in_pos, len);
		text->in_pos = start;
		text->in_end = (uint16_t)(start + len);
	}
}

static void end_line(struct session_text *text)
{
	text->bytes[text->in_end++] = '\n';
	text->line_bytes = 0;
	text->line_kept = 0;
}

/* Appends bytes without LF that fit into the line's bound; returns how many were taken. */
static size_t add_part(struct session_text *text, struct span part)
{
	size_t keep = (size_t)(SESSION_LINE_KEEP - text->line_kept);
	size_t n_kept = part.len < keep ? part.len : keep;
	size_t n_free = text_free(text);
	if (n_kept > n_free) {
		part.len = n_kept = n_free;
	}
	memcpy(text->bytes + text->in_end, part.ptr, n_kept);
	text->in_end = (uint16_t)(text->in_end + n_kept);
	text->line_kept = (uint16_t)(text->line_kept + n_kept);
	text->line_bytes = (uint16_t)(text->line_bytes + part.len);
	return part.len;
}

/* Adds up to the end of the line, its bound or the end of bytes. Returns how many were taken: less
 * than that where there was no room. */
static size_t add_line(struct session_text *text, struct span bytes, bool *is_long)
{
	size_t bound = (size_t)(SESSION_LINE_MAX - text->line_bytes);
	size_t n_looked = bytes.len < bound ? bytes.len : bound;
	const uint8_t *lf = memchr(bytes.ptr, '\n', n_looked);
	size_t len = lf ? (size_t)(lf - bytes.ptr) : n_looked;
	size_t taken = add_part(text, span_of(bytes.ptr, len));
	if (taken < len) {
		return taken;
	}
	if (lf) {
		end_line(text);
		return taken + 1;
	}
	if (text->line_bytes == SESSION_LINE_MAX) {
		end_line(text);
		*is_long = true;
	}
	return taken;
}

size_t text_add(struct session_text *text, struct span bytes, bool *is_long)
{
	close_gap(text);
	bool was_long = false;
	size_t taken = 0;
	size_t n = 1;
	while (n > 0 && taken < bytes.len && text->in_end < text->n_bytes) {
		n = add_line(text, span_skip(bytes, taken), &was_long);
		taken += n;
	}
	if (is_long && was_long) {
		*is_long = true;
	}
	return taken;
}

bool text_has_line(const struct session_text *text)
{
	return memchr(text->bytes + text->in_pos, '\n', (size_t)(text->in_end - text->in_pos));
}

struct span text_take_line(struct session_text *text)
{
	struct span waiting =
	        span_of(text->bytes + text->in_pos, (size_t)(text->in_end - text->in_pos));
	struct span rest;
	struct span line = span_cut(waiting, '\n', &rest);
	text->in_pos = (uint16_t)(text->in_pos + line.len + 1);
	return line;
}
