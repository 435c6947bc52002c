/* Starts and stops what the engine is made of. Start order is the order of need: store, caches and
 * mailboxes, keeper, feeder, lister, syncer, workers. Called by the role's main thread. */
#include "engine/engine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "engine/engine_impl.h"
#include "engine/settings.h"

enum {
	STORE_WAIT_MS = 10000, /* for an old engine to let go of the store */
	STORE_WAIT_STEP_MS = 20,
	STORE_READERS_MAX = 126, /* ours and the tools' */
	REASSERT_BYTES = 1 << 16,
	/* what `miredctl why` can look back on: 64 bytes each, touched as they are used */
	EVENTS_KEPT = 1 << 16,
	CONNECTS_KEPT = 1 << 14, /* of each worker */
};

static int explain(char why[static ENGINE_WHY_MAX], const char *what, int ret)
{
	(void)snprintf(why, ENGINE_WHY_MAX, "%s: %s", what, err_text(ret));
	return ret;
}

/* --- limits ----------------------------------------------------------------------------------- */

/* A ring's descriptor table is bounded by the soft limit: it becomes the hard one. */
static uint64_t raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
		return 0;
	}
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
		log_warning("the file limit cannot be raised to its hard limit: %s",
		            err_text(-errno));
	}
	return limit.rlim_max;
}

static void measure(struct engine *engine)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	long pages = sysconf(_SC_PHYS_PAGES);
	long page_bytes = sysconf(_SC_PAGESIZE);
	uint64_t memory = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0;
	uint32_t n_cores = cores > 0 ? (uint32_t)cores : 1;
	engine->file_limit = raise_file_limit();
	engine->memory_bytes = memory;
	engine->n_cores = n_cores;
	engine_capacity_of(engine->conf, engine->file_limit, n_cores, memory, &engine->capacity);
	engine->bytes_per_sec = engine_bytes_per_sec(engine, engine->conf);
}

/* --- store ------------------------------------------------------------------------------------ */

static int open_store(struct engine *engine, char why[static ENGINE_WHY_MAX])
{
	char dir[4096];
	char reason[STORE_WHY_MAX] = "";
	int len = snprintf(dir, sizeof dir, "%s/db", engine->conf->state_dir);
	if (len < 0 || (size_t)len >= sizeof dir) {
		return explain(why, "state-dir", -ENAMETOOLONG);
	}
	struct store_conf conf = {
	        .dir = dir,
	        .map_bytes = engine->conf->map_bytes,
	        .journal_max = engine->conf->journal_max,
	        .readers_max = STORE_READERS_MAX,
	        .create = true, /* the store itself knows whether this is the first start */
	};
	struct mono deadline = mono_add_ms(clock_mono(), STORE_WAIT_MS);
	int ret = store_open(&engine->store, &conf, reason);
	while (ret == ERR_BUSY && clock_mono().ns < deadline.ns) {
		(void)poll(NULL, 0, STORE_WAIT_STEP_MS);
		ret = store_open(&engine->store, &conf, reason);
	}
	if (ret != 0) {
		(void)snprintf(why, ENGINE_WHY_MAX, "%.500s", reason);
		return ret;
	}
	if (store_was_clean(engine->store)) {
		return 0;
	}
	log_info("store: the last engine did not close it; checking it in the background");
	ret = inspector_start(&engine->inspector, dir, engine->conf->map_bytes);
	if (ret != 0) {
		log_error("store: the background check cannot run: %s", err_text(ret));
	}
	return 0; /* LMDB survives a sudden death; the check is for the disk's sake */
}

/* --- parts between the threads ---------------------------------------------------------------- */

static bool make_ports(struct engine *engine)
{
	for (uint32_t i = 0; i < engine_n_ports(engine); i++) {
		struct keeper_port *port = &engine->ports[i];
		port->requests = mailbox_new(KEEPER_MAILBOX_BYTES);
		port->answers = mailbox_new(KEEPER_ANSWER_BYTES);
		port->wake = -1; /* a worker looks at each tick */
		if (!port->requests || !port->answers) {
			return false;
		}
	}
	engine_caller_port(engine)->wake = engine->results;
	engine_lister_port(engine)->wake = engine->wake_lister;
	engine_syncer_port(engine)->wake = engine->wake_syncer;
	return true;
}

static int make_eventfds(struct engine *engine, char why[static ENGINE_WHY_MAX])
{
	int *const fds[] = {&engine->wake_feeder, &engine->wake_lister, &engine->wake_syncer,
	                    &engine->results};
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		*fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (*fds[i] < 0) {
			return explain(why, "eventfd", -errno);
		}
	}
	return 0;
}

static bool make_events(struct engine *engine)
{
	engine->attempts = events_new(EVENTS_KEPT);
	engine->turns = events_new(EVENTS_KEPT);
	bool is_ok = engine->attempts && engine->turns;
	for (uint32_t i = 0; is_ok && i < engine->capacity.workers; i++) {
		engine->connects[i] = events_new(CONNECTS_KEPT);
		is_ok = engine->connects[i] != NULL;
	}
	return is_ok;
}

static void free_events(struct engine *engine)
{
	events_free(engine->attempts);
	events_free(engine->turns);
	for (uint32_t i = 0; i < engine->capacity.workers; i++) {
		events_free(engine->connects[i]);
	}
}

static int make_parts(struct engine *engine, char why[static ENGINE_WHY_MAX])
{
	engine->hosts = cache_new(engine->conf->host_cache_slots);
	engine->tuples = cache_new(engine->conf->tuple_cache_slots);
	engine->reasserts = mailbox_new(REASSERT_BYTES);
	engine->knowledge.traps = trapset_new(store_hash_key(engine->store));
	int ret = make_eventfds(engine, why);
	if (ret != 0) {
		return ret;
	}
	if (!engine->hosts || !engine->tuples || !engine->reasserts || !engine->knowledge.traps ||
	    !make_ports(engine) || !make_events(engine)) {
		return explain(why, "caches and mailboxes", -ENOMEM);
	}
	ret = store_reader_open(engine->store, &engine->figures_reader);
	return ret ? explain(why, "store reader", ret) : 0;
}

static int make_session_conf(struct engine *engine, char why[static ENGINE_WHY_MAX])
{
	const struct conf *conf = engine->conf;
	settings_of_sessions(conf, &engine->session);
	int ret = reply_set_init(&engine->session.replies[0], conf->banner, conf->hostname,
	                         conf->banner_name);
	return ret ? explain(why, "banner", ret) : 0;
}

/* --- threads ---------------------------------------------------------------------------------- */

/* Blacklist mode keeps no records, so there is nothing to be in step with (spamd). */
static bool has_sync(const struct engine *engine, const struct engine_given *given)
{
	return given->sync && !engine->conf->blacklist_only;
}

static int start_keeper(struct engine *engine, const struct engine_given *given,
                        char why[static ENGINE_WHY_MAX])
{
	bool is_synced = has_sync(engine, given);
	struct keeper_env env = {
	        .conf = engine->conf,
	        .store = engine->store,
	        .hosts = engine->hosts,
	        .tuples = engine->tuples,
	        .knowledge = &engine->knowledge,
	        .ports = engine->ports,
	        .n_ports = engine_n_ports(engine),
	        .wake_feeder = engine->wake_feeder,
	        .wake_syncer = is_synced ? engine->wake_syncer : -1,
	        .is_sync_sending =
	                is_synced && (given->sync->n_peers > 0 || given->sync->has_group),
	        .reasserts = engine->reasserts,
	        .low_priority_grace_ms = KEEPER_LOW_PRIORITY_GRACE_MS,
	        .committed_ns = &engine->committed_ns,
	        .attempts = engine->attempts,
	        .turns = engine->turns,
	        .life_now_secs = &engine->life_now_secs,
	};
	int ret = keeper_start(&engine->keeper, &env);
	if (ret == ERR_CORRUPT) {
		(void)snprintf(why, ENGINE_WHY_MAX,
		               "store %.400s/db: records that are needed at the start cannot be "
		               "read: %s",
		               engine->conf->state_dir, err_text(ret));
		return ret;
	}
	return ret ? explain(why, "keeper", ret) : 0;
}

static int start_feeder(struct engine *engine, char why[static ENGINE_WHY_MAX])
{
	struct feeder_env env = {
	        .conf = engine->conf,
	        .store = engine->store,
	        .wake = engine->wake_feeder,
	        .committed_ns = &engine->committed_ns,
	        .reasserts = engine->reasserts,
	        .life_now_secs = &engine->life_now_secs,
	};
	int ret = feeder_start(&engine->feeder, &env);
	return ret ? explain(why, "feeder", ret) : 0;
}

static int start_lister(struct engine *engine, struct span domains, char why[static ENGINE_WHY_MAX])
{
	struct lister_env env = {
	        .conf = engine->conf,
	        .store = engine->store,
	        .keeper = engine->keeper,
	        .port = engine_lister_port(engine),
	        .feeder = engine->conf->firewall ? engine->feeder : NULL,
	        .knowledge = &engine->knowledge,
	        .done = engine->results,
	        .domains = domains,
	};
	int ret = lister_start(&engine->lister, &env);
	return ret ? explain(why, "lister", ret) : 0;
}

static void close_sync_socket(struct engine *engine)
{
	if (engine->sync_socket >= 0) {
		(void)close(engine->sync_socket);
	}
	engine->sync_socket = -1;
}

static int start_syncer(struct engine *engine, const struct engine_given *given,
                        char why[static ENGINE_WHY_MAX])
{
	if (!given->sync) {
		return 0;
	}
	if (!has_sync(engine, given)) {
		log_info("sync: nothing is sent or taken in blacklist mode");
		close_sync_socket(engine);
		return 0;
	}
	engine->sync = *given->sync;
	struct syncer_env env = {
	        .conf = engine->conf,
	        .store = engine->store,
	        .keeper = engine->keeper,
	        .port = engine_syncer_port(engine),
	        .wake = engine->wake_syncer,
	        .knowledge = &engine->knowledge,
	        .setup = &engine->sync,
	        .socket = engine->sync_socket,
	        .life_now_secs = &engine->life_now_secs,
	};
	int ret = syncer_start(&engine->syncer, &env);
	if (ret != 0) {
		return explain(why, "syncer", ret);
	}
	engine->sync_socket = -1; /* the syncer's */
	return 0;
}

/* The worker's listeners lie together, first of them at `at`. */
static int start_worker(struct engine *engine, uint32_t idx, size_t at, size_t n)
{
	struct worker_env env = {
	        .conf = engine->conf,
	        .session = &engine->session,
	        .settings = &engine->settings,
	        .hosts = engine->hosts,
	        .tuples = engine->tuples,
	        .hash_key = store_hash_key(engine->store),
	        .keeper = engine->keeper,
	        .port = &engine->ports[idx],
	        .knowledge = &engine->knowledge,
	        .events = engine->connects[idx],
	        .n_connections = &engine->n_connections,
	        .n_listed = &engine->n_listed,
	        .max_listed = engine->capacity.max_listed,
	        .max_connections = engine->capacity.max_connections,
	        .bytes_per_sec = (double)engine->bytes_per_sec / engine->capacity.workers,
	        .n_stretching = &engine->n_stretching,
	        .seed = (uint32_t)clock_mono().ns,
	        .table_size = engine->capacity.per_ring,
	        .idx = idx,
	        .held_fd = engine->results,
	        .listeners = engine->listeners + at,
	        .n_listeners = (uint32_t)n,
	};
	return worker_start(&engine->workers[idx], &env);
}

/* Appends the listeners of worker w to those of the workers before it; returns the new end. */
static size_t gather_listeners(struct engine *engine, const struct engine_listener *listeners,
                               uint32_t w, size_t end)
{
	for (size_t i = 0; i < engine->n_listeners; i++) {
		if (listeners[i].worker == w) {
			engine->listeners[end].fd = listeners[i].fd;
			engine->listeners[end++].is_low_priority = listeners[i].is_low_priority;
		}
	}
	return end;
}

static int start_workers(struct engine *engine, const struct engine_listener *listeners,
                         char why[static ENGINE_WHY_MAX])
{
	size_t end = 0;
	for (uint32_t w = 0; w < engine->capacity.workers; w++) {
		size_t begin = end;
		end = gather_listeners(engine, listeners, w, begin);
		int ret = start_worker(engine, w, begin, end - begin);
		if (ret != 0) {
			(void)snprintf(why, ENGINE_WHY_MAX, "worker %u: %s", w, err_text(ret));
			return ret;
		}
	}
	return 0;
}

static int take_listeners(struct engine *engine, const struct engine_given *given,
                          char why[static ENGINE_WHY_MAX])
{
	for (size_t i = 0; i < given->n_listeners; i++) {
		if (given->listeners[i].worker >= engine->capacity.workers) {
			return explain(why, "a listener for a worker that does not exist",
			               ERR_RANGE);
		}
	}
	engine->n_listeners = given->n_listeners;
	engine->listeners = calloc(given->n_listeners + 1, sizeof *engine->listeners);
	return engine->listeners ? 0 : explain(why, "listeners", -ENOMEM);
}

/* --- start and stop --------------------------------------------------------------------------- */

static void free_parts(struct engine *engine)
{
	store_reader_close(engine->figures_reader);
	store_close(engine->store);
	for (uint32_t i = 0; i < engine_n_ports(engine); i++) {
		mailbox_free(engine->ports[i].requests);
		mailbox_free(engine->ports[i].answers);
	}
	list_table_free(qsbr_exchange(&engine->knowledge.lists, NULL));
	domains_free(qsbr_exchange(&engine->knowledge.domains, NULL));
	settings_free(qsbr_exchange(&engine->settings, NULL));
	trapset_free(engine->knowledge.traps);
	mailbox_free(engine->reasserts);
	cache_free(engine->hosts);
	cache_free(engine->tuples);
	free_events(engine);
	int fds[] = {engine->wake_feeder, engine->wake_lister, engine->wake_syncer,
	             engine->results};
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (fds[i] >= 0) {
			(void)close(fds[i]);
		}
	}
	close_sync_socket(engine);
	free(engine->listeners);
	(void)pthread_mutex_destroy(&engine->figures_lock);
	free(engine);
}

void engine_stop(struct engine *engine)
{
	for (uint32_t i = 0; i < engine->capacity.workers; i++) {
		worker_stop(engine->workers[i]);
	}
	lister_stop(engine->lister); /* it waits for answers of the keeper */
	syncer_stop(engine->syncer); /* likewise */
	keeper_stop(engine->keeper);
	feeder_stop(engine->feeder);
	inspector_stop(engine->inspector);
	free_parts(engine);
}

/* The workers that ran have closed theirs; the rest is closed here. */
static void close_unused(const struct engine *engine, const struct engine_given *given)
{
	for (size_t i = 0; i < given->n_listeners; i++) {
		uint32_t w = given->listeners[i].worker;
		if (w >= CONF_WORKERS_MAX || !engine->workers[w]) {
			(void)close(given->listeners[i].fd);
		}
	}
}

static int start_all(struct engine *engine, const struct engine_given *given,
                     char why[static ENGINE_WHY_MAX])
{
	int ret = take_listeners(engine, given, why);
	ret = ret ? ret : make_session_conf(engine, why);
	ret = ret ? ret : open_store(engine, why);
	ret = ret ? ret : make_parts(engine, why);
	ret = ret ? ret : start_keeper(engine, given, why);
	ret = ret ? ret : start_feeder(engine, why);
	ret = ret ? ret : start_lister(engine, given->domains, why);
	ret = ret ? ret : start_syncer(engine, given, why);
	return ret ? ret : start_workers(engine, given->listeners, why);
}

int engine_start(struct engine **out, const struct conf *conf, const struct engine_given *given,
                 char why[static ENGINE_WHY_MAX])
{
	struct engine *engine = calloc(1, sizeof *engine);
	if (!engine) {
		return explain(why, "engine", -ENOMEM);
	}
	engine->conf = conf;
	engine->wake_feeder = -1;
	engine->wake_lister = -1;
	engine->wake_syncer = -1;
	engine->sync_socket = given->sync ? given->sync_socket : -1;
	engine->results = -1;
	(void)pthread_mutex_init(&engine->figures_lock, NULL);
	measure(engine);
	int ret = start_all(engine, given, why);
	if (ret != 0) {
		close_unused(engine, given);
		engine_stop(engine);
		return ret;
	}
	*out = engine;
	return 0;
}

void engine_set_firewall(struct engine *engine, int fd)
{
	feeder_set_channel(engine->feeder, fd);
}

bool engine_is_failed(const struct engine *engine)
{
	struct keeper_figures figures;
	keeper_figures_get(engine->keeper, &figures);
	return figures.is_failed;
}

void engine_clock_ok(struct engine *engine)
{
	keeper_clock_ok(engine->keeper);
}
