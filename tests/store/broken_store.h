/* Breaks an open store under its process, as a dying disk does: the next commit fails at its meta
 * page, and LMDB then refuses every transaction, those of readers too. Include after cmocka.h. */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BROKEN_STORE_FDS_MAX = 256, BROKEN_STORE_PATH_MAX = 320 };

/* The descriptor LMDB writes its meta pages through is the one opened with O_DSYNC. */
static inline int broken_store_meta_fd(const char *dir)
{
	char path[BROKEN_STORE_PATH_MAX];
	struct stat data;
	(void)snprintf(path, sizeof path, "%s/data.mdb", dir);
	assert_int_equal(stat(path, &data), 0);
	for (int fd = 3; fd < BROKEN_STORE_FDS_MAX; fd++) {
		int flags = fcntl(fd, F_GETFL);
		struct stat st;
		if (flags >= 0 && flags & O_DSYNC && fstat(fd, &st) == 0 &&
		    st.st_ino == data.st_ino) {
			return fd;
		}
	}
	return -1;
}

static inline void broken_store_break(const char *dir)
{
	int fd = broken_store_meta_fd(dir);
	int full = open("/dev/full", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0 && full >= 0);
	assert_int_equal(dup2(full, fd), fd);
	(void)close(full);
}
