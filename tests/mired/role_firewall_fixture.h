/* The firewall role in a child process: the test is its supervisor and its engine, in a network
 * namespace of its own. Skipped without root. */
#pragma once

#include "mired/role_firewall.h"

#include "../fw/fw_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "priv/msg.h"
#include "priv/role.h"

enum { WAIT_MS = 5000, N_WHITE = 100000 };

struct world {
	pid_t pid;
	int supervisor; /* our end */
	int engine;     /* our end */
	char dir[64];
	char log[80];
	const char *rules_dir;
	struct fw *eye; /* looks into the kernel beside the role */
};

static inline void send_msg(int socket, struct msg msg)
{
	msg.fd = msg.fd > 0 ? msg.fd : -1;
	assert_int_equal(msg_send(socket, &msg), 0);
}

/* The next message, which must come in time. */
static inline struct msg await_msg(int socket)
{
	struct msg msg;
	struct pollfd pfd = {.fd = socket, .events = POLLIN};
	assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
	assert_int_equal(msg_recv(socket, &msg), 0);
	return msg;
}

static inline struct msg await_type(int socket, enum msg_type type)
{
	struct msg msg = await_msg(socket);
	while (msg.type != type) {
		msg = await_msg(socket);
	}
	return msg;
}

static inline struct msg await_done(const struct world *world, uint64_t seq)
{
	struct msg msg = await_type(world->engine, MSG_DONE);
	while (msg.seq != seq || !msg.figures.is_complete) {
		msg = await_type(world->engine, MSG_DONE);
	}
	return msg;
}

/* --- the role and its surroundings ------------------------------------------------------------ */

static inline int conf_file(const struct world *world, const char *more)
{
	int fd = memfd_create("mired.conf", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(dprintf(fd,
	                    "nft-table = \"mired\"\nrules = local-mta\ninterface = {\"lo\"}\n"
	                    "rules-dir = \"%s\"\nfirewall-user = \"nobody\"\n"
	                    "firewall-watch = \"50ms\"\nnospamd-file = \"/some/nospamd\"\n"
	                    "foreground = yes\n%s",
	                    world->rules_dir, more) > 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static inline void send_nospamd(const struct world *world, const char *text)
{
	int fd = memfd_create("nospamd", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	send_msg(world->supervisor, (struct msg){.type = MSG_NOSPAMD, .fd = fd});
	(void)close(fd);
}

static inline void connect_engine(struct world *world)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	send_msg(world->supervisor, (struct msg){.type = MSG_PEER, .fd = pair[1]});
	(void)close(pair[1]);
	world->engine = pair[0];
}

static inline void role_start_child(struct world *world, const char *more)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	world->pid = fork();
	assert_true(world->pid >= 0);
	if (world->pid == 0) {
		int log = open(world->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		(void)dup2(log, STDERR_FILENO);
		(void)close(pair[0]);
		_exit(role_firewall_main(pair[1]));
	}
	(void)close(pair[1]);
	world->supervisor = pair[0];
	int conf = conf_file(world, more);
	send_msg(world->supervisor, (struct msg){.type = MSG_CONF, .fd = conf});
	(void)close(conf);
	connect_engine(world);
	send_nospamd(world, "192.0.2.0/24 # friends\nnobody.example\n2001:db8:5::/48\n");
	send_msg(world->supervisor, (struct msg){.type = MSG_START});
}

/* Exit status. */
static inline int await_end(struct world *world)
{
	int status;
	(void)close(world->supervisor);
	(void)close(world->engine);
	assert_int_equal(waitpid(world->pid, &status, 0), world->pid);
	world->pid = 0;
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static inline const char *log_of(const struct world *world)
{
	char command[128];
	(void)snprintf(command, sizeof command, "cat %s", world->log);
	return output_of(command);
}

/* Another thread writes it, a moment later. */
static inline void await_log(const struct world *world, const char *text)
{
	double start = seconds_now();
	while (!strstr(log_of(world), text)) {
		assert_true(seconds_now() - start < WAIT_MS / 1000.0);
		(void)usleep(1000);
	}
}

static inline int setup(void **state)
{
	static struct world world;
	if (geteuid() != 0) {
		return 0;
	}
	world = (struct world){.dir = "/tmp/mired-test-XXXXXX", .rules_dir = NFT_SOURCE_DIR};
	assert_non_null(mkdtemp(world.dir));
	(void)snprintf(world.log, sizeof world.log, "%s/log", world.dir);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	struct conf conf = test_conf();
	world.eye = open_with(&conf);
	*state = &world;
	return 0;
}

/* A role that still runs must end well, and a sanitizer must have had nothing to say. */
static inline int teardown(void **state)
{
	struct world *world = *state;
	if (!world) {
		return 0;
	}
	if (world->pid > 0) {
		assert_int_equal(await_end(world), ROLE_EXIT_OK);
	}
	assert_null(strstr(log_of(world), "Sanitizer"));
	assert_null(strstr(log_of(world), "runtime error"));
	fw_close(world->eye);
	(void)unlink(world->log);
	(void)rmdir(world->dir);
	return 0;
}

/* --- the engine's side ------------------------------------------------------------------------ */

static inline void send_copy(const struct world *world, uint32_t n, uint64_t seq)
{
	struct msg msg = {.type = MSG_FILL};
	send_msg(world->engine, (struct msg){.type = MSG_FILL_BEGIN});
	for (uint32_t i = 0; i < n; i++) {
		msg.elements[msg.n_elements++] =
		        (struct msg_element){.addr = addr_number(i), .timeout_secs = 3600};
		if (msg.n_elements == MSG_ELEMENTS_MAX || i + 1 == n) {
			send_msg(world->engine, msg);
			msg.n_elements = 0;
		}
	}
	send_msg(world->engine, (struct msg){.type = MSG_FILL_END, .seq = seq});
}

static inline void send_change(const struct world *world, const char *text, bool is_deleted,
                               uint64_t seq)
{
	struct msg msg = {.type = MSG_CHANGES, .seq = seq, .n_elements = 1};
	msg.elements[0] = (struct msg_element){.addr = addr_of(text),
	                                       .timeout_secs = is_deleted ? 0 : 3600,
	                                       .is_deleted = is_deleted};
	send_msg(world->engine, msg);
}

/* Up to the first complete state. */
static inline void bring_up(struct world *world, const char *more, uint32_t n)
{
	role_start_child(world, more);
	(void)await_type(world->engine, MSG_NEED_FILL);
	send_copy(world, n, 7);
	(void)await_done(world, 7);
	(void)await_type(world->supervisor, MSG_READY);
}

static inline void send_hosts(const struct world *world, uint32_t first, uint32_t n)
{
	struct msg msg = {.type = MSG_FILL};
	for (uint32_t i = 0; i < n; i++) {
		msg.elements[msg.n_elements++] =
		        (struct msg_element){.addr = addr_number(first + i), .timeout_secs = 3600};
	}
	send_msg(world->engine, msg);
}

/* Waits until a host is in the set, or is not. */
static inline void await_white(const struct world *world, const char *text, bool is_there)
{
	double start = seconds_now();
	while (is_in(world->eye, FW_SET_WHITE, text) != is_there) {
		assert_true(seconds_now() - start < WAIT_MS / 1000.0);
		(void)usleep(1000);
	}
}

#define ROLE_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
