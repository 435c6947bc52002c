/* The control socket's server and client (protocol: include/mired/ctl.h). The server has no thread
 * of its own: its descriptor (an epoll set) becomes readable when a turn has something to do. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/counters.h"
#include "base/span.h"
#include "conf/conf.h"
#include "mired/ctl.h"

enum ctl_right { CTL_RIGHT_READ, CTL_RIGHT_EVENT, CTL_RIGHT_ADMIN };

/* One request. What the handler wants to keep of the body it takes by setting body to NULL. */
struct ctl_request {
	const char *args;
	char *body; /* NUL behind it; NULL when the verb takes none */
	size_t body_len;
	uint64_t ticket; /* names this request in ctl_server_answer; never 0 */
};

/* Answers one request: returns a new JSON object (the server takes it); or a JSON string, whose
 * text is sent as it stands, with a line feed behind it, and ends the connection; or NULL: the
 * answer comes later by ctl_server_answer, and the client waits for it. */
typedef json_t *ctl_handler(void *ctx, struct ctl_request *request);

struct ctl_verb {
	const char *name;
	enum ctl_right right;
	ctl_handler *handler;
	size_t body_max; /* > 0: the request's last word is a length, and so many bytes follow it */
};

struct ctl_server;

/* listener: listening Unix socket, owned by the server afterwards. verbs ends with a NULL name; it,
 * ctx and counters are borrowed. Group names are resolved here (missing groups grant nothing). */
MUST_USE int ctl_server_open(struct ctl_server **out, int listener, const struct conf *conf,
                             const struct ctl_verb *verbs, void *ctx, struct counters *counters);
void ctl_server_close(struct ctl_server *server);
/* Poll this for POLLIN, at most a second at a time (idle clients are timed out in turns). */
int ctl_server_fd(const struct ctl_server *server);
void ctl_server_turn(struct ctl_server *server, struct mono now);
/* The answer that a handler owed; dropped when the client has gone. Takes the answer. */
void ctl_server_answer(struct ctl_server *server, uint64_t ticket, json_t *answer);

/* An {"error": text} object. */
json_t *ctl_error(const char *text);

/* Client: one request over a new connection, waiting at most timeout_ms. *out is a new reference:
 * an object, or a string if the answer is text that begins with '#' (see include/mired/ctl.h).
 * ERR_CLOSED, -ECONNREFUSED, -ENOENT (no socket), ERR_SYNTAX (not JSON), -ETIMEDOUT. */
MUST_USE int ctl_wait_request(const char *path, const char *request, int timeout_ms, json_t **out);

/* A connection kept for many requests. */
struct ctl_link;
MUST_USE int ctl_link_open(struct ctl_link **out, const char *path);
void ctl_link_close(struct ctl_link *link);
/* Sends a request and waits for its answer; body (NULL: none) follows the line, whose last word is
 * added here. Codes as ctl_wait_request; after one the link is of no more use. */
MUST_USE int ctl_link_request(struct ctl_link *link, const char *request, struct span body,
                              int timeout_ms, json_t **out);
