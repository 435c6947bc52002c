/* The form in which spamtrap addresses are stored, compared and checked. */
#include "policy/trap.h"

#include <string.h>

struct span trap_address_normalise(struct span recipient, uint8_t buf[static TRAP_ADDRESS_MAX])
{
	if (recipient.len > 0 && recipient.ptr[0] == '<') {
		recipient = span_skip(recipient, 1);
	}
	if (recipient.len > 0 && recipient.ptr[recipient.len - 1] == '>') {
		recipient.len--;
	}
	size_t len = recipient.len < TRAP_ADDRESS_MAX ? recipient.len : TRAP_ADDRESS_MAX;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = recipient.ptr[i];
		buf[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
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
