/* Steps of a copy, and what may fail:
 *  1. PLACE.new is made and locked, so that two copies to one place do not meet (busy, no rights);
 *  2. a child opens the store, compares its pages with the space there is, and lets LMDB write its
 *     compacting copy (damage, full disk, crash: the child's end is the verdict);
 *  3. one commit in the copy. LMDB's copy has one valid meta page; with two it does not matter
 *     which one a reader picks who still has the lock file of what was there before;
 *  4. fsync, and the check of the whole copy (damage that was copied faithfully);
 *  5. rename, fsync of the directory.
 * Steps 2 to 4 are the child's, who is the store's owner: root does not interpret pages which
 * somebody with fewer rights has written. The directory is lent to that user for so long.
 * A compaction holds the writer's lock throughout and, before 5, LMDB's own lock file: nobody else
 * may have the old file open, for a lock file that outlives its data file would tell the next
 * writer numbers of transactions which the new file never had. */
#include "store/store_backup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "store/lmdb_door.h"

#define LOCK_FILE "lock.mdb"
#define HERE      "." /* the child has gone to where the copy is */

enum {
	READERS_MAX = 126, /* LMDB's default; only the first opener's word counts */
	DIR_MODE = 0700,
	/* LMDB writes its copy from two buffers of 1 MiB; the trees' own overhead is far less */
	SLACK_BYTES = 4 << 20,
	MAGIC_AT = 16, /* in a meta page, behind the page's header */
};

static const uint32_t lmdb_magic = 0xBEEFC0DE;

/* Where a copy is made. */
struct work {
	const char *place;   /* it shall become this file */
	char dir[PATH_MAX];  /* PLACE.new */
	char file[PATH_MAX]; /* data.mdb in there */
	int dir_fd;          /* locked */
	int fd;              /* of the file */
};

static int path_of(char out[static PATH_MAX], const char *path, const char *more)
{
	int n = snprintf(out, PATH_MAX, "%s%s", path, more);
	return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int explain_errno(char why[static STORE_WHY_MAX], const char *path)
{
	int ret = -errno;
	door_explain(why, "%.300s: %s", path, err_text(ret));
	return ret;
}

/* --- 1: the place ----------------------------------------------------------------------------- */

/* A mistyped name must not cost somebody a file. */
static int check_place(const char *place, const char *store_dir, char why[static STORE_WHY_MAX])
{
	char data[PATH_MAX];
	struct stat st;
	struct stat own;
	uint32_t magic = 0;
	if (lstat(place, &st)) {
		return errno == ENOENT ? 0 : explain_errno(why, place);
	}
	int ret = path_of(data, store_dir, "/" DOOR_DATA_FILE);
	if (ret == 0 && stat(data, &own) == 0 && own.st_dev == st.st_dev &&
	    own.st_ino == st.st_ino) {
		door_explain(why, "%.300s is the store itself", place);
		return ERR_DENIED;
	}
	int fd = S_ISREG(st.st_mode) ? open(place, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
	bool is_backup = fd >= 0 && pread(fd, &magic, sizeof magic, MAGIC_AT) == sizeof magic &&
	                 magic == lmdb_magic;
	if (fd >= 0) {
		(void)close(fd);
	}
	if (!is_backup) {
		door_explain(why, "%.300s is no backup of a store: it is left as it is", place);
		return ERR_DENIED;
	}
	return 0;
}

static void work_empty(const struct work *work)
{
	(void)unlinkat(work->dir_fd, DOOR_DATA_FILE, 0);
	(void)unlinkat(work->dir_fd, LOCK_FILE, 0);
}

static int work_lock(struct work *work, char why[static STORE_WHY_MAX])
{
	struct stat st;
	if (mkdir(work->dir, DIR_MODE) && errno != EEXIST) {
		return explain_errno(why, work->dir);
	}
	work->dir_fd = open(work->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (work->dir_fd < 0 || fstat(work->dir_fd, &st)) {
		return explain_errno(why, work->dir);
	}
	if (flock(work->dir_fd, LOCK_EX | LOCK_NB)) {
		int ret = errno == EWOULDBLOCK ? ERR_BUSY : -errno;
		door_explain(why, "%.300s: another copy is being made here", work->dir);
		return ret;
	}
	/* one that was lent when its maker was killed is root's to take back */
	if (st.st_uid != geteuid() && (geteuid() != 0 || fchown(work->dir_fd, 0, 0))) {
		door_explain(why, "%.300s belongs to uid %u", work->dir, (unsigned)st.st_uid);
		return ERR_DENIED;
	}
	return 0;
}

static int work_open(struct work *work, const char *place, char why[static STORE_WHY_MAX])
{
	*work = (struct work){.place = place, .dir_fd = -1, .fd = -1};
	int ret = path_of(work->dir, place, ".new");
	ret = ret ? ret : path_of(work->file, work->dir, "/" DOOR_DATA_FILE);
	if (ret) {
		door_explain(why, "%.300s: %s", place, err_text(ret));
		return ret;
	}
	ret = work_lock(work, why);
	if (ret) {
		return ret;
	}
	work_empty(work);
	work->fd = openat(work->dir_fd, DOOR_DATA_FILE,
	                  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, DOOR_MODE);
	return work->fd < 0 ? explain_errno(why, work->file) : 0;
}

/* Only what is ours to remove: with fd there is the lock. */
static void work_close(struct work *work)
{
	if (work->fd >= 0) {
		(void)close(work->fd);
		work_empty(work);
		(void)rmdir(work->dir);
	}
	if (work->dir_fd >= 0) {
		(void)close(work->dir_fd);
	}
}

/* --- 2: the copy, in a child ------------------------------------------------------------------ */

struct report {
	int ret;
	struct store_copy_figures figures;
	char why[STORE_WHY_MAX];
};

static_assert(sizeof(struct report) <= PIPE_BUF, "it goes through a pipe in one piece");

static int look_at_source(MDB_env *env, struct report *report)
{
	MDB_txn *txn = NULL;
	MDB_envinfo info;
	MDB_stat stats;
	int ret = door_check_size(env, report->why);
	if (ret) {
		return ret;
	}
	int rc = mdb_env_info(env, &info);
	rc = rc ? rc : mdb_env_stat(env, &stats);
	rc = rc ? rc : mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	if (rc) {
		door_explain(report->why, "%s", mdb_strerror(rc));
		return rc > 0 ? -rc : ERR_CORRUPT;
	}
	uint64_t n_free = door_free_pages(txn);
	uint64_t n_pages = (uint64_t)info.me_last_pgno + 1;
	mdb_txn_abort(txn);
	n_free = n_free < n_pages ? n_free : n_pages;
	report->figures.used_bytes = (n_pages - n_free) * stats.ms_psize;
	report->figures.free_bytes = n_free * stats.ms_psize;
	return 0;
}

/* With a limit on the file: pages that damage made point at each other would be copied for long. */
static int look_at_space(int fd, struct report *report)
{
	struct statvfs fs;
	uint64_t needed = report->figures.used_bytes + SLACK_BYTES;
	const struct rlimit limit = {needed + SLACK_BYTES, needed + SLACK_BYTES};
	if (fstatvfs(fd, &fs) || setrlimit(RLIMIT_FSIZE, &limit)) {
		door_explain(report->why, "%s", strerror(errno));
		return -errno;
	}
	uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (room < needed) {
		door_explain(report->why, "the copy needs %llu MiB, %llu MiB are free",
		             (unsigned long long)(needed >> 20), (unsigned long long)(room >> 20));
		return ERR_FULL;
	}
	return 0;
}

static int copy_env(const struct store_source *source, int fd, struct report *report)
{
	MDB_env *env = NULL;
	const struct store shell = {.dir = (char *)(uintptr_t)source->dir};
	int rc = door_env_open(&env, source->dir, source->map_bytes, READERS_MAX, MDB_RDONLY);
	if (rc) {
		door_explain(report->why, "it cannot be opened: %s", mdb_strerror(rc));
		return door_error(&shell, rc);
	}
	int ret = look_at_source(env, report);
	ret = ret ? ret : look_at_space(fd, report);
	if (ret == 0 && (rc = mdb_env_copyfd2(env, fd, MDB_CP_COMPACT))) {
		door_explain(report->why, "copying: %s", mdb_strerror(rc));
		ret = door_error(&shell, rc);
	}
	mdb_env_close(env);
	return ret;
}

/* --- 3 and 4: from a copy to a file one can rely on, in the child ------------------------------
 */

/* Writes the meta record as it stands. LMDB's code. */
static int commit_once(MDB_env *env)
{
	MDB_txn *txn = NULL;
	MDB_dbi dbi = 0;
	MDB_val data;
	struct record_value value;
	MDB_val key = door_val(record_meta_key.ptr, record_meta_key.len);
	int rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc) {
		return rc;
	}
	rc = mdb_dbi_open(txn, door_db_name(DB_META), 0, &dbi);
	rc = rc ? rc : mdb_get(txn, dbi, &key, &data);
	rc = rc == 0 && data.mv_size > sizeof value.bytes ? MDB_CORRUPTED : rc;
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	value.len = data.mv_size;
	memcpy(value.bytes, data.mv_data, value.len);
	data = door_val(value.bytes, value.len);
	rc = mdb_put(txn, dbi, &key, &data, 0);
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

/* The file may end before the last page that a commit took and gave back; see door_check_size. */
static int fill_up(int fd, MDB_env *env)
{
	MDB_envinfo info;
	MDB_stat stats;
	struct stat st;
	int rc = mdb_env_info(env, &info);
	rc = rc ? rc : mdb_env_stat(env, &stats);
	if (rc || fstat(fd, &st)) {
		return rc ? rc : errno;
	}
	off_t needed = (off_t)((info.me_last_pgno + 1) * stats.ms_psize);
	return st.st_size < needed && ftruncate(fd, needed) ? errno : 0;
}

static int settle(int fd, uint64_t map_bytes, char why[static STORE_WHY_MAX])
{
	MDB_env *env = NULL;
	const struct store shell = {.dir = (char *)(uintptr_t)HERE};
	int rc = door_env_open(&env, HERE, map_bytes, READERS_MAX, 0);
	if (rc == 0) {
		rc = commit_once(env);
		rc = rc ? rc : fill_up(fd, env);
		mdb_env_close(env);
	}
	if (rc) {
		door_explain(why, "the copy is no sound store: %s", mdb_strerror(rc));
		return rc == MDB_NOTFOUND ? ERR_CORRUPT : door_error(&shell, rc);
	}
	return fsync(fd) ? explain_errno(why, "the copy") : 0;
}

static int check_copy(int fd, uint64_t map_bytes, struct report *report)
{
	char reason[STORE_WHY_MAX];
	struct stat st;
	int ret = store_check(HERE, map_bytes, reason);
	if (ret) {
		door_explain(report->why, "the copy is damaged, and so is the store: %.300s",
		             reason);
		return ret;
	}
	if (fstat(fd, &st)) {
		return explain_errno(report->why, "the copy");
	}
	report->figures.copy_bytes = (uint64_t)st.st_size;
	return 0;
}

static int copy_whole(const struct store_source *source, const struct work *work,
                      struct report *report)
{
	int ret = copy_env(source, work->fd, report);
	/* the path to the copy may lead through directories of root's */
	ret = ret == 0 && fchdir(work->dir_fd) ? explain_errno(report->why, work->dir) : ret;
	ret = ret ? ret : settle(work->fd, source->map_bytes, report->why);
	return ret ? ret : check_copy(work->fd, source->map_bytes, report);
}

/* ^Z is for the parent: stopped here, the copy's snapshot would make the store grow. */
static _Noreturn void child_main(const struct store_source *source, const struct work *work,
                                 int out)
{
	static const int ignored[] = {SIGTSTP, SIGTTIN, SIGTTOU, SIGXFSZ, SIGPIPE};
	static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	struct report report = {.ret = 0};
	for (size_t i = 0; i < ARRAY_LEN(crashes); i++) {
		(void)signal(crashes[i], SIG_DFL); /* a handler of the parent's would go on here */
	}
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++) {
		(void)signal(ignored[i], SIG_IGN);
	}
	(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	report.ret = source->become ? source->become(source->ctx) : 0;
	/* LMDB's assertions write to stderr: a crash here is a finding, not a message */
	int null = open("/dev/null", O_RDWR);
	(void)dup2(null, STDERR_FILENO);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of the user takes it back */
	report.ret = report.ret ? report.ret : copy_whole(source, work, &report);
	_exit(write(out, &report, sizeof report) == sizeof report ? 0 : 1);
}

static int take_report(pid_t pid, int in, const char *dir, struct store_copy_figures *out,
                       char why[static STORE_WHY_MAX])
{
	struct report report;
	ssize_t n = 0;
	int status = 0;
	do {
		n = read(in, &report, sizeof report);
	} while (n < 0 && errno == EINTR);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	if (n != sizeof report) {
		door_explain(why, "%.200s: reading it crashed (signal %d): pages are damaged", dir,
		             WIFSIGNALED(status) ? WTERMSIG(status) : 0);
		return ERR_CORRUPT;
	}
	*out = report.figures;
	if (report.ret) {
		door_explain(why, report.why[0] ? "%.200s: %.250s" : "%.200s: not copied%.1s", dir,
		             report.why);
	}
	return report.ret;
}

static int take_copy(const struct store_source *source, const struct work *work,
                     struct store_copy_figures *out, char why[static STORE_WHY_MAX])
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC)) {
		return explain_errno(why, "pipe");
	}
	pid_t pid = fork();
	if (pid == 0) {
		(void)close(fds[0]);
		child_main(source, work, fds[1]);
	}
	int ret = pid < 0 ? explain_errno(why, "fork") : 0;
	(void)close(fds[1]);
	ret = ret ? ret : take_report(pid, fds[0], source->dir, out, why);
	(void)close(fds[0]);
	return ret;
}

/* --- 5: in the parent ------------------------------------------------------------------------- */

static int fsync_parent(const struct work *work, char why[static STORE_WHY_MAX])
{
	int fd = openat(work->dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd)) {
		int ret = explain_errno(why, work->place);
		if (fd >= 0) {
			(void)close(fd);
		}
		return ret;
	}
	(void)close(fd);
	return 0;
}

/* The child's user needs the directory and the file while it works. */
static int lend(const struct work *work, const char *store_dir, char why[static STORE_WHY_MAX])
{
	struct stat st;
	if (stat(store_dir, &st)) {
		return explain_errno(why, store_dir);
	}
	bool is_other = geteuid() == 0 && st.st_uid != 0;
	if (is_other && (fchown(work->fd, st.st_uid, st.st_gid) ||
	                 fchown(work->dir_fd, st.st_uid, st.st_gid))) {
		return explain_errno(why, work->dir);
	}
	return 0;
}

/* That user may have put something else there meanwhile. The directory is first. */
static int take_back(const struct work *work, char why[static STORE_WHY_MAX])
{
	struct stat own;
	struct stat there;
	if (fchown(work->dir_fd, geteuid(), getegid()) || fchown(work->fd, geteuid(), getegid()) ||
	    fchmod(work->fd, DOOR_MODE) || fstat(work->fd, &own) ||
	    fstatat(work->dir_fd, DOOR_DATA_FILE, &there, AT_SYMLINK_NOFOLLOW)) {
		return explain_errno(why, work->file);
	}
	if (own.st_dev != there.st_dev || own.st_ino != there.st_ino || own.st_nlink != 1) {
		door_explain(why, "%.300s was exchanged while the copy was made", work->file);
		return ERR_DENIED;
	}
	return 0;
}

static int make_copy(const struct store_source *source, const struct work *work,
                     struct store_copy_figures *out, char why[static STORE_WHY_MAX])
{
	int ret = lend(work, source->dir, why);
	ret = ret ? ret : take_copy(source, work, out, why);
	return ret ? ret : take_back(work, why);
}

int store_backup(const struct store_source *source, const char *file,
                 struct store_copy_figures *out, char why[static STORE_WHY_MAX])
{
	struct work work;
	why[0] = '\0';
	int ret = check_place(file, source->dir, why);
	if (ret) {
		return ret;
	}
	ret = work_open(&work, file, why);
	ret = ret ? ret : make_copy(source, &work, out, why);
	if (ret == 0 && rename(work.file, file)) {
		ret = explain_errno(why, file);
	}
	ret = ret ? ret : fsync_parent(&work, why);
	work_close(&work);
	return ret;
}

/* --- compaction ------------------------------------------------------------------------------- */

/* LMDB's own mark of use: each process that has the store open holds it for reading. */
static int lock_out_readers(const char *path, int *fd, char why[static STORE_WHY_MAX])
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
	*fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0) {
		return errno == ENOENT ? 0 : explain_errno(why, path);
	}
	if (fcntl(*fd, F_SETLK, &lock)) {
		int ret = errno == EACCES || errno == EAGAIN ? ERR_BUSY : -errno;
		door_explain(why, "%.300s: another process reads this store", path);
		return ret;
	}
	return 0;
}

static int exchange(const struct work *work, const char *dir, char why[static STORE_WHY_MAX])
{
	char path[PATH_MAX];
	int fd = -1;
	int ret = path_of(path, dir, "/" LOCK_FILE);
	ret = ret ? ret : lock_out_readers(path, &fd, why);
	if (ret == 0 && rename(work->file, work->place)) {
		ret = explain_errno(why, work->place);
	}
	if (ret == 0 && unlink(path) && errno != ENOENT) {
		ret = explain_errno(why, path);
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	return ret ? ret : fsync_parent(work, why);
}

static int compact_locked(const char *dir, uint64_t map_bytes, struct store_copy_figures *out,
                          char why[static STORE_WHY_MAX])
{
	const struct store_source source = {.dir = dir, .map_bytes = map_bytes};
	char place[PATH_MAX];
	struct work work;
	int ret = path_of(place, dir, "/" DOOR_DATA_FILE);
	if (ret) {
		return ret;
	}
	ret = work_open(&work, place, why);
	ret = ret ? ret : make_copy(&source, &work, out, why);
	ret = ret ? ret : exchange(&work, dir, why);
	work_close(&work);
	return ret;
}

int store_compact(const char *dir, uint64_t map_bytes, struct store_copy_figures *out,
                  char why[static STORE_WHY_MAX])
{
	const struct store_conf conf = {.dir = dir, .map_bytes = map_bytes};
	struct store shell = {.dir = (char *)(uintptr_t)dir, .lock_fd = -1};
	bool is_new = false;
	why[0] = '\0';
	int ret = door_check_dir(&conf, why);
	ret = ret ? ret : door_check_data_file(&conf, &is_new, why);
	ret = ret ? ret : door_lock_writer(&shell, why);
	ret = ret ? ret : compact_locked(dir, map_bytes, out, why);
	if (shell.lock_fd >= 0) {
		(void)close(shell.lock_fd);
	}
	return ret;
}
