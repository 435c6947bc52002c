/* Any bytes are a message or a refusal; a message encodes to exactly the bytes it came from. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "priv/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct msg msg;
	if (msg_decode(data, size, &msg) != 0) {
		return 0;
	}
	uint8_t bytes[MSG_BYTES_MAX];
	size_t len = 0;
	ASSERT(msg_encode(&msg, bytes, &len) == 0);
	ASSERT(len == size && memcmp(bytes, data, size) == 0);
	return 0;
}
