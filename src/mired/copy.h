/* A complete copy of the learned hosts on its way from the engine to the kernel. Into sets that are
 * known to be empty it is streamed as it comes; where old content must be replaced it is gathered
 * in memory until its end has arrived, with the changes that come between its pieces. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "fw/fw.h"
#include "priv/msg.h"

enum { COPY_ELEMENTS_MAX = 4000000 }; /* 96 MB */

enum copy_state {
	COPY_NONE,     /* none has begun */
	COPY_STREAMED, /* its elements go to the kernel as they come */
	COPY_GATHERED,
	COPY_WHOLE, /* gathered, and to be applied */
	COPY_VOID,  /* what of it still comes is worth nothing; another one was asked for */
};

struct copy_list {
	struct fw_element *elements; /* NULL when n is 0 */
	size_t n, size;
};

/* Starts as zeros; state is the owner's. */
struct copy {
	enum copy_state state;
	struct copy_list hosts;
	struct copy_list changes; /* in order, and newer than what hosts says of the same address */
	uint64_t n_streamed;
	/* gathered, and all of it was put on top of the old content as it came */
	bool is_asserted;
	uint64_t n_left_out; /* hosts beyond the bound, or nonsense */
	uint64_t seq;
};

/* One element, checked again although only our own engine can send one. False: it is nonsense; *out
 * is written but means nothing. */
bool copy_to_element(const struct msg_element *in, struct fw_element *out);
/* Adds a host, or counts that it was left out. */
void copy_add(struct copy *copy, const struct msg_element *in);
/* False: there is no room for it, and without it the copy is wrong. */
MUST_USE bool copy_add_change(struct copy *copy, const struct fw_element *change);
/* How many elements each learned set has when it holds hosts and changes and nothing else. False:
 * that was not found out. */
MUST_USE bool copy_count(const struct copy *copy, uint32_t counts[static FW_LEARNED_ROWS]);
/* Forgets everything. */
void copy_fini(struct copy *copy);
