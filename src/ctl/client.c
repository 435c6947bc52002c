/* A control client's turn: send what is pending, answer the lines that have come, read more. */
#include "ctl/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum step { STEP_ON, STEP_WAIT_IN, STEP_WAIT_OUT, STEP_CLOSE };

void client_init(struct client *client, int fd, unsigned rights, struct mono now)
{
	*client = (struct client){.fd = fd, .rights = rights, .since = now};
}

void client_fini(struct client *client)
{
	if (client->fd >= 0) {
		(void)close(client->fd);
	}
	free(client->out);
	client->out = NULL;
	client->fd = -1;
}

static enum step send_some(struct client *client, struct mono now)
{
	ssize_t n = send(client->fd, client->out + client->out_pos,
	                 client->out_len - client->out_pos, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0) {
		return errno == EAGAIN ? STEP_WAIT_OUT : errno == EINTR ? STEP_ON : STEP_CLOSE;
	}
	client->since = now;
	client->out_pos += (size_t)n;
	if (client->out_pos == client->out_len) {
		free(client->out);
		client->out = NULL;
	}
	return STEP_ON;
}

static enum step receive_some(struct client *client, struct mono now)
{
	ssize_t n = recv(client->fd, client->in + client->in_len,
	                 sizeof client->in - client->in_len, MSG_DONTWAIT);
	if (n < 0) {
		return errno == EAGAIN ? STEP_WAIT_IN : errno == EINTR ? STEP_ON : STEP_CLOSE;
	}
	client->since = now;
	client->in_len += (size_t)n;
	client->is_eof = n == 0;
	return STEP_ON;
}

/* Takes the answer; without memory for its text the client goes. */
static enum step put_answer(struct client *client, json_t *answer)
{
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	json_decref(answer);
	size_t len = text ? strlen(text) : 0;
	if (!text || len >= CLIENT_OUT_MAX) {
		free(text);
		return STEP_CLOSE;
	}
	text[len] = '\n'; /* in place of the NUL */
	client->out = text;
	client->out_len = len + 1;
	client->out_pos = 0;
	return STEP_ON;
}

static enum step refuse(struct client *client, const struct client_host *host, const char *text)
{
	client->is_closing = true;
	client->in_len = 0;
	return put_answer(client, host->refuse(host->ctx, text));
}

static enum step answer_line(struct client *client, const struct client_host *host, size_t len)
{
	json_t *answer = host->answer(host->ctx, client, span_of(client->in, len));
	client->in_len -= len + 1;
	memmove(client->in, client->in + len + 1, client->in_len);
	return put_answer(client, answer);
}

static enum step take_step(struct client *client, const struct client_host *host, struct mono now)
{
	if (client->out) {
		return send_some(client, now);
	}
	if (client->is_closing) {
		return STEP_CLOSE;
	}
	const char *end = memchr(client->in, '\n', client->in_len);
	if (end) {
		return answer_line(client, host, (size_t)(end - client->in));
	}
	if (client->in_len == sizeof client->in) {
		return refuse(client, host, "request too long");
	}
	if (client->is_eof) {
		return client->in_len > 0 ? refuse(client, host, "request not ended by a line feed")
		                          : STEP_CLOSE;
	}
	return receive_some(client, now);
}

uint32_t client_turn(struct client *client, const struct client_host *host, struct mono now)
{
	for (int i = 0; i < CLIENT_TURN_MAX; i++) {
		switch (take_step(client, host, now)) {
		case STEP_ON:
			break;
		case STEP_WAIT_IN:
			return EPOLLIN;
		case STEP_WAIT_OUT:
			return EPOLLOUT;
		case STEP_CLOSE:
			return 0;
		}
	}
	/* lines may be left in our buffer, of which epoll knows nothing: being writable brings the
	 * next turn */
	return EPOLLIN | EPOLLOUT;
}

bool client_is_late(const struct client *client, struct mono now)
{
	int64_t limit_ms = client->out ? CLIENT_UNREAD_MS : CLIENT_IDLE_MS;
	limit_ms = client->rights ? limit_ms : CLIENT_STRANGER_MS;
	return mono_diff_ms(now, client->since) >= limit_ms;
}
