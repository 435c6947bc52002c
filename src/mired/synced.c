/* See synced.h. */
#include "mired/synced.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/textfile.h"

enum { RETRY_MS = 100 };

static void pause_before_retry(void)
{
	const struct timespec pause = {.tv_nsec = RETRY_MS * NS_PER_MS};
	(void)nanosleep(&pause, NULL);
}

static int try_for_a_while(struct sync_setup *setup, int *socket, const struct conf *conf,
                           int wait_ms, char why[static SYNC_SETUP_WHY_MAX])
{
	struct mono deadline = mono_add_ms(clock_mono(), wait_ms);
	int ret = sync_setup_open(conf, false, setup, socket, why);
	while (ret == -EADDRINUSE && clock_mono().ns < deadline.ns) {
		pause_before_retry();
		ret = sync_setup_open(conf, false, setup, socket, why);
	}
	return ret;
}

/* Name servers that do not answer take their time, half a minute for each name, and nobody reads
 * the signals meanwhile: these two end the process as if they had never been blocked. Nothing was
 * begun that a start after a crash does not put right. */
static int open_setup(struct sync_setup *setup, int *socket, const struct conf *conf, int wait_ms,
                      char why[static SYNC_SETUP_WHY_MAX])
{
	sigset_t ends;
	sigset_t usual;
	(void)sigemptyset(&ends);
	(void)sigaddset(&ends, SIGTERM);
	(void)sigaddset(&ends, SIGINT);
	(void)sigprocmask(SIG_UNBLOCK, &ends, &usual);
	int ret = try_for_a_while(setup, socket, conf, wait_ms, why);
	(void)sigprocmask(SIG_SETMASK, &usual, NULL);
	return ret;
}

/* The descriptor of a sealed memory file. */
static int seal(const struct sync_setup *setup, char why[static SYNC_SETUP_WHY_MAX])
{
	char text[SYNC_SETUP_TEXT_MAX];
	int ret = sync_setup_print(setup, text);
	struct textfile file = {.bytes = text, .len = ret ? 0 : strlen(text)};
	int fd = ret ? ret : textfile_seal(&file);
	explicit_bzero(text, sizeof text); /* the key is in it */
	if (fd < 0) {
		(void)snprintf(why, SYNC_SETUP_WHY_MAX, "handing over the synchronisation: %s",
		               err_text(fd));
	}
	return fd;
}

int synced_open(struct synced *synced, const struct conf *conf, int wait_ms,
                char why[static SYNC_SETUP_WHY_MAX])
{
	struct sync_setup setup = {0};
	*synced = (struct synced){.state = SYNCED_UNWANTED, .setup_fd = -1, .socket = -1};
	if (!sync_is_wanted(conf)) {
		return 0;
	}
	if (conf->blacklist_only) {
		synced->state = SYNCED_POINTLESS;
		return 0;
	}
	int ret = open_setup(&setup, &synced->socket, conf, wait_ms, why);
	if (ret == ERR_NOT_FOUND) {
		synced->state = SYNCED_KEYLESS;
		synced->socket = -1;
		(void)snprintf(synced->note, sizeof synced->note, "%s", why);
		return 0;
	}
	if (ret) {
		synced->socket = -1;
		return ret;
	}
	synced->setup_fd = seal(&setup, why);
	explicit_bzero(&setup.key, sizeof setup.key);
	if (synced->setup_fd < 0) {
		ret = synced->setup_fd;
		synced_close(synced);
		return ret;
	}
	synced->state = SYNCED_ON;
	synced->n_peers = setup.n_peers;
	synced->has_group = setup.has_group;
	synced->must_receive = setup.must_receive;
	return 0;
}

void synced_close(struct synced *synced)
{
	int *const fds[] = {&synced->setup_fd, &synced->socket};
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0) {
			(void)close(*fds[i]);
			*fds[i] = -1;
		}
	}
}

const char *synced_text(const struct synced *synced, char out[static SYNCED_TEXT_MAX])
{
	out[0] = '\0';
	switch (synced->state) {
	case SYNCED_UNWANTED:
		break;
	case SYNCED_ON:
		(void)snprintf(out, SYNCED_TEXT_MAX, ", synchronised (peers: %zu%s%s)",
		               synced->n_peers, synced->has_group ? ", group" : "",
		               synced->must_receive ? ", receiving" : "");
		break;
	case SYNCED_KEYLESS:
		(void)snprintf(out, SYNCED_TEXT_MAX, ", not synchronised: no key");
		break;
	case SYNCED_POINTLESS:
		(void)snprintf(out, SYNCED_TEXT_MAX, ", not synchronised: no greylist");
		break;
	}
	return out;
}
