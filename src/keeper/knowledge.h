/* What threads read and few others replace: the configuration; for the workers at accept and at
 * RCPT lists, allowed domains, spamtrap addresses. Readers are registered threads (base/qsbr.h). */
#pragma once

#include <stdbool.h>

#include "base/qsbr.h"
#include "base/span.h"
#include "conf/conf.h"
#include "lists/table.h"
#include "policy/domains.h"
#include "store/trapset.h"

/* A configuration that was put in force while the engine runs. */
struct knowledge_conf {
	struct conf conf;
	uint64_t generation; /* tells it from every other one */
};

struct knowledge {
	/* struct knowledge_conf; NULL: what each thread was started with. The engine replaces it */
	struct qsbr_ptr conf;
	struct qsbr_ptr lists;   /* struct list_table; the lister replaces it */
	struct qsbr_ptr domains; /* struct domains; the lister replaces it */
	struct trapset *traps;   /* the keeper changes it; NULL = none */
};

/* Threads keep it no longer than a turn. */
static inline const struct knowledge_conf *knowledge_conf(const struct knowledge *knowledge)
{
	return qsbr_load(&knowledge->conf);
}

static inline const struct list_table *knowledge_lists(const struct knowledge *knowledge)
{
	return qsbr_load(&knowledge->lists);
}

static inline const struct domains *knowledge_domains(const struct knowledge *knowledge)
{
	return qsbr_load(&knowledge->domains);
}

/* Whether mail to this recipient (as the client wrote it) traps: a spamtrap, or in no allowed
 * domain. Registered readers. */
bool knowledge_is_trap(const struct knowledge *knowledge, struct span recipient);
