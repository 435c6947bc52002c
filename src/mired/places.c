/* In the order of what depends on what. A killed supervisor's roles leave within moments, so what
 * they still hold is tried again for a while. */
#include "mired/places.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "fw/fw.h"
#include "mired/names.h"
#include "priv/place.h"
#include "verify/verify.h"

enum {
	TAKE_OVER_MS = 5000, /* how long roles of a killed supervisor may hold the ports */
	TAKE_OVER_STEP_MS = 100,
	LOCK_WAIT_MS = 500,
};

static_assert((int)PLACES_WHY_MAX >= (int)PLACE_WHY_MAX &&
                      (int)PLACES_WHY_MAX >= (int)SOCKETS_WHY_MAX &&
                      (int)PLACES_WHY_MAX >= (int)GIVEN_WHY_MAX &&
                      (int)PLACES_WHY_MAX >= (int)TEXTFILE_WHY_MAX &&
                      (int)PLACES_WHY_MAX >= (int)SYNC_SETUP_WHY_MAX &&
                      (int)PLACES_WHY_MAX >= (int)VERIFY_WHY_MAX,
              "others write their reasons into ours");

static int open_signals(struct places *places, char why[static PLACES_WHY_MAX])
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
	places->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	int ret = places->signals < 0 ? -errno : 0;
	if (ret) {
		(void)snprintf(why, PLACES_WHY_MAX, "signalfd: %s", err_text(ret));
	}
	return ret;
}

static void wait_step(void)
{
	const struct timespec pause = {.tv_nsec = TAKE_OVER_STEP_MS * NS_PER_MS};
	(void)nanosleep(&pause, NULL);
}

/* Who was killed a moment ago has the lock for a moment more. */
static int take_lock(struct places *places, bool *left_over, char why[static PLACES_WHY_MAX])
{
	int ret = place_lock(places->conf->state_dir, &places->lock, left_over, why);
	for (int ms = LOCK_WAIT_MS; ret == ERR_BUSY && ms > 0; ms -= TAKE_OVER_STEP_MS) {
		wait_step();
		ret = place_lock(places->conf->state_dir, &places->lock, left_over, why);
	}
	return ret;
}

static int open_state(struct places *places, bool *left_over, char why[static PLACES_WHY_MAX])
{
	struct verify_user user;
	struct verify_user firewall_user;
	int ret = verify_find_user(places->conf->user, &user, why);
	if (!ret && places->conf->firewall) {
		ret = verify_find_user(places->conf->firewall_user, &firewall_user, why);
	}
	ret = ret ? ret : place_state_dir(places->conf->state_dir, user.uid, user.gid, why);
	return ret ? ret : take_lock(places, left_over, why);
}

static uint32_t count_cores(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	return sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}

static void find_capacity(struct places *places)
{
	struct rlimit limit = {0};
	struct sysinfo info = {0};
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit); /* the roles inherit it */
	(void)sysinfo(&info);
	engine_capacity_of(places->conf, limit.rlim_max, count_cores(),
	                   (uint64_t)info.totalram * info.mem_unit, &places->capacity);
	places->conf->workers = places->capacity.workers;
}

void places_settle(const struct places *places, struct conf *conf)
{
	conf->workers = places->capacity.workers;
	if (conf->keep_rules == CONF_KEEP_RULES_AUTO) {
		conf->keep_rules = sockets_are_held(&places->sockets) ? CONF_KEEP_RULES_YES
		                                                      : CONF_KEEP_RULES_NO;
	}
}

/* The effective configuration in a file nobody can change any more. */
static int make_conf_fd(const struct conf *conf, char why[static PLACES_WHY_MAX])
{
	struct textfile text = {0};
	FILE *file = open_memstream(&text.bytes, &text.len);
	int ret = file ? conf_print(conf, file) : -errno;
	if (file && fclose(file) != 0 && !ret) {
		ret = -errno;
	}
	ret = ret ? ret : textfile_seal(&text);
	free(text.bytes);
	if (ret < 0) {
		(void)snprintf(why, PLACES_WHY_MAX, "handing over the configuration: %s",
		               err_text(ret));
	}
	return ret;
}

static int open_conf(struct places *places, char why[static PLACES_WHY_MAX])
{
	places->conf_fd = make_conf_fd(places->conf, why);
	return places->conf_fd < 0 ? places->conf_fd : 0;
}

/* The engine of a killed supervisor may still answer on it for a moment. */
static int open_control(struct places *places, int wait_ms, char why[static PLACES_WHY_MAX])
{
	int ret = place_control_socket(places->conf->control_socket, &places->control, why);
	for (; ret == ERR_BUSY && wait_ms > 0; wait_ms -= TAKE_OVER_STEP_MS) {
		wait_step();
		ret = place_control_socket(places->conf->control_socket, &places->control, why);
	}
	return ret;
}

/* What the administrator may write beside the configuration; returns how many there are. */
static size_t describe_files(const struct conf *conf, struct watched files[static PLACES_FILES_MAX])
{
	files[0] = (struct watched){
	        .path = conf->allowed_domains_file,
	        .may_miss = strcmp(conf->allowed_domains_file, MIRED_DOMAINS_PATH) == 0,
	        .type = MSG_DOMAINS,
	        .role = ROLE_ENGINE};
	files[1] = (struct watched){.path = conf->nospamd_file,
	                            .may_miss = strcmp(conf->nospamd_file, MIRED_NOSPAMD_PATH) == 0,
	                            .type = MSG_NOSPAMD,
	                            .role = ROLE_FIREWALL};
	return conf->firewall ? PLACES_FILES_MAX : PLACES_FILES_MAX - 1;
}

/* Also what a role reads only when it runs: a start that cannot succeed must not begin. */
static int open_files(struct places *places, char why[static PLACES_WHY_MAX])
{
	struct watched files[PLACES_FILES_MAX];
	size_t n = describe_files(places->conf, files);
	for (size_t i = 0; i < n; i++) {
		places->files[i] = files[i];
		int ret = watched_open(&places->files[i], clock_mono(), why);
		if (ret) {
			return ret;
		}
		places->n_files++;
	}
	return 0;
}

static int open_sockets(struct places *places, int wait_ms, char why[static PLACES_WHY_MAX])
{
	struct given given;
	int ret = given_find(&given, why);
	ret = ret ? ret : sockets_open(&places->sockets, places->conf, &given, wait_ms, why);
	if (!ret && places->conf->spamd_cfg_port) {
		ret = sockets_open_cfg(places->conf->spamd_cfg_port, wait_ms, &places->cfg, why);
	}
	ret = ret ? ret : synced_open(&places->synced, places->conf, wait_ms, why);
	return ret ? ret : open_control(places, wait_ms, why);
}

int places_open(struct places *places, struct conf *conf, char why[static PLACES_WHY_MAX])
{
	bool left_over = false;
	*places = (struct places){.conf = conf,
	                          .lock = -1,
	                          .signals = -1,
	                          .control = -1,
	                          .cfg = -1,
	                          .pid_file = -1,
	                          .synced = {.setup_fd = -1, .socket = -1},
	                          .conf_fd = -1,
	                          .state_fd = -1,
	                          .rules_fd = -1,
	                          .was_auto = conf->max_connections == 0};
	int ret = open_signals(places, why);
	ret = ret ? ret : open_files(places, why);
	ret = ret ? ret : open_state(places, &left_over, why);
	if (!ret) {
		find_capacity(places);
		ret = open_sockets(places, left_over ? TAKE_OVER_MS : 0, why);
	}
	ret = ret ? ret : place_pid_file(conf->pid_file, &places->pid_file, why);
	if (!ret) {
		places_settle(places, conf);
		ret = open_conf(places, why);
	}
	return ret;
}

static void close_fd(int fd)
{
	if (fd >= 0) {
		(void)close(fd);
	}
}

/* --- reload ----------------------------------------------------------------------------------- */

static void replace_fd(int *place, int fd)
{
	close_fd(*place);
	*place = fd;
}

int places_seal_json(const json_t *json)
{
	struct textfile text = {.bytes = json_dumps(json, JSON_COMPACT)};
	text.len = text.bytes ? strlen(text.bytes) : 0;
	int ret = text.bytes ? textfile_seal(&text) : -ENOMEM;
	free(text.bytes);
	return ret;
}

int places_set_state(struct places *places, const json_t *state)
{
	int fd = places_seal_json(state);
	if (fd >= 0) {
		replace_fd(&places->state_fd, fd);
	}
	return fd < 0 ? fd : 0;
}

/* *fd is -1 where mired has no rules of its own. */
static int make_rules_fd(const struct conf *conf, int *fd, char why[static PLACES_WHY_MAX])
{
	struct textfile text = {0};
	char reason[FW_WHY_MAX] = "";
	*fd = -1;
	if (!conf->firewall || conf->rules == CONF_RULES_NONE) {
		return 0;
	}
	int ret = fw_rules_render(conf, &text.bytes, reason);
	if (ret) {
		(void)snprintf(why, PLACES_WHY_MAX, "%s", reason);
		return ret;
	}
	text.len = strlen(text.bytes);
	*fd = textfile_seal(&text);
	free(text.bytes);
	if (*fd < 0) {
		(void)snprintf(why, PLACES_WHY_MAX, "rules: %s", err_text(*fd));
	}
	return *fd < 0 ? *fd : 0;
}

/* Once it has been in force, a file that cannot be read leaves the old content; before that it is a
 * fault of the configuration. */
static int try_files(const struct conf *conf, char why[static PLACES_WHY_MAX])
{
	struct watched files[PLACES_FILES_MAX];
	size_t n = describe_files(conf, files);
	for (size_t i = 0; i < n; i++) {
		struct textfile text;
		int ret = textfile_read(files[i].path, files[i].may_miss, &text, why);
		if (ret) {
			return ret;
		}
		textfile_fini(&text);
	}
	return 0;
}

static void put_conf(struct places *places, struct conf *fresh, struct mono now)
{
	struct watched files[PLACES_FILES_MAX];
	conf_fini(places->conf);
	*places->conf = *fresh;
	memset(fresh, 0, sizeof *fresh);
	(void)describe_files(places->conf, files);
	for (size_t i = 0; i < places->n_files; i++) {
		places->files[i].path = files[i].path;
		places->files[i].may_miss = files[i].may_miss;
		watched_ask(&places->files[i], now);
	}
}

int places_reload(struct places *places, struct conf *fresh, const json_t *state, struct mono now,
                  char why[static PLACES_WHY_MAX])
{
	int conf_fd = -1;
	int state_fd = -1;
	int rules_fd = -1;
	why[0] = '\0';
	int ret = try_files(fresh, why);
	ret = ret ? ret : make_rules_fd(fresh, &rules_fd, why);
	if (!ret) {
		conf_fd = make_conf_fd(fresh, why);
		ret = conf_fd < 0 ? conf_fd : 0;
	}
	if (!ret) {
		state_fd = places_seal_json(state);
		ret = state_fd < 0 ? state_fd : 0;
	}
	if (ret) {
		if (!*why) {
			(void)snprintf(why, PLACES_WHY_MAX, "%s", err_text(ret));
		}
		close_fd(conf_fd);
		close_fd(rules_fd);
		return ret;
	}
	replace_fd(&places->conf_fd, conf_fd);
	replace_fd(&places->state_fd, state_fd);
	replace_fd(&places->rules_fd, rules_fd);
	put_conf(places, fresh, now);
	return 0;
}

void places_close(struct places *places)
{
	sockets_close(&places->sockets);
	synced_close(&places->synced);
	if (places->control >= 0) {
		(void)unlink(places->conf->control_socket);
	}
	if (places->pid_file >= 0) {
		(void)unlink(places->conf->pid_file);
	}
	const int fds[] = {places->control,  places->cfg,      places->pid_file, places->conf_fd,
	                   places->state_fd, places->rules_fd, places->signals};
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		close_fd(fds[i]);
	}
	for (size_t i = 0; i < places->n_files; i++) {
		watched_close(&places->files[i]);
	}
	if (places->lock >= 0) {
		place_unlock(places->lock); /* last: from here on a successor may start */
	}
}
