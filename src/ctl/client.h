/* One connection to the control socket, from the server's side: bytes in, one answer at a time out.
 * A client that does not read its answer is not read from either. Owner: the server's thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "ctl/request.h"

enum {
	CLIENT_OUT_MAX = 4 << 20,  /* bytes of one answer */
	CLIENT_TURN_MAX = 16,      /* steps before the next client's turn */
	CLIENT_IDLE_MS = 30000,    /* without a request */
	CLIENT_UNREAD_MS = 10000,  /* an answer nobody reads */
	CLIENT_STRANGER_MS = 2000, /* a client without any right */
};

struct client {
	int fd;          /* -1 = free place */
	unsigned rights; /* 1 << enum ctl_right */
	uint32_t events; /* what epoll waits for */
	char *out;       /* answer being sent, NULL = none */
	size_t out_len;
	size_t out_pos;
	size_t in_len;
	bool is_eof;
	bool is_closing;   /* close when the answer is out */
	struct mono since; /* of the last byte in either direction */
	char in[MIRED_CTL_REQUEST_MAX];
};

/* Answers one line: a new object. */
typedef json_t *client_answer(void *ctx, const struct client *client, struct span line);
/* Refuses what is no line: a new object. */
typedef json_t *client_refuse(void *ctx, const char *text);

struct client_host {
	client_answer *answer;
	client_refuse *refuse;
	void *ctx;
};

void client_init(struct client *client, int fd, unsigned rights, struct mono now);
void client_fini(struct client *client);
/* Does what can be done without waiting. Returns the epoll events to wait for, 0 = close it. */
uint32_t client_turn(struct client *client, const struct client_host *host, struct mono now);
bool client_is_late(const struct client *client, struct mono now);
