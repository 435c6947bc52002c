/* The inside of the engine, shared by its files: engine.c (start and stop), engine_outside.c
 * (changes and lists from outside), engine_figures.c, engine_why.c. */
#pragma once

#include <pthread.h>

#include "engine/engine.h"
#include "engine/inspector.h"
#include "engine/worker.h"
#include "keeper/events.h"
#include "keeper/feeder.h"
#include "keeper/keeper.h"
#include "keeper/knowledge.h"
#include "keeper/syncer.h"

enum { ENGINE_PORTS_MORE = 3 };

struct engine {
	const struct conf *conf; /* of the start, or of the last reload */
	/* of the machine, as the start found it */
	uint64_t file_limit;
	uint64_t memory_bytes;
	uint32_t n_cores;
	struct qsbr_ptr settings; /* struct settings; knowledge.conf points into it */
	uint64_t n_reloads;
	struct engine_capacity capacity;
	struct store *store;
	struct inspector *inspector; /* NULL after a clean stop */
	struct cache *hosts;
	struct cache *tuples;
	struct mailbox *reasserts;
	int wake_feeder;
	int wake_lister;
	int wake_syncer;
	_Atomic int64_t life_now_secs;
	_Atomic int64_t committed_ns; /* see struct keeper_env */
	/* of the workers, and behind them those of the caller, the lister and the syncer */
	struct keeper_port ports[CONF_WORKERS_MAX + ENGINE_PORTS_MORE];
	struct knowledge knowledge;
	struct keeper *keeper;
	struct feeder *feeder;
	struct lister *lister;
	int sync_socket;        /* until the syncer owns it; -1: none */
	struct sync_setup sync; /* with a syncer */
	struct syncer *syncer;  /* NULL: nobody to be in step with */
	int results;            /* eventfd: the caller's results wait */
	unsigned n_in_flight;   /* changes the keeper has not answered; the caller's thread */
	bool is_held_asked;     /* of the workers; the caller's thread */
	struct session_conf session;
	struct worker *workers[CONF_WORKERS_MAX];
	/* what happened lately: attempts and turns are the keeper's, connects a worker's each */
	struct events *attempts;
	struct events *turns;
	struct events *connects[CONF_WORKERS_MAX];
	struct worker_listener *listeners; /* those of a worker together */
	size_t n_listeners;
	_Atomic uint32_t n_connections;
	_Atomic uint32_t n_listed;     /* of them */
	uint64_t bytes_per_sec;        /* byte-budget, or what a machine like this carries */
	_Atomic uint32_t n_stretching; /* workers that stretch their stutter */
	pthread_mutex_t figures_lock;  /* figures_reader; nothing else is taken under it */
	struct store_reader *figures_reader;
};

/* byte-budget, or what a machine like this carries. engine_reload.c */
uint64_t engine_bytes_per_sec(const struct engine *engine, const struct conf *conf);

static inline struct keeper_port *engine_caller_port(struct engine *engine)
{
	return &engine->ports[engine->capacity.workers];
}

static inline struct keeper_port *engine_lister_port(struct engine *engine)
{
	return &engine->ports[engine->capacity.workers + 1];
}

static inline struct keeper_port *engine_syncer_port(struct engine *engine)
{
	return &engine->ports[engine->capacity.workers + 2];
}

static inline uint32_t engine_n_ports(const struct engine *engine)
{
	return engine->capacity.workers + ENGINE_PORTS_MORE;
}
