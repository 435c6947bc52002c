/* libmicrohttpd bounds the silence of a client but not how long it may dribble: here a connection
 * that is too old is shut down, and the library then finds it closed. */
#include "miredctl/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { BACKLOG = 64, TURN_MS = 1000, SILENCE_SECS = 5 };

#define PLAIN "text/plain; charset=utf-8"

struct client {
	int fd; /* -1 = free place */
	struct mono since;
};

struct http {
	struct http_env env;
	struct MHD_Daemon *daemon;
	int epoll; /* the daemon's */
	struct client clients[HTTP_CLIENTS_MAX];
};

/* --- answering -------------------------------------------------------------------------------- */

/* Takes the page's text. */
static enum MHD_Result answer(struct MHD_Connection *connection, const struct http_page *page)
{
	if (!page->text) {
		return MHD_NO; /* closes the connection */
	}
	struct MHD_Response *response = MHD_create_response_from_buffer(
	        strlen(page->text), page->text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(page->text);
		return MHD_NO;
	}
	enum MHD_Result ret = MHD_YES;
	ret &= MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, page->type);
	ret &= MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (page->status == MHD_HTTP_METHOD_NOT_ALLOWED) {
		ret &= MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	}
	ret &= MHD_queue_response(connection, page->status, response);
	MHD_destroy_response(response);
	return ret;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *text)
{
	const struct http_page page = {.status = status, .type = PLAIN, .text = strdup(text)};
	return answer(connection, &page);
}

static bool is_read(const char *method)
{
	return strcmp(method, MHD_HTTP_METHOD_GET) == 0 ||
	       strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
}

/* Called when the head has come. Answering at once keeps the library from reading a body. */
// NOLINTNEXTLINE(readability-function-size): the library says how many parameters
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_len, void **of_request)
{
	const struct http *http = ctx;
	struct http_page page = {.status = MHD_HTTP_OK, .type = PLAIN};
	(void)version;
	(void)body;
	(void)body_len;
	(void)of_request;
	if (strcmp(url, http->env.path) != 0) {
		return refuse(connection, MHD_HTTP_NOT_FOUND, "not found\n");
	}
	if (!is_read(method)) {
		return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	}
	const char *accept =
	        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	http->env.make_page(http->env.ctx, accept ? accept : "", &page);
	return answer(connection, &page);
}

/* --- clients ---------------------------------------------------------------------------------- */

static struct client *find_client(struct http *http, int fd)
{
	for (size_t i = 0; i < ARRAY_LEN(http->clients); i++) {
		if (http->clients[i].fd == fd) {
			return &http->clients[i];
		}
	}
	return NULL;
}

static void on_connection(void *ctx, struct MHD_Connection *connection, void **of_client,
                          enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info =
	        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	(void)of_client;
	if (!info) {
		return;
	}
	bool is_new = code == MHD_CONNECTION_NOTIFY_STARTED;
	struct client *client = find_client(ctx, is_new ? -1 : info->connect_fd);
	if (client) {
		*client = (struct client){.fd = is_new ? info->connect_fd : -1,
		                          .since = clock_mono()};
	}
}

static void end_old(struct http *http)
{
	struct mono now = clock_mono();
	for (size_t i = 0; i < ARRAY_LEN(http->clients); i++) {
		const struct client *client = &http->clients[i];
		if (client->fd >= 0 && mono_diff_ms(now, client->since) >= HTTP_CLIENT_LIFE_MS) {
			(void)shutdown(client->fd, SHUT_RDWR);
		}
	}
}

/* --- the server ------------------------------------------------------------------------------- */

static int listen_on(uint16_t port)
{
	const struct sockaddr_in sin = {.sin_family = AF_INET,
	                                .sin_port = htons(port),
	                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		return -errno;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    bind(fd, (const struct sockaddr *)&sin, sizeof sin) != 0 || listen(fd, BACKLOG) != 0) {
		int ret = -errno;
		(void)close(fd);
		return ret;
	}
	return fd;
}

int http_open(struct http **out, const struct http_env *env)
{
	int listener = listen_on(env->port);
	if (listener < 0) {
		return listener;
	}
	struct http *http = calloc(1, sizeof *http);
	if (!http) {
		(void)close(listener);
		return -ENOMEM;
	}
	http->env = *env;
	for (size_t i = 0; i < ARRAY_LEN(http->clients); i++) {
		http->clients[i].fd = -1;
	}
	http->daemon = MHD_start_daemon(
	        MHD_USE_EPOLL, 0, NULL, NULL, on_request, http, MHD_OPTION_LISTEN_SOCKET, listener,
	        MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CLIENTS_MAX,
	        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_SECS,
	        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CLIENT_MEMORY,
	        MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_END);
	if (!http->daemon) {
		(void)close(listener);
		free(http);
		return -ENOMEM;
	}
	http->epoll = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	*out = http;
	return 0;
}

static int turn_ms(struct http *http)
{
	MHD_UNSIGNED_LONG_LONG ms = 0;
	bool has_timeout = MHD_get_timeout(http->daemon, &ms) == MHD_YES;
	return has_timeout && ms < TURN_MS ? (int)ms : TURN_MS;
}

int http_run(struct http *http)
{
	struct pollfd polls[] = {
	        {.fd = http->env.stop, .events = POLLIN},
	        {.fd = http->epoll, .events = POLLIN},
	};
	for (;;) {
		if (poll(polls, ARRAY_LEN(polls), turn_ms(http)) < 0 && errno != EINTR) {
			return -errno;
		}
		if (polls[0].revents) {
			return 0;
		}
		end_old(http);
		if (MHD_run(http->daemon) != MHD_YES) {
			return -EIO;
		}
	}
}

void http_close(struct http *http)
{
	if (http) {
		MHD_stop_daemon(http->daemon);
		free(http);
	}
}
