/* See conf_log.h. */
#include "conf/conf_log.h"

static enum log_level level_of(const struct conf *conf)
{
	return conf->verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
}

static enum log_target target_of(const struct conf *conf)
{
	static const enum log_target targets[] = {
	        [CONF_LOG_AUTO] = LOG_TARGET_AUTO,
	        [CONF_LOG_JOURNAL] = LOG_TARGET_JOURNAL,
	        [CONF_LOG_SYSLOG] = LOG_TARGET_SYSLOG,
	};
	return conf->foreground ? LOG_TARGET_STDERR : targets[conf->log_target];
}

struct log_options conf_log_options(const struct conf *conf, const char *ident)
{
	return (struct log_options){
	        .ident = ident ? ident : conf->log_ident,
	        .target = target_of(conf),
	        .level = level_of(conf),
	        .rate = conf->log_rate,
	};
}
