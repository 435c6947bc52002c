/* miredb: lists the store, whether the daemon runs or not, as spamdb(8) does. It only reads. As
 * root it becomes the store's user first: a lock file made by root would shut the daemon out. */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "conf/conf.h"
#include "mired/names.h"
#include "miredb/print.h"
#include "store/store.h"

enum { OPTION_JSON = 256, OPTION_CHECK, OPTION_HELP, OPTION_VERSION };
/* 126 readers are LMDB's default; the first opener's word counts for all. The count of failed keys
 * is the exit status, which has eight bits: 256 must not look like none. */
enum { READERS_MAX = 126, EXIT_MAX = 255 };

struct options {
	const char *config; /* NULL = the default file */
	bool is_json;
	bool is_check;
	bool is_help;
	bool is_version;
	char **keys;
	int n_keys;
};

typedef int print_row(const struct store_row *row, FILE *out);

static const struct option long_options[] = {
        {"config", required_argument, NULL, 'f'},       {"json", no_argument, NULL, OPTION_JSON},
        {"check", no_argument, NULL, OPTION_CHECK},     {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION}, {NULL, 0, NULL, 0},
};

static const char usage_text[] =
        "usage: miredb [-f file] [--json] [address ...]\n"
        "       miredb [-f file] --check\n"
        "\n"
        "Lists what mired's store holds, one record a line, or the records of these addresses.\n"
        "  -f, --config file  configuration (" MIRED_CONF_PATH ")\n"
        "      --json         one JSON object a line\n"
        "      --check        walk the whole store and verify it\n"
        "      --help, --version\n";

/* Says why, and is the exit status. */
PRINTF(1, 2) static int fail(const char *format, ...)
{
	va_list args;
	(void)fputs("miredb: ", stderr);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)putc('\n', stderr);
	return 1;
}

/* --- options ---------------------------------------------------------------------------------- */

static int parse_options(int argc, char **argv, struct options *options)
{
	int c = 0;
	while ((c = getopt_long(argc, argv, "f:adGTt", long_options, NULL)) != -1) {
		switch (c) {
		case 'f':
			options->config = optarg;
			break;
		case OPTION_JSON:
			options->is_json = true;
			break;
		case OPTION_CHECK:
			options->is_check = true;
			break;
		case OPTION_HELP:
			options->is_help = true;
			break;
		case OPTION_VERSION:
			options->is_version = true;
			break;
		case '?':
			(void)fputs(usage_text, stderr);
			return 1;
		default:
			return fail("-%c is not supported in this version", c);
		}
	}
	options->keys = argv + optind;
	options->n_keys = argc - optind;
	return options->is_check && options->n_keys > 0 ? fail("--check takes no addresses") : 0;
}

/* --- rights ----------------------------------------------------------------------------------- */

/* Root becomes the user for good; anybody else stays who he is. */
static int become_user(const char *name)
{
	if (geteuid() != 0) {
		return 0;
	}
	errno = 0;
	const struct passwd *user = getpwnam(name);
	if (!user) {
		return fail("user %s of the configuration: %s", name,
		            errno ? strerror(errno) : "no such user");
	}
	uid_t uid = user->pw_uid;
	gid_t gid = user->pw_gid;
	if (initgroups(name, gid) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid)) {
		return fail("cannot become user %s: %s", name, strerror(errno));
	}
	if (geteuid() != uid || getegid() != gid || (uid != 0 && setuid(0) == 0)) {
		return fail("still not user %s after the change", name);
	}
	return 0;
}

/* --- listing ---------------------------------------------------------------------------------- */

static int write_failed(int code)
{
	return fail("cannot write: %s", err_text(code));
}

static int flush_out(void)
{
	return fflush(stdout) ? -errno : 0;
}

/* No transaction is open while this writes. */
static int print_rows(const struct store_row *rows, int n, print_row *print)
{
	int ret = 0;
	for (int i = 0; i < n && ret == 0; i++) {
		ret = print(&rows[i], stdout);
	}
	ret = ret ? ret : flush_out();
	return ret ? write_failed(ret) : 0;
}

static int list_all(struct store_reader *reader, print_row *print)
{
	const struct store_row *rows = NULL;
	uint64_t n_bad = 0;
	int n = 0;
	int status = 0;
	struct store_walk *walk =
	        store_walk_new(reader, STORE_WALK_HOSTS | STORE_WALK_TUPLES, NULL, NULL);
	if (!walk) {
		return fail("out of memory");
	}
	while (status == 0 && (n = store_walk_next(walk, &rows, &n_bad)) > 0) {
		status = print_rows(rows, n, print);
	}
	store_walk_free(walk);
	if (status == 0 && n < 0) {
		return fail("reading the store failed: %s", err_text(n));
	}
	if (status == 0 && n_bad > 0) {
		return fail("%llu damaged records were left out; see miredb --check",
		            (unsigned long long)n_bad);
	}
	return status;
}

/* The host's row, if there is one; *n_found grows. */
static int list_host(struct store_reader *reader, struct store_row *row, print_row *print,
                     int *n_found)
{
	int ret = store_reader_host(reader, &row->key.addr, row->kind, &row->record);
	if (ret < 0) {
		return fail("reading the store failed: %s", err_text(ret));
	}
	*n_found += ret;
	return ret > 0 ? print_rows(row, 1, print) : 0;
}

/* What the store knows of one address; *n_found grows. */
static int list_address(struct store_reader *reader, const struct addr *addr, unsigned v6_bits,
                        print_row *print, int *n_found)
{
	struct store_row row = {.kind = RECORD_WHITE, .key.addr = addr_group(addr, v6_bits)};
	int status = list_host(reader, &row, print, n_found);
	row.kind = RECORD_TRAPPED;
	row.key.addr = *addr; /* traps go by the whole address */
	return status ? status : list_host(reader, &row, print, n_found);
}

static int list_keys(struct store_reader *reader, const struct options *options, unsigned v6_bits,
                     print_row *print)
{
	int n_failed = 0;
	for (int i = 0; i < options->n_keys; i++) {
		struct span key = span_of_str(options->keys[i]);
		struct addr addr;
		int n_found = 0;
		if (key.len == 0) {
			continue;
		}
		if (addr_parse(key, &addr) == 0 &&
		    list_address(reader, &addr, v6_bits, print, &n_found)) {
			return 1;
		}
		n_failed += n_found == 0;
	}
	return n_failed < EXIT_MAX ? n_failed : EXIT_MAX;
}

/* --- the store -------------------------------------------------------------------------------- */

static int check(const char *dir, const struct conf *conf)
{
	char why[STORE_WHY_MAX];
	int ret = store_check(dir, conf->map_bytes, why);
	if (ret) {
		return fail("%s: %s%s%s", dir, err_text(ret), why[0] ? ": " : "", why);
	}
	int status = printf("%s: sound\n", dir) < 0 ? -errno : flush_out();
	return status ? write_failed(status) : 0;
}

static int list(const char *dir, const struct options *options, const struct conf *conf)
{
	char why[STORE_WHY_MAX];
	struct store *store = NULL;
	struct store_reader *reader = NULL;
	struct store_conf store_conf = {.dir = dir,
	                                .map_bytes = conf->map_bytes,
	                                .journal_max = conf->journal_max,
	                                .readers_max = READERS_MAX,
	                                .read_only = true};
	int ret = store_open(&store, &store_conf, why);
	if (ret) {
		return fail("cannot open %s for reading: %s", dir, why[0] ? why : err_text(ret));
	}
	print_row *print = options->is_json ? print_json : print_plain;
	int status = 1;
	ret = store_reader_open(store, &reader);
	if (ret) {
		(void)fail("cannot open %s for reading: %s", dir, err_text(ret));
	} else if (options->n_keys > 0) {
		status = list_keys(reader, options, conf->ipv6_prefix, print);
	} else {
		status = list_all(reader, print);
	}
	store_reader_close(reader);
	store_close(store);
	return status;
}

static int run(const struct options *options)
{
	char why[CONF_ERROR_MAX];
	char dir[PATH_MAX];
	struct conf conf;
	struct conf_cli cli = {.check_only = false};
	if (conf_load(&conf, &cli, options->config, 0, NULL, why)) {
		return fail("%s", why);
	}
	int status = 1;
	int len = snprintf(dir, sizeof dir, "%s/db", conf.state_dir);
	if (len < 0 || len >= (int)sizeof dir) {
		(void)fail("state-dir is too long");
	} else if (become_user(conf.user) == 0) {
		status = options->is_check ? check(dir, &conf) : list(dir, options, &conf);
	}
	conf_fini(&conf);
	return status;
}

int main(int argc, char **argv)
{
	struct options options = {.config = NULL};
	(void)signal(SIGPIPE, SIG_IGN); /* a reader that went away is a write error */
	int status = parse_options(argc, argv, &options);
	if (status) {
		return status;
	}
	if (options.is_help || options.is_version) {
		(void)fputs(options.is_help ? usage_text : "miredb " MIRED_VERSION "\n", stdout);
		status = flush_out();
		return status ? write_failed(status) : 0;
	}
	return run(&options);
}
