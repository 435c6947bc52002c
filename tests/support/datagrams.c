/* Datagrams on their way out. */
#include "datagrams.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* splitmix64 (Steele, Lea, Flood 2014): every seed is a good one */
uint64_t chance_next(struct chance *chance)
{
	uint64_t x = chance->state += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint32_t chance_below(struct chance *chance, uint64_t n)
{
	return (uint32_t)(chance_next(chance) % n);
}

bool datagrams_open(struct datagrams *out, const struct args_place *to, uint64_t rate)
{
	memset(out, 0, sizeof *out);
	out->rate = rate;
	out->start = clock_mono();
	out->socket = socket(to->name.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return out->socket >= 0 &&
	       connect(out->socket, (const struct sockaddr *)&to->name, to->len) == 0;
}

void datagrams_close(struct datagrams *out)
{
	(void)close(out->socket);
}

void datagrams_add(struct datagrams *out, struct span bytes)
{
	size_t len = bytes.len < DATAGRAM_BYTES_MAX ? bytes.len : DATAGRAM_BYTES_MAX;
	size_t i = out->n_waiting++;
	if (len > 0) {
		memcpy(out->bytes[i], bytes.ptr, len);
	}
	out->parts[i] = (struct iovec){out->bytes[i], len};
	out->headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &out->parts[i], .msg_iovlen = 1}};
	if (out->n_waiting == DATAGRAMS_BATCH) {
		datagrams_flush(out);
	}
}

/* Sleeps until what was sent so far is due. */
static void hold_rate(const struct datagrams *out)
{
	uint64_t due_ns = out->n_sent * (uint64_t)NS_PER_SEC / out->rate;
	int64_t wait_ns = out->start.ns + (int64_t)due_ns - clock_mono().ns;
	if (wait_ns > 0) {
		struct timespec wait = {wait_ns / NS_PER_SEC, wait_ns % NS_PER_SEC};
		(void)nanosleep(&wait, NULL);
	}
}

/* An error belongs to the first of those not sent yet, or to an earlier one (ECONNREFUSED); that
 * one is not tried again. */
void datagrams_flush(struct datagrams *out)
{
	size_t i = 0;
	while (i < out->n_waiting) {
		int n = sendmmsg(out->socket, out->headers + i, (unsigned)(out->n_waiting - i), 0);
		if (n > 0) {
			i += (size_t)n;
			out->n_sent += (uint64_t)n;
		} else if (errno != EINTR) {
			i++;
			out->n_failed++;
		}
	}
	out->n_waiting = 0;
	hold_rate(out);
}
