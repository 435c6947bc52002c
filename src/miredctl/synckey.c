/* miredctl sync-key: makes the key that all gateways share, or shows enough of its digest to
 * compare two hosts by eye. Needs no daemon. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "conf/conf.h"
#include "miredctl/call.h"
#include "sync/key.h"

/* 32 of its 160 bits: two files that differ show it, and 128 bits stay unknown. */
enum { SHOWN_CHARS = 8 };

static void show_digest(const char *path, struct sync_key *key)
{
	(void)printf("%s: digest begins with %.*s\n", path, SHOWN_CHARS, key->text);
	explicit_bzero(key, sizeof *key);
}

static int show(const char *path)
{
	struct sync_key key;
	char why[SYNC_KEY_WHY_MAX] = "";
	int ret = sync_key_read(path, &key, why);
	if (ret) {
		(void)fprintf(stderr, "miredctl: %s\n", why);
		return EXIT_FAILED;
	}
	show_digest(path, &key);
	return call_end_output();
}

/* Copied, not made again: each host's own key would keep the others out. */
static void say_next(const struct conf *conf)
{
	const char *path = conf->sync_key_file;
	(void)fputs("Copy it to the other gateways, then restart mired on all of them:\n", stdout);
	(void)printf("  scp -p %s HOST:%s\n", path, path);
	(void)fputs("  systemctl restart mired\n"
	            "`miredctl sync-key --check` shows the same digest on all of them.\n",
	            stdout);
}

static int make(const struct conf *conf)
{
	char why[SYNC_KEY_WHY_MAX] = "";
	int ret = sync_key_make(conf->sync_key_file, why);
	if (ret) {
		(void)fprintf(stderr, "miredctl: %s%s\n", why,
		              ret == ERR_BUSY ? "; it is left as it is" : "");
		return EXIT_FAILED;
	}
	ret = show(conf->sync_key_file);
	if (ret == EXIT_OK) {
		say_next(conf);
	}
	return ret == EXIT_OK ? call_end_output() : ret;
}

int run_sync_key(const struct call *call)
{
	struct conf conf;
	char why[CONF_ERROR_MAX];
	if (conf_load(&conf, NULL, call->conf_path, 0, NULL, why) != 0) {
		return call_complain("configuration", why);
	}
	int status = call->is_check ? show(conf.sync_key_file) : make(&conf);
	conf_fini(&conf);
	return status;
}
