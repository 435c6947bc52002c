/* The networks of the kernel's interval sets, as the firewall role keeps them: those exempted by
 * the administrator (nospamd) and, in blacklist-only mode, those listed (spamd). They are kept for
 * the time when the table has to be made again. Owned by the role's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "fw/fw.h"
#include "mired/nospamd.h"
#include "priv/msg.h"

/* Ranges on their way from the engine, until their end has arrived, or those in force. */
struct networks_list {
	struct addr_range *ranges; /* NULL when size is 0 */
	size_t n, size;
};

/* Starts as zeros. */
struct networks {
	struct nospamd nospamd;
	struct networks_list listed;
	struct networks_list coming;
	uint64_t n_left_out; /* of coming: beyond the bound, or no memory */
	bool is_coming;      /* between RANGES_BEGIN and RANGES_END */
	bool must_put_nospamd;
	bool must_put_listed;
};

/* The bytes of a changed nospamd file. False: no memory, the old ones stay. */
bool networks_take_nospamd(struct networks *networks, const char *path, struct span text);
/* A message with ranges; at most n_max are kept of one list. False: not expected now. */
bool networks_on_message(struct networks *networks, const struct msg *msg, size_t n_max);
/* The engine is gone: what was coming will not be complete. */
void networks_drop_coming(struct networks *networks);

/* True when networks_put has something to do. */
bool networks_is_pending(const struct networks *networks);
/* Puts in what has changed since the last time, with one line of log. The codes of fw_set_spamd: 0
 * also when the kernel will never take the list, which is logged. */
MUST_USE int networks_put(struct networks *networks, struct fw *fw, char why[static FW_WHY_MAX]);
/* The table was made again, with nospamd in it: the listed ones are due. */
void networks_on_new_table(struct networks *networks);
void networks_fini(struct networks *networks);
