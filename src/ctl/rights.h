/* Who may ask what: the client's user and groups, as the kernel vouches for them. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "conf/conf.h"
#include "ctl/ctl.h"

/* Names of the settings, resolved. Immutable. */
struct rights {
	uid_t daemon_uid;
	uid_t logd_uid;
	gid_t stats_gid, admin_gid;
	bool has_logd;             /* the user exists */
	bool has_stats, has_admin; /* the group exists */
};

void rights_init(struct rights *rights, const struct conf *conf);
/* A set of 1 << enum ctl_right for an asker with this user and these groups. Pure. */
unsigned rights_of(const struct rights *rights, uid_t uid, const gid_t *gids, size_t n_gids);
/* The same for the process at the other end of a connected Unix socket (SO_PEERCRED,
 * SO_PEERGROUPS), and its user. -errno when the kernel does not say. */
MUST_USE int rights_of_peer(const struct rights *rights, int fd, uid_t *uid, unsigned *granted);
