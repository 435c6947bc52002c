/* The inside of the lister, shared by its files: lister.c (thread and queue), lister_jobs.c (what a
 * job does), lister_lists.c (the lists in memory and the table made of them), lister_disk.c (the
 * lists on disk), lister_white.c (white hosts that are listed now). What has no _Atomic and is not
 * under the lock belongs to the lister's thread. */
#pragma once

#include <pthread.h>

#include "keeper/knowledge.h"
#include "keeper/lister.h"

/* One list; immutable but for `line`. Owned by the lister. */
struct list {
	uint8_t *bytes; /* of tag and text */
	struct span tag;
	struct span text;
	struct list_ranges *ranges;
	size_t n_networks; /* as they came */
	int64_t loaded_secs;
	uint32_t number;  /* its place in the load order, and the beginning of its file's name */
	struct span line; /* not in force yet: as it came, borrowed from the job. Else empty */
};

/* In load order. A copy is another choice of the same lists. */
struct lists {
	struct list *at[LISTS_MAX];
	size_t n;
	uint32_t number_last; /* the highest ever given, that of files nobody could use included */
};

struct lister_job {
	enum lister_job_kind kind;
	char *text;
	size_t len;
	uint64_t cookie;
};

struct lister {
	struct counters counters;
	struct lister_env env;
	pthread_t thread;
	_Atomic bool must_stop;
	_Atomic uint32_t prefixes_max; /* list-prefixes; a job reads it as it goes */
	/* jobs, results, figures; `lists` when another thread looks or ours changes it. Nothing
	 * else is taken under it */
	pthread_mutex_t lock;
	pthread_cond_t has_work;
	struct lister_job jobs[LISTER_QUEUE_MAX]; /* ring */
	unsigned first_job, n_jobs;
	struct lister_result results[LISTER_QUEUE_MAX]; /* ring */
	unsigned first_result, n_results;
	unsigned n_owed; /* jobs without a result, and results not fetched */
	struct lister_figures figures;
	struct lists lists; /* in force */

	struct list_table *table; /* published; NULL: no lists */
	struct store_reader *reader;
	int dir;              /* of the lists on disk; -1: it cannot be had */
	int dir_error;        /* why */
	bool must_check;      /* the white hosts were not checked since the last replacement */
	struct mono check_at; /* not before */
	unsigned n_in_flight; /* changes the keeper has not answered */
};

bool lister_must_stop(const struct lister *lister);

static inline uint32_t lister_prefixes_max(const struct lister *lister)
{
	return atomic_load_explicit(&lister->prefixes_max, memory_order_relaxed);
}

/* --- lister_jobs.c ---------------------------------------------------------------------------- */

/* Puts the lists on disk and the first allowed domains in force. */
void lister_load(struct lister *lister);
void lister_do_job(struct lister *lister, const struct lister_job *job,
                   struct lister_result *result);

/* --- lister_lists.c --------------------------------------------------------------------------- */

/* Makes a list of one line (without its LF), which may have n_max networks at most. *out is NULL
 * and 0 is returned for a line of no meaning. ERR_* with why. */
MUST_USE int list_new(struct span line, size_t n_max, struct list **out,
                      char why[static LISTER_WHY_MAX]);
void list_free(struct list *list);
/* NULL: no list of that tag. */
struct list *lists_find(const struct lists *lists, struct span tag);
/* Puts a list at its tag's place, which may hold another of `lists`, or behind the last.
 * ERR_TOO_LONG: LISTS_MAX are there. */
MUST_USE int lists_put(struct lists *lists, struct list *list);
void lists_remove(struct lists *lists, const struct list *list);
bool lists_has(const struct lists *lists, const struct list *list);
size_t lists_n_networks(const struct lists *lists);
/* How many networks of n_max the lists of other names leave to the list in this line. */
size_t lists_room_for(const struct lists *lists, struct span line, size_t n_max);
/* No lists make no table: NULL. */
MUST_USE int lists_build(const struct lists *lists, struct list_table **out);

/* --- lister_disk.c ---------------------------------------------------------------------------- */

/* Opens (makes, where it is missing) the directory and loads what is in it. What cannot be used is
 * logged; without the directory no list is taken later. */
void lister_disk_load(struct lister *lister, struct lists *lists);
void lister_disk_close(struct lister *lister);
/* The list is durable when this returns 0; otherwise its old file is as it was. */
MUST_USE int lister_disk_save(struct lister *lister, const struct list *list);
MUST_USE int lister_disk_remove(struct lister *lister, const struct list *list);

/* --- lister_white.c --------------------------------------------------------------------------- */

/* Has every white host that is on a list now taken off the white. 0, or why not all of them were
 * (-ECANCELED: a stop). */
MUST_USE int lister_check_white(struct lister *lister);
