/* A complete copy of the learned hosts on its way from the engine to the kernel: gathered in memory
 * until its end has arrived. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fw/fw.h"
#include "priv/msg.h"

enum { COPY_ELEMENTS_MAX = 4000000 }; /* 96 MB */

/* Starts as zeros; is_open and is_whole are the owner's. */
struct copy {
	struct fw_element *elements; /* NULL when n is 0 */
	size_t n, size;
	uint64_t n_left_out; /* beyond the bound, or nonsense */
	uint64_t seq;
	bool is_open;  /* between FILL_BEGIN and FILL_END */
	bool is_whole; /* to be applied */
};

/* One element, checked again although only our own engine can send one. False: it is nonsense; *out
 * is written but means nothing. */
bool copy_to_element(const struct msg_element *in, struct fw_element *out);
/* Adds one, or counts that it was left out. */
void copy_add(struct copy *copy, const struct msg_element *in);
/* Forgets everything. */
void copy_fini(struct copy *copy);
