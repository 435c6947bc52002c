/* The asking side of the control protocol: one request over one connection, with a deadline. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "ctl/ctl.h"

enum { ANSWER_MAX = 8 << 20, ANSWER_FIRST = 16 << 10 };

struct answer {
	char *text;
	size_t len;
	size_t size;
};

static int connect_to(const char *path, int timeout_ms)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000L};
	if (strlen(path) >= sizeof sun.sun_path) {
		return -ENAMETOOLONG;
	}
	memcpy(sun.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -errno;
	}
	/* bounds the wait for a place in the backlog and for room to send */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) != 0 ||
	    connect(fd, (const struct sockaddr *)&sun, sizeof sun) != 0) {
		int ret = errno == EAGAIN ? -ETIMEDOUT : -errno;
		(void)close(fd);
		return ret;
	}
	return fd;
}

static int send_request(int fd, const char *request)
{
	char line[MIRED_CTL_REQUEST_MAX + 1];
	if (strchr(request, '\n')) {
		return ERR_SYNTAX;
	}
	int len = snprintf(line, sizeof line, "%s\n", request);
	if (len < 0 || (size_t)len >= sizeof line) {
		return ERR_TOO_LONG;
	}
	/* blocking, so the whole line goes out or the time is up */
	ssize_t n = send(fd, line, (size_t)len, MSG_NOSIGNAL);
	if (n < 0) {
		return errno == EAGAIN ? -ETIMEDOUT : errno == EPIPE ? ERR_CLOSED : -errno;
	}
	return n == len ? 0 : -ETIMEDOUT;
}

static int grow(struct answer *answer)
{
	size_t size = answer->size ? answer->size * 2 : ANSWER_FIRST;
	char *text = size <= ANSWER_MAX ? realloc(answer->text, size) : NULL;
	if (!text) {
		return size <= ANSWER_MAX ? -ENOMEM : ERR_TOO_LONG;
	}
	answer->text = text;
	answer->size = size;
	return 0;
}

static int wait_readable(int fd, struct mono deadline)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	int64_t left_ms = mono_diff_ms(deadline, clock_mono());
	int n = left_ms > 0 ? poll(&pollfd, 1, (int)left_ms) : 0;
	if (n < 0) {
		return errno == EINTR ? 0 : -errno;
	}
	return n == 0 ? -ETIMEDOUT : 0;
}

/* 1 when the line is complete. */
static int receive_some(int fd, struct answer *answer, struct mono deadline)
{
	int ret = wait_readable(fd, deadline);
	if (ret == 0 && answer->len == answer->size) {
		ret = grow(answer);
	}
	if (ret != 0) {
		return ret;
	}
	ssize_t n = recv(fd, answer->text + answer->len, answer->size - answer->len, MSG_DONTWAIT);
	if (n < 0) {
		return errno == EAGAIN || errno == EINTR ? 0
		       : errno == ECONNRESET             ? ERR_CLOSED
		                                         : -errno;
	}
	if (n == 0) {
		return ERR_CLOSED;
	}
	bool is_complete = memchr(answer->text + answer->len, '\n', (size_t)n) != NULL;
	answer->len += (size_t)n;
	return is_complete;
}

static int parse_answer(const struct answer *answer, json_t **out)
{
	ASSERT(answer->text); /* receive_some found the line feed in it */
	const char *end = memchr(answer->text, '\n', answer->len);
	json_t *json = json_loadb(answer->text, (size_t)(end - answer->text), 0, NULL);
	if (!json_is_object(json)) {
		json_decref(json);
		return ERR_SYNTAX;
	}
	*out = json;
	return 0;
}

int ctl_wait_request(const char *path, const char *request, int timeout_ms, json_t **out)
{
	struct mono deadline = mono_add_ms(clock_mono(), timeout_ms);
	struct answer answer = {0};
	int fd = connect_to(path, timeout_ms);
	if (fd < 0) {
		return fd;
	}
	int ret = send_request(fd, request);
	while (ret == 0) {
		ret = receive_some(fd, &answer, deadline);
	}
	if (ret == 1) {
		ret = parse_answer(&answer, out);
	}
	free(answer.text);
	(void)close(fd);
	return ret;
}
