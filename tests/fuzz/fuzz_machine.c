/* What sysctls, /proc/PID/limits and systemctl say, or anything else. */
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "verify/machine.h"

enum { NUMBERS_MAX = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t numbers[NUMBERS_MAX + 1] = {[NUMBERS_MAX] = 7};
	uint64_t hard = 7;
	struct span text = span_of(data, size);
	int n = machine_parse_numbers(text, numbers, NUMBERS_MAX);
	ASSERT(n >= 0 ? n <= NUMBERS_MAX : n == ERR_SYNTAX || n == ERR_RANGE);
	ASSERT(numbers[NUMBERS_MAX] == 7);
	int ret = machine_parse_limits(text, &hard);
	ASSERT(ret == 0 || (ret == ERR_SYNTAX && hard == 7));
	hard = 7;
	ret = machine_parse_unit(text, &hard);
	ASSERT(ret == 0 || ((ret == ERR_SYNTAX || ret == ERR_NOT_FOUND) && hard == 7));
	return 0;
}
