/* What the store's rows look like on disk. Pure codecs; every value carries a checksum over key and
 * value.
 *
 *   meta     one row: magic, schema version, hash key, created, clean-shutdown mark
 *            "cursor." name                  -> cursor
 *            "tombstones"                    -> counts
 *   host     address(16) kind(1)             -> record
 *   tuple    address(16) keyed hash(16)      -> record, lengths, helo, sender, recipient
 *   trap     keyed hash(16)                  -> record, length, address
 *   intake   number BE64                     -> tuple's key(32), its row of `tuple`
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
	RECORD_TRAP_ADDRESS = 4,
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

/* Key of the tuple: grouped address and SipHash-2-4-128 of helo NUL sender NUL recipient under the
 * store's own secret. The helo is taken verbatim, sender and recipient as trap_address_normalise
 * makes them of what is stored: hosts that keep addresses otherwise mean the same tuple. */
struct tuple_key record_tuple_key(const uint8_t hash_key[static RECORD_HASH_KEY_BYTES],
                                  const struct addr *addr, const struct tuple_text *text);
/* The name of a spamtrap address: SipHash-2-4-128 of its normalised text under the same secret. */
void record_trap_hash(const uint8_t hash_key[static RECORD_HASH_KEY_BYTES], struct span address,
                      uint8_t out[static RECORD_HASH_BYTES]);

/* Where a change began, which tells whether peers are to hear of it. */
enum change_origin {
	ORIGIN_SILENT = 0, /* nobody is told: expiry, import, merge, traffic, lists, peers, and what
	                    * a change does to the other register */
	ORIGIN_ATTEMPT,    /* a client's attempt here */
	ORIGIN_PROMOTION,  /* the white register of a host whose attempt qualified here */
	ORIGIN_TRAP,       /* a client's mail to a trap here */
	ORIGIN_MANUAL,     /* an administrator */
	ORIGIN_COUNT
};

/* One row of the change journal. */
struct journal_change {
	uint64_t seq;
	struct wall at;
	uint8_t kind;    /* enum record_kind */
	uint8_t origin;  /* enum change_origin */
	bool is_deleted; /* else put */
	struct addr addr;
	/* tuples and spamtrap addresses (whose addr is zero); zero for hosts */
	uint8_t hash[RECORD_HASH_BYTES];
	struct wall expire;
};

/* --- codecs: encode and decode are mirror images ---------------------------------------------
 *
 * All numbers big-endian. `sum` is 4 bytes of SipHash-2-4 (fixed public key) over the row's key and
 * the value behind the sum, so a value that strayed to another key is noticed as well.
 *
 *   record  sum(4) version(1) kind(1) is_deleted(1) first(6) pass(6) expire(6) changed_at(6)
 * last(6) bcount(4) pcount(4) tuples: three lengths(2 each), helo, sender, recipient spamtraps:
 * length(2), address change  sum(4) version(1) kind(1) is_deleted(1) origin(1) address(16) hash(16)
 * at(6) expire(6) meta    sum(4) magic(8) schema(2) hash key(16) created(6) is_clean(1) cursor
 * sum(4) version(1) sequence(8)
 *
 * Times are seconds in 48 bits; what does not fit is cut to 0 or the largest. */

enum {
	RECORD_SCHEMA = 3,
	RECORD_EXPIRY_KEY_MAX = 6 + 1 + RECORD_TUPLE_KEY_BYTES,
	RECORD_SEQ_KEY_BYTES = 8,
	RECORD_CURSOR_NAME_MAX = 24,
};

/* Bytes on their way to or from the database. */
struct record_key {
	uint8_t bytes[RECORD_EXPIRY_KEY_MAX];
	size_t len;
};

struct record_value {
	uint8_t bytes[RECORD_VALUE_MAX];
	size_t len;
};

/* What the one meta row holds. */
struct store_meta {
	uint8_t hash_key[RECORD_HASH_KEY_BYTES];
	struct wall created;
	bool is_clean; /* the last writer closed the store in order */
};

struct record_key record_host_key(const struct addr *addr, enum record_kind kind);
struct record_key record_grey_key(const struct tuple_key *key);
struct record_key record_trap_key(const uint8_t hash[static RECORD_HASH_BYTES]);
struct record_key record_seq_key(uint64_t seq);
/* `key` is the key of the host or tuple that expires. */
struct record_key record_expiry_key(struct wall expire, enum record_kind kind,
                                    const struct record_key *key);

/* ERR_SYNTAX for a key of the wrong length or kind; outputs untouched then. */
MUST_USE int record_host_key_decode(struct span in, struct addr *addr, enum record_kind *kind);
MUST_USE int record_grey_key_decode(struct span in, struct tuple_key *key);
MUST_USE int record_trap_key_decode(struct span in, uint8_t hash[static RECORD_HASH_BYTES]);
MUST_USE int record_seq_key_decode(struct span in, uint64_t *seq);
MUST_USE int record_expiry_key_decode(struct span in, struct wall *expire, enum record_kind *kind,
                                      struct record_key *key);

/* Writes the sum of a value whose other bytes are in place (len >= 4). The encoders do it; tests
 * use it to get past the sum. */
void record_seal(struct span key, struct record_value *value);
/* `text` for RECORD_GREY and, with nothing but the recipient, for RECORD_TRAP_ADDRESS (else NULL);
 * strings beyond RECORD_STRING_MAX are cut. */
void record_encode(struct span key, enum record_kind kind, const struct grey_record *record,
                   const struct tuple_text *text, struct record_value *out);
/* *text (may be NULL) points into `value`, empty for hosts. ERR_CORRUPT: wrong checksum;
 * ERR_VERSION: sound, but of a version this build does not know; ERR_SYNTAX: sound, but not of this
 * shape or kind. Outputs untouched then. */
MUST_USE int record_decode(struct span key, struct span value, enum record_kind kind,
                           struct grey_record *record, struct tuple_text *text);

/* The sequence number is the row's key. Errors as record_decode. */
void record_change_encode(const struct journal_change *change, struct record_value *out);
MUST_USE int record_change_decode(struct span key, struct span value, struct journal_change *out);

/* The key of the meta row, and its codec. ERR_VERSION for another schema. */
extern const struct span record_meta_key;
void record_meta_encode(const struct store_meta *meta, struct record_value *out);
MUST_USE int record_meta_decode(struct span value, struct store_meta *out);

/* A named place in the journal. name: 1 to RECORD_CURSOR_NAME_MAX characters, our own. Errors as
 * record_decode; ERR_SYNTAX for a key that names no cursor. */
struct record_key record_cursor_key(const char *name);
void record_cursor_encode(struct span key, uint64_t seq, struct record_value *out);
MUST_USE int record_cursor_decode(struct span key, struct span value, uint64_t *seq);

/* How many of the rows are tombstones: a figure to show, nothing rests on it. */
struct record_counts {
	uint64_t n_hosts, n_tuples, n_trap_addresses;
};

extern const struct span record_counts_key;
void record_counts_encode(const struct record_counts *counts, struct record_value *out);
MUST_USE int record_counts_decode(struct span value, struct record_counts *out);
