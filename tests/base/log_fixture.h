/* Catches what the logger sends: stderr bent into a file, or the sockets of the journal and of
 * syslog in a mount namespace of a child process. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

#define JOURNAL_PATH "/run/systemd/journal/socket"
#define SYSLOG_PATH  "/dev/log"

enum { CAPTURE_MAX = 1 << 22 };

struct capture {
	int saved_stderr;
	int file;
};

static inline struct capture begin_capture(void)
{
	struct capture capture = {.file = memfd_create("stderr", MFD_CLOEXEC),
	                          .saved_stderr = dup(STDERR_FILENO)};
	assert_true(capture.file >= 0 && capture.saved_stderr >= 0);
	assert_int_equal(dup2(capture.file, STDERR_FILENO), STDERR_FILENO);
	return capture;
}

/* What was written since begin_capture, NUL-terminated; the caller frees it. */
static inline char *end_capture(struct capture capture)
{
	char *text = calloc(1, CAPTURE_MAX);
	assert_non_null(text);
	assert_int_equal(dup2(capture.saved_stderr, STDERR_FILENO), STDERR_FILENO);
	ssize_t len = pread(capture.file, text, CAPTURE_MAX - 1, 0);
	assert_true(len >= 0);
	(void)close(capture.saved_stderr);
	(void)close(capture.file);
	return text;
}

/* How often `what` is in the text. */
static inline int count_of(const char *text, const char *what)
{
	int n = 0;
	for (const char *at = strstr(text, what); at; at = strstr(at + 1, what)) {
		n++;
	}
	return n;
}

static inline int count_lines(const char *text)
{
	return count_of(text, "\n");
}

/* In the child: a socket that takes the place of a log. */
static inline int listen_at(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	(void)unlink(path);
	(void)snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && bind(fd, (struct sockaddr *)&sun, sizeof sun) == 0 ? fd : -1;
}

/* The next datagram within two seconds, NUL-terminated; "" if there is none. */
static inline const char *next_line(int fd)
{
	static char text[1 << 16];
	const struct timeval patience = {.tv_sec = 2};
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	ssize_t len = recv(fd, text, sizeof text - 1, 0);
	text[len > 0 ? len : 0] = '\0';
	return text;
}

/* A child with /run and /dev of its own runs `test`, which returns 0 or the number of the thing
 * that was wrong. */
static inline void in_own_world(int (*test)(void))
{
	int status = 0;
	if (geteuid() != 0) {
		skip();
	}
	pid_t pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) != 0 ||
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		    mount("none", "/dev", "tmpfs", 0, NULL) != 0 ||
		    mount("none", "/run", "tmpfs", 0, NULL) != 0 ||
		    mkdir("/run/systemd", 0755) != 0 || mkdir("/run/systemd/journal", 0755) != 0) {
			_exit(200);
		}
		_exit(test());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}
