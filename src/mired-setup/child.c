/* Forked, not executed again: a download needs nothing but this program, and starts with the rights
 * of the process that forks it, which has dropped its own. */
#include "mired-setup/child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"

enum {
	CHILD_MEMORY_BYTES = 1 << 30, /* of an interpreter that a list is made with, amply */
	CHILD_FILES = 256,
	EXIT_NO_EXEC = 127,
	STRAY_ROUNDS_MAX = 1000,
	CHILDREN_BYTES = 4096, /* of their numbers; more of them wait for the next round */
};

/* --- in the child ----------------------------------------------------------------------------- */

static void limit(__rlimit_resource_t what, uint64_t value)
{
	struct rlimit old;
	if (getrlimit(what, &old) == 0 && old.rlim_max > value) {
		struct rlimit new = {.rlim_cur = value, .rlim_max = value};
		(void)setrlimit(what, &new);
	}
}

static void set_limits(const struct fetch_job *job)
{
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NOFILE, CHILD_FILES);
	limit(RLIMIT_FSIZE, job->bytes_max);
	limit(RLIMIT_CPU, job->timeout_ms / 1000 + 1);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	limit(RLIMIT_AS, CHILD_MEMORY_BYTES); /* a sanitizer's shadow is larger than any bound */
#endif
}

/* What the maker ignores or blocks must not be handed on to a program. */
static void reset_signals(void)
{
	static const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++) {
		(void)signal(ignored[i], SIG_DFL);
	}
	sigset_t none;
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool set_stdin(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fd >= 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO;
}

/* Splits at blanks and tabs, as spamd-setup(8) does; there is no quoting. words[n] = NULL. */
static int split_words(char *line, char *words[static CHILD_WORDS_MAX + 1])
{
	int n = 0;
	char *rest = NULL;
	for (char *word = strtok_r(line, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
		if (n == CHILD_WORDS_MAX) {
			return ERR_TOO_LONG;
		}
		words[n++] = word;
	}
	words[n] = NULL;
	return n > 0 ? 0 : ERR_NOT_FOUND;
}

/* Returns only when it failed. */
static void run_program(const struct fetch_job *job, int data, struct fetch_report *report)
{
	char *words[CHILD_WORDS_MAX + 1];
	char *line = strdup(job->source);
	int ret = line ? split_words(line, words) : -ENOMEM;
	/* what the caller of mired-setup left open is not for the program either */
	(void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	if (ret == 0 && dup2(data, STDOUT_FILENO) == STDOUT_FILENO) {
		(void)execvp(words[0], words);
	}
	ret = ret ? ret : -errno;
	fetch_report_fail(report, ret, "cannot run %.200s: %s", job->source, err_text(ret));
	free(line);
}

_Noreturn static void child_main(const struct fetch_job *job, pid_t maker, int data, int report_fd)
{
	struct fetch_report report = {.code = 0};
	/* a session: its group is ended as a whole, and no terminal can be typed into from it */
	(void)setsid();
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != maker) {
		_exit(1);
	}
	reset_signals();
	set_limits(job);
	if (!set_stdin()) {
		fetch_report_fail(&report, -errno, "/dev/null: %s", err_text(-errno));
	} else if (job->method == CAPFILE_EXEC) {
		run_program(job, data, &report);
	} else {
		fetch_download(job, data, &report);
	}
	/* shorter than PIPE_BUF: whole or not at all, and nobody waits for it */
	bool is_told = write(report_fd, &report, sizeof report) == (ssize_t)sizeof report;
	_exit(is_told && report.code == 0 ? 0 : EXIT_NO_EXEC);
}

static_assert(sizeof(struct fetch_report) <= 4096, "a report fits into PIPE_BUF");

/* --- in its maker ----------------------------------------------------------------------------- */

static void close_pair(int fds[static 2])
{
	(void)close(fds[0]);
	(void)close(fds[1]);
}

int child_start(const struct fetch_job *job, int close_fd, struct child *out)
{
	int data[2];
	int report[2];
	if (pipe2(data, O_CLOEXEC) != 0) {
		return -errno;
	}
	if (pipe2(report, O_CLOEXEC) != 0) {
		int ret = -errno;
		close_pair(data);
		return ret;
	}
	pid_t maker = getpid();
	pid_t pid = fork();
	if (pid == 0) {
		(void)close(close_fd);
		child_main(job, maker, data[1], report[1]);
	}
	int ret = pid < 0 ? -errno : 0;
	int pid_fd = pid < 0 ? -1 : pidfd_open(pid, 0);
	if (pid > 0 && pid_fd < 0) {
		ret = -errno;
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
	(void)close(data[1]);
	(void)close(report[1]);
	if (ret) {
		(void)close(data[0]);
		(void)close(report[0]);
		return ret;
	}
	*out = (struct child){.pid = pid, .pid_fd = pid_fd, .data = data[0], .report = report[0]};
	return 0;
}

/* A child that has not come to its setsid() has no group yet, and nobody in it. */
static void kill_group(pid_t pid)
{
	(void)kill(-pid, SIGKILL);
	(void)kill(pid, SIGKILL);
}

/* A blank follows each number, so one that was cut short is not taken. */
static void kill_all_children(void)
{
	char text[CHILDREN_BYTES];
	int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	const char *at = text;
	for (const char *blank = strchr(at, ' '); blank; blank = strchr(at, ' ')) {
		long pid = strtol(at, NULL, 10);
		if (pid > 0) {
			(void)kill((pid_t)pid, SIGKILL);
		}
		at = blank + 1;
	}
	if (fd >= 0) {
		(void)close(fd);
	}
}

/* Those who left the group came to us when their parents ended (child_adopt). Each round ends a
 * generation; one that forks faster than that is given up. */
static void end_strays(void)
{
	for (int round = 0; round < STRAY_ROUNDS_MAX; round++) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);
		if (pid < 0) {
			return; /* there are no more */
		}
		if (pid == 0) {
			kill_all_children();
			(void)poll(NULL, 0, 1);
		}
	}
}

int child_adopt(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 ? -errno : 0;
}

static void explain_end(const siginfo_t *end, struct fetch_report *report)
{
	if (end->si_code == CLD_EXITED && end->si_status == 0) {
		return;
	}
	if (end->si_code == CLD_EXITED) {
		fetch_report_fail(report, ERR_CLOSED, "the program ended with status %d",
		                  end->si_status);
	} else {
		fetch_report_fail(report, ERR_CLOSED, "the program was ended by signal %d (%s)",
		                  end->si_status, strsignal(end->si_status));
	}
}

void child_finish(struct child *child, struct fetch_report *report)
{
	siginfo_t end = {.si_code = 0};
	/* it is looked at, not reaped: while it is a zombie nobody else gets its number, which is
	 * the group's too */
	int flags = WEXITED | WNOWAIT;
	if (waitid(P_PID, (id_t)child->pid, &end, flags | WNOHANG) != 0 || end.si_pid == 0) {
		kill_group(child->pid);
		(void)waitid(P_PID, (id_t)child->pid, &end, flags);
	}
	kill_group(child->pid);
	(void)waitpid(child->pid, NULL, 0);
	end_strays();
	*report = (struct fetch_report){.code = 0};
	(void)fcntl(child->report, F_SETFL, O_NONBLOCK);
	if (read(child->report, report, sizeof *report) != (ssize_t)sizeof *report) {
		*report = (struct fetch_report){.code = 0};
		explain_end(&end, report);
	}
	fetch_report_bound(report);
	(void)close(child->pid_fd);
	(void)close(child->data);
	(void)close(child->report);
}
