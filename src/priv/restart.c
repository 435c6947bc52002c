/* Back-off: 100 ms, then 1 s doubling to 60 s, forgotten after a minute of health. A death counts
 * as one in the store when the role said so, when the memory map could not be read (SIGBUS), or
 * when it crashed so early that it can hardly have done anything but open the store. */
#include "priv/restart.h"

#include <signal.h>
#include <sys/wait.h>

static bool is_store_death(const struct restart_death *death, int64_t lived_ms)
{
	if (death->is_store) {
		return true;
	}
	if (!WIFSIGNALED(death->status)) {
		return false;
	}
	int signal = WTERMSIG(death->status);
	return signal == SIGBUS || (signal == SIGSEGV && lived_ms < RESTART_CRASH_MS);
}

static uint32_t wait_of(uint32_t n_failures)
{
	if (n_failures <= 1) {
		return RESTART_FIRST_MS;
	}
	uint32_t wait_ms = RESTART_MIN_MS;
	for (uint32_t i = 2; i < n_failures && wait_ms < RESTART_MAX_MS; i++) {
		wait_ms *= 2;
	}
	return wait_ms < RESTART_MAX_MS ? wait_ms : RESTART_MAX_MS;
}

enum restart_verdict restart_died(struct restart *restart, const struct restart_death *death,
                                  uint32_t *wait_ms)
{
	int64_t lived_ms = mono_diff_ms(death->now, death->started);
	if (lived_ms >= RESTART_HEALTHY_MS) {
		*restart = (struct restart){0};
	}
	restart->n_failures++;
	restart->n_store = is_store_death(death, lived_ms) ? restart->n_store + 1 : 0;
	*wait_ms = wait_of(restart->n_failures);
	return restart->n_store >= RESTART_STORE_MAX ? RESTART_GIVE_UP : RESTART_AGAIN;
}
