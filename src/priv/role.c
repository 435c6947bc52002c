/* fork and exec of a role. Between the two only async-signal-safe calls are made, because the
 * supervisor's log has a thread. */
#include "priv/role.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EXIT_NO_EXEC = 127 };

/* argv[0] is what ps shows. */
static const struct {
	const char *name;
	const char *title;
	const char *option;
} roles[ROLE_COUNT] = {
        [ROLE_ENGINE] = {"engine", "mired: engine", "--role=engine"},
        [ROLE_FIREWALL] = {"firewall", "mired: firewall", "--role=firewall"},
};

const char *role_name(enum role_kind kind)
{
	return roles[kind].name;
}

bool role_of_option(const char *arg, enum role_kind *kind)
{
	for (int i = 0; i < ROLE_COUNT; i++) {
		if (strcmp(arg, roles[i].option) == 0) {
			*kind = (enum role_kind)i;
			return true;
		}
	}
	return false;
}

/* Signals as a fresh program expects them: nothing blocked, and a Ctrl-C at the terminal goes to
 * the supervisor alone, which stops its roles in order. */
static void reset_signals(void)
{
	sigset_t none;
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	(void)sigaction(SIGINT, &ignore, NULL);
	(void)sigaction(SIGHUP, &ignore, NULL);
}

static void become_role(enum role_kind kind, const char *program, int channel, pid_t parent)
{
	reset_signals();
	/* a signal to the starter's whole group is the supervisor's to hear, too */
	(void)setpgid(0, 0);
	/* Second line besides the channel's EOF. The parent may have died before the prctl. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent) {
		return;
	}
	/* dup2 onto itself would leave close-on-exec set */
	bool is_there = channel == ROLE_CHANNEL_FD;
	if (is_there ? fcntl(channel, F_SETFD, 0) != 0 : dup2(channel, ROLE_CHANNEL_FD) < 0) {
		return;
	}
	if (close_range(ROLE_CHANNEL_FD + 1, ~0U, 0) != 0) {
		return;
	}
	char *const argv[] = {(char *)roles[kind].title, (char *)roles[kind].option, NULL};
	(void)execv(program, argv);
}

int role_start(enum role_kind kind, const char *program, pid_t *pid, int *channel)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		return -errno;
	}
	pid_t parent = getpid();
	pid_t child = fork();
	if (child == 0) {
		become_role(kind, program, pair[1], parent);
		_exit(EXIT_NO_EXEC);
	}
	int ret = child < 0 ? -errno : 0;
	(void)close(pair[1]);
	if (ret) {
		(void)close(pair[0]);
		return ret;
	}
	*pid = child;
	*channel = pair[0];
	return 0;
}
