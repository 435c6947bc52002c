/* What a daemon owns in the file system while it runs: its state directory with the lock in it, the
 * pid file and the control socket. Used by the supervisor as root; messages name the path. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/compiler.h"

enum { PLACE_WHY_MAX = 512, PLACE_PATH_MAX = 512 };

/* Makes the directory (0750), db/ (0700) and lists/ (0750) in it, all owned by uid:gid. An existing
 * directory must belong to uid, or be empty and root's, in which case it is given to uid: a
 * directory that serves somebody else is never taken over. ERR_DENIED, -errno. */
MUST_USE int place_state_dir(const char *dir, uid_t uid, gid_t gid, char why[static PLACE_WHY_MAX]);

/* Takes DIR/lock for this process and writes its pid into it. *fd holds the lock while it is open.
 * *left_over says that the last holder ended without place_unlock (killed). ERR_BUSY: somebody
 * holds it, why names the pid. */
MUST_USE int place_lock(const char *dir, int *fd, bool *left_over, char why[static PLACE_WHY_MAX]);
/* For those who must not work beside a daemon: takes a share of DIR/lock, which changes nothing in
 * it and which a daemon that is just starting waits for a moment. *fd is -1 where no daemon ever
 * was. The caller closes it. ERR_BUSY: one runs, why names the pid. */
MUST_USE int place_share_lock(const char *dir, int *fd, char why[static PLACE_WHY_MAX]);
/* Empties the lock file, which marks an orderly end, and closes it. */
void place_unlock(int fd);

/* Writes the pid, replacing what a dead daemon left there; makes the directory above if it is
 * missing. *fd holds the file against other instances while it is open. ERR_BUSY: a live one does;
 * why names its pid. */
MUST_USE int place_pid_file(const char *path, int *fd, char why[static PLACE_WHY_MAX]);

/* Binds and listens on a Unix stream socket that anybody may connect to: the server asks who it is.
 * Makes the directory above if it is missing. The socket of a dead daemon is replaced; a live one
 * is refused (ERR_BUSY). */
MUST_USE int place_control_socket(const char *path, int *fd, char why[static PLACE_WHY_MAX]);
