/* The spamtrap addresses in memory: 16-byte keyed hashes in an open-addressing table, read by every
 * worker without a lock, written by the keeper alone. Grows by doubling; the old table goes after a
 * grace period (base/qsbr.h), so readers are registered threads. An address costs 21 to 43 bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "store/record.h"

struct trapset;

/* hash_key (store_hash_key) is copied. NULL: no memory. */
struct trapset *trapset_new(const uint8_t hash_key[static RECORD_HASH_KEY_BYTES]);
void trapset_free(struct trapset *set);
/* Registered readers and the writer. address: as trap_address_normalise makes it. NULL set: false.
 */
bool trapset_has(const struct trapset *set, struct span address);
/* Writer only. Adding what is there and removing what is not change nothing. -ENOMEM. */
MUST_USE int trapset_add(struct trapset *set, struct span address);
void trapset_remove(struct trapset *set, struct span address);
/* Any thread, a moment's view. */
size_t trapset_count(const struct trapset *set);
size_t trapset_bytes(const struct trapset *set);
