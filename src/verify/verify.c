/* The checks stand in a table; each writes its own lines. */
#include "verify/verify.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/textfile.h"
#include "fw/fw.h"
#include "mired/names.h"
#include "policy/cidr.h"
#include "policy/domains.h"
#include "sync/setup.h"

enum {
	LINE_TEXT_MAX = 200,
	LINES_SHOWN_MAX = 100, /* of a file; who gave a wrong one needs no more to see it */
};

int verify_find_user(const char *name, struct verify_user *out, char why[static VERIFY_WHY_MAX])
{
	const struct passwd *pw = getpwnam(name);
	if (!pw) {
		(void)snprintf(why, VERIFY_WHY_MAX,
		               "user %s does not exist (useradd --system %s makes it)", name, name);
		return ERR_NOT_FOUND;
	}
	if (pw->pw_uid == 0) {
		(void)snprintf(why, VERIFY_WHY_MAX, "user %s is root: a role needs its own user",
		               name);
		return ERR_DENIED;
	}
	*out = (struct verify_user){pw->pw_uid, pw->pw_gid};
	return 0;
}

static int check_user(const char *name, FILE *out)
{
	char why[VERIFY_WHY_MAX];
	struct verify_user user;
	if (verify_find_user(name, &user, why) == 0) {
		return 0;
	}
	(void)fprintf(out, "%s\n", why);
	return 1;
}

/* Programs of their own, which may not be in use here. */
static void note_user(const char *name, const char *program, FILE *out)
{
	char why[VERIFY_WHY_MAX];
	struct verify_user user;
	if (verify_find_user(name, &user, why) != 0) {
		(void)fprintf(out, "note: %s; %s needs it\n", why, program);
	}
}

static int check_users(const struct conf *conf, FILE *out)
{
	note_user(conf->fetch_user, "mired-setup", out);
	note_user(conf->logd_user, "mired-logd", out);
	return check_user(conf->user, out) +
	       (conf->firewall ? check_user(conf->firewall_user, out) : 0);
}

/* A missing group only means that nobody has its rights. */
static int check_groups(const struct conf *conf, FILE *out)
{
	const char *const groups[] = {conf->stats_group, conf->admin_group};
	for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
		if (!getgrnam(groups[i])) {
			(void)fprintf(out, "note: group %s does not exist: nobody has its rights\n",
			              groups[i]);
		}
	}
	return 0;
}

struct bad_lines {
	const char *path;
	FILE *out;
	int n;
};

static void bad_line(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	struct bad_lines *bad = ctx;
	char text[LINE_TEXT_MAX];
	if (bad->n++ < LINES_SHOWN_MAX) {
		(void)fprintf(bad->out, "%s:%u: %s: %s\n", bad->path, line_no, reason,
		              span_escape(line, text, sizeof text));
	}
}

static void end_lines(const struct bad_lines *bad)
{
	if (bad->n > LINES_SHOWN_MAX) {
		(void)fprintf(bad->out, "%s: %d bad lines in all\n", bad->path, bad->n);
	}
}

static int check_networks(const char *path, struct span text, FILE *out)
{
	struct bad_lines bad = {path, out, 0};
	struct cidr *cidrs = calloc(FW_NOSPAMD_MAX, sizeof *cidrs);
	int ret = cidrs ? cidr_parse_list(text, cidrs, FW_NOSPAMD_MAX, bad_line, &bad) : -ENOMEM;
	if (ret == ERR_TOO_LONG) {
		(void)fprintf(out, "%s: more than %d entries\n", path, FW_NOSPAMD_MAX);
	} else if (ret < 0) {
		(void)fprintf(out, "%s: %s\n", path, err_text(ret));
	}
	end_lines(&bad);
	free(cidrs);
	return bad.n + (ret < 0);
}

static int check_domains(const char *path, struct span text, FILE *out)
{
	struct bad_lines bad = {path, out, 0};
	struct domains *domains = NULL;
	int ret = domains_parse(text, bad_line, &bad, &domains);
	if (ret == ERR_TOO_LONG) {
		(void)fprintf(out, "%s: more than %d entries\n", path, DOMAINS_MAX);
	} else if (ret < 0) {
		(void)fprintf(out, "%s: %s\n", path, err_text(ret));
	}
	end_lines(&bad);
	domains_free(domains);
	return bad.n + (ret < 0);
}

/* A file of the administrator's, as the supervisor reads it. */
struct file_check {
	const char *path;
	const char *usual_path; /* where it may be missing ... */
	const char *note;       /* ... which means this */
	int (*check)(const char *path, struct span text, FILE *out);
};

static int check_file(const struct file_check *file, FILE *out)
{
	char why[TEXTFILE_WHY_MAX];
	struct textfile text;
	int n_faults = 1;
	if (textfile_read(file->path, strcmp(file->path, file->usual_path) == 0, &text, why) != 0) {
		(void)fprintf(out, "%s\n", why);
		return n_faults;
	}
	if (text.is_missing) {
		(void)fprintf(out, "note: %s does not exist: %s\n", file->path, file->note);
		n_faults = 0;
	} else {
		n_faults = file->check(file->path, span_of(text.bytes, text.len), out);
	}
	textfile_fini(&text);
	return n_faults;
}

int verify_files(const struct conf *conf, FILE *out)
{
	const struct file_check files[] = {
	        {conf->nospamd_file, MIRED_NOSPAMD_PATH, "no network is exempt", check_networks},
	        {conf->allowed_domains_file, MIRED_DOMAINS_PATH, "all domains get mail",
	         check_domains},
	};
	int n_faults = 0;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		n_faults += check_file(&files[i], out);
	}
	return n_faults;
}

static int check_rules(const struct conf *conf, FILE *out)
{
	char why[FW_WHY_MAX];
	char *rules = NULL;
	if (!conf->firewall || fw_rules_render(conf, &rules, why) == 0) {
		free(rules);
		return 0;
	}
	(void)fprintf(out, "%s\n", why);
	return 1;
}

/* As the start does it, but at any port: the real one may be that of a mired that runs. */
static int try_sync(struct conf *conf, char why[static SYNC_SETUP_WHY_MAX])
{
	struct sync_setup setup = {0};
	int socket = -1;
	conf->sync_port = 0;
	int ret = sync_setup_open(conf, false, &setup, &socket, why);
	explicit_bzero(&setup.key, sizeof setup.key);
	if (ret == 0) {
		(void)close(socket);
	}
	return ret;
}

static int check_sync(const struct conf *conf, FILE *out)
{
	char why[SYNC_SETUP_WHY_MAX] = "";
	struct conf trial = *conf;
	if (!sync_is_wanted(conf)) {
		return 0;
	}
	if (conf->blacklist_only) {
		(void)fputs("note: blacklist-only: there is no greylist to keep in step\n", out);
		return 0;
	}
	int ret = try_sync(&trial, why);
	if (ret == ERR_NOT_FOUND) {
		(void)fprintf(out, "note: %s; nothing is synchronised\n", why);
		trial.sync_insecure = true; /* the rest can be looked at without it */
		ret = try_sync(&trial, why);
	}
	if (ret) {
		(void)fprintf(out, "%s\n", why);
	}
	return ret ? 1 : 0;
}

int verify_for_reload(const struct conf *conf, FILE *out)
{
	int n_faults = check_user(conf->user, out) +
	               (conf->firewall ? check_user(conf->firewall_user, out) : 0);
	return n_faults + check_rules(conf, out);
}

int verify_conf(const struct conf *conf, FILE *out)
{
	int (*const checks[])(const struct conf *, FILE *) = {
	        check_users, check_groups, verify_files, check_rules, check_sync};
	int n_faults = 0;
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		n_faults += checks[i](conf, out);
	}
	return n_faults;
}
