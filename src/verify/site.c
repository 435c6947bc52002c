/* A function for each thing that is looked at; places are in site_places.c. */
#include "verify/site.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "mired/names.h"
#include "verify/site_places.h"
#include "verify/verify.h"

enum { UNIT_TEXT_BYTES = 512 };

#define SOCKET_UNIT_COMMAND                                                              \
	"exec /bin/systemctl show -p LoadState -p ActiveState mired.socket 2>/dev/null " \
	"</dev/null"
#define SYSTEMD_RUNS "/run/systemd/system" /* sd_booted(3) */

/* --- files ------------------------------------------------------------------------------------ */

static void look_at(struct site *site, enum site_file_kind kind, const char *path)
{
	struct site_file *file = &site->files[kind];
	struct stat st;
	if (!path || !path[0] ||
	    (size_t)snprintf(file->path, sizeof file->path, "%s", path) >= sizeof file->path) {
		file->path[0] = '\0';
		return;
	}
	file->ret = stat(path, &st) == 0 ? 0 : -errno;
	if (file->ret) {
		return;
	}
	file->uid = st.st_uid;
	file->gid = st.st_gid;
	file->mode = st.st_mode;
	if (kind == SITE_KEY) {
		/* a copy may bring the time of its original, as by `scp -p` */
		site->key_changed_at = st.st_ctim.tv_sec;
	}
}

/* The directory that `path` is in. */
static void look_above(struct site *site, enum site_file_kind kind, const char *path)
{
	char parent[sizeof site->files[0].path];
	const char *slash = path ? strrchr(path, '/') : NULL;
	if (slash && slash > path && (size_t)(slash - path) < sizeof parent) {
		(void)span_to_str(span_of(path, (size_t)(slash - path)), parent, sizeof parent);
		look_at(site, kind, parent);
	}
}

static void look_below(struct site *site, enum site_file_kind kind, const char *dir,
                       const char *name)
{
	char path[sizeof site->files[0].path];
	if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) < sizeof path) {
		look_at(site, kind, path);
	}
}

static void read_files(struct site *site, const struct conf *conf)
{
	const char *path = conf->path ? conf->path : MIRED_CONF_PATH;
	look_at(site, SITE_CONF, path);
	look_above(site, SITE_CONF_DIR, path);
	look_at(site, SITE_LISTS, conf->lists_file);
	look_at(site, SITE_NOSPAMD, conf->nospamd_file);
	look_at(site, SITE_DOMAINS, conf->allowed_domains_file);
	look_at(site, SITE_KEY, conf->sync_key_file);
	look_at(site, SITE_STATE_DIR, conf->state_dir);
	look_below(site, SITE_STORE, conf->state_dir, "db/data.mdb");
	look_below(site, SITE_LISTS_DIR, conf->state_dir, "lists");
	look_above(site, SITE_RUN_DIR, conf->control_socket);
}

/* What the daemon reads as its user, who is not root under systemd. */
static const enum site_file_kind read_kinds[] = {SITE_CONF, SITE_NOSPAMD, SITE_DOMAINS};

static bool becomes(const char *name, const struct verify_user *user)
{
	return initgroups(name, user->gid) == 0 &&
	       setresgid(user->gid, user->gid, user->gid) == 0 &&
	       setresuid(user->uid, user->uid, user->uid) == 0;
}

/* The child's part, so that the kernel judges: a bit for each file that is closed to this user. */
static int try_files(const struct site *site, const char *name, const struct verify_user *user)
{
	int hidden = 0;
	if (!becomes(name, user)) {
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(read_kinds); i++) {
		int fd = open(site->files[read_kinds[i]].path, O_RDONLY | O_CLOEXEC);
		hidden |= fd < 0 && errno == EACCES ? 1 << i : 0;
		if (fd >= 0) {
			(void)close(fd);
		}
	}
	return hidden;
}

static void read_as(struct site *site, const char *name, const struct verify_user *user)
{
	int status = 0;
	pid_t child = geteuid() == 0 ? fork() : -1;
	if (child == 0) {
		_exit(try_files(site, name, user));
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(read_kinds); i++) {
		site->files[read_kinds[i]].is_hidden = (WEXITSTATUS(status) >> i & 1) != 0;
	}
}

static void read_user(struct site *site, const struct conf *conf)
{
	char why[VERIFY_WHY_MAX];
	struct verify_user user;
	site->has_user = verify_find_user(conf->user, &user, why) == 0;
	site->user = site->has_user ? user.uid : 0;
	if (site->has_user) {
		read_as(site, conf->user, &user);
	}
}

/* --- the rest --------------------------------------------------------------------------------- */

/* As `timedatectl` and the daemon see it (base/clock.h). */
static enum site_clock read_clock(void)
{
	struct timex state = {0};
	int ret = adjtimex(&state);
	if (ret < 0) {
		return SITE_CLOCK_UNKNOWN;
	}
	return ret == TIME_ERROR || (state.status & STA_UNSYNC) ? SITE_CLOCK_FREE
	                                                        : SITE_CLOCK_RIGHT;
}

static enum site_unit read_socket_unit(void)
{
	char text[UNIT_TEXT_BYTES];
	if (access(SYSTEMD_RUNS, F_OK) != 0) {
		return SITE_UNIT_UNKNOWN;
	}
	FILE *pipe = popen(SOCKET_UNIT_COMMAND, "re");
	if (!pipe) {
		return SITE_UNIT_UNKNOWN;
	}
	size_t n = fread(text, 1, sizeof text, pipe);
	return pclose(pipe) == 0 ? site_parse_unit(span_of(text, n)) : SITE_UNIT_UNKNOWN;
}

static bool has_line(struct span text, const char *line)
{
	while (text.len > 0) {
		if (span_equal(span_cut(text, '\n', &text), span_of_str(line))) {
			return true;
		}
	}
	return false;
}

enum site_unit site_parse_unit(struct span text)
{
	if (!has_line(text, "LoadState=loaded")) {
		return has_line(text, "LoadState=not-found") ? SITE_UNIT_MISSING
		                                             : SITE_UNIT_UNKNOWN;
	}
	return has_line(text, "ActiveState=active") ? SITE_UNIT_ACTIVE : SITE_UNIT_INACTIVE;
}

static void read_rules(struct site *site, const struct conf *conf)
{
	site->rules_ret = -ENOSYS;
	if (conf->firewall) {
		site->rules_ret = fw_compare(conf, &site->rules, site->rules_why);
	}
}

void site_read(struct site *site, const struct conf *conf)
{
	read_files(site, conf);
	read_user(site, conf);
	read_rules(site, conf);
	site->clock = read_clock();
	site->socket_unit = read_socket_unit();
	site_read_places(site, conf);
	if (conf_digest(conf, site->digest) != 0) {
		site->digest[0] = '\0';
	}
}
