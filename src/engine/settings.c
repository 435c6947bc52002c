/* See settings.h. */
#include "engine/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

int settings_new(struct settings **out, struct conf *conf, const struct engine_capacity *capacity,
                 uint64_t bytes_per_sec)
{
	struct settings *settings = calloc(1, sizeof *settings);
	int ret = settings ? reply_set_init(&settings->texts, conf->banner, conf->hostname,
	                                    conf->banner_name)
	                   : -ENOMEM;
	if (ret != 0) {
		conf_fini(conf);
		free(settings);
		return ret;
	}
	settings->live.conf = *conf;
	memset(conf, 0, sizeof *conf);
	settings->max_connections = capacity->max_connections;
	settings->max_listed = capacity->max_listed;
	settings->bytes_per_sec = (double)bytes_per_sec / capacity->workers;
	*out = settings;
	return 0;
}

void settings_free(struct settings *settings)
{
	if (settings) {
		conf_fini(&settings->live.conf);
		free(settings);
	}
}

void settings_of_sessions(const struct conf *conf, struct session_conf *out)
{
	out->stutter_ms = conf->stutter_ms;
	out->grey_stutter_ms = conf->grey_stutter_ms;
	out->read_timeout_ms = conf->read_timeout_ms;
	out->write_timeout_ms = conf->write_timeout_ms;
	out->store_wait_ms = conf->store_wait_ms;
	out->close_wait_ms = conf->close_wait_ms;
	out->close_discard_bytes = conf->close_discard_bytes;
	out->look_min_ms = conf->tick_ms;
	out->look_max_ms = conf->look_max_ms;
	out->bad_commands_max =
	        (uint8_t)(conf->bad_commands_max < UINT8_MAX ? conf->bad_commands_max : UINT8_MAX);
}
