/* The rule template: its values come from the configuration, libnftables makes one transaction of
 * the result. Values are checked again here although conf.c has done so: they end up in a program
 * for the packet filter. */
#include "fw/fw.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <nftables/libnftables.h>

#include "base/err.h"
#include "fw/fw_int.h"
#include "fw/template.h"

enum { TEMPLATE_BYTES_MAX = 256 << 10, IFNAME_MAX = 15, TABLE_NAME_MAX = 63 };

static const char *const template_names[] = {
        [CONF_RULES_NONE] = NULL,
        [CONF_RULES_LOCAL_MTA] = "local-mta.nft",
        [CONF_RULES_GATEWAY] = "gateway.nft",
        [CONF_RULES_GATEWAY_TPROXY] = "gateway-tproxy.nft",
};

/* --- values ----------------------------------------------------------------------------------- */

#define PLAIN_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

static bool is_plain(const char *name, size_t max, const char *accept)
{
	size_t len = strlen(name);
	return len > 0 && len <= max && strspn(name, accept) == len;
}

/* Quoted names, separated by commas. */
static int print_interfaces(const struct conf *conf, FILE *out, char why[static FW_WHY_MAX])
{
	if (conf->n_interfaces == 0) {
		(void)snprintf(why, FW_WHY_MAX,
		               "%s: interface is not set: rules need to know where the internet is",
		               conf->path ? conf->path : "configuration");
		return ERR_NOT_FOUND;
	}
	for (size_t i = 0; i < conf->n_interfaces; i++) {
		if (!is_plain(conf->interfaces[i], IFNAME_MAX, PLAIN_BYTES "@+")) {
			char name[64];
			(void)snprintf(
			        why, FW_WHY_MAX, "interface \"%s\" is not a plain name",
			        span_escape(span_of_str(conf->interfaces[i]), name, sizeof name));
			return ERR_SYNTAX;
		}
		(void)fprintf(out, "%s\"%s\"", i ? ", " : "", conf->interfaces[i]);
	}
	return 0;
}

struct addresses {
	const struct addr *addrs;
	size_t n;
};

/* The mail servers are behind this host. */
static bool is_gateway(const struct conf *conf)
{
	return conf->rules == CONF_RULES_GATEWAY || conf->rules == CONF_RULES_GATEWAY_TPROXY;
}

/* Whose outbound mail is logged. Empty before a local MTA: all that this host sends. */
static struct addresses mtas_of(const struct conf *conf)
{
	bool is_default = conf->n_mta == 0 && is_gateway(conf);
	return is_default ? (struct addresses){conf->mx, conf->n_mx}
	                  : (struct addresses){conf->mta, conf->n_mta};
}

/* Those of one family. */
static void print_addresses(struct addresses list, bool is_v4, FILE *out)
{
	const char *separator = "";
	for (size_t i = 0; i < list.n; i++) {
		char text[ADDR_TEXT_MAX];
		if (addr_is_v4(&list.addrs[i]) == is_v4) {
			(void)fprintf(out, "%s%s", separator, addr_format(&list.addrs[i], text));
			separator = ", ";
		}
	}
}

static void print_mask6(const struct conf *conf, FILE *out)
{
	struct addr ones;
	char text[ADDR_TEXT_MAX];
	memset(&ones, 0xff, sizeof ones);
	struct addr mask = addr_group(&ones, conf->ipv6_prefix);
	(void)fputs(addr_format(&mask, text), out);
}

/* A port nobody serves has no text, and so no rule. */
static void print_port(uint16_t port, bool is_served, FILE *out)
{
	if (is_served) {
		(void)fprintf(out, "%u", port);
	}
}

/* Of nothing but the numbers. No class has no text, and so no rule. */
static int print_class(const struct conf *conf, FILE *out)
{
	uint32_t class_id;
	int ret = conf_parse_class(conf->traffic_class, &class_id);
	if (ret == 0 && class_id != 0) {
		(void)fprintf(out, "%x:%x", class_id >> 16, class_id & 0xffff);
	}
	return ret;
}

enum value {
	VALUE_TABLE,
	VALUE_INTERFACES,
	VALUE_MODE,
	VALUE_MX4,
	VALUE_MX6,
	VALUE_LOW4,
	VALUE_LOW6,
	VALUE_MTA4,
	VALUE_MTA6,
	VALUE_MTA_ANY,
	VALUE_MASK6,
	VALUE_SMTP_PORT,
	VALUE_PORT,
	VALUE_LOW_PORT,
	VALUE_NFLOG_IN,
	VALUE_NFLOG_OUT,
	VALUE_CLASS,
	VALUE_COUNT
};

static const char *const value_names[VALUE_COUNT] = {
        [VALUE_TABLE] = "TABLE",       [VALUE_INTERFACES] = "INTERFACES",
        [VALUE_MODE] = "MODE",         [VALUE_MX4] = "MX4",
        [VALUE_MX6] = "MX6",           [VALUE_LOW4] = "LOW4",
        [VALUE_LOW6] = "LOW6",         [VALUE_MTA4] = "MTA4",
        [VALUE_MTA6] = "MTA6",         [VALUE_MTA_ANY] = "MTA_ANY",
        [VALUE_MASK6] = "MASK6",       [VALUE_SMTP_PORT] = "SMTP_PORT",
        [VALUE_PORT] = "PORT",         [VALUE_LOW_PORT] = "LOW_PORT",
        [VALUE_NFLOG_IN] = "NFLOG_IN", [VALUE_NFLOG_OUT] = "NFLOG_OUT",
        [VALUE_CLASS] = "CLASS",
};

static int print_value(const struct conf *conf, enum value value, FILE *out,
                       char why[static FW_WHY_MAX])
{
	const struct addresses mx = {conf->mx, conf->n_mx};
	const struct addresses low = {conf->low_priority_mx, conf->n_low_priority_mx};
	const struct addresses mta = mtas_of(conf);
	switch (value) {
	case VALUE_TABLE:
		(void)fputs(conf->nft_table, out);
		return 0;
	case VALUE_INTERFACES:
		return print_interfaces(conf, out, why);
	case VALUE_MODE:
		(void)fputs(conf->blacklist_only ? "blacklist" : "greylist", out);
		return 0;
	case VALUE_MX4:
	case VALUE_MX6:
		print_addresses(mx, value == VALUE_MX4, out);
		return 0;
	case VALUE_LOW4:
	case VALUE_LOW6:
		print_addresses(low, value == VALUE_LOW4, out);
		return 0;
	case VALUE_MTA4:
	case VALUE_MTA6:
		print_addresses(mta, value == VALUE_MTA4, out);
		return 0;
	case VALUE_MTA_ANY:
		(void)fputs(mta.n == 0 ? "fib saddr type local" : "", out);
		return 0;
	case VALUE_MASK6:
		print_mask6(conf, out);
		return 0;
	case VALUE_SMTP_PORT:
		print_port(conf->smtp_port, true, out);
		return 0;
	case VALUE_PORT:
		print_port(conf->port, true, out);
		return 0;
	case VALUE_LOW_PORT:
		print_port(conf->low_priority_port, low.n > 0, out);
		return 0;
	case VALUE_NFLOG_IN:
	case VALUE_NFLOG_OUT:
		(void)fprintf(out, "%u",
		              value == VALUE_NFLOG_IN ? conf->nflog_in : conf->nflog_out);
		return 0;
	case VALUE_CLASS:
		return print_class(conf, out);
	case VALUE_COUNT:
		break;
	}
	return ERR_NOT_FOUND;
}

/* Newly allocated text of one value. */
static int make_value(const struct conf *conf, enum value value, char **text,
                      char why[static FW_WHY_MAX])
{
	size_t len;
	FILE *out = open_memstream(text, &len);
	if (!out) {
		return -errno;
	}
	int ret = print_value(conf, value, out, why);
	if (fclose(out) != 0 && ret == 0) {
		ret = -ENOMEM;
	}
	return ret;
}

/* --- the file --------------------------------------------------------------------------------- */

static int check_conf(const struct conf *conf, char why[static FW_WHY_MAX])
{
	if (!is_plain(conf->nft_table, TABLE_NAME_MAX, PLAIN_BYTES)) {
		char name[64];
		(void)snprintf(why, FW_WHY_MAX, "nft-table \"%s\" is not a plain name",
		               span_escape(span_of_str(conf->nft_table), name, sizeof name));
		return ERR_SYNTAX;
	}
	if (is_gateway(conf) && conf->n_mx == 0) {
		(void)snprintf(why, FW_WHY_MAX,
		               "%s: mx-addresses is empty: a gateway's rules need the addresses "
		               "clients connect to",
		               conf->path ? conf->path : "configuration");
		return ERR_NOT_FOUND;
	}
	return 0;
}

static int read_template(const char *path, char **text, size_t *len, char why[static FW_WHY_MAX])
{
	int ret = 0;
	FILE *file = fopen(path, "re");
	*text = file ? malloc(TEMPLATE_BYTES_MAX) : NULL;
	if (!*text) {
		ret = -errno;
		goto done;
	}
	errno = 0;
	*len = fread(*text, 1, TEMPLATE_BYTES_MAX, file);
	if (ferror(file)) {
		ret = errno ? -errno : -EIO;
	} else if (*len == TEMPLATE_BYTES_MAX) {
		ret = ERR_TOO_LONG;
	}
done:
	if (ret) {
		(void)snprintf(why, FW_WHY_MAX, "%s: %s", path, err_text(ret));
	}
	if (file) {
		(void)fclose(file);
	}
	return ret;
}

static int fill_file(const char *path, const struct template_values *values, char **out,
                     char why[static FW_WHY_MAX])
{
	char *text = NULL;
	size_t len = 0;
	struct template_fault fault = {0};
	int ret = read_template(path, &text, &len, why);
	if (ret == 0) {
		ret = template_fill(span_of(text, len), values, out, &fault);
		if (ret == ERR_NOT_FOUND) {
			(void)snprintf(why, FW_WHY_MAX, "%s:%u: unknown placeholder @%s@", path,
			               fault.line_no, fault.name);
		} else if (ret) {
			(void)snprintf(why, FW_WHY_MAX, "%s: %s", path, err_text(ret));
		}
	}
	free(text);
	return ret;
}

void fw_rules_path(const struct conf *conf, char path[static FW_PATH_MAX])
{
	(void)snprintf(path, FW_PATH_MAX, "%s/%s", conf->rules_dir, template_names[conf->rules]);
}

int fw_rules_render(const struct conf *conf, char **out, char why[static FW_WHY_MAX])
{
	char path[FW_PATH_MAX];
	char *texts[VALUE_COUNT] = {0};
	struct template_value pairs[VALUE_COUNT];
	why[0] = '\0';
	if (conf->rules == CONF_RULES_NONE) {
		*out = strdup("");
		return *out ? 0 : -ENOMEM;
	}
	int ret = check_conf(conf, why);
	for (size_t i = 0; i < VALUE_COUNT && ret == 0; i++) {
		ret = make_value(conf, (enum value)i, &texts[i], why);
		pairs[i] = (struct template_value){value_names[i], texts[i]};
	}
	if (ret == 0) {
		fw_rules_path(conf, path);
		struct template_values values = {pairs, VALUE_COUNT};
		ret = fill_file(path, &values, out, why);
	}
	if (ret && !why[0]) {
		(void)snprintf(why, FW_WHY_MAX, "rules: %s", err_text(ret));
	}
	for (size_t i = 0; i < VALUE_COUNT; i++) {
		free(texts[i]);
	}
	return ret;
}

/* --- installing ------------------------------------------------------------------------------- */

/* The first line of libnftables' message, with the template's path in place of ours; what follows
 * are the line itself and further errors, which mostly come from the first. */
static void explain(const char *message, const char *read_path, const char *path,
                    char why[static FW_WHY_MAX])
{
	size_t len = strlen(read_path);
	struct span first = span_of_str(message);
	struct span rest;
	first = span_cut(first, '\n', &rest);
	if (first.len > len && memcmp(first.ptr, read_path, len) == 0) {
		first = span_skip(first, len);
		(void)snprintf(why, FW_WHY_MAX, "%s%.*s", path, (int)first.len, first.ptr);
	} else {
		(void)snprintf(why, FW_WHY_MAX, "%s: %.*s", path, (int)first.len, first.ptr);
	}
}

/* In a file, because libnftables knows no line numbers in a buffer. */
static int open_text(const char *text)
{
	int fd = memfd_create("mired-rules", MFD_CLOEXEC);
	size_t len = strlen(text);
	for (size_t at = 0; fd >= 0 && at < len;) {
		ssize_t n = write(fd, text + at, len - at);
		if (n < 0) {
			int ret = -errno;
			(void)close(fd);
			return ret;
		}
		at += (size_t)n;
	}
	return fd < 0 ? -errno : fd;
}

int fw_rules_run(const char *text, const char *path, char why[static FW_WHY_MAX])
{
	char read_path[64];
	int fd = open_text(text);
	struct nft_ctx *nft = fd < 0 ? NULL : nft_ctx_new(NFT_CTX_DEFAULT);
	int ret = fd < 0 ? fd : -ENOMEM;
	if (!nft || nft_ctx_buffer_error(nft) || nft_ctx_buffer_output(nft)) {
		(void)snprintf(why, FW_WHY_MAX, "libnftables: %s", err_text(ret));
		goto done;
	}
	(void)snprintf(read_path, sizeof read_path, "/proc/self/fd/%d", fd);
	ret = nft_run_cmd_from_filename(nft, read_path) ? ERR_SYNTAX : 0;
	if (ret) {
		/* the library keeps the reason in words only */
		explain(nft_ctx_get_error_buffer(nft), read_path, path, why);
	}
done:
	if (nft) {
		nft_ctx_free(nft);
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	return ret;
}
