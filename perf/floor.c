/* The least an io_uring server can do that sends each connection a byte a period: the baseline of
 * perf/stutter. It speaks no protocol, reads nothing and has no timeouts; connections are direct
 * descriptors from a multishot accept, a tick's connections are an array, their bytes leave in few
 * submissions, and only failures have a completion. One thread with ring, listener and table each,
 * as many as the server that it is compared with.
 *
 * usage: floor PORT THREADS TABLE PERIOD_MS [look | random]
 * TABLE: connections of a ring at most; look: one for input beside each byte; random: the
 * connections of a tick are any. */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/span.h"

enum {
	TICK_MS = 50,
	PERIOD_MAX_MS = 60000,
	SQ_ENTRIES = 512,
	CQ_ENTRIES = 4096,
	BACKLOG = 4096,
	RCVBUF = 2304 / 2, /* the options of mired's listeners, so that sockets are the same */
	SNDBUF = 4608 / 2,
	USER_TIMEOUT_MS = 120000,
	INPUT_MAX = 64,
	THREADS_MAX = 128,
};

#define IS_ACCEPT UINT64_MAX /* as user_data, which else is the slot */

/* The connections of a tick. */
struct bucket {
	uint32_t *slots;
	uint32_t n;
	uint32_t size;
};

struct floor {
	struct io_uring ring;
	struct bucket buckets[PERIOD_MAX_MS / TICK_MS];
	bool is_dead[UINT16_MAX + 1]; /* by slot */
	uint64_t n_buckets;
	uint64_t tick; /* served up to here */
	int listener;
	uint32_t table_size;
	uint32_t random;
	const char *mode; /* its first letter: look, random */
};

static const uint8_t TEXT[] = "x";

static _Noreturn void fail(const char *what, int ret)
{
	(void)fprintf(stderr, "floor: %s: %s\n", what, strerror(-ret));
	exit(1);
}

static struct io_uring_sqe *take_sqe(struct floor *floor)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&floor->ring);
	if (!sqe && io_uring_submit(&floor->ring) >= 0) {
		sqe = io_uring_get_sqe(&floor->ring);
	}
	return sqe ? sqe : (fail("submission queue", -EBUSY), NULL);
}

static void arm_accept(struct floor *floor)
{
	struct io_uring_sqe *sqe = take_sqe(floor);
	io_uring_prep_multishot_accept_direct(sqe, floor->listener, NULL, NULL, 0);
	sqe->user_data = IS_ACCEPT;
}

/* Its turn is that of its accept: neighbours in time are neighbours in memory, which costs less
 * than a random turn. */
static void add(struct floor *floor, uint32_t slot)
{
	floor->random = floor->random * 1664525 + 1013904223;
	uint64_t phase = *floor->mode == 'r' ? floor->random >> 8 : floor->tick;
	struct bucket *bucket = &floor->buckets[phase % floor->n_buckets];
	if (bucket->n == bucket->size) {
		bucket->size = bucket->size * 2 + 64;
		bucket->slots = realloc(bucket->slots, bucket->size * sizeof *bucket->slots);
	}
	if (!bucket->slots) {
		fail("memory", -ENOMEM);
	}
	floor->is_dead[slot] = false;
	bucket->slots[bucket->n++] = slot;
}

static void reap(struct floor *floor)
{
	struct io_uring_cqe *cqe;
	unsigned head;
	unsigned n = 0;
	io_uring_for_each_cqe(&floor->ring, head, cqe)
	{
		bool is_accept = cqe->user_data == IS_ACCEPT;
		if (is_accept && cqe->res >= 0) {
			add(floor, (uint32_t)cqe->res);
		} else if (!is_accept && cqe->res <= 0 && cqe->res != -EAGAIN) {
			floor->is_dead[(uint32_t)cqe->user_data] = true;
		}
		if (is_accept && !(cqe->flags & IORING_CQE_F_MORE)) {
			arm_accept(floor);
		}
		n++;
	}
	io_uring_cq_advance(&floor->ring, n);
}

static void send_byte(struct floor *floor, uint32_t slot)
{
	struct io_uring_sqe *sqe = take_sqe(floor);
	io_uring_prep_send(sqe, (int)slot, TEXT, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	sqe->flags = IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = slot;
}

static void look(struct floor *floor, uint32_t slot)
{
	static _Thread_local uint8_t input[INPUT_MAX]; /* nobody reads it */
	struct io_uring_sqe *sqe = take_sqe(floor);
	io_uring_prep_recv(sqe, (int)slot, input, sizeof input, MSG_DONTWAIT);
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->user_data = slot;
}

static void serve(struct floor *floor, struct bucket *bucket)
{
	for (uint32_t i = 0; i < bucket->n;) {
		uint32_t slot = bucket->slots[i];
		if (floor->is_dead[slot]) {
			bucket->slots[i] = bucket->slots[--bucket->n];
			struct io_uring_sqe *sqe = take_sqe(floor);
			io_uring_prep_close_direct(sqe, slot);
			sqe->user_data = slot;
			continue;
		}
		send_byte(floor, slot);
		if (*floor->mode == 'l') {
			look(floor, slot);
		}
		i++;
	}
}

static void open_ring(struct floor *floor)
{
	struct io_uring_params params = {
	        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
	                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
	        .cq_entries = CQ_ENTRIES,
	};
	int ret = io_uring_queue_init_params(SQ_ENTRIES, &floor->ring, &params);
	ret = ret < 0 ? ret : io_uring_register_files_sparse(&floor->ring, floor->table_size);
	if (ret < 0) {
		fail("ring", ret);
	}
}

static void *run(void *arg)
{
	struct floor *floor = arg;
	const int64_t tick_ns = TICK_MS * NS_PER_MS;
	struct io_uring_cqe *cqe;
	open_ring(floor);
	arm_accept(floor);
	for (struct mono epoch = clock_mono();;) {
		int64_t now_ns = clock_mono().ns - epoch.ns;
		while ((int64_t)(floor->tick + 1) * tick_ns <= now_ns) {
			floor->tick++;
			serve(floor, &floor->buckets[floor->tick % floor->n_buckets]);
		}
		now_ns = clock_mono().ns - epoch.ns; /* what was served took time */
		int64_t left_ns = (int64_t)(floor->tick + 1) * tick_ns - now_ns;
		struct __kernel_timespec timeout = {.tv_nsec = left_ns > 0 ? left_ns : 0};
		(void)io_uring_submit_and_wait_timeout(&floor->ring, &cqe, 1, &timeout, NULL);
		reap(floor);
	}
	return NULL;
}

static int open_listener(uint16_t port)
{
	const int options[][3] = {
	        {SOL_SOCKET, SO_REUSEPORT, 1},
	        {SOL_SOCKET, SO_RCVBUF, RCVBUF},
	        {SOL_SOCKET, SO_SNDBUF, SNDBUF},
	        {IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
	};
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int ret = fd;
	for (size_t i = 0; ret >= 0 && i < ARRAY_LEN(options); i++) {
		ret = setsockopt(fd, options[i][0], options[i][1], &options[i][2], sizeof(int));
	}
	if (ret < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		fail("listener", -errno);
	}
	return fd;
}

static uint64_t number(const char *text, uint64_t max)
{
	uint64_t value;
	if (span_to_u64(span_of_str(text), max, &value) < 0 || value == 0) {
		(void)fputs("usage: floor PORT THREADS TABLE PERIOD_MS [look | random]\n", stderr);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	static struct floor floors[THREADS_MAX];
	uint16_t port = (uint16_t)number(argc > 4 ? argv[1] : "", UINT16_MAX);
	uint64_t n_threads = number(argv[2], THREADS_MAX);
	for (uint64_t i = 0; i < n_threads; i++) {
		floors[i] = (struct floor){
		        .table_size = (uint32_t)number(argv[3], UINT16_MAX),
		        .n_buckets = (number(argv[4], PERIOD_MAX_MS) + TICK_MS - 1) / TICK_MS,
		        .mode = argc > 5 ? argv[5] : "",
		        .listener = open_listener(port),
		};
	}
	for (uint64_t i = 0; i < n_threads; i++) {
		pthread_t thread;
		int ret = pthread_create(&thread, NULL, run, &floors[i]);
		if (ret != 0) {
			fail("thread", -ret);
		}
	}
	(void)puts("ready");
	(void)fflush(stdout);
	for (;;) {
		(void)pause();
	}
}
