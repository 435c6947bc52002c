/* See thread.h. The mask is set before the thread exists: it inherits it. */
#include "base/thread.h"

#include <signal.h>

int thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *arg)
{
	sigset_t all;
	sigset_t old;
	(void)sigfillset(&all);
	int ret = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (ret != 0) {
		return -ret;
	}
	ret = pthread_create(out, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret != 0) {
		return -ret;
	}
	(void)pthread_setname_np(*out, name); /* for top and gdb only */
	return 0;
}
