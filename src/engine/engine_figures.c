/* A moment's figures of all parts, added up. Any thread but the engine's own. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "engine/engine_impl.h"

static void set_total(struct counters *totals, enum counter which, uint64_t value)
{
	atomic_store_explicit(&totals->value[which], value, memory_order_relaxed);
}

static void add_counters(struct counters *totals, const struct counters *counters)
{
	for (enum counter i = 0; i < COUNTER_COUNT; i++) {
		counters_add(totals, i, counters_get(counters, i));
	}
}

/* Who wants no bytes is never stretched: his interval is the stutter in force. */
static double larger_stretch(double largest, const struct worker_figures *worker,
                             enum session_pace pace)
{
	uint32_t stutter_ms = worker->interval_ms[SESSION_PACE_NONE];
	double stretch = stutter_ms > 0 ? (double)worker->interval_ms[pace] / stutter_ms : 1;
	return stretch > largest ? stretch : largest;
}

static void add_pace(const struct worker_figures *worker, struct engine_pace *out)
{
	out->carried_per_sec += worker->carried_per_sec;
	out->stuttered_per_sec += worker->stuttered_per_sec;
	out->stretch_listed = larger_stretch(out->stretch_listed, worker, SESSION_PACE_LISTED);
	out->stretch_grey = larger_stretch(out->stretch_grey, worker, SESSION_PACE_GREY);
}

static void add_worker(struct engine *engine, uint32_t idx, struct engine_figures *out)
{
	struct worker_figures figures;
	worker_figures_get(engine->workers[idx], &figures);
	out->conns_now += figures.n_now;
	out->conns_grey += figures.n_grey;
	out->conns_white += figures.n_white;
	out->conns_listed += figures.n_listed;
	out->conns_unknown += figures.n_unknown;
	out->worker_conns[idx] = figures.n_now;
	out->worker_accepted[idx] =
	        counters_get(worker_counters(engine->workers[idx]), COUNTER_accepted);
	(void)snprintf(out->accept_mode, sizeof out->accept_mode, "%s", figures.accept_mode);
	add_pace(&figures, &out->pace);
	add_counters(&out->totals, worker_counters(engine->workers[idx]));
}

static void add_keeper(struct engine *engine, struct engine_figures *out)
{
	struct keeper_figures figures;
	keeper_figures_get(engine->keeper, &figures);
	out->is_store_degraded = figures.is_degraded;
	out->is_clock_paused = figures.is_clock_paused;
	out->commit_p50_ms = figures.commit_p50_ms;
	out->commit_p99_ms = figures.commit_p99_ms;
	out->commit = figures.commit;
	out->durable = figures.durable;
	out->keeper_waiting = figures.n_waiting;
	add_counters(&out->totals, keeper_counters(engine->keeper));
}

static void add_feeder(struct engine *engine, struct engine_figures *out)
{
	struct feeder_figures figures;
	feeder_figures_get(engine->feeder, &figures);
	out->firewall = figures.firewall;
	out->has_firewall = figures.is_connected;
	out->firewall_seq = figures.done_seq;
	out->firewall_delay = figures.delay;
	out->firewall_p50_ms = figures.delay_p50_ms;
	out->firewall_p99_ms = figures.delay_p99_ms;
	add_counters(&out->totals, feeder_counters(engine->feeder));
}

static void add_lists(struct engine *engine, struct engine_figures *out)
{
	lister_figures_get(engine->lister, &out->lists);
	out->trap_addresses = trapset_count(engine->knowledge.traps);
	out->trap_address_bytes = trapset_bytes(engine->knowledge.traps);
	add_counters(&out->totals, lister_counters(engine->lister));
}

static void add_sync(struct engine *engine, struct engine_figures *out)
{
	if (!engine->syncer) {
		return;
	}
	out->has_sync = true;
	syncer_figures_get(engine->syncer, &out->sync);
	add_counters(&out->totals, syncer_counters(engine->syncer));
}

static void add_store(struct engine *engine, struct engine_figures *out)
{
	(void)pthread_mutex_lock(&engine->figures_lock);
	if (store_stats_get(engine->figures_reader, &out->store) != 0) {
		out->store = (struct store_stats){0};
	}
	(void)pthread_mutex_unlock(&engine->figures_lock);
	out->cached_hosts = cache_used(engine->hosts);
	out->cached_tuples = cache_used(engine->tuples);
	set_total(&out->totals, COUNTER_store_bad_records, out->store.n_bad_records);
	set_total(&out->totals, COUNTER_cache_evictions,
	          cache_evicted(engine->hosts) + cache_evicted(engine->tuples));
	set_total(&out->totals, COUNTER_log_dropped, log_dropped());
	set_total(&out->totals, COUNTER_log_suppressed, log_suppressed());
}

void engine_figures_get(struct engine *engine, struct engine_figures *out)
{
	memset(out, 0, sizeof *out);
	out->capacity = engine->capacity;
	out->pace = (struct engine_pace){
	        .budget_per_sec = engine->bytes_per_sec, .stretch_listed = 1, .stretch_grey = 1};
	for (uint32_t i = 0; i < engine->capacity.workers; i++) {
		add_worker(engine, i, out);
	}
	add_keeper(engine, out);
	add_feeder(engine, out);
	add_lists(engine, out);
	add_sync(engine, out);
	add_store(engine, out);
}
