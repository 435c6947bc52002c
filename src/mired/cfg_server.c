/* A session goes accept -> read to the end -> submit -> wait for the result; its memory grows as
 * bytes arrive. What refuses a session (a bad port, too many bytes, silence, a cut) leaves all
 * lists as they are. */
#include "mired/cfg_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

enum {
	PORT_MAX = 1023, /* IPPORT_RESERVED - 1: bound by root only */
	FIRST_BYTES = 64 << 10,
	READS_A_TURN = 16,
	ACCEPTS_A_TURN = 16,
	ACCEPT_PAUSE_MS = 1000,
	REFUSAL_LOG_MS = 10000, /* strangers may not fill the log */
};

enum state {
	STATE_LISTENING,
	STATE_READING,
	STATE_SUBMITTING, /* the lister had no room */
	STATE_WAITING,    /* for the lister's result */
};

struct cfg_server {
	struct cfg_server_env env;
	enum state state;
	struct mono listen_at;      /* not before, after an accept that failed */
	struct mono refusal_log_at; /* not before */
	int session;                /* -1 unless STATE_READING */
	struct mono since;          /* of the last byte */
	char *text;
	size_t len;
	size_t size;
};

int cfg_server_open(struct cfg_server **out, const struct cfg_server_env *env)
{
	struct cfg_server *server = calloc(1, sizeof *server);
	if (!server) {
		(void)close(env->listener);
		return -ENOMEM;
	}
	server->env = *env;
	server->session = -1;
	*out = server;
	return 0;
}

static void hang_up(struct cfg_server *server)
{
	if (server->session >= 0) {
		(void)close(server->session);
		server->session = -1;
	}
}

/* Ready for the next session. */
static void reset(struct cfg_server *server)
{
	hang_up(server);
	free(server->text);
	server->text = NULL;
	server->len = 0;
	server->size = 0;
	server->state = STATE_LISTENING;
}

void cfg_server_close(struct cfg_server *server)
{
	if (server) {
		reset(server);
		(void)close(server->env.listener);
		free(server);
	}
}

int cfg_server_fd(const struct cfg_server *server)
{
	switch (server->state) {
	case STATE_LISTENING:
		return server->env.listener;
	case STATE_READING:
		return server->session;
	case STATE_SUBMITTING:
	case STATE_WAITING:
		break;
	}
	return -1;
}

static void refuse(struct cfg_server *server, const char *reason)
{
	counters_add(server->env.counters, COUNTER_cfg_refused, 1);
	log_error("spamd-cfg: session refused, all lists stay as they are: %s", reason);
	reset(server);
}

/* --- accepting -------------------------------------------------------------------------------- */

static void refuse_port(struct cfg_server *server, unsigned port, struct mono now)
{
	counters_add(server->env.counters, COUNTER_cfg_refused, 1);
	if (mono_diff_ms(now, server->refusal_log_at) >= 0) {
		server->refusal_log_at = mono_add_ms(now, REFUSAL_LOG_MS);
		log_warning("spamd-cfg: connection from port %u refused: it is above %d", port,
		            PORT_MAX);
	}
}

static void accept_one(struct cfg_server *server, struct mono now)
{
	struct sockaddr_in peer = {0};
	socklen_t len = sizeof peer;
	int fd = accept4(server->env.listener, (struct sockaddr *)&peer, &len,
	                 SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		bool is_quiet = errno == EAGAIN || errno == ECONNABORTED || errno == EINTR;
		/* out of descriptors: without the pause the caller's loop would spin */
		server->listen_at =
		        is_quiet ? server->listen_at : mono_add_ms(now, ACCEPT_PAUSE_MS);
		return;
	}
	unsigned port = ntohs(peer.sin_port);
	if (peer.sin_family != AF_INET || port > PORT_MAX) {
		(void)close(fd);
		refuse_port(server, port, now);
		return;
	}
	counters_add(server->env.counters, COUNTER_cfg_sessions, 1);
	server->session = fd;
	server->since = now;
	server->state = STATE_READING;
}

/* --- reading ---------------------------------------------------------------------------------- */

static int grow(struct cfg_server *server)
{
	size_t size = server->size ? server->size * 2 : FIRST_BYTES;
	if (server->size == CFG_SERVER_BYTES_MAX) {
		return ERR_TOO_LONG;
	}
	size = size < CFG_SERVER_BYTES_MAX ? size : CFG_SERVER_BYTES_MAX;
	char *text = realloc(server->text, size);
	if (!text) {
		return -ENOMEM;
	}
	server->text = text;
	server->size = size;
	return 0;
}

static void end_session(struct cfg_server *server)
{
	hang_up(server);
	if (server->len == 0) {
		reset(server);
	} else if (server->text[server->len - 1] != '\n') {
		refuse(server, "it was cut off inside a line");
	} else {
		server->state = STATE_SUBMITTING;
	}
}

/* False: nothing more to read now. */
static bool read_some(struct cfg_server *server, struct mono now)
{
	int ret = server->len == server->size ? grow(server) : 0;
	if (ret != 0) {
		refuse(server, err_text(ret));
		return false;
	}
	ssize_t n =
	        recv(server->session, server->text + server->len, server->size - server->len, 0);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR) {
			refuse(server, err_text(-errno));
		}
		return false;
	}
	server->since = now;
	server->len += (size_t)n;
	if (n == 0) {
		end_session(server);
	}
	return n > 0;
}

static void read_session(struct cfg_server *server, struct mono now)
{
	for (int i = 0; i < READS_A_TURN; i++) {
		if (!read_some(server, now)) {
			break;
		}
	}
	if (server->state == STATE_READING &&
	    mono_diff_ms(now, server->since) >= CFG_SERVER_SILENCE_MS) {
		refuse(server, "it fell silent");
	}
}

/* --- handing over ----------------------------------------------------------------------------- */

static void submit(struct cfg_server *server)
{
	int ret = server->env.submit(server->env.ctx, server->text, server->len);
	if (ret == 0) {
		server->text = NULL;
		server->state = STATE_WAITING;
	} else if (ret != -EAGAIN) {
		refuse(server, err_text(ret));
	}
}

/* Refused lines have been logged, one by one, by who read them. */
void cfg_server_take_result(struct cfg_server *server, const struct lister_result *result)
{
	log_info("spamd-cfg: session took %zu lists with %zu networks", result->n_lists,
	         result->n_networks);
	if (result->ret != 0) {
		counters_add(server->env.counters, COUNTER_cfg_refused, 1);
		log_error("spamd-cfg: session refused in part: %s", result->why);
	}
	reset(server);
}

void cfg_server_turn(struct cfg_server *server, struct mono now)
{
	for (int i = 0; i < ACCEPTS_A_TURN && server->state == STATE_LISTENING &&
	                mono_diff_ms(now, server->listen_at) >= 0;
	     i++) {
		accept_one(server, now);
	}
	if (server->state == STATE_READING) {
		read_session(server, now);
	}
	if (server->state == STATE_SUBMITTING) {
		submit(server);
	}
}
