/* What a recipient means, asked by the workers for their clients' mail and by the syncer for what
 * peers tell. */
#include "keeper/knowledge.h"

#include "policy/trap.h"

bool knowledge_is_trap(const struct knowledge *knowledge, struct span recipient)
{
	uint8_t buf[TRAP_ADDRESS_MAX];
	struct span address = trap_address_normalise(recipient, buf);
	return !domains_allow(knowledge_domains(knowledge), address) ||
	       trapset_has(knowledge->traps, address);
}
