/* A network namespace of the test's own, a firewall opened in it, and short forms of the questions
 * the tests ask. Without root the tests are skipped. */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <sched.h>
#include <time.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"
#include "fw/fw.h"

static inline struct addr addr_of(const char *text)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	return addr;
}

/* The n-th of many addresses. */
static inline struct addr addr_number(uint32_t n)
{
	return addr_from_v4_be(__builtin_bswap32(0x0a000000U + n));
}

static inline struct fw_element element_of(enum fw_set set, const char *text, uint32_t timeout_secs)
{
	return (struct fw_element){
	        .addr = addr_of(text), .timeout_secs = timeout_secs, .set = (uint8_t)set};
}

static inline struct fw_element deletion_of(enum fw_set set, const char *text)
{
	return (struct fw_element){.addr = addr_of(text), .set = (uint8_t)set, .is_deleted = true};
}

/* What the tests need of a configuration; strings are literals. */
static inline struct conf test_conf(void)
{
	return (struct conf){
	        .nft_table = "mired",
	        .rules = CONF_RULES_NONE,
	        .rules_dir = NFT_SOURCE_DIR,
	        .traffic_class = "1:25",
	        .interfaces = {"lo"},
	        .n_interfaces = 1,
	        .smtp_port = 25,
	        .port = 8025,
	        .nflog_in = 25,
	        .nflog_out = 26,
	        .ipv6_prefix = 64,
	};
}

/* Group setup: the process moves into a namespace of its own, which goes with it. */
static inline int enter_namespace(void **state)
{
	(void)state;
	if (geteuid() == 0 && unshare(CLONE_NEWNET) < 0) {
		perror("unshare");
		return -1;
	}
	return 0;
}

static inline void need_root(void)
{
	if (geteuid() != 0) {
		skip();
	}
}

/* What a command prints; fails the test if the command fails. */
static inline const char *output_of(const char *command)
{
	static char text[65536];
	FILE *pipe = popen(command, "re");
	assert_non_null(pipe);
	size_t len = fread(text, 1, sizeof text - 1, pipe);
	text[len] = '\0';
	if (pclose(pipe) != 0) {
		fail_msg("%s: %s", command, text);
	}
	return text;
}

static inline bool prints(const char *command, const char *wanted)
{
	return strstr(output_of(command), wanted) != NULL;
}

static inline struct fw *open_with(const struct conf *conf)
{
	char why[FW_WHY_MAX];
	struct fw *fw = NULL;
	if (fw_open(&fw, conf, why)) {
		fail_msg("fw_open: %s", why);
	}
	return fw;
}

static inline void put_table(struct fw *fw)
{
	char why[FW_WHY_MAX];
	if (fw_put_table(fw, NULL, 0, why)) {
		fail_msg("fw_put_table: %s", why);
	}
}

static inline int replace_all(struct fw *fw, const struct fw_element *elements, size_t n,
                              char why[static FW_WHY_MAX])
{
	const struct fw_content content = {.elements = elements, .n = n};
	return fw_replace(fw, &content, why);
}

static inline void close_and_remove(struct fw *fw)
{
	assert_int_equal(fw_remove(fw), 0);
	fw_close(fw);
}

static inline bool is_in(struct fw *fw, enum fw_set set, const char *text)
{
	struct addr addr = addr_of(text);
	int has = fw_has(fw, set, &addr);
	assert_in_range(has, 0, 1);
	return has == 1;
}

static inline enum fw_state watched(struct fw *fw)
{
	enum fw_state state;
	assert_int_equal(fw_watch(fw, &state), 0);
	return state;
}

static inline double seconds_now(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline struct conf gateway_conf(void)
{
	struct conf conf = test_conf();
	conf.rules = CONF_RULES_GATEWAY;
	conf.mx[0] = addr_of("192.0.2.25");
	conf.mx[1] = addr_of("2001:db8:2::25");
	conf.mx[2] = addr_of("192.0.2.26");
	conf.n_mx = 3;
	return conf;
}

static inline struct conf local_conf(void)
{
	struct conf conf = test_conf();
	conf.rules = CONF_RULES_LOCAL_MTA;
	conf.interfaces[1] = "eth1.7";
	conf.n_interfaces = 2;
	return conf;
}

static inline void put_chains(struct fw *fw)
{
	char why[FW_WHY_MAX];
	if (fw_put_chains(fw, why)) {
		fail_msg("fw_put_chains: %s", why);
	}
}
