/* How a client is met, from what is known of its host: its class, and what it is told if it is
 * listed. Used by the workers at accept and by who asks what they would do. Pure but for the lists,
 * which are borrowed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/span.h"
#include "lists/table.h"
#include "smtp/session.h"
#include "store/cache.h"

enum { ARRIVAL_MESSAGES_MAX = LISTS_MAX + 1 };

/* Lists come before everything that is known of the host. host: CACHE_GREY stands for "not known
 * yet, ask"; of no account in blacklist-only mode. */
enum session_class arrival_class(bool is_blacklist_only, bool is_on_list, enum cache_kind host);
/* The messages of all its lists in load order, the trap's last (NULL: it is not trapped); they
 * belong to the table. Returns how many. */
size_t arrival_messages(const struct list_table *lists, const struct addr *peer,
                        const char *trap_text, struct span out[static ARRIVAL_MESSAGES_MAX]);
