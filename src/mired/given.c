/* See given.h. The protocol is libsystemd's; other starters (s6, Python) speak it, too. */
#include "mired/given.h"

#include <assert.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/err.h"
#include "base/span.h"

static bool is_listening(int fd)
{
	return sd_is_socket_inet(fd, AF_UNSPEC, SOCK_STREAM, 1, 0) > 0;
}

static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port),
              "the port is at the same place in both families");

static int read_name(int fd, struct given_socket *out)
{
	struct sockaddr_in6 name = {0};
	socklen_t len = sizeof name;
	struct stat st;
	if (!is_listening(fd) || getsockname(fd, (struct sockaddr *)&name, &len) != 0 ||
	    fstat(fd, &st) != 0) {
		return ERR_UNSUPPORTED;
	}
	out->owner = st.st_uid;
	out->port = ntohs(name.sin6_port);
	return addr_from_sockaddr((const struct sockaddr *)&name, &out->addr);
}

static int take_in(struct given *given, int fd, const char *name, char why[static GIVEN_WHY_MAX])
{
	struct given_socket *one = &given->sockets[given->n];
	*one = (struct given_socket){.fd = fd};
	/* it comes from the environment and may get into the log */
	(void)span_escape(span_of_str(name), one->name, sizeof one->name);
	int ret = read_name(fd, one);
	if (ret) {
		(void)snprintf(why, GIVEN_WHY_MAX,
		               "descriptor %d (%s) was handed over and is no listening TCP socket",
		               fd, one->name);
		return ret;
	}
	given->n++;
	return 0;
}

static void free_names(char **names)
{
	for (size_t i = 0; names && names[i]; i++) {
		free(names[i]);
	}
	free(names);
}

int given_find(struct given *given, char why[static GIVEN_WHY_MAX])
{
	char **names = NULL;
	*given = (struct given){0};
	int n = sd_listen_fds_with_names(1, &names);
	int ret = n;
	if (n < 0) {
		(void)snprintf(why, GIVEN_WHY_MAX, "taking the sockets that were handed over: %s",
		               err_text(n));
	} else if (n > GIVEN_MAX) {
		(void)snprintf(why, GIVEN_WHY_MAX, "%d sockets were handed over, at most %d can be",
		               n, GIVEN_MAX);
		ret = ERR_TOO_LONG;
	}
	for (int i = 0; i < n && ret >= 0; i++) {
		ret = take_in(given, SD_LISTEN_FDS_START + i, names ? names[i] : "unknown", why);
	}
	free_names(names);
	return ret < 0 ? ret : 0;
}

static bool is_at(const struct given_socket *one, const struct addr *addr, uint16_t port)
{
	return one->port == port && addr_equal(&one->addr, addr);
}

size_t given_count(const struct given *given, const struct addr *addr, uint16_t port)
{
	size_t n = 0;
	for (size_t i = 0; i < given->n; i++) {
		n += is_at(&given->sockets[i], addr, port);
	}
	return n;
}

bool given_owner(const struct given *given, const struct addr *addr, uint16_t port, uid_t *out)
{
	for (size_t i = 0; i < given->n; i++) {
		if (is_at(&given->sockets[i], addr, port)) {
			*out = given->sockets[i].owner;
			return true;
		}
	}
	return false;
}

int given_take(struct given *given, const struct addr *addr, uint16_t port)
{
	for (size_t i = 0; i < given->n; i++) {
		struct given_socket *one = &given->sockets[i];
		if (!one->is_taken && is_at(one, addr, port)) {
			one->is_taken = true;
			return one->fd;
		}
	}
	return -1;
}

void given_close(struct given *given)
{
	for (size_t i = 0; i < given->n; i++) {
		if (!given->sockets[i].is_taken) {
			(void)close(given->sockets[i].fd);
		}
	}
	given->n = 0;
}
