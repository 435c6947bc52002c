/* In this order: receive configuration and sockets, drop to the configured user, log, engine,
 * control socket, say ready, loop. One thread here; the engine has its own. Ends when the
 * supervisor says so or is gone. */
#include "mired/role_engine.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "conf/conf.h"
#include "ctl/ctl.h"
#include "engine/engine.h"
#include "mired/role_common.h"
#include "mired/status.h"
#include "priv/sandbox.h"

enum {
	LISTENERS_MAX = CONF_LISTEN_MAX * CONF_WORKERS_MAX,
	TURN_MS = 1000,
	STOP_SECS = 3, /* a stop that hangs ends by SIGALRM; the supervisor is more impatient */
};

/* Owned by the role's only thread. */
struct role {
	struct counters control_counters;
	int supervisor;
	int control; /* listening control socket until the server owns it */
	int peer;    /* channel to the firewall until the engine owns it */
	int signals;
	bool has_conf;
	struct conf conf;
	struct engine_listener *listeners;
	size_t n_listeners;
	struct engine *engine;
	struct ctl_server *server;
	struct mono started;
};

/* --- what the supervisor hands over ---------------------------------------------------------- */

static int take_conf(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	return role_take_conf(&role->conf, &role->has_conf, msg->fd);
}

static int take_listener(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	if (role->n_listeners == LISTENERS_MAX) {
		(void)close(msg->fd);
		return ERR_TOO_LONG;
	}
	role->listeners[role->n_listeners++] =
	        (struct engine_listener){.fd = msg->fd, .worker = msg->worker, .is_v6 = msg->is_v6};
	return 0;
}

static void replace_fd(int *slot, int fd)
{
	if (*slot >= 0) {
		(void)close(*slot);
	}
	*slot = fd;
}

static int take_control(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	replace_fd(&role->control, msg->fd);
	return 0;
}

static int take_peer(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	replace_fd(&role->peer, msg->fd);
	return 0;
}

static int take_start(void *ctx, const struct msg *msg)
{
	const struct role *role = ctx;
	(void)msg;
	return role->has_conf && role->n_listeners && role->control >= 0 ? 0 : ERR_SYNTAX;
}

static int take_one(void *ctx, const struct msg *msg)
{
	static const struct role_taker rows[] = {
	        {MSG_CONF, take_conf}, {MSG_LISTENER, take_listener}, {MSG_CONTROL, take_control},
	        {MSG_PEER, take_peer}, {MSG_START, take_start},
	};
	return role_take_by_row(rows, ARRAY_LEN(rows), ctx, msg);
}

static int fatal(const struct role *role, enum role_exit status, const char *text)
{
	return role_fatal(role->supervisor, status, text);
}

static bool is_store_code(int code)
{
	static const int codes[] = {ERR_CORRUPT, ERR_VERSION, ERR_NOT_FOUND,
	                            ERR_BUSY,    ERR_PANIC,   ERR_FULL};
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		if (code == codes[i]) {
			return true;
		}
	}
	return false;
}

/* --- control verbs --------------------------------------------------------------------------- */

static json_t *verb_status(void *ctx, struct ctl_request *request)
{
	(void)request;
	struct role *role = ctx;
	struct engine_figures figures;
	engine_figures_get(role->engine, &figures);
	return status_json(&figures, &role->control_counters, role->started);
}

static json_t *verb_version(void *ctx, struct ctl_request *request)
{
	(void)ctx;
	(void)request;
	json_t *answer = json_object();
	(void)json_object_set_new(answer, "version", json_string(MIRED_VERSION));
	(void)json_object_set_new(answer, "protocol", json_integer(MIRED_CTL_VERSION));
	return answer;
}

static json_t *verb_clock_ok(void *ctx, struct ctl_request *request)
{
	(void)request;
	struct role *role = ctx;
	engine_clock_ok(role->engine);
	json_t *answer = json_object();
	(void)json_object_set_new(answer, "ok", json_true());
	return answer;
}

static const struct ctl_verb verbs[] = {
        {"status", CTL_RIGHT_READ, verb_status, 0},
        {"version", CTL_RIGHT_READ, verb_version, 0},
        {"clock-ok", CTL_RIGHT_ADMIN, verb_clock_ok, 0},
        {NULL, CTL_RIGHT_ADMIN, NULL, 0},
};

/* --- running --------------------------------------------------------------------------------- */

/* SIGTERM is what the kernel sends when the supervisor dies: a stop like any other. Blocked before
 * the engine's threads exist, so that they inherit that. */
static int open_signals(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* 0, or the exit status. */
static int start(struct role *role)
{
	char why[ENGINE_WHY_MAX] = "";
	if (sandbox_drop(role->conf.user, false, why) != 0) {
		return fatal(role, ROLE_EXIT_FAILED, why);
	}
	role->signals = open_signals();
	if (role->signals < 0 || role_open_log(&role->conf) != 0) {
		return fatal(role, ROLE_EXIT_FAILED, "the log or signals cannot be opened");
	}
	size_t n_listeners = role->n_listeners;
	role->n_listeners = 0; /* the engine's from here on, whatever happens */
	int ret = engine_start(&role->engine, &role->conf, role->listeners, n_listeners, why);
	if (ret) {
		return fatal(role, is_store_code(ret) ? ROLE_EXIT_STORE : ROLE_EXIT_FAILED, why);
	}
	if (role->peer >= 0) {
		engine_set_firewall(role->engine, role->peer);
		role->peer = -1;
	}
	int control = role->control;
	role->control = -1;
	ret = ctl_server_open(&role->server, control, &role->conf, verbs, role,
	                      &role->control_counters);
	if (ret) {
		(void)snprintf(why, sizeof why, "control socket: %s", err_text(ret));
		return fatal(role, ROLE_EXIT_FAILED, why);
	}
	struct msg ready = {.type = MSG_READY, .fd = -1};
	return msg_send(role->supervisor, &ready) == 0 ? 0 : ROLE_EXIT_FAILED;
}

/* False ends the role. */
static bool hear_supervisor(struct role *role)
{
	int peer = -1;
	switch (role_hear(role->supervisor, &peer)) {
	case ROLE_WORD_PEER:
		engine_set_firewall(role->engine, peer);
		return true;
	case ROLE_WORD_NONE:
		return true;
	case ROLE_WORD_STOP:
	case ROLE_WORD_GONE:
		break;
	}
	return false;
}

static int run(struct role *role)
{
	struct pollfd polls[] = {
	        {.fd = role->supervisor, .events = POLLIN},
	        {.fd = ctl_server_fd(role->server), .events = POLLIN},
	        {.fd = role->signals, .events = POLLIN},
	};
	for (;;) {
		int n = poll(polls, ARRAY_LEN(polls), TURN_MS);
		if (n < 0 && errno != EINTR) {
			return fatal(role, ROLE_EXIT_FAILED, err_text(-errno));
		}
		if (n > 0 && polls[2].revents) {
			return ROLE_EXIT_OK;
		}
		if (n > 0 && polls[0].revents && !hear_supervisor(role)) {
			return ROLE_EXIT_OK;
		}
		ctl_server_turn(role->server, clock_mono());
		if (engine_is_failed(role->engine)) {
			return fatal(role, ROLE_EXIT_STORE,
			             "the store failed in a way only a new process can mend");
		}
	}
}

static void stop(struct role *role)
{
	(void)alarm(STOP_SECS);
	if (role->server) {
		ctl_server_close(role->server);
	}
	if (role->engine) {
		engine_stop(role->engine);
	}
	for (size_t i = 0; i < role->n_listeners; i++) {
		(void)close(role->listeners[i].fd);
	}
	free(role->listeners);
	replace_fd(&role->control, -1);
	replace_fd(&role->peer, -1);
	replace_fd(&role->signals, -1);
	if (role->has_conf) {
		log_close(); /* after it nobody may log; a log that never opened is fine */
		conf_fini(&role->conf);
	}
}

int role_engine_main(int supervisor_fd)
{
	struct role role = {.supervisor = supervisor_fd,
	                    .control = -1,
	                    .peer = -1,
	                    .signals = -1,
	                    .started = clock_mono()};
	role.listeners = calloc(LISTENERS_MAX, sizeof *role.listeners);
	if (!role.listeners) {
		return fatal(&role, ROLE_EXIT_FAILED, err_text(-ENOMEM));
	}
	int status = ROLE_EXIT_FAILED;
	int ret = role_take_all(supervisor_fd, take_one, &role);
	if (ret == ERR_CLOSED) {
		status = ROLE_EXIT_OK;
	} else if (ret) {
		char why[MSG_TEXT_MAX];
		(void)snprintf(why, sizeof why, "what the supervisor handed over is wrong: %s",
		               err_text(ret));
		status = fatal(&role, ROLE_EXIT_FAILED, why);
	} else {
		status = start(&role);
		status = status ? status : run(&role);
	}
	stop(&role);
	return status;
}
