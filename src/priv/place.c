/* Directories, lock, pid file and control socket. The state directory belongs to an unprivileged
 * user while root works in it: nothing in it is followed if it is a link, and nothing is written
 * that has a second name. */
#include "priv/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"

enum {
	MODE_STATE = 0750,
	MODE_DB = 0700,
	MODE_LISTS = 0750,
	MODE_RUN = 0755,
	PID_TEXT_MAX = 32,
	CONTROL_BACKLOG = 64
};

static int failed(char why[static PLACE_WHY_MAX], const char *path, int code)
{
	(void)snprintf(why, PLACE_WHY_MAX, "%s: %s", path, err_text(code));
	return code;
}

static bool dir_is_empty(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		if (fd >= 0) {
			(void)close(fd);
		}
		return false;
	}
	const struct dirent *entry;
	do {
		entry = readdir(dir);
	} while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
	(void)closedir(dir);
	return !entry;
}

/* Gives the open directory to uid:gid if it may be given, and sets its mode. */
static int own_dir(int fd, uid_t uid, gid_t gid, mode_t mode)
{
	struct stat st;
	if (fstat(fd, &st) != 0) {
		return -errno;
	}
	if (st.st_uid != uid) {
		if (st.st_uid != 0 || !dir_is_empty(fd)) {
			return ERR_DENIED;
		}
		if (fchown(fd, uid, gid) != 0) {
			return -errno;
		}
	}
	if ((st.st_mode & 07777) != mode && fchmod(fd, mode) != 0) {
		return -errno;
	}
	return 0;
}

struct owner {
	uid_t uid;
	gid_t gid;
};

/* Opens the directory `path` (below at), made if missing, with its owner and mode. */
static int open_owned_dir(int at, const char *path, int flags, struct owner owner, mode_t mode)
{
	if (mkdirat(at, path, mode) != 0 && errno != EEXIST) {
		return -errno;
	}
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
	if (fd < 0) {
		return -errno;
	}
	int ret = own_dir(fd, owner.uid, owner.gid, mode);
	if (ret) {
		(void)close(fd);
		return ret;
	}
	return fd;
}

/* sub: below dir, or "". */
static int refuse_dir(const char *dir, const char *sub, int code, char why[static PLACE_WHY_MAX])
{
	const char *slash = sub[0] ? "/" : "";
	if (code == ERR_DENIED) {
		(void)snprintf(why, PLACE_WHY_MAX,
		               "%s%s%s belongs to another user: give it to mired's user (chown) or "
		               "choose another state-dir",
		               dir, slash, sub);
		return code;
	}
	(void)snprintf(why, PLACE_WHY_MAX, "%s%s%s: %s", dir, slash, sub, err_text(code));
	return code;
}

/* What the state directory holds. */
static const struct {
	const char *name;
	mode_t mode;
} subs[] = {{"db", MODE_DB}, {"lists", MODE_LISTS}};

int place_state_dir(const char *dir, uid_t uid, gid_t gid, char why[static PLACE_WHY_MAX])
{
	/* the administrator may have put a link there to another disk; below it nobody may */
	struct owner owner = {uid, gid};
	int fd = open_owned_dir(AT_FDCWD, dir, 0, owner, MODE_STATE);
	if (fd < 0) {
		return refuse_dir(dir, "", fd, why);
	}
	int ret = 0;
	for (size_t i = 0; i < ARRAY_LEN(subs) && ret == 0; i++) {
		int sub = open_owned_dir(fd, subs[i].name, O_NOFOLLOW, owner, subs[i].mode);
		if (sub < 0) {
			ret = refuse_dir(dir, subs[i].name, sub, why);
		} else {
			(void)close(sub);
		}
	}
	(void)close(fd);
	return ret;
}

/* The pid at the start of an open file, 0 if there is none. */
static long read_pid(int fd)
{
	char text[PID_TEXT_MAX];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	if (n <= 0) {
		return 0;
	}
	text[n] = '\0';
	return strtol(text, NULL, 10);
}

static int write_pid(int fd)
{
	char text[PID_TEXT_MAX];
	int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	ssize_t n = pwrite(fd, text, (size_t)len, 0);
	if (n != len) {
		return n < 0 ? -errno : -ENOSPC;
	}
	return ftruncate(fd, len) == 0 ? 0 : -errno;
}

static int refuse_lock(long pid, const char *path, char why[static PLACE_WHY_MAX])
{
	char who[PID_TEXT_MAX + 8] = "";
	if (pid) {
		(void)snprintf(who, sizeof who, " (pid %ld)", pid);
	}
	(void)snprintf(why, PLACE_WHY_MAX, "another mired%s holds %.400s", who, path);
	return ERR_BUSY;
}

static int hold_lock(int fd, const char *path, bool *left_over, char why[static PLACE_WHY_MAX])
{
	struct stat st;
	if (fstat(fd, &st) != 0) {
		return failed(why, path, -errno);
	}
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
		return failed(why, path, ERR_DENIED);
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK) {
			return failed(why, path, -errno);
		}
		return refuse_lock(read_pid(fd), path, why);
	}
	*left_over = read_pid(fd) != 0;
	int ret = write_pid(fd);
	/* a daemon must be able to start on a full disk; the lock counts, the number is for people
	 */
	return ret && ret != -ENOSPC && ret != -EDQUOT ? failed(why, path, ret) : 0;
}

/* Opens and locks a file of our own and writes the pid into it. */
static int open_locked(const char *path, int *fd, bool *left_over, char why[static PLACE_WHY_MAX])
{
	int lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
	if (lock < 0) {
		return failed(why, path, -errno);
	}
	int ret = hold_lock(lock, path, left_over, why);
	if (ret) {
		(void)close(lock);
		return ret;
	}
	*fd = lock;
	return 0;
}

static int lock_path(const char *dir, char path[static PLACE_PATH_MAX],
                     char why[static PLACE_WHY_MAX])
{
	int len = snprintf(path, PLACE_PATH_MAX, "%s/lock", dir);
	return len < PLACE_PATH_MAX ? 0 : failed(why, dir, ERR_TOO_LONG);
}

int place_lock(const char *dir, int *fd, bool *left_over, char why[static PLACE_WHY_MAX])
{
	char path[PLACE_PATH_MAX];
	int ret = lock_path(dir, path, why);
	return ret ? ret : open_locked(path, fd, left_over, why);
}

int place_share_lock(const char *dir, int *fd, char why[static PLACE_WHY_MAX])
{
	char path[PLACE_PATH_MAX];
	*fd = -1;
	int ret = lock_path(dir, path, why);
	if (ret) {
		return ret;
	}
	int lock = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (lock < 0) {
		return errno == ENOENT ? 0 : failed(why, path, -errno);
	}
	if (flock(lock, LOCK_SH | LOCK_NB) != 0) {
		ret = errno == EWOULDBLOCK ? refuse_lock(read_pid(lock), path, why)
		                           : failed(why, path, -errno);
		(void)close(lock);
		return ret;
	}
	*fd = lock;
	return 0;
}

void place_unlock(int fd)
{
	(void)!ftruncate(fd, 0); /* a stale number in an unlocked file misleads nobody */
	(void)close(fd);
}

/* Only the last directory: a missing /run is not ours to make. */
static int make_parent(const char *path, char why[static PLACE_WHY_MAX])
{
	char parent[PLACE_PATH_MAX];
	if ((size_t)snprintf(parent, sizeof parent, "%s", path) >= sizeof parent) {
		return failed(why, path, ERR_TOO_LONG);
	}
	char *slash = strrchr(parent, '/');
	if (!slash || slash == parent) {
		return 0;
	}
	*slash = '\0';
	return mkdir(parent, MODE_RUN) == 0 || errno == EEXIST ? 0 : failed(why, parent, -errno);
}

int place_pid_file(const char *path, int *fd, char why[static PLACE_WHY_MAX])
{
	bool left_over;
	int ret = make_parent(path, why);
	return ret ? ret : open_locked(path, fd, &left_over, why);
}

/* Makes room for a socket: nothing there, or the socket of a dead daemon, is fine. */
static int clear_socket(const struct sockaddr_un *name, char why[static PLACE_WHY_MAX])
{
	const char *path = name->sun_path;
	struct stat st;
	if (lstat(path, &st) != 0) {
		return errno == ENOENT ? 0 : failed(why, path, -errno);
	}
	if (!S_ISSOCK(st.st_mode)) {
		(void)snprintf(why, PLACE_WHY_MAX, "%s exists and is not a socket", path);
		return ERR_DENIED;
	}
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0) {
		return failed(why, path, -errno);
	}
	bool is_dead = connect(probe, (const struct sockaddr *)name, sizeof *name) != 0 &&
	               errno == ECONNREFUSED;
	(void)close(probe);
	if (!is_dead) {
		(void)snprintf(why, PLACE_WHY_MAX, "another daemon listens on %s", path);
		return ERR_BUSY;
	}
	return unlink(path) == 0 ? 0 : failed(why, path, -errno);
}

int place_control_socket(const char *path, int *fd, char why[static PLACE_WHY_MAX])
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	if ((size_t)snprintf(name.sun_path, sizeof name.sun_path, "%s", path) >=
	    sizeof name.sun_path) {
		return failed(why, path, ERR_TOO_LONG);
	}
	int ret = make_parent(path, why);
	ret = ret ? ret : clear_socket(&name, why);
	if (ret) {
		return ret;
	}
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener < 0) {
		return failed(why, path, -errno);
	}
	if (bind(listener, (const struct sockaddr *)&name, sizeof name) != 0 ||
	    chmod(path, 0666) != 0 || listen(listener, CONTROL_BACKLOG) != 0) {
		ret = failed(why, path, -errno);
		(void)close(listener);
		return ret;
	}
	*fd = listener;
	return 0;
}
