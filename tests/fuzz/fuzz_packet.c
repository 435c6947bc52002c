/* Logged packets: any bytes, both directions. What is accepted is an address of the packet. */
#include <string.h>

#include "mired-logd/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int is_outbound = 0; is_outbound <= 1; is_outbound++) {
		struct addr addr;
		if (packet_peer(span_of(data, size), is_outbound, &addr) != 0) {
			continue;
		}
		size_t len = addr_is_v4(&addr) ? 4 : sizeof addr.bytes;
		const uint8_t *bytes = addr.bytes + sizeof addr.bytes - len;
		ASSERT(memmem(data, size, bytes, len));
	}
	return 0;
}
