/* What one connection takes and how many one worker is good for; the whole is engine_capacity_of in
 * engine.h. Pure. */
#pragma once

#include <stdint.h>

enum {
	/* one stuttering connection, server side; measured 3.7 to 3.9 kB, and what sits in its
	 * buffers */
	CAPACITY_KERNEL_BYTES = 4608,
	CAPACITY_OWN_BYTES = 128, /* ours, DESIGN.md §5 */
	CAPACITY_CONNECTION_BYTES = CAPACITY_KERNEL_BYTES + CAPACITY_OWN_BYTES,
	CAPACITY_MEMORY_SHARE = 2, /* half of the memory may be connections */
};

/* So many workers that the ring of each keeps within the file limit although the kernel deals the
 * connections out by a hash; 0: no number would do. */
uint32_t capacity_workers_for(uint64_t n_connections, uint64_t nofile);
