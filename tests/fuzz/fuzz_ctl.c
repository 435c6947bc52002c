/* Request lines of the control protocol: a refused line leaves no trace, an accepted one holds
 * nothing but a verb and printable ASCII. */
#include <stdint.h>
#include <string.h>

#include "ctl/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct request request;
	memset(&request, 0xaa, sizeof request);
	if (request_parse(span_of(data, size), &request) != 0) {
		ASSERT((uint8_t)request.verb[0] == 0xaa && (uint8_t)request.args[0] == 0xaa);
		return 0;
	}
	size_t verb_len = strlen(request.verb);
	size_t args_len = strlen(request.args);
	ASSERT(verb_len > 0 && verb_len + args_len <= size);
	ASSERT(strspn(request.verb, "abcdefghijklmnopqrstuvwxyz0123456789-") == verb_len);
	for (size_t i = 0; i < args_len; i++) {
		ASSERT(request.args[i] >= 0x20 && request.args[i] < 0x7f);
	}
	return 0;
}
