/* What nf_tables answers to questions about elements of sets and about named counters, decoded. The
 * attributes come from the kernel, and are taken for malformed all the same when a length is wrong.
 * Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

enum { ANSWER_NAME_MAX = 256 }; /* of an object, with NUL: NFT_NAME_MAXLEN */

struct answer_count {
	uint64_t packets;
	uint64_t bytes;
};

struct answer_element {
	uint8_t key[16];
	uint8_t key_len; /* 4 or 16 */
	bool is_end;     /* the first address behind a range of an interval set */
	bool has_timeout;
	uint64_t timeout_ms; /* as it was given */
	uint64_t left_ms;    /* until it expires */
	bool has_count;
	struct answer_count count;
};

struct answer_counter {
	char name[ANSWER_NAME_MAX];
	struct answer_count count;
};

/* The element in the attributes of a NFT_MSG_NEWSETELEM. ERR_CORRUPT: there is none, or bytes are
 * not what they should be; *out is untouched then. */
MUST_USE int answer_element(struct span attrs, struct answer_element *out);
/* A counter with a name, from the attributes of a NFT_MSG_NEWOBJ. ERR_NOT_FOUND: an object of
 * another kind or table. ERR_CORRUPT as above. */
MUST_USE int answer_counter(struct span attrs, const char *table, struct answer_counter *out);
/* Whether the attributes of a NFT_MSG_NEWSET say that each element has a counter. */
bool answer_counts_elements(struct span attrs);
