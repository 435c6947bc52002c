/* The store's directory and what is in it besides LMDB's content: who may open it, who writes, and
 * whether a store was ever made here. `writer.lock` is held by the one process that may write;
 * `installed` was written when the store was made, so that a data file which vanished later is an
 * error and not a first start. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "store/lmdb_door.h"

#define WRITER_FILE "writer.lock"

static int path_in(const char *dir, const char *name, char out[static PATH_MAX])
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);
	return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int door_check_dir(const struct store_conf *conf, char why[static STORE_WHY_MAX])
{
	if (conf->create && !conf->read_only) {
		(void)mkdir(conf->dir, 0700); /* stat tells whether it is there now */
	}
	struct stat st;
	if (stat(conf->dir, &st)) {
		int err = errno;
		door_explain(why, "%s: %s", conf->dir, strerror(err));
		return err == ENOENT ? ERR_NOT_FOUND : -err;
	}
	if (!S_ISDIR(st.st_mode)) {
		door_explain(why, "%s is not a directory", conf->dir);
		return -ENOTDIR;
	}
	/* Files a stranger made here would lock the owner out. */
	if (st.st_uid != geteuid()) {
		door_explain(why,
		             "%s belongs to uid %u, this process runs as uid %u: run it as the "
		             "store's owner or change the owner of the directory and its files",
		             conf->dir, (unsigned)st.st_uid, (unsigned)geteuid());
		return -EACCES;
	}
	return 0;
}

int door_lock_writer(struct store *store, char why[static STORE_WHY_MAX])
{
	char path[PATH_MAX];
	int ret = path_in(store->dir, WRITER_FILE, path);
	if (ret) {
		return ret;
	}
	store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, DOOR_MODE);
	if (store->lock_fd < 0) {
		ret = -errno;
		door_explain(why, "%s: %s", path, err_text(ret));
		return ret;
	}
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB)) {
		ret = errno == EWOULDBLOCK ? ERR_BUSY : -errno;
		door_explain(why, "%s: another process writes to this store", path);
	}
	return ret;
}

bool door_has_marker(const char *dir)
{
	char path[PATH_MAX];
	return path_in(dir, DOOR_MARKER_FILE, path) == 0 && access(path, F_OK) == 0;
}

static int fsync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = fd < 0 || fsync(fd) ? -errno : 0;
	if (fd >= 0) {
		(void)close(fd);
	}
	return ret;
}

static int write_marker(const char *dir)
{
	static const char text[] =
	        "A store was made here. While this file exists, a missing data.mdb "
	        "is an error.\n";
	char path[PATH_MAX];
	int ret = path_in(dir, DOOR_MARKER_FILE, path);
	if (ret) {
		return ret;
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, DOOR_MODE);
	if (fd < 0) {
		return -errno;
	}
	/* its existence is what counts, so a full disk is no reason to fail */
	(void)!write(fd, text, sizeof text - 1);
	(void)fsync(fd);
	(void)close(fd);
	return fsync_dir(dir);
}

int door_write_marker(const char *dir, char why[static STORE_WHY_MAX])
{
	int ret = write_marker(dir);
	if (ret) {
		door_explain(why, "%s/" DOOR_MARKER_FILE ": %s", dir, err_text(ret));
	}
	return ret;
}

int door_check_data_file(const struct store_conf *conf, bool *is_new,
                         char why[static STORE_WHY_MAX])
{
	char path[PATH_MAX];
	int ret = path_in(conf->dir, DOOR_DATA_FILE, path);
	if (ret) {
		return ret;
	}
	struct stat st = {.st_size = 0};
	if (stat(path, &st) && errno != ENOENT) {
		ret = -errno;
		door_explain(why, "%s: %s", path, err_text(ret));
		return ret;
	}
	*is_new = st.st_size == 0;
	if (*is_new && door_has_marker(conf->dir)) {
		door_explain(why,
		             "%s is missing or empty, but a store was installed here. Put back a "
		             "backup of it; or remove %s/" DOOR_MARKER_FILE
		             " to begin with an empty store",
		             path, conf->dir);
		return ERR_NOT_FOUND;
	}
	if (*is_new && (conf->read_only || !conf->create)) {
		door_explain(why, "%s: there is no store here", path);
		return ERR_NOT_FOUND;
	}
	if (!*is_new && (!S_ISREG(st.st_mode) || st.st_size < 2 * (off_t)sysconf(_SC_PAGESIZE))) {
		door_explain(why,
		             "%s is damaged: it is shorter than its two meta pages or no regular "
		             "file. It was left as it is: put back a backup",
		             path);
		return ERR_CORRUPT;
	}
	return 0;
}
