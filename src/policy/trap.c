/* The form in which spamtrap addresses are stored, compared and checked. */
#include "policy/trap.h"

#include <string.h>

/* Eight bytes of ASCII at once: each RCPT's key goes through here. In each byte's top bit: whether
 * it is at least `A`, and whether it is beyond `Z`. */
static uint64_t lower_word(uint64_t word)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t low = word & 0x7f * ones;
	uint64_t is_upper = ((low + (0x80 - 'A') * ones) ^ (low + (0x7f - 'Z') * ones)) & ~word;
	return word | (is_upper & 0x80 * ones) >> 2;
}

static uint8_t lower_byte(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

struct span trap_address_normalise(struct span recipient, uint8_t buf[static TRAP_ADDRESS_MAX])
{
	if (recipient.len > 0 && recipient.ptr[0] == '<') {
		recipient = span_skip(recipient, 1);
	}
	if (recipient.len > 0 && recipient.ptr[recipient.len - 1] == '>') {
		recipient.len--;
	}
	size_t len = recipient.len < TRAP_ADDRESS_MAX ? recipient.len : TRAP_ADDRESS_MAX;
	size_t i = 0;
	for (; i + sizeof(uint64_t) <= len; i += sizeof(uint64_t)) {
		uint64_t word = 0;
		memcpy(&word, recipient.ptr + i, sizeof word);
		word = lower_word(word);
		memcpy(buf + i, &word, sizeof word);
	}
	for (; i < len; i++) {
		buf[i] = lower_byte(recipient.ptr[i]);
	}
	return span_of(buf, len);
}

bool trap_address_is_valid(struct span address)
{
	for (size_t i = 0; i < address.len; i++) {
		if (address.ptr[i] <= ' ' || address.ptr[i] == 0x7f) {
			return false;
		}
	}
	return address.len > 0 && address.len <= TRAP_ADDRESS_MAX &&
	       memchr(address.ptr, '@', address.len) != NULL;
}
