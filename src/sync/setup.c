/* From -y and -Y to a socket and its targets. The only place where names are resolved.
 *
 * Order: key, targets, where to receive, socket. The socket is bound without SO_REUSEADDR: with it,
 * Linux would let any local user bind the same port and take the datagrams away; UDP has no
 * TIME_WAIT for which it would be needed. What does not receive is bound to a port of the kernel's
 * choice. */
#include "sync/setup.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/err.h"

enum {
	TTL_DEFAULT = 1, /* spamd */
	TTL_MAX = 255,
	BUFFER_BYTES = 4 * 1024 * 1024, /* some 2000 datagrams each way, as the kernel counts */
};

static_assert((int)SYNC_SETUP_WHY_MAX >= (int)SYNC_KEY_WHY_MAX, "one holds the other's");

/* Interface[:ttl], found. */
struct interface {
	const char *text; /* as configured; NULL: none */
	char name[IFNAMSIZ];
	int ttl;
	int index;
	uint32_t addr_be;
};

/* What is gathered before the socket is made. */
struct plan {
	struct interface send;
	struct interface receive;
	uint32_t bind_be;
};

bool sync_is_wanted(const struct conf *conf)
{
	return conf->n_sync_peers > 0 || (conf->sync_listen && conf->sync_listen[0] != '\0');
}

static int fail(int code, const char *what, char why[static SYNC_SETUP_WHY_MAX])
{
	(void)snprintf(why, SYNC_SETUP_WHY_MAX, "%s: %s", what, err_text(code));
	return code;
}

/* --- names ------------------------------------------------------------------------------------ */

/* 0, or a reason for gai_strerror. */
static int resolve(const char *name, uint32_t *addr_be)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM};
	struct addrinfo *first = NULL;
	if (strchr(name, ':')) {
		return EAI_NONAME; /* no name has a colon: a resolver need not be asked */
	}
	int ret = getaddrinfo(name, NULL, &hints, &first);
	if (ret == 0) {
		*addr_be =
		        ((const struct sockaddr_in *)(const void *)first->ai_addr)->sin_addr.s_addr;
		freeaddrinfo(first);
	}
	return ret;
}

/* Its index and first IPv4 address. */
static int find_interface(struct interface *interface)
{
	struct ifreq request = {.ifr_addr.sa_family = AF_INET};
	struct sockaddr_in addr;
	interface->index = (int)if_nametoindex(interface->name);
	if (interface->index == 0) {
		return -ENODEV;
	}
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -errno;
	}
	memcpy(request.ifr_name, interface->name, sizeof request.ifr_name);
	int ret = ioctl(fd, SIOCGIFADDR, &request) == 0 ? 0 : -errno;
	(void)close(fd);
	memcpy(&addr, &request.ifr_addr, sizeof addr);
	interface->addr_be = addr.sin_addr.s_addr;
	return ret;
}

static int split_interface(const char *text, struct interface *out)
{
	struct span name = span_of_str(text);
	const char *colon = strrchr(text, ':');
	uint64_t ttl = TTL_DEFAULT;
	*out = (struct interface){.text = text};
	if (colon) {
		name.len = (size_t)(colon - text);
		if (span_to_u64(span_of_str(colon + 1), TTL_MAX, &ttl) != 0 || ttl == 0) {
			return ERR_RANGE;
		}
	}
	out->ttl = (int)ttl;
	if (name.len == 0 || name.len >= sizeof out->name) {
		return -ENODEV;
	}
	(void)span_to_str(name, out->name, sizeof out->name);
	return find_interface(out);
}

/* no_host: why it is no host name, or NULL when it could not be one. */
static int take_interface(const char *key, const char *text, const char *no_host,
                          struct interface *out, char why[static SYNC_SETUP_WHY_MAX])
{
	char shown[SYNC_NAME_MAX];
	struct addr addr;
	int ret = split_interface(text, out);
	if (ret == 0) {
		return 0;
	}
	(void)span_escape(span_of_str(text), shown, sizeof shown);
	if (addr_parse(span_of_str(text), &addr) == 0) {
		(void)snprintf(why, SYNC_SETUP_WHY_MAX,
		               "%s %s: an IPv6 address, but datagrams travel by IPv4 only", key,
		               shown);
	} else if (ret == ERR_RANGE) {
		(void)snprintf(why, SYNC_SETUP_WHY_MAX, "%s %s: the ttl must be 1 to %d", key,
		               shown, TTL_MAX);
	} else if (ret == -EADDRNOTAVAIL) {
		(void)snprintf(why, SYNC_SETUP_WHY_MAX, "%s %s: this interface has no IPv4 address",
		               key, shown);
	} else if (no_host) {
		(void)snprintf(why, SYNC_SETUP_WHY_MAX,
		               "%s %s: neither a host with an IPv4 address (%s) nor an interface "
		               "(%s)",
		               key, shown, no_host, err_text(ret));
	} else {
		(void)snprintf(why, SYNC_SETUP_WHY_MAX,
		               "%s %s: neither an IPv4 address nor an interface (%s)", key, shown,
		               err_text(ret));
	}
	return ret;
}

/* --- what is asked for ------------------------------------------------------------------------ */

/* The same host twice is told once. */
static void add_peer(struct sync_setup *setup, uint32_t addr_be, const char *name)
{
	for (size_t i = 0; i < setup->n_peers; i++) {
		if (setup->peers[i].addr_be == addr_be) {
			return;
		}
	}
	struct sync_peer *peer = &setup->peers[setup->n_peers++];
	peer->addr_be = addr_be;
	(void)span_to_str(span_of_str(name), peer->name, sizeof peer->name);
}

static int take_targets(const struct conf *conf, struct sync_setup *setup, struct plan *plan,
                        char why[static SYNC_SETUP_WHY_MAX])
{
	for (size_t i = 0; i < conf->n_sync_peers; i++) {
		uint32_t addr_be;
		int no_host = resolve(conf->sync_peers[i], &addr_be);
		int ret = 0;
		if (no_host == 0) {
			add_peer(setup, addr_be, conf->sync_peers[i]);
		} else {
			ret = take_interface("sync-peer", conf->sync_peers[i],
			                     gai_strerror(no_host), &plan->send, why);
		}
		if (ret != 0) {
			return ret;
		}
	}
	return 0;
}

static int take_source(const struct conf *conf, struct sync_setup *setup, struct plan *plan,
                       char why[static SYNC_SETUP_WHY_MAX])
{
	const char *text = conf->sync_listen;
	struct addr addr;
	if (!text || text[0] == '\0') {
		return 0;
	}
	setup->must_receive = true;
	if (addr_parse(span_of_str(text), &addr) == 0 && addr_is_v4(&addr)) {
		plan->bind_be = addr_v4_be(&addr);
		return 0;
	}
	int ret = take_interface("sync-listen", text, NULL, &plan->receive, why);
	if (ret == 0 && plan->send.text && strcmp(plan->send.text, text) != 0) {
		(void)snprintf(why, SYNC_SETUP_WHY_MAX,
		               "multicast interface does not match: sync-listen %s, sync-peer %s",
		               text, plan->send.text);
		ret = ERR_SYNTAX;
	}
	return ret;
}

static int take_key(const struct conf *conf, struct sync_key *key,
                    char why[static SYNC_SETUP_WHY_MAX])
{
	int ret = sync_key_read(conf->sync_key_file, key, why);
	if (ret == ERR_NOT_FOUND && conf->sync_insecure) {
		*key = (struct sync_key){.is_empty = true};
		return 0;
	}
	return ret;
}

/* --- the socket ------------------------------------------------------------------------------- */

/* Larger than the system's limit needs CAP_NET_ADMIN; without it the limit is what there is. */
static void enlarge(int fd, int forced, int plain)
{
	int bytes = BUFFER_BYTES;
	if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof bytes) != 0) {
		(void)setsockopt(fd, SOL_SOCKET, plain, &bytes, sizeof bytes);
	}
}

/* What is on its way may be cut, as on BSD: nothing is sent twice, so that a first datagram must
 * not be lost for telling of a narrow link, nor all of them where nobody tells. */
static int let_be_cut(int fd, char why[static SYNC_SETUP_WHY_MAX])
{
	const int never = IP_PMTUDISC_DONT;
	if (setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &never, sizeof never) != 0) {
		return fail(-errno, "sync: IP_MTU_DISCOVER", why);
	}
	return 0;
}

static int use_group(int fd, const struct plan *plan, char why[static SYNC_SETUP_WHY_MAX])
{
	struct ip_mreqn there = {.imr_multiaddr.s_addr = SYNC_GROUP_BE};
	const int none = 0;
	if (plan->send.text) {
		there.imr_ifindex = plan->send.index;
		there.imr_address.s_addr = plan->send.addr_be;
		if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &there, sizeof there) != 0 ||
		    setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &plan->send.ttl,
		               sizeof plan->send.ttl) != 0) {
			return fail(-errno, "sync: multicast", why);
		}
	}
	if (plan->receive.text) {
		there.imr_ifindex = plan->receive.index;
		there.imr_address.s_addr = plan->receive.addr_be;
		/* IP_MULTICAST_ALL: else what other programs have joined comes here, too (ip(7)) */
		if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &none, sizeof none) != 0 ||
		    setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &there, sizeof there) != 0) {
			return fail(-errno, "sync: joining the multicast group", why);
		}
	}
	return 0;
}

static int bind_socket(int fd, const struct sync_setup *setup, const struct plan *plan,
                       char why[static SYNC_SETUP_WHY_MAX])
{
	struct sockaddr_in own = {
	        .sin_family = AF_INET,
	        .sin_addr.s_addr = plan->bind_be,
	        .sin_port = htons(setup->must_receive ? setup->port : 0),
	};
	char text[INET_ADDRSTRLEN];
	if (bind(fd, (const struct sockaddr *)&own, sizeof own) == 0) {
		return 0;
	}
	int ret = -errno;
	(void)snprintf(why, SYNC_SETUP_WHY_MAX, "sync: %s port %d/udp: %s",
	               inet_ntop(AF_INET, &own.sin_addr, text, sizeof text), ntohs(own.sin_port),
	               err_text(ret));
	return ret;
}

/* The socket, or a code. */
static int open_socket(const struct sync_setup *setup, const struct plan *plan,
                       char why[static SYNC_SETUP_WHY_MAX])
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return fail(-errno, "sync: socket", why);
	}
	enlarge(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	enlarge(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	int ret = let_be_cut(fd, why);
	ret = ret ? ret : use_group(fd, plan, why);
	ret = ret ? ret : bind_socket(fd, setup, plan, why);
	if (ret != 0) {
		(void)close(fd);
		return ret;
	}
	return fd;
}

/* The socket, or a code. */
static int open_all(const struct conf *conf, bool is_sender, struct sync_setup *setup,
                    char why[static SYNC_SETUP_WHY_MAX])
{
	struct plan plan = {.bind_be = htonl(INADDR_ANY)};
	int ret = take_key(conf, &setup->key, why);
	ret = ret ? ret : take_targets(conf, setup, &plan, why);
	if (ret == 0 && !is_sender) {
		ret = take_source(conf, setup, &plan, why);
	}
	if (ret != 0) {
		return ret;
	}
	setup->has_group = plan.send.text != NULL;
	setup->interface_be = setup->has_group ? plan.send.addr_be : plan.receive.addr_be;
	return open_socket(setup, &plan, why);
}

int sync_setup_open(const struct conf *conf, bool is_sender, struct sync_setup *out, int *socket,
                    char why[static SYNC_SETUP_WHY_MAX])
{
	struct sync_setup setup = {.port = conf->sync_port};
	int ret = open_all(conf, is_sender, &setup, why);
	if (ret >= 0) {
		*socket = ret;
		*out = setup;
	}
	explicit_bzero(&setup.key, sizeof setup.key);
	return ret < 0 ? ret : 0;
}
