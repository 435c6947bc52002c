/* Opens the listening sockets of the SMTP side. Why these options: a receive buffer of the smallest
 * size keeps a pushing client at about 6 kB of our memory whatever it sends, the user timeout ends
 * peers that never acknowledge; Nagle stays on (perf figures are the same without it). Transparent
 * sockets are given connections to addresses of other hosts, as the rules for TPROXY do. */
#include "engine/listener.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

/* What is set before bind, for whom. */
struct option {
	bool is_wanted;
	int level;
	int name;
	int value;
	const char *text;
};

static int to_int(uint32_t value)
{
	return value > INT_MAX ? INT_MAX : (int)value;
}

static const char *where(const struct addr *addr, uint16_t port, char out[static 64])
{
	char text[ADDR_TEXT_MAX];
	(void)snprintf(out, 64, addr_is_v4(addr) ? "%s:%u" : "[%s]:%u", addr_format(addr, text),
	               port);
	return out;
}

static int explain_option(int ret, const char *text, bool is_transparent,
                          char why[static LISTENER_WHY_MAX])
{
	const char *hint = is_transparent && ret == -EPERM
	                           ? " (rules = gateway-tproxy needs CAP_NET_ADMIN)"
	                           : "";
	(void)snprintf(why, LISTENER_WHY_MAX, "%s: %s%s", text, err_text(ret), hint);
	return ret;
}

static int set_options(int fd, const struct addr *addr, const struct conf *conf, bool reuseport,
                       char why[static LISTENER_WHY_MAX])
{
	bool is_v6 = !addr_is_v4(addr);
	bool is_transparent = conf->rules == CONF_RULES_GATEWAY_TPROXY;
	/* the kernel doubles both buffer sizes for its own use: half of what is wanted is asked */
	const struct option options[] = {
	        {true, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"},
	        {true, SOL_SOCKET, SO_REUSEPORT, reuseport, "SO_REUSEPORT"},
	        {true, SOL_SOCKET, SO_RCVBUF, to_int(conf->receive_buffer_bytes / 2), "SO_RCVBUF"},
	        {true, SOL_SOCKET, SO_SNDBUF, to_int(conf->send_buffer_bytes / 2), "SO_SNDBUF"},
	        {true, IPPROTO_TCP, TCP_USER_TIMEOUT, to_int(conf->user_timeout_ms),
	         "TCP_USER_TIMEOUT"},
	        {is_v6, IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY"},
	        {is_transparent && !is_v6, IPPROTO_IP, IP_TRANSPARENT, 1, "IP_TRANSPARENT"},
	        {is_transparent && is_v6, IPPROTO_IPV6, IPV6_TRANSPARENT, 1, "IPV6_TRANSPARENT"},
	};
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option *option = &options[i];
		if (option->is_wanted && setsockopt(fd, option->level, option->name, &option->value,
		                                    sizeof option->value) < 0) {
			return explain_option(-errno, option->text, is_transparent, why);
		}
	}
	return 0;
}

static int explain(int ret, const char *what, const struct addr *addr, uint16_t port,
                   char why[static LISTENER_WHY_MAX])
{
	char place[64];
	const char *hint = "";
	if (ret == -EADDRINUSE) {
		hint = " (another program, or another mired, listens there)";
	} else if (ret == -EADDRNOTAVAIL) {
		hint = " (no interface of this host has that address)";
	} else if (ret == -EACCES) {
		hint = " (a port below 1024 needs CAP_NET_BIND_SERVICE)";
	}
	(void)snprintf(why, LISTENER_WHY_MAX, "%s %s: %s%s", what, where(addr, port, place),
	               err_text(ret), hint);
	return ret;
}

int listener_open(const struct addr *addr, uint16_t port, const struct conf *conf, bool reuseport,
                  char why[static LISTENER_WHY_MAX])
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(addr, port, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return explain(-errno, "no socket for", addr, port, why);
	}
	int ret = set_options(fd, addr, conf, reuseport, why);
	if (ret < 0) {
		goto fail;
	}
	if (bind(fd, (const struct sockaddr *)&ss, len) < 0) {
		ret = explain(-errno, "cannot bind", addr, port, why);
		goto fail;
	}
	if (listen(fd, to_int(conf->backlog)) < 0) {
		ret = explain(-errno, "cannot listen on", addr, port, why);
		goto fail;
	}
	return fd;
fail:
	close(fd);
	return ret;
}
