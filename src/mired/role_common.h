/* What all roles do alike: take what they are handed, say why they cannot run, hear the supervisor,
 * open the log. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "conf/conf.h"
#include "priv/msg.h"
#include "priv/role.h"

/* Loads the configuration from fd, which it closes. A second one is refused. */
MUST_USE int role_take_conf(struct conf *conf, bool *has_conf, int fd);

/* The content of a file the supervisor hands over (MSG_NOSPAMD, MSG_DOMAINS): newly allocated, at
 * most ROLE_FILE_BYTES_MAX bytes, not NUL-terminated; *text is NULL when it is empty. Closes fd.
 * -errno, ERR_TOO_LONG. */
enum { ROLE_FILE_BYTES_MAX = 64 << 20 };
MUST_USE int role_take_file(int fd, char **text, size_t *len);

/* Closes the descriptor of a message nobody wants, if it has one. */
void role_drop(const struct msg *msg);

/* Takes one message before MSG_START; owns its descriptor. */
typedef int role_take(void *ctx, const struct msg *msg);

/* What a role takes, a row a type. */
struct role_taker {
	enum msg_type type;
	role_take *take;
};

/* Hands the message to the row of its type; one without a row is dropped, and ERR_SYNTAX. */
MUST_USE int role_take_by_row(const struct role_taker *rows, size_t n, void *ctx,
                              const struct msg *msg);

/* Hands every message to `take`, up to MSG_START and also behind an error: were the channel closed
 * with messages unread, the supervisor would see that before it reads our reason. The first error;
 * ERR_CLOSED: the supervisor is gone or wants no start. */
MUST_USE int role_take_all(int supervisor, role_take *take, void *ctx);

/* Tells the supervisor, or else the log, why this role ends. Returns status. */
int role_fatal(int supervisor, enum role_exit status, const char *text);

enum role_word {
	ROLE_WORD_NONE, /* nothing, or it was taken or dropped */
	ROLE_WORD_STOP,
	ROLE_WORD_GONE, /* the supervisor is dead */
};

/* One message while running: one that has a row is handed to it (its result is logged), STOP and
 * GONE are returned, everything else is dropped. */
enum role_word role_hear_by_row(int supervisor, const struct role_taker *rows, size_t n, void *ctx);

/* Another one while the role runs: into *conf, which is empty after an error. Closes fd. */
MUST_USE int role_take_new_conf(struct conf *conf, int fd);

/* After a reload: level and rate of the open log. */
void role_set_log(const struct conf *conf);
/* The log as the configuration wants it; also the supervisor's. */
MUST_USE int role_open_log(const struct conf *conf);
