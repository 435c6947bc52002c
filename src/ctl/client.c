/* A control client's turn: send what is pending, answer the requests that have come, read more. */
#include "ctl/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

enum step { STEP_ON, STEP_WAIT_IN, STEP_WAIT_OUT, STEP_WAIT_ANSWER, STEP_CLOSE };

void client_init(struct client *client, int fd, struct inbox_budget *budget, struct mono now)
{
	*client = (struct client){.fd = fd, .opened = now, .since = now};
	inbox_init(&client->inbox, budget);
}

void client_fini(struct client *client)
{
	if (client->fd < 0) {
		return;
	}
	(void)close(client->fd);
	free(client->out);
	inbox_fini(&client->inbox);
	client->out = NULL;
	client->ticket = 0;
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

/* An answer in lines of its own comes as a string. Behind it the connection ends, so that nobody
 * needs to know what its last line looks like. */
static char *text_of(struct client *client, const json_t *answer)
{
	if (!json_is_string(answer)) {
		return answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	}
	client->is_closing = true;
	return strdup(json_string_value(answer));
}

/* Without memory for the answer's text the client goes. */
static enum step put_answer(struct client *client, json_t *answer)
{
	char *text = text_of(client, answer);
	json_decref(answer);
	size_t len = text ? strlen(text) : 0;
	if (!text || len >= CLIENT_OUT_MAX) {
		free(text);
		client->is_closing = true;
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
	inbox_clear(&client->inbox);
	return put_answer(client, host->refuse(host->ctx, text));
}

/* The answer of a request, unless it is to come later or a body before it. */
static enum step end_request(struct client *client, json_t *answer)
{
	bool is_later = client->ticket != 0 || client->out || client->inbox.wants_body;
	return !answer && is_later ? STEP_ON : put_answer(client, answer);
}

static enum step take_line(struct client *client, const struct client_host *host, struct span line,
                           struct mono now)
{
	char copy[MIRED_CTL_REQUEST_MAX];
	memcpy(copy, line.ptr, line.len);
	inbox_drop_line(&client->inbox); /* before the handler: it may expect a body */
	client->body_since = now;
	return end_request(client, host->line(host->ctx, client, span_of(copy, line.len)));
}

static enum step take_body(struct client *client, const struct client_host *host)
{
	size_t len;
	char *body = inbox_take_body(&client->inbox, &len);
	return end_request(client, host->body(host->ctx, client, body, len));
}

static enum step receive_some(struct client *client, const struct client_host *host,
                              struct mono now)
{
	char *room;
	size_t size;
	int ret = inbox_room(&client->inbox, &room, &size);
	if (ret != 0) {
		return refuse(client, host,
		              ret == ERR_TOO_LONG ? "request too long"
		                                  : "no memory for the body at present");
	}
	ssize_t n = recv(client->fd, room, size, MSG_DONTWAIT);
	if (n < 0) {
		return errno == EAGAIN ? STEP_WAIT_IN : errno == EINTR ? STEP_ON : STEP_CLOSE;
	}
	client->since = now;
	inbox_put(&client->inbox, (size_t)n);
	client->is_eof = n == 0;
	return STEP_ON;
}

bool client_is_amid_request(const struct client *client)
{
	return client->inbox.wants_body || client->inbox.len > 0;
}

/* The other side has closed, and what it sent before is no whole request. */
static enum step end_input(struct client *client, const struct client_host *host)
{
	if (!client_is_amid_request(client)) {
		return STEP_CLOSE;
	}
	return refuse(client, host,
	              client->inbox.wants_body ? "body shorter than announced"
	                                       : "request not ended by a line feed");
}

static enum step take_step(struct client *client, const struct client_host *host, struct mono now)
{
	struct span line;
	if (client->out) {
		return send_some(client, now);
	}
	if (client->is_closing) {
		return STEP_CLOSE;
	}
	if (client->ticket) {
		return STEP_WAIT_ANSWER;
	}
	if (inbox_has_body(&client->inbox)) {
		return take_body(client, host);
	}
	if (!client->inbox.wants_body && inbox_line(&client->inbox, &line)) {
		return take_line(client, host, line, now);
	}
	return client->is_eof ? end_input(client, host) : receive_some(client, host, now);
}

bool client_turn(struct client *client, const struct client_host *host, struct mono now,
                 uint32_t *events)
{
	/* lines may be left in our buffer at the end, of which epoll knows nothing: being writable
	 * brings the next turn */
	*events = EPOLLIN | EPOLLOUT;
	for (int i = 0; i < CLIENT_TURN_MAX; i++) {
		switch (take_step(client, host, now)) {
		case STEP_ON:
			break;
		case STEP_WAIT_IN:
			*events = EPOLLIN;
			return true;
		case STEP_WAIT_OUT:
			*events = EPOLLOUT;
			return true;
		case STEP_WAIT_ANSWER:
			*events = 0;
			return true;
		case STEP_CLOSE:
			return false;
		}
	}
	return true;
}

void client_answer(struct client *client, json_t *answer, struct mono now)
{
	client->ticket = 0;
	client->since = now;
	(void)put_answer(client, answer);
}

bool client_is_late(const struct client *client, struct mono now)
{
	if (client->ticket) {
		return false; /* the delay is ours */
	}
	if (client->inbox.wants_body && mono_diff_ms(now, client->body_since) >= CLIENT_BODY_MS) {
		return true;
	}
	if (!client->rights) {
		return mono_diff_ms(now, client->opened) >= CLIENT_STRANGER_MS;
	}
	int64_t limit_ms = client->out ? CLIENT_UNREAD_MS : CLIENT_IDLE_MS;
	return mono_diff_ms(now, client->since) >= limit_ms;
}
