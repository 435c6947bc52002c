/* The engine role: workers, keeper and feeder, started and stopped as one. The caller (mired's
 * engine role) owns the control socket and the supervisor's channel; it talks to the engine through
 * this header only. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/counters.h"
#include "conf/conf.h"
#include "engine/held.h"
#include "keeper/latency.h"
#include "keeper/lister.h"
#include "keeper/syncer.h"
#include "priv/msg.h"
#include "store/store.h"

enum { ENGINE_WHY_MAX = 512 };

struct engine;

/* One listening socket for one worker; the engine owns the descriptor afterwards. */
struct engine_listener {
	int fd;
	uint32_t worker;
	bool is_v6;
	bool is_low_priority; /* clients come here for the low-priority MX */
};

/* What a start is given besides the configuration. */
struct engine_given {
	const struct engine_listener *listeners;
	size_t n_listeners;
	struct span
	        domains; /* the file of allowed domains, borrowed for the call; ptr NULL: none */
	const struct sync_setup *sync; /* borrowed for the call; NULL: nobody to be in step with */
	int sync_socket;               /* the engine owns it afterwards; only with sync */
};

/* What the limits of this machine carry with this configuration, for the start message. */
struct engine_capacity {
	uint32_t workers;
	uint32_t max_connections; /* in all */
	uint32_t max_listed;      /* listed ones beyond these are not stuttered */
	uint32_t per_ring;        /* size of one worker's descriptor table */
	char limit[128];          /* which limit stands in the way, in words; "" = none */
};

/* Pure arithmetic over the configuration and the file limit (RLIMIT_NOFILE hard), cores and memory.
 */
void engine_capacity_of(const struct conf *conf, uint64_t nofile, uint32_t cores,
                        uint64_t memory_bytes, struct engine_capacity *out);

/* Opens the store (waiting up to 10 s for an old engine to let go of it), makes caches, rings,
 * threads. Lists on disk, spamtraps and allowed domains are in force before the first client is
 * taken. ERR_* with why. */
MUST_USE int engine_start(struct engine **out, const struct conf *conf,
                          const struct engine_given *given, char why[static ENGINE_WHY_MAX]);
/* Stops accepting, commits what is under way, closes everything; under 2 s. */
void engine_stop(struct engine *engine);

/* A new channel to the firewall role; the engine owns fd. Replaces the old one. */
void engine_set_firewall(struct engine *engine, int fd);
/* A reload: takes over what *conf holds (conf_merge has made it), also when it fails, and leaves it
 * empty. Connections stay; all threads have the new settings from their next turn on. Blocks until
 * none has the old ones, that is for a commit at most. The caller's one thread. -ENOMEM, or the
 * codes of reply_set_init: nothing changed. */
MUST_USE int engine_reload(struct engine *engine, struct conf *conf);
/* The configuration in force, until the next reload. The same thread. */
const struct conf *engine_conf(const struct engine *engine);
/* True when the store failed in a way that only a new process can mend. */
bool engine_is_failed(const struct engine *engine);
/* The administrator says the clock is right. */
void engine_clock_ok(struct engine *engine);

/* --- changes and lists: the caller's one thread -------------------------------------------------
 */

/* Hands a change to the keeper; it is answered by engine_next_result with this cookie (not 0) when
 * it is on disk. -EAGAIN: too many under way. */
MUST_USE int engine_change(struct engine *engine, const struct change *change, uint64_t cookie);
/* Wakes the keeper after a batch of engine_change. */
void engine_flush_changes(struct engine *engine);
/* Hands a job to the lister (see lister_submit); answered likewise. cookie 0: nobody waits. */
MUST_USE int engine_list(struct engine *engine, enum lister_job_kind kind, char *text, size_t len,
                         uint64_t cookie);

struct engine_result {
	uint64_t cookie;
	bool is_list;
	int ret; /* of a change: 0 or ERR_NOT_FOUND */
	struct lister_result list;
};
/* Readable while results wait. */
int engine_results_fd(const struct engine *engine);
bool engine_next_result(struct engine *engine, struct engine_result *out);
/* The lists in force; see lister_describe. */
void engine_describe_lists(struct engine *engine, lister_describe_one *one, void *ctx);

/* --- held connections: the caller's one thread --------------------------------------------------
 */

/* Asks all workers what they hold, which they answer a slice a turn: some 100,000 connections a
 * second each. -EAGAIN: they still answer an earlier query. */
MUST_USE int engine_ask_held(struct engine *engine, const struct held_query *query);
/* True once all have answered: *out is the sum. engine_results_fd becomes readable when one has. */
bool engine_take_held(struct engine *engine, struct held *out);

/* How scarce bytes are, over all workers. */
struct engine_pace {
	uint64_t budget_per_sec;
	uint64_t carried_per_sec; /* of it, what the machine carries at present */
	uint64_t stuttered_per_sec;
	double stretch_listed, stretch_grey; /* the largest of a worker; 1: as configured */
};

/* A moment's figures, for status. Any thread but the engine's own. */
struct engine_figures {
	struct counters totals;
	uint64_t conns_now, conns_grey, conns_white, conns_listed, conns_unknown;
	struct store_stats store;
	double commit_p50_ms, commit_p99_ms;
	struct latency_figures commit;         /* of each that wrote */
	struct latency_figures durable;        /* from RCPT until its tuple or trap was on disk */
	struct latency_figures firewall_delay; /* from a commit until the kernel has it */
	double firewall_p50_ms, firewall_p99_ms;
	uint64_t keeper_waiting; /* requests that wait for a commit */
	uint64_t cached_hosts, cached_tuples;
	struct msg_figures firewall;
	uint64_t firewall_seq; /* last change known to be in the kernel */
	uint32_t max_listed;   /* listed connections beyond these are not stuttered */
	struct lister_figures lists;
	uint64_t trap_addresses, trap_address_bytes; /* in memory */
	bool has_sync;                               /* sync is filled */
	struct syncer_figures sync;
	bool has_firewall;      /* the role is connected */
	bool is_store_degraded; /* commits fail at present */
	bool is_clock_paused;
	struct engine_capacity capacity;
	struct engine_pace pace;
	char accept_mode[32]; /* what the probe chose */
	uint64_t worker_conns[CONF_WORKERS_MAX];
	uint64_t worker_accepted[CONF_WORKERS_MAX]; /* since the start */
};
void engine_figures_get(struct engine *engine, struct engine_figures *out);
