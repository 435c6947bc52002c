/* The control socket's server: accepts, finds out who asks, looks the verb up in the caller's
 * table. One epoll set of its own, which nests into the caller's loop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/rights.h"

enum {
	EVENTS_MAX = MIRED_CTL_CLIENTS_MAX + 1,
	LISTENER_MARK = MIRED_CTL_CLIENTS_MAX,
	ACCEPT_PAUSE_MS = 1000
};

struct ctl_server {
	int listener;
	int epoll;
	bool is_listening;     /* the epoll set looks at the listener */
	struct mono listen_at; /* not before, after an accept that failed */
	struct rights rights;
	const struct ctl_verb *verbs;
	void *ctx;
	struct counters *counters;
	struct client clients[MIRED_CTL_CLIENTS_MAX];
};

json_t *ctl_error(const char *text)
{
	return json_pack("{s:s}", "error", text);
}

static json_t *refuse(void *ctx, const char *text)
{
	struct ctl_server *server = ctx;
	counters_add(server->counters, COUNTER_ctl_bad_requests, 1);
	return ctl_error(text);
}

static const struct ctl_verb *find_verb(const struct ctl_server *server, const char *name)
{
	for (const struct ctl_verb *verb = server->verbs; verb->name; verb++) {
		if (strcmp(verb->name, name) == 0) {
			return verb;
		}
	}
	return NULL;
}

static json_t *answer(void *ctx, const struct client *client, struct span line)
{
	struct ctl_server *server = ctx;
	struct request request;
	int ret = request_parse(line, &request);
	if (ret != 0) {
		return refuse(server, ret == ERR_TOO_LONG ? "request too long"
		                                          : "request is not a line of words");
	}
	const struct ctl_verb *verb = find_verb(server, request.verb);
	if (!verb) {
		return refuse(server, "unknown request");
	}
	if (!(client->rights & 1U << verb->right)) {
		counters_add(server->counters, COUNTER_ctl_refused, 1);
		return ctl_error("permission denied");
	}
	counters_add(server->counters, COUNTER_ctl_requests, 1);
	return verb->handler(server->ctx, request.args);
}

static int watch(struct ctl_server *server, int operation, int fd, uint32_t events, uint32_t mark)
{
	struct epoll_event event = {.events = events, .data.u32 = mark};
	return epoll_ctl(server->epoll, operation, fd, &event) == 0 ? 0 : -errno;
}

static void listen_on(struct ctl_server *server, bool is_listening)
{
	if (server->is_listening != is_listening &&
	    watch(server, EPOLL_CTL_MOD, server->listener, is_listening ? EPOLLIN : 0,
	          LISTENER_MARK) == 0) {
		server->is_listening = is_listening;
	}
}

static void drop(struct client *client)
{
	client_fini(client); /* closing takes it out of the epoll set */
}

static void turn_client(struct ctl_server *server, struct client *client, struct mono now)
{
	const struct client_host host = {answer, refuse, server};
	uint32_t events = client_turn(client, &host, now);
	if (events == 0) {
		drop(client);
		return;
	}
	if (events != client->events && watch(server, EPOLL_CTL_MOD, client->fd, events,
	                                      (uint32_t)(client - server->clients)) != 0) {
		drop(client);
		return;
	}
	client->events = events;
}

static struct client *find_place(struct ctl_server *server)
{
	for (size_t i = 0; i < ARRAY_LEN(server->clients); i++) {
		if (server->clients[i].fd < 0) {
			return &server->clients[i];
		}
	}
	return NULL;
}

static void accept_clients(struct ctl_server *server, struct mono now)
{
	for (int i = 0; i < MIRED_CTL_CLIENTS_MAX; i++) {
		struct client *place = find_place(server);
		if (!place) {
			listen_on(server, false);
			return;
		}
		int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED) {
			/* out of descriptors: without the pause the caller's loop would spin */
			server->listen_at = mono_add_ms(now, ACCEPT_PAUSE_MS);
			listen_on(server, false);
		}
		if (fd < 0) {
			return;
		}
		client_init(place, fd, rights_of_peer(&server->rights, fd), now);
		place->events = EPOLLIN;
		if (watch(server, EPOLL_CTL_ADD, fd, EPOLLIN,
		          (uint32_t)(place - server->clients)) != 0) {
			drop(place);
		}
	}
}

int ctl_server_open(struct ctl_server **out, int listener, const struct conf *conf,
                    const struct ctl_verb *verbs, void *ctx, struct counters *counters)
{
	struct ctl_server *server = calloc(1, sizeof *server);
	int ret = -ENOMEM;
	if (!server) {
		goto fail;
	}
	*server = (struct ctl_server){.listener = listener,
	                              .is_listening = true,
	                              .verbs = verbs,
	                              .ctx = ctx,
	                              .counters = counters};
	for (size_t i = 0; i < ARRAY_LEN(server->clients); i++) {
		server->clients[i].fd = -1;
	}
	rights_init(&server->rights, conf);
	server->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (server->epoll < 0) {
		ret = -errno;
		goto fail;
	}
	ret = watch(server, EPOLL_CTL_ADD, listener, EPOLLIN, LISTENER_MARK);
	if (ret != 0) {
		(void)close(server->epoll);
		goto fail;
	}
	*out = server;
	return 0;
fail:
	(void)close(listener);
	free(server);
	return ret;
}

void ctl_server_close(struct ctl_server *server)
{
	if (!server) {
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(server->clients); i++) {
		client_fini(&server->clients[i]);
	}
	(void)close(server->epoll);
	(void)close(server->listener);
	free(server);
}

int ctl_server_fd(const struct ctl_server *server)
{
	return server->epoll;
}

static void drop_late(struct ctl_server *server, struct mono now)
{
	for (size_t i = 0; i < ARRAY_LEN(server->clients); i++) {
		struct client *client = &server->clients[i];
		if (client->fd >= 0 && client_is_late(client, now)) {
			drop(client);
		}
	}
}

void ctl_server_turn(struct ctl_server *server, struct mono now)
{
	struct epoll_event events[EVENTS_MAX];
	int n_events = epoll_wait(server->epoll, events, EVENTS_MAX, 0);
	for (int i = 0; i < n_events; i++) {
		uint32_t mark = events[i].data.u32;
		/* new clients last: a place freed in this turn may have an event left */
		if (mark < LISTENER_MARK && server->clients[mark].fd >= 0) {
			turn_client(server, &server->clients[mark], now);
		}
	}
	drop_late(server, now);
	if (mono_diff_ms(now, server->listen_at) >= 0 && find_place(server)) {
		listen_on(server, true);
		accept_clients(server, now);
	}
}
