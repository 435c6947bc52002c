/* Filling rule templates: @NAME@ (capitals, digits, underscore) is replaced by a text. A line with
 * a placeholder whose text is empty becomes an empty line: a rule for a list of addresses is left
 * out when the list is empty, and line numbers stay those of the template. Comments (# to the end
 * of the line) are left alone. Pure. */
#pragma once

#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"

enum { TEMPLATE_NAME_MAX = 32, TEMPLATE_OUT_MAX = 1 << 20 };

struct template_value {
	const char *name; /* without the @ */
	const char *text;
};

struct template_values {
	const struct template_value *values;
	size_t n;
};

struct template_fault {
	unsigned line_no;
	char name[TEMPLATE_NAME_MAX]; /* the placeholder nobody knows; may be cut */
};

/* Newly allocated text in *out. ERR_NOT_FOUND with *fault: an unknown placeholder; ERR_TOO_LONG
 * (result over TEMPLATE_OUT_MAX), -ENOMEM. */
MUST_USE int template_fill(struct span text, const struct template_values *values, char **out,
                           struct template_fault *fault);
