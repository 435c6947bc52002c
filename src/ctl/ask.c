/* The asking side of the control protocol: requests over a connection, each with a deadline. */
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

#define TEXT_END "\n" MIRED_CTL_TEXT_END "\n"

enum { ANSWER_MAX = 8 << 20, ANSWER_FIRST = 16 << 10, LINK_OPEN_MS = 10000 };

struct answer {
	char *text;
	size_t len;
	size_t size;
};

struct ctl_link {
	int fd;
	struct answer answer;
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
	/* bounds the wait for a place in the backlog */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) != 0 ||
	    connect(fd, (const struct sockaddr *)&sun, sizeof sun) != 0) {
		int ret = errno == EAGAIN ? -ETIMEDOUT : -errno;
		(void)close(fd);
		return ret;
	}
	return fd;
}

static int wait_ready(int fd, short events, struct mono deadline)
{
	struct pollfd pollfd = {.fd = fd, .events = events};
	int64_t left_ms = mono_diff_ms(deadline, clock_mono());
	int n = left_ms > 0 ? poll(&pollfd, 1, (int)left_ms) : 0;
	if (n < 0) {
		return errno == EINTR ? 0 : -errno;
	}
	return n == 0 ? -ETIMEDOUT : 0;
}

static int send_all(int fd, struct span bytes, struct mono deadline)
{
	while (bytes.len > 0) {
		ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			return errno == EPIPE || errno == ECONNRESET ? ERR_CLOSED : -errno;
		}
		bytes = span_skip(bytes, n > 0 ? (size_t)n : 0);
		int ret = bytes.len > 0 ? wait_ready(fd, POLLOUT, deadline) : 0;
		if (ret != 0) {
			return ret;
		}
	}
	return 0;
}

static int send_line(int fd, const char *request, struct span body, struct mono deadline)
{
	char line[MIRED_CTL_REQUEST_MAX + 1];
	int len;
	if (strchr(request, '\n')) {
		return ERR_SYNTAX;
	}
	if (body.ptr) {
		len = snprintf(line, sizeof line, "%s %zu\n", request, body.len);
	} else {
		len = snprintf(line, sizeof line, "%s\n", request);
	}
	if (len < 0 || (size_t)len >= sizeof line) {
		return ERR_TOO_LONG;
	}
	return send_all(fd, span_of(line, (size_t)len), deadline);
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

/* Text begins with a '#' and has a last line; anything else is one line, of which n_new bytes have
 * come just now. */
static bool is_whole(const struct answer *answer, size_t n_new)
{
	const char *end = answer->text + answer->len;
	if (answer->text[0] != MIRED_CTL_TEXT_MARK) {
		return memchr(end - n_new, '\n', n_new) != NULL;
	}
	return answer->len >= strlen(TEXT_END) &&
	       memcmp(end - strlen(TEXT_END), TEXT_END, strlen(TEXT_END)) == 0;
}

/* 1 when the answer is complete. */
static int receive_some(int fd, struct answer *answer, struct mono deadline)
{
	int ret = wait_ready(fd, POLLIN, deadline);
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
	answer->len += (size_t)n;
	return is_whole(answer, (size_t)n);
}

static int parse_answer(const struct answer *answer, json_t **out)
{
	ASSERT(answer->text); /* receive_some found its end in it */
	if (answer->text[0] == MIRED_CTL_TEXT_MARK) {
		*out = json_stringn(answer->text, answer->len);
		return *out ? 0 : ERR_SYNTAX;
	}
	const char *end = memchr(answer->text, '\n', answer->len);
	json_t *json = json_loadb(answer->text, (size_t)(end - answer->text), 0, NULL);
	if (!json_is_object(json)) {
		json_decref(json);
		return ERR_SYNTAX;
	}
	*out = json;
	return 0;
}

static int receive_answer(struct ctl_link *link, struct mono deadline, json_t **out)
{
	int ret = 0;
	link->answer.len = 0;
	while (ret == 0) {
		ret = receive_some(link->fd, &link->answer, deadline);
	}
	return ret == 1 ? parse_answer(&link->answer, out) : ret;
}

int ctl_link_request(struct ctl_link *link, const char *request, struct span body, int timeout_ms,
                     json_t **out)
{
	struct mono deadline = mono_add_ms(clock_mono(), timeout_ms);
	int ret = send_line(link->fd, request, body, deadline);
	if (ret == 0) {
		ret = send_all(link->fd, body, deadline);
	}
	/* who refuses a body does not read it to its end, but says why before closing */
	return ret == 0 || ret == ERR_CLOSED ? receive_answer(link, deadline, out) : ret;
}

static int open_link(struct ctl_link **out, const char *path, int timeout_ms)
{
	int fd = connect_to(path, timeout_ms);
	if (fd < 0) {
		return fd;
	}
	struct ctl_link *link = calloc(1, sizeof *link);
	if (!link) {
		(void)close(fd);
		return -ENOMEM;
	}
	link->fd = fd;
	*out = link;
	return 0;
}

int ctl_link_open(struct ctl_link **out, const char *path)
{
	return open_link(out, path, LINK_OPEN_MS);
}

void ctl_link_close(struct ctl_link *link)
{
	if (link) {
		(void)close(link->fd);
		free(link->answer.text);
		free(link);
	}
}

int ctl_wait_request(const char *path, const char *request, int timeout_ms, json_t **out)
{
	struct mono deadline = mono_add_ms(clock_mono(), timeout_ms);
	struct ctl_link *link = NULL;
	int ret = open_link(&link, path, timeout_ms);
	if (ret == 0) {
		int64_t left_ms = mono_diff_ms(deadline, clock_mono());
		ret = ctl_link_request(link, request, (struct span){0}, (int)left_ms, out);
	}
	ctl_link_close(link);
	return ret;
}
