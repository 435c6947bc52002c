/* The ring alone: tags, limits, and one connection through every request, both ways of accepting.
 */
#include "engine/ring.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/addr.h"
#include "base/clock.h"

enum { EVENT_WAIT_MS = 5000 };

static struct ring *open_ring(uint32_t table_size, bool force_fallback)
{
	char why[RING_WHY_MAX] = "";
	struct ring *ring = NULL;
	struct ring_options options = {.table_size = table_size, .force_fallback = force_fallback};
	if (ring_open(&ring, &options, why) < 0) {
		fail_msg("%s", why);
	}
	assert_int_equal(ring_enable(ring), 0);
	return ring;
}

static struct ring_event next_event(struct ring *ring)
{
	struct ring_event event = {0};
	struct mono until = mono_add_ms(clock_mono(), EVENT_WAIT_MS);
	while (!ring_next(ring, &event)) {
		assert_true(clock_mono().ns < until.ns);
		assert_int_equal(ring_wait(ring, 100 * NS_PER_MS), 0);
	}
	return event;
}

static int open_listener(struct sockaddr_in *at)
{
	socklen_t len = sizeof *at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	*at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	assert_int_equal(bind(fd, (const struct sockaddr *)at, sizeof *at), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)at, &len), 0);
	return fd;
}

static int connect_to(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)at, sizeof *at), 0);
	return fd;
}

static void tag_survives_the_way_through_the_kernel(void **state)
{
	(void)state;
	static const struct ring_tag tags[] = {
	        {RING_OP_ACCEPT, 0, 0, 0},
	        {RING_OP_SEND, RING_SLOT_MAX - 1, RING_GENERATION_MASK, 255},
	        {RING_OP_WAKE, 0x123456, 0xabcdef, 7},
	};
	for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
		struct ring_tag back = ring_tag_unpack(ring_tag_pack(tags[i]));
		assert_int_equal(back.op, tags[i].op);
		assert_int_equal(back.slot, tags[i].slot);
		assert_int_equal(back.generation, tags[i].generation);
		assert_int_equal(back.entry, tags[i].entry);
	}
	assert_int_equal(ring_tag_unpack(UINT64_MAX).op, RING_OP_NONE);
}

static void table_beyond_the_file_limit_is_refused_by_name(void **state)
{
	(void)state;
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max >= RING_TABLE_MAX) {
		print_message("the hard limit allows any table\n");
		return;
	}
	char why[RING_WHY_MAX] = "";
	struct ring *ring;
	struct ring_options options = {.table_size = (uint32_t)limit.rlim_max + 1};
	assert_int_equal(ring_open(&ring, &options, why), -EMFILE);
	assert_non_null(strstr(why, "RLIMIT_NOFILE"));
}

static void requests_before_enabling_are_refused(void **state)
{
	(void)state;
	char why[RING_WHY_MAX];
	struct ring *ring;
	struct ring_options options = {.table_size = 4};
	assert_int_equal(ring_open(&ring, &options, why), 0);
	int fd = eventfd(0, EFD_CLOEXEC);
	assert_true(ring_wake_on(ring, fd, (struct ring_tag){.op = RING_OP_WAKE}));
	assert_int_equal(ring_submit(ring), -EBADFD);
	ring_close(ring);
	close(fd);
}

/* The descriptor of the only ring this process has. */
static int ring_descriptor(void)
{
	for (int fd = 3; fd < 256; fd++) {
		char path[32];
		char target[64] = "";
		(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof target - 1) > 0 && strstr(target, "[io_uring]")) {
			return fd;
		}
	}
	return -1;
}

static void enabled_ring_takes_no_more_registrations(void **state)
{
	(void)state;
	enum { UNREGISTER_FILES = 3, REGISTER_PROBE = 8 };
	struct ring *ring = open_ring(4, false); /* which tries an operation off the list, too */
	int fd = ring_descriptor();
	assert_true(fd >= 0);
	assert_int_equal(syscall(SYS_io_uring_register, fd, UNREGISTER_FILES, NULL, 0), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(syscall(SYS_io_uring_register, fd, REGISTER_PROBE, NULL, 0), -1);
	assert_int_equal(errno, EACCES);
	ring_close(ring);
}

static void wait_ends_at_its_time_and_at_an_event(void **state)
{
	(void)state;
	struct ring *ring = open_ring(4, false);
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ring_event event;
	assert_true(ring_wake_on(ring, fd, (struct ring_tag){.op = RING_OP_WAKE, .entry = 9}));
	struct mono start = clock_mono();
	assert_int_equal(ring_wait(ring, 50 * NS_PER_MS), 0);
	assert_true(mono_diff_ms(clock_mono(), start) >= 49);
	assert_false(ring_next(ring, &event));
	uint64_t one = 1;
	assert_int_equal(write(fd, &one, sizeof one), sizeof one);
	start = clock_mono();
	event = next_event(ring);
	assert_true(mono_diff_ms(clock_mono(), start) < 1000);
	assert_int_equal(event.tag.op, RING_OP_WAKE);
	assert_int_equal(event.tag.entry, 9);
	ring_close(ring);
	close(fd);
}

static void wait_for_many_is_not_ended_by_fewer(void **state)
{
	(void)state;
	struct ring *ring = open_ring(4, false);
	int fds[2];
	uint64_t one = 1;
	for (unsigned i = 0; i < 2; i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_true(ring_wake_on(ring, fds[i], (struct ring_tag){.op = RING_OP_WAKE}));
	}
	assert_int_equal(ring_wait(ring, 0), 0);
	assert_int_equal(write(fds[0], &one, sizeof one), sizeof one);
	struct mono start = clock_mono();
	assert_int_equal(ring_wait_many(ring, 2, 50 * NS_PER_MS), 0);
	assert_true(mono_diff_ms(clock_mono(), start) >= 49);
	assert_int_equal(write(fds[1], &one, sizeof one), sizeof one);
	start = clock_mono();
	assert_int_equal(ring_wait_many(ring, 2, 5 * NS_PER_SEC), 0);
	assert_true(mono_diff_ms(clock_mono(), start) < 4000);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(next_event(ring).tag.op, RING_OP_WAKE);
		close(fds[i]);
	}
	ring_close(ring);
}

/* Requests that go to the kernel with the wait must not make it wait twice. */
static void wait_that_submits_something_is_not_longer(void **state)
{
	(void)state;
	struct ring *ring = open_ring(4, false);
	struct sockaddr_in at;
	int listener = open_listener(&at);
	assert_true(ring_accept_multishot(ring, listener, (struct ring_tag){.op = RING_OP_ACCEPT}));
	struct mono start = clock_mono();
	assert_int_equal(ring_wait(ring, 200 * NS_PER_MS), 0);
	assert_in_range(mono_diff_ms(clock_mono(), start), 199, 350);
	ring_close(ring);
	close(listener);
}

/* SEND, RECV, SHUTDOWN, CLOSE on the slot that was accepted. */
static void talk(struct ring *ring, uint32_t slot, int client)
{
	struct ring_tag tag = {.slot = slot, .generation = 5};
	uint8_t input[16];
	char got[8] = "";
	tag.op = RING_OP_RECV;
	assert_true(ring_recv(ring, tag, input, sizeof input));
	assert_int_equal(next_event(ring).res, -EAGAIN); /* nothing there: it does not wait */
	tag.op = RING_OP_BYTE;
	assert_true(ring_send(ring, tag, SPAN("2"), true));
	tag.op = RING_OP_SEND;
	assert_true(ring_send(ring, tag, SPAN("20"), false));
	struct ring_event event = next_event(ring);
	assert_int_equal(event.tag.op, RING_OP_SEND); /* the quiet one has no event */
	assert_int_equal(event.tag.generation, 5);
	assert_int_equal(event.res, 2);
	assert_int_equal(recv(client, got, 3, MSG_WAITALL), 3);
	assert_string_equal(got, "220");
	assert_int_equal(send(client, "QUIT", 4, MSG_NOSIGNAL), 4);
	tag.op = RING_OP_RECV;
	assert_true(ring_recv(ring, tag, input, sizeof input));
	assert_int_equal(next_event(ring).res, 4);
	assert_memory_equal(input, "QUIT", 4);
	tag.op = RING_OP_SHUTDOWN;
	assert_true(ring_shutdown(ring, tag));
	assert_int_equal(next_event(ring).res, 0);
	assert_int_equal(recv(client, got, 1, 0), 0);
	tag.op = RING_OP_BYTE;
	assert_true(ring_send(ring, tag, SPAN("x"), true));
	assert_int_equal(next_event(ring).res, -EPIPE); /* a quiet one that failed has */
	tag.op = RING_OP_CLOSE;
	assert_true(ring_close_slot(ring, tag));
	assert_int_equal(next_event(ring).res, 0);
}

static void multishot_connection_is_named_served_and_closed(void **state)
{
	(void)state;
	struct ring *ring = open_ring(8, false);
	if (!ring_has_name(ring)) {
		print_message("this kernel has no SO_PEERNAME for direct descriptors\n");
		ring_close(ring);
		skip();
	}
	struct sockaddr_in at;
	int listener = open_listener(&at);
	struct ring_tag tag = {.op = RING_OP_ACCEPT};
	assert_true(ring_accept_multishot(ring, listener, tag));
	for (int i = 0; i < 20; i++) {
		int client = connect_to(&at);
		struct sockaddr_in own = {0};
		socklen_t len = sizeof own;
		assert_int_equal(getsockname(client, (struct sockaddr *)&own, &len), 0);
		struct ring_event event = next_event(ring);
		assert_true(event.res >= 0);
		assert_true(event.has_more);
		struct sockaddr_in name = {0};
		tag = (struct ring_tag){.op = RING_OP_NAME, .slot = (uint32_t)event.res};
		assert_true(ring_name(ring, tag, &name, sizeof name));
		assert_int_equal(next_event(ring).res, sizeof name);
		assert_int_equal(name.sin_port, own.sin_port);
		talk(ring, tag.slot, client);
		close(client);
	}
	ring_close(ring);
	close(listener);
}

static void single_shot_accepts_have_an_address_each(void **state)
{
	(void)state;
	enum { N = 8 };
	struct ring *ring = open_ring(N, true);
	assert_false(ring_has_name(ring));
	struct sockaddr_in at;
	int listener = open_listener(&at);
	struct sockaddr_storage peers[N];
	socklen_t lens[N];
	int clients[N];
	for (uint32_t i = 0; i < N; i++) {
		struct ring_tag tag = {.op = RING_OP_ACCEPT, .slot = i};
		assert_true(ring_accept_once(ring, listener, tag, &peers[i], &lens[i]));
	}
	assert_int_equal(ring_submit(ring), 0);
	for (int i = 0; i < N; i++) {
		clients[i] = connect_to(&at);
		struct sockaddr_in own;
		socklen_t len = sizeof own;
		getsockname(clients[i], (struct sockaddr *)&own, &len);
		struct ring_event event = next_event(ring);
		assert_true(event.res >= 0);
		assert_false(event.has_more);
		struct sockaddr_in peer;
		memcpy(&peer, &peers[event.tag.slot], sizeof peer);
		assert_int_equal(peer.sin_port, own.sin_port);
		talk(ring, (uint32_t)event.res, clients[i]);
		close(clients[i]);
	}
	ring_close(ring);
	close(listener);
}

static void full_table_is_enfile_and_cancel_ends_accepts(void **state)
{
	(void)state;
	struct ring *ring = open_ring(1, false);
	struct sockaddr_in at;
	int listener = open_listener(&at);
	struct ring_tag tag = {.op = RING_OP_ACCEPT};
	assert_true(ring_accept_multishot(ring, listener, tag));
	int first = connect_to(&at);
	assert_int_equal(next_event(ring).res, 0);
	int second = connect_to(&at);
	struct ring_event event = next_event(ring);
	assert_int_equal(event.res, -ENFILE);
	assert_false(event.has_more);
	assert_true(ring_accept_multishot(ring, listener, tag));
	assert_int_equal(ring_submit(ring), 0);
	assert_true(ring_cancel_accepts(ring, listener, (struct ring_tag){.op = RING_OP_CANCEL}));
	bool was_cancelled = false;
	for (int i = 0; i < 2; i++) {
		event = next_event(ring);
		was_cancelled |= event.tag.op == RING_OP_ACCEPT && event.res == -ECANCELED;
	}
	assert_true(was_cancelled);
	ring_close(ring);
	close(first);
	close(second);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(tag_survives_the_way_through_the_kernel),
	        cmocka_unit_test(table_beyond_the_file_limit_is_refused_by_name),
	        cmocka_unit_test(requests_before_enabling_are_refused),
	        cmocka_unit_test(enabled_ring_takes_no_more_registrations),
	        cmocka_unit_test(wait_ends_at_its_time_and_at_an_event),
	        cmocka_unit_test(wait_for_many_is_not_ended_by_fewer),
	        cmocka_unit_test(wait_that_submits_something_is_not_longer),
	        cmocka_unit_test(multishot_connection_is_named_served_and_closed),
	        cmocka_unit_test(single_shot_accepts_have_an_address_each),
	        cmocka_unit_test(full_table_is_enfile_and_cancel_ends_accepts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
