/* What the supervisor holds so that every engine it starts is in step with the other gateways at
 * once: the setup, in a sealed memory file, and the UDP socket. Both are made by root, once; names
 * are not resolved again. */
#pragma once

#include "base/compiler.h"
#include "conf/conf.h"
#include "sync/setup.h"

enum synced_state {
	SYNCED_UNWANTED,  /* the configuration asks for none */
	SYNCED_ON,        /* setup and socket are there */
	SYNCED_KEYLESS,   /* wanted, but there is no key file */
	SYNCED_POINTLESS, /* wanted, but there is no greylist to keep in step */
};

/* Owned by the supervisor's only thread. */
struct synced {
	enum synced_state state;
	int setup_fd; /* memfd with sync_setup_print's text; -1 unless SYNCED_ON */
	int socket;   /* likewise */
	size_t n_peers;
	bool has_group;
	bool must_receive;
	char note[SYNC_SETUP_WHY_MAX]; /* SYNCED_KEYLESS: what is missing and how to make it */
};

/* Blocks as long as names take to resolve; SIGTERM and SIGINT, though blocked, end the process
 * meanwhile. A port in use is tried again for wait_ms (the engine of a killed supervisor is still
 * leaving). A missing key is no failure. 0, or a negative code with why; then nothing is left open.
 */
MUST_USE int synced_open(struct synced *synced, const struct conf *conf, int wait_ms,
                         char why[static SYNC_SETUP_WHY_MAX]);
void synced_close(struct synced *synced);
/* The state in words for the start message, beginning with ", "; "" when nothing was asked for. */
enum { SYNCED_TEXT_MAX = 96 };
const char *synced_text(const struct synced *synced, char out[static SYNCED_TEXT_MAX]);
