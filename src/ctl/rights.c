/* Rights of control clients. One table says which kind of asker gets what. */
#include "ctl/rights.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	READ = 1U << CTL_RIGHT_READ,
	EVENT = 1U << CTL_RIGHT_EVENT,
	ADMIN = 1U << CTL_RIGHT_ADMIN,
};

static bool find_group(const char *name, gid_t *gid)
{
	const struct group *group = getgrnam(name);
	if (group) {
		*gid = group->gr_gid;
	}
	return group != NULL;
}

void rights_init(struct rights *rights, const struct conf *conf)
{
	*rights = (struct rights){.daemon_uid = geteuid()};
	const struct passwd *logd = getpwnam(conf->logd_user);
	rights->has_logd = logd != NULL;
	rights->logd_uid = logd ? logd->pw_uid : 0;
	rights->has_stats = find_group(conf->stats_group, &rights->stats_gid);
	rights->has_admin = find_group(conf->admin_group, &rights->admin_gid);
}

unsigned rights_of(const struct rights *rights, uid_t uid, const gid_t *gids, size_t n_gids)
{
	unsigned granted = 0;
	if (uid == 0) {
		granted |= READ | EVENT | ADMIN;
	}
	if (uid == rights->daemon_uid) {
		granted |= READ;
	}
	if (rights->has_logd && uid == rights->logd_uid) {
		granted |= EVENT;
	}
	for (size_t i = 0; i < n_gids; i++) {
		if (rights->has_stats && gids[i] == rights->stats_gid) {
			granted |= READ;
		}
		if (rights->has_admin && gids[i] == rights->admin_gid) {
			granted |= READ | ADMIN;
		}
	}
	return granted;
}

/* Supplementary groups of the peer, the caller's to free; NULL when there are none. */
static gid_t *peer_groups(int fd, size_t *n_gids)
{
	socklen_t len = 0;
	*n_gids = 0;
	/* the first call only tells the size */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE) {
		return NULL;
	}
	gid_t *gids = malloc(len);
	if (gids && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &len) == 0) {
		*n_gids = len / sizeof *gids;
	}
	return gids;
}

int rights_of_peer(const struct rights *rights, int fd, uid_t *uid, unsigned *granted)
{
	struct ucred cred;
	socklen_t len = sizeof cred;
	size_t n_gids;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0) {
		return -errno;
	}
	gid_t *gids = peer_groups(fd, &n_gids);
	*uid = cred.uid;
	*granted = rights_of(rights, cred.uid, &cred.gid, 1) |
	           rights_of(rights, cred.uid, gids, n_gids);
	free(gids);
	return 0;
}
