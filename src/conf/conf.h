/* The whole configuration as one typed, read-only struct. schema.c holds one row per key (name,
 * option letter, type, bounds, default, unit, field, help); parse.c is the only user of libconfuse.
 * Strings belong to the struct. Immutable after conf_load; any thread may read it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/compiler.h"

enum {
	CONF_LISTEN_MAX = 16,
	CONF_INTERFACES_MAX = 16,
	CONF_MX_MAX = 32,
	CONF_SYNC_PEERS_MAX = 32,
	CONF_WORKERS_MAX = 256,
	CONF_ERROR_MAX = 512,
};

enum conf_rules {
	CONF_RULES_NONE, /* the administrator writes rules; mired fills the sets of its table only
	                  */
	CONF_RULES_LOCAL_MTA,      /* nft/local-mta.nft: the MTA runs on this host */
	CONF_RULES_GATEWAY,        /* nft/gateway.nft: the MXes are behind this host */
	CONF_RULES_GATEWAY_TPROXY, /* nft/gateway-tproxy.nft: the same without connection tracking
	                              of what mired holds; its listeners are transparent */
};

/* Code of the final reply to a listed host. */
enum conf_code { CONF_CODE_450, CONF_CODE_550 };

#define CONF_MAX_LISTED_AUTO UINT32_MAX

/* auto probes the kernel; the other value forces the fallback so that it can be tested. */
enum conf_feature { CONF_FEATURE_AUTO, CONF_FEATURE_FALLBACK };

/* Where log lines go. */
enum conf_log_target {
	CONF_LOG_AUTO, /* the journal where there is one, else syslog */
	CONF_LOG_JOURNAL,
	CONF_LOG_SYSLOG,
};

/* What becomes of the rules when mired stops in order. */
enum conf_keep_rules {
	CONF_KEEP_RULES_AUTO, /* they stay if somebody else holds the listening sockets: clients
	                         wait there for the next start */
	CONF_KEEP_RULES_NO,
	CONF_KEEP_RULES_YES,
};

/* When a changed key takes effect. */
enum conf_reload {
	CONF_RESTART,         /* with a restart of mired */
	CONF_RESTART_LOGD,    /* with one of mired-logd, which alone reads it */
	CONF_RESTART_BOTH,    /* with one of both */
	CONF_RESTART_METRICS, /* with one of who serves the metrics over HTTP */
	CONF_NEXT_SETUP,      /* when mired-setup runs the next time */
	CONF_LIVE,            /* with a reload */
	CONF_LIVE_LOGD,       /* likewise, but mired-logd reads it, too, and takes a restart */
	CONF_LIVE_BELOW,      /* likewise up to what the start made room for */
	CONF_LIVE_FILLED,     /* likewise, except a list's first and last value */
	CONF_RELOAD_COUNT
};

/* Fields are grouped by meaning. */
struct conf {
	/* processes and files */
	char *user;           /* key `user`: engine and store */
	char *firewall_user;  /* key `firewall-user` */
	char *state_dir;      /* `state-dir`, /var/lib/mired; the store is state_dir/db */
	char *control_socket; /* `control-socket`, /run/mired/mired.sock */
	char *pid_file;       /* `pid-file`, /run/mired/mired.pid */
	char *stats_group;    /* `stats-group`, mired-stats */
	char *admin_group;    /* `admin-group`, mired-admin */
	char *log_ident;      /* `log-ident`, mired */
	enum conf_log_target log_target; /* `log-target` */
	uint32_t log_rate;     /* `log-rate`: lines of a kind and second; what is more is counted */
	uint16_t metrics_port; /* `metrics-port` on 127.0.0.1; 0 = off */
	int64_t report_interval_secs; /* `report-interval`, 30m: a row of the report each */
	bool verbose;                 /* `verbose`, -v */
	bool foreground;              /* -d: log to stderr */
	/* SMTP */
	struct addr listen[CONF_LISTEN_MAX]; /* `listen`, -l; default 0.0.0.0 and :: */
	size_t n_listen;
	uint16_t port;     /* `port`, -p; 8025 */
	char *hostname;    /* `hostname`, -h; default gethostname() */
	char *banner_name; /* `banner-name`, -n */
	char *banner; /* `banner`: text after "220 ", %h host name, %n banner name, %% percent */
	uint32_t stutter_ms;          /* `stutter`, -s (0..10 s) */
	uint32_t grey_stutter_ms;     /* `grey-stutter`, -S (0..90 s); 0 = never stutter grey */
	uint32_t read_timeout_ms;     /* `read-timeout`, 400 s */
	uint32_t write_timeout_ms;    /* `write-timeout`, 400 s */
	uint32_t close_wait_ms;       /* `close-wait`, 5 s after a final reply */
	uint32_t close_discard_bytes; /* `close-discard`, 64 KiB after a final reply */
	uint32_t bad_commands_max;    /* `bad-commands`, 20: the next one ends the session */
	/* listed hosts */
	bool blacklist_only;        /* `blacklist-only`, -b: no greylisting */
	enum conf_code listed_code; /* `listed-code`, -4 or -5 */
	/* `max-listed`, -B: listed connections beyond these are not stuttered;
	 * CONF_MAX_LISTED_AUTO = max-connections - 100, at least 0 */
	uint32_t max_listed;
	uint32_t list_prefixes_max; /* `list-prefixes`: networks of all lists together */
	uint16_t spamd_cfg_port;    /* `spamd-cfg-port` on 127.0.0.1; 0 = off */
	/* engine */
	uint32_t workers;         /* `workers`; 0 = one a core */
	uint32_t max_connections; /* `max-connections`, -c; 0 = what the limits carry, 800..100,000
	                           */
	uint32_t tick_ms;         /* `tick`, 50 ms (10..1000) */
	uint32_t look_max_ms; /* `look-interval`: a silent client is looked at this rarely at most;
	                         4 s */
	uint32_t receive_buffer_bytes; /* `receive-buffer`, -w; SO_RCVBUF of the listener; 2304 */
	uint32_t send_buffer_bytes;    /* `send-buffer`, SO_SNDBUF of the listener; 4608 */
	uint32_t user_timeout_ms;      /* `tcp-user-timeout`, 120 s */
	uint32_t backlog;              /* `backlog`, listen backlog, 4096 */
	uint32_t byte_budget; /* `byte-budget`: stuttered bytes a second of all workers; 0 = auto */
	enum conf_feature accept_feature; /* `kernel-multishot-accept` = auto|fallback */
	/* greylist */
	int64_t passtime_secs; /* `passtime`, 25m, -G */
	int64_t greyexp_secs;  /* `greyexp`, 4h */
	int64_t whiteexp_secs; /* `whiteexp`, 36d */
	unsigned ipv6_prefix;  /* `ipv6-prefix`, 64 (32..128): grey and white go by it */
	/* traps */
	int64_t trapexp_secs;       /* `trapexp`, 24h, from the last hit */
	char *trap_text;            /* `trap-text`: message to trapped hosts, %A = their address */
	char *allowed_domains_file; /* `allowed-domains-file`; missing or empty = all allowed */
	struct addr low_priority_mx[CONF_MX_MAX]; /* `low-priority-mx`, -M */
	size_t n_low_priority_mx;
	uint16_t low_priority_port; /* `low-priority-port`, 8027: where the rules send them */
	/* store */
	uint32_t store_wait_ms;  /* `store-wait`, 10 s */
	uint32_t store_retry_ms; /* `store-retry`, 2 s after a failed commit */
	uint64_t map_bytes;      /* `store-map`, 64 GiB */
	uint32_t commit_max;     /* `commit-max`, changes in a group commit, 256 */
	uint32_t commit_wait_ms; /* `commit-wait`, how long a commit gathers changes, 0..250 ms; 20
	                          */
	uint32_t burst_max;   /* `burst-max`: new tuples on disk that wait for their places in the
	                         store; 0 = off */
	uint64_t journal_max; /* `journal-max`, entries; 1,000,000 */
	uint32_t host_cache_slots;  /* `host-cache`, 1 Mi slots of 64 bytes */
	uint32_t tuple_cache_slots; /* `tuple-cache`, 1 Mi slots of 64 bytes */
	uint32_t sweep_ms;          /* `sweep-interval`, 1 s */
	/* firewall */
	bool firewall;                   /* `firewall`; no = nf_tables is never touched */
	char *nft_table;                 /* `nft-table`, "mired" (family inet) */
	enum conf_rules rules;           /* `rules` */
	char *rules_dir;                 /* `rules-dir`: where the templates are */
	enum conf_keep_rules keep_rules; /* `keep-rules` */
	bool set_counters;   /* `set-counters`: packets and bytes of each element (pf's counters) */
	char *traffic_class; /* `traffic-class` of what is sent to held clients, "1:25" or "off" */
	char *interfaces[CONF_INTERFACES_MAX]; /* `interface`: towards the internet */
	size_t n_interfaces;
	struct addr mx[CONF_MX_MAX]; /* `mx-addresses`: the MXes behind a gateway, as clients
	                                address them */
	size_t n_mx;
	/* `mta-addresses`: whose outbound mail whitelists its destinations; gateway: empty = the
	 * MXes */
	struct addr mta[CONF_MX_MAX];
	size_t n_mta;
	uint16_t nflog_in;  /* `nflog-in`, 25: group of passed connections of whitelisted hosts */
	uint16_t nflog_out; /* `nflog-out`, 26: group of the MTAs' connections to others */
	uint16_t smtp_port; /* `smtp-port`, 25 */
	char *nospamd_file; /* `nospamd-file`, /etc/mired/nospamd; a missing default file is empty
	                     */
	uint32_t watch_ms;  /* `firewall-watch`, 500 ms */
	enum conf_feature refresh_feature; /* `kernel-set-refresh` = auto|fallback (delete + add) */
	enum conf_feature
	        destroy_feature; /* `kernel-set-destroy` = auto|fallback (delete one by one) */
	/* mired-setup */
	char *lists_file;         /* `lists-file`, /etc/mired/spamd.conf */
	char *fetch_user;         /* `fetch-user`: downloads and runs method=exec */
	uint32_t list_timeout_ms; /* `list-timeout`: for one list in all */
	uint64_t list_bytes_max;  /* `list-size`: of one list, unpacked */
	uint32_t list_change_max; /* `list-change`: factor by which a list may shrink or grow */
	/* mired-logd */
	char *logd_user;  /* `logd-user`; this user has the right to report hosts */
	uint32_t seen_ms; /* `seen-interval`: a host is reported this often at most */
	/* synchronisation */
	char *sync_listen; /* `sync-listen`, -y: address, or interface[:ttl]; NULL or "" = none */
	char *sync_peers[CONF_SYNC_PEERS_MAX]; /* `sync-peer`, -Y: name, or interface[:ttl] */
	size_t n_sync_peers;
	char *sync_key_file;    /* `sync-key`, /etc/mired/sync.key */
	bool sync_insecure;     /* `sync-insecure`: without a key file, spamd's empty key */
	uint16_t sync_port;     /* `sync-port`, 8025/udp */
	int64_t sync_skew_secs; /* `sync-skew`, 10m: how far peers' clocks may be off */
	bool logd_sync;         /* `logd-sync`: mired-logd sends to the sync_peers, too */
	/* where it came from */
	char *path;    /* the file read, for messages */
	bool has_file; /* there was one; only the usual one may be missing */
};

/* What the command line of mired said. */
struct conf_cli {
	bool check_only;   /* --check-config */
	bool print;        /* --print-config */
	bool remove_rules; /* --remove-rules */
	bool help;
	bool version;
};

/* Fills *conf with defaults, then the file, then the options: later wins. Every program that needs
 * the configuration calls this; `argv` may be NULL (file only). path NULL = /etc/mired/mired.conf,
 * which may be missing; a path that was given (-f FILE, --config FILE) must exist. On failure *conf
 * is empty and why holds "file:line: reason" or the option's complaint. 0, ERR_SYNTAX, ERR_RANGE,
 * ERR_UNSUPPORTED, -errno. */
MUST_USE int conf_load(struct conf *conf, struct conf_cli *cli, const char *path, int argc,
                       char **argv, char why[static CONF_ERROR_MAX]);
/* Reads a configuration that conf_print wrote (a role's memfd). */
MUST_USE int conf_load_fd(struct conf *conf, int fd, char why[static CONF_ERROR_MAX]);
/* Writes the effective configuration as a file that conf_load reads back to the same values. */
MUST_USE int conf_print(const struct conf *conf, FILE *out);
/* Writes an example file: every key with its help, its range and its default. */
MUST_USE int conf_print_example(FILE *out);
/* Safe on a struct that is all zero; leaves one. */
void conf_fini(struct conf *conf);

/* A key that a reload finds changed; the texts are as in a file. */
struct conf_change {
	const char *key;
	const char *before;
	const char *after;
	/* The old value stays in force, in mired, until `mend` is done. */
	bool is_pending;
	bool is_in_force; /* mired goes by the new value; `mend` is for another program */
	const char *mend; /* the command that is still needed; NULL: none */
};

/* What a reload has to know besides the two configurations. */
struct conf_merge_env {
	uint32_t connections_max; /* what the start made room for */
	bool was_auto;            /* that was max-connections = auto */
	void (*on_change)(void *ctx, const struct conf_change *change); /* NULL: nobody listens */
	void *ctx;
};

/* *fresh, as just loaded, becomes what a mired that runs with *running may take on: keys that need
 * a restart get their running value back. Each key that differs is told. On failure (-ENOMEM,
 * ERR_SYNTAX: old and new values do not go together) *fresh is still to be freed and of no other
 * use. */
MUST_USE int conf_merge(struct conf *fresh, const struct conf *running,
                        const struct conf_merge_env *env, char why[static CONF_ERROR_MAX]);
enum { CONF_DIGEST_MAX = 17 };
/* A short name of what conf_print writes, in hexadecimal: equal configurations have equal ones. */
MUST_USE int conf_digest(const struct conf *conf, char out[static CONF_DIGEST_MAX]);
/* *out becomes a conf of its own with the same values. -ENOMEM: it is empty. */
MUST_USE int conf_copy(struct conf *out, const struct conf *from);

/* The --help text of mired's options, from the schema. */
void conf_print_help(FILE *out);

/* "25m" "36d" "5s" "250ms" "4h" "2w"; bare digits are seconds. ERR_SYNTAX, ERR_RANGE. Pure. */
MUST_USE int conf_parse_duration_ms(const char *text, int64_t *ms);
/* "64g" "512m" "4k" or bytes. Pure. */
MUST_USE int conf_parse_size(const char *text, uint64_t *bytes);
/* "1:25", both numbers hexadecimal: a class of tc(8), major number in the upper 16 bits; "off" is
 * 0. ERR_SYNTAX, ERR_RANGE: a number that no class has. Pure. */
MUST_USE int conf_parse_class(const char *text, uint32_t *class_id);
