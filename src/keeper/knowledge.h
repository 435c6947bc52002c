/* What all workers read at accept and at RCPT and few others replace: lists, allowed domains,
 * spamtrap addresses. Readers are registered threads (base/qsbr.h). */
#pragma once

#include <stdbool.h>

#include "base/qsbr.h"
#include "base/span.h"
#include "lists/table.h"
#include "policy/domains.h"
#include "store/trapset.h"

struct knowledge {
	struct qsbr_ptr lists;   /* struct list_table; the lister replaces it */
	struct qsbr_ptr domains; /* struct domains; the lister replaces it */
	struct trapset *traps;   /* the keeper changes it; NULL = none */
};

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
