/* What the store's rows look like on disk. Pure codecs; every value carries a checksum over key and
 * value.
 *
 *   meta     one row: magic, schema version, hash key, created, clean-shutdown mark
 *   host     address(16) kind(1)             -> record
 *   tuple    address(16) keyed hash(16)      -> record, lengths, helo, sender, recipient
 *   expiry   expire BE48(6) kind(1) key      -> empty
 *   journal  sequence BE64                   -> change
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/span.h"
#include "policy/greylist.h"

enum record_kind {
	RECORD_WHITE = 1,
	RECORD_TRAPPED = 2,
	RECORD_GREY = 3,
	RECORD_TRAP_ADDRESS = 4, /* reserved: spamtrap addresses */
};

enum {
	RECORD_HASH_BYTES = 16,
	RECORD_HASH_KEY_BYTES = 16,
	RECORD_STRING_MAX = 1023,
	RECORD_HOST_KEY_BYTES = 17,
	RECORD_TUPLE_KEY_BYTES = 32,
	RECORD_VALUE_MAX = 4096,
};

struct tuple_key {
	struct addr addr; /* grouped */
	uint8_t hash[RECORD_HASH_BYTES];
};

struct tuple_text {
	struct span helo;
	struct span sender;
	struct span recipient;
};

/* Key of the tuple: grouped address and SipHash-2-4-128 of helo NUL sender NUL recipient NUL under
 * the store's own secret. Strings are taken verbatim. */
struct tuple_key record_tuple_key(const uint8_t hash_key[static RECORD_HASH_KEY_BYTES],
                                  const struct addr *addr, const struct tuple_text *text);

/* One row of the change journal. */
struct journal_change {
	uint64_t seq;
	struct wall at;
	uint8_t kind;    /* enum record_kind */
	bool is_deleted; /* else put */
	struct addr addr;
	uint8_t hash[RECORD_HASH_BYTES]; /* tuples; zero for hosts */
	struct wall expire;
};
