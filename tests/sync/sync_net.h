/* Two hosts for the tests of sockets: network namespaces joined by a veth pair, which end with the
 * process. `here` has s0 (192.0.2.1), lo, and bare0, which has no IPv4 address; `there` has p0
 * (192.0.2.2). The process stands in `here` but inside net_open_there. */
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "sync/setup.h"

enum { NET_PORT = 8025, NET_WAIT_MS = 2000, NET_SILENCE_MS = 60 };

struct net {
	int here, there;
	char key_path[64];
};

/* Namespaces are root's: without it, a group of this alone runs. */
static inline void net_needs_root(void **state)
{
	(void)state;
	skip();
}

static inline void net_run(const char *command)
{
	if (system(command) != 0) {
		fail_msg("%s", command);
	}
}

static inline void net_enter(int namespace)
{
	assert_int_equal(setns(namespace, CLONE_NEWNET), 0);
}

static inline int net_make_namespace(void)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline void net_write_key(const struct net *net, const char *text)
{
	FILE *file = fopen(net->key_path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(net->key_path, 0600), 0);
}

static inline int net_setup(void **state)
{
	static const char wait_for_carrier[] = "timeout 10 sh -c 'until ip link show %s | grep -q "
	                                       "\"state UP\"; do sleep 0.02; done'";
	char command[512];
	struct net *net = calloc(1, sizeof *net);
	assert_non_null(net);
	*state = net;
	net->here = net_make_namespace();
	net->there = net_make_namespace();
	(void)snprintf(command, sizeof command,
	               "ip link set lo up && ip link add p0 type veth peer name s0 netns "
	               "/proc/%d/fd/%d && ip addr add 192.0.2.2/24 dev p0 && ip link set p0 up",
	               (int)getpid(), net->here);
	net_run(command);
	net_enter(net->here);
	net_run("ip link set lo up && ip addr add 192.0.2.1/24 dev s0 && ip link set s0 up && "
	        "ip link add bare0 type veth peer name bare1 && ip link set bare0 up");
	(void)snprintf(command, sizeof command, wait_for_carrier, "s0");
	net_run(command);
	net_enter(net->there);
	(void)snprintf(command, sizeof command, wait_for_carrier, "p0");
	net_run(command);
	net_enter(net->here);
	(void)snprintf(net->key_path, sizeof net->key_path, "/tmp/mired-sync-XXXXXX");
	int fd = mkstemp(net->key_path);
	assert_true(fd >= 0);
	(void)close(fd);
	net_write_key(net, "spamd-sync-test-key\n");
	return 0;
}

static inline int net_teardown(void **state)
{
	struct net *net = *state;
	(void)unlink(net->key_path);
	(void)close(net->here);
	(void)close(net->there);
	free(net);
	return 0;
}

/* -y (NULL: none) and -Y (up to two, NULL: none). */
static inline struct conf net_conf(const struct net *net, const char *listen, const char *peer,
                                   const char *second)
{
	struct conf conf = {
	        .sync_listen = (char *)(uintptr_t)listen, /* read only, as all of a configuration */
	        .sync_peers = {(char *)(uintptr_t)peer, (char *)(uintptr_t)second},
	        .n_sync_peers = (size_t)(peer != NULL) + (second != NULL),
	        .sync_key_file = (char *)(uintptr_t)net->key_path,
	        .sync_port = NET_PORT,
	};
	return conf;
}

/* The same, opened; fails the test if it does not open. */
static inline int net_open(const struct conf *conf, struct sync_setup *setup)
{
	char why[SYNC_SETUP_WHY_MAX] = "";
	int fd = -1;
	int ret = sync_setup_open(conf, false, setup, &fd, why);
	if (ret != 0) {
		fail_msg("%s", why);
	}
	assert_true(fd >= 0);
	return fd;
}

static inline int net_open_there(const struct net *net, const struct conf *conf,
                                 struct sync_setup *setup)
{
	net_enter(net->there);
	int fd = net_open(conf, setup);
	net_enter(net->here);
	return fd;
}

/* The next datagram; its length, or 0 when none comes in time. */
static inline size_t net_receive(int fd, uint8_t *bytes, size_t size, struct sockaddr_in *from,
                                 int wait_ms)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	struct sockaddr_in sender;
	socklen_t len = sizeof sender;
	if (poll(&wait, 1, wait_ms) != 1) {
		return 0;
	}
	ssize_t n = recvfrom(fd, bytes, size, 0, (struct sockaddr *)&sender, &len);
	assert_true(n > 0);
	if (from) {
		*from = sender;
	}
	return (size_t)n;
}
