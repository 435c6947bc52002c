/* Address lists as lines of JSON objects, as Spamhaus publishes DROP: {"cidr":"192.0.2.0/24",…} and
 * a last line {"type":"metadata","records":N,…}. Pure. */
#pragma once

#include <stdbool.h>

#include "lists/addrlist.h"

struct jsonlist_figures {
	size_t n_entries;
	size_t n_bad;
	bool has_metadata;
	long long n_declared; /* records the metadata line promises, -1 = it does not say */
	long long timestamp;  /* of the list, epoch seconds, 0 = it does not say */
};

/* True when the text's first line that is not blank begins like a JSON object. */
bool jsonlist_is_json(struct span text);
/* As addrlist_parse. A declared count that is not the counted one (bad lines included) is
 * ERR_TRUNCATED; n_declared is what it promised then. */
MUST_USE int jsonlist_parse(struct span text, addrlist_entry *entry, cidr_bad_line *bad, void *ctx,
                            struct jsonlist_figures *figures);
