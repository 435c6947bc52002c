/* Each check by a site that has one fault. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "said.h"
#include "verify/site.h"

enum { USER = 123 };

static struct conf usual_conf(void)
{
	return (struct conf){.firewall = true,
	                     .rules = CONF_RULES_GATEWAY,
	                     .nft_table = "mired",
	                     .user = "mired",
	                     .port = 8025};
}

static void set_file(struct site *site, enum site_file_kind kind, const char *path, mode_t mode)
{
	struct site_file *file = &site->files[kind];
	*file = (struct site_file){.mode = mode};
	(void)snprintf(file->path, sizeof file->path, "%s", path);
}

/* All in order, and a mired runs. */
static struct site usual_site(void)
{
	struct site site = {.daemon = {.is_there = true,
	                               .started_at = 1000,
	                               .uptime_secs = 7200,
	                               .has_firewall = true,
	                               .is_complete = true,
	                               .has_refresh = true,
	                               .has_destroy = true,
	                               .n_seen = 1,
	                               .accept_mode = "multishot",
	                               .digest = "aa"},
	                    .digest = "aa",
	                    .has_user = true,
	                    .user = USER,
	                    .places = {{.name = "0.0.0.0:8025", .port = 8025},
	                               {.name = "[::]:8025", .port = 8025}},
	                    .n_places = 2,
	                    .rules = {.standing = FW_STANDING_SAME},
	                    .clock = SITE_CLOCK_RIGHT,
	                    .socket_unit = SITE_UNIT_ACTIVE};
	set_file(&site, SITE_CONF, "/etc/mired/mired.conf", S_IFREG | 0644);
	set_file(&site, SITE_CONF_DIR, "/etc/mired", S_IFDIR | 0755);
	set_file(&site, SITE_KEY, "/etc/mired/sync.key", S_IFREG | 0640);
	set_file(&site, SITE_STATE_DIR, "/var/lib/mired", S_IFDIR | 0750);
	set_file(&site, SITE_STORE, "/var/lib/mired/db/data.mdb", S_IFREG | 0600);
	set_file(&site, SITE_RUN_DIR, "/run/mired", S_IFDIR | 0755);
	site.files[SITE_STATE_DIR].uid = site.files[SITE_STORE].uid = USER;
	return site;
}

static const struct said *judge(const struct conf *conf, const struct site *site)
{
	static struct said said;
	said.n = 0;
	said.n_faults = judge_site(conf, site, hear, &said);
	return &said;
}

static void nothing_wrong_is_nothing_said(void **state)
{
	struct conf conf = usual_conf();
	struct site site = usual_site();
	(void)state;
	assert_int_equal(judge(&conf, &site)->n, 0);
	site.files[SITE_RUN_DIR].uid = USER; /* a service manager made it for mired */
	assert_int_equal(judge(&conf, &site)->n, 0);
	site.daemon = (struct site_daemon){0};
	site.rules.standing = FW_STANDING_NONE;
	assert_int_equal(judge(&conf, &site)->n, 0);
}

static void rights_of_files_are_said_with_the_command(void **state)
{
	static const struct {
		enum site_file_kind kind;
		mode_t mode;
		uid_t uid;
		enum severity severity;
		const char *text;
		const char *mend;
	} rows[] = {
	        {SITE_CONF, S_IFREG | 0664, 0, SEVERITY_ERROR,
	         "/etc/mired/mired.conf has mode 0664: who may write it rules mired",
	         "chmod 0644 '/etc/mired/mired.conf'"},
	        {SITE_CONF, S_IFREG | 0644, 7, SEVERITY_ERROR,
	         "/etc/mired/mired.conf belongs to user 7, must be root's",
	         "chown root '/etc/mired/mired.conf'"},
	        {SITE_CONF_DIR, S_IFDIR | 0777, 0, SEVERITY_ERROR, "/etc/mired has mode 0777",
	         "chmod 0755 '/etc/mired'"},
	        {SITE_KEY, S_IFREG | 0644, 0, SEVERITY_ERROR,
	         "who knows it whitelists hosts on all gateways",
	         "chmod 0640 '/etc/mired/sync.key'"},
	        {SITE_STATE_DIR, S_IFDIR | 0750, 0, SEVERITY_ERROR,
	         "/var/lib/mired belongs to user 0, must be mired's",
	         "chown mired '/var/lib/mired'"},
	        {SITE_STORE, S_IFREG | 0600, 0, SEVERITY_ERROR, "mired cannot use it",
	         "chown mired '/var/lib/mired/db/data.mdb'"},
	        {SITE_STORE, S_IFREG | 0644, USER, SEVERITY_ERROR, "others read whose mail came",
	         "chmod 0640 '/var/lib/mired/db/data.mdb'"},
	        {SITE_RUN_DIR, S_IFDIR | 01777, 0, SEVERITY_WARNING,
	         "who may write it may answer in mired's place", "chmod 1775 '/run/mired'"},
	};
	struct conf conf = usual_conf();
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct site site = usual_site();
		site.files[rows[i].kind].mode = rows[i].mode;
		site.files[rows[i].kind].uid = rows[i].uid;
		assert_only(judge(&conf, &site), rows[i].severity, rows[i].text, rows[i].mend);
	}
}

static void what_cannot_be_looked_at_is_a_note_where_it_matters(void **state)
{
	struct conf conf = usual_conf();
	struct site site = usual_site();
	(void)state;
	site.files[SITE_KEY].ret = -EACCES;
	assert_only(judge(&conf, &site), SEVERITY_NOTE, "/etc/mired/sync.key cannot be looked at",
	            "");
	site.files[SITE_KEY].ret = -ENOENT;
	site.files[SITE_STORE].ret = -EACCES; /* as for everybody but root */
	assert_int_equal(judge(&conf, &site)->n, 0);
}

static void rules_of_a_mired_that_runs(void **state)
{
	struct conf conf = usual_conf();
	struct site site = usual_site();
	(void)state;
	site.rules.standing = FW_STANDING_NONE;
	assert_only(judge(&conf, &site), SEVERITY_ERROR,
	            "table inet mired is not in the kernel, although a mired runs",
	            "systemctl restart mired");
	site.rules.standing = FW_STANDING_OTHER;
	(void)snprintf(site.rules.missing, sizeof site.rules.missing, "tcp dport 26");
	assert_only(judge(&conf, &site), SEVERITY_WARNING,
	            "is not what the configuration gives: `tcp dport 26` is not there",
	            "systemctl restart mired");
	site = usual_site();
	site.daemon.is_complete = false;
	assert_only(judge(&conf, &site), SEVERITY_WARNING, "sets or rules are not complete yet",
	            "journalctl -u mired -n 50");
	site.daemon.has_firewall = false;
	assert_only(judge(&conf, &site), SEVERITY_ERROR,
	            "the part of mired that changes the packet filter does not run",
	            "journalctl -u mired -n 50");
	site = usual_site();
	site.rules_ret = -EPERM;
	assert_only(judge(&conf, &site), SEVERITY_NOTE, "only root can see which rules", "");
	site.daemon = (struct site_daemon){.is_silent = true};
	conf.stats_group = "mired-stats";
	assert_int_equal(judge(&conf, &site)->n, 2);
	assert_string_equal(
	        judge(&conf, &site)->findings[1].text,
	        "the mired that runs tells only root and the group mired-stats of itself");
	site = usual_site();
	site.rules_ret = ERR_UNSUPPORTED;
	(void)snprintf(site.rules_why, sizeof site.rules_why, "no such template");
	assert_only(judge(&conf, &site), SEVERITY_NOTE, "is not known: no such template", "");
	conf.firewall = false;
	assert_int_equal(judge(&conf, &site)->n, 0);
}

static void files_that_the_units_user_cannot_read(void **state)
{
	struct conf conf = usual_conf();
	struct site site = usual_site();
	(void)state;
	site.files[SITE_CONF].is_hidden = true;
	assert_only(judge(&conf, &site), SEVERITY_ERROR,
	            "/etc/mired/mired.conf cannot be read by mired, the user of mired.service",
	            "namei -l '/etc/mired/mired.conf' shows where");
	site.files[SITE_CONF_DIR].mode = S_IFDIR | 0700;
	assert_only(judge(&conf, &site), SEVERITY_ERROR, "cannot be read by mired",
	            "chmod a+rx '/etc/mired'");
	site.files[SITE_CONF].mode = S_IFREG | 0600;
	assert_only(judge(&conf, &site), SEVERITY_ERROR, "cannot be read by mired",
	            "chmod a+r '/etc/mired/mired.conf'");
	site.socket_unit = SITE_UNIT_MISSING; /* root's, started by hand */
	assert_int_equal(judge(&conf, &site)->n, 0);
}

static void a_mired_that_does_not_answer(void **state)
{
	struct conf conf = usual_conf();
	struct site site = usual_site();
	(void)state;
	site.daemon = (struct site_daemon){.is_stuck = true};
	assert_only(judge(&conf, &site), SEVERITY_ERROR, "a mired runs and does not answer",
	            "systemctl restart mired");
	site.places[1].ret = -ETIMEDOUT;
	assert_int_equal(judge(&conf, &site)->n, 2);
	assert_string_equal(judge(&conf, &site)->findings[0].mend, "journalctl -u mired -n 50");
}

static void rules_that_a_mired_left(void **state)
{
	struct conf conf = usual_conf();
	struct site site = usual_site();
	(void)state;
	site.daemon = (struct site_daemon){0};
	assert_only(judge(&conf, &site), SEVERITY_NOTE, "clients wait for the next start",
	            "systemctl start mired");
	site.socket_unit = SITE_UNIT_UNKNOWN;
	assert_only(judge(&conf, &site), SEVERITY_ERROR,
	            "table inet mired sends everybody who is not whitelisted to a closed port",
	            "systemctl start mired, or mired --remove-rules");
}

static void ports_of_a_mired_that_runs(void **state)
{
	static const struct {
		int ret;
		enum severity severity;
		const char *text;
		const char *mend;
	} rows[] = {
	        {-ECONNREFUSED, SEVERITY_ERROR,
	         "nobody listens on [::]:8025, although a mired runs", "systemctl restart mired"},
	        {-ETIMEDOUT, SEVERITY_ERROR, "[::]:8025 does not greet",
	         "journalctl -u mired -n 50"},
	        {ERR_CLOSED, SEVERITY_WARNING, "max-connections may be reached", "miredctl status"},
	        {-ECONNRESET, SEVERITY_WARNING, "[::]:8025 closes connections", "miredctl status"},
	};
	struct conf conf = usual_conf();
	struct site site = usual_site();
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		site.places[1].ret = rows[i].ret;
		assert_only(judge(&conf, &site), rows[i].severity, rows[i].text, rows[i].mend);
	}
	site.places[1].ret = -EAFNOSUPPORT; /* a host without IPv6 */
	assert_int_equal(judge(&conf, &site)->n, 0);
}

static void ports_without_a_mired(void **state)
{
	struct conf conf = usual_conf();
	struct site site = usual_site();
	(void)state;
	site.daemon = (struct site_daemon){0};
	site.rules.standing = FW_STANDING_NONE;
	site.places[0].ret = site.places[1].ret = -EADDRINUSE; /* mired.socket's */
	assert_int_equal(judge(&conf, &site)->n, 0);
	site.socket_unit = SITE_UNIT_MISSING;
	site.places[1].ret = 0;
	assert_only(judge(&conf, &site), SEVERITY_WARNING,
	            "another program listens on 0.0.0.0:8025: mired cannot start",
	            "ss -ltnp 'sport = :8025' shows who");
	site.places[0].ret = -EADDRNOTAVAIL;
	assert_int_equal(judge(&conf, &site)->n_faults, 1);
	conf.rules = CONF_RULES_GATEWAY_TPROXY; /* any address will do */
	assert_int_equal(judge(&conf, &site)->n, 0);
}

static void what_mired_does_without_is_a_note(void **state)
{
	struct conf conf = usual_conf();
	struct site site = usual_site();
	(void)state;
	site.daemon.has_refresh = false;
	assert_only(
	        judge(&conf, &site), SEVERITY_NOTE,
	        "this kernel is without kernel-set-refresh: elements of the sets are renewed by "
	        "delete and add",
	        "");
	conf.refresh_feature = CONF_FEATURE_FALLBACK;
	assert_only(judge(&conf, &site), SEVERITY_NOTE, "as configured, without kernel-set-refresh",
	            "");
	site.daemon.has_destroy = false;
	(void)snprintf(site.daemon.accept_mode, sizeof site.daemon.accept_mode, "single-shot");
	assert_int_equal(judge(&conf, &site)->n, 3);
	site.daemon.has_firewall = false; /* it cannot know */
	site.daemon.is_there = false;
	site.rules.standing = FW_STANDING_NONE;
	assert_int_equal(judge(&conf, &site)->n, 0);
}

static void what_is_configured_and_not_in_force(void **state)
{
	struct conf conf = usual_conf();
	struct site site = usual_site();
	(void)state;
	(void)snprintf(site.digest, sizeof site.digest, "bb");
	assert_only(judge(&conf, &site), SEVERITY_WARNING,
	            "the configuration has changed since mired read it", "miredctl reload");
	site.rules.standing = FW_STANDING_OTHER;
	assert_string_equal(judge(&conf, &site)->findings[0].mend, "miredctl reload");
	site = usual_site();
	(void)snprintf(site.daemon.pending, sizeof site.daemon.pending, "port, workers");
	assert_only(judge(&conf, &site), SEVERITY_WARNING,
	            "in force from the next start only: port, workers", "systemctl restart mired");
	site = usual_site();
	site.key_changed_at = 1001;
	conf.sync_key_file = "/etc/mired/sync.key";
	assert_int_equal(judge(&conf, &site)->n, 0); /* nobody uses it */
	conf.sync_listen = "198.51.100.1";
	assert_only(judge(&conf, &site), SEVERITY_WARNING,
	            "/etc/mired/sync.key has changed since mired read it",
	            "systemctl restart mired");
	site.daemon.digest[0] = '\0'; /* one that does not say */
	site.key_changed_at = 999;
	assert_int_equal(judge(&conf, &site)->n, 0);
}

static void clock_log_daemon_and_socket_unit(void **state)
{
	struct conf conf = usual_conf();
	struct site site = usual_site();
	(void)state;
	site.clock = SITE_CLOCK_FREE;
	assert_only(judge(&conf, &site), SEVERITY_NOTE, "the clock is not synchronised",
	            "timedatectl set-ntp true");
	conf.sync_listen = "198.51.100.1";
	conf.sync_key_file = "/etc/mired/sync.key";
	assert_only(judge(&conf, &site), SEVERITY_WARNING, "peers refuse",
	            "timedatectl set-ntp true");
	site = usual_site();
	site.daemon.is_clock_paused = true;
	assert_only(judge(&conf, &site), SEVERITY_WARNING, "the clock has jumped ahead",
	            "miredctl clock-ok, once `date` is right");
	site = usual_site();
	site.daemon.n_seen = 0;
	assert_only(judge(&conf, &site), SEVERITY_NOTE, "since mired started, 120 minutes ago",
	            "systemctl enable --now mired-logd");
	site.daemon.uptime_secs = 3599;
	assert_int_equal(judge(&conf, &site)->n, 0);
	site.socket_unit = SITE_UNIT_INACTIVE;
	assert_only(
	        judge(&conf, &site), SEVERITY_NOTE, "clients are refused while mired is restarted",
	        "systemctl stop mired; systemctl enable --now mired.socket; systemctl start mired");
}

static void a_units_state_is_read_from_systemctls_lines(void **state)
{
	static const struct {
		const char *text;
		enum site_unit unit;
	} rows[] = {
	        {"LoadState=loaded\nActiveState=active\n", SITE_UNIT_ACTIVE},
	        {"ActiveState=active\nLoadState=loaded", SITE_UNIT_ACTIVE},
	        {"LoadState=loaded\nActiveState=inactive\n", SITE_UNIT_INACTIVE},
	        {"LoadState=loaded\nActiveState=failed\n", SITE_UNIT_INACTIVE},
	        {"LoadState=not-found\nActiveState=inactive\n", SITE_UNIT_MISSING},
	        {"LoadState=loaded", SITE_UNIT_INACTIVE},
	        {"", SITE_UNIT_UNKNOWN},
	        {"XLoadState=loaded\nActiveState=active\n", SITE_UNIT_UNKNOWN},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(site_parse_unit(span_of_str(rows[i].text)), rows[i].unit);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(nothing_wrong_is_nothing_said),
	        cmocka_unit_test(rights_of_files_are_said_with_the_command),
	        cmocka_unit_test(what_cannot_be_looked_at_is_a_note_where_it_matters),
	        cmocka_unit_test(rules_of_a_mired_that_runs),
	        cmocka_unit_test(files_that_the_units_user_cannot_read),
	        cmocka_unit_test(a_mired_that_does_not_answer),
	        cmocka_unit_test(rules_that_a_mired_left),
	        cmocka_unit_test(ports_of_a_mired_that_runs),
	        cmocka_unit_test(ports_without_a_mired),
	        cmocka_unit_test(what_mired_does_without_is_a_note),
	        cmocka_unit_test(what_is_configured_and_not_in_force),
	        cmocka_unit_test(clock_log_daemon_and_socket_unit),
	        cmocka_unit_test(a_units_state_is_read_from_systemctls_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
