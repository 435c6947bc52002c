/* One loop over a signalfd and the roles' channels. Start: places (state directory, lock, sockets),
 * roles, hand-over, both ready, serving. A role that dies is started again after a wait; one that
 * says at the very start why it cannot run, or an engine that dies in the store three times in a
 * row, ends the whole. At the end the table in the packet filter is removed: rules that point at a
 * closed port would refuse all mail, without them it reaches the mail server. After an orderly end
 * it may stay, where somebody else holds the port open. */
#include "mired/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "fw/fw.h"
#include "fw/fw_routes.h"
#include "mired/child.h"
#include "mired/places.h"
#include "mired/reload.h"
#include "mired/role_common.h"
#include "verify/verify.h"

enum {
	NS_PER_USEC = 1000,
	STOP_MS = 1500, /* then what is left is killed: the whole stop takes less than 2 s */
	WHY_MAX = 512,
};

enum phase { PHASE_STARTING, PHASE_SERVING, PHASE_STOPPING };

/* Owned by the only thread. */
struct supervisor {
	struct conf *conf;
	enum phase phase;
	int exit_status;
	bool has_roles; /* at least once a role was started */
	struct places places;
	struct reload reload;
	struct child children[ROLE_COUNT];
	int n_children; /* 1 without firewall */
};

static void complain(const struct conf *conf, const char *why)
{
	log_error("%s", why);
	if (!conf->foreground) {
		(void)fprintf(stderr, "mired: %s\n", why);
	}
}

/* --- roles -------------------------------------------------------------------------------------
 */

static void begin_stop(struct supervisor *s, enum role_exit status)
{
	if (s->phase == PHASE_STOPPING) {
		return;
	}
	s->phase = PHASE_STOPPING;
	s->exit_status = (int)status;
	(void)sd_notify(0, "STOPPING=1");
	struct mono deadline = mono_add_ms(clock_mono(), STOP_MS);
	for (int i = 0; i < s->n_children; i++) {
		child_stop(&s->children[i], deadline);
	}
}

static void start_child(struct supervisor *s, struct child *child)
{
	const struct places *places = &s->places;
	struct child_supplies supplies = {.conf_fd = places->conf_fd,
	                                  .state_fd = places->state_fd,
	                                  .control = places->control,
	                                  .cfg = places->cfg,
	                                  .sockets = &places->sockets,
	                                  .synced = &places->synced,
	                                  .files = places->files,
	                                  .n_files = places->n_files};
	struct mono now = clock_mono();
	int ret = child_start(child, &supplies, now);
	if (ret) {
		log_error("%s cannot be started: %s", role_name(child->kind), err_text(ret));
		child->has_deadline = true;
		child->deadline = mono_add_ms(now, RESTART_MIN_MS);
	}
	s->has_roles = true;
}

static void connect_children(struct supervisor *s)
{
	if (s->n_children == ROLE_COUNT) {
		child_connect(&s->children[ROLE_ENGINE], &s->children[ROLE_FIREWALL]);
	}
}

/* That there are these users has been seen when the places were opened. */
static uid_t find_uid(const struct conf *conf, enum role_kind kind)
{
	struct verify_user user = {.uid = geteuid()};
	char why[VERIFY_WHY_MAX];
	(void)!verify_find_user(kind == ROLE_FIREWALL ? conf->firewall_user : conf->user, &user,
	                        why);
	return user.uid;
}

static void start_all(struct supervisor *s)
{
	for (int i = 0; i < s->n_children; i++) {
		enum role_kind kind = (enum role_kind)i;
		s->children[i] =
		        (struct child){.kind = kind, .channel = -1, .uid = find_uid(s->conf, kind)};
		start_child(s, &s->children[i]);
	}
	connect_children(s);
	for (int i = 0; i < s->n_children; i++) {
		child_tell(&s->children[i], MSG_START);
	}
}

static void start_again(struct supervisor *s, struct child *child)
{
	start_child(s, child);
	connect_children(s);
	child_tell(child, MSG_START);
}

static void give_up(struct supervisor *s, const struct child *child)
{
	char why[WHY_MAX + MSG_TEXT_MAX];
	(void)snprintf(why, sizeof why,
	               "the engine failed in the store %d times in a row%s%s. The store in %s/db "
	               "was left as it is. Look at it with `miredb --check`; put a copy back, or "
	               "move %s/db away to start with an empty one. Until then mail is not "
	               "greylisted",
	               RESTART_STORE_MAX, child->fatal[0] ? ": " : "", child->fatal,
	               s->conf->state_dir, s->conf->state_dir);
	complain(s->conf, why);
	begin_stop(s, ROLE_EXIT_STORE);
}

/* Nothing was served yet and the role said why it cannot begin: trying again would only repeat it.
 * One that had begun, while the other had not, is judged like any other. */
static bool is_start_failure(const struct supervisor *s, const struct child *child, int status)
{
	return s->phase == PHASE_STARTING && !child->was_ready && WIFEXITED(status) &&
	       WEXITSTATUS(status) != 0;
}

static void fail_start(struct supervisor *s, const struct child *child, int status)
{
	bool is_store = WEXITSTATUS(status) == ROLE_EXIT_STORE;
	if (!s->conf->foreground) {
		(void)fprintf(stderr, "mired: %s: %s\n", role_name(child->kind),
		              child->fatal[0] ? child->fatal : "ended before it was ready");
	}
	begin_stop(s, is_store ? ROLE_EXIT_STORE : ROLE_EXIT_FAILED);
}

static void plan_restart(struct supervisor *s, struct child *child, int status)
{
	struct restart_death death = {
	        .status = status,
	        .is_store = WIFEXITED(status) && WEXITSTATUS(status) == ROLE_EXIT_STORE,
	        .started = child->started,
	        .now = clock_mono(),
	};
	uint32_t wait_ms = 0;
	enum restart_verdict verdict = restart_died(&child->restart, &death, &wait_ms);
	if (verdict == RESTART_GIVE_UP && child->kind == ROLE_ENGINE) {
		give_up(s, child);
		return;
	}
	log_warning("%s is started again in %u ms", role_name(child->kind), wait_ms);
	child->has_deadline = true;
	child->deadline = mono_add_ms(death.now, wait_ms);
}

static void child_died(struct supervisor *s, struct child *child, int status)
{
	child_bury(child, status);
	if (s->phase == PHASE_STOPPING) {
		return;
	}
	if (is_start_failure(s, child, status)) {
		fail_start(s, child, status);
		return;
	}
	plan_restart(s, child, status);
}

static void reap(struct supervisor *s)
{
	for (int i = 0; i < s->n_children; i++) {
		struct child *child = &s->children[i];
		int status = 0;
		if (child->pid > 0 && waitpid(child->pid, &status, WNOHANG) == child->pid) {
			child_died(s, child, status);
		}
	}
}

/* --- saying what happens -----------------------------------------------------------------------
 */

/* Mail is greylisted all the same, but each gateway for itself: nobody must find that out by a
 * sender who was deferred twice. */
static void say_unsynced(const struct supervisor *s)
{
	switch (s->places.synced.state) {
	case SYNCED_UNWANTED:
	case SYNCED_ON:
		break;
	case SYNCED_KEYLESS:
		complain(s->conf, s->places.synced.note);
		break;
	case SYNCED_POINTLESS:
		log_warning("blacklist-only: there is no greylist to keep in step; sync-listen "
		            "and sync-peer do nothing");
		break;
	}
}

/* The rules alone hold nobody: what they mark is for other hosts. Who asked for a reload hears it
 * with the answer; NULL: nobody did. */
static void say_unrouted(const struct supervisor *s, json_t *answer)
{
	char reason[FW_WHY_MAX];
	char why[FW_WHY_MAX + WHY_MAX];
	if (fw_routes_check(s->conf, reason) == 0) {
		return;
	}
	(void)snprintf(why, sizeof why,
	               "rules = gateway-tproxy: %s; set it up with `mired-tproxy up`", reason);
	complain(s->conf, why);
	(void)json_array_append_new(json_object_get(answer, "warnings"), json_string(why));
}

static void announce(struct supervisor *s)
{
	char where[SOCKETS_TEXT_MAX];
	char in_step[SYNCED_TEXT_MAX];
	const struct engine_capacity *capacity = &s->places.capacity;
	(void)sockets_text(&s->places.sockets, s->conf, where);
	log_event(LOG_EVENT_listening, NULL, "listening for incoming connections.");
	log_info("%u connections on %u workers can be held%s%s", capacity->max_connections,
	         capacity->workers, capacity->limit[0] ? "; in the way of more: " : "",
	         capacity->limit);
	if (!s->conf->firewall) {
		log_info("firewall = no: the packet filter is left alone");
	} else if (s->conf->rules == CONF_RULES_NONE) {
		log_warning("rules = none: only the sets of table inet %s are kept; your own rules "
		            "must send unknown hosts here",
		            s->conf->nft_table);
	}
	(void)synced_text(&s->places.synced, in_step);
	(void)fprintf(stderr, "mired %s: serving on %s (up to %u connections%s%s)%s\n",
	              MIRED_VERSION, where, capacity->max_connections,
	              capacity->limit[0] ? ", limit: " : "", capacity->limit, in_step);
	(void)sd_notifyf(0, "READY=1\nSTATUS=serving on %s%s", where, in_step);
}

static void look_whether_ready(struct supervisor *s)
{
	for (int i = 0; i < s->n_children; i++) {
		if (!s->children[i].is_ready) {
			return;
		}
	}
	if (s->phase == PHASE_STARTING) {
		s->phase = PHASE_SERVING;
		announce(s);
	}
}

/* --- files of the administrator ----------------------------------------------------------------
 */

static void take_news(struct supervisor *s, const struct watched *file, enum watched_news news,
                      const char *why)
{
	switch (news) {
	case WATCHED_NOTHING:
		break;
	case WATCHED_CHANGED:
		log_info("%s is read again", file->path);
		child_hand(&s->children[file->role], file->type, file->fd);
		break;
	case WATCHED_UNREADABLE:
		log_error("%s; what it said before stays in force", why);
		break;
	}
}

static void look_at_files(struct supervisor *s)
{
	struct mono now = clock_mono();
	for (size_t i = 0; i < s->places.n_files && s->phase != PHASE_STOPPING; i++) {
		struct watched *file = &s->places.files[i];
		char why[TEXTFILE_WHY_MAX] = "";
		if (file->look_at.ns <= now.ns) {
			take_news(s, file, watched_look(file, now, why), why);
		}
	}
}

/* --- reload ------------------------------------------------------------------------------------
 */

/* Whoever does not run gets it at its start. Files follow by look_at_files. */
static void hand_on(struct supervisor *s)
{
	for (int i = 0; i < s->n_children; i++) {
		child_hand_conf(&s->children[i], s->places.conf_fd);
	}
	child_hand(&s->children[ROLE_ENGINE], MSG_STATE, s->places.state_fd);
	if (s->n_children == ROLE_COUNT && s->places.rules_fd >= 0) {
		child_hand(&s->children[ROLE_FIREWALL], MSG_RULES, s->places.rules_fd);
	}
	role_set_log(s->conf);
}

static json_t *reload(struct supervisor *s)
{
	struct mono now = clock_mono();
	json_t *answer = NULL;
	if (s->phase == PHASE_STOPPING) {
		return json_pack("{s:s}", "error", "mired is stopping");
	}
	/* one that is starting is not ready, whatever was reloaded */
	bool is_told = s->phase == PHASE_SERVING;
	if (is_told) {
		(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
		                 (long long)(now.ns / NS_PER_USEC));
	}
	if (reload_run(&s->reload, &s->places, now, &answer)) {
		hand_on(s);
		say_unrouted(s, answer);
	}
	if (is_told) {
		(void)sd_notify(0, "READY=1");
	}
	return answer;
}

/* Behind the configuration: who hears the answer finds it in force. */
static void answer_reload(struct child *child, uint64_t seq, json_t *answer)
{
	int fd = places_seal_json(answer);
	json_decref(answer);
	if (fd < 0) { /* who waits must hear something, and leave the place to others */
		log_error("reload: the answer is lost: %s", err_text(fd));
		answer = json_pack("{s:s}", "error", "the answer is lost; the log has it");
		fd = places_seal_json(answer);
		json_decref(answer);
	}
	if (fd >= 0) {
		child_answer(child, seq, fd);
		(void)close(fd);
	}
}

/* --- the loop ----------------------------------------------------------------------------------
 */

static void hear(struct supervisor *s, struct child *child)
{
	bool was_ready = child->is_ready;
	child_hear(child, clock_mono());
	if (!was_ready && child->is_ready) {
		log_info("%s is ready (pid %ld)", role_name(child->kind), (long)child->pid);
		look_whether_ready(s);
	}
	if (child->wants_reload) {
		child->wants_reload = false;
		answer_reload(child, child->reload_seq, reload(s));
	}
}

static void take_signals(struct supervisor *s)
{
	struct signalfd_siginfo info;
	while (read(s->places.signals, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
			log_info("stopping on signal %u", info.ssi_signo);
			begin_stop(s, ROLE_EXIT_OK);
		} else if (info.ssi_signo == SIGHUP) {
			log_info("SIGHUP: configuration and files are read again");
			json_decref(reload(s));
		} else {
			reap(s);
		}
	}
}

static void meet_deadlines(struct supervisor *s)
{
	struct mono now = clock_mono();
	for (int i = 0; i < s->n_children; i++) {
		struct child *child = &s->children[i];
		if (!child->has_deadline || child->deadline.ns > now.ns) {
			continue;
		}
		child->has_deadline = false;
		if (child->pid > 0) {
			log_warning("%s (pid %ld) does not end: killed", role_name(child->kind),
			            (long)child->pid);
			child_kill(child);
		} else {
			start_again(s, child);
		}
	}
}

/* The sooner of a wait (-1: none yet) and a time that may be over. */
static int64_t sooner(int64_t wait_ms, int64_t left_ms)
{
	left_ms = left_ms < 0 ? 0 : left_ms;
	return wait_ms < 0 || left_ms < wait_ms ? left_ms : wait_ms;
}

/* Milliseconds for poll until the next deadline, -1 for none. */
static int next_deadline_ms(const struct supervisor *s)
{
	struct mono now = clock_mono();
	int64_t next_ms = -1;
	for (size_t i = 0; i < s->places.n_files && s->phase != PHASE_STOPPING; i++) {
		next_ms = sooner(next_ms, mono_diff_ms(s->places.files[i].look_at, now) + 1);
	}
	for (int i = 0; i < s->n_children; i++) {
		const struct child *child = &s->children[i];
		if (!child->has_deadline) {
			continue;
		}
		next_ms = sooner(next_ms, mono_diff_ms(child->deadline, now) + 1);
	}
	return (int)next_ms;
}

static bool is_over(const struct supervisor *s)
{
	bool is_over = s->phase == PHASE_STOPPING;
	for (int i = 0; i < s->n_children; i++) {
		is_over &= s->children[i].pid == 0;
	}
	return is_over;
}

static void turn(struct supervisor *s)
{
	struct pollfd polls[1 + ROLE_COUNT] = {{.fd = s->places.signals, .events = POLLIN}};
	for (int i = 0; i < s->n_children; i++) {
		polls[1 + i] = (struct pollfd){.fd = s->children[i].channel, .events = POLLIN};
	}
	nfds_t n_polls = 1 + (nfds_t)s->n_children;
	int n = poll(polls, n_polls, next_deadline_ms(s));
	for (int i = 0; n > 0 && i < s->n_children; i++) {
		if (polls[1 + i].revents) {
			hear(s, &s->children[i]);
		}
	}
	if (n > 0 && polls[0].revents) {
		take_signals(s);
	}
	look_at_files(s);
	meet_deadlines(s);
}

/* The firewall role removes the table when it stops in order, or leaves it if it shall be kept. If
 * it could not, or mired ends because something is wrong, root removes it: the next start, for
 * which clients would wait, may not come. */
static void remove_table(const struct supervisor *s)
{
	const char *table = s->conf->nft_table;
	bool is_kept = s->conf->keep_rules == CONF_KEEP_RULES_YES;
	if (!s->conf->firewall || !s->has_roles ||
	    (!is_kept && s->children[ROLE_FIREWALL].has_ended_well)) {
		return;
	}
	if (is_kept && s->exit_status == ROLE_EXIT_OK) {
		log_info("table inet %s stays (keep-rules); `mired --remove-rules` removes it",
		         table);
		return;
	}
	int ret = fw_remove_table(table);
	if (ret) {
		log_error("table inet %s is left behind (remove it with `nft delete table inet "
		          "%s`): %s",
		          table, table, err_text(ret));
	}
}

static int fail_to_open(const char *what, int ret)
{
	(void)fprintf(stderr, "mired: %s%s\n", what, err_text(ret));
	return ret;
}

static int set_first_state(struct supervisor *s)
{
	json_t *state = reload_state(&s->reload.asked, NULL);
	int ret = places_set_state(&s->places, state);
	json_decref(state);
	return ret;
}

static int open_all(struct supervisor *s)
{
	char why[PLACES_WHY_MAX] = "";
	int ret = places_open(&s->places, s->conf, why);
	if (ret != 0) {
		(void)fprintf(stderr, "mired: %s\n", why);
		return ret;
	}
	ret = set_first_state(s);
	if (ret != 0) {
		return fail_to_open("", ret);
	}
	ret = role_open_log(s->conf);
	return ret == 0 ? 0 : fail_to_open("log: ", ret);
}

int supervisor_main(struct conf *conf, int argc, char **argv)
{
	struct supervisor s = {.conf = conf,
	                       .exit_status = ROLE_EXIT_FAILED,
	                       .n_children = conf->firewall ? ROLE_COUNT : 1};
	(void)umask(022);
	/* before the machine's decisions are in it */
	if (reload_init(&s.reload, conf, argc, argv) != 0) {
		return ROLE_EXIT_FAILED;
	}
	if (open_all(&s) != 0) {
		places_close(&s.places);
		reload_fini(&s.reload);
		return ROLE_EXIT_FAILED;
	}
	sockets_say(&s.places.sockets);
	say_unsynced(&s);
	say_unrouted(&s, NULL);
	start_all(&s);
	while (!is_over(&s)) {
		turn(&s);
	}
	remove_table(&s);
	log_event(LOG_EVENT_stopped, NULL, "stopped");
	places_close(&s.places);
	reload_fini(&s.reload);
	log_close();
	return s.exit_status;
}
