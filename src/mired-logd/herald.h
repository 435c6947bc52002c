/* Tells the peers which hosts live on, as spamlogd does with -Y: WHITE for IPv4, WHITE6 in
 * datagrams of their own for IPv6. Nobody answers; what is lost comes again with the host's next
 * mail. One owner thread after herald_open. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "conf/conf.h"
#include "mired-logd/sightings.h"
#include "sync/setup.h"

struct herald;

/* Resolves the targets (blocking), reads the key and opens the socket, which needs root for the
 * key. targets: in place of conf's sync_peers; borrowed for the call, conf as long as the herald
 * lives. ERR_NOT_FOUND: there is no key file, so nothing may be sent; why says how to make one.
 * Other codes with why. */
MUST_USE int herald_open(struct herald **out, const struct conf *conf, char *const *targets,
                         size_t n_targets, char why[static SYNC_SETUP_WHY_MAX]);
void herald_close(struct herald *herald);
/* Sends one block a host, which lives for life_secs from now on. Does not wait for an answer. */
void herald_tell(struct herald *herald, const struct sighting *seen, size_t n, struct wall now,
                 int64_t life_secs);

struct herald_figures {
	uint64_t n_datagrams;
	uint64_t n_failures; /* datagrams that the kernel did not take */
};
struct herald_figures herald_figures_get(const struct herald *herald);
