/* Opens the listening sockets of the SMTP side. Why these options: a receive buffer of the smallest
 * size keeps a pushing client at about 6 kB of our memory whatever it sends, the user timeout ends
 * peers that never acknowledge; Nagle stays on (perf figures are the same without it). Transparent
 * sockets are given connections to addresses of other hosts, as the rules for TPROXY do. */
#include "engine/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

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

const char *listener_place(const struct addr *addr, uint16_t port,
                           char out[static LISTENER_PLACE_MAX])
{
	char text[ADDR_TEXT_MAX];
	(void)snprintf(out, LISTENER_PLACE_MAX, addr_is_v4(addr) ? "%s:%u" : "[%s]:%u",
	               addr_format(addr, text), port);
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

static int set_options(int fd, const struct option *options, size_t n, bool is_transparent,
                       char why[static LISTENER_WHY_MAX])
{
	for (size_t i = 0; i < n; i++) {
		const struct option *option = &options[i];
		if (option->is_wanted && setsockopt(fd, option->level, option->name, &option->value,
		                                    sizeof option->value) < 0) {
			return explain_option(-errno, option->text, is_transparent, why);
		}
	}
	return 0;
}

/* What only an unbound socket takes. */
static int set_binding(int fd, bool is_v6, bool reuseport, char why[static LISTENER_WHY_MAX])
{
	const struct option options[] = {
	        {true, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"},
	        {true, SOL_SOCKET, SO_REUSEPORT, reuseport, "SO_REUSEPORT"},
	        {is_v6, IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY"},
	};
	return set_options(fd, options, ARRAY_LEN(options), false, why);
}

/* What accepted sockets inherit. All of it is set, whatever was there: a socket that was handed
 * over outlives configurations. */
static int set_inherited(int fd, bool is_v6, const struct conf *conf,
                         char why[static LISTENER_WHY_MAX])
{
	bool is_transparent = conf->rules == CONF_RULES_GATEWAY_TPROXY;
	/* the kernel doubles both buffer sizes for its own use: half of what is wanted is asked */
	const struct option options[] = {
	        {true, SOL_SOCKET, SO_RCVBUF, to_int(conf->receive_buffer_bytes / 2), "SO_RCVBUF"},
	        {true, SOL_SOCKET, SO_SNDBUF, to_int(conf->send_buffer_bytes / 2), "SO_SNDBUF"},
	        {true, IPPROTO_TCP, TCP_USER_TIMEOUT, to_int(conf->user_timeout_ms),
	         "TCP_USER_TIMEOUT"},
	        {!is_v6, IPPROTO_IP, IP_TRANSPARENT, is_transparent, "IP_TRANSPARENT"},
	        {is_v6, IPPROTO_IPV6, IPV6_TRANSPARENT, is_transparent, "IPV6_TRANSPARENT"},
	};
	return set_options(fd, options, ARRAY_LEN(options), is_transparent, why);
}

static int explain(int ret, const char *what, const struct addr *addr, uint16_t port,
                   char why[static LISTENER_WHY_MAX])
{
	char place[LISTENER_PLACE_MAX];
	const char *hint = "";
	if (ret == -EADDRINUSE) {
		hint = " (another program, or another mired, listens there)";
	} else if (ret == -EADDRNOTAVAIL) {
		hint = " (no interface of this host has that address)";
	} else if (ret == -EACCES) {
		hint = " (a port below 1024 needs CAP_NET_BIND_SERVICE)";
	}
	(void)snprintf(why, LISTENER_WHY_MAX, "%s %s: %s%s", what,
	               listener_place(addr, port, place), err_text(ret), hint);
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
	bool is_v6 = !addr_is_v4(addr);
	int ret = set_binding(fd, is_v6, reuseport, why);
	ret = ret ? ret : set_inherited(fd, is_v6, conf, why);
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

static bool is_on(int fd, int level, int name)
{
	int value = 0;
	socklen_t len = sizeof value;
	return getsockopt(fd, level, name, &value, &len) == 0 && value != 0;
}

/* What its opener left out, NULL for nothing. */
static const char *missing_setting(int fd, bool is_v6, bool is_shared)
{
	if (is_v6 && !is_on(fd, IPPROTO_IPV6, IPV6_V6ONLY)) {
		return "it takes IPv4, too: BindIPv6Only=ipv6-only is missing";
	}
	return is_shared && !is_on(fd, SOL_SOCKET, SO_REUSEPORT)
	               ? "workers cannot listen beside it: ReusePort=yes is missing (or workers = "
	                 "1)"
	               : NULL;
}

static int refuse_given(int ret, const struct addr *addr, uint16_t port, const char *reason,
                        char why[static LISTENER_WHY_MAX])
{
	char place[LISTENER_PLACE_MAX];
	(void)snprintf(why, LISTENER_WHY_MAX, "the socket of %s that was handed over: %s",
	               listener_place(addr, port, place), reason);
	return ret;
}

int listener_adopt(int fd, const struct addr *addr, uint16_t port, const struct conf *conf,
                   bool is_shared, char why[static LISTENER_WHY_MAX])
{
	bool is_v6 = !addr_is_v4(addr);
	char reason[LISTENER_WHY_MAX / 2] = "";
	const char *missing = missing_setting(fd, is_v6, is_shared);
	if (missing) {
		return refuse_given(ERR_UNSUPPORTED, addr, port, missing, why);
	}
	int ret = set_inherited(fd, is_v6, conf, why);
	if (ret) {
		(void)snprintf(reason, sizeof reason, "%.*s", (int)sizeof reason - 1, why);
		return refuse_given(ret, addr, port, reason, why);
	}
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    listen(fd, to_int(conf->backlog)) < 0) { /* again: the backlog may be another one */
		ret = -errno;
		return refuse_given(ret, addr, port, err_text(ret), why);
	}
	return 0;
}
