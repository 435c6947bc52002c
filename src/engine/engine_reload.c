/* Another configuration for an engine that runs. What a thread has at hand it keeps for its turn;
 * the old settings are freed when every thread has begun another one. */
#include "base/qsbr.h"
#include "engine/budget.h"
#include "engine/engine_impl.h"
#include "engine/settings.h"

uint64_t engine_bytes_per_sec(const struct engine *engine, const struct conf *conf)
{
	return conf->byte_budget > 0 ? conf->byte_budget
	                             : (uint64_t)engine->n_cores * BUDGET_AUTO_PER_CORE;
}

/* The tables of connections are as large as the start made them. */
static struct engine_capacity capacity_with(const struct engine *engine, const struct conf *conf)
{
	struct engine_capacity capacity;
	engine_capacity_of(conf, engine->file_limit, engine->n_cores, engine->memory_bytes,
	                   &capacity);
	capacity.workers = engine->capacity.workers;
	capacity.per_ring = engine->capacity.per_ring;
	return capacity;
}

static void publish(struct engine *engine, struct settings *settings)
{
	settings->live.generation = ++engine->n_reloads;
	(void)qsbr_exchange(&engine->knowledge.conf, &settings->live);
	struct settings *old = qsbr_exchange(&engine->settings, settings);
	qsbr_wait();
	settings_free(old);
}

int engine_reload(struct engine *engine, struct conf *conf)
{
	struct engine_capacity capacity = capacity_with(engine, conf);
	uint64_t bytes_per_sec = engine_bytes_per_sec(engine, conf);
	struct settings *settings;
	int ret = settings_new(&settings, conf, &capacity, bytes_per_sec);
	if (ret != 0) {
		return ret;
	}
	engine->capacity = capacity;
	engine->bytes_per_sec = bytes_per_sec;
	engine->conf = &settings->live.conf;
	lister_set_prefixes_max(engine->lister, engine->conf->list_prefixes_max);
	publish(engine, settings);
	return 0;
}

const struct conf *engine_conf(const struct engine *engine)
{
	return engine->conf;
}
