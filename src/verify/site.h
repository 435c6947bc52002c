/* What of this host bears on whether mired works as configured, beside what bears on how many
 * connections it carries (machine.h): rights of files, the rules in the kernel, the ports, the
 * clock, and what the mired that runs says of itself. Values here, judgement in judge_site.c. What
 * cannot be read, mostly for want of rights, is not known. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "conf/conf.h"
#include "engine/listener.h"
#include "fw/fw_compare.h"
#include "verify/finding.h"

enum {
	SITE_PLACES_MAX = 2 * CONF_LISTEN_MAX, /* addresses, once for each port */
	SITE_MODE_MAX = 32,
	SITE_PENDING_MAX = 256,
};

enum site_file_kind {
	SITE_CONF,     /* the configuration */
	SITE_CONF_DIR, /* the directory it is in */
	SITE_LISTS,
	SITE_NOSPAMD,
	SITE_DOMAINS,
	SITE_KEY,
	SITE_STATE_DIR,
	SITE_STORE, /* the file of the store */
	SITE_LISTS_DIR,
	SITE_RUN_DIR, /* where the control socket is */
	SITE_FILE_COUNT
};

struct site_file {
	char path[512];
	int ret; /* of looking at it; -ENOENT: it is not there */
	uid_t uid;
	gid_t gid;
	mode_t mode;
	bool is_hidden; /* mired's user is not let in; not known (false) but to root */
};

/* An address and port to listen at. */
struct site_place {
	char name[LISTENER_PLACE_MAX];
	uint16_t port;
	/* With a daemon: 0 when it greeted, -ECONNREFUSED, -ETIMEDOUT, ERR_CLOSED. Without one: 0
	 * when the port is free, -EADDRINUSE. Anything else: not known. */
	int ret;
};

enum site_clock { SITE_CLOCK_UNKNOWN, SITE_CLOCK_RIGHT, SITE_CLOCK_FREE };

/* A unit of systemd's. UNKNOWN: no systemd here. */
enum site_unit { SITE_UNIT_UNKNOWN, SITE_UNIT_MISSING, SITE_UNIT_INACTIVE, SITE_UNIT_ACTIVE };

/* What the mired that runs says of itself. */
struct site_daemon {
	bool is_there;
	bool is_silent;     /* one runs and tells the caller nothing; nothing else is set then */
	bool is_stuck;      /* one runs and does not answer; nothing else is set then */
	int64_t started_at; /* wall clock, seconds */
	int64_t uptime_secs;
	bool has_firewall; /* its role is connected */
	bool is_complete;  /* table, sets, elements and rules stand */
	bool has_refresh, has_destroy;
	bool is_clock_paused;
	uint64_t n_seen; /* connections that mired-logd reported */
	char accept_mode[SITE_MODE_MAX];
	char digest[CONF_DIGEST_MAX];   /* of its configuration as it was read; "" = not known */
	char pending[SITE_PENDING_MAX]; /* keys of it that count from the next start */
};

struct site {
	struct site_daemon daemon;               /* set by the caller, who asks it */
	char digest[CONF_DIGEST_MAX];            /* of the configuration as it is now */
	struct site_file files[SITE_FILE_COUNT]; /* path "": not configured */
	bool has_user;
	uid_t user; /* who the state belongs to */
	struct site_place places[SITE_PLACES_MAX];
	size_t n_places;
	int rules_ret; /* of fw_compare */
	struct fw_comparison rules;
	char rules_why[FW_WHY_MAX];
	enum site_clock clock;
	int64_t key_changed_at;     /* key file: content, name or rights; wall clock, seconds */
	enum site_unit socket_unit; /* mired.socket */
};

/* Fills all but the daemon, with which it takes about a second: it waits to be greeted. */
void site_read(struct site *site, const struct conf *conf);

/* Hands each finding to sink. Returns how many there are but for notes. Pure. */
size_t judge_site(const struct conf *conf, const struct site *site, finding_sink *sink, void *ctx);

/* Somebody is there to be asked, whether it answers or not. */
static inline bool site_has_daemon(const struct site *site)
{
	return site->daemon.is_there || site->daemon.is_silent || site->daemon.is_stuck;
}

/* `systemctl show -p LoadState -p ActiveState`. Pure. */
enum site_unit site_parse_unit(struct span text);
