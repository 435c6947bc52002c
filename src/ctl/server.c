/* The control socket's server: accepts, finds out who asks, looks the verb up in the caller's
 * table. One epoll set of its own, which nests into the caller's loop. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/request.h"
#include "ctl/rights.h"

enum {
	EVENTS_MAX = MIRED_CTL_CLIENTS_MAX + 1,
	LISTENER_MARK = MIRED_CTL_CLIENTS_MAX,
	ACCEPTS_A_TURN = 2 * MIRED_CTL_CLIENTS_MAX,
	ACCEPT_PAUSE_MS = 1000,
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
	struct mono now; /* of the last turn */
	uint64_t n_tickets;
	struct inbox_budget budget;
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

/* Place and count of requests, so that the answer to a client that has gone reaches nobody. */
static uint64_t new_ticket(struct ctl_server *server, const struct client *client)
{
	uint64_t place = (uint64_t)(client - server->clients);
	return ++server->n_tickets * MIRED_CTL_CLIENTS_MAX + place;
}

static json_t *call(struct ctl_server *server, struct client *client, const struct ctl_verb *verb,
                    struct ctl_request request)
{
	counters_add(server->counters, COUNTER_ctl_requests, 1);
	request.ticket = new_ticket(server, client);
	client->ticket = request.ticket;
	json_t *answer = verb->handler(server->ctx, &request);
	client->ticket = answer ? 0 : client->ticket;
	free(request.body);
	return answer;
}

/* What follows on the connection cannot be told from a body, so a refusal ends it. */
static json_t *begin_body(struct ctl_server *server, struct client *client,
                          const struct ctl_verb *verb, struct request *request)
{
	char text[128];
	size_t len = 0;
	int ret = request_take_length(request, verb->body_max, &len);
	if (ret == 0) {
		ret = inbox_expect(&client->inbox, len);
	}
	if (ret == 0) {
		client->verb = verb;
		memcpy(client->args, request->args, sizeof client->args);
		return NULL;
	}
	(void)snprintf(text, sizeof text,
	               ret == -ENOMEM ? "no memory for the body at present"
	                              : "the last word is not the body's length, at most %zu",
	               verb->body_max);
	client->is_closing = true;
	return refuse(server, text);
}

static json_t *take_line(void *ctx, struct client *client, struct span line)
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
		client->is_closing = verb->body_max > 0;
		return ctl_error("permission denied");
	}
	if (verb->body_max > 0) {
		return begin_body(server, client, verb, &request);
	}
	return call(server, client, verb, (struct ctl_request){.args = request.args});
}

static json_t *take_body(void *ctx, struct client *client, char *body, size_t len)
{
	return call(ctx, client, client->verb,
	            (struct ctl_request){.args = client->args, .body = body, .body_len = len});
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

static bool wait_for(struct ctl_server *server, struct client *client, uint32_t events)
{
	if (events != client->events && watch(server, EPOLL_CTL_MOD, client->fd, events,
	                                      (uint32_t)(client - server->clients)) != 0) {
		return false;
	}
	client->events = events;
	return true;
}

static void turn_client(struct ctl_server *server, struct client *client, uint32_t happened)
{
	const struct client_host host = {take_line, take_body, refuse, server};
	uint32_t events;
	/* who waits for an answer is not read from, so only this tells that he has gone */
	bool is_gone = client->ticket != 0 && (happened & (EPOLLHUP | EPOLLERR)) != 0;
	if (is_gone || !client_turn(client, &host, server->now, &events) ||
	    !wait_for(server, client, events)) {
		drop(client);
	}
}

void ctl_server_answer(struct ctl_server *server, uint64_t ticket, json_t *answer)
{
	struct client *client = &server->clients[ticket % MIRED_CTL_CLIENTS_MAX];
	if (client->fd < 0 || client->ticket != ticket) {
		json_decref(answer);
		return;
	}
	client_answer(client, answer, server->now);
	if (!wait_for(server, client, EPOLLOUT)) {
		drop(client);
	}
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

/* Everybody on the host may connect: he who opens connections and is silent must not keep out those
 * who have something to ask. Who has no right at all counts as one user with all others of that
 * kind, for users are cheap: each may have some thousands in a namespace of his own. Root and our
 * own user, who could stop us anyway, may have all. */
static bool has_enough(const struct ctl_server *server, uid_t uid, unsigned rights)
{
	unsigned n = 0;
	for (size_t i = 0; i < ARRAY_LEN(server->clients); i++) {
		const struct client *client = &server->clients[i];
		bool is_same = client->uid == uid || (rights == 0 && client->rights == 0);
		n += client->fd >= 0 && is_same;
	}
	return n >= MIRED_CTL_USER_CLIENTS_MAX && uid != 0 && uid != server->rights.daemon_uid;
}

static void turn_away(struct ctl_server *server, int fd)
{
	static const char answer[] =
	        "{\"error\":\"too many connections of this user or of users without rights\"}\n";
	counters_add(server->counters, COUNTER_ctl_refused, 1);
	(void)send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)close(fd);
}

static void seat(struct ctl_server *server, struct client *place, int fd)
{
	uid_t uid;
	unsigned rights;
	if (rights_of_peer(&server->rights, fd, &uid, &rights) != 0) {
		(void)close(fd);
		return;
	}
	if (has_enough(server, uid, rights)) {
		turn_away(server, fd);
		return;
	}
	client_init(place, fd, &server->budget, server->now);
	place->uid = uid;
	place->rights = rights;
	place->events = EPOLLIN;
	if (watch(server, EPOLL_CTL_ADD, fd, EPOLLIN, (uint32_t)(place - server->clients)) != 0) {
		drop(place);
	}
}

static void accept_clients(struct ctl_server *server)
{
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		struct client *place = find_place(server);
		if (!place) {
			listen_on(server, false);
			return;
		}
		int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED) {
			/* out of descriptors: without the pause the caller's loop would spin */
			server->listen_at = mono_add_ms(server->now, ACCEPT_PAUSE_MS);
			listen_on(server, false);
		}
		if (fd < 0) {
			return;
		}
		seat(server, place, fd);
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
	                              .counters = counters,
	                              .budget = {INBOX_BODIES_MAX}};
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

static void drop_late(struct ctl_server *server)
{
	for (size_t i = 0; i < ARRAY_LEN(server->clients); i++) {
		struct client *client = &server->clients[i];
		if (client->fd < 0 || !client_is_late(client, server->now)) {
			continue;
		}
		if (client_is_amid_request(client)) {
			counters_add(server->counters, COUNTER_ctl_bad_requests, 1);
		}
		drop(client);
	}
}

void ctl_server_turn(struct ctl_server *server, struct mono now)
{
	struct epoll_event events[EVENTS_MAX];
	server->now = now;
	int n_events = epoll_wait(server->epoll, events, EVENTS_MAX, 0);
	for (int i = 0; i < n_events; i++) {
		uint32_t mark = events[i].data.u32;
		/* new clients last: a place freed in this turn may have an event left */
		if (mark < LISTENER_MARK && server->clients[mark].fd >= 0) {
			turn_client(server, &server->clients[mark], events[i].events);
		}
	}
	drop_late(server);
	if (mono_diff_ms(now, server->listen_at) >= 0 && find_place(server)) {
		listen_on(server, true);
		accept_clients(server);
	}
}
