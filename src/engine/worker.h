/* A worker: one thread, one ring, its listeners, its connections and its timer wheel. Shares
 * nothing mutable with other workers but the counts of connections. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/counters.h"
#include "conf/conf.h"
#include "engine/held.h"
#include "keeper/keeper.h"
#include "smtp/session.h"
#include "store/cache.h"

struct worker;
struct knowledge;
struct qsbr_ptr;
struct events;

struct worker_listener {
	int fd;
	bool is_low_priority; /* clients come here for the low-priority MX */
};

/* Borrowed until worker_stop. */
struct worker_env {
	const struct conf *conf;
	const struct session_conf *session; /* the worker takes a copy and sets its own pace */
	/* struct settings, once there was a reload: they replace conf, the bounds and the pace */
	const struct qsbr_ptr *settings; /* NULL: there will be none */
	const struct cache *hosts;
	const struct cache *tuples;
	const uint8_t *hash_key; /* store_hash_key */
	struct keeper *keeper;
	struct keeper_port *port;
	const struct knowledge *knowledge; /* lists, domains, traps; NULL = none of them */
	struct events *events;             /* of this worker: who connected. NULL = nobody asks */
	_Atomic uint32_t *n_connections;   /* of all workers; touched at accept and close only */
	_Atomic uint32_t *n_listed; /* of them listed or trapped; likewise. NULL = do not count */
	uint32_t max_listed;        /* listed connections beyond it are not stuttered */
	uint32_t max_connections;
	double bytes_per_sec;           /* stuttered ones, this worker's part of the budget */
	_Atomic uint32_t *n_stretching; /* workers that stretch their stutter. NULL = say nothing */
	uint32_t seed;                  /* of the connections' phases */
	uint32_t table_size;            /* direct descriptors of this ring */
	uint32_t idx;
	int held_fd; /* eventfd, told when a question of worker_ask_held is answered. 0 = none */
	/* worker_stop closes their descriptors, a failed start does not */
	const struct worker_listener *listeners;
	uint32_t n_listeners;
};

MUST_USE int worker_start(struct worker **out, const struct worker_env *env);
/* Ends the thread and closes all connections. */
void worker_stop(struct worker *worker);

struct worker_figures {
	uint32_t n_now, n_grey, n_white, n_listed, n_unknown;
	uint32_t interval_ms[SESSION_PACE_COUNT]; /* present stutter of each kind */
	uint64_t carried_per_sec;                 /* of the budget, what the machine carries */
	uint64_t stuttered_per_sec;
	const char *accept_mode;
};
void worker_figures_get(const struct worker *worker, struct worker_figures *out);
const struct counters *worker_counters(const struct worker *worker);

/* Asks what connections there are. One thread asks, and only when worker_held is not NULL. */
void worker_ask_held(struct worker *worker, const struct held_query *query);
/* The answer to the last question, until the next one; NULL while the worker looks. A connection
 * that came or went meanwhile may be counted or not. The thread that asks. */
const struct held *worker_held(const struct worker *worker);
