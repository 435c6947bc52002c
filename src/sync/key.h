/* The key that all gateways share: a file of any bytes. What signs datagrams is the text of its
 * SHA-1, 40 lower-case hex characters (spamd's sync.c). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

enum { SYNC_KEY_CHARS = 40, SYNC_MAC_BYTES = 20, SYNC_KEY_WHY_MAX = 256 };

struct sync_key {
	bool is_empty; /* no file: spamd's empty key, which keeps nobody out */
	char text[SYNC_KEY_CHARS + 1];
};

/* Pure. */
struct sync_key sync_key_of(struct span file);
/* Reads the file, of at most 1 MiB. ERR_NOT_FOUND: there is none. Others -errno, ERR_TOO_LONG,
 * ERR_TRUNCATED (an empty one, whose key all know), ERR_UNSUPPORTED (not a regular file), and
 * ERR_DENIED for a file that everybody may read or write. Always with why. */
MUST_USE int sync_key_read(const char *path, struct sync_key *out,
                           char why[static SYNC_KEY_WHY_MAX]);
/* Makes a new key file (mode 0600, a line of 64 hex characters from the kernel's random source),
 * durable when it returns 0. ERR_BUSY: there is one already, which is left alone. */
MUST_USE int sync_key_make(const char *path, char why[static SYNC_KEY_WHY_MAX]);
/* HMAC-SHA1. Pure. */
void sync_key_sign(const struct sync_key *key, struct span bytes,
                   uint8_t mac[static SYNC_MAC_BYTES]);
/* Compares in constant time. */
bool sync_key_check(const struct sync_key *key, struct span bytes,
                    const uint8_t mac[static SYNC_MAC_BYTES]);
