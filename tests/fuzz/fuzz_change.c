/* A line of a `change` request. */
#include <stdint.h>

#include "base/compiler.h"
#include "store/change.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_in(struct span text, const uint8_t *buf, size_t len)
{
	return text.len == 0 || (text.ptr >= buf && text.ptr + text.len <= buf + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t buf[CHANGE_TEXT_BYTES];
	char why[CHANGE_WHY_MAX];
	struct change change;
	if (change_parse(span_of(data, size), buf, &change, why)) {
		ASSERT(why[0] != '\0');
		return 0;
	}
	/* the others are not in text form */
	ASSERT(change.kind < CHANGE_TRAP_HIT || change.kind == CHANGE_MERGE);
	ASSERT(change.has_addr || change.text.recipient.len > 0 || change.kind == CHANGE_DELETE);
	ASSERT(change.kind != CHANGE_SEEN || (change.count > 0 && change.life_secs > 0));
	ASSERT(is_in(change.text.helo, buf, sizeof buf));
	ASSERT(is_in(change.text.sender, buf, sizeof buf));
	ASSERT(is_in(change.text.recipient, buf, sizeof buf));
	ASSERT(change.text.recipient.len <= RECORD_STRING_MAX);
	return 0;
}
