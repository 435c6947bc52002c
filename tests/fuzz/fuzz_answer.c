/* What nf_tables answers about elements, counters and sets, from bytes of anybody: nothing is read
 * behind the end, and what is taken keeps the promises of answer.h. The first byte says which. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/err.h"
#include "fw/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_element(struct span attrs)
{
	struct answer_element element;
	if (answer_element(attrs, &element) == 0) {
		ASSERT(element.key_len == 4 || element.key_len == 16);
		ASSERT(element.has_timeout || (element.timeout_ms == 0 && element.left_ms == 0));
		ASSERT(element.has_count ||
		       (element.count.packets == 0 && element.count.bytes == 0));
	}
}

static void check_counter(struct span attrs)
{
	struct answer_counter counter;
	int ret = answer_counter(attrs, "mired", &counter);
	ASSERT(ret == 0 || ret == ERR_CORRUPT || ret == ERR_NOT_FOUND);
	ASSERT(ret != 0 || memchr(counter.name, '\0', sizeof counter.name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2) {
		return 0;
	}
	/* exactly so many bytes, and where malloc aligns them as a receive buffer is */
	uint8_t *bytes = malloc(size - 1);
	ASSERT(bytes);
	memcpy(bytes, data + 1, size - 1);
	struct span attrs = span_of(bytes, size - 1);
	if (data[0] % 2 == 0) {
		check_element(attrs);
		(void)answer_counts_elements(attrs);
	} else {
		check_counter(attrs);
	}
	free(bytes);
	return 0;
}
