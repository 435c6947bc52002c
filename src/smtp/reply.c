/* What mired says: all texts in one table, and the renderer of list replies. The wording is ours,
 * dull as that of any mail server; only the deferral's text is part of the interface (spamd.md §8).
 */
#include "smtp/reply.h"

#include <string.h>

#include "base/err.h"

// clang-format off
/* %h host name, %n banner name, %% percent. */
static const char *const reply_texts[REPLY_COUNT] = {
	[REPLY_NONE]      = NULL,
	[REPLY_BANNER]    = NULL, /* 220 and the banner of the configuration */
	[REPLY_HELO]      = "250 %h",
	[REPLY_HELO_ARG]  = "501 5.5.4 A host name is required",
	[REPLY_SENDER]    = "250 2.1.0 Sender accepted",
	[REPLY_RECIPIENT] = "250 2.1.5 Recipient accepted",
	[REPLY_RESET]     = "250 2.0.0 Reset",
	[REPLY_NOOP]      = "250 2.0.0 Ok",
	[REPLY_DATA]      = "354 Send the message, end it with a single dot",
	[REPLY_UNKNOWN]   = "500 5.5.1 Command not known here",
	[REPLY_BYE]       = "221 %h closing the connection",
	[REPLY_DEFER]     = "451 Temporary failure, please try again later.",
	[REPLY_LISTED]    = NULL, /* rendered for each connection */
};
// clang-format on

static const char listed_fallback[] = "Mail from your address is not accepted now";

/* Output of bounded size with a sticky error, so that one check at the end is enough. */
struct text_out {
	uint8_t *bytes;
	size_t len;
	size_t size;
	int error;
};

static void put_byte(struct text_out *out, uint8_t c)
{
	if (out->len == out->size) {
		out->error = out->error ? out->error : ERR_TOO_LONG;
		return;
	}
	out->bytes[out->len++] = c;
}

static bool is_control(uint8_t c)
{
	return c < 0x20 || c == 0x7f;
}

static void put_char(struct text_out *out, char c)
{
	if (is_control((uint8_t)c)) {
		out->error = ERR_SYNTAX;
	}
	put_byte(out, (uint8_t)c);
}

static void put_plain(struct text_out *out, const char *text)
{
	for (; *text; text++) {
		put_char(out, *text);
	}
}

struct names {
	const char *host;
	const char *name;
};

static void put_template(struct text_out *out, const char *text, const struct names *names)
{
	for (; *text; text++) {
		if (*text != '%') {
			put_char(out, *text);
			continue;
		}
		text++;
		const char *word = *text == 'h'   ? names->host
		                   : *text == 'n' ? names->name
		                   : *text == '%' ? "%"
		                                  : NULL;
		if (!word) {
			out->error = ERR_SYNTAX;
			return;
		}
		put_plain(out, word);
	}
}

int reply_set_init(struct reply_set *set, const char *banner, const char *host, const char *name)
{
	const struct names names = {host, name};
	memset(set, 0, sizeof *set);
	for (unsigned id = 0; id < REPLY_COUNT; id++) {
		const char *text = id == REPLY_BANNER ? banner : reply_texts[id];
		if (!text) {
			continue;
		}
		struct text_out out = {.bytes = set->bytes[id], .size = REPLY_TEXT_MAX - 2};
		if (id == REPLY_BANNER) {
			put_plain(&out, "220 ");
		}
		put_template(&out, text, &names);
		if (out.error) {
			return out.error;
		}
		out.size = REPLY_TEXT_MAX;
		put_byte(&out, '\r');
		put_byte(&out, '\n');
		set->len[id] = (uint16_t)out.len;
	}
	return 0;
}

struct span reply_text(const struct reply_set *set, enum reply_id id)
{
	return span_of(set->bytes[id], set->len[id]);
}

/* A multi-line reply under way. A line break is written only when a character follows it, so that
 * trailing ones vanish. */
struct list_out {
	struct text_out text;
	const char *code;  /* three digits */
	size_t line_start; /* of the line being written */
	bool has_line;     /* a line is being written */
	unsigned n_breaks; /* not written yet */
	bool is_full;
};

/* Room that a line needs besides its text: code, separator, CRLF. */
enum { LINE_FRAME_BYTES = 4 + 2 };

/* Ends the line being written. text.size never includes the CRLF, so it always fits. */
static void end_line(struct list_out *out)
{
	memcpy(out->text.bytes + out->text.len, "\r\n", 2);
	out->text.len += 2;
	out->has_line = false;
}

static void begin_line(struct list_out *out)
{
	if (out->has_line) {
		end_line(out);
	}
	if (out->text.len + LINE_FRAME_BYTES > out->text.size) {
		out->is_full = true;
		return;
	}
	out->line_start = out->text.len;
	memcpy(out->text.bytes + out->text.len, out->code, 3);
	out->text.bytes[out->text.len + 3] = '-';
	out->text.len += 4;
	out->has_line = true;
}

/* A line that does not fit is taken back, unless it is the first: that one is cut. */
static void line_overflows(struct list_out *out)
{
	out->is_full = true;
	if (out->line_start > 0) {
		out->text.len = out->line_start;
		out->has_line = false;
	}
}

static void list_put(struct list_out *out, uint8_t c)
{
	if (c == '\n') {
		out->n_breaks++;
		return;
	}
	for (; out->n_breaks > 0 && !out->is_full; out->n_breaks--) {
		begin_line(out);
	}
	if (out->is_full) {
		return;
	}
	if (out->text.len == out->text.size - 2) {
		line_overflows(out);
		return;
	}
	out->text.bytes[out->text.len++] = is_control(c) ? ' ' : c;
}

static void list_put_text(struct list_out *out, const char *text)
{
	for (; *text; text++) {
		list_put(out, (uint8_t)*text);
	}
}

struct escape {
	char pair[3];
	uint8_t out; /* 0: the client's address */
};

static const struct escape escapes[] = {
        {"%A", 0},     {"%%", '%'},   {"\\\\", '\\'}, {"\\\"", '"'},
        {"\\n", '\n'}, {"\\%", '\\'}, {"%\\", '%'},
};

static const struct escape *find_escape(struct span s)
{
	for (size_t i = 0; s.len >= 2 && i < ARRAY_LEN(escapes); i++) {
		if (memcmp(s.ptr, escapes[i].pair, 2) == 0) {
			return &escapes[i];
		}
	}
	return NULL;
}

/* Writes the first character of s or what its escape means; returns what was used of s. Of a pair
 * that means nothing both are copied: "\q", "50% off". */
static size_t list_put_next(struct list_out *out, struct span s, const char *address)
{
	const struct escape *escape = find_escape(s);
	if (!escape) {
		list_put(out, s.ptr[0]);
		bool is_pair = (s.ptr[0] == '\\' || s.ptr[0] == '%') && s.len >= 2;
		if (is_pair) {
			list_put(out, s.ptr[1]);
		}
		return is_pair ? 2 : 1;
	}
	if (escape->out) {
		list_put(out, escape->out);
	} else {
		list_put_text(out, address);
	}
	return 2;
}

static void list_put_message(struct list_out *out, struct span message, const char *address)
{
	bool is_quoted = message.len > 0 && message.ptr[0] == '"';
	struct span rest = span_skip(message, is_quoted ? 1 : 0);
	out->n_breaks = 1; /* each message starts a line; breaks left by the one before vanish */
	while (rest.len > 0 && !out->is_full) {
		if (is_quoted && rest.len == 1 && rest.ptr[0] == '"') {
			break;
		}
		rest = span_skip(rest, list_put_next(out, rest, address));
	}
}

size_t reply_render_lists(const struct reply_lists *lists, uint8_t *out, size_t size, bool *is_cut)
{
	unsigned code = lists->code;
	ASSERT(size >= 128 && code >= 100 && code <= 999);
	const char digits[] = {(char)('0' + code / 100), (char)('0' + code / 10 % 10),
	                       (char)('0' + code % 10), '\0'};
	char address[ADDR_TEXT_MAX];
	struct list_out list = {.text = {.bytes = out, .size = size}, .code = digits};
	(void)addr_format(lists->addr, address);
	for (size_t i = 0; i < lists->n && !list.is_full; i++) {
		list_put_message(&list, lists->messages[i], address);
	}
	if (list.text.len == 0) {
		list.n_breaks = 1;
		list_put_text(&list, listed_fallback);
	}
	if (list.has_line) {
		end_line(&list);
	}
	/* line_start may be that of a line taken back: look for the last one that stands */
	size_t last = list.text.len - 2;
	while (last > 0 && out[last - 1] != '\n') {
		last--;
	}
	out[last + 3] = ' ';
	if (is_cut) {
		*is_cut = list.is_full;
	}
	return list.text.len;
}
