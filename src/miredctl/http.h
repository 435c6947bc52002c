/* One page over HTTP on 127.0.0.1, for a scraper on this host: GET and HEAD of one path. Clients
 * are bounded in number, memory and time, and each connection carries one request. The only user of
 * libmicrohttpd. One thread. */
#pragma once

#include <stdint.h>

#include "base/compiler.h"

enum {
	HTTP_CLIENTS_MAX = 32,
	HTTP_CLIENT_MEMORY = 16 << 10, /* bytes: a request's head fits or is refused */
	HTTP_CLIENT_LIFE_MS = 8000,    /* from connect to the last byte of the answer */
};

struct http_page {
	unsigned status; /* 200, or 503 with a text that tells why */
	const char *type;
	char *text; /* malloc'ed, taken; NULL = no memory */
};
/* Makes the page. accept: the header that tells what the client would like, "" = none. */
typedef void http_make_page(void *ctx, const char *accept, struct http_page *out);

struct http_env {
	const char *path;
	uint16_t port;
	int stop; /* readable when it is over; borrowed */
	http_make_page *make_page;
	void *ctx;
};

struct http;

/* Listens. -EADDRINUSE and the like. */
MUST_USE int http_open(struct http **out, const struct http_env *env);
/* Serves until `stop` is readable. */
MUST_USE int http_run(struct http *http);
void http_close(struct http *http);
