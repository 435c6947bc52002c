/* The feeder against a real store and a socketpair whose other end the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "keeper/feeder.h"
#include "keeper_world.h"

enum { KERNEL_MAX = 4096, SET_WHITE = 0, SET_GREYTRAP = 1, BACKSTOP_SECS = 3600 };

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
	size_t n_fills;
	size_t n_changes;
	uint64_t seq;
	bool is_filling;
};

struct fixture {
	struct world world;
	_Atomic int64_t life_now_secs;
	struct feeder *feeder;
	int role; /* our end */
	struct kernel kernel;
	struct msg msg;
};

static int setup(void **state)
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

static int teardown(void **state)
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

static void connect_role(struct fixture *fix)
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

static void say(struct fixture *fix, enum msg_type type, uint64_t seq)
{
	fix->msg = (struct msg){.type = type, .seq = seq, .fd = -1};
	assert_int_equal(msg_send(fix->role, &fix->msg), 0);
}

static void kernel_apply(struct kernel *kernel, const struct msg_element *element)
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

static void role_take(struct fixture *fix, const struct msg *msg)
{
	struct kernel *kernel = &fix->kernel;
	if (msg->type == MSG_FILL_BEGIN) {
		kernel->n = 0;
		kernel->is_filling = true;
		return;
	}
	assert_true(msg->type == MSG_FILL || msg->type == MSG_FILL_END || msg->type == MSG_CHANGES);
	assert_int_equal(kernel->is_filling, msg->type != MSG_CHANGES);
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
static bool role_receive(struct fixture *fix, int wait_ms)
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

static void role_until_fill(struct fixture *fix, size_t n_fills)
{
	while (fix->kernel.n_fills < n_fills) {
		assert_true(role_receive(fix, WORLD_WAIT_MS));
	}
}

static void role_until_seq(struct fixture *fix, uint64_t seq)
{
	while (fix->kernel.seq < seq) {
		assert_true(role_receive(fix, WORLD_WAIT_MS));
	}
}

static const struct msg_element *kernel_find(const struct fixture *fix, const char *text,
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

static void feeder_until_done(struct fixture *fix, uint64_t seq)
{
	struct feeder_figures figures = {.done_seq = 0};
	for (int i = 0; i < WORLD_WAIT_MS && figures.done_seq < seq; i++) {
		feeder_figures_get(fix->feeder, &figures);
		world_sleep_ms(1);
	}
	assert_int_equal(figures.done_seq, seq);
}

/* --- playing the keeper ----------------------------------------------------------------------- */

static void wake(struct fixture *fix)
{
	uint64_t one = 1;
	assert_int_equal(write(fix->world.wake_feeder, &one, sizeof one), sizeof one);
}

static void put_host(struct fixture *fix, const char *text, enum record_kind kind,
                     int64_t left_secs)
{
	world_seed_host(&fix->world, text, kind, left_secs);
	wake(fix);
}

static void delete_host(struct fixture *fix, const char *text)
{
	struct store_txn txn;
	struct addr addr = world_addr(text);
	store_begin(fix->world.store, &txn, clock_wall());
	store_delete_host(&txn, &addr, RECORD_WHITE);
	assert_int_equal(store_commit(&txn), 0);
	wake(fix);
}

/* Many hosts in few commits. */
static void put_many(struct fixture *fix, uint32_t n)
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

static void reassert(struct fixture *fix, const char *text)
{
	struct keeper_reassert *message =
	        mailbox_reserve(fix->world.reasserts, sizeof(struct keeper_reassert));
	assert_non_null(message);
	message->addr = world_addr(text);
	mailbox_post(fix->world.reasserts);
	wake(fix);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void a_role_that_asks_gets_a_complete_copy(void **state)
{
	struct fixture *fix = *state;
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	put_host(fix, "192.0.2.2", RECORD_TRAPPED, 500);
	put_host(fix, "192.0.2.3", RECORD_WHITE, 0);
	put_host(fix, "2001:db8:1:2::", RECORD_WHITE, 1000);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	assert_int_equal(fix->kernel.n, 3);
	assert_int_equal(fix->kernel.seq, 4);
	assert_in_range(kernel_find(fix, "192.0.2.1", SET_WHITE)->timeout_secs, 4590, 4600);
	assert_in_range(kernel_find(fix, "192.0.2.2", SET_GREYTRAP)->timeout_secs, 4090, 4100);
	assert_non_null(kernel_find(fix, "2001:db8:1:2::", SET_WHITE));
}

static void a_role_that_says_nothing_gets_one_too(void **state)
{
	struct fixture *fix = *state;
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	connect_role(fix);
	role_until_fill(fix, 1);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
}

static void an_empty_store_makes_an_empty_copy(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	assert_int_equal(fix->kernel.n, 0);
	assert_int_equal(fix->kernel.seq, 0);
}

static void changes_arrive_in_the_order_of_the_journal(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	put_host(fix, "192.0.2.2", RECORD_WHITE, 1000);
	delete_host(fix, "192.0.2.2");
	delete_host(fix, "192.0.2.1");
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	role_until_seq(fix, 5);
	assert_int_equal(fix->kernel.n, 1);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
	assert_int_equal(fix->kernel.n_changes, 5);
}

static void a_host_is_in_the_kernel_within_100_ms(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	world_seed_host(&fix->world, "192.0.2.1", RECORD_WHITE, 1000);
	struct mono begun = clock_mono();
	wake(fix);
	role_until_seq(fix, 1);
	assert_in_range(mono_diff_ms(clock_mono(), begun), 0, 100);
}

static void tuples_only_move_the_cursor(void **state)
{
	struct fixture *fix = *state;
	struct world_tuple tuple = {"192.0.2.1", "h", "a@example.org", "b@example.net"};
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	world_seed_tuple(&fix->world, &tuple, 0);
	world_seed_tuple(&fix->world, &tuple, 0);
	wake(fix);
	feeder_until_done(fix, 2);
	assert_false(role_receive(fix, 0));
}

static void a_copy_longer_than_the_socket_takes_arrives_whole(void **state)
{
	enum { N = 3500 };
	struct fixture *fix = *state;
	put_many(fix, N);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	world_sleep_ms(100); /* the feeder stands at a full socket now */
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	delete_host(fix, "10.0.0.7");
	role_until_seq(fix, N + 2);
	assert_int_equal(fix->kernel.n, N);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
	assert_null(kernel_find(fix, "10.0.0.7", SET_WHITE));
}

static void a_lost_table_is_filled_again(void **state)
{
	struct fixture *fix = *state;
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	feeder_until_done(fix, 1);
	fix->kernel.n = 0;
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 2);
	assert_int_equal(fix->kernel.n, 1);
	feeder_until_done(fix, 1);
	assert_int_equal(counters_get(feeder_counters(fix->feeder), COUNTER_fw_fills), 2);
}

static void nothing_is_called_done_while_a_copy_is_wanted(void **state)
{
	struct fixture *fix = *state;
	struct feeder_figures figures = {.done_seq = 1};
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	feeder_until_done(fix, 1);
	say(fix, MSG_NEED_FILL, 0); /* and the role does not read the copy yet */
	for (int i = 0; i < WORLD_WAIT_MS && figures.done_seq > 0; i++) {
		feeder_figures_get(fix->feeder, &figures);
		world_sleep_ms(1);
	}
	assert_int_equal(figures.done_seq, 0);
	role_until_fill(fix, 2);
	feeder_until_done(fix, 1);
}

static void a_new_role_replaces_a_dead_one(void **state)
{
	struct fixture *fix = *state;
	struct feeder_figures figures = {.is_connected = true};
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	(void)close(fix->role);
	fix->role = -1;
	for (int i = 0; i < WORLD_WAIT_MS && figures.is_connected; i++) {
		feeder_figures_get(fix->feeder, &figures);
		world_sleep_ms(1);
	}
	assert_false(figures.is_connected);
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 2);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
}

static void a_feed_left_behind_fills_again(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	store_reader_close(fix->world.reader);
	feeder_stop(fix->feeder);
	store_close(fix->world.store);
	fix->world.conf.journal_max = 100;
	world_open_store(&fix->world);
	struct feeder_env env = {.conf = &fix->world.conf,
	                         .store = fix->world.store,
	                         .wake = fix->world.wake_feeder,
	                         .reasserts = fix->world.reasserts};
	assert_int_equal(feeder_start(&fix->feeder, &env), 0);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 2);
	put_many(fix, 500);
	role_until_fill(fix, 3);
	assert_int_equal(fix->kernel.n, 500);
	assert_int_equal(counters_get(feeder_counters(fix->feeder), COUNTER_fw_feed_behind), 1);
}

static void changes_that_could_not_be_sent_are_made_good(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	atomic_store(&n_sends_to_fail, 1);
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	role_until_fill(fix, 2);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
	feeder_until_done(fix, 1);
}

static void only_a_host_that_is_white_is_asserted_again(void **state)
{
	struct fixture *fix = *state;
	put_host(fix, "192.0.2.1", RECORD_WHITE, 1000);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	fix->kernel.n = 0; /* somebody deleted the element by hand */
	reassert(fix, "192.0.2.99");
	reassert(fix, "192.0.2.1");
	while (fix->kernel.n_changes == 0) {
		assert_true(role_receive(fix, WORLD_WAIT_MS));
	}
	assert_int_equal(fix->kernel.seq, 1);
	assert_int_equal(fix->kernel.n, 1);
	assert_non_null(kernel_find(fix, "192.0.2.1", SET_WHITE));
}

static void life_goes_by_the_guarded_clock(void **state)
{
	struct fixture *fix = *state;
	put_host(fix, "192.0.2.1", RECORD_WHITE, -1000);
	put_host(fix, "192.0.2.2", RECORD_WHITE, -3000);
	fix->life_now_secs -= 2000; /* the wall clock is ahead and not confirmed */
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	assert_int_equal(fix->kernel.n, 1);
	assert_in_range(kernel_find(fix, "192.0.2.1", SET_WHITE)->timeout_secs, 4590, 4600);
}

static void nonsense_from_the_role_is_dropped(void **state)
{
	struct fixture *fix = *state;
	connect_role(fix);
	assert_int_equal(send(fix->role, "nonsense", 8, 0), 8);
	say(fix, MSG_READY, 0);
	say(fix, MSG_NEED_FILL, 0);
	role_until_fill(fix, 1);
	assert_int_equal(fix->kernel.n, 0);
}

static void a_stop_does_not_wait_for_a_role_that_reads_nothing(void **state)
{
	struct fixture *fix = *state;
	put_many(fix, 3500);
	connect_role(fix);
	say(fix, MSG_NEED_FILL, 0);
	world_sleep_ms(100);
	struct mono begun = clock_mono();
	feeder_stop(fix->feeder);
	fix->feeder = NULL;
	assert_in_range(mono_diff_ms(clock_mono(), begun), 0, 500);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WITH_FIXTURE(a_role_that_asks_gets_a_complete_copy),
	        WITH_FIXTURE(a_role_that_says_nothing_gets_one_too),
	        WITH_FIXTURE(an_empty_store_makes_an_empty_copy),
	        WITH_FIXTURE(changes_arrive_in_the_order_of_the_journal),
	        WITH_FIXTURE(a_host_is_in_the_kernel_within_100_ms),
	        WITH_FIXTURE(tuples_only_move_the_cursor),
	        WITH_FIXTURE(a_copy_longer_than_the_socket_takes_arrives_whole),
	        WITH_FIXTURE(a_lost_table_is_filled_again),
	        WITH_FIXTURE(nothing_is_called_done_while_a_copy_is_wanted),
	        WITH_FIXTURE(a_new_role_replaces_a_dead_one),
	        WITH_FIXTURE(a_feed_left_behind_fills_again),
	        WITH_FIXTURE(changes_that_could_not_be_sent_are_made_good),
	        WITH_FIXTURE(only_a_host_that_is_white_is_asserted_again),
	        WITH_FIXTURE(life_goes_by_the_guarded_clock),
	        WITH_FIXTURE(nonsense_from_the_role_is_dropped),
	        WITH_FIXTURE(a_stop_does_not_wait_for_a_role_that_reads_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
