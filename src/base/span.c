/* Operations over spans. Pure; nothing here reads past len or expects a NUL. */
#include "base/span.h"

#include <string.h>

#include "base/err.h"

struct span span_of_str(const char *str)
{
	return span_of(str, strlen(str));
}

struct span span_of(const void *ptr, size_t len)
{
	return (struct span){ptr, len};
}

static uint8_t to_lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool span_equal_nocase(struct span a, struct span b)
{
	return a.len == b.len && span_starts_nocase(a, b);
}

bool span_starts_nocase(struct span s, struct span prefix)
{
	if (s.len < prefix.len) {
		return false;
	}
	for (size_t i = 0; i < prefix.len; i++) {
		if (to_lower(s.ptr[i]) != to_lower(prefix.ptr[i])) {
			return false;
		}
	}
	return true;
}

struct span span_trim(struct span s)
{
	while (s.len > 0 && is_blank(s.ptr[0])) {
		s = span_skip(s, 1);
	}
	while (s.len > 0 && is_blank(s.ptr[s.len - 1])) {
		s.len--;
	}
	return s;
}

struct span span_skip(struct span s, size_t n)
{
	if (n == 0) {
		return s; /* an empty span may have no pointer to add to */
	}
	n = n < s.len ? n : s.len;
	return (struct span){n ? s.ptr + n : s.ptr, s.len - n};
}

struct span span_cut(struct span s, uint8_t sep, struct span *rest)
{
	const uint8_t *found = s.len ? memchr(s.ptr, sep, s.len) : NULL;
	size_t len = found ? (size_t)(found - s.ptr) : s.len;
	*rest = span_skip(s, found ? len + 1 : len);
	return (struct span){s.ptr, len};
}

int span_to_u64(struct span s, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;
	bool is_over = false;
	if (s.len == 0) {
		return ERR_SYNTAX;
	}
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9') {
			return ERR_SYNTAX;
		}
		uint64_t digit = s.ptr[i] - (uint64_t)'0';
		/* goes on after an overflow: garbage behind it is still a syntax error */
		is_over = is_over || __builtin_mul_overflow(value, 10, &value) ||
		          __builtin_add_overflow(value, digit, &value);
	}
	if (is_over || value > max) {
		return ERR_RANGE;
	}
	*out = value;
	return 0;
}

size_t span_to_str(struct span s, char *out, size_t size)
{
	if (size == 0) {
		return 0;
	}
	size_t len = s.len < size - 1 ? s.len : size - 1;
	if (len > 0) {
		memcpy(out, s.ptr, len);
	}
	out[len] = '\0';
	return len;
}

const char *span_escape(struct span s, char *out, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	size_t used = 0;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		bool is_plain = c >= 0x20 && c < 0x7f && c != '\\';
		size_t need = is_plain ? 1 : 4;
		if (used + need >= size) {
			break;
		}
		if (is_plain) {
			out[used] = (char)c;
		} else {
			out[used] = '\\';
			out[used + 1] = 'x';
			out[used + 2] = hex[c >> 4];
			out[used + 3] = hex[c & 15];
		}
		used += need;
	}
	out[used] = '\0';
	return out;
}
