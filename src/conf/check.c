/* Conditions between keys; what one key alone must fulfil stands in its row. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "conf/schema.h"

enum { BANNER_LINE_MAX = 500 }; /* RFC 5321 4.5.3.1.5 allows 512 with code and CRLF */

static bool has_banner_escapes_right(const struct conf *conf, size_t *expanded)
{
	*expanded = 0;
	for (const char *c = conf->banner; *c; c++) {
		if (*c != '%') {
			(*expanded)++;
			continue;
		}
		c++;
		if (*c == 'h') {
			*expanded += strlen(conf->hostname);
		} else if (*c == 'n') {
			*expanded += strlen(conf->banner_name);
		} else if (*c == '%') {
			(*expanded)++;
		} else {
			return false;
		}
	}
	return true;
}

static const char *wrong_with_banner(const struct conf *conf)
{
	size_t expanded;
	if (!has_banner_escapes_right(conf, &expanded)) {
		return "banner: only %h, %n and %% may follow a percent sign";
	}
	return expanded > BANNER_LINE_MAX
	               ? "banner: longer than 500 characters with names filled in"
	               : NULL;
}

static const char *wrong_with_rules(const struct conf *conf)
{
	switch (conf->rules) {
	case CONF_RULES_NONE:
		return NULL;
	case CONF_RULES_GATEWAY:
	case CONF_RULES_GATEWAY_TPROXY:
		if (conf->n_mx == 0) {
			return "rules: gateway needs mx-addresses, the mail servers behind it";
		}
		return conf->n_interfaces == 0
		               ? "rules: gateway needs interface, the one towards the internet"
		               : NULL;
	case CONF_RULES_LOCAL_MTA:
		return conf->n_interfaces == 0
		               ? "rules: local-mta needs interface, the one towards the internet"
		               : NULL;
	}
	return NULL;
}

static const char *wrong_with_times(const struct conf *conf)
{
	/* a retry counts in the seconds strictly between the two */
	if (conf->greyexp_secs <= conf->passtime_secs + 1) {
		return "greyexp: must be longer than passtime by two seconds at least, or no retry "
		       "can ever count";
	}
	return NULL;
}

static bool is_listed(const struct addr *addr, const struct addr *addrs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (addr_equal(addr, &addrs[i])) {
			return true;
		}
	}
	return false;
}

static const char *wrong_with_addresses(const struct conf *conf)
{
	if (conf->n_listen == 0) {
		return "listen: at least one address is needed";
	}
	for (size_t i = 1; i < conf->n_listen; i++) {
		if (is_listed(&conf->listen[i], conf->listen, i)) {
			return "listen: the same address twice";
		}
	}
	return NULL;
}

static const char *wrong_with_listed(const struct conf *conf)
{
	if (conf->n_low_priority_mx > 0 && conf->low_priority_port == conf->port) {
		return "low-priority-port: must not be port";
	}
	if (conf->spamd_cfg_port == conf->port ||
	    (conf->n_low_priority_mx > 0 && conf->spamd_cfg_port == conf->low_priority_port)) {
		return "spamd-cfg-port: clients are served on this port";
	}
	if (conf->max_connections > 0 && conf->max_listed != CONF_MAX_LISTED_AUTO &&
	    conf->max_listed > conf->max_connections) {
		return "max-listed: must not be greater than max-connections";
	}
	return conf->nflog_in == conf->nflog_out ? "nflog-out: must not be nflog-in" : NULL;
}

static const char *wrong_with_class(const struct conf *conf)
{
	uint32_t class_id;
	switch (conf_parse_class(conf->traffic_class, &class_id)) {
	case 0:
		return NULL;
	case ERR_RANGE:
		return "traffic-class: the first number must be 1 to fffe and the second 1 to "
		       "ffff, as tc's classes are";
	default:
		return "traffic-class: must be off, or two numbers of one to four hexadecimal "
		       "digits each, as 1:25";
	}
}

int check_conf(const struct conf *conf, char why[static CONF_ERROR_MAX])
{
	static const char *(*const checks[])(const struct conf *conf) = {
	        wrong_with_addresses, wrong_with_banner, wrong_with_times,
	        wrong_with_rules,     wrong_with_listed, wrong_with_class,
	};
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		const char *wrong = checks[i](conf);
		if (wrong) {
			(void)snprintf(why, CONF_ERROR_MAX, "%s", wrong);
			return ERR_SYNTAX;
		}
	}
	return 0;
}
