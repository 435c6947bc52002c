/* Address lists, line by line. As spamd-setup reads them, but for what it gets wrong: host bits are
 * masked, a range needs its dash and a whole address behind it, and an address that is not written
 * out stands alone on its line, so that prose which begins with a number is no address. */
#include "lists/addrlist.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

enum { V4_BYTES = 4, V4_BITS = 32, V4_OFFSET_BITS = 96, V4_OFFSET = 12 };

/* A line while it is read. */
struct scan {
	struct span rest;
	bool is_short; /* the address had fewer than four parts */
	const char **reason;
};

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool is_hex(uint8_t c)
{
	return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static bool is_word(uint8_t c)
{
	return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c == ':' ||
	       c == '.' || c >= 0x80;
}

static uint8_t first_of(struct span s)
{
	return s.len > 0 ? s.ptr[0] : 0;
}

static int fault(const struct scan *scan, int code, const char *reason)
{
	*scan->reason = reason;
	return code;
}

static struct span take_while(struct span *rest, bool (*is_part)(uint8_t c))
{
	size_t len = 0;
	while (len < rest->len && is_part(rest->ptr[len])) {
		len++;
	}
	struct span taken = span_of(rest->ptr, len);
	*rest = span_skip(*rest, len);
	return taken;
}

static uint8_t hex_value(uint8_t c)
{
	return (uint8_t)(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
}

/* 0x0a: two digits a byte, from the left; zeros fill the rest. */
static int parse_hex(struct span digits, uint8_t bytes[static V4_BYTES])
{
	if (digits.len == 0 || digits.len > (size_t)V4_BYTES * 2) {
		return ERR_SYNTAX;
	}
	for (size_t i = 0; i < digits.len; i++) {
		if (!is_hex(digits.ptr[i])) {
			return ERR_SYNTAX;
		}
		bytes[i / 2] |= (uint8_t)(hex_value(digits.ptr[i]) << (i % 2 ? 0 : 4));
	}
	return 0;
}

/* One to four decimal parts; zeros fill the rest. */
static int parse_parts(struct span text, uint8_t bytes[static V4_BYTES], size_t *n_parts)
{
	size_t n = 0;
	bool is_more = true;
	while (is_more) {
		struct span rest;
		struct span part = span_cut(text, '.', &rest);
		uint64_t value;
		is_more = part.len < text.len;
		if (n == V4_BYTES || span_to_u64(part, UINT8_MAX, &value)) {
			return ERR_SYNTAX;
		}
		bytes[n++] = (uint8_t)value;
		text = rest;
	}
	*n_parts = n;
	return 0;
}

static int parse_v4(struct scan *scan, struct span word, struct addr *out)
{
	uint8_t bytes[V4_BYTES] = {0};
	size_t n_parts = 1;
	bool is_hexadecimal = span_starts_nocase(word, SPAN("0x"));
	int ret = is_hexadecimal ? parse_hex(span_skip(word, 2), bytes)
	                         : parse_parts(word, bytes, &n_parts);
	if (ret == 0 && is_hexadecimal && first_of(scan->rest) != '/') {
		ret = ERR_SYNTAX;
	}
	if (ret) {
		return fault(scan, ret, "no address");
	}
	uint32_t v4_be;
	memcpy(&v4_be, bytes, sizeof v4_be);
	scan->is_short = n_parts < V4_BYTES;
	*out = addr_from_v4_be(v4_be);
	return 0;
}

/* The word at the front, as an address. */
static int take_addr(struct scan *scan, bool *is_colon, struct addr *out)
{
	struct span word = take_while(&scan->rest, is_word);
	*is_colon = word.len > 0 && memchr(word.ptr, ':', word.len) != NULL;
	scan->is_short = false;
	if (!*is_colon) {
		return parse_v4(scan, word, out);
	}
	return addr_parse(word, out) ? fault(scan, ERR_SYNTAX, "no address") : 0;
}

/* A/N; the slash is next. */
static int take_network(struct scan *scan, const struct addr *addr, bool is_colon, struct cidr *out,
                        bool *had_host_bits)
{
	char text[ADDR_TEXT_MAX + 24];
	uint64_t bits;
	scan->rest = span_skip(scan->rest, 1);
	int ret = span_to_u64(take_while(&scan->rest, is_digit), is_colon ? 128 : V4_BITS, &bits);
	/* a mapped address counts its bits in the IPv6 form */
	bool is_mapped = is_colon && addr_is_v4(addr);
	if (ret == 0 && bits > (is_mapped ? V4_OFFSET_BITS : 0)) {
		bits -= is_mapped ? V4_OFFSET_BITS : 0;
		(void)addr_format(addr, text);
		(void)snprintf(text + strlen(text), 24, "/%u", (unsigned)bits);
		ret = cidr_parse(span_of_str(text), out, had_host_bits);
		return ret ? fault(scan, ret, "no network") : 0;
	}
	return fault(scan, ERR_RANGE, "prefix length out of range");
}

/* Behind A: blanks and dashes. True when there was a dash and an end follows. */
static bool take_dash(struct span *rest, bool is_colon)
{
	bool has_dash = false;
	while (first_of(*rest) == ' ' || first_of(*rest) == '\t' || first_of(*rest) == '-') {
		has_dash |= first_of(*rest) == '-';
		*rest = span_skip(*rest, 1);
	}
	if (!has_dash || !is_colon) {
		return has_dash && is_digit(first_of(*rest));
	}
	struct span peek = *rest;
	struct span word = take_while(&peek, is_word);
	return word.len > 0 && memchr(word.ptr, ':', word.len) != NULL;
}

static int take_end(struct scan *scan, struct addr_range *range)
{
	bool is_colon;
	int ret = take_addr(scan, &is_colon, &range->last);
	if (ret || scan->is_short) {
		return fault(scan, ERR_SYNTAX, "the end of the range is no whole address");
	}
	if (addr_is_v4(&range->first) != addr_is_v4(&range->last)) {
		return fault(scan, ERR_SYNTAX, "a range over two families");
	}
	if (memcmp(range->first.bytes, range->last.bytes, sizeof range->first.bytes) > 0) {
		return fault(scan, ERR_RANGE, "the range is reversed");
	}
	return 0;
}

/* A alone, or A - B. */
static int take_range(struct scan *scan, bool is_colon, struct addr_range *range)
{
	bool is_short = scan->is_short;
	range->last = range->first;
	if (take_dash(&scan->rest, is_colon)) {
		return take_end(scan, range);
	}
	uint8_t next = first_of(scan->rest);
	if (next == '/') {
		/* "A /N" is no network, and A alone is not meant either */
		return fault(scan, ERR_SYNTAX, "a blank before the prefix length");
	}
	if (is_short && next != '#' && next != 0) {
		return fault(scan, ERR_SYNTAX, "no address");
	}
	return 0;
}

static int take_entry(struct scan *scan, struct addr_range *out, bool *had_host_bits)
{
	struct addr_range range;
	struct cidr cidr;
	bool is_colon;
	int ret = take_addr(scan, &is_colon, &range.first);
	bool has_slash = ret == 0 && first_of(scan->rest) == '/';
	if (has_slash && is_digit(first_of(span_skip(scan->rest, 1)))) {
		ret = take_network(scan, &range.first, is_colon, &cidr, had_host_bits);
		range = ret == 0 ? cidr_range(&cidr) : range;
	} else if (ret == 0) {
		scan->rest = span_skip(scan->rest, has_slash); /* "1.2.3.4/" is a host */
		ret = take_range(scan, is_colon, &range);
	}
	if (ret == 0) {
		*out = range;
	}
	return ret;
}

int addrlist_parse_line(struct span line, struct addr_range *out, bool *had_host_bits,
                        const char **reason)
{
	*had_host_bits = false;
	if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
		line.len--;
	}
	while (first_of(line) == ' ') {
		line = span_skip(line, 1);
	}
	/* spamd-setup ignores `;` as it ignores whatever is no entry; Spamhaus comments with it */
	if (first_of(line) == '#' || first_of(line) == ';' || span_trim(line).len == 0) {
		return ERR_NOT_FOUND;
	}
	struct scan scan = {.rest = line, .reason = reason};
	return take_entry(&scan, out, had_host_bits);
}

int addrlist_parse(struct span text, addrlist_entry *entry, cidr_bad_line *bad, void *ctx,
                   struct addrlist_figures *figures)
{
	*figures = (struct addrlist_figures){0};
	for (unsigned line_no = 1; text.len > 0; line_no++) {
		struct span line = span_cut(text, '\n', &text);
		struct addr_range range;
		bool had_host_bits;
		const char *reason = NULL;
		int ret = addrlist_parse_line(line, &range, &had_host_bits, &reason);
		if (ret == ERR_NOT_FOUND) {
			continue;
		}
		figures->n_bad += ret != 0;
		if (ret && bad) {
			bad(ctx, line_no, span_trim(line), reason);
		}
		if (ret) {
			continue;
		}
		figures->n_entries++;
		figures->n_masked += had_host_bits;
		ret = entry(ctx, &range);
		if (ret) {
			return ret;
		}
	}
	return 0;
}
