/* Whether the marked packets of the TPROXY rules reach this host: asks the kernel for its routing
 * rules and for the routes of our table by rtnetlink, which takes no rights. What is looked for is
 * what mired-tproxy sets up. */
#include "fw/fw_routes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

#include "base/err.h"

enum {
	RECEIVE_BYTES = 32 << 10,
	ANSWER_WAIT_SECS = 5,
	PARTS_MAX = 10000, /* datagrams of an answer; a bound on a loop */
};

/* What there is in one family. */
struct found {
	const struct conf *conf;
	bool has_rule[CONF_INTERFACES_MAX];
	bool has_route;
};

/* --- what the kernel says --------------------------------------------------------------------- */

enum { ATTRS_MAX = FRA_FWMASK };
_Static_assert((int)RTA_TABLE <= (int)ATTRS_MAX, "both kinds of message fit");

/* The attributes this file looks at, by type; those of rules and of routes never meet. */
struct attrs {
	const struct nlattr *of[ATTRS_MAX + 1];
};

static int note_attr(const struct nlattr *attr, void *ctx)
{
	struct attrs *attrs = ctx;
	if (mnl_attr_get_type(attr) <= ATTRS_MAX) {
		attrs->of[mnl_attr_get_type(attr)] = attr;
	}
	return MNL_CB_OK;
}

static bool is_u32(const struct nlattr *attr, uint32_t value)
{
	return attr && mnl_attr_validate(attr, MNL_TYPE_U32) == 0 &&
	       mnl_attr_get_u32(attr) == value;
}

static int see_rule(const struct nlmsghdr *message, void *ctx)
{
	struct found *found = ctx;
	struct attrs attrs = {0};
	const struct fib_rule_hdr *rule = mnl_nlmsg_get_payload(message);
	if (mnl_attr_parse(message, sizeof *rule, note_attr, &attrs) < 0) {
		return MNL_CB_ERROR;
	}
	const struct nlattr *name = attrs.of[FRA_IIFNAME];
	if (rule->action != FR_ACT_TO_TBL || !is_u32(attrs.of[FRA_TABLE], FW_TPROXY_TABLE) ||
	    !is_u32(attrs.of[FRA_FWMARK], FW_TPROXY_MARK) ||
	    !is_u32(attrs.of[FRA_FWMASK], FW_TPROXY_MARK) || !name ||
	    mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0) {
		return MNL_CB_OK;
	}
	for (size_t i = 0; i < found->conf->n_interfaces; i++) {
		found->has_rule[i] |=
		        strcmp(found->conf->interfaces[i], mnl_attr_get_str(name)) == 0;
	}
	return MNL_CB_OK;
}

static int see_route(const struct nlmsghdr *message, void *ctx)
{
	struct found *found = ctx;
	struct attrs attrs = {0};
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	if (mnl_attr_parse(message, sizeof *route, note_attr, &attrs) < 0) {
		return MNL_CB_ERROR;
	}
	found->has_route |= route->rtm_type == RTN_LOCAL && route->rtm_dst_len == 0 &&
	                    is_u32(attrs.of[RTA_TABLE], FW_TPROXY_TABLE);
	return MNL_CB_OK;
}

_Static_assert(sizeof(struct rtmsg) == sizeof(struct fib_rule_hdr), "one head for both requests");

/* --- asking ----------------------------------------------------------------------------------- */

static int read_answer(struct mnl_socket *netlink, mnl_cb_t see, struct found *found)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[RECEIVE_BYTES];
	for (int i = 0; i < PARTS_MAX; i++) {
		ssize_t n = mnl_socket_recvfrom(netlink, buffer, sizeof buffer);
		if (n < 0) {
			return -errno;
		}
		int more = mnl_cb_run(buffer, (size_t)n, 0, 0, see, found);
		if (more <= MNL_CB_STOP) {
			/* a table that was never used is not there at all */
			return more == MNL_CB_STOP || errno == ENOENT ? 0 : -errno;
		}
	}
	return ERR_TOO_LONG;
}

/* The heads of both requests begin with the family. The kernel is asked
 * for one table only: another one may have a million routes. */
static int ask(struct mnl_socket *netlink, uint16_t type, uint8_t family, mnl_cb_t see,
               struct found *found)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[256] = {0};
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = type;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	struct rtmsg *head = mnl_nlmsg_put_extra_header(message, sizeof *head);
	head->rtm_family = family;
	if (type == RTM_GETROUTE) {
		mnl_attr_put_u32(message, RTA_TABLE, FW_TPROXY_TABLE);
	}
	if (mnl_socket_sendto(netlink, message, message->nlmsg_len) < 0) {
		return -errno;
	}
	return read_answer(netlink, see, found);
}

/* NULL with errno. */
static struct mnl_socket *open_netlink(void)
{
	struct mnl_socket *netlink = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!netlink) {
		return NULL;
	}
	const struct timeval wait = {.tv_sec = ANSWER_WAIT_SECS};
	int on = 1; /* without it the request's table would be ignored */
	if (mnl_socket_bind(netlink, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_setsockopt(netlink, NETLINK_GET_STRICT_CHK, &on, sizeof on) < 0 ||
	    setsockopt(mnl_socket_get_fd(netlink), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) <
	            0) {
		int error = errno;
		(void)mnl_socket_close(netlink);
		errno = error;
		return NULL;
	}
	return netlink;
}

/* --- the verdict ------------------------------------------------------------------------------ */

static bool has_family(const struct conf *conf, bool is_v4)
{
	bool has = false;
	for (size_t i = 0; i < conf->n_mx; i++) {
		has |= addr_is_v4(&conf->mx[i]) == is_v4;
	}
	for (size_t i = 0; i < conf->n_low_priority_mx; i++) {
		has |= addr_is_v4(&conf->low_priority_mx[i]) == is_v4;
	}
	return has;
}

static int judge(const struct found *found, char version, char why[static FW_WHY_MAX])
{
	if (!found->has_route) {
		(void)snprintf(why, FW_WHY_MAX,
		               "nobody will be held by IPv%c: routing table %d has no local route",
		               version, FW_TPROXY_TABLE);
		return ERR_NOT_FOUND;
	}
	for (size_t i = 0; i < found->conf->n_interfaces; i++) {
		if (!found->has_rule[i]) {
			(void)snprintf(
			        why, FW_WHY_MAX,
			        "nobody will be held by IPv%c: no routing rule for marked packets "
			        "from interface %s",
			        version, found->conf->interfaces[i]);
			return ERR_NOT_FOUND;
		}
	}
	return 0;
}

static int look_at_family(struct mnl_socket *netlink, const struct conf *conf, bool is_v4,
                          char why[static FW_WHY_MAX])
{
	struct found found = {.conf = conf};
	if (!has_family(conf, is_v4)) {
		return 0;
	}
	uint8_t family = is_v4 ? AF_INET : AF_INET6;
	int ret = ask(netlink, RTM_GETRULE, family, see_rule, &found);
	if (ret == 0) {
		ret = ask(netlink, RTM_GETROUTE, family, see_route, &found);
	}
	if (ret) {
		(void)snprintf(why, FW_WHY_MAX, "routing rules cannot be read: %s", err_text(ret));
		return ret;
	}
	return judge(&found, is_v4 ? '4' : '6', why);
}

static int look_at_marks(char why[static FW_WHY_MAX])
{
	FILE *file = fopen("/proc/sys/net/ipv4/tcp_fwmark_accept", "re");
	int digit = file ? fgetc(file) : EOF;
	if (file) {
		(void)fclose(file);
	}
	if (digit == '0') {
		(void)snprintf(why, FW_WHY_MAX,
		               "replies will be tracked: net.ipv4.tcp_fwmark_accept is 0");
		return ERR_NOT_FOUND;
	}
	return 0;
}

int fw_routes_check(const struct conf *conf, char why[static FW_WHY_MAX])
{
	why[0] = '\0';
	if (conf->rules != CONF_RULES_GATEWAY_TPROXY) {
		return 0;
	}
	struct mnl_socket *netlink = open_netlink();
	if (!netlink) {
		int ret = -errno;
		(void)snprintf(why, FW_WHY_MAX, "rtnetlink: %s", err_text(ret));
		return ret;
	}
	int ret = look_at_family(netlink, conf, true, why);
	if (ret == 0) {
		ret = look_at_family(netlink, conf, false, why);
	}
	if (ret == 0) {
		ret = look_at_marks(why);
	}
	(void)mnl_socket_close(netlink);
	return ret;
}
