/* A run of bytes that somebody else owns: pointer and length, never NUL-terminated by contract.
 * Everything that came from a network or a file is handled in this form. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct span {
	const uint8_t *ptr;
	size_t len;
};

/* Compile-time span of a string literal. */
#define SPAN(literal) ((struct span){(const uint8_t *)("" literal), sizeof(literal) - 1})

/* Span over a C string, without its NUL. */
struct span span_of_str(const char *str);
/* Span over len bytes. */
struct span span_of(const void *ptr, size_t len);

bool span_equal(struct span a, struct span b);
/* ASCII case-insensitive. */
bool span_equal_nocase(struct span a, struct span b);
bool span_starts_nocase(struct span s, struct span prefix);
/* Without leading and trailing blanks (space, tab, CR, LF). */
struct span span_trim(struct span s);
/* Cuts n bytes (at most all) from the front. */
struct span span_skip(struct span s, size_t n);
/* Splits off the text before the first byte `sep`; *rest is what follows it (empty if there is no
 * `sep`). */
struct span span_cut(struct span s, uint8_t sep, struct span *rest);

/* Whole span as a decimal number 0..max; no sign, no blanks, at least one digit.
 * ERR_SYNTAX, ERR_RANGE; *out untouched then. */
MUST_USE int span_to_u64(struct span s, uint64_t max, uint64_t *out);

/* Copies at most size - 1 bytes and ends with NUL; returns the bytes copied. For C interfaces. */
size_t span_to_str(struct span s, char *out, size_t size);

/* Copies s for a log line or message: printable ASCII as it is, anything else and backslash as
 * \xHH. Always ends with NUL (size >= 1), cut at a whole escape. Returns out. */
const char *span_escape(struct span s, char *out, size_t size);
