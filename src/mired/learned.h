/* The learned hosts of the kernel's sets, as the engine's messages bring them: complete copies, and
 * changes on top of them. A copy goes into the sets as it comes; if they then have elements of
 * which it says nothing, they are replaced by it as one, so that no lookup misses anybody. The
 * changes that come between its pieces are applied at once. Owned by the firewall role's thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "fw/fw.h"
#include "mired/copy.h"
#include "priv/msg.h"

/* Starts as zeros. */
struct learned {
	bool has_elements; /* the sets hold a complete copy and the changes up to seq */
	uint64_t seq;      /* the engine's number of what the kernel has */
	bool must_ask;     /* for a copy */
	bool must_tell;    /* the engine, where we are */
	struct copy copy;
};

/* True: a message about learned hosts. *ret: 0, or the code of fw_apply; -ENOENT is for the caller
 * to find out about, and after the others a new copy is asked for. fw is NULL while there is no
 * table. */
bool learned_on_message(struct learned *learned, struct fw *fw, const struct msg *msg, int *ret);

/* True when learned_put has something to do; until then no message must be taken, for the changes
 * that follow a copy belong on top of it. */
bool learned_is_pending(const struct learned *learned);
/* Makes sure that the sets hold the copy and nothing else; codes of fw_replace. It is pending until
 * that has worked. */
MUST_USE int learned_put(struct learned *learned, struct fw *fw, char why[static FW_WHY_MAX]);

/* Whether a copy is on its way or waits to be put in. */
bool learned_is_coming(const struct learned *learned);
/* The table is gone. */
void learned_on_lost_table(struct learned *learned);
/* The engine is gone: a copy that was coming will not be complete. */
void learned_drop_coming(struct learned *learned);
void learned_fini(struct learned *learned);
