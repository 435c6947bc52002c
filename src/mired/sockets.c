/* Opens the listeners in two passes; see sockets.h. A socket that was handed over joins the group
 * of those that its workers open beside it (SO_REUSEPORT), so each has its share of the clients.
 * When mired stops, the kernel moves the clients in the queues of the workers' own sockets over to
 * the one that stays, if net.ipv4.tcp_migrate_req says so. One socket for all workers needs no such
 * setting, but then the first worker is woken for every client and has them nearly all. */
#include "mired/sockets.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
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

#define MIGRATE_SYSCTL "/proc/sys/net/ipv4/tcp_migrate_req"

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

/* One start. */
struct opening {
	struct sockets *sockets;
	const struct conf *conf;
	struct given *given;
	int wait_ms;
	char why[SOCKETS_WHY_MAX];
};
static_assert((int)SOCKETS_WHY_MAX >= (int)LISTENER_WHY_MAX, "it writes its reasons into ours");

static int try_alone(struct opening *o, const struct addr *addr, uint16_t port)
{
	int fd = listener_open(addr, port, o->conf, false, o->why);
	for (int ms = o->wait_ms; fd == -EADDRINUSE && ms > 0; ms -= RETRY_MS) {
		pause_before_retry();
		fd = listener_open(addr, port, o->conf, false, o->why);
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

/* Where a socket was handed over the port is ours already. */
static int try_addresses(struct opening *o, const struct port *port)
{
	for (size_t i = 0; i < o->conf->n_listen; i++) {
		const struct addr *addr = &o->conf->listen[i];
		int ret = given_count(o->given, addr, port->number) > 0
		                  ? 0
		                  : try_alone(o, addr, port->number);
		if (may_skip(o->conf, i, ret)) {
			log_info("this host has no IPv6: not listening on [::]:%u", port->number);
			o->sockets->is_skipped[i] = true;
			continue;
		}
		if (ret) {
			return ret;
		}
	}
	return 0;
}

/* The kernel lets sockets share a port only if they have one owner, who is the file system's user
 * of whoever opens them: systemd's are root's, and mired may not be root. Others need CAP_SETUID.
 */
static int open_beside(struct opening *o, const struct addr *addr, uint16_t port, uid_t owner)
{
	uid_t own = (uid_t)setfsuid(owner);
	int fd = listener_open(addr, port, o->conf, true, o->why);
	(void)setfsuid(own);
	if (fd == -EADDRINUSE && own != owner) {
		char place[LISTENER_PLACE_MAX];
		(void)snprintf(o->why, sizeof o->why,
		               "workers cannot listen beside the socket of %s that was handed "
		               "over: it belongs to user %u (CAP_SETUID is needed, or workers = 1)",
		               listener_place(addr, port, place), owner);
	}
	return fd;
}

/* The next one that was handed over, or else a new one. */
static int open_one(struct opening *o, const struct addr *addr, uint16_t port)
{
	uid_t owner;
	int fd = given_take(o->given, addr, port);
	if (fd >= 0) {
		return fd;
	}
	return given_owner(o->given, addr, port, &owner)
	               ? open_beside(o, addr, port, owner)
	               : listener_open(addr, port, o->conf, true, o->why);
}

static int open_workers(struct opening *o, const struct addr *addr, const struct port *port)
{
	struct sockets *sockets = o->sockets;
	size_t n_given = given_count(o->given, addr, port->number);
	for (uint32_t worker = 0; worker < o->conf->workers; worker++) {
		int fd = open_one(o, addr, port->number);
		if (fd < 0) {
			return fd;
		}
		sockets->listeners[sockets->n++] =
		        (struct engine_listener){.fd = fd,
		                                 .worker = worker,
		                                 .is_v6 = !addr_is_v4(addr),
		                                 .is_low_priority = port->is_low_priority};
		sockets->n_own += n_given > 0 && worker >= n_given;
	}
	sockets->n_places++;
	sockets->n_held += n_given > 0;
	return 0;
}

static int open_port(struct opening *o, const struct port *port)
{
	int ret = try_addresses(o, port);
	for (size_t i = 0; i < o->conf->n_listen && !ret; i++) {
		if (!o->sockets->is_skipped[i]) {
			ret = open_workers(o, &o->conf->listen[i], port);
		}
	}
	return ret;
}

/* --- what was handed over ----------------------------------------------------------------------
 */

static bool is_wanted(const struct opening *o, const struct given_socket *one)
{
	struct port ports[PORTS_MAX];
	size_t n_ports = ports_of(o->conf, ports);
	for (size_t i = 0; i < n_ports * o->conf->n_listen; i++) {
		if (ports[i % n_ports].number == one->port &&
		    addr_equal(&o->conf->listen[i / n_ports], &one->addr)) {
			return true;
		}
	}
	return false;
}

/* Nobody would ever take a client from it. */
static int refuse_stray(struct opening *o, const struct given_socket *one)
{
	char place[LISTENER_PLACE_MAX];
	char ours[SOCKETS_TEXT_MAX];
	(void)snprintf(o->why, sizeof o->why,
	               "%s was handed over (%s), and the configuration listens on %.240s: make "
	               "ListenStream= of the socket unit agree with it, or stop that unit",
	               listener_place(&one->addr, one->port, place), one->name,
	               sockets_text(o->sockets, o->conf, ours));
	return ERR_RANGE;
}

static int refuse_surplus(struct opening *o, const struct given_socket *one, size_t n)
{
	char place[LISTENER_PLACE_MAX];
	(void)snprintf(o->why, sizeof o->why, "%s was handed over %zu times (%s), for %u workers",
	               listener_place(&one->addr, one->port, place), n, one->name,
	               o->conf->workers);
	return ERR_RANGE;
}

/* Before anything is opened: a wrong socket may be in the way of a right one. */
static int adopt_given(struct opening *o)
{
	int ret = 0;
	for (size_t i = 0; i < o->given->n && !ret; i++) {
		const struct given_socket *one = &o->given->sockets[i];
		size_t n = given_count(o->given, &one->addr, one->port);
		if (!is_wanted(o, one)) {
			ret = refuse_stray(o, one);
		} else if (n > o->conf->workers) {
			ret = refuse_surplus(o, one, n);
		} else {
			ret = listener_adopt(one->fd, &one->addr, one->port, o->conf,
			                     o->conf->workers > 1, o->why);
		}
	}
	return ret;
}

/* --- the whole -------------------------------------------------------------------------------- */

int sockets_open(struct sockets *sockets, const struct conf *conf, struct given *given, int wait_ms,
                 char why[static SOCKETS_WHY_MAX])
{
	struct opening o = {.sockets = sockets, .conf = conf, .given = given, .wait_ms = wait_ms};
	struct port ports[PORTS_MAX];
	size_t n_ports = ports_of(conf, ports);
	*sockets = (struct sockets){0};
	sockets->listeners =
	        calloc(n_ports * conf->n_listen * conf->workers, sizeof *sockets->listeners);
	int ret = sockets->listeners ? adopt_given(&o) : -ENOMEM;
	for (size_t i = 0; i < n_ports && !ret; i++) {
		ret = open_port(&o, &ports[i]);
	}
	given_close(given);
	if (ret) {
		(void)snprintf(why, SOCKETS_WHY_MAX, "%s", *o.why ? o.why : err_text(ret));
		sockets_close(sockets);
	}
	return ret;
}

bool sockets_are_held(const struct sockets *sockets)
{
	return sockets->n_places > 0 && sockets->n_held == sockets->n_places;
}

static bool is_migration_off(void)
{
	char value = '1'; /* a kernel without it, or no /proc: nothing that could be set */
	int fd = open(MIGRATE_SYSCTL, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!read(fd, &value, 1);
		(void)close(fd);
	}
	return value == '0';
}

void sockets_say(const struct sockets *sockets)
{
	if (sockets->n_held == 0) {
		return;
	}
	log_info("%zu of %zu listening sockets were handed over: clients wait there while mired "
	         "is down",
	         sockets->n_held, sockets->n_places);
	if (!sockets_are_held(sockets)) {
		log_warning("clients of the other %zu are refused while mired is down",
		            sockets->n_places - sockets->n_held);
	}
	if (sockets->n_own > 0 && is_migration_off()) {
		log_warning("net.ipv4.tcp_migrate_req is 0: at a stop, clients are lost that wait "
		            "for another worker than the first; sysctl -w "
		            "net.ipv4.tcp_migrate_req=1");
	}
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
