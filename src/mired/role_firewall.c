/* In this order: receive configuration and files, open netlink while still root, drop to the
 * configured user with CAP_NET_ADMIN, log, loop. One thread (and the log's writer).
 *
 * What stands in the kernel is built in three steps, each only on the one before it:
 *   table     table, sets and networks; from here the engine is asked for a complete copy
 *   elements  the copy is in the learned sets (mired/learned.h)
 *   chains    the rules; before them everybody reaches the MTA, which is the safe side
 * Anything that fails takes the role back to the step that mends it: a table that is gone to the
 * first, a change the kernel refused to the second (a complete copy is the one remedy for all). A
 * failed step is tried again with back-off; while a whole copy waits for that, the engine's channel
 * is not read, so that changes stay behind the copy they follow. */
#include "mired/role_firewall.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "conf/conf.h"
#include "fw/fw.h"
#include "mired/learned.h"
#include "mired/networks.h"
#include "mired/processes.h"
#include "mired/role_common.h"
#include "priv/sandbox.h"

enum {
	RECEIVE_MAX = 256,  /* messages of the engine in one turn */
	RETRY_MIN_MS = 100, /* doubling up to */
	RETRY_MAX_MS = 10000,
	ASK_AGAIN_MS = 10000, /* a copy that was asked for and does not begin */
	TELL_AGAIN_MS = 5000,
};

/* Owned by the role's only thread. */
struct role {
	int supervisor;
	int peer; /* channel to the engine, -1 = none */
	struct conf conf;
	bool has_conf;
	struct fw *fw;
	struct networks networks;
	char *nospamd_text; /* handed over before the log is open; NULL: empty */
	size_t nospamd_len;
	bool has_nospamd;

	bool has_table, has_chains; /* steps done; the one between them is in learned */
	struct learned learned;
	bool is_ready; /* said to the supervisor */
	struct mono ask_again_at;
	struct mono watch_at;
	struct mono tell_at;    /* again, without a reason, for the figures of the process */
	struct process process; /* of then */
	struct mono retry_at;
	uint32_t retry_ms;        /* 0 = the last step went well */
	bool can_watch;           /* the last look worked */
	bool has_bad_peer;        /* its first bad message was logged */
	char trouble[FW_WHY_MAX]; /* logged last; empty = none */
};

/* --- starting: what needs root ---------------------------------------------------------------- */

static int fatal(const struct role *role, const char *text)
{
	return role_fatal(role->supervisor, ROLE_EXIT_FAILED, text);
}

static void drop_peer(struct role *role)
{
	if (role->peer >= 0) {
		(void)close(role->peer);
		role->peer = -1;
	}
	learned_drop_coming(&role->learned);
	networks_drop_coming(&role->networks);
}

static void take_peer(struct role *role, int fd)
{
	drop_peer(role);
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		log_error("firewall: channel to the engine unusable: %s", err_text(-errno));
		(void)close(fd);
		return;
	}
	role->peer = fd;
	role->learned.must_ask = true;
	role->has_bad_peer = false;
}

static int take_conf(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	return role_take_conf(&role->conf, &role->has_conf, msg->fd);
}

static int take_peer_message(void *ctx, const struct msg *msg)
{
	take_peer(ctx, msg->fd);
	return 0;
}

static int take_first_nospamd(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	free(role->nospamd_text);
	int ret = role_take_file(msg->fd, &role->nospamd_text, &role->nospamd_len);
	role->has_nospamd = ret == 0;
	return ret;
}

static int take_start(void *ctx, const struct msg *msg)
{
	const struct role *role = ctx;
	(void)msg;
	return role->has_conf && role->has_nospamd ? 0 : ERR_SYNTAX;
}

static int take_one(void *ctx, const struct msg *msg)
{
	static const struct role_taker rows[] = {
	        {MSG_CONF, take_conf},
	        {MSG_PEER, take_peer_message},
	        {MSG_NOSPAMD, take_first_nospamd},
	        {MSG_START, take_start},
	};
	return role_take_by_row(rows, ARRAY_LEN(rows), ctx, msg);
}

static bool parse_nospamd(struct role *role)
{
	struct span text = span_of(role->nospamd_text, role->nospamd_len);
	bool is_done = networks_take_nospamd(&role->networks, role->conf.nospamd_file, text);
	free(role->nospamd_text);
	role->nospamd_text = NULL;
	return is_done;
}

/* The log's thread starts after the drop, because capabilities belong to threads. */
static int start(struct role *role)
{
	char why[FW_WHY_MAX] = "";
	char sandbox_why[SANDBOX_WHY_MAX] = "";
	/* a service manager may send SIGTERM to everybody; the table must go first, in order: the
	 * supervisor says when, and when it is gone the channel does */
	(void)signal(SIGTERM, SIG_IGN);
	if (fw_open(&role->fw, &role->conf, why) != 0) {
		return fatal(role, why);
	}
	if (sandbox_drop(role->conf.firewall_user, true, sandbox_why) != 0) {
		return fatal(role, sandbox_why);
	}
	if (role_open_log(&role->conf) != 0) {
		return fatal(role, "the log cannot be opened");
	}
	return parse_nospamd(role) ? 0 : fatal(role, err_text(-ENOMEM));
}

/* --- trouble and back-off --------------------------------------------------------------------- */

/* Logged once for each new reason. */
static void complain(struct role *role, const char *why)
{
	if (strcmp(role->trouble, why) != 0) {
		(void)snprintf(role->trouble, sizeof role->trouble, "%s", why);
		log_error("firewall: %s; trying again", why);
	}
}

static void failed(struct role *role, struct mono now, const char *why)
{
	complain(role, why);
	role->retry_ms = role->retry_ms ? role->retry_ms * 2 : RETRY_MIN_MS;
	if (role->retry_ms > RETRY_MAX_MS) {
		role->retry_ms = RETRY_MAX_MS;
	}
	role->retry_at = mono_add_ms(now, role->retry_ms);
}

static void recovered(struct role *role)
{
	if (role->trouble[0]) {
		log_info("firewall: in order again");
		role->trouble[0] = '\0';
	}
	role->retry_ms = 0;
}

static bool is_waiting(const struct role *role, struct mono now)
{
	return role->retry_ms > 0 && mono_diff_ms(role->retry_at, now) > 0;
}

static bool is_complete(const struct role *role)
{
	return role->has_table && role->learned.has_elements && role->has_chains &&
	       !networks_is_pending(&role->networks);
}

/* Back to the first step. */
static void lost_table(struct role *role)
{
	if (role->has_table) {
		log_warning("firewall: somebody removed or changed table inet %s; making it again",
		            role->conf.nft_table);
	}
	role->has_table = role->has_chains = false;
	role->retry_ms = 0; /* what failed meanwhile failed because of this */
	learned_on_lost_table(&role->learned);
}

/* --- telling the engine and the supervisor ---------------------------------------------------- */

/* False when it has to be tried again. A dead channel shows when it is read. */
static bool tell_peer(const struct role *role, const struct msg *msg)
{
	return role->peer >= 0 && msg_send(role->peer, msg) == 0;
}

/* The engine cannot look into this process, nor may it. */
static void look_at_self(struct role *role, struct mono now)
{
	if (mono_diff_ms(role->tell_at, now) <= 0) {
		role->tell_at = mono_add_ms(now, TELL_AGAIN_MS);
		role->learned.must_tell |= process_read(getpid(), "firewall", &role->process);
	}
}

static void tell_done(struct role *role)
{
	struct fw_stats stats;
	fw_stats_get(role->fw, &stats);
	struct msg msg = {
	        .type = MSG_DONE,
	        .fd = -1,
	        .seq = role->learned.has_elements ? role->learned.seq : 0,
	        .figures = {.transactions = stats.transactions,
	                    .failures = stats.failures,
	                    .elements_added = stats.elements_added,
	                    .elements_deleted = stats.elements_deleted,
	                    .restores = stats.restores,
	                    .has_refresh = stats.has_refresh,
	                    .has_destroy = stats.has_destroy,
	                    .is_complete = is_complete(role),
	                    .cpu_ms = role->process.cpu_ms,
	                    .resident_bytes = role->process.resident_bytes,
	                    .open_files = role->process.n_files},
	};
	role->learned.must_tell = !tell_peer(role, &msg);
}

static void ask_copy(struct role *role, struct mono now)
{
	const struct msg msg = {.type = MSG_NEED_FILL, .fd = -1};
	struct learned *learned = &role->learned;
	bool is_overdue = !learned->has_elements && !learned_is_coming(learned) &&
	                  mono_diff_ms(role->ask_again_at, now) <= 0;
	if ((learned->must_ask || is_overdue) && tell_peer(role, &msg)) {
		learned->must_ask = false;
		role->ask_again_at = mono_add_ms(now, ASK_AGAIN_MS);
	}
}

static void tell_ready(struct role *role)
{
	const struct msg msg = {.type = MSG_READY, .fd = -1};
	if (!role->is_ready && is_complete(role)) {
		role->is_ready = msg_send(role->supervisor, &msg) == 0;
	}
}

/* --- the steps -------------------------------------------------------------------------------- */

static int step_table(struct role *role, char why[static FW_WHY_MAX])
{
	const struct nospamd *nospamd = &role->networks.nospamd;
	int ret = fw_put_table(role->fw, nospamd->ranges, nospamd->n, why);
	role->has_table = ret == 0;
	if (ret == 0 && why[0]) {
		log_warning("firewall: %s", why);
	}
	if (ret == 0) {
		networks_on_new_table(&role->networks);
	}
	return ret;
}

static int step_networks(struct role *role, char why[static FW_WHY_MAX])
{
	role->learned.must_tell = true;
	return networks_put(&role->networks, role->fw, why);
}

static int step_chains(struct role *role, char why[static FW_WHY_MAX])
{
	int ret = fw_put_chains(role->fw, why);
	role->has_chains = ret == 0;
	role->learned.must_tell = true;
	return ret;
}

/* Does what can be done now, in order. */
static void do_steps(struct role *role, struct mono now)
{
	char why[FW_WHY_MAX] = "";
	int ret = 0;
	if (is_waiting(role, now)) {
		return;
	}
	if (!role->has_table) {
		ret = step_table(role, why);
	}
	if (ret == 0 && networks_is_pending(&role->networks)) {
		ret = step_networks(role, why);
	}
	if (ret == 0 && learned_is_pending(&role->learned)) {
		ret = learned_put(&role->learned, role->fw, why);
	}
	if (ret == 0 && role->learned.has_elements && !role->has_chains) {
		ret = step_chains(role, why);
	}
	if (ret == -ENOENT) {
		lost_table(role);
	}
	if (ret) {
		failed(role, now, why);
	} else if (is_complete(role) && role->can_watch) {
		recovered(role);
	}
}

static void watch(struct role *role, struct mono now)
{
	enum fw_state state = FW_STATE_OK;
	if (mono_diff_ms(role->watch_at, now) > 0) {
		return;
	}
	role->watch_at = mono_add_ms(now, role->conf.watch_ms);
	if (!role->has_table) {
		return;
	}
	int ret = fw_watch(role->fw, &state);
	role->can_watch = ret == 0;
	if (ret) {
		complain(role, err_text(ret));
	} else if (state == FW_STATE_GONE) {
		lost_table(role);
	}
}

/* --- messages of the engine ------------------------------------------------------------------- */

/* False: it is not expected now. */
static bool on_message(struct role *role, const struct msg *msg, struct mono now)
{
	int ret = 0;
	struct fw *fw = role->has_table ? role->fw : NULL;
	if (!learned_on_message(&role->learned, fw, msg, &ret)) {
		return networks_on_message(&role->networks, msg, role->conf.list_prefixes_max);
	}
	if (ret == -ENOENT) {
		lost_table(role);
	} else if (ret) {
		failed(role, now, err_text(ret));
	}
	return true;
}

static void bad_message(struct role *role, const char *why)
{
	if (!role->has_bad_peer) {
		log_warning("firewall: message of the engine dropped: %s", why);
		role->has_bad_peer = true;
	}
}

/* Reads what has come, up to the end of a copy that is still to be put in. */
static void hear_peer(struct role *role, struct mono now)
{
	for (int i = 0; i < RECEIVE_MAX && role->peer >= 0 && !learned_is_pending(&role->learned);
	     i++) {
		struct msg msg;
		int ret = msg_recv(role->peer, &msg);
		if (ret == -EAGAIN) {
			return;
		}
		if (ret == ERR_CLOSED || (ret < 0 && ret > ERR_SYNTAX)) {
			log_info("firewall: the engine is gone; sets and rules stay as they are");
			drop_peer(role);
			return;
		}
		if (ret) {
			bad_message(role, err_text(ret));
			continue;
		}
		if (msg.fd >= 0) {
			(void)close(msg.fd); /* none of these messages carries one */
		}
		if (!on_message(role, &msg, now)) {
			bad_message(role, "not expected now");
		}
	}
}

/* --- the loop --------------------------------------------------------------------------------- */

/* A table that stays behind although it should not is no clean end: the supervisor, being root,
 * tries again. */
static int leave(const struct role *role)
{
	bool is_kept = role->conf.keep_rules == CONF_KEEP_RULES_YES;
	int ret = is_kept ? 0 : fw_remove(role->fw);
	if (ret == 0) {
		return ROLE_EXIT_OK;
	}
	char why[MSG_TEXT_MAX];
	(void)snprintf(why, sizeof why, "table inet %s cannot be removed: %s", role->conf.nft_table,
	               err_text(ret));
	return fatal(role, why);
}

static int take_nospamd(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	int ret = role_take_file(msg->fd, &role->nospamd_text, &role->nospamd_len);
	if (ret == 0) {
		(void)parse_nospamd(role); /* it logs, and the old ones stay */
	}
	return ret;
}

static int reload(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	struct conf conf;
	int ret = role_take_new_conf(&conf, msg->fd);
	if (ret == 0) {
		conf_fini(&role->conf);
		role->conf = conf;
		role_set_log(&role->conf);
	}
	return ret;
}

/* What stands is exchanged in one transaction; the sets and their elements stay. */
static int take_rules(void *ctx, const struct msg *msg)
{
	struct role *role = ctx;
	char *text = NULL;
	size_t len = 0;
	int ret = role_take_file(msg->fd, &text, &len);
	ret = ret ? ret : fw_set_rules(role->fw, span_of(text, len));
	free(text);
	if (ret == 1) {
		log_info("firewall: the rules are exchanged");
		role->has_chains = false;
		role->retry_ms = 0;
	}
	return ret < 0 ? ret : 0;
}

/* False ends the role, with *status. */
static bool hear_supervisor(struct role *role, int *status)
{
	static const struct role_taker rows[] = {
	        {MSG_PEER, take_peer_message},
	        {MSG_NOSPAMD, take_nospamd},
	        {MSG_CONF, reload},
	        {MSG_RULES, take_rules},
	};
	*status = ROLE_EXIT_OK;
	switch (role_hear_by_row(role->supervisor, rows, ARRAY_LEN(rows), role)) {
	case ROLE_WORD_NONE:
		return true;
	case ROLE_WORD_STOP:
		*status = leave(role);
		return false;
	case ROLE_WORD_GONE: /* the table stays: another supervisor will come */
		break;
	}
	return false;
}

/* Until the next look at the table, or the next try. */
static int wait_ms(const struct role *role, struct mono now)
{
	int64_t ms = mono_diff_ms(role->watch_at, now);
	int64_t retry_ms = is_waiting(role, now) ? mono_diff_ms(role->retry_at, now) : 0;
	if (retry_ms > 0 && retry_ms < ms) {
		ms = retry_ms;
	}
	return ms < 0 ? 0 : (int)ms + 1;
}

static void turn(struct role *role, struct mono now)
{
	watch(role, now);
	do_steps(role, now);
	if (role->has_table && !is_waiting(role, now)) {
		ask_copy(role, now);
	}
	look_at_self(role, now);
	if (role->learned.must_tell) {
		tell_done(role);
	}
	tell_ready(role);
}

/* False ends the role, with *status. */
static bool wait_and_hear(struct role *role, struct mono now, int *status)
{
	struct pollfd polls[] = {
	        {.fd = role->supervisor, .events = POLLIN},
	        {.fd = learned_is_pending(&role->learned) ? -1 : role->peer, .events = POLLIN},
	};
	int n = poll(polls, ARRAY_LEN(polls), wait_ms(role, now));
	if (n < 0 && errno != EINTR) {
		*status = fatal(role, err_text(-errno));
		return false;
	}
	if (n > 0 && polls[0].revents && !hear_supervisor(role, status)) {
		return false;
	}
	if (n > 0 && polls[1].revents && role->peer == polls[1].fd) {
		hear_peer(role, clock_mono());
	}
	return true;
}

static int run(struct role *role)
{
	int status = ROLE_EXIT_OK;
	struct mono now;
	do {
		now = clock_mono();
		turn(role, now);
	} while (wait_and_hear(role, now, &status));
	return status;
}

static void stop(struct role *role)
{
	drop_peer(role);
	learned_fini(&role->learned);
	fw_close(role->fw);
	networks_fini(&role->networks);
	free(role->nospamd_text);
	if (role->has_conf) {
		log_close(); /* a log that never opened is fine */
		conf_fini(&role->conf);
	}
}

int role_firewall_main(int supervisor_fd)
{
	struct role role = {.supervisor = supervisor_fd, .peer = -1, .can_watch = true};
	int status = ROLE_EXIT_FAILED; /* not a clean end: a table may stand from before */
	int ret = role_take_all(supervisor_fd, take_one, &role);
	if (ret && ret != ERR_CLOSED) {
		status = fatal(&role, "what the supervisor handed over is wrong");
	} else if (!ret) {
		status = start(&role);
		status = status ? status : run(&role);
	}
	stop(&role);
	return status;
}
