/* All places at a time: the first byte of a greeting takes a stutter. Strangers who connect to the
 * port are dropped by the rules, this host itself is not, so this shows that the daemon answers,
 * not that the rules lead there. */
#include "verify/site_places.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

enum { PATIENCE_MS = 3000 };

/* Where a client on this host reaches who listens there. */
static struct addr near_address(const struct addr *addr)
{
	static const struct addr any_v6;
	static const struct addr loopback_v6 = {.bytes = {[15] = 1}};
	bool is_any = addr_is_v4(addr) ? addr_v4_be(addr) == htonl(INADDR_ANY)
	                               : addr_equal(addr, &any_v6);
	if (!is_any) {
		return *addr;
	}
	return addr_is_v4(addr) ? addr_from_v4_be(htonl(INADDR_LOOPBACK)) : loopback_v6;
}

static int open_socket(const struct addr *addr, uint16_t port, struct sockaddr_storage *ss,
                       socklen_t *len)
{
	*len = addr_to_sockaddr(addr, port, ss);
	int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* Bound and never listening: nobody meets it. */
static int try_port(const struct addr *addr, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len;
	const int on = 1;
	int fd = open_socket(addr, port, &ss, &len);
	if (fd < 0) {
		return fd;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (ss.ss_family == AF_INET6) {
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	}
	int ret = bind(fd, (const struct sockaddr *)&ss, len) == 0 ? 0 : -errno;
	(void)close(fd);
	return ret;
}

/* A descriptor that is connecting, or -errno. */
static int begin_visit(const struct addr *addr, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len;
	struct addr near = near_address(addr);
	int fd = open_socket(&near, port, &ss, &len);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS) {
		return fd;
	}
	int ret = -errno;
	(void)close(fd);
	return ret;
}

/* Something came, or the connection failed. */
static int end_visit(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, 0);
	return n > 0 ? 0 : n == 0 ? ERR_CLOSED : -errno;
}

static void await_greetings(struct site *site, struct pollfd *visits, uint32_t wait_ms)
{
	struct mono deadline = mono_add_ms(clock_mono(), wait_ms);
	for (size_t n_open = site->n_places; n_open > 0;) {
		int64_t left_ms = mono_diff_ms(deadline, clock_mono());
		if (left_ms <= 0 || poll(visits, site->n_places, (int)left_ms) <= 0) {
			return;
		}
		n_open = 0;
		for (size_t i = 0; i < site->n_places; i++) {
			if (visits[i].fd >= 0 && visits[i].revents) {
				site->places[i].ret = end_visit(visits[i].fd);
				(void)close(visits[i].fd);
				visits[i].fd = -1;
			}
			n_open += visits[i].fd >= 0;
		}
	}
}

static void visit_places(struct site *site, const struct addr *addrs, uint32_t wait_ms)
{
	struct pollfd visits[SITE_PLACES_MAX];
	for (size_t i = 0; i < site->n_places; i++) {
		int fd = begin_visit(&addrs[i], site->places[i].port);
		site->places[i].ret = fd < 0 ? fd : -ETIMEDOUT;
		visits[i] = (struct pollfd){.fd = fd < 0 ? -1 : fd, .events = POLLIN};
	}
	await_greetings(site, visits, wait_ms);
	for (size_t i = 0; i < site->n_places; i++) {
		if (visits[i].fd >= 0) {
			(void)close(visits[i].fd);
		}
	}
}

void site_read_places(struct site *site, const struct conf *conf)
{
	const uint16_t ports[] = {conf->port, conf->low_priority_port};
	struct addr addrs[SITE_PLACES_MAX];
	bool has_daemon = site_has_daemon(site);
	site->n_places = 0;
	for (size_t p = 0; p < (conf->n_low_priority_mx > 0 ? 2 : 1); p++) {
		for (size_t i = 0; i < conf->n_listen; i++) {
			struct site_place *place = &site->places[site->n_places];
			addrs[site->n_places++] = conf->listen[i];
			place->port = ports[p];
			(void)listener_place(&conf->listen[i], ports[p], place->name);
			place->ret = has_daemon ? 0 : try_port(&conf->listen[i], ports[p]);
		}
	}
	if (has_daemon) {
		visit_places(site, addrs, PATIENCE_MS + conf->stutter_ms);
	}
}
