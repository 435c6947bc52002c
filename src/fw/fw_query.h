/* Questions about mired's table in the kernel, for people who want to know: in which sets an
 * address is, and what the rules have counted. Reads only, and never a set as a whole: some
 * milliseconds whatever the sets hold. The asker needs CAP_NET_ADMIN at every call, as nfnetlink
 * wants for mere questions, too; -EPERM without. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "conf/conf.h"
#include "fw/answer.h"
#include "policy/cidr.h"

/* In the order in which the rules ask them: the first that holds the address decides. nospamd
 * passes; the greytrap set means mired; white passes. With blacklist-only the rules ask nospamd and
 * then spamd, which means mired. */
enum fw_query_set {
	FW_QUERY_NOSPAMD,
	FW_QUERY_GREYTRAP,
	FW_QUERY_WHITE,
	FW_QUERY_SPAMD,
	FW_QUERY_SETS
};

/* What one set says of one address. All but `set` only means something with is_in. */
struct fw_membership {
	const char *set; /* its name in the kernel; static */
	bool is_in;
	struct addr_range range; /* the element: one address, a group (IPv6, white) or a network */
	bool has_timeout;        /* else it stays until it is taken out */
	uint64_t timeout_ms;
	uint64_t left_ms;
	bool has_count; /* the set was made with counters (set-counters) */
	struct answer_count count;
};

enum { FW_COUNTERS_MAX = 64 };

struct fw_query;

MUST_USE int fw_query_open(struct fw_query **out, const struct conf *conf);
/* NULL is fine. */
void fw_query_close(struct fw_query *query);

/* Asks all sets of the address's family. -ENOENT: there is no table (is mired running?). A set that
 * is missing holds nothing. */
MUST_USE int fw_query_address(struct fw_query *query, const struct addr *addr,
                              struct fw_membership out[static FW_QUERY_SETS]);

/* The counters with a name of the table, in the kernel's order: those of the rules (c_nospamd,
 * c_white, c_passed, c_tarpit) and whatever an administrator added. -ENOENT: no table.
 * ERR_TOO_LONG: more than FW_COUNTERS_MAX. */
MUST_USE int fw_query_counters(struct fw_query *query,
                               struct answer_counter out[static FW_COUNTERS_MAX], size_t *n);
