/* The schema: one row a key. A new key is a field in conf.h, a row here and a line in
 * mired.conf(5); options, file, --print-config, --help and the example file follow from it. */
#include "conf/schema.h"

#include <assert.h>
#include <string.h>

#include "mired/names.h"

#define SEC  INT64_C(1000) /* bounds of SCHEMA_MS rows */
#define MIN  (60 * SEC)
#define HOUR (60 * MIN)
#define DAY  (24 * HOUR)
#define YEAR (INT64_C(365) * 24 * 3600) /* bounds of SCHEMA_SECS rows */
#define KIB  INT64_C(1024)
#define GIB  (KIB * KIB * KIB)

static const char *const bool_words[] = {"no", "yes", NULL};
static const char *const rules_words[] = {[CONF_RULES_NONE] = "none",
                                          [CONF_RULES_LOCAL_MTA] = "local-mta",
                                          [CONF_RULES_GATEWAY] = "gateway",
                                          [CONF_RULES_GATEWAY_TPROXY] = "gateway-tproxy",
                                          NULL};
static const char *const log_target_words[] = {[CONF_LOG_AUTO] = "auto",
                                               [CONF_LOG_JOURNAL] = "journal",
                                               [CONF_LOG_SYSLOG] = "syslog",
                                               NULL};
static const char *const keep_rules_words[] = {[CONF_KEEP_RULES_AUTO] = "auto",
                                               [CONF_KEEP_RULES_NO] = "no",
                                               [CONF_KEEP_RULES_YES] = "yes",
                                               NULL};
static const char *const feature_words[] = {
        [CONF_FEATURE_AUTO] = "auto", [CONF_FEATURE_FALLBACK] = "fallback", NULL};
static const char *const auto_words[] = {"auto", NULL};
static const char *const off_words[] = {"off", NULL};
static const char *const code_words[] = {[CONF_CODE_450] = "450", [CONF_CODE_550] = "550", NULL};

#define AT(field)      offsetof(struct conf, field), 0
#define LIST(field, n) offsetof(struct conf, field), offsetof(struct conf, n)

// clang-format off
const struct schema_row schema_rows[] = {
	/* processes and files */
	{"user", 0, SCHEMA_NAME, AT(user), 1, 32, NULL, "mired",
	 "user of the engine, which talks to clients and keeps the store", CONF_RESTART},
	{"firewall-user", 0, SCHEMA_NAME, AT(firewall_user), 1, 32, NULL, "mired-fw",
	 "user of the role that changes nf_tables", CONF_RESTART},
	{"state-dir", 0, SCHEMA_PATH, AT(state_dir), 1, 480, NULL, MIRED_STATE_DIR,
	 "state directory; the store is its file db", CONF_RESTART},
	{"control-socket", 0, SCHEMA_PATH, AT(control_socket), 1, 107, NULL, MIRED_SOCKET_PATH,
	 "socket that miredctl talks to", CONF_RESTART_BOTH},
	{"pid-file", 0, SCHEMA_PATH, AT(pid_file), 1, 480, NULL, MIRED_PID_PATH,
	 "where the process id is written", CONF_RESTART},
	{"stats-group", 0, SCHEMA_NAME, AT(stats_group), 1, 32, NULL, "mired-stats",
	 "group that may read the status", CONF_RESTART},
	{"admin-group", 0, SCHEMA_NAME, AT(admin_group), 1, 32, NULL, "mired-admin",
	 "group that may give orders over the control socket", CONF_RESTART},
	{"log-ident", 0, SCHEMA_NAME, AT(log_ident), 1, 48, NULL, "mired",
	 "name in front of the log lines (spamd for old scripts)", CONF_RESTART},
	{"log-target", 0, SCHEMA_WORD, AT(log_target), 0, 0, log_target_words, "auto",
	 "where the log goes; auto = the journal where there is one, else syslog", CONF_RESTART_BOTH},
	{"log-rate", 0, SCHEMA_U32, AT(log_rate), 1, 1000000, off_words, "1000",
	 "lines of a kind logged in a second; what is more is counted", CONF_LIVE_LOGD},
	{"metrics-port", 0, SCHEMA_U16, AT(metrics_port), 1, 65535, off_words, "off",
	 "port on 127.0.0.1 where miredctl serves the metrics over HTTP (9625)", CONF_RESTART_METRICS},
	{"report-interval", 0, SCHEMA_SECS, AT(report_interval_secs), 1, DAY / SEC, NULL, "30m",
	 "miredctl report has a row for each such time", CONF_RESTART},
	{"verbose", 'v', SCHEMA_BOOL, AT(verbose), 0, 1, bool_words, "no",
	 "log sender and recipient of each attempt", CONF_LIVE_LOGD},
	{"foreground", 'd', SCHEMA_BOOL, AT(foreground), 0, 1, bool_words, "no",
	 "log to stderr instead of syslog", CONF_RESTART},
	/* SMTP */
	{"listen", 'l', SCHEMA_ADDRS, LIST(listen, n_listen), 0, CONF_LISTEN_MAX, NULL,
	 "0.0.0.0 ::", "addresses to listen on", CONF_RESTART},
	{"port", 'p', SCHEMA_U16, AT(port), 1, 65535, NULL, "8025",
	 "port to listen on; the rules redirect SMTP to it", CONF_RESTART},
	{"hostname", 'h', SCHEMA_TEXT, AT(hostname), 1, 255, NULL, NULL,
	 "host name in the banner; default: the machine's", CONF_LIVE},
	{"banner-name", 'n', SCHEMA_TEXT, AT(banner_name), 1, 128, NULL, "ready",
	 "product text in the banner", CONF_LIVE},
	{"banner", 0, SCHEMA_TEXT, AT(banner), 1, 256, NULL, "%h ESMTP %n",
	 "banner after 220: %h host name, %n banner-name, %% percent", CONF_LIVE},
	{"stutter", 's', SCHEMA_MS, AT(stutter_ms), 0, 10 * SEC, NULL, "1s",
	 "time between the characters of a reply", CONF_LIVE},
	{"grey-stutter", 'S', SCHEMA_MS, AT(grey_stutter_ms), 0, 90 * SEC, NULL, "10s",
	 "a grey connection is stuttered this long; 0 = not at all", CONF_LIVE},
	{"read-timeout", 0, SCHEMA_MS, AT(read_timeout_ms), 1 * SEC, DAY, NULL, "400s",
	 "a client that sends no command for this long is closed", CONF_LIVE},
	{"write-timeout", 0, SCHEMA_MS, AT(write_timeout_ms), 1 * SEC, DAY, NULL, "400s",
	 "a client that takes no byte for this long is closed", CONF_LIVE},
	{"close-wait", 0, SCHEMA_MS, AT(close_wait_ms), 100, 10 * MIN, NULL, "5s",
	 "wait for the client's close after the final reply", CONF_LIVE},
	{"close-discard", 0, SCHEMA_BYTES32, AT(close_discard_bytes), 0, GIB, NULL, "64k",
	 "bytes read and thrown away after the final reply", CONF_LIVE},
	{"bad-commands", 0, SCHEMA_U32, AT(bad_commands_max), 0, 254, NULL, "20",
	 "unknown commands allowed; the next one ends the connection", CONF_LIVE},
	/* listed hosts */
	{"blacklist-only", 'b', SCHEMA_BOOL, AT(blacklist_only), 0, 1, bool_words, "no",
	 "no greylisting: only listed hosts are sent here", CONF_RESTART},
	{"listed-code", 0, SCHEMA_WORD, AT(listed_code), 0, 0, code_words, "450",
	 "code of the final reply to listed hosts; -4 and -5 set it", CONF_LIVE},
	{"max-listed", 'B', SCHEMA_U32, AT(max_listed), 0, INT32_MAX, auto_words, "auto",
	 "listed connections that are stuttered; auto = max-connections - 100", CONF_LIVE},
	{"list-prefixes", 0, SCHEMA_U32, AT(list_prefixes_max), 1000, 100000000, NULL, "4000000",
	 "most networks in all lists together", CONF_LIVE},
	{"spamd-cfg-port", 0, SCHEMA_U16, AT(spamd_cfg_port), 1, 65535, off_words, "off",
	 "port on 127.0.0.1 where spamd-setup(8) and its like deliver lists (8026)", CONF_RESTART},
	/* engine */
	{"workers", 0, SCHEMA_U32, AT(workers), 1, CONF_WORKERS_MAX, auto_words, "auto",
	 "threads that serve connections; auto = one a core", CONF_RESTART},
	{"max-connections", 'c', SCHEMA_U32, AT(max_connections), 1, 10000000, auto_words, "auto",
	 "most connections at a time; auto = what the limits carry", CONF_LIVE_BELOW},
	{"tick", 0, SCHEMA_MS, AT(tick_ms), 10, 1 * SEC, NULL, "50ms",
	 "step of the timers", CONF_RESTART},
	{"look-interval", 0, SCHEMA_MS, AT(look_max_ms), 50, MIN, NULL, "4s",
	 "a silent client is looked at this rarely at most", CONF_LIVE},
	{"receive-buffer", 'w', SCHEMA_BYTES32, AT(receive_buffer_bytes), 1, INT32_MAX, NULL,
	 "2304", "receive buffer of a connection", CONF_RESTART},
	{"send-buffer", 0, SCHEMA_BYTES32, AT(send_buffer_bytes), 1, INT32_MAX, NULL, "4608",
	 "send buffer of a connection", CONF_RESTART},
	{"tcp-user-timeout", 0, SCHEMA_MS, AT(user_timeout_ms), 1 * SEC, DAY, NULL, "2m",
	 "the kernel gives up a connection whose peer acknowledges nothing for this long",
	 CONF_RESTART},
	{"backlog", 0, SCHEMA_U32, AT(backlog), 1, 65535, NULL, "4096",
	 "connections that may wait to be accepted", CONF_RESTART},
	{"byte-budget", 0, SCHEMA_U32, AT(byte_budget), 100, 1000000000, auto_words, "auto",
	 "stuttered bytes a second of all workers; beyond it the stutter stretches", CONF_LIVE},
	{"kernel-multishot-accept", 0, SCHEMA_WORD, AT(accept_feature), 0, 0, feature_words,
	 "auto", "use the kernel's multishot accept if it has it", CONF_RESTART},
	/* greylist */
	{"passtime", 0, SCHEMA_SECS, AT(passtime_secs), 1, YEAR, NULL, "25m",
	 "a retry counts when it comes later than this", CONF_LIVE},
	{"greyexp", 0, SCHEMA_SECS, AT(greyexp_secs), 1, 10 * YEAR, NULL, "4h",
	 "a tuple without a retry lives this long", CONF_LIVE},
	{"whiteexp", 0, SCHEMA_SECS, AT(whiteexp_secs), 1, 10 * YEAR, NULL, "36d",
	 "a whitelisted host without traffic lives this long", CONF_LIVE_LOGD},
	{"ipv6-prefix", 0, SCHEMA_U32, AT(ipv6_prefix), 32, 128, NULL, "64",
	 "bits of an IPv6 address by which a host is known", CONF_RESTART_BOTH},
	/* traps */
	{"trapexp", 0, SCHEMA_SECS, AT(trapexp_secs), 1, 10 * YEAR, NULL, "24h",
	 "a trapped host is free this long after its last hit", CONF_LIVE},
	{"trap-text", 0, SCHEMA_TEXT, AT(trap_text), 1, 400, NULL,
	 "Mail from %A is refused for now: it was sent to an address that gets no mail.",
	 "message to trapped hosts; %A = their address", CONF_LIVE},
	{"allowed-domains-file", 0, SCHEMA_PATH, AT(allowed_domains_file), 1, 480, NULL,
	 MIRED_DOMAINS_PATH, "file of domains that get mail here; mail to others is a trap hit",
	 CONF_LIVE},
	{"low-priority-mx", 'M', SCHEMA_ADDRS, LIST(low_priority_mx, n_low_priority_mx), 0,
	 CONF_MX_MAX, NULL, NULL, "low-priority MX addresses: who tries them first is trapped",
	 CONF_LIVE_FILLED},
	{"low-priority-port", 0, SCHEMA_U16, AT(low_priority_port), 1, 65535, NULL, "8027",
	 "port to listen on for connections to low-priority-mx", CONF_RESTART},
	/* store */
	{"store-wait", 0, SCHEMA_MS, AT(store_wait_ms), 1, 10 * MIN, NULL, "10s",
	 "a final reply waits at most this long for the store", CONF_LIVE},
	{"store-retry", 0, SCHEMA_MS, AT(store_retry_ms), 10, HOUR, NULL, "2s",
	 "time between tries after a failed commit", CONF_LIVE},
	{"store-map", 0, SCHEMA_BYTES64, AT(map_bytes), KIB * KIB, 16 * KIB * GIB, NULL, "64g",
	 "address space of the store: its greatest size", CONF_RESTART},
	{"commit-max", 0, SCHEMA_U32, AT(commit_max), 1, 500, NULL, "256",
	 "most changes in one commit", CONF_LIVE},
	{"commit-wait", 0, SCHEMA_MS, AT(commit_wait_ms), 0, 250, NULL, "20ms",
	 "how long a commit gathers changes", CONF_LIVE},
	{"burst-max", 0, SCHEMA_U32, AT(burst_max), 0, 10000000, NULL, "1000000",
	 "new tuples on disk that may wait for their places in the store; 0 = none", CONF_LIVE},
	{"journal-max", 0, SCHEMA_U64, AT(journal_max), 1000, 1000000000, NULL, "1000000",
	 "changes kept for readers that are behind", CONF_RESTART},
	{"host-cache", 0, SCHEMA_U32, AT(host_cache_slots), 64, 1 << 30, NULL, "1048576",
	 "hosts kept in memory, 64 bytes each", CONF_RESTART},
	{"tuple-cache", 0, SCHEMA_U32, AT(tuple_cache_slots), 64, 1 << 30, NULL, "1048576",
	 "tuples kept in memory, 64 bytes each", CONF_RESTART},
	{"sweep-interval", 0, SCHEMA_MS, AT(sweep_ms), 50, HOUR, NULL, "1s",
	 "time between looks for expired records", CONF_LIVE},
	/* firewall */
	{"firewall", 0, SCHEMA_BOOL, AT(firewall), 0, 1, bool_words, "yes",
	 "no = nf_tables is never touched", CONF_RESTART},
	{"nft-table", 0, SCHEMA_NAME, AT(nft_table), 1, 64, NULL, MIRED_NFT_TABLE,
	 "nf_tables table of this instance, family inet", CONF_RESTART},
	{"rules", 0, SCHEMA_WORD, AT(rules), 0, 0, rules_words, "none",
	 "chains to install; none = sets only, the administrator writes the rules", CONF_RESTART},
	{"rules-dir", 0, SCHEMA_PATH, AT(rules_dir), 1, 480, NULL, MIRED_NFT_DIR,
	 "where the rule templates are", CONF_RESTART},
	{"keep-rules", 0, SCHEMA_WORD, AT(keep_rules), 0, 0, keep_rules_words, "auto",
	 "rules stay when mired stops; auto = if systemd holds its sockets", CONF_LIVE},
	{"set-counters", 0, SCHEMA_BOOL, AT(set_counters), 0, 1, bool_words, "no",
	 "count packets and bytes of each address in the kernel's sets", CONF_RESTART},
	{"traffic-class", 0, SCHEMA_TEXT, AT(traffic_class), 1, 9, NULL, "1:25",
	 "tc class of what is sent to held clients, MAJOR:MINOR in hexadecimal, or off", CONF_LIVE},
	{"interface", 0, SCHEMA_INTERFACES, LIST(interfaces, n_interfaces), 0,
	 CONF_INTERFACES_MAX, NULL, NULL, "interfaces towards the internet", CONF_LIVE},
	{"mx-addresses", 0, SCHEMA_ADDRS, LIST(mx, n_mx), 0, CONF_MX_MAX, NULL, NULL,
	 "addresses of the mail servers behind a gateway, as clients use them", CONF_LIVE},
	{"mta-addresses", 0, SCHEMA_ADDRS, LIST(mta, n_mta), 0, CONF_MX_MAX, NULL, NULL,
	 "hosts whose outbound mail whitelists its destinations; default: mx-addresses", CONF_LIVE},
	{"nflog-in", 0, SCHEMA_U16, AT(nflog_in), 1, 65535, NULL, "25",
	 "NFLOG group of whitelisted hosts that connect", CONF_RESTART_BOTH},
	{"nflog-out", 0, SCHEMA_U16, AT(nflog_out), 1, 65535, NULL, "26",
	 "NFLOG group of connections to other mail servers", CONF_RESTART_BOTH},
	{"smtp-port", 0, SCHEMA_U16, AT(smtp_port), 1, 65535, NULL, "25",
	 "port of the mail server", CONF_LIVE},
	{"nospamd-file", 0, SCHEMA_PATH, AT(nospamd_file), 1, 480, NULL, MIRED_NOSPAMD_PATH,
	 "file of addresses and networks that never see mired", CONF_LIVE},
	{"firewall-watch", 0, SCHEMA_MS, AT(watch_ms), 20, HOUR, NULL, "500ms",
	 "time between looks whether the table is still there", CONF_LIVE},
	{"kernel-set-refresh", 0, SCHEMA_WORD, AT(refresh_feature), 0, 0, feature_words, "auto",
	 "let the kernel refresh an element's timeout if it can", CONF_RESTART},
	{"kernel-set-destroy", 0, SCHEMA_WORD, AT(destroy_feature), 0, 0, feature_words, "auto",
	 "use the kernel's destroy request if it has it", CONF_RESTART},
	/* mired-setup */
	{"lists-file", 0, SCHEMA_PATH, AT(lists_file), 1, 480, NULL, MIRED_LISTS_PATH,
	 "which lists there are, in the grammar of spamd.conf(5)", CONF_NEXT_SETUP},
	{"fetch-user", 0, SCHEMA_NAME, AT(fetch_user), 1, 32, NULL, "mired-fetch",
	 "user that downloads lists and runs those made by a program", CONF_NEXT_SETUP},
	{"list-timeout", 0, SCHEMA_MS, AT(list_timeout_ms), 1 * SEC, HOUR, NULL, "2m",
	 "fetching a list may take this long", CONF_NEXT_SETUP},
	{"list-size", 0, SCHEMA_BYTES64, AT(list_bytes_max), 1 * KIB, 4 * GIB, NULL, "256m",
	 "most bytes of a list, unpacked", CONF_NEXT_SETUP},
	{"list-change", 0, SCHEMA_U32, AT(list_change_max), 2, 1000000, off_words, "10",
	 "a list that shrank or grew by more than this factor is not believed", CONF_NEXT_SETUP},
	/* mired-logd */
	{"logd-user", 0, SCHEMA_NAME, AT(logd_user), 1, 32, NULL, "mired-log",
	 "user of mired-logd; it may report hosts over the control socket", CONF_RESTART_BOTH},
	{"seen-interval", 0, SCHEMA_MS, AT(seen_ms), 100, HOUR, NULL, "10s",
	 "mired-logd reports the same host this often at most", CONF_RESTART_LOGD},
	/* synchronisation */
	{"sync-listen", 'y', SCHEMA_TEXT, AT(sync_listen), 0, 63, NULL, NULL,
	 "receive at this address, or from the group at this interface[:ttl]", CONF_RESTART},
	{"sync-peer", 'Y', SCHEMA_PEERS, LIST(sync_peers, n_sync_peers), 0, CONF_SYNC_PEERS_MAX,
	 NULL, NULL, "send to these hosts, or to the group at this interface[:ttl]", CONF_RESTART_BOTH},
	{"sync-key", 0, SCHEMA_PATH, AT(sync_key_file), 1, 480, NULL, MIRED_SYNC_KEY_PATH,
	 "key file, the same on all gateways; miredctl sync-key makes one", CONF_RESTART_BOTH},
	{"sync-insecure", 0, SCHEMA_BOOL, AT(sync_insecure), 0, 1, bool_words, "no",
	 "without a key file, synchronise with spamd's empty key", CONF_RESTART_BOTH},
	{"sync-port", 0, SCHEMA_U16, AT(sync_port), 1, 65535, NULL, "8025",
	 "UDP port of synchronisation, the same on all gateways", CONF_RESTART_BOTH},
	{"sync-skew", 0, SCHEMA_SECS, AT(sync_skew_secs), 1, DAY / SEC, NULL, "10m",
	 "what comes from clocks that are further off is refused", CONF_LIVE},
	{"logd-sync", 0, SCHEMA_BOOL, AT(logd_sync), 0, 1, bool_words, "no",
	 "mired-logd without -Y sends the hosts it saw to the sync-peers", CONF_RESTART_LOGD},
};
// clang-format on

const size_t schema_n_rows = ARRAY_LEN(schema_rows);

static_assert(ARRAY_LEN(schema_rows) <= SCHEMA_ROWS_MAX, "arrays over the rows are this long");

bool schema_is_list(const struct schema_row *row)
{
	return row->kind == SCHEMA_ADDRS || row->kind == SCHEMA_INTERFACES ||
	       row->kind == SCHEMA_PEERS;
}

const struct schema_row *schema_find(const char *name)
{
	for (size_t i = 0; i < schema_n_rows; i++) {
		if (strcmp(schema_rows[i].name, name) == 0) {
			return &schema_rows[i];
		}
	}
	return NULL;
}

const struct schema_row *schema_find_letter(char letter)
{
	for (size_t i = 0; i < schema_n_rows; i++) {
		if (letter != 0 && schema_rows[i].letter == letter) {
			return &schema_rows[i];
		}
	}
	return NULL;
}
