/* One loop over a signalfd and the roles' channels. Start: places (state directory, lock, sockets),
 * roles, hand-over, both ready, serving. A role that dies is started again after a wait; one that
 * says at the very start why it cannot run, or an engine that dies in the store three times in a
 * row, ends the whole. At the end the table in the packet filter is removed: rules that point at a
 * closed port would refuse all mail, without them it reaches the mail server. */
#include "mired/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "engine/engine.h"
#include "fw/fw.h"
#include "mired/child.h"
#include "mired/role_common.h"
#include "mired/sockets.h"
#include "mired/verify.h"
#include "priv/place.h"

enum {
	STOP_MS = 1500,      /* then what is left is killed: the whole stop takes less than 2 s */
	TAKE_OVER_MS = 5000, /* how long roles of a killed supervisor may hold the ports */
	TAKE_OVER_STEP_MS = 100,
	LOCK_WAIT_MS = 500,
	WHY_MAX = 512,
};

enum phase { PHASE_STARTING, PHASE_SERVING, PHASE_STOPPING };

/* Owned by the only thread. */
struct supervisor {
	struct conf *conf;
	enum phase phase;
	int exit_status;
	int lock;
	int signals;
	int control;
	int pid_file;
	int conf_fd;
	bool has_roles; /* at least once a role was started */
	struct sockets sockets;
	struct engine_capacity capacity;
	struct child children[ROLE_COUNT];
	int n_children; /* 1 without firewall */
};

/* --- opening what needs rights -----------------------------------------------------------------
 */

static void complain(const struct conf *conf, const char *why)
{
	log_error("%s", why);
	if (!conf->foreground) {
		(void)fprintf(stderr, "mired: %s\n", why);
	}
}

static int open_signals(struct supervisor *s, char why[static WHY_MAX])
{
	static const int wanted[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
	sigset_t set;
	(void)sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		(void)sigaddset(&set, wanted[i]);
	}
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	/* a starter may have ignored it, and then no child could be waited for */
	struct sigaction usual = {.sa_handler = SIG_DFL};
	(void)sigaction(SIGCHLD, &usual, NULL);
	/* a closed pipe at stderr is no reason to die */
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	(void)sigaction(SIGPIPE, &ignore, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	int ret = s->signals < 0 ? -errno : 0;
	if (ret) {
		(void)snprintf(why, WHY_MAX, "signalfd: %s", err_text(ret));
	}
	return ret;
}

static void wait_step(void)
{
	const struct timespec pause = {.tv_nsec = TAKE_OVER_STEP_MS * NS_PER_MS};
	(void)nanosleep(&pause, NULL);
}

/* Who was killed a moment ago has the lock for a moment more. */
static int take_lock(struct supervisor *s, bool *left_over, char why[static WHY_MAX])
{
	int ret = place_lock(s->conf->state_dir, &s->lock, left_over, why);
	for (int ms = LOCK_WAIT_MS; ret == ERR_BUSY && ms > 0; ms -= TAKE_OVER_STEP_MS) {
		wait_step();
		ret = place_lock(s->conf->state_dir, &s->lock, left_over, why);
	}
	return ret;
}

static int open_state(struct supervisor *s, bool *left_over, char why[static WHY_MAX])
{
	struct verify_user user;
	struct verify_user firewall_user;
	int ret = verify_find_user(s->conf->user, &user, why);
	if (!ret && s->conf->firewall) {
		ret = verify_find_user(s->conf->firewall_user, &firewall_user, why);
	}
	ret = ret ? ret : place_state_dir(s->conf->state_dir, user.uid, user.gid, why);
	return ret ? ret : take_lock(s, left_over, why);
}

static uint32_t count_cores(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	return sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}

static void find_capacity(struct supervisor *s)
{
	struct rlimit limit = {0};
	struct sysinfo info = {0};
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit); /* the roles inherit it */
	(void)sysinfo(&info);
	engine_capacity_of(s->conf, limit.rlim_max, count_cores(),
	                   (uint64_t)info.totalram * info.mem_unit, &s->capacity);
	s->conf->workers = s->capacity.workers;
}

/* The effective configuration in a file nobody can change any more. */
static int open_conf(struct supervisor *s, char why[static WHY_MAX])
{
	int fd = memfd_create("mired-conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *file = copy < 0 ? NULL : fdopen(copy, "w");
	int ret = file ? conf_print(s->conf, file) : -errno;
	if (file && fclose(file) != 0 && !ret) {
		ret = -errno;
	}
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
	if (!ret && fcntl(fd, F_ADD_SEALS, seals) != 0) {
		ret = -errno;
	}
	s->conf_fd = fd;
	if (ret) {
		(void)snprintf(why, WHY_MAX, "handing over the configuration: %s", err_text(ret));
	}
	return ret;
}

/* The engine of a killed supervisor may still answer on it for a moment. */
static int open_control(struct supervisor *s, int wait_ms, char why[static WHY_MAX])
{
	int ret = place_control_socket(s->conf->control_socket, &s->control, why);
	for (; ret == ERR_BUSY && wait_ms > 0; wait_ms -= TAKE_OVER_STEP_MS) {
		wait_step();
		ret = place_control_socket(s->conf->control_socket, &s->control, why);
	}
	return ret;
}

static int open_places(struct supervisor *s, char why[static WHY_MAX])
{
	bool left_over = false;
	int ret = open_signals(s, why);
	ret = ret ? ret : open_state(s, &left_over, why);
	int wait_ms = left_over ? TAKE_OVER_MS : 0;
	if (!ret) {
		find_capacity(s);
		ret = sockets_open(&s->sockets, s->conf, wait_ms, why);
	}
	ret = ret ? ret : open_control(s, wait_ms, why);
	ret = ret ? ret : place_pid_file(s->conf->pid_file, &s->pid_file, why);
	return ret ? ret : open_conf(s, why);
}

static void close_places(struct supervisor *s)
{
	sockets_close(&s->sockets);
	if (s->control >= 0) {
		(void)unlink(s->conf->control_socket);
		(void)close(s->control);
	}
	if (s->pid_file >= 0) {
		(void)unlink(s->conf->pid_file);
		(void)close(s->pid_file);
	}
	if (s->conf_fd >= 0) {
		(void)close(s->conf_fd);
	}
	if (s->signals >= 0) {
		(void)close(s->signals);
	}
	if (s->lock >= 0) {
		place_unlock(s->lock); /* last: from here on a successor may start */
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
	struct child_supplies supplies = {s->conf_fd, s->control, &s->sockets};
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

static void start_all(struct supervisor *s)
{
	for (int i = 0; i < s->n_children; i++) {
		s->children[i] = (struct child){.kind = (enum role_kind)i, .channel = -1};
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

/* Nothing was served yet and the role said why: trying again would only repeat it. */
static bool is_start_failure(const struct supervisor *s, int status)
{
	return s->phase == PHASE_STARTING && WIFEXITED(status) && WEXITSTATUS(status) != 0;
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
	if (is_start_failure(s, status)) {
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

static void announce(struct supervisor *s)
{
	char where[SOCKETS_TEXT_MAX];
	const struct engine_capacity *capacity = &s->capacity;
	(void)sockets_text(&s->sockets, s->conf, where);
	log_warning("listening for incoming connections.");
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
	(void)fprintf(stderr, "mired %s: serving on %s (up to %u connections%s%s)\n", MIRED_VERSION,
	              where, capacity->max_connections, capacity->limit[0] ? ", limit: " : "",
	              capacity->limit);
	(void)sd_notifyf(0, "READY=1\nSTATUS=serving on %s", where);
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

static void hear(struct supervisor *s, struct child *child)
{
	bool was_ready = child->is_ready;
	child_hear(child, clock_mono());
	if (!was_ready && child->is_ready) {
		log_info("%s is ready (pid %ld)", role_name(child->kind), (long)child->pid);
		look_whether_ready(s);
	}
}

/* --- the loop ----------------------------------------------------------------------------------
 */

static void take_signals(struct supervisor *s)
{
	struct signalfd_siginfo info;
	while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
			log_info("stopping on signal %u", info.ssi_signo);
			begin_stop(s, ROLE_EXIT_OK);
		} else if (info.ssi_signo == SIGHUP) {
			log_warning(
			        "SIGHUP: the configuration is read at start only; restart mired "
			        "to apply changes");
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

/* Milliseconds for poll until the next deadline, -1 for none. */
static int next_deadline_ms(const struct supervisor *s)
{
	struct mono now = clock_mono();
	int64_t next_ms = -1;
	for (int i = 0; i < s->n_children; i++) {
		const struct child *child = &s->children[i];
		if (!child->has_deadline) {
			continue;
		}
		int64_t left_ms = mono_diff_ms(child->deadline, now) + 1;
		left_ms = left_ms < 0 ? 0 : left_ms;
		next_ms = next_ms < 0 || left_ms < next_ms ? left_ms : next_ms;
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
	struct pollfd polls[1 + ROLE_COUNT] = {{.fd = s->signals, .events = POLLIN}};
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
	meet_deadlines(s);
}

/* The firewall role removes the table when it stops in order. If it could not, root does. */
static void remove_table(const struct supervisor *s)
{
	const char *table = s->conf->nft_table;
	if (!s->conf->firewall || !s->has_roles || s->children[ROLE_FIREWALL].has_ended_well) {
		return;
	}
	int ret = fw_remove_table(table);
	if (ret) {
		log_error("table inet %s is left behind (remove it with `nft delete table inet "
		          "%s`): %s",
		          table, table, err_text(ret));
	}
}

int supervisor_main(struct conf *conf)
{
	struct supervisor s = {.conf = conf,
	                       .exit_status = ROLE_EXIT_FAILED,
	                       .lock = -1,
	                       .signals = -1,
	                       .control = -1,
	                       .pid_file = -1,
	                       .conf_fd = -1,
	                       .n_children = conf->firewall ? ROLE_COUNT : 1};
	char why[WHY_MAX] = "";
	(void)umask(022);
	if (open_places(&s, why) != 0) {
		(void)fprintf(stderr, "mired: %s\n", why);
		close_places(&s);
		return ROLE_EXIT_FAILED;
	}
	int ret = role_open_log(conf);
	if (ret) {
		(void)fprintf(stderr, "mired: log: %s\n", err_text(ret));
		close_places(&s);
		return ROLE_EXIT_FAILED;
	}
	start_all(&s);
	while (!is_over(&s)) {
		turn(&s);
	}
	remove_table(&s);
	log_info("stopped");
	close_places(&s);
	log_close();
	return s.exit_status;
}
