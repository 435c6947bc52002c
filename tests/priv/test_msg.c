/* The messages between roles: round trips, what the decoder refuses, descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "priv/msg.h"

static struct msg_element element_of(uint8_t last, uint32_t timeout_secs, bool is_deleted)
{
	struct msg_element element = {.timeout_secs = timeout_secs, .is_deleted = is_deleted};
	element.addr.bytes[0] = 0x20;
	element.addr.bytes[15] = last;
	element.set = last & 1;
	return element;
}

static void assert_elements_equal(const struct msg *a, const struct msg *b)
{
	assert_int_equal(a->n_elements, b->n_elements);
	for (uint16_t i = 0; i < a->n_elements; i++) {
		const struct msg_element *x = &a->elements[i];
		const struct msg_element *y = &b->elements[i];
		assert_memory_equal(x->addr.bytes, y->addr.bytes, sizeof x->addr.bytes);
		assert_int_equal(x->timeout_secs, y->timeout_secs);
		assert_int_equal(x->set, y->set);
		assert_int_equal(x->is_deleted, y->is_deleted);
	}
}

static struct msg round_trip(const struct msg *msg)
{
	uint8_t bytes[MSG_BYTES_MAX];
	size_t len = 0;
	assert_int_equal(msg_encode(msg, bytes, &len), 0);
	struct msg back;
	assert_int_equal(msg_decode(bytes, len, &back), 0);
	assert_int_equal(back.type, msg->type);
	assert_int_equal(back.fd, -1);
	for (size_t cut = 0; cut < len; cut++) {
		struct msg untouched = {.seq = 77};
		assert_int_equal(msg_decode(bytes, cut, &untouched), ERR_TRUNCATED);
		assert_int_equal(untouched.seq, 77);
	}
	bytes[len] = 0;
	assert_int_equal(msg_decode(bytes, len + 1, &back), ERR_SYNTAX);
	assert_int_equal(msg_decode(bytes, len, &back), 0);
	return back;
}

static void every_type_survives_a_round_trip_and_no_shorter_or_longer_form(void **state)
{
	(void)state;
	for (int type = 1; type < MSG_TYPE_END; type++) {
		struct msg msg = {.type = (enum msg_type)type, .fd = -1};
		(void)round_trip(&msg);
	}
}

static void changes_keep_order_and_every_field(void **state)
{
	(void)state;
	struct msg msg = {.type = MSG_CHANGES, .seq = UINT64_C(0x0102030405060708), .fd = -1};
	msg.n_elements = MSG_ELEMENTS_MAX;
	for (uint16_t i = 0; i < msg.n_elements; i++) {
		msg.elements[i] = element_of((uint8_t)i, 1 + i * 1000U, i % 3 == 0);
	}
	struct msg back = round_trip(&msg);
	assert_true(back.seq == msg.seq);
	assert_elements_equal(&msg, &back);
}

static void figures_and_listener_keep_every_field(void **state)
{
	(void)state;
	struct msg msg = {.type = MSG_DONE, .seq = UINT64_MAX, .fd = -1};
	msg.figures = (struct msg_figures){1, 2, 3, 4, UINT64_MAX, true, false, true, 5, 6, 7};
	struct msg back = round_trip(&msg);
	assert_true(back.seq == UINT64_MAX);
	assert_true(back.figures.transactions == 1 && back.figures.failures == 2);
	assert_true(back.figures.elements_added == 3 && back.figures.elements_deleted == 4);
	assert_true(back.figures.restores == UINT64_MAX);
	assert_true(back.figures.has_refresh && !back.figures.has_destroy);
	assert_true(back.figures.is_complete);
	assert_true(back.figures.cpu_ms == 5 && back.figures.resident_bytes == 6);
	assert_true(back.figures.open_files == 7);
	struct msg listener = {.type = MSG_LISTENER, .worker = 255, .is_v6 = true, .fd = -1};
	back = round_trip(&listener);
	assert_int_equal(back.worker, 255);
	assert_true(back.is_v6 && !back.is_low_priority);
	listener = (struct msg){.type = MSG_LISTENER, .is_low_priority = true, .fd = -1};
	back = round_trip(&listener);
	assert_true(!back.is_v6 && back.is_low_priority);
}

static void ranges_keep_order_and_both_ends(void **state)
{
	(void)state;
	struct msg msg = {.type = MSG_RANGES, .n_ranges = MSG_RANGES_MAX, .fd = -1};
	for (uint16_t i = 0; i < msg.n_ranges; i++) {
		msg.ranges[i].first = element_of((uint8_t)i, 1, false).addr;
		msg.ranges[i].last = element_of((uint8_t)(i + i % 3), 1, false).addr;
	}
	struct msg back = round_trip(&msg);
	assert_int_equal(back.n_ranges, MSG_RANGES_MAX);
	assert_memory_equal(back.ranges, msg.ranges, sizeof msg.ranges);
}

static void ranges_backwards_or_across_families_are_refused(void **state)
{
	(void)state;
	uint8_t bytes[MSG_BYTES_MAX];
	size_t len = 0;
	struct msg msg = {.type = MSG_RANGES, .n_ranges = 1, .fd = -1};
	msg.ranges[0].first = element_of(2, 1, false).addr;
	msg.ranges[0].last = element_of(1, 1, false).addr;
	assert_int_equal(msg_encode(&msg, bytes, &len), ERR_RANGE);
	assert_int_equal(addr_parse(span_of_str("192.0.2.1"), &msg.ranges[0].first), 0);
	assert_int_equal(msg_encode(&msg, bytes, &len), ERR_RANGE);
	assert_int_equal(addr_parse(span_of_str("192.0.2.1"), &msg.ranges[0].last), 0);
	assert_int_equal(msg_encode(&msg, bytes, &len), 0);
	msg.n_ranges = MSG_RANGES_MAX + 1;
	assert_int_equal(msg_encode(&msg, bytes, &len), ERR_RANGE);
}

/* ::/80 as a range. */
static void range_of_ipv6_may_end_with_a_mapped_address(void **state)
{
	(void)state;
	uint8_t bytes[MSG_BYTES_MAX];
	size_t len = 0;
	struct msg msg = {.type = MSG_RANGES, .n_ranges = 1, .fd = -1};
	assert_int_equal(addr_parse(span_of_str("::"), &msg.ranges[0].first), 0);
	assert_int_equal(addr_parse(span_of_str("255.255.255.255"), &msg.ranges[0].last), 0);
	assert_int_equal(msg_encode(&msg, bytes, &len), 0);
}

static void the_byte_layout_is_the_documented_one(void **state)
{
	(void)state;
	struct msg msg = {.type = MSG_CHANGES, .seq = 258, .n_elements = 1, .fd = -1};
	msg.elements[0] = element_of(9, 0x0A0B0C0D, false);
	static const uint8_t wanted[] = {1,    MSG_CHANGES, 0, 0, 0,  0,  0,  0,  1, 2, 0, 1,
	                                 0x20, 0,           0, 0, 0,  0,  0,  0,  0, 0, 0, 0,
	                                 0,    0,           0, 9, 10, 11, 12, 13, 1, 0};
	uint8_t bytes[MSG_BYTES_MAX];
	size_t len = 0;
	assert_int_equal(msg_encode(&msg, bytes, &len), 0);
	assert_int_equal(len, sizeof wanted);
	assert_memory_equal(bytes, wanted, len);
}

static void a_fatal_text_may_fill_its_field_but_hold_no_nul(void **state)
{
	(void)state;
	struct msg msg = {.type = MSG_FATAL, .fd = -1};
	memset(msg.text, 'x', sizeof msg.text - 1);
	assert_string_equal(round_trip(&msg).text, msg.text);
	static const uint8_t with_nul[] = {1, MSG_FATAL, 0, 3, 'a', 0, 'b'};
	struct msg back;
	assert_int_equal(msg_decode(with_nul, sizeof with_nul, &back), ERR_SYNTAX);
}

static void fields_out_of_range_are_refused(void **state)
{
	(void)state;
	static const struct {
		uint8_t bytes[32];
		size_t len;
		int ret;
	} table[] = {
	        {{2, MSG_START}, 2, ERR_VERSION},
	        {{1, 0}, 2, ERR_RANGE},
	        {{1, MSG_TYPE_END}, 2, ERR_RANGE},
	        {{1, 255}, 2, ERR_RANGE},
	        {{1, MSG_LISTENER, 0, 0, 1, 0, 0, 0}, 8, ERR_RANGE}, /* worker 256 */
	        {{1, MSG_LISTENER, 0, 0, 0, 0, 2, 0}, 8, ERR_RANGE}, /* neither true nor false */
	        {{1, MSG_FATAL, 2, 0}, 4, ERR_RANGE},                /* 512 bytes of text */
	        {{1, MSG_FILL, 0, 201}, 4, ERR_RANGE},               /* too many elements */
	        {{1, MSG_FILL, 0, 1, [20] = 0, 0, 0, 0, 0, 0}, 26, ERR_RANGE}, /* for ever */
	        {{1, MSG_FILL, 0, 1, [23] = 5, 2, 0}, 26, ERR_RANGE},          /* no such set */
	        {{1, MSG_FILL, 0, 1, [23] = 5, 1, 2}, 26, ERR_RANGE},          /* no boolean */
	        {{1, MSG_FILL, 0, 1, [23] = 5, 1, 0}, 26, 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct msg msg;
		assert_int_equal(msg_decode(table[i].bytes, table[i].len, &msg), table[i].ret);
	}
}

static void an_impossible_message_is_not_encoded(void **state)
{
	(void)state;
	uint8_t bytes[MSG_BYTES_MAX];
	size_t len = 0;
	struct msg msg = {.type = MSG_FILL, .n_elements = MSG_ELEMENTS_MAX + 1, .fd = -1};
	assert_int_equal(msg_encode(&msg, bytes, &len), ERR_RANGE);
	msg.n_elements = 1; /* timeout 0 */
	assert_int_equal(msg_encode(&msg, bytes, &len), ERR_RANGE);
	msg.type = MSG_TYPE_END;
	assert_int_equal(msg_encode(&msg, bytes, &len), ERR_RANGE);
	msg.type = (enum msg_type)0;
	assert_int_equal(msg_encode(&msg, bytes, &len), ERR_RANGE);
}

/* --- over a socket ---------------------------------------------------------------------------- */

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	assert_non_null(dir);
	int n = 0;
	while (readdir(dir)) {
		n++;
	}
	(void)closedir(dir);
	return n;
}

static int setup_pair(void **state)
{
	int *pair = malloc(2 * sizeof *pair);
	*state = pair;
	return pair ? socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)
	            : -1;
}

static int teardown_pair(void **state)
{
	int *pair = *state;
	(void)close(pair[0]);
	(void)close(pair[1]);
	free(pair);
	return 0;
}

static void a_descriptor_arrives_close_on_exec(void **state)
{
	const int *pair = *state;
	struct msg msg = {.type = MSG_LISTENER, .worker = 3, .fd = pair[0]};
	assert_int_equal(msg_send(pair[0], &msg), 0);
	struct msg back = {.fd = -1};
	assert_int_equal(msg_recv(pair[1], &back), 0);
	assert_int_equal(back.worker, 3);
	assert_true(back.fd >= 0 && back.fd != pair[0]);
	assert_int_equal(fcntl(back.fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(close(back.fd), 0);
}

static void an_empty_socket_says_eagain_and_a_closed_one_says_closed(void **state)
{
	(void)state;
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	struct msg msg = {.fd = -1};
	assert_int_equal(msg_recv(pair[1], &msg), -EAGAIN);
	assert_int_equal(close(pair[0]), 0);
	assert_int_equal(msg_recv(pair[1], &msg), ERR_CLOSED);
	struct msg start = {.type = MSG_START, .fd = -1};
	assert_int_equal(msg_send(pair[1], &start), ERR_CLOSED);
	assert_int_equal(close(pair[1]), 0);
}

static void a_full_socket_says_eagain_and_loses_nothing(void **state)
{
	const int *pair = *state;
	struct msg msg = {.type = MSG_CHANGES, .n_elements = MSG_ELEMENTS_MAX, .fd = -1};
	for (uint16_t i = 0; i < msg.n_elements; i++) {
		msg.elements[i] = element_of((uint8_t)i, 60, false);
	}
	uint64_t n_sent = 0;
	int ret = 0;
	while (!ret && n_sent < 10000) {
		msg.seq = n_sent;
		ret = msg_send(pair[0], &msg);
		n_sent += ret == 0;
	}
	assert_int_equal(ret, -EAGAIN);
	struct msg back;
	for (uint64_t seq = 0; seq < n_sent; seq++) {
		assert_int_equal(msg_recv(pair[1], &back), 0);
		assert_true(back.seq == seq);
	}
	assert_int_equal(msg_recv(pair[1], &back), -EAGAIN);
}

static void send_raw(int socket, const void *bytes, size_t len, int n_fds)
{
	enum { FDS_MAX = 16 };
	union {
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
	assert_true(n_fds <= FDS_MAX);
	if (n_fds > 0) {
		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
		for (int i = 0; i < n_fds; i++) {
			memcpy(CMSG_DATA(cmsg) + (size_t)i * sizeof(int), &socket, sizeof(int));
		}
	}
	assert_int_equal(sendmsg(socket, &header, MSG_NOSIGNAL), (ssize_t)len);
}

static void surplus_missing_and_unasked_descriptors_are_refused_and_closed(void **state)
{
	const int *pair = *state;
	static const struct {
		uint8_t bytes[2];
		int n_fds;
		int ret;
	} table[] = {
	        {{1, MSG_CONF}, 1, 0},           {{1, MSG_CONF}, 0, ERR_SYNTAX},
	        {{1, MSG_CONF}, 2, ERR_SYNTAX},  {{1, MSG_CONF}, 16, ERR_SYNTAX},
	        {{1, MSG_START}, 1, ERR_SYNTAX}, {{1, MSG_TYPE_END}, 3, ERR_RANGE},
	        {{1, MSG_SYNC}, 1, 0},           {{1, MSG_SYNC}, 0, ERR_SYNTAX},
	        {{1, MSG_SYNC_SOCKET}, 1, 0},    {{1, MSG_SYNC_SOCKET}, 0, ERR_SYNTAX},
	};
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		int before = open_fds();
		send_raw(pair[0], table[i].bytes, 2, table[i].n_fds);
		struct msg msg = {.fd = -1};
		assert_int_equal(msg_recv(pair[1], &msg), table[i].ret);
		if (table[i].ret == 0) {
			assert_int_equal(close(msg.fd), 0);
		}
		assert_int_equal(open_fds(), before);
	}
}

static void a_datagram_longer_than_any_message_is_refused(void **state)
{
	const int *pair = *state;
	static uint8_t bytes[MSG_BYTES_MAX + 1] = {1, MSG_START};
	send_raw(pair[0], bytes, sizeof bytes, 0);
	struct msg msg;
	assert_int_equal(msg_recv(pair[1], &msg), ERR_TOO_LONG);
	struct msg start = {.type = MSG_START, .fd = -1};
	assert_int_equal(msg_send(pair[0], &start), 0);
	assert_int_equal(msg_recv(pair[1], &msg), 0);
	assert_int_equal(msg.type, MSG_START);
}

static void a_descriptor_is_sent_exactly_with_the_types_that_carry_one(void **state)
{
	const int *pair = *state;
	struct msg with = {.type = MSG_START, .fd = pair[0]};
	assert_int_equal(msg_send(pair[0], &with), ERR_SYNTAX);
	struct msg without = {.type = MSG_PEER, .fd = -1};
	assert_int_equal(msg_send(pair[0], &without), ERR_SYNTAX);
	struct msg msg;
	assert_int_equal(msg_recv(pair[1], &msg), -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_type_survives_a_round_trip_and_no_shorter_or_longer_form),
	        cmocka_unit_test(changes_keep_order_and_every_field),
	        cmocka_unit_test(figures_and_listener_keep_every_field),
	        cmocka_unit_test(ranges_keep_order_and_both_ends),
	        cmocka_unit_test(ranges_backwards_or_across_families_are_refused),
	        cmocka_unit_test(range_of_ipv6_may_end_with_a_mapped_address),
	        cmocka_unit_test(the_byte_layout_is_the_documented_one),
	        cmocka_unit_test(a_fatal_text_may_fill_its_field_but_hold_no_nul),
	        cmocka_unit_test(fields_out_of_range_are_refused),
	        cmocka_unit_test(an_impossible_message_is_not_encoded),
	        cmocka_unit_test_setup_teardown(a_descriptor_arrives_close_on_exec, setup_pair,
	                                        teardown_pair),
	        cmocka_unit_test(an_empty_socket_says_eagain_and_a_closed_one_says_closed),
	        cmocka_unit_test_setup_teardown(a_full_socket_says_eagain_and_loses_nothing,
	                                        setup_pair, teardown_pair),
	        cmocka_unit_test_setup_teardown(
	                surplus_missing_and_unasked_descriptors_are_refused_and_closed, setup_pair,
	                teardown_pair),
	        cmocka_unit_test_setup_teardown(a_datagram_longer_than_any_message_is_refused,
	                                        setup_pair, teardown_pair),
	        cmocka_unit_test_setup_teardown(
	                a_descriptor_is_sent_exactly_with_the_types_that_carry_one, setup_pair,
	                teardown_pair),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
