/* Opens the listeners in two passes; see sockets.h. */
#include "mired/sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "engine/listener.h"

enum { RETRY_MS = 100 };

static int try_alone(const struct addr *addr, const struct conf *conf, int wait_ms,
                     char why[static LISTENER_WHY_MAX])
{
	const struct timespec pause = {.tv_nsec = RETRY_MS * NS_PER_MS};
	int fd = listener_open(addr, conf->port, conf, false, why);
	for (; fd == -EADDRINUSE && wait_ms > 0; wait_ms -= RETRY_MS) {
		(void)nanosleep(&pause, NULL);
		fd = listener_open(addr, conf->port, conf, false, why);
	}
	if (fd < 0) {
		return fd;
	}
	(void)close(fd);
	return 0;
}

/* A host without IPv6 is not at fault when the default, all addresses of both families, is
 * configured. */
static bool may_skip(const struct conf *conf, size_t idx, int code)
{
	static const struct addr any_v6;
	return code == -EAFNOSUPPORT && conf->n_listen > 1 &&
	       addr_equal(&conf->listen[idx], &any_v6);
}

static int try_addresses(struct sockets *sockets, const struct conf *conf, int wait_ms,
                         char why[static LISTENER_WHY_MAX])
{
	for (size_t i = 0; i < conf->n_listen; i++) {
		int ret = try_alone(&conf->listen[i], conf, wait_ms, why);
		if (may_skip(conf, i, ret)) {
			log_info("this host has no IPv6: not listening on [::]:%u", conf->port);
			sockets->is_skipped[i] = true;
			continue;
		}
		if (ret) {
			return ret;
		}
	}
	return 0;
}

static int open_workers(struct sockets *sockets, const struct conf *conf, const struct addr *addr,
                        char why[static LISTENER_WHY_MAX])
{
	for (uint32_t worker = 0; worker < conf->workers; worker++) {
		int fd = listener_open(addr, conf->port, conf, true, why);
		if (fd < 0) {
			return fd;
		}
		sockets->listeners[sockets->n++] = (struct engine_listener){
		        .fd = fd, .worker = worker, .is_v6 = !addr_is_v4(addr)};
	}
	return 0;
}

static int open_all(struct sockets *sockets, const struct conf *conf,
                    char why[static LISTENER_WHY_MAX])
{
	int ret = 0;
	for (size_t i = 0; i < conf->n_listen && !ret; i++) {
		if (!sockets->is_skipped[i]) {
			ret = open_workers(sockets, conf, &conf->listen[i], why);
		}
	}
	return ret;
}

int sockets_open(struct sockets *sockets, const struct conf *conf, int wait_ms,
                 char why[static SOCKETS_WHY_MAX])
{
	char reason[LISTENER_WHY_MAX] = "";
	*sockets = (struct sockets){0};
	int ret = try_addresses(sockets, conf, wait_ms, reason);
	if (!ret) {
		sockets->listeners =
		        calloc(conf->n_listen * conf->workers, sizeof *sockets->listeners);
		ret = sockets->listeners ? open_all(sockets, conf, reason) : -ENOMEM;
	}
	if (ret) {
		(void)snprintf(why, SOCKETS_WHY_MAX, "%s", *reason ? reason : err_text(ret));
		sockets_close(sockets);
	}
	return ret;
}

void sockets_close(struct sockets *sockets)
{
	for (size_t i = 0; sockets->listeners && i < sockets->n; i++) {
		(void)close(sockets->listeners[i].fd);
	}
	free(sockets->listeners);
	sockets->listeners = NULL;
	sockets->n = 0;
}

const char *sockets_text(const struct sockets *sockets, const struct conf *conf,
                         char out[static SOCKETS_TEXT_MAX])
{
	size_t used = 0;
	out[0] = '\0';
	for (size_t i = 0; i < conf->n_listen; i++) {
		if (sockets->is_skipped[i]) {
			continue;
		}
		char text[ADDR_TEXT_MAX];
		bool is_v4 = addr_is_v4(&conf->listen[i]);
		int n = snprintf(out + used, SOCKETS_TEXT_MAX - used, "%s%s%s%s:%u",
		                 used ? " " : "", is_v4 ? "" : "[",
		                 addr_format(&conf->listen[i], text), is_v4 ? "" : "]", conf->port);
		used += (size_t)n;
	}
	return out;
}
