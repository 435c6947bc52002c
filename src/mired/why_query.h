/* The words of the request `why ADDRESS [SENDER RECIPIENT]`. Pure. */
#pragma once

#include "base/compiler.h"
#include "base/span.h"
#include "engine/why.h"

enum { WHY_QUERY_ERROR_MAX = 160 };

/* Words are separated by blanks; one in <> may contain some. *out points into args. ERR_SYNTAX with
 * the reason in why; *out untouched then. */
MUST_USE int why_query_parse(struct span args, struct why_query *out,
                             char why[static WHY_QUERY_ERROR_MAX]);
