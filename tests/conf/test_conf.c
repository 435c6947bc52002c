/* The configuration as a whole: file, options, order of precedence, round trip. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/span.h"
#include "conf/schema.h"
#include "conf_fixture.h"

static void an_empty_file_gives_the_defaults(void **state)
{
	struct fixture *fixture = *state;
	char text[ADDR_TEXT_MAX];
	assert_int_equal(fixture_load(fixture, " \n\t# nothing\n", NULL), 0);
	const struct conf *conf = &fixture->conf;
	assert_string_equal(conf->state_dir, "/var/lib/mired");
	assert_string_equal(conf->nft_table, "mired");
	assert_int_equal(conf->port, 8025);
	assert_int_equal(conf->n_listen, 2);
	assert_string_equal(addr_format(&conf->listen[0], text), "0.0.0.0");
	assert_string_equal(addr_format(&conf->listen[1], text), "::");
	assert_int_equal(conf->stutter_ms, 1000);
	assert_int_equal(conf->grey_stutter_ms, 10000);
	assert_int_equal(conf->read_timeout_ms, 400000);
	assert_int_equal(conf->receive_buffer_bytes, 2304);
	assert_int_equal(conf->passtime_secs, 25 * 60);
	assert_int_equal(conf->greyexp_secs, 4 * 3600);
	assert_int_equal(conf->whiteexp_secs, 864 * 3600);
	assert_int_equal(conf->map_bytes, UINT64_C(64) << 30);
	assert_int_equal(conf->workers, 0);
	assert_int_equal(conf->max_connections, 0);
	assert_int_equal(conf->rules, CONF_RULES_NONE);
	assert_true(conf->firewall);
	assert_false(conf->verbose);
	assert_true(strlen(conf->hostname) > 0);
	assert_string_equal(conf->path, fixture->path);
}

static void values_may_be_bare_or_quoted_and_carry_units(void **state)
{
	struct fixture *fixture = *state;
	static const char text[] = "passtime = 2m /* minutes */\n"
	                           "greyexp = \"90m\"\n"
	                           "whiteexp = '1d'   // a day\n"
	                           "stutter = 500ms\n"
	                           "read-timeout = 60\n"
	                           "store-map = 16M\n"
	                           "banner = \"it's # %h // not a comment\"\n"
	                           "state-dir = /srv//mired\n"
	                           "verbose = yes\n"
	                           "rules = gateway\n"
	                           "interface = {eth0, \"wan.7\"}\n"
	                           "mx-addresses = {192.0.2.1,\n 2001:db8::25}\n";
	assert_int_equal(fixture_load(fixture, text, NULL), 0);
	const struct conf *conf = &fixture->conf;
	assert_int_equal(conf->passtime_secs, 120);
	assert_int_equal(conf->greyexp_secs, 5400);
	assert_int_equal(conf->whiteexp_secs, 86400);
	assert_int_equal(conf->stutter_ms, 500);
	assert_int_equal(conf->read_timeout_ms, 60000);
	assert_int_equal(conf->map_bytes, 16 << 20);
	assert_string_equal(conf->banner, "it's # %h // not a comment");
	assert_string_equal(conf->state_dir, "/srv//mired");
	assert_true(conf->verbose);
	assert_int_equal(conf->rules, CONF_RULES_GATEWAY);
	assert_int_equal(conf->n_interfaces, 2);
	assert_string_equal(conf->interfaces[1], "wan.7");
	assert_int_equal(conf->n_mx, 2);
}

static void bad_files_are_refused_with_file_line_and_reason(void **state)
{
	static const struct {
		const char *text;
		int ret;
		const char *why; /* behind the path */
	} rows[] = {
	        {"# one\n\nstuter = 1s\n", ERR_SYNTAX, ":3: unknown key 'stuter'"},
	        {"/* a\nb */\n// c\nstutter = 11s\n", ERR_RANGE,
	         ":4: stutter: \"11s\" is out of range: 0s to 10s"},
	        {"port = 0\n", ERR_RANGE, ":1: port: \"0\" is out of range: 1 to 65535"},
	        {"port = http\n", ERR_SYNTAX, ":1: port: \"http\" is not a good value: 1 to 65535"},
	        {"\npasstime = 25x\n", ERR_SYNTAX,
	         ":2: passtime: \"25x\" is not a good value: 1s to 365d"},
	        {"passtime = 1500ms\n", ERR_RANGE,
	         ":1: passtime: \"1500ms\" is out of range: 1s to 365d"},
	        {"verbose = 1\n", ERR_SYNTAX, ":1: verbose: \"1\" is not a good value: no, yes"},
	        {"rules = nat\n", ERR_SYNTAX,
	         ":1: rules: \"nat\" is not a good value: none, local-mta, "
	         "gateway, gateway-tproxy"},
	        {"listen = {192.0.2.1,\n localhost}\n", ERR_SYNTAX,
	         ":2: listen: \"localhost\" is not a good value: IPv4 or IPv6 addresses"},
	        {"port = 1\n\nport = 2\n", ERR_SYNTAX, ":3: port: is set twice"},
	        {"port 25\n", ERR_SYNTAX, ":1: missing equal sign after option 'port'"},
	        {"port = {25}\n", ERR_SYNTAX, ":1: unexpected token '{'"},
	        {"port =\n", ERR_SYNTAX, ":2: premature end of file"},
	        {"banner = 'a\nb'\n", ERR_SYNTAX,
	         ":2: banner: \"a\\x0ab\" is not a good value: printable text of 1 to 256 "
	         "characters"},
	        {"state-dir = var/lib\n", ERR_SYNTAX,
	         ":1: state-dir: \"var/lib\" is not a good value: absolute path of at most 480 "
	         "bytes"},
	        {"nft-table = \"a; flush ruleset\"\n", ERR_SYNTAX,
	         ":1: nft-table: \"a; flush ruleset\" is not a good value: a plain name of 1 to "
	         "64 characters"},
	        {"interface = \"eth0 accept\"\n", ERR_SYNTAX,
	         ":1: interface: \"eth0 accept\" is not a good value: names of network "
	         "interfaces"},
	        {"banner = \"a\n\\", ERR_SYNTAX, ":2: backslash at the end of the file"},
	        {"include(\"/etc/passwd\")\n", ERR_SYNTAX, ":1: unknown key 'include'"},
	};
	struct fixture *fixture = *state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char expected[CONF_ERROR_MAX];
		(void)snprintf(expected, sizeof expected, "%s%s", fixture->path, rows[i].why);
		assert_int_equal(fixture_load(fixture, rows[i].text, NULL), rows[i].ret);
		assert_string_equal(fixture->why, expected);
		assert_null(fixture->conf.path);
	}
}

static void foreign_bytes_in_a_file_are_refused(void **state)
{
	struct fixture *fixture = *state;
	static char large[300 * 1024];
	assert_int_equal(fixture_load_bytes(fixture, "\nport\0=1", 8, NULL), ERR_SYNTAX);
	assert_non_null(strstr(fixture->why, ":2: NUL byte"));
	memset(large, '#', sizeof large);
	assert_int_equal(fixture_load_bytes(fixture, large, sizeof large, NULL), ERR_TOO_LONG);
	assert_int_equal(fixture_load(fixture, "hostname = \"\xe4\"\n", NULL), ERR_SYNTAX);
	assert_non_null(strstr(fixture->why, "\"\\xe4\""));
}

static void keys_that_do_not_fit_together_are_refused(void **state)
{
	static const struct {
		const char *text;
		const char *why;
	} rows[] = {
	        {"rules = gateway\ninterface = eth0\n", "rules: gateway needs mx-addresses"},
	        {"rules = gateway\nmx-addresses = 192.0.2.1\n", "rules: gateway needs interface"},
	        {"rules = local-mta\n", "rules: local-mta needs interface"},
	        {"listen = {}\n", "listen: at least one address is needed"},
	        {"passtime = 4h\n", "greyexp: must be longer than passtime"},
	        {"passtime = 10\ngreyexp = 11\n", "greyexp: must be longer than passtime by two"},
	        {"listen = {::1, ::1}\n", "listen: the same address twice"},
	        {"banner = '%h %x'\n", "banner: only %h, %n and %% may follow"},
	        {"banner = '50%'\n", "banner: only %h, %n and %% may follow"},
	        {"low-priority-mx = ::1\nlow-priority-port = 8025\n",
	         "low-priority-port: must not be port"},
	        {"spamd-cfg-port = 8025\n", "spamd-cfg-port: clients are served on this port"},
	        {"low-priority-mx = ::1\nspamd-cfg-port = 8027\n",
	         "spamd-cfg-port: clients are served on this port"},
	        {"max-connections = 100\nmax-listed = 101\n",
	         "max-listed: must not be greater than max-connections"},
	        {"nflog-in = 26\n", "nflog-out: must not be nflog-in"},
	        {"traffic-class = 25\n", "traffic-class: must be off, or two numbers"},
	        {"traffic-class = '0:25'\n", "traffic-class: the first number must be 1 to fffe"},
	        {"banner = '%h%h%h%h%h%h%h%h%h%h%h%h'\n"
	         "hostname = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
	         "banner: longer than 500 characters"},
	};
	struct fixture *fixture = *state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char expected[CONF_ERROR_MAX];
		int len = snprintf(expected, sizeof expected, "%s: %s", fixture->path, rows[i].why);
		assert_int_equal(fixture_load(fixture, rows[i].text, NULL), ERR_SYNTAX);
		assert_memory_equal(fixture->why, expected, (size_t)len);
	}
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	struct fixture *fixture = *state;
	char fifo[96];
	assert_int_equal(
	        conf_load(&fixture->conf, NULL, "/nonexistent/mired.conf", 0, NULL, fixture->why),
	        -ENOENT);
	assert_string_equal(fixture->why, "/nonexistent/mired.conf: No such file or directory");
	assert_int_equal(conf_load(&fixture->conf, NULL, "/tmp", 0, NULL, fixture->why), -EISDIR);
	assert_string_equal(fixture->why, "/tmp: Is a directory");
	(void)snprintf(fifo, sizeof fifo, "%s.fifo", fixture->path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	int ret = conf_load(&fixture->conf, NULL, fifo, 0, NULL, fixture->why);
	(void)unlink(fifo);
	assert_int_equal(ret, ERR_UNSUPPORTED);
}

static void an_unreadable_file_is_named(void **state)
{
	enum { NOBODY = 65534, WRONG = 1 };
	struct fixture *fixture = *state;
	int status = 0;
	assert_int_equal(chmod(fixture->path, 0), 0);
	pid_t pid = fork();
	if (pid == 0) {
		/* root reads everything */
		if (geteuid() == 0 && setuid(NOBODY) != 0) {
			_exit(WRONG);
		}
		int ret = conf_load(&fixture->conf, NULL, fixture->path, 0, NULL, fixture->why);
		_exit(ret == -EACCES && strstr(fixture->why, "Permission denied") ? 0 : WRONG);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* One value for each key that differs from its default and from the others'. */
static const char every_key[] = "user = a1\nfirewall-user = a2\nstate-dir = /a3\n"
                                "control-socket = /a4\npid-file = /a5\nstats-group = a6\n"
                                "admin-group = a7\nlog-ident = spamd\nverbose = yes\n"
                                "report-interval = 5s\n"
                                "log-target = syslog\nlog-rate = 5\nmetrics-port = 9625\n"
                                "keep-rules = yes\nset-counters = yes\n"
                                "traffic-class = \"1:26\"\n"
                                "foreground = yes\nlisten = {192.0.2.1, 2001:db8::1}\nport = 26\n"
                                "hostname = h.example\nbanner-name = 'q\\'\\\\ x'\n"
                                "banner = '%n \\\\ \\' \" ${HOME} %%'\nstutter = 1250ms\n"
                                "grey-stutter = 0\nread-timeout = 61s\nwrite-timeout = 2h\n"
                                "close-wait = 100ms\nclose-discard = 65537\nbad-commands = 0\n"
                                "workers = 3\nmax-connections = 1000000\ntick = 10ms\n"
                                "look-interval = 1500ms\nreceive-buffer = 4096\n"
                                "send-buffer = 1m\ntcp-user-timeout = 30s\nbacklog = 12\n"
                                "kernel-multishot-accept = fallback\npasstime = 1\ngreyexp = 3w\n"
                                "whiteexp = 100d\nipv6-prefix = 48\nstore-wait = 1ms\n"
                                "store-retry = 1s\nstore-map = 8m\ncommit-max = 7\n"
                                "commit-wait = 0\njournal-max = 1001\nhost-cache = 65\n"
                                "byte-budget = 5000\nburst-max = 7\n"
                                "tuple-cache = 66\nsweep-interval = 50ms\nfirewall = no\n"
                                "nft-table = t_2\nrules = gateway\nrules-dir = /r\n"
                                "interface = {eth0.1, 6to4}\nmx-addresses = {192.0.2.25, ::5}\n"
                                "smtp-port = 2525\nnospamd-file = '/with blank'\n"
                                "firewall-watch = 20ms\nkernel-set-refresh = fallback\n"
                                "kernel-set-destroy = fallback\nblacklist-only = yes\n"
                                "listed-code = 550\nmax-listed = 12\nlist-prefixes = 1001\n"
                                "spamd-cfg-port = 8026\ntrapexp = 2d\ntrap-text = '%A \\' x'\n"
                                "allowed-domains-file = /b1\nlow-priority-mx = {192.0.2.26, ::6}\n"
                                "low-priority-port = 8028\nmta-addresses = {10.0.0.1, ::7}\n"
                                "nflog-in = 125\nnflog-out = 126\nlists-file = /b2\n"
                                "fetch-user = b3\nlist-timeout = 1s\nlist-size = 1m\n"
                                "list-change = off\nlogd-user = b4\nseen-interval = 100ms\n"
                                "sync-listen = eth0:4\nsync-peer = {mx2.example, eth0:4}\n"
                                "sync-key = /b5\nsync-insecure = yes\nsync-port = 8029\n"
                                "sync-skew = 1m\nlogd-sync = yes\n";

static char *printed(const struct conf *conf)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	assert_non_null(out);
	assert_int_equal(conf_print(conf, out), 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void what_is_printed_loads_to_the_same_values(void **state)
{
	struct fixture *fixture = *state;
	struct conf again;
	struct conf defaults = {0};
	char why[SCHEMA_WHY_MAX];
	assert_int_equal(fixture_load(fixture, every_key, NULL), 0);
	char *first = printed(&fixture->conf);
	int fd = memfd_create("conf", MFD_CLOEXEC);
	assert_int_equal(write(fd, first, strlen(first)), strlen(first));
	assert_int_equal(conf_load_fd(&again, fd, fixture->why), 0);
	(void)close(fd);
	char *second = printed(&again);
	assert_string_equal(first, second);
	assert_string_equal(again.banner, "%n \\ ' \" ${HOME} %%");
	assert_string_equal(again.banner_name, "q'\\ x");
	assert_int_equal(again.greyexp_secs, 21 * 86400);
	/* the text above leaves no key at its default, so none can be forgotten */
	assert_int_equal(value_set_defaults(&defaults, why), 0);
	defaults.hostname = strdup("x");
	char *plain = printed(&defaults);
	char *rest = first;
	char *plain_rest = plain;
	for (size_t i = 0; i < schema_n_rows; i++) {
		assert_string_not_equal(strsep(&rest, "\n"), strsep(&plain_rest, "\n"));
	}
	free(first);
	free(second);
	free(plain);
	conf_fini(&again);
	conf_fini(&defaults);
}

static void options_win_over_the_file(void **state)
{
	struct fixture *fixture = *state;
	static const char *const options[] = {
	        "-v",        "-c",   "1000000",   "-s0",        "-S",
	        "90",        "-l",   "192.0.2.9", "positional", "-l",
	        "::1",       "-p25", "-h",        "a.example",  "-n",
	        "x y",       "-w",   "1",         "-d",         "--look-interval=1s",
	        "--workers", "7",    "-G",        "2:8:864",    NULL};
	assert_int_equal(fixture_load(fixture,
	                              "max-connections = 5\nlisten = 192.0.2.8\nstutter = 2s\n",
	                              options),
	                 0);
	const struct conf *conf = &fixture->conf;
	char text[ADDR_TEXT_MAX];
	assert_true(conf->verbose);
	assert_true(conf->foreground);
	assert_int_equal(conf->max_connections, 1000000);
	assert_int_equal(conf->stutter_ms, 0);
	assert_int_equal(conf->grey_stutter_ms, 90000);
	assert_int_equal(conf->n_listen, 2);
	assert_string_equal(addr_format(&conf->listen[0], text), "192.0.2.9");
	assert_int_equal(conf->port, 25);
	assert_string_equal(conf->hostname, "a.example");
	assert_string_equal(conf->banner_name, "x y");
	assert_int_equal(conf->receive_buffer_bytes, 1);
	assert_int_equal(conf->look_max_ms, 1000);
	assert_int_equal(conf->workers, 7);
	assert_int_equal(conf->passtime_secs, 120);
	assert_int_equal(conf->greyexp_secs, 8 * 3600);
	assert_int_equal(conf->whiteexp_secs, 864 * 3600);
}

static void letters_for_listed_hosts_and_traps_set_their_keys(void **state)
{
	struct fixture *fixture = *state;
	char text[ADDR_TEXT_MAX];
	static const char *const letters[] = {"-5",           "-4", "-5b",          "-B", "300",
	                                      "-M192.0.2.26", "-M", "2001:db8::26", NULL};
	assert_int_equal(fixture_load(fixture, "listed-code = 450\n", letters), 0);
	const struct conf *conf = &fixture->conf;
	assert_int_equal(conf->listed_code, CONF_CODE_550);
	assert_true(conf->blacklist_only);
	assert_int_equal(conf->max_listed, 300);
	assert_int_equal(conf->n_low_priority_mx, 2);
	assert_string_equal(addr_format(&conf->low_priority_mx[0], text), "192.0.2.26");
	assert_string_equal(addr_format(&conf->low_priority_mx[1], text), "2001:db8::26");
	/* the last one wins, and options win over the file */
	static const char *const last[] = {"-5", "-4", NULL};
	assert_int_equal(fixture_load(fixture, "listed-code = 550\n", last), 0);
	assert_int_equal(fixture->conf.listed_code, CONF_CODE_450);
	assert_false(fixture->conf.blacklist_only);
	assert_int_equal(fixture->conf.max_listed, CONF_MAX_LISTED_AUTO);
	assert_int_equal(fixture->conf.spamd_cfg_port, 0);
}

static void letters_for_synchronisation_set_their_keys(void **state)
{
	struct fixture *fixture = *state;
	static const char *const letters[] = {
	        "-y", "192.0.2.1", "-Y",      "mx2.example", "-Yeth0:4", "--sync-peer=198.51.100.2",
	        "-y", "eth0:4",    "-Ya-b_c", NULL};
	static const char *const peers[] = {"mx2.example", "eth0:4", "198.51.100.2", "a-b_c"};
	assert_int_equal(fixture_load(fixture, "", NULL), 0);
	const struct conf *conf = &fixture->conf;
	assert_null(conf->sync_listen);
	assert_int_equal(conf->n_sync_peers, 0);
	assert_string_equal(conf->sync_key_file, "/etc/mired/sync.key");
	assert_false(conf->sync_insecure);
	assert_int_equal(conf->sync_port, 8025);
	assert_int_equal(conf->sync_skew_secs, 600);
	assert_int_equal(fixture_load(fixture, "sync-listen = eth1\nsync-peer = {old}\n", letters),
	                 0);
	assert_string_equal(conf->sync_listen, "eth0:4"); /* the last one counts */
	assert_int_equal(conf->n_sync_peers, ARRAY_LEN(peers));
	for (size_t i = 0; i < ARRAY_LEN(peers); i++) {
		assert_string_equal(conf->sync_peers[i], peers[i]);
	}
}

static const struct {
	const char *options[3];
	int ret;
	const char *why;
} bad_options[] = {
        {{"-C", "x"}, ERR_UNSUPPORTED, "option -C is not supported in this version"},
        {{"-vK", "x"}, ERR_UNSUPPORTED, "option -K is not supported in this version"},
        {{"-Y", "mx 2"},
         ERR_SYNTAX,
         "option -Y (--sync-peer): \"mx 2\" is not a good value: host names, IPv4 "
         "addresses, or interface[:ttl]"},
        {{"-c", "0"},
         ERR_RANGE,
         "option -c (--max-connections): \"0\" is out of range: auto, 1 to 10000000"},
        {{"-S", "91"}, ERR_RANGE, "option -S (--grey-stutter): \"91\" is out of range: 0s to 90s"},
        {{"-s", "x"}, ERR_SYNTAX, "option -s (--stutter): \"x\" is not a good value: 0s to 10s"},
        {{"-p", "65536"}, ERR_RANGE, "option -p (--port): \"65536\" is out of range: 1 to 65535"},
        {{"-l", "localhost"},
         ERR_SYNTAX,
         "option -l (--listen): \"localhost\" is not a good value: IPv4 or IPv6 "
         "addresses"},
        {{"-B", "many"},
         ERR_SYNTAX,
         "option -B (--max-listed): \"many\" is not a good value: auto, 0 to "
         "2147483647"},
        {{"-M", "mx.example"},
         ERR_SYNTAX,
         "option -M (--low-priority-mx): \"mx.example\" is not a good value: IPv4 or "
         "IPv6 addresses"},
        {{"--listed-code=451"},
         ERR_SYNTAX,
         "option --listed-code: \"451\" is not a good value: 450, 550"},
        {{"-G", "2:8"}, ERR_SYNTAX, "option -G needs three numbers, minutes:hours:hours"},
        {{"-G", "2:8:864:1"}, ERR_SYNTAX, "option -G needs three numbers, minutes:hours:hours"},
        {{"-G", "2:8:864x"}, ERR_SYNTAX, "option -G needs three numbers, minutes:hours:hours"},
        {{"-G", "0:8:864"}, ERR_RANGE, "option -G: passtime: \"0m\" is out of range: 1s to 365d"},
        {{"-z"}, ERR_SYNTAX, "option -z is unknown"},
        {{"-c"}, ERR_SYNTAX, "option -c needs a value"},
        {{"--stutter"}, ERR_SYNTAX, "option --stutter needs a value"},
        {{"--verbose=maybe"},
         ERR_SYNTAX,
         "option -v (--verbose): \"maybe\" is not a good value: no, yes"},
        {{"--unheard-of"}, ERR_SYNTAX, "option --unheard-of is unknown or has a bad value"},
};

static void bad_options_are_refused_with_option_and_range(void **state)
{
	struct fixture *fixture = *state;
	for (size_t i = 0; i < ARRAY_LEN(bad_options); i++) {
		assert_int_equal(fixture_load(fixture, "", bad_options[i].options),
		                 bad_options[i].ret);
		assert_string_equal(fixture->why, bad_options[i].why);
	}
}

static void every_key_is_a_long_option(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(fixture_load(fixture, every_key, NULL), 0);
	char *all = printed(&fixture->conf);
	char *rest = all;
	for (char *line; (line = strsep(&rest, "\n")) && *line;) {
		char option[FIXTURE_ARG_BYTES];
		char *value = strstr(line, " = ");
		*value = '\0';
		value += 3;
		if (*value == '{' || *value == '\'' || strcmp(line, "rules") == 0) {
			continue; /* as one writes it in a file, or not alone */
		}
		(void)snprintf(option, sizeof option, "--%s=%s", line, value);
		const char *const options[] = {option, "--greyexp=4w", NULL};
		assert_int_equal(fixture_load(fixture, "", options), 0);
	}
	free(all);
}

static void orders_to_the_program_are_told_apart(void **state)
{
	struct fixture *fixture = *state;
	static const char *const check[] = {"--check-config", NULL};
	static const char *const print[] = {"--print-config", NULL};
	static const char *const removal[] = {"--remove-rules", NULL};
	static const char *const help[] = {"--help", NULL};
	static const char *const version[] = {"--version", NULL};
	assert_int_equal(fixture_load(fixture, "", check), 0);
	assert_true(fixture->cli.check_only);
	assert_false(fixture->cli.print);
	assert_int_equal(fixture_load(fixture, "", print), 0);
	assert_true(fixture->cli.print);
	assert_int_equal(fixture_load(fixture, "", removal), 0);
	assert_true(fixture->cli.remove_rules);
	/* these two come whatever is in the file */
	assert_int_equal(fixture_load(fixture, "nonsense", help), 0);
	assert_true(fixture->cli.help);
	assert_int_equal(fixture_load(fixture, "nonsense", version), 0);
	assert_true(fixture->cli.version);
}

/* MIRED_WRITE_EXAMPLE=1 in the environment writes the file anew. */
static void the_example_file_is_up_to_date_and_loads_to_the_defaults(void **state)
{
	static const char path[] = TEST_SOURCE_DIR "/../src/conf/mired.conf.example";
	static char on_disk[32768];
	struct fixture *fixture = *state;
	char *wanted = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&wanted, &len);
	assert_int_equal(conf_print_example(out), 0);
	assert_int_equal(fclose(out), 0);
	bool writes = getenv("MIRED_WRITE_EXAMPLE") != NULL;
	FILE *file = fopen(path, writes ? "w+" : "r");
	assert_non_null(file);
	if (writes) {
		assert_int_equal(fwrite(wanted, 1, len, file), len);
		rewind(file);
	}
	on_disk[fread(on_disk, 1, sizeof on_disk - 1, file)] = '\0';
	(void)fclose(file);
	assert_string_equal(on_disk, wanted);
	free(wanted);
	assert_int_equal(fixture_load(fixture, on_disk, NULL), 0);
	char *from_example = printed(&fixture->conf);
	assert_int_equal(fixture_load(fixture, "", NULL), 0);
	char *from_nothing = printed(&fixture->conf);
	assert_string_equal(from_example, from_nothing);
	free(from_example);
	free(from_nothing);
}

static void help_names_every_key(void **state)
{
	char *text = NULL;
	size_t len = 0;
	(void)state;
	FILE *out = open_memstream(&text, &len);
	conf_print_help(out);
	(void)fclose(out);
	for (size_t i = 0; i < schema_n_rows; i++) {
		char wanted[64];
		(void)snprintf(wanted, sizeof wanted, "--%s ", schema_rows[i].name);
		assert_non_null(strstr(text, wanted));
	}
	free(text);
}

/* Lists and what the machine or the build decides are put into words in the manual; so is the trap
 * text, where mdoc would take its %A for a macro. */
static bool has_default_in_manual(const struct schema_row *row)
{
	return row->def && !schema_is_list(row) && strcmp(row->name, "rules-dir") != 0 &&
	       strcmp(row->name, "trap-text") != 0;
}

/* What the manual says behind a key that a reload does not put in force. */
static const char *const reload_marks[CONF_RELOAD_COUNT] = {
        [CONF_RESTART] = " Pq restart",
        [CONF_RESTART_LOGD] = " Pq \"restart of mired-logd\"",
        [CONF_RESTART_BOTH] = " Pq \"restart, also of mired-logd\"",
        [CONF_RESTART_METRICS] = " Pq \"restart of mired-metrics\"",
        [CONF_NEXT_SETUP] = "",
        [CONF_LIVE] = "",
        [CONF_LIVE_LOGD] = " Pq \"restart of mired-logd, too\"",
        [CONF_LIVE_BELOW] = " Pq \"restart to grow\"",
        [CONF_LIVE_FILLED] = " Pq \"restart to begin or end\"",
};

static void the_manual_has_a_line_for_every_key_with_its_default(void **state)
{
	static char manual[64 * 1024];
	FILE *file = fopen(TEST_SOURCE_DIR "/../src/man/mired.conf.5", "r");
	(void)state;
	assert_non_null(file);
	manual[fread(manual, 1, sizeof manual - 1, file)] = '\0';
	(void)fclose(file);
	for (size_t i = 0; i < schema_n_rows; i++) {
		const struct schema_row *row = &schema_rows[i];
		bool is_fixed = has_default_in_manual(row);
		char wanted[160];
		(void)snprintf(wanted, sizeof wanted, "\n.It Cm %s = Ar %s%s", row->name,
		               is_fixed ? row->def : "", is_fixed ? reload_marks[row->reload] : "");
		const char *line = strstr(manual, wanted);
		if (!line) {
			fail_msg("missing in mired.conf.5: %s", wanted);
		}
		struct span rest;
		struct span first = span_cut(span_of_str(line + 1), '\n', &rest);
		size_t mark_len = strlen(reload_marks[row->reload]);
		bool has_mark = memmem(first.ptr, first.len, " Pq ", 4) != NULL;
		assert_int_equal(has_mark, mark_len > 0);
		assert_memory_equal(first.ptr + first.len - mark_len, reload_marks[row->reload],
		                    mark_len);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(an_empty_file_gives_the_defaults),
	        TEST(values_may_be_bare_or_quoted_and_carry_units),
	        TEST(bad_files_are_refused_with_file_line_and_reason),
	        TEST(foreign_bytes_in_a_file_are_refused),
	        TEST(keys_that_do_not_fit_together_are_refused),
	        TEST(a_file_that_cannot_be_read_is_named),
	        TEST(an_unreadable_file_is_named),
	        TEST(what_is_printed_loads_to_the_same_values),
	        TEST(options_win_over_the_file),
	        TEST(letters_for_listed_hosts_and_traps_set_their_keys),
	        TEST(letters_for_synchronisation_set_their_keys),
	        TEST(bad_options_are_refused_with_option_and_range),
	        TEST(every_key_is_a_long_option),
	        TEST(orders_to_the_program_are_told_apart),
	        TEST(the_example_file_is_up_to_date_and_loads_to_the_defaults),
	        TEST(help_names_every_key),
	        TEST(the_manual_has_a_line_for_every_key_with_its_default),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
