/* See load_pace.h. */
#include "load_pace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

int pace_open(int fd)
{
	int one = 1;
	return setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one) < 0 ? -errno : 0;
}

/* 0 when the kernel did not say. */
static int64_t received_ns(struct msghdr *message)
{
	struct timespec at = {.tv_sec = 0};
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
			memcpy(&at, CMSG_DATA(c), sizeof at);
		}
	}
	return at.tv_sec * NS_PER_SEC + at.tv_nsec;
}

enum { LATE_PART = 10 };

/* n bytes came, the last of them now; returns when that one was due. */
static int64_t note_bytes(struct pace *pace, ssize_t n, int64_t now_ns, int64_t before_ns)
{
	int64_t pace_ns = (int64_t)pace->ms * NS_PER_MS;
	int64_t due_ns = before_ns + n * pace_ns;
	int64_t late_ns = now_ns - due_ns;
	int64_t second = mono_diff_ms(clock_mono(), pace->start) / MS_PER_SEC;
	if (second < PACE_SECONDS_MAX && late_ns > pace->late_max_ns[second]) {
		pace->late_max_ns[second] = late_ns;
	}
	pace->n_gaps++;
	pace->n_merged += (uint64_t)n - 1;
	return late_ns < 0 || late_ns > pace_ns / LATE_PART ? now_ns : due_ns;
}

ssize_t pace_recv(struct pace *pace, int fd, void *bytes, size_t size, int64_t *due_ns)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(struct timespec))];
	} control;
	struct iovec iov = {.iov_base = bytes, .iov_len = size};
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = control.space,
	                         .msg_controllen = sizeof control.space};
	ssize_t n = recvmsg(fd, &message, 0);
	if (n <= 0) {
		return n;
	}
	int64_t now_ns = received_ns(&message);
	*due_ns = *due_ns > 0 && now_ns > 0 ? note_bytes(pace, n, now_ns, *due_ns) : now_ns;
	return n;
}

void pace_print(const struct pace *pace, uint32_t seconds)
{
	printf("\"gaps\": %llu, \"merged\": %llu, \"late_ms\": [", (unsigned long long)pace->n_gaps,
	       (unsigned long long)pace->n_merged);
	for (uint32_t i = 0; i < seconds && i < PACE_SECONDS_MAX; i++) {
		printf("%s%.1f", i > 0 ? ", " : "", (double)pace->late_max_ns[i] / NS_PER_MS);
	}
	printf("], ");
}
