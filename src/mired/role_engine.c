/* In this order: receive configuration and sockets, drop to the configured user, log, engine,
 * control socket, spamd-cfg port, say ready, loop. One thread here; the engine has its own. Ends
 * when the supervisor says so or is gone. */
#include "mired/role_engine.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "conf/conf.h"
#include "ctl/ctl.h"
#include "engine/engine.h"
#include "mired/cfg_server.h"
#include "mired/role_common.h"
#include "mired/space.h"
#include "mired/verbs.h"
#include "priv/sandbox.h"

enum {
	LISTENERS_MAX = 2 * CONF_LISTEN_MAX * CONF_WORKERS_MAX, /* and the low-priority port */
	TURN_MS = 1000,
	RESULTS_A_TURN = 4096,
	STOP_SECS = 3, /* a stop that hangs ends by SIGALRM; the supervisor is more impatient */
};

/* Owned by the role's only thread. */
struct role {
	struct counters control_counters;
	int supervisor;
	int control; /* listening control socket until the verbs own it */
	int cfg;     /* listening spamd-cfg socket until its server owns it; -1: not wanted */
	int peer;    /* channel to the firewall until the engine owns it */
	int signals;
	bool has_conf;
	struct conf conf;
	struct engine_listener *listeners;
	size_t n_listeners;
	struct engine *engine;
	struct verbs *verbs;
	json_t *state;                 /* until the verbs have it */
	struct cfg_server *cfg_server; /* NULL: no port for it is configured */
	char *domains;                 /* the allowed domains until the engine has them */
	size_t domains_len;
	bool has_domains;
	bool has_sync;
	struct sync_setup sync; /* with has_sync */
	int sync_socket;        /* until the engine owns it; -1: nobody to be in step with */
	struct mono started;
	struct space space;
};

/* Whose engine_list it was; the verbs count theirs from VERBS_COOKIE_FIRST. */
enum { COOKIE_NOBODY = 0, COOKIE_CFG = 1 };
static_assert((int)COOKIE_CFG < (int)VERBS_COOKIE_FIRST, "cookies tell whose they are");

/* --- what the supervisor hands over ---------------------------------------------------------- */

static int take_conf(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	return role_take_conf(&role->conf, &role->has_conf, msg->fd);
}

/* A new reference; closes fd. */
static int take_json(json_t **out, int fd)
{
	char *text = NULL;
	size_t len = 0;
	int ret = role_take_file(fd, &text, &len);
	if (ret) {
		return ret;
	}
	*out = json_loadb(text ? text : "", len, 0, NULL);
	free(text);
	return *out ? 0 : ERR_SYNTAX;
}

/* What the status says of the configuration; while the role runs the verbs have it. */
static int take_state(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	json_t *state = NULL;
	int ret = take_json(&state, msg->fd);
	if (ret) {
		return ret;
	}
	if (role->verbs) {
		verbs_set_state(role->verbs, state);
	} else {
		json_decref(role->state);
		role->state = state;
	}
	return 0;
}

static int take_listener(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	if (role->n_listeners == LISTENERS_MAX) {
		(void)close(msg->fd);
		return ERR_TOO_LONG;
	}
	role->listeners[role->n_listeners++] =
	        (struct engine_listener){.fd = msg->fd,
	                                 .worker = msg->worker,
	                                 .is_v6 = msg->is_v6,
	                                 .is_low_priority = msg->is_low_priority};
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

static int take_cfg(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	replace_fd(&role->cfg, msg->fd);
	return 0;
}

static void forget_domains(struct role *role)
{
	free(role->domains);
	role->domains = NULL;
	role->has_domains = false;
}

/* A later one replaces an earlier one that the engine has not got yet. */
static int take_domains(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	char *text = NULL;
	size_t len = 0;
	int ret = role_take_file(msg->fd, &text, &len);
	if (ret) {
		return ret;
	}
	forget_domains(role);
	role->domains = text;
	role->domains_len = len;
	role->has_domains = true;
	return 0;
}

static int take_sync(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	char *text = NULL;
	size_t len = 0;
	int ret = role_take_file(msg->fd, &text, &len);
	ret = ret ? ret : sync_setup_parse(span_of(text, len), &role->sync);
	role->has_sync = ret == 0;
	if (text) {
		explicit_bzero(text, len); /* the key is in it */
	}
	free(text);
	return ret;
}

static int take_sync_socket(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	replace_fd(&role->sync_socket, msg->fd);
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
	bool is_half_synced = role->has_sync != (role->sync_socket >= 0);
	bool has_all = role->has_conf && role->n_listeners && role->control >= 0;
	return has_all && !is_half_synced ? 0 : ERR_SYNTAX;
}

static int take_one(void *ctx, const struct msg *msg)
{
	static const struct role_taker rows[] = {
	        {MSG_CONF, take_conf},       {MSG_LISTENER, take_listener},
	        {MSG_CONTROL, take_control}, {MSG_PEER, take_peer},
	        {MSG_CFG, take_cfg},         {MSG_DOMAINS, take_domains},
	        {MSG_SYNC, take_sync},       {MSG_SYNC_SOCKET, take_sync_socket},
	        {MSG_STATE, take_state},     {MSG_START, take_start},
	};
	return role_take_by_row(rows, ARRAY_LEN(rows), ctx, msg);
}

static int fatal(const struct role *role, enum role_exit status, const char *text)
{
	return role_fatal(role->supervisor, status, text);
}

/* What trying again does not mend. ERR_BUSY is none of them: miredb import that was begun while no
 * daemon ran comes to its end. */
static bool is_store_code(int code)
{
	static const int codes[] = {ERR_CORRUPT, ERR_VERSION, ERR_NOT_FOUND, ERR_PANIC, ERR_FULL};
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		if (code == codes[i]) {
			return true;
		}
	}
	return false;
}

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

/* Whoever is not done yet gets another turn. */
static void hand_domains_over(struct role *role)
{
	if (!role->has_domains) {
		return;
	}
	int ret = engine_list(role->engine, LISTER_DOMAINS, role->domains, role->domains_len,
	                      COOKIE_NOBODY);
	if (ret == -EAGAIN) {
		return;
	}
	if (ret) {
		log_error("allowed domains: what was in force stays so: %s", err_text(ret));
		free(role->domains);
	}
	role->domains = NULL;
	role->has_domains = false;
}

/* 0, or the exit status. */
static int start_engine(struct role *role)
{
	char why[ENGINE_WHY_MAX] = "";
	struct engine_given given = {
	        .listeners = role->listeners,
	        .n_listeners = role->n_listeners,
	        .domains = span_of(role->domains, role->domains_len),
	        .sync = role->has_sync ? &role->sync : NULL,
	        .sync_socket = role->sync_socket,
	};
	role->n_listeners = 0; /* the engine's from here on, whatever happens */
	role->sync_socket = -1;
	int ret = engine_start(&role->engine, &role->conf, &given, why);
	forget_domains(role);
	if (ret) {
		return fatal(role, is_store_code(ret) ? ROLE_EXIT_STORE : ROLE_EXIT_FAILED, why);
	}
	if (role->peer >= 0) {
		engine_set_firewall(role->engine, role->peer);
		role->peer = -1;
	}
	return 0;
}

static int submit_cfg(void *ctx, char *text, size_t len)
{
	return engine_list(ctx, LISTER_LINES, text, len, COOKIE_CFG);
}

static int open_cfg(struct role *role)
{
	struct cfg_server_env env = {.submit = submit_cfg,
	                             .ctx = role->engine,
	                             .counters = &role->control_counters,
	                             .listener = role->cfg};
	if (role->cfg < 0) {
		return 0;
	}
	role->cfg = -1;
	return cfg_server_open(&role->cfg_server, &env);
}

/* 0, or the exit status. */
static int open_control(struct role *role)
{
	char why[ENGINE_WHY_MAX] = "";
	struct verbs_env env = {.engine = role->engine,
	                        .conf = &role->conf,
	                        .counters = &role->control_counters,
	                        .started = role->started,
	                        .supervisor = role->supervisor,
	                        .listener = role->control};
	role->control = -1;
	int ret = verbs_open(&role->verbs, &env);
	if (ret == 0) {
		verbs_set_state(role->verbs, role->state);
		role->state = NULL;
	}
	ret = ret ? ret : open_cfg(role);
	if (ret) {
		(void)snprintf(why, sizeof why, "control socket: %s", err_text(ret));
		return fatal(role, ROLE_EXIT_FAILED, why);
	}
	return 0;
}

/* 0, or the exit status. */
static int start(struct role *role)
{
	char why[SANDBOX_WHY_MAX] = "";
	if (sandbox_drop(role->conf.user, false, why) != 0) {
		return fatal(role, ROLE_EXIT_FAILED, why);
	}
	role->signals = open_signals();
	if (role->signals < 0 || role_open_log(&role->conf) != 0) {
		return fatal(role, ROLE_EXIT_FAILED, "the log or signals cannot be opened");
	}
	int status = start_engine(role);
	status = status ? status : open_control(role);
	struct msg ready = {.type = MSG_READY, .fd = -1};
	if (!status && msg_send(role->supervisor, &ready) != 0) {
		status = ROLE_EXIT_FAILED;
	}
	return status;
}

static int replace_peer(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	engine_set_firewall(role->engine, msg->fd);
	return 0;
}

/* role->conf is what this process started with: much in it is kept by parts that no reload
 * touches. */
static int reload(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	struct conf conf;
	int ret = role_take_new_conf(&conf, msg->fd);
	ret = ret ? ret : engine_reload(role->engine, &conf);
	if (ret == 0) {
		verbs_set_conf(role->verbs, engine_conf(role->engine));
		role_set_log(engine_conf(role->engine));
	}
	return ret;
}

static int take_reload_answer(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	json_t *answer = NULL;
	int ret = take_json(&answer, msg->fd);
	if (ret) {
		answer = ctl_error(err_text(ret));
	}
	verbs_take_reload(role->verbs, msg->seq, answer);
	return ret;
}

/* False ends the role. */
static bool hear_supervisor(struct role *role)
{
	static const struct role_taker rows[] = {
	        {MSG_PEER, replace_peer}, {MSG_DOMAINS, take_domains},        {MSG_CONF, reload},
	        {MSG_STATE, take_state},  {MSG_RELOADED, take_reload_answer},
	};
	switch (role_hear_by_row(role->supervisor, rows, ARRAY_LEN(rows), role)) {
	case ROLE_WORD_NONE:
		return true;
	case ROLE_WORD_STOP:
	case ROLE_WORD_GONE:
		break;
	}
	return false;
}

/* True: more are left. */
static bool take_results(struct role *role)
{
	struct engine_result result;
	for (int i = 0; i < RESULTS_A_TURN; i++) {
		if (!engine_next_result(role->engine, &result)) {
			return false;
		}
		if (result.is_list && result.cookie == COOKIE_CFG) {
			cfg_server_take_result(role->cfg_server, &result.list);
		} else {
			verbs_take_result(role->verbs, &result);
		}
	}
	return true;
}

/* True: there is more to do at once. */
static bool serve(struct role *role)
{
	struct mono now = clock_mono();
	bool has_results = take_results(role);
	bool has_changes = verbs_turn(role->verbs, now);
	if (role->cfg_server) {
		cfg_server_turn(role->cfg_server, now);
	}
	hand_domains_over(role);
	space_turn(&role->space, role->engine, now);
	return has_results || has_changes;
}

static int run(struct role *role)
{
	enum { SUPERVISOR, SIGNALS, VERBS, RESULTS, CFG, N_POLLS };
	struct pollfd polls[N_POLLS] = {
	        [SUPERVISOR] = {.fd = role->supervisor, .events = POLLIN},
	        [SIGNALS] = {.fd = role->signals, .events = POLLIN},
	        [VERBS] = {.fd = verbs_fd(role->verbs), .events = POLLIN},
	        [RESULTS] = {.fd = engine_results_fd(role->engine), .events = POLLIN},
	        [CFG] = {.fd = -1, .events = POLLIN},
	};
	bool has_more = false;
	for (;;) {
		polls[CFG].fd = role->cfg_server ? cfg_server_fd(role->cfg_server) : -1;
		int n = poll(polls, N_POLLS, has_more ? 0 : TURN_MS);
		if (n < 0 && errno != EINTR) {
			return fatal(role, ROLE_EXIT_FAILED, err_text(-errno));
		}
		if (n > 0 && polls[SIGNALS].revents) {
			return ROLE_EXIT_OK;
		}
		if (n > 0 && polls[SUPERVISOR].revents && !hear_supervisor(role)) {
			return ROLE_EXIT_OK;
		}
		has_more = serve(role);
		if (engine_is_failed(role->engine)) {
			return fatal(role, ROLE_EXIT_STORE,
			             "the store failed in a way only a new process can mend");
		}
	}
}

static void stop(struct role *role)
{
	(void)alarm(STOP_SECS);
	verbs_close(role->verbs);
	cfg_server_close(role->cfg_server);
	if (role->engine) {
		engine_stop(role->engine);
	}
	for (size_t i = 0; i < role->n_listeners; i++) {
		(void)close(role->listeners[i].fd);
	}
	free(role->listeners);
	free(role->domains);
	json_decref(role->state);
	replace_fd(&role->control, -1);
	replace_fd(&role->cfg, -1);
	replace_fd(&role->peer, -1);
	replace_fd(&role->sync_socket, -1);
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
	                    .cfg = -1,
	                    .peer = -1,
	                    .sync_socket = -1,
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
