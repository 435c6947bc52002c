/* Spamtrap addresses: how a recipient is compared with them. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

enum { TRAP_ADDRESS_MAX = 1023 };

/* The form by which recipients are compared (spamd): without one leading `<` and one trailing `>`,
 * ASCII lower case. Cut at TRAP_ADDRESS_MAX. The result points into buf. */
struct span trap_address_normalise(struct span recipient, uint8_t buf[static TRAP_ADDRESS_MAX]);
/* Whether an administrator may make this (normalised) text a spamtrap: it has an `@` and no blank
 * or control character. */
bool trap_address_is_valid(struct span address);
