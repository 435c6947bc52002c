/* One list: fetch it, unpack it, judge it, keep it; or fall back to the last good copy and say why.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "conf/conf.h"
#include "mired-setup/bytes.h"
#include "mired-setup/copy.h"
#include "mired-setup/fetcher.h"
#include "mired-setup/source.h"

enum obtained {
	OBTAINED_FRESH,   /* from its source, or its source says that the copy is current */
	OBTAINED_STALE,   /* the last good copy: its source failed */
	OBTAINED_NOTHING, /* its source failed and there is no copy */
};

/* Where lists come from and go to. */
struct obtain_env {
	const struct conf *conf;
	struct fetcher *fetcher;
	int copies;   /* directory of the copies; -1 = there is none */
	bool is_kept; /* new copies are written */
};

/* A list's entries are walked with entries_walk; they were seen to be good. */
struct list_data {
	struct bytes bytes;
	struct copy copy;
	struct span text; /* in one of the two */
	uint64_t n_entries;
};

/* Says itself what is wrong. has_failed: this run has tried this list before in vain; its copy is
 * used without another try. */
enum obtained obtain(const struct obtain_env *env, const struct source *source, bool has_failed,
                     struct list_data *out);
/* The copy that this run has made. OBTAINED_NOTHING when it cannot be read. */
enum obtained obtain_again(const struct obtain_env *env, const struct source *source,
                           struct list_data *out);
void list_data_fini(struct list_data *data);
