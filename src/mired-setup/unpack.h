/* gzip: recognised by its first bytes, whatever the name or the sender says. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"
#include "mired-setup/bytes.h"

bool unpack_is_gzip(struct span data);
/* Unpacks all members into out; what follows the last one is ignored, as gzip(1) does.
 * ERR_TOO_LONG: more than max bytes come out (unpacking stops there). ERR_TRUNCATED: the data end
 * inside a member. ERR_CORRUPT, -ENOMEM. */
MUST_USE int unpack_gzip(struct span data, size_t max, struct bytes *out);
