/* What is found wrong, or worth knowing, and the command that mends it. */
#pragma once

#include <stddef.h>

#include "base/compiler.h"

enum severity {
	SEVERITY_ERROR,   /* it will not be carried */
	SEVERITY_WARNING, /* not under load, or at the cost of others */
	SEVERITY_NOTE,    /* nothing to mend, or not known to be wrong */
	SEVERITY_COUNT
};

enum { FINDING_TEXT_MAX = 1024, FINDING_MEND_MAX = 768 };

struct finding {
	enum severity severity;
	char text[FINDING_TEXT_MAX];
	char mend[FINDING_MEND_MAX]; /* a command, or a line for a file; may be empty */
};

typedef void finding_sink(void *ctx, const struct finding *finding);

const char *severity_name(enum severity severity);
