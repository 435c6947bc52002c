/* One role as the supervisor sees it: its process, its channel, and when to start it again. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "mired/sockets.h"
#include "mired/synced.h"
#include "mired/watched.h"
#include "priv/msg.h"
#include "priv/restart.h"
#include "priv/role.h"

/* Owned by the supervisor's only thread. */
struct child {
	enum role_kind kind;
	uid_t uid; /* of the user it becomes, for a supervisor that is neither root nor that user */
	pid_t pid; /* 0: not running */
	int channel; /* -1: closed */
	bool is_ready;
	bool was_ready;      /* its last process had said so before it died */
	bool has_ended_well; /* its last process exited with 0 after MSG_STOP */
	bool is_told_to_stop;
	bool wants_reload;   /* the engine asked for a reload; the reader clears it */
	uint64_t reload_seq; /* and names that question in the answer */
	bool has_deadline;
	struct mono deadline; /* running: then it is killed. Not running: then it is started */
	struct mono started;
	struct restart restart;
	char fatal[MSG_TEXT_MAX]; /* what its last process said before it ended, or "" */
};

/* What roles are handed; the descriptors stay the supervisor's. */
struct child_supplies {
	int conf_fd;  /* memfd */
	int state_fd; /* likewise, what the engine tells of it; -1 = nothing */
	int control;
	int cfg; /* -1 = none */
	const struct sockets *sockets;
	const struct synced *synced;
	const struct watched *files; /* each goes to its role */
	size_t n_files;
};

/* Starts the process and hands it everything but its peer and the word to start. A role that does
 * not take it is killed, which shows as its death. -errno when no process could be made. */
MUST_USE int child_start(struct child *child, const struct child_supplies *supplies,
                         struct mono now);
/* Makes a new channel between two running roles. */
void child_connect(struct child *a, struct child *b);
/* Sends a message without body or descriptor, or kills the role. */
void child_tell(struct child *child, enum msg_type type);
/* Hands a running role a file's new content (the descriptor stays the caller's), or kills it. One
 * that does not run is handed it when it starts. */
void child_hand(struct child *child, enum msg_type type, int fd);
/* Hands it another configuration while it runs, likewise. */
void child_hand_conf(struct child *child, int conf_fd);
/* The answer to its question for a reload. */
void child_answer(struct child *child, uint64_t seq, int fd);
/* Asks for a clean end; whoever is still there at the deadline is killed. Never blocks. */
void child_stop(struct child *child, struct mono deadline);
/* The channel is readable. */
void child_hear(struct child *child, struct mono now);
/* Works without CAP_KILL where the supervisor may change users. */
void child_kill(const struct child *child);
/* The process is gone. Closes the channel; says how it died in the log. */
void child_bury(struct child *child, int status);
