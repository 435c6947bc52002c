/* Giving up rights, checked and then verified. */
#pragma once

#include <stdbool.h>

#include "base/compiler.h"

enum { SANDBOX_WHY_MAX = 256 };

/* Whether this process may become other users: root, or whoever a service manager gave that right.
 */
bool sandbox_can_change_user(void);
/* Becomes `user` (its groups, no root left), drops all capabilities, or all but CAP_NET_ADMIN, and
 * sets no_new_privs. 0, or a negative code with why; the caller must exit then. */
MUST_USE int sandbox_drop(const char *user, bool keep_net_admin, char why[static SANDBOX_WHY_MAX]);
