/* The kernel's packet filter: table, sets, elements and chains of one mired instance. Only the
 * firewall role calls this; it must hold CAP_NET_ADMIN at every call (nfnetlink checks the sender
 * of each message). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/span.h"
#include "conf/conf.h"
#include "policy/cidr.h"

enum { FW_WHY_MAX = 512, FW_BATCH_MAX = 1000, FW_NOSPAMD_MAX = 100000 };

/* Sets of learned hosts; each has an IPv6 twin, chosen by the address's family. */
enum fw_set { FW_SET_WHITE, FW_SET_GREYTRAP, FW_SET_COUNT };
/* Both families of each, numbered 2 * enum fw_set, and the IPv6 twin behind it. */
enum { FW_LEARNED_ROWS = 2 * FW_SET_COUNT };

struct fw_element {
	struct addr addr;      /* grouped */
	uint32_t timeout_secs; /* > 0; ignored for deletions */
	uint8_t set;           /* enum fw_set */
	bool is_deleted;
};

struct fw;

struct fw_stats {
	uint64_t transactions;
	uint64_t failures;
	uint64_t elements_added;
	uint64_t elements_deleted;
	uint64_t restores; /* times the table was found missing or changed and was made again */
	bool has_refresh;  /* what the start-up probe found or the setting forced */
	bool has_destroy;
};

/* Opens the netlink socket and probes the kernel in a scratch table of its own (removed again). */
MUST_USE int fw_open(struct fw **out, const struct conf *conf, char why[static FW_WHY_MAX]);
void fw_close(struct fw *fw);

/* Step 1: table and sets; existing ones of the right kind are kept. Also puts `nospamd` in, by
 * flush and add in one transaction. A table whose sets are of another kind (counters among it) is
 * made anew in one transaction, without rules; with rules = none it is left as it is: an error, or,
 * if only the counters of elements differ, 0 with a text in `why` that deserves a warning. */
MUST_USE int fw_put_table(struct fw *fw, const struct addr_range *nospamd, size_t n_nospamd,
                          char why[static FW_WHY_MAX]);
/* Step 2, where the learned sets hold nothing: adds elements to them, FW_BATCH_MAX a transaction,
 * any number of times. An element that is there already stays as it is where the kernel cannot
 * refresh. -ENOENT = table gone. */
MUST_USE int fw_fill(struct fw *fw, const struct fw_element *elements, size_t n);
/* True while the learned sets are known to hold nothing: they were made by fw_put_table, and
 * nothing was put into them since. */
bool fw_is_empty(const struct fw *fw);
/* Step 2, where they hold something: replaces the content of all learned sets by n elements and
 * then `changes` (applied in order, deletions among them): flush and all that in one transaction,
 * which nobody's lookups see half done, but which holds up every other change (a million elements:
 * 1.4 s). Where the kernel takes no message of that size (no right to a larger send buffer, no
 * memory) the sets are flushed and then filled in pieces. -ENOENT = table gone. */
struct fw_content {
	const struct fw_element *elements; /* no deletions */
	size_t n;
	const struct fw_element *changes;
	size_t n_changes;
};
MUST_USE int fw_replace(struct fw *fw, const struct fw_content *content,
                        char why[static FW_WHY_MAX]);
/* Other rules, as fw_rules_render made them of a configuration whose `rules` are the same, for the
 * next fw_put_chains, which exchanges them in one transaction. 1 = they differ, 0 = they do not,
 * -ENOMEM.
 */
MUST_USE int fw_set_rules(struct fw *fw, struct span text);
/* Step 3: all chains of the rule template in one transaction (nothing for rules = none). */
MUST_USE int fw_put_chains(struct fw *fw, char why[static FW_WHY_MAX]);

/* Applies additions, refreshes and deletions in order, FW_BATCH_MAX a transaction. Idempotent:
 * missing deletions are no error. -ENOENT = table gone (see fw_watch). */
MUST_USE int fw_apply(struct fw *fw, const struct fw_element *elements, size_t n);

/* Replaces the `spamd` sets (blacklist-only) by these disjoint networks of both families, in one
 * transaction a family; the caller keeps them and puts them in again after fw_put_table. Blocks for
 * seconds when there are a million of them. -ENOENT = table gone; ERR_TOO_LONG = more than a
 * transaction carries. */
MUST_USE int fw_set_spamd(struct fw *fw, const struct addr_range *ranges, size_t n,
                          char why[static FW_WHY_MAX]);
/* Replaces the `nospamd` sets likewise, both in one transaction. */
MUST_USE int fw_set_nospamd(struct fw *fw, const struct addr_range *ranges, size_t n,
                            char why[static FW_WHY_MAX]);

enum fw_state {
	FW_STATE_OK,   /* nothing changed, or only by us, or our parts are untouched */
	FW_STATE_GONE, /* our table, one of its sets, chains or rules is missing or was replaced */
};

/* Cheap: asks the ruleset's generation and only if that has changed compares handles. What
 * others add does not matter; elements are not looked at. GONE stays until fw_put_table. */
MUST_USE int fw_watch(struct fw *fw, enum fw_state *state);

/* One get-element request. 1 = in the set, 0 = not, negative = error. */
MUST_USE int fw_has(struct fw *fw, enum fw_set set, const struct addr *addr);

/* How many elements each learned set has. -EOPNOTSUPP: this kernel does not say (before
 * Linux 6.16).
 */
MUST_USE int fw_count(struct fw *fw, uint32_t counts[static FW_LEARNED_ROWS]);

/* Removes the whole table. A missing table is no error. */
MUST_USE int fw_remove(struct fw *fw);
/* The same without an open firewall, which may be what cannot be opened any more: reads no template
 * and probes nothing. */
MUST_USE int fw_remove_table(const char *table);

void fw_stats_get(const struct fw *fw, struct fw_stats *out);

/* The rule template filled from the configuration, as printed by `miredctl rules` and installed by
 * fw_put_chains. Newly allocated text in *out. ERR_* with why = file:line: reason. Needs no rights.
 */
MUST_USE int fw_rules_render(const struct conf *conf, char **out, char why[static FW_WHY_MAX]);
