/* Messages, rights and the reading side of the store. A lock file made by root would shut the
 * daemon out, so root becomes the store's user before it opens anything there. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "miredb/miredb.h"

/* 126 readers are LMDB's default; the first opener's word counts for all. */
enum { READERS_MAX = 126 };

int fail(const char *format, ...)
{
	va_list args;
	(void)fputs("miredb: ", stderr);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)putc('\n', stderr);
	return 1;
}

int write_failed(int code)
{
	return fail("cannot write: %s", err_text(code));
}

int end_output(void)
{
	return fflush(stdout) ? write_failed(-errno) : 0;
}

int become_user(const struct run *run)
{
	const char *name = run->conf.user;
	if (geteuid() != 0) {
		return 0;
	}
	errno = 0;
	const struct passwd *user = getpwnam(name);
	if (!user) {
		return fail("user %s of the configuration: %s", name,
		            errno ? strerror(errno) : "no such user");
	}
	uid_t uid = user->pw_uid;
	gid_t gid = user->pw_gid;
	if (initgroups(name, gid) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid)) {
		return fail("cannot become user %s: %s", name, strerror(errno));
	}
	if (geteuid() != uid || getegid() != gid || (uid != 0 && setuid(0) == 0)) {
		return fail("still not user %s after the change", name);
	}
	return 0;
}

int open_reader(const struct run *run, struct store **store, struct store_reader **reader)
{
	char why[STORE_WHY_MAX];
	struct store_conf conf = {.dir = run->dir,
	                          .map_bytes = run->conf.map_bytes,
	                          .journal_max = run->conf.journal_max,
	                          .readers_max = READERS_MAX,
	                          .read_only = true};
	int ret = store_open(store, &conf, why);
	if (ret) {
		return fail("cannot open %s for reading: %s", run->dir,
		            why[0] ? why : err_text(ret));
	}
	ret = store_reader_open(*store, reader);
	if (ret) {
		store_close(*store);
		return fail("cannot open %s for reading: %s", run->dir, err_text(ret));
	}
	return 0;
}
