/* Backup and compaction: the store's work is in store/store_backup.h, here are rights and words. */
#include <errno.h>

#include "base/err.h"
#include "miredb/miredb.h"
#include "store/store_backup.h"

#define MIB (1024.0 * 1024.0)

static int become_store_user(void *ctx)
{
	return become_user(ctx) ? -EPERM : 0;
}

static int say_figures(const char *what, const struct store_copy_figures *figures)
{
	(void)printf("%s: %.1f MiB; the store has %.1f MiB of pages in use, %.1f MiB free\n", what,
	             (double)figures->copy_bytes / MIB, (double)figures->used_bytes / MIB,
	             (double)figures->free_bytes / MIB);
	return end_output();
}

/* The store is read by its user, in a child; the file belongs to the caller, who may keep it where
 * that user may not write. */
int backup_main(const struct run *run)
{
	char why[STORE_WHY_MAX];
	struct store_copy_figures figures = {0};
	const struct store_source source = {.dir = run->dir,
	                                    .map_bytes = run->conf.map_bytes,
	                                    .become = become_store_user,
	                                    .ctx = (void *)(uintptr_t)run};
	int ret = store_backup(&source, run->options->file, &figures, why);
	if (ret) {
		return fail("no backup was made: %s", why[0] ? why : err_text(ret));
	}
	return say_figures(run->options->file, &figures);
}

int compact_main(const struct run *run)
{
	char why[STORE_WHY_MAX];
	struct store_copy_figures figures = {0};
	int status = become_user(run);
	if (status) {
		return status;
	}
	int ret = store_compact(run->dir, run->conf.map_bytes, &figures, why);
	if (ret) {
		return fail("nothing was changed: %s%s", why[0] ? why : err_text(ret),
		            ret == ERR_BUSY ? " (stop mired first)" : "");
	}
	(void)printf("%s: %.1f MiB, of which %.1f MiB were free pages; now %.1f MiB\n", run->dir,
	             (double)(figures.used_bytes + figures.free_bytes) / MIB,
	             (double)figures.free_bytes / MIB, (double)figures.copy_bytes / MIB);
	return end_output();
}
