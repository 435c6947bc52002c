/* Allowed domains: the first line is asked for, the rest is the file. A recipient that is an entry
 * itself is always allowed. */
#include "policy/domains.h"
#include "policy/trap.h"

static void count_bad(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	ASSERT(line_no > 0 && line.len > 0 && reason);
	++*(size_t *)ctx;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t buf[TRAP_ADDRESS_MAX];
	size_t n_bad = 0;
	struct domains *domains;
	struct span text;
	struct span first = span_cut(span_of(data, size), '\n', &text);
	struct span address = trap_address_normalise(first, buf);
	if (domains_parse(text, count_bad, &n_bad, &domains)) {
		return 0;
	}
	bool is_allowed = domains_allow(domains, address);
	ASSERT(is_allowed || domains_count(domains) > 0);
	domains_free(domains);
	if (trap_address_is_valid(address) && address.ptr[address.len - 1] != '@' &&
	    address.ptr[0] != '#' && domains_parse(address, count_bad, &n_bad, &domains) == 0) {
		ASSERT(address.len == 1 || domains_allow(domains, address));
		domains_free(domains);
	}
	return 0;
}
