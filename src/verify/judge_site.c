/* What is wrong with a site: one function for each kind of thing, a row of `checks`. Each says what
 * mends it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "sync/setup.h"
#include "verify/site.h"

enum {
	MODE_OTHERS_WRITE = S_IWGRP | S_IWOTH,
	MODE_KEY = S_IWGRP | S_IRWXO, /* its group is how a mired that is not root reads it */
	LOGD_PATIENCE_SECS = 3600,
};

#define LOOK_AT_LOG "journalctl -u mired -n 50"

struct question {
	const struct conf *conf;
	const struct site *site;
	finding_sink *sink;
	void *ctx;
	size_t n_findings;
};

PRINTF(4, 5)
static void find(struct question *q, enum severity severity, const char *mend, const char *format,
                 ...)
{
	struct finding finding = {.severity = severity};
	va_list args;
	va_start(args, format);
	(void)vsnprintf(finding.text, sizeof finding.text, format, args);
	va_end(args);
	(void)snprintf(finding.mend, sizeof finding.mend, "%s", mend);
	q->n_findings += severity != SEVERITY_NOTE;
	q->sink(q->ctx, &finding);
}

/* --- files ------------------------------------------------------------------------------------ */

/* Who must own a file, and what nobody else may do with it. */
static const struct file_rule {
	mode_t forbidden;
	bool is_users; /* mired's user owns it, else root */
	enum severity severity;
	const char *otherwise;
} file_rules[SITE_FILE_COUNT] = {
        [SITE_CONF] = {MODE_OTHERS_WRITE, false, SEVERITY_ERROR, "who may write it rules mired"},
        [SITE_CONF_DIR] = {MODE_OTHERS_WRITE, false, SEVERITY_ERROR,
                           "who may write it may exchange the configuration"},
        [SITE_LISTS] = {MODE_OTHERS_WRITE, false, SEVERITY_ERROR,
                        "who may write it has commands executed by mired-setup"},
        [SITE_NOSPAMD] = {MODE_OTHERS_WRITE, false, SEVERITY_WARNING,
                          "who may write it exempts hosts"},
        [SITE_DOMAINS] = {MODE_OTHERS_WRITE, false, SEVERITY_WARNING,
                          "who may write it says who is trapped"},
        [SITE_KEY] = {MODE_KEY, false, SEVERITY_ERROR,
                      "who knows it whitelists hosts on all gateways"},
        [SITE_STATE_DIR] = {S_IWGRP | S_IRWXO, true, SEVERITY_ERROR,
                            "mired cannot use it, or others read whose mail came"},
        [SITE_STORE] = {S_IWGRP | S_IRWXO, true, SEVERITY_ERROR,
                        "mired cannot use it, or others read whose mail came"},
        [SITE_LISTS_DIR] = {S_IWGRP | S_IWOTH, true, SEVERITY_ERROR,
                            "mired cannot keep its lists there"},
        [SITE_RUN_DIR] = {S_IWOTH, false, SEVERITY_WARNING,
                          "who may write it may answer in mired's place"},
};

/* A private directory in front of it keeps others out of what is below. */
static bool is_below_state(enum site_file_kind kind)
{
	return kind == SITE_STORE || kind == SITE_LISTS_DIR;
}

static void judge_file(struct question *q, enum site_file_kind kind)
{
	const struct site_file *file = &q->site->files[kind];
	const struct file_rule *rule = &file_rules[kind];
	char mend[FINDING_MEND_MAX];
	uid_t owner = rule->is_users ? q->site->user : 0;
	/* what root alone may change may as well be mired's: its run directory is */
	bool is_owned = file->uid == owner || (kind == SITE_RUN_DIR && file->uid == q->site->user);
	mode_t excess = file->mode & rule->forbidden;
	if (is_owned && excess == 0) {
		return;
	}
	const char *name = rule->is_users ? q->conf->user : "root";
	if (!is_owned) {
		(void)snprintf(mend, sizeof mend, "chown %s '%s'", name, file->path);
		find(q, rule->severity, mend, "%s belongs to user %u, must be %s's: %s", file->path,
		     file->uid, name, rule->otherwise);
	} else {
		(void)snprintf(mend, sizeof mend, "chmod %04o '%s'",
		               (file->mode & 07777) & ~rule->forbidden, file->path);
		find(q, rule->severity, mend, "%s has mode %04o: %s", file->path,
		     file->mode & 07777, rule->otherwise);
	}
}

/* Only the unit's mired is not root: started by hand, it reads everything. */
static void judge_hidden(struct question *q, enum site_file_kind kind)
{
	const struct site_file *file = &q->site->files[kind];
	const struct site_file *dir = &q->site->files[SITE_CONF_DIR];
	bool has_unit = q->site->socket_unit == SITE_UNIT_INACTIVE ||
	                q->site->socket_unit == SITE_UNIT_ACTIVE;
	char mend[FINDING_MEND_MAX];
	if (!file->is_hidden || !has_unit) {
		return;
	}
	if (!(file->mode & S_IROTH)) {
		(void)snprintf(mend, sizeof mend, "chmod a+r '%s'", file->path);
	} else if (dir->path[0] && !(dir->mode & S_IXOTH)) {
		(void)snprintf(mend, sizeof mend, "chmod a+rx '%s'", dir->path);
	} else {
		(void)snprintf(mend, sizeof mend, "namei -l '%s' shows where", file->path);
	}
	find(q, SEVERITY_ERROR, mend, "%s cannot be read by %s, the user of mired.service",
	     file->path, q->conf->user);
}

static void judge_files(struct question *q)
{
	for (enum site_file_kind kind = 0; kind < SITE_FILE_COUNT; kind++) {
		const struct site_file *file = &q->site->files[kind];
		bool is_judged = !file_rules[kind].is_users || q->site->has_user;
		if (!file->path[0] || file->ret == -ENOENT || file->ret == -ENOTDIR || !is_judged) {
			continue;
		}
		if (file->ret == 0) {
			judge_file(q, kind);
			judge_hidden(q, kind);
		} else if (!is_below_state(kind)) {
			find(q, SEVERITY_NOTE, "", "%s cannot be looked at: %s", file->path,
			     err_text(file->ret));
		}
	}
}

/* --- the rules in the kernel ------------------------------------------------------------------ */

/* Somebody else holds the ports: clients wait there for the next start. */
static bool is_held(const struct question *q)
{
	bool is_taken = q->site->n_places > 0;
	for (size_t i = 0; i < q->site->n_places; i++) {
		is_taken &= q->site->places[i].ret == -EADDRINUSE;
	}
	return q->site->socket_unit == SITE_UNIT_ACTIVE || is_taken;
}

static void judge_left_rules(struct question *q)
{
	const char *table = q->conf->nft_table;
	if (q->site->rules.standing == FW_STANDING_NONE) {
		return;
	}
	if (is_held(q)) {
		find(q, SEVERITY_NOTE, "systemctl start mired",
		     "no mired runs; table inet %s is there, and clients wait for the next start",
		     table);
	} else {
		find(q, SEVERITY_ERROR, "systemctl start mired, or mired --remove-rules",
		     "no mired runs, and table inet %s sends everybody who is not whitelisted to a "
		     "closed port",
		     table);
	}
}

static bool is_other_conf(const struct question *q)
{
	const struct site *site = q->site;
	return site->daemon.is_there && site->daemon.digest[0] && site->digest[0] &&
	       strcmp(site->daemon.digest, site->digest) != 0;
}

static void judge_standing(struct question *q)
{
	const struct site *site = q->site;
	switch (site->rules.standing) {
	case FW_STANDING_SAME:
		break;
	case FW_STANDING_NONE:
		find(q, SEVERITY_ERROR, "systemctl restart mired",
		     "table inet %s is not in the kernel, although a mired runs",
		     q->conf->nft_table);
		break;
	case FW_STANDING_OTHER:
		find(q, SEVERITY_WARNING,
		     is_other_conf(q) ? "miredctl reload" : "systemctl restart mired",
		     "table inet %s is not what the configuration gives: `%s` is not there",
		     q->conf->nft_table, site->rules.missing);
		break;
	}
}

static void judge_rules(struct question *q)
{
	const struct site *site = q->site;
	if (!q->conf->firewall) {
		return;
	}
	if (site->daemon.is_there && !site->daemon.has_firewall) {
		find(q, SEVERITY_ERROR, LOOK_AT_LOG,
		     "the part of mired that changes the packet filter does not run: the sets stay "
		     "as they are");
	} else if (site->daemon.is_there && !site->daemon.is_complete) {
		find(q, SEVERITY_WARNING, LOOK_AT_LOG,
		     "sets or rules are not complete yet; if that stays so, the log says why");
	}
	if (site->rules_ret == -EPERM) {
		find(q, SEVERITY_NOTE, "", "only root can see which rules stand in the kernel");
	} else if (site->rules_ret) {
		find(q, SEVERITY_NOTE, "", "which rules stand in the kernel is not known: %s",
		     site->rules_why);
	} else if (site_has_daemon(site)) {
		judge_standing(q);
	} else {
		judge_left_rules(q);
	}
}

/* What mired does without. */
static void judge_features(struct question *q)
{
	const struct site_daemon *daemon = &q->site->daemon;
	const struct {
		bool is_missing;
		enum conf_feature setting;
		const char *key;
		const char *fallback;
	} features[] = {
	        {strcmp(daemon->accept_mode, "multishot") != 0, q->conf->accept_feature,
	         "kernel-multishot-accept", "connections are accepted by one request each"},
	        {daemon->has_firewall && !daemon->has_refresh, q->conf->refresh_feature,
	         "kernel-set-refresh", "elements of the sets are renewed by delete and add"},
	        {daemon->has_firewall && !daemon->has_destroy, q->conf->destroy_feature,
	         "kernel-set-destroy", "elements of the sets are deleted one by one"},
	};
	for (size_t i = 0; i < ARRAY_LEN(features) && daemon->is_there; i++) {
		if (features[i].is_missing) {
			find(q, SEVERITY_NOTE, "", "%s%s: %s",
			     features[i].setting == CONF_FEATURE_FALLBACK
			             ? "as configured, without "
			             : "this kernel is without ",
			     features[i].key, features[i].fallback);
		}
	}
}

/* --- ports ------------------------------------------------------------------------------------ */

static void judge_visit(struct question *q, const struct site_place *place)
{
	switch (place->ret) {
	case -ECONNREFUSED:
		find(q, SEVERITY_ERROR, "systemctl restart mired",
		     "nobody listens on %s, although a mired runs", place->name);
		break;
	case -ETIMEDOUT:
		find(q, SEVERITY_ERROR, LOOK_AT_LOG,
		     "%s does not greet who connects from this host: mired hangs, or rules of this "
		     "host are in the way",
		     place->name);
		break;
	case ERR_CLOSED:
	case -ECONNRESET:
		find(q, SEVERITY_WARNING, "miredctl status",
		     "%s closes connections without a greeting: max-connections may be reached",
		     place->name);
		break;
	default: /* greeted, or this host has no such address */
		break;
	}
}

static void judge_free_port(struct question *q, const struct site_place *place)
{
	char mend[FINDING_MEND_MAX];
	if (place->ret == -EADDRINUSE && q->site->socket_unit != SITE_UNIT_ACTIVE) {
		(void)snprintf(mend, sizeof mend, "ss -ltnp 'sport = :%u' shows who", place->port);
		find(q, SEVERITY_WARNING, mend,
		     "another program listens on %s: mired cannot start, unless that hands it the "
		     "socket",
		     place->name);
	} else if (place->ret == -EADDRNOTAVAIL && q->conf->rules != CONF_RULES_GATEWAY_TPROXY) {
		find(q, SEVERITY_ERROR, "listen", "no interface of this host has the address of %s",
		     place->name);
	}
}

static void judge_places(struct question *q)
{
	for (size_t i = 0; i < q->site->n_places; i++) {
		if (site_has_daemon(q->site)) {
			judge_visit(q, &q->site->places[i]);
		} else {
			judge_free_port(q, &q->site->places[i]);
		}
	}
}

static void judge_socket_unit(struct question *q)
{
	if (q->site->socket_unit == SITE_UNIT_INACTIVE) {
		find(q, SEVERITY_NOTE,
		     "systemctl stop mired; systemctl enable --now mired.socket; systemctl start "
		     "mired",
		     "mired.socket is not active: clients are refused while mired is restarted");
	}
}

/* --- the configuration of the mired that runs ------------------------------------------------- */

static void judge_conf(struct question *q)
{
	const struct site *site = q->site;
	if (site->daemon.is_stuck) {
		find(q, SEVERITY_ERROR, "systemctl restart mired",
		     "a mired runs and does not answer: its engine hangs, or begins anew; if that "
		     "stays so, the log says why");
	}
	if (site->daemon.is_silent) {
		find(q, SEVERITY_NOTE, "sudo miredctl check",
		     "the mired that runs tells only root and the group %s of itself",
		     q->conf->stats_group);
	}
	if (is_other_conf(q)) {
		find(q, SEVERITY_WARNING, "miredctl reload",
		     "the configuration has changed since mired read it");
	}
	if (site->daemon.is_there && site->daemon.pending[0]) {
		find(q, SEVERITY_WARNING, "systemctl restart mired",
		     "changed, and in force from the next start only: %s", site->daemon.pending);
	}
	if (site->daemon.is_there && sync_is_wanted(q->conf) &&
	    site->key_changed_at > site->daemon.started_at) {
		find(q, SEVERITY_WARNING, "systemctl restart mired",
		     "%s has changed since mired read it: peers with the new key are not "
		     "understood",
		     q->conf->sync_key_file);
	}
}

static void judge_clock(struct question *q)
{
	const struct site *site = q->site;
	if (site->daemon.is_there && site->daemon.is_clock_paused) {
		find(q, SEVERITY_WARNING, "miredctl clock-ok, once `date` is right",
		     "the clock has jumped ahead: nothing expires meanwhile");
	}
	if (site->clock == SITE_CLOCK_FREE) {
		find(q, sync_is_wanted(q->conf) ? SEVERITY_WARNING : SEVERITY_NOTE,
		     "timedatectl set-ntp true", "the clock is not synchronised%s",
		     sync_is_wanted(q->conf) ? ": peers refuse what is too far from theirs"
		                             : ": records live and die by it");
	}
}

/* Whether it is there shows only in what it tells. */
static void judge_logd(struct question *q)
{
	const struct site_daemon *daemon = &q->site->daemon;
	if (daemon->is_there && q->conf->firewall && !q->conf->blacklist_only &&
	    daemon->n_seen == 0 && daemon->uptime_secs >= LOGD_PATIENCE_SECS) {
		find(q, SEVERITY_NOTE, "systemctl enable --now mired-logd",
		     "mired-logd has reported no connection since mired started, %lld minutes ago: "
		     "without it white hosts expire while they send mail",
		     (long long)daemon->uptime_secs / 60);
	}
}

static void (*const checks[])(struct question *q) = {
        judge_files, judge_rules,       judge_features, judge_places,
        judge_conf,  judge_socket_unit, judge_clock,    judge_logd,
};

size_t judge_site(const struct conf *conf, const struct site *site, finding_sink *sink, void *ctx)
{
	struct question q = {.conf = conf, .site = site, .sink = sink, .ctx = ctx};
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		checks[i](&q);
	}
	return q.n_findings;
}
