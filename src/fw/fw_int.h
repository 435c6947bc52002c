/* What the files of this folder share about one open firewall. Not for other folders. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "fw/answer.h"
#include "fw/batch.h"
#include "fw/fw.h"
#include "fw/nfnl.h"

/* The sets of a table. Learned ones come first: row 2 * enum fw_set, its twin behind it. */
enum {
	FW_ROW_NOSPAMD = FW_LEARNED_ROWS,
	FW_ROW_SPAMD = FW_ROW_NOSPAMD + 2,
	FW_ROW_COUNT = FW_ROW_SPAMD + 2,
};

struct fw_row {
	const char *name;
	bool is_v6;
	bool is_interval; /* networks; else single addresses with timeouts */
};

extern const struct fw_row fw_rows[FW_ROW_COUNT];

/* Handles of sets, chains and rules as they were after our last change. */
enum { FW_HANDLES_MAX = 256 };

struct fw_snapshot {
	uint32_t generation; /* of the ruleset, when we last knew it to hold our parts; 0 = look */
	uint64_t table;      /* handle; 0 = nothing noted yet */
	uint64_t handles[FW_HANDLES_MAX];
	size_t n_handles;
};

enum { FW_PATH_MAX = 4096 };

struct fw {
	struct nfnl *nfnl;
	struct batch batch;
	struct batch question; /* asked while a transaction is being built in the other */
	bool has_counters;     /* the sets count packets and bytes of each element */
	char *table;
	char *rules;                  /* text for libnftables; NULL for rules = none */
	char rules_path[FW_PATH_MAX]; /* of their template */
	struct fw_stats stats;
	struct fw_snapshot snapshot;
	bool is_lost;  /* the table was found missing or changed since it was put */
	bool is_empty; /* nothing was put into the learned sets since they were made */
};

/* The key of an address in the set of its family. */
struct batch_element fw_element_key(const struct addr *addr, uint32_t timeout_secs);

/* One get-element request by way of `question`; the set is one of `table`. -ENOENT: not in it. */
MUST_USE int fw_get_element(struct nfnl *nfnl, struct batch *question, const char *table,
                            const char *set, const struct batch_element *key,
                            struct answer_element *out);

/* Moves the key on to the address behind it; false when there is none. */
bool fw_element_after(struct batch_element *element);

/* Begins a transaction in fw->batch. */
void fw_begin(struct fw *fw);
/* Ends and sends fw->batch; sends again while the outcome is unknown. Counts. */
MUST_USE int fw_commit(struct fw *fw);

/* The buffer of a full copy or of networks is large and rarely needed. */
void fw_give_back_buffer(struct fw *fw);

/* fw_watch.c: notes what is there now as ours. -ENOENT = no table. */
MUST_USE int fw_note(struct fw *fw);

/* fw_probe.c: sets stats.has_refresh and stats.has_destroy. */
MUST_USE int fw_probe(struct fw *fw, const struct conf *conf);

/* fw_rules.c: the template of a configuration whose rules are not none. */
void fw_rules_path(const struct conf *conf, char path[static FW_PATH_MAX]);
/* Runs a ruleset as one transaction; `path` is what its errors name. */
MUST_USE int fw_rules_run(const char *text, const char *path, char why[static FW_WHY_MAX]);
