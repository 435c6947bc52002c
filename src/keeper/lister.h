/* The lister: one thread that owns the lists and the allowed domains. It parses what it is given,
 * keeps each list on disk (STATE/lists/loaded) before it says so, builds the table the workers read
 * and swaps it, has newly listed hosts taken off the white, and hands the union of all lists to the
 * firewall where the kernel does the listing (blacklist-only). A list that cannot be used leaves
 * the old one in force. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/counters.h"
#include "base/qsbr.h"
#include "conf/conf.h"
#include "keeper/keeper.h"
#include "store/store.h"

enum { LISTER_QUEUE_MAX = 64, LISTER_WHY_MAX = 256 };

struct lister;
struct feeder;
struct knowledge;

struct lister_env {
	const struct conf *conf;
	struct store *store; /* its own reader walks the white hosts */
	struct keeper *keeper;
	struct keeper_port *port;    /* for CHANGE_DELIST */
	struct feeder *feeder;       /* gets ranges; NULL: none (no firewall, or not wanted) */
	struct knowledge *knowledge; /* publishes lists and domains */
	int done;                    /* eventfd written when results wait; borrowed */
	struct span domains;         /* first allowed ones, for lister_start; ptr NULL: none */
};

enum lister_job_kind {
	LISTER_LINES,   /* lines of the spamd-cfg protocol, each a list */
	LISTER_DROP,    /* text: the tag of a list that goes */
	LISTER_DOMAINS, /* the allowed-domains file */
};

/* Loads the lists on disk before it returns (a file that cannot be used is logged and left alone)
 * and the allowed domains, so that no client comes before them. */
MUST_USE int lister_start(struct lister **out, const struct lister_env *env);
/* What was published stays so; its owner frees it (table, domains) when the last reader is gone.
 * Jobs not begun are dropped. NULL is fine. */
void lister_stop(struct lister *lister);

/* Queues a job; on success text (malloc'ed) is the lister's. -EAGAIN: LISTER_QUEUE_MAX wait. Jobs
 * are done in order. cookie 0: nobody waits for the result. */
MUST_USE int lister_submit(struct lister *lister, enum lister_job_kind kind, char *text, size_t len,
                           uint64_t cookie);

struct lister_result {
	uint64_t cookie;
	int ret; /* 0: in force and on disk. ERR_NOT_FOUND: no such list to drop */
	size_t n_lists, n_networks; /* taken by this job */
	char why[LISTER_WHY_MAX];   /* "line 2: …", printable */
};
/* True and *out while results wait. The thread that submits. */
bool lister_next_result(struct lister *lister, struct lister_result *out);

/* For each list in load order. Any thread but the lister's; holds a lock, so be short. */
typedef void lister_describe_one(void *ctx, struct span tag, size_t n_networks,
                                 int64_t loaded_secs);
void lister_describe(struct lister *lister, lister_describe_one *one, void *ctx);

/* Another list-prefixes: counts for the lists that come. Any thread. */
void lister_set_prefixes_max(struct lister *lister, uint32_t max);

struct lister_figures {
	size_t n_lists, n_networks, n_domains;
	size_t table_bytes;
	uint64_t swap_ms;    /* from a job's begin until its lists were in force */
	uint64_t n_delisted; /* white hosts taken off by lists since the start */
};
void lister_figures_get(struct lister *lister, struct lister_figures *out);
const struct counters *lister_counters(const struct lister *lister);
