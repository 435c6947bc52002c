/* Copies of a whole store: a backup in a file of its own, and the compaction that puts a copy in
 * the store's place. A copy holds what was committed at one moment and no free pages. It is made in
 * a directory beside its place (PLACE.new), checked whole, and only then renamed: at any moment
 * there is the old file or the new one. What an interrupted run left in PLACE.new is removed by the
 * next. All calls block; while a copy is being made the store keeps what is deleted meanwhile, so
 * it may grow by what the daemon commits in that time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "store/store.h"

struct store_copy_figures {
	uint64_t used_bytes; /* of the store: pages in use, and those that wait for reuse */
	uint64_t free_bytes;
	uint64_t copy_bytes; /* the file that was made */
};

/* What reads the store and its copy is a child process: a damaged page may crash LMDB, and root
 * must not interpret what another user has written. */
struct store_source {
	const char *dir;
	uint64_t map_bytes;
	/* Called in the child before it opens the store, to become the directory's owner; NULL: the
	 * caller is that user. 0, or a negative code that ends the copy; says itself why. */
	int (*become)(void *ctx);
	void *ctx;
};

/* Copies the store, whether a daemon uses it or not, to `file`, which belongs to the caller and is
 * readable by nobody else. An older backup there is replaced. ERR_DENIED: what is there is no
 * backup, and is left alone; ERR_FULL: too little space; ERR_BUSY: another backup to this file is
 * under way; ERR_CORRUPT: the store or its copy is damaged; ERR_NOT_FOUND, -errno. `why` names the
 * file and the reason. */
MUST_USE int store_backup(const struct store_source *source, const char *file,
                          struct store_copy_figures *out, char why[static STORE_WHY_MAX]);

/* Puts a copy without free pages in the place of the store. Its owner only. ERR_BUSY while a daemon
 * or a reader uses it; else as store_backup, and on any error the store is as it was. */
MUST_USE int store_compact(const char *dir, uint64_t map_bytes, struct store_copy_figures *out,
                           char why[static STORE_WHY_MAX]);
