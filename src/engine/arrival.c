/* The order of precedence at accept. */
#include "engine/arrival.h"

static const enum session_class class_of_host[] = {
        [CACHE_NONE] = SESSION_GREY,
        [CACHE_WHITE] = SESSION_WHITE,
        [CACHE_TRAPPED] = SESSION_LISTED,
        [CACHE_GREY] = SESSION_UNKNOWN,
};

enum session_class arrival_class(bool is_blacklist_only, bool is_on_list, enum cache_kind host)
{
	if (is_on_list) {
		return SESSION_LISTED;
	}
	return is_blacklist_only ? SESSION_PASSIVE : class_of_host[host];
}

size_t arrival_messages(const struct list_table *lists, const struct addr *peer,
                        const char *trap_text, struct span out[static ARRIVAL_MESSAGES_MAX])
{
	size_t n = 0;
	for (lists_mask mask = list_table_find(lists, peer); mask; mask &= mask - 1) {
		out[n++] = list_table_text(lists, (size_t)__builtin_ctzll(mask));
	}
	if (trap_text) {
		out[n++] = span_of_str(trap_text);
	}
	return n;
}
