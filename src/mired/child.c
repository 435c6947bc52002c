/* Starting, feeding, hearing and burying one role. What is handed over is a row of its role_taker
 * table; the word to start comes last. A role that fails to take its part is killed and then
 * treated like any dead one, so there is one way back only. */
#include "mired/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/span.h"

enum {
	SEND_SECS = 5,       /* a role that does not read what it is handed is killed after this */
	LAST_WORDS_MAX = 16, /* messages read from a dead role */
	LINGER_MS = 2000,    /* a role that closed its channel has this long to end */
	EXIT_NO_EXEC = 127,
};

static int send_fd(const struct child *child, enum msg_type type, int fd)
{
	struct msg msg = {.type = type, .fd = fd};
	return msg_send(child->channel, &msg);
}

/* Own open file description: the role reads from the start whatever others have read. */
static int send_conf(const struct child *child, int conf_fd)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", conf_fd);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return -errno;
	}
	int ret = send_fd(child, MSG_CONF, fd);
	(void)close(fd);
	return ret;
}

static int send_sockets(const struct child *child, const struct child_supplies *supplies)
{
	const struct sockets *sockets = supplies->sockets;
	for (size_t i = 0; i < sockets->n; i++) {
		const struct engine_listener *listener = &sockets->listeners[i];
		struct msg msg = {.type = MSG_LISTENER,
		                  .worker = listener->worker,
		                  .is_v6 = listener->is_v6,
		                  .is_low_priority = listener->is_low_priority,
		                  .fd = listener->fd};
		int ret = msg_send(child->channel, &msg);
		if (ret) {
			return ret;
		}
	}
	int ret = send_fd(child, MSG_CONTROL, supplies->control);
	return ret || supplies->cfg < 0 ? ret : send_fd(child, MSG_CFG, supplies->cfg);
}

static int send_synced(const struct child *child, const struct synced *synced)
{
	if (synced->state != SYNCED_ON) {
		return 0;
	}
	int ret = send_fd(child, MSG_SYNC, synced->setup_fd);
	return ret ? ret : send_fd(child, MSG_SYNC_SOCKET, synced->socket);
}

static int send_files(const struct child *child, const struct child_supplies *supplies)
{
	for (size_t i = 0; i < supplies->n_files; i++) {
		const struct watched *file = &supplies->files[i];
		int ret = file->role == child->kind ? send_fd(child, file->type, file->fd) : 0;
		if (ret) {
			return ret;
		}
	}
	return 0;
}

static int send_supplies(const struct child *child, const struct child_supplies *supplies)
{
	const struct timeval patience = {.tv_sec = SEND_SECS};
	if (setsockopt(child->channel, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0) {
		return -errno;
	}
	int ret = send_conf(child, supplies->conf_fd);
	if (!ret && child->kind == ROLE_ENGINE && supplies->state_fd >= 0) {
		ret = send_fd(child, MSG_STATE, supplies->state_fd);
	}
	if (!ret && child->kind == ROLE_ENGINE) {
		ret = send_sockets(child, supplies);
		ret = ret ? ret : send_synced(child, supplies->synced);
	}
	return ret ? ret : send_files(child, supplies);
}

int child_start(struct child *child, const struct child_supplies *supplies, struct mono now)
{
	child->is_ready = false;
	child->has_ended_well = false;
	child->is_told_to_stop = false;
	child->wants_reload = false;
	child->has_deadline = false;
	child->started = now;
	child->fatal[0] = '\0';
	int ret = role_start(child->kind, "/proc/self/exe", &child->pid, &child->channel);
	if (ret) {
		child->pid = 0;
		child->channel = -1;
		return ret;
	}
	ret = send_supplies(child, supplies);
	if (ret) {
		log_warning("%s did not take what it was handed: %s", role_name(child->kind),
		            err_text(ret));
		child_kill(child);
	}
	return 0;
}

void child_connect(struct child *a, struct child *b)
{
	int pair[2];
	if (a->channel < 0 || b->channel < 0) {
		return; /* whoever is missing is connected when it starts */
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		log_error("no channel between %s and %s: %s", role_name(a->kind),
		          role_name(b->kind), err_text(-errno));
		return;
	}
	struct child *const ends[2] = {a, b};
	for (int i = 0; i < 2; i++) {
		if (send_fd(ends[i], MSG_PEER, pair[i]) != 0) {
			child_kill(ends[i]);
		}
		(void)close(pair[i]);
	}
}

void child_tell(struct child *child, enum msg_type type)
{
	if (child->channel >= 0 && send_fd(child, type, -1) != 0) {
		child_kill(child);
	}
}

void child_hand(struct child *child, enum msg_type type, int fd)
{
	if (child->channel >= 0 && send_fd(child, type, fd) != 0) {
		log_warning("%s did not take a file", role_name(child->kind));
		child_kill(child);
	}
}

void child_hand_conf(struct child *child, int conf_fd)
{
	if (child->channel >= 0 && send_conf(child, conf_fd) != 0) {
		log_warning("%s did not take the configuration", role_name(child->kind));
		child_kill(child);
	}
}

void child_answer(struct child *child, uint64_t seq, int fd)
{
	struct msg msg = {.type = MSG_RELOADED, .seq = seq, .fd = fd};
	if (child->channel >= 0 && msg_send(child->channel, &msg) != 0) {
		log_warning("%s did not take an answer", role_name(child->kind));
		child_kill(child);
	}
}

void child_stop(struct child *child, struct mono deadline)
{
	if (child->pid == 0) {
		child->has_deadline = false;
		return;
	}
	child->has_deadline = true;
	child->deadline = deadline;
	child->is_told_to_stop = true;
	if (child->channel >= 0) {
		(void)fcntl(child->channel, F_SETFL, O_NONBLOCK);
		child_tell(child, MSG_STOP);
	}
}

static void close_channel(struct child *child)
{
	if (child->channel >= 0) {
		(void)close(child->channel);
		child->channel = -1;
	}
}

/* Takes one message, if there is one; false when the other end is closed. */
static bool take_message(struct child *child)
{
	struct msg msg = {.fd = -1};
	int ret = msg_recv(child->channel, &msg);
	if (ret == ERR_CLOSED || ret == -EAGAIN) {
		return ret == -EAGAIN;
	}
	if (!ret && msg.type == MSG_READY) {
		child->is_ready = true;
	} else if (!ret && msg.type == MSG_RELOAD && child->kind == ROLE_ENGINE) {
		child->wants_reload = true;
		child->reload_seq = msg.seq;
	} else if (!ret && msg.type == MSG_FATAL) {
		/* a role may be in somebody else's hands; one line of log is one line */
		(void)span_escape(span_of_str(msg.text), child->fatal, sizeof child->fatal);
	} else {
		log_warning("message from %s dropped: %s", role_name(child->kind),
		            ret ? err_text(ret) : "not expected from a role");
	}
	if (!ret && msg.fd >= 0) {
		(void)close(msg.fd);
	}
	return true;
}

void child_hear(struct child *child, struct mono now)
{
	if (take_message(child)) {
		return;
	}
	close_channel(child);
	if (!child->has_deadline) {
		child->has_deadline = true;
		child->deadline = mono_add_ms(now, LINGER_MS);
	}
}

/* What it said before it died may still be unread. A process of its own may hold the other end, so
 * this must not wait. */
static void take_last_words(struct child *child)
{
	if (child->channel < 0) {
		return;
	}
	(void)fcntl(child->channel, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < LAST_WORDS_MAX && take_message(child); i++) {
	}
	close_channel(child);
}

/* Who may become any user may also signal as any. */
static void kill_as_its_user(const struct child *child)
{
	const uid_t self = geteuid();
	if (seteuid(child->uid) != 0) {
		log_error("%s cannot be killed: %s", role_name(child->kind), err_text(-errno));
		return;
	}
	(void)kill(child->pid, SIGKILL);
	if (seteuid(self) != 0) {
		log_error("the supervisor's user cannot be taken back: %s", err_text(-errno));
	}
}

void child_kill(const struct child *child)
{
	if (child->pid > 0 && kill(child->pid, SIGKILL) != 0 && errno == EPERM) {
		kill_as_its_user(child);
	}
}

static void say_how(const struct child *child, int status)
{
	const char *name = role_name(child->kind);
	if (child->is_told_to_stop && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		return;
	}
	if (child->fatal[0]) {
		log_error("%s: %s", name, child->fatal);
	} else if (WIFSIGNALED(status)) {
		log_error("%s (pid %ld) died on signal %d (%s)", name, (long)child->pid,
		          WTERMSIG(status), strsignal(WTERMSIG(status)));
	} else if (WEXITSTATUS(status) == EXIT_NO_EXEC) {
		log_error("%s could not be executed", name);
	} else {
		log_error("%s (pid %ld) ended with status %d", name, (long)child->pid,
		          WEXITSTATUS(status));
	}
}

void child_bury(struct child *child, int status)
{
	take_last_words(child);
	say_how(child, status);
	child->has_ended_well =
	        child->is_told_to_stop && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	child->pid = 0;
	child->was_ready = child->is_ready;
	child->is_ready = false;
	child->has_deadline = false;
}
