/* The only place that asks the kernel for the time. */
#include "base/clock.h"

#include <sys/timex.h>
#include <time.h>

#include "base/compiler.h"

static struct timespec read_clock(clockid_t id)
{
	struct timespec ts;
	int ret = clock_gettime(id, &ts);
	ASSERT(ret == 0); /* fails only for a clock id the kernel does not know */
	return ts;
}

struct mono clock_mono(void)
{
	struct timespec ts = read_clock(CLOCK_MONOTONIC);
	return (struct mono){(int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec};
}

struct wall clock_wall(void)
{
	return (struct wall){read_clock(CLOCK_REALTIME).tv_sec};
}

bool clock_is_synchronised(void)
{
	struct timex tx = {.modes = 0};
	int state = adjtimex(&tx);
	return state >= 0 && state != TIME_ERROR && (tx.status & STA_UNSYNC) == 0;
}
