/* A child that checks and a thread that waits for its verdict: one line of text in a pipe, empty
 * when the store is sound. The child holds nothing of the engine's: a listening socket or a lock
 * that survived the engine in it would keep the next engine out. */
#include "engine/inspector.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "store/store.h"

enum {
	VERDICT_FD = 3,
	NICE_LOWEST = 19,
	IO_IDLE = 3 << 13, /* ioprio_set(2): IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0) */
	IO_WHO_PROCESS = 1,
};

struct inspector {
	pthread_t thread;
	pid_t pid;
	int pidfd;
	int verdict; /* read end */
	_Atomic bool is_stopped;
};

_Noreturn static void inspect(const char *dir, uint64_t map_bytes, int out)
{
	char why[STORE_WHY_MAX] = "";
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)dup2(out, VERDICT_FD);
	(void)close_range(VERDICT_FD + 1, ~0U, 0);
	(void)setpriority(PRIO_PROCESS, 0, NICE_LOWEST);
	(void)syscall(SYS_ioprio_set, IO_WHO_PROCESS, 0, IO_IDLE);
	if (store_check(dir, map_bytes, why) == 0) {
		_exit(0);
	}
	(void)!write(VERDICT_FD, why, strlen(why));
	_exit(1);
}

/* Reads until the child and its own children are gone. */
static void read_verdict(const struct inspector *inspector, char why[static STORE_WHY_MAX])
{
	size_t len = 0;
	ssize_t n = 0;
	do {
		n = read(inspector->verdict, why + len, STORE_WHY_MAX - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	} while ((n > 0 && len < STORE_WHY_MAX - 1) || (n < 0 && errno == EINTR));
	why[len] = '\0';
}

static void *wait_for_verdict(void *arg)
{
	struct inspector *inspector = arg;
	char why[STORE_WHY_MAX];
	int status = 0;
	struct mono begun = clock_mono();
	read_verdict(inspector, why);
	while (waitpid(inspector->pid, &status, 0) < 0 && errno == EINTR) {
	}
	/* acquire: partner of inspector_stop */
	if (atomic_load_explicit(&inspector->is_stopped, memory_order_acquire)) {
		return NULL;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		log_info("store: checked after the unclean stop, no damage found (%lld ms)",
		         (long long)mono_diff_ms(clock_mono(), begun));
	} else {
		log_error("store: the check after the unclean stop failed: %s",
		          why[0] ? why : "it ended without a verdict");
	}
	return NULL;
}

static void inspector_free(struct inspector *inspector)
{
	if (inspector->pidfd >= 0) {
		(void)close(inspector->pidfd);
	}
	(void)close(inspector->verdict);
	free(inspector);
}

int inspector_start(struct inspector **out, const char *dir, uint64_t map_bytes)
{
	int fds[2];
	struct inspector *inspector = calloc(1, sizeof *inspector);
	if (!inspector) {
		return -ENOMEM;
	}
	if (pipe2(fds, O_CLOEXEC) < 0) {
		int ret = -errno;
		free(inspector);
		return ret;
	}
	inspector->verdict = fds[0];
	inspector->pid = fork();
	if (inspector->pid == 0) {
		inspect(dir, map_bytes, fds[1]);
	}
	int ret = inspector->pid < 0 ? -errno : 0;
	(void)close(fds[1]);
	inspector->pidfd = ret == 0 ? pidfd_open(inspector->pid, 0) : -1;
	ret = ret ? ret : inspector->pidfd < 0 ? -errno : 0;
	ret = ret ? ret
	          : thread_start(&inspector->thread, "inspector", wait_for_verdict, inspector);
	if (ret != 0) {
		if (inspector->pid > 0) {
			(void)kill(inspector->pid, SIGKILL);
			(void)waitpid(inspector->pid, NULL, 0);
		}
		inspector_free(inspector);
		return ret;
	}
	*out = inspector;
	return 0;
}

void inspector_stop(struct inspector *inspector)
{
	if (!inspector) {
		return;
	}
	/* release: partner of wait_for_verdict, which must not call a killed check a failed one */
	atomic_store_explicit(&inspector->is_stopped, true, memory_order_release);
	/* the descriptor names this child for ever, whatever becomes of its number */
	(void)pidfd_send_signal(inspector->pidfd, SIGKILL, NULL, 0);
	(void)pthread_join(inspector->thread, NULL);
	inspector_free(inspector);
}
