/* What a judge said: found by tests, one finding after the other. */
#pragma once

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <string.h>

#include "verify/finding.h"

enum { FINDINGS_MAX = 32 };

struct said {
	struct finding findings[FINDINGS_MAX];
	size_t n;
	size_t n_faults;
};

/* A finding_sink; ctx is a struct said. */
static inline void hear(void *ctx, const struct finding *finding)
{
	struct said *said = ctx;
	assert_true(said->n < FINDINGS_MAX);
	said->findings[said->n++] = *finding;
}

/* Exactly one thing is said, with these words. */
static inline void assert_only(const struct said *said, enum severity severity, const char *text,
                               const char *mend)
{
	assert_int_equal(said->n, 1);
	assert_int_equal(said->n_faults, severity == SEVERITY_NOTE ? 0 : 1);
	assert_string_equal(severity_name(said->findings[0].severity), severity_name(severity));
	if (!strstr(said->findings[0].text, text)) {
		fail_msg("\"%s\" is not in: %s", text, said->findings[0].text);
	}
	assert_string_equal(said->findings[0].mend, mend);
}
