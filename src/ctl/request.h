/* A request line of the control protocol, taken apart. Pure. */
#pragma once

#include "base/compiler.h"
#include "base/span.h"
#include "mired/ctl.h"

enum { REQUEST_VERB_MAX = 32 };

struct request {
	char verb[REQUEST_VERB_MAX];
	char args[MIRED_CTL_REQUEST_MAX]; /* the words behind the verb, trimmed; may be empty */
};

/* line: without its LF; one CR at its end is no part of it. A verb is 1 to 31 of a-z, 0-9 and '-';
 * arguments are printable ASCII. ERR_SYNTAX, ERR_TOO_LONG; *out untouched then. */
MUST_USE int request_parse(struct span line, struct request *out);

/* Cuts the last word off the arguments: the length of the body, 0..max. ERR_SYNTAX (no number),
 * ERR_RANGE; the request is untouched then. */
MUST_USE int request_take_length(struct request *request, size_t max, size_t *len);
