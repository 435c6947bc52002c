/* Sends packets to all targets of a setup. One owner thread. */
#pragma once

#include "base/clock.h"
#include "sync/setup.h"
#include "sync/wire.h"

struct sync_sender {
	const struct sync_setup *setup; /* borrowed */
	int socket;                     /* borrowed */
	uint32_t counter;               /* of the next packet, from 0 a process (spamd) */
	uint64_t n_datagrams;
	uint64_t n_failures; /* datagrams the kernel did not take; they are lost */
	bool is_full;        /* waited for room in vain; nothing was sent since */
	/* the limit of its log lines */
	uint64_t n_logged;
	struct mono logged_at;
};

/* Finishes the packet and sends it to each peer and to the group; n_datagrams counts one for each.
 * Waits 100 ms at most for room in the socket, and while there is none not again, whatever is sent
 * to whomever: a network that stands still costs datagrams, not time. Failures are counted in the
 * sender and logged at most once a minute. failed (may be NULL): one flag a peer, set or cleared.
 */
void sync_send(struct sync_sender *sender, struct wire_packet *packet, bool *failed);
