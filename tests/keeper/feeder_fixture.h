/* A feeder with a real store, and a socketpair whose other end the test plays: the firewall role
 * and the sets of its kernel. Include after cmocka.h. */
#pragma once

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "keeper/feeder.h"
#include "keeper_world.h"

enum { KERNEL_MAX = 8192, SET_WHITE = 0, SET_GREYTRAP = 1, BACKSTOP_SECS = 3600 };

static _Atomic int n_sends_to_fail;

/* Stands before the C library's: the kernel may be short of memory for a message. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	if (atomic_load(&n_sends_to_fail) > 0) {
		atomic_fetch_sub(&n_sends_to_fail, 1);
		errno = ENOBUFS;
		return -1;
	}
	return syscall(SYS_sendmsg, fd, message, flags);
}

/* What the kernel's sets would hold, as the role would apply the messages. */
struct kernel {
	struct msg_element elements[KERNEL_MAX];
	size_t n;
	size_t n_begun;
	size_t n_fills;
	size_t n_changes;
	size_t n_changes_in_fill; /* messages between the pieces of a copy */
	uint64_t seq;
	bool is_filling;
	struct addr_range ranges[KERNEL_MAX]; /* being gathered, or applied as the last ones */
	size_t n_ranges;
	size_t n_range_sets; /* times they were applied */
	bool is_gathering;
};

struct fixture {
	struct world world;
	_Atomic int64_t life_now_secs;
	struct feeder *feeder;
	int role; /* our end */
	struct kernel kernel;
	struct msg msg;
};

static inline int setup(void **state)
{
	struct fixture *fix = calloc(1, sizeof *fix);
	assert_non_null(fix);
	world_init(&fix->world);
	fix->world.reasserts = mailbox_new(1 << 16);
	fix->world.wake_feeder = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fix->life_now_secs = world_now_secs();
	fix->role = -1;
	struct feeder_env env = {.conf = &fix->world.conf,
	                         .store = fix->world.store,
	                         .wake = fix->world.wake_feeder,
	                         .reasserts = fix->world.reasserts,
	                         .life_now_secs = &fix->life_now_secs};
	assert_int_equal(feeder_start(&fix->feeder, &env), 0);
	*state = fix;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *fix = *state;
	feeder_stop(fix->feeder);
	if (fix->role >= 0) {
		(void)close(fix->role);
	}
	mailbox_free(fix->world.reasserts);
	(void)close(fix->world.wake_feeder);
	world_fini(&fix->world);
	free(fix);
	return 0;
}

/* --- playing the role ------------------------------------------------------------------------- */

static inline void connect_role(struct fixture *fix)
{
	int fds[2];
	if (fix->role >= 0) {
		(void)close(fix->role);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	/* a few messages fill it: the sender's buffer is what counts on a Unix socket */
	int bytes = 8192;
	assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
	fix->role = fds[0];
	feeder_set_channel(fix->feeder, fds[1]);
}

static inline void say(struct fixture *fix, enum msg_type type, uint64_t seq)
{
	fix->msg = (struct msg){.type = type, .seq = seq, .fd = -1};
	assert_int_equal(msg_send(fix->role, &fix->msg), 0);
}

static inline void kernel_apply(struct kernel *kernel, const struct msg_element *element)
{
	size_t i = 0;
	while (i < kernel->n && !(kernel->elements[i].set == element->set &&
	                          addr_equal(&kernel->elements[i].addr, &element->addr))) {
		i++;
	}
	if (!element->is_deleted) {
		assert_true(element->timeout_secs > BACKSTOP_SECS);
		assert_true(i < KERNEL_MAX);
		kernel->elements[i] = *element;
		kernel->n += i == kernel->n;
	} else if (i < kernel->n) {
		kernel->elements[i] = kernel->elements[--kernel->n];
	}
}

/* False when the message is not about ranges. */
static inline bool role_take_ranges(struct kernel *kernel, const struct msg *msg)
{
	if (msg->type == MSG_RANGES_BEGIN) {
		kernel->n_ranges = 0;
		kernel->is_gathering = true;
	} else if (msg->type == MSG_RANGES) {
		assert_true(kernel->is_gathering);
		assert_true(kernel->n_ranges + msg->n_ranges <= KERNEL_MAX);
		memcpy(kernel->ranges + kernel->n_ranges, msg->ranges,
		       msg->n_ranges * sizeof msg->ranges[0]);
		kernel->n_ranges += msg->n_ranges;
	} else if (msg->type == MSG_RANGES_END) {
		assert_true(kernel->is_gathering);
		kernel->is_gathering = false;
		kernel->n_range_sets++;
	} else {
		return false;
	}
	return true;
}

static inline void role_take(struct fixture *fix, const struct msg *msg)
{
	struct kernel *kernel = &fix->kernel;
	if (role_take_ranges(kernel, msg)) {
		return;
	}
	if (msg->type == MSG_FILL_BEGIN) {
		kernel->n = 0;
		kernel->n_begun++;
		kernel->is_filling = true;
		return;
	}
	assert_true(msg->type == MSG_FILL || msg->type == MSG_FILL_END || msg->type == MSG_CHANGES);
	assert_true(kernel->is_filling || msg->type == MSG_CHANGES);
	kernel->n_changes_in_fill += kernel->is_filling && msg->type == MSG_CHANGES;
	for (uint16_t i = 0; i < msg->n_elements; i++) {
		kernel_apply(kernel, &msg->elements[i]);
	}
	if (msg->type == MSG_FILL_END) {
		kernel->is_filling = false;
		kernel->n_fills++;
	}
	kernel->n_changes += msg->type == MSG_CHANGES ? msg->n_elements : 0;
	if (msg->type != MSG_FILL) {
		assert_true(msg->seq >= kernel->seq || kernel->n_fills > 1);
		kernel->seq = msg->seq;
		say(fix, MSG_DONE, msg->seq);
	}
}

/* False when nothing came in time. */
static inline bool role_receive(struct fixture *fix, int wait_ms)
{
	struct pollfd pfd = {.fd = fix->role, .events = POLLIN};
	if (poll(&pfd, 1, wait_ms) != 1) {
		return false;
	}
	struct msg *msg = malloc(sizeof *msg);
	assert_non_null(msg);
	assert_int_equal(msg_recv(fix->role, msg), 0);
	role_take(fix, msg);
	free(msg);
	return true;
}

static inline void role_until_fill(struct fixture *fix, size_t n_fills)
{
	while (fix->kernel.n_fills < n_fills) {
		assert_true(role_receive(fix, WORLD_WAIT_MS));
	}
}

static inline void role_until_seq(struct fixture *fix, uint64_t seq)
{
	while (fix->kernel.seq < seq) {
		assert_true(role_receive(fix, WORLD_WAIT_MS));
	}
}

static inline const struct msg_element *kernel_find(const struct fixture *fix, const char *text,
                                                    uint8_t set)
{
	struct addr addr = world_addr(text);
	for (size_t i = 0; i < fix->kernel.n; i++) {
		if (fix->kernel.elements[i].set == set &&
		    addr_equal(&fix->kernel.elements[i].addr, &addr)) {
			return &fix->kernel.elements[i];
		}
	}
	return NULL;
}

static inline void feeder_until_done(struct fixture *fix, uint64_t seq)
{
	struct feeder_figures figures = {.done_seq = 0};
	for (int i = 0; i < WORLD_WAIT_MS && figures.done_seq < seq; i++) {
		feeder_figures_get(fix->feeder, &figures);
		world_sleep_ms(1);
	}
	assert_int_equal(figures.done_seq, seq);
}

/* --- playing the keeper ----------------------------------------------------------------------- */

static inline void wake(struct fixture *fix)
{
	uint64_t one = 1;
	assert_int_equal(write(fix->world.wake_feeder, &one, sizeof one), sizeof one);
}

static inline void put_host(struct fixture *fix, const char *text, enum record_kind kind,
                            int64_t left_secs)
{
	world_seed_host(&fix->world, text, kind, left_secs);
	wake(fix);
}

static inline void delete_host(struct fixture *fix, const char *text)
{
	struct store_txn txn;
	struct addr addr = world_addr(text);
	store_begin(fix->world.store, &txn, clock_wall());
	store_bury_host(&txn, &addr, RECORD_WHITE, txn.now, txn.now);
	assert_int_equal(store_commit(&txn), 0);
	wake(fix);
}

/* Many hosts in few commits. */
static inline void put_many(struct fixture *fix, uint32_t n)
{
	struct grey_record record = {.first = clock_wall(), .expire = {world_now_secs() + 1000}};
	for (uint32_t i = 0; i < n;) {
		struct store_txn txn;
		store_begin(fix->world.store, &txn, clock_wall());
		for (uint32_t end = i + 500; i < n && i < end; i++) {
			struct addr addr = addr_from_v4_be(htonl(0x0a000000U + i));
			store_put_host(&txn, &addr, RECORD_WHITE, &record);
		}
		assert_int_equal(store_commit(&txn), 0);
	}
	wake(fix);
}

static inline void reassert(struct fixture *fix, const char *text)
{
	struct keeper_reassert *message =
	        mailbox_reserve(fix->world.reasserts, sizeof(struct keeper_reassert));
	assert_non_null(message);
	message->addr = world_addr(text);
	mailbox_post(fix->world.reasserts);
	wake(fix);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
