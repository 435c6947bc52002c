/* Opens the listeners in two passes; see sockets.h. */
#include "mired/sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "engine/listener.h"

enum {
	RETRY_MS = 100,
	CFG_BACKLOG = 10, /* as spamd's */
	PORTS_MAX = 2,
};

/* A port that is served on all addresses. */
struct port {
	uint16_t number;
	bool is_low_priority;
};

static size_t ports_of(const struct conf *conf, struct port out[static PORTS_MAX])
{
	out[0] = (struct port){conf->port, false};
	out[1] = (struct port){conf->low_priority_port, true};
	return conf->n_low_priority_mx > 0 ? PORTS_MAX : 1;
}

static void pause_before_retry(void)
{
	const struct timespec pause = {.tv_nsec = RETRY_MS * NS_PER_MS};
	(void)nanosleep(&pause, NULL);
}

static int try_alone(const struct addr *addr, uint16_t port, const struct conf *conf, int wait_ms,
                     char why[static LISTENER_WHY_MAX])
{
	int fd = listener_open(addr, port, conf, false, why);
	for (; fd == -EADDRINUSE && wait_ms > 0; wait_ms -= RETRY_MS) {
		pause_before_retry();
		fd = listener_open(addr, port, conf, false, why);
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

static int try_addresses(struct sockets *sockets, const struct conf *conf, const struct port *port,
                         int wait_ms, char why[static LISTENER_WHY_MAX])
{
	for (size_t i = 0; i < conf->n_listen; i++) {
		int ret = try_alone(&conf->listen[i], port->number, conf, wait_ms, why);
		if (may_skip(conf, i, ret)) {
			log_info("this host has no IPv6: not listening on [::]:%u", port->number);
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
                        const struct port *port, char why[static LISTENER_WHY_MAX])
{
	for (uint32_t worker = 0; worker < conf->workers; worker++) {
		int fd = listener_open(addr, port->number, conf, true, why);
		if (fd < 0) {
			return fd;
		}
		sockets->listeners[sockets->n++] =
		        (struct engine_listener){.fd = fd,
		                                 .worker = worker,
		                                 .is_v6 = !addr_is_v4(addr),
		                                 .is_low_priority = port->is_low_priority};
	}
	return 0;
}

static int open_port(struct sockets *sockets, const struct conf *conf, const struct port *port,
                     int wait_ms, char why[static LISTENER_WHY_MAX])
{
	int ret = try_addresses(sockets, conf, port, wait_ms, why);
	for (size_t i = 0; i < conf->n_listen && !ret; i++) {
		if (!sockets->is_skipped[i]) {
			ret = open_workers(sockets, conf, &conf->listen[i], port, why);
		}
	}
	return ret;
}

int sockets_open(struct sockets *sockets, const struct conf *conf, int wait_ms,
                 char why[static SOCKETS_WHY_MAX])
{
	char reason[LISTENER_WHY_MAX] = "";
	struct port ports[PORTS_MAX];
	size_t n_ports = ports_of(conf, ports);
	*sockets = (struct sockets){0};
	sockets->listeners =
	        calloc(n_ports * conf->n_listen * conf->workers, sizeof *sockets->listeners);
	int ret = sockets->listeners ? 0 : -ENOMEM;
	for (size_t i = 0; i < n_ports && !ret; i++) {
		ret = open_port(sockets, conf, &ports[i], wait_ms, reason);
	}
	if (ret) {
		(void)snprintf(why, SOCKETS_WHY_MAX, "%s", *reason ? reason : err_text(ret));
		sockets_close(sockets);
	}
	return ret;
}

static int try_cfg(uint16_t port, int *out)
{
	const struct sockaddr_in name = {.sin_family = AF_INET,
	                                 .sin_port = htons(port),
	                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -errno;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    bind(fd, (const struct sockaddr *)&name, sizeof name) != 0 ||
	    listen(fd, CFG_BACKLOG) != 0) {
		int ret = -errno;
		(void)close(fd);
		return ret;
	}
	*out = fd;
	return 0;
}

int sockets_open_cfg(uint16_t port, int wait_ms, int *fd, char why[static SOCKETS_WHY_MAX])
{
	int ret = try_cfg(port, fd);
	for (; ret == -EADDRINUSE && wait_ms > 0; wait_ms -= RETRY_MS) {
		pause_before_retry();
		ret = try_cfg(port, fd);
	}
	if (ret) {
		(void)snprintf(why, SOCKETS_WHY_MAX,
		               "spamd-cfg-port: cannot listen on 127.0.0.1:%u: %s", port,
		               err_text(ret));
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
	if (conf->n_low_priority_mx > 0) {
		(void)snprintf(out + used, SOCKETS_TEXT_MAX - used, ", low priority on %u",
		               conf->low_priority_port);
	}
	return out;
}
