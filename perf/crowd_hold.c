/* Holding: no epoll record, no buffer and no state but the descriptor for a connection. What came
 * is read on a round over all of them every look_secs, so no byte wakes anybody; only a sample is
 * read at every step, for the time of each byte's reception. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "crowd.h"

enum {
	STEP_MS = 200,
	OPENING_STEP_MS = 150, /* of a step at most, while connections are opened */
	READ_BYTES = 512,
};

struct holder {
	const struct crowd_member *member;
	uint32_t n;       /* its share */
	uint32_t n_fds;   /* opened so far */
	uint32_t look;    /* where the round goes on */
	int *fds;         /* -1: lost */
	int64_t *last_ns; /* of the sample: when the last byte came */
	struct mono now;
};

static void lose(struct holder *holder, uint32_t i)
{
	struct crowd_figures *figures = holder->member->figures;
	close(holder->fds[i]);
	holder->fds[i] = -1;
	crowd_add(&figures->n_lost, 1);
	atomic_fetch_sub_explicit(&figures->n_open, 1, memory_order_relaxed);
}

/* The bytes that came; an ended connection is counted and closed. */
static size_t settle(struct holder *holder, uint32_t i, ssize_t n)
{
	if (n > 0) {
		crowd_add(&holder->member->figures->n_bytes, (uint64_t)n);
		return (size_t)n;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		lose(holder, i);
	}
	return 0;
}

static void look(struct holder *holder, uint32_t i)
{
	char bytes[READ_BYTES];
	if (holder->fds[i] >= 0) {
		(void)settle(holder, i, recv(holder->fds[i], bytes, sizeof bytes, MSG_DONTWAIT));
	}
}

static int64_t received_ns(struct msghdr *message)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(message);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) {
		return 0;
	}
	const struct timespec *at = (const struct timespec *)CMSG_DATA(c);
	return at->tv_sec * NS_PER_SEC + at->tv_nsec;
}

static void note_gap(struct holder *holder, uint32_t i, int64_t at_ns)
{
	int64_t step_ns = CROWD_GAP_STEP_MS * NS_PER_MS;
	int64_t bucket = (at_ns - holder->last_ns[i]) / step_ns;
	if (holder->last_ns[i] > 0 && bucket >= 0) {
		bucket = bucket < CROWD_GAP_BUCKETS ? bucket : CROWD_GAP_BUCKETS - 1;
		atomic_fetch_add_explicit(&holder->member->figures->gaps[bucket], 1,
		                          memory_order_relaxed);
	}
	holder->last_ns[i] = at_ns;
}

/* By the kernel's time of reception: how late this process comes to read changes nothing. Two bytes
 * read together have but one time and are no measurement. */
static void look_at_sample(struct holder *holder, uint32_t i)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(struct timespec))];
	} control;
	char bytes[READ_BYTES];
	struct iovec iov = {.iov_base = bytes, .iov_len = sizeof bytes};
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = control.space,
	                         .msg_controllen = sizeof control.space};
	if (holder->fds[i] < 0) {
		return;
	}
	size_t n = settle(holder, i, recvmsg(holder->fds[i], &message, MSG_DONTWAIT));
	int64_t at_ns = n > 0 ? received_ns(&message) : 0;
	if (n == 1 && at_ns > 0 && crowd_phase(holder->member) == CROWD_HOLDING) {
		note_gap(holder, i, at_ns);
	} else if (n > 0) {
		holder->last_ns[i] = 0;
	}
}

static void open_one(struct holder *holder)
{
	const struct crowd_member *member = holder->member;
	uint64_t n = member->idx + holder->n_fds * member->options->n_processes;
	int one = 1;
	int fd = crowd_connect(member, n);
	if (fd < 0) {
		crowd_add(&member->figures->n_failed, 1);
		return;
	}
	if (holder->n_fds < member->options->n_sample) {
		(void)setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
	}
	holder->fds[holder->n_fds++] = fd;
	crowd_add(&member->figures->n_opened, 1);
	crowd_add(&member->figures->n_open, 1);
}

static void open_due(struct holder *holder)
{
	const struct crowd_member *member = holder->member;
	uint64_t elapsed_ms = (uint64_t)mono_diff_ms(holder->now, member->start);
	uint64_t due =
	        member->options->rate * elapsed_ms / member->options->n_processes / MS_PER_SEC;
	struct mono until = mono_add_ms(holder->now, OPENING_STEP_MS);
	while (holder->n_fds < holder->n && holder->n_fds < due && clock_mono().ns < until.ns &&
	       crowd_phase(member) == CROWD_OPENING) {
		open_one(holder);
	}
}

static void go_round(struct holder *holder, uint32_t n)
{
	for (uint32_t i = 0; i < n && holder->n_fds > 0; i++) {
		holder->look = (holder->look + 1) % holder->n_fds;
		if (holder->look >= holder->member->options->n_sample) {
			look(holder, holder->look);
		}
	}
}

static void step(struct holder *holder)
{
	const struct crowd_options *options = holder->member->options;
	holder->now = clock_mono();
	open_due(holder);
	for (uint32_t i = 0; i < holder->n_fds && i < options->n_sample; i++) {
		look_at_sample(holder, i);
	}
	uint64_t steps = options->look_secs * MS_PER_SEC / STEP_MS;
	go_round(holder, (uint32_t)((holder->n_fds + steps - 1) / steps));
	crowd_note_cpu(holder->member);
	int64_t left_ns = mono_add_ms(holder->now, STEP_MS).ns - clock_mono().ns;
	struct timespec pause = {.tv_nsec = left_ns};
	if (left_ns > 0) {
		(void)nanosleep(&pause, NULL);
	}
}

void crowd_hold(const struct crowd_member *member)
{
	const struct crowd_options *options = member->options;
	uint64_t n = options->n_hold / options->n_processes +
	             (member->idx < options->n_hold % options->n_processes);
	struct holder holder = {.member = member, .n = (uint32_t)n};
	holder.fds = calloc(n + 1, sizeof *holder.fds);
	holder.last_ns = calloc(options->n_sample + 1, sizeof *holder.last_ns);
	if (!holder.fds || !holder.last_ns) {
		exit(1);
	}
	while (crowd_phase(member) != CROWD_ENDING) {
		step(&holder);
	}
	for (uint32_t i = 0; i < holder.n_fds; i++) {
		look(&holder, i);
	}
	free(holder.fds);
	free(holder.last_ns);
}
