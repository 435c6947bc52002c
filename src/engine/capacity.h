/* What one connection takes; the rest of the capacity is in engine.h. */
#pragma once

enum {
	/* one stuttering connection, server side; measured 3.7 to 3.9 kB, and what sits in its
	 * buffers */
	CAPACITY_KERNEL_BYTES = 4608,
	CAPACITY_OWN_BYTES = 128, /* ours, DESIGN.md §5 */
	CAPACITY_CONNECTION_BYTES = CAPACITY_KERNEL_BYTES + CAPACITY_OWN_BYTES,
	CAPACITY_MEMORY_SHARE = 2, /* half of the memory may be connections */
};
