/* One connection to the control socket, from the server's side: bytes in, one answer at a time out.
 * A client that has not read its answer, or waits for one, is not read from. Owner: the server's
 * thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "ctl/ctl.h"
#include "ctl/inbox.h"

enum {
	CLIENT_OUT_MAX = 4 << 20,  /* bytes of one answer */
	CLIENT_TURN_MAX = 16,      /* steps before the next client's turn */
	CLIENT_IDLE_MS = 30000,    /* without a request, or without a byte of a body */
	CLIENT_BODY_MS = 300000,   /* a whole body, however it trickles */
	CLIENT_UNREAD_MS = 10000,  /* an answer nobody reads */
	CLIENT_STRANGER_MS = 2000, /* a client without any right, whatever he says */
};

struct client {
	int fd;          /* -1 = free place */
	uid_t uid;       /* of the process at the other end */
	unsigned rights; /* 1 << enum ctl_right */
	uint32_t events; /* what epoll waits for */
	char *out;       /* answer being sent, NULL = none */
	size_t out_len;
	size_t out_pos;
	bool is_eof;
	bool is_closing;             /* close when the answer is out */
	uint64_t ticket;             /* of the answer that is owed, 0 = none */
	const struct ctl_verb *verb; /* whose body is being read */
	struct mono opened;
	struct mono since; /* of the last byte in either direction */
	struct mono body_since;
	struct inbox inbox;
	char args[MIRED_CTL_REQUEST_MAX]; /* of that verb */
};

/* What a client has sent is complete: returns the answer, a new object; or NULL, after inbox_expect
 * or with a ticket for the answer. */
typedef json_t *client_line(void *ctx, struct client *client, struct span line);
/* body: with a NUL behind it, taken. */
typedef json_t *client_body(void *ctx, struct client *client, char *body, size_t len);
/* Refuses what is no request: a new object. */
typedef json_t *client_refuse(void *ctx, const char *text);

struct client_host {
	client_line *line;
	client_body *body;
	client_refuse *refuse;
	void *ctx;
};

void client_init(struct client *client, int fd, struct inbox_budget *budget, struct mono now);
void client_fini(struct client *client);
/* Does what can be done without waiting. False: close it; else *events is what to wait for (0: only
 * for the other side's leaving). */
bool client_turn(struct client *client, const struct client_host *host, struct mono now,
                 uint32_t *events);
/* The answer that was owed; takes it. */
void client_answer(struct client *client, json_t *answer, struct mono now);
bool client_is_late(const struct client *client, struct mono now);
/* Something was begun that has not come to its end. */
bool client_is_amid_request(const struct client *client);
