/* Addresses of both families in one form. Pure but for the C library's text conversion. */
#include "base/addr.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/err.h"

enum { V4_OFFSET = 12 };

static const uint8_t mapped_prefix[V4_OFFSET] = {[10] = 0xff, [11] = 0xff};

int addr_parse(struct span text, struct addr *out)
{
	char buf[ADDR_TEXT_MAX];
	struct in_addr v4;
	struct addr v6;
	/* an embedded NUL would hide what follows it from inet_pton */
	if (text.len == 0 || text.len >= sizeof buf || memchr(text.ptr, 0, text.len)) {
		return ERR_SYNTAX;
	}
	(void)span_to_str(text, buf, sizeof buf);
	if (inet_pton(AF_INET, buf, &v4) == 1) {
		*out = addr_from_v4_be(v4.s_addr);
		return 0;
	}
	if (inet_pton(AF_INET6, buf, v6.bytes) == 1) {
		*out = v6;
		return 0;
	}
	return ERR_SYNTAX;
}

const char *addr_format(const struct addr *addr, char buf[static ADDR_TEXT_MAX])
{
	const char *text = addr_is_v4(addr)
	                           ? inet_ntop(AF_INET, addr->bytes + V4_OFFSET, buf, ADDR_TEXT_MAX)
	                           : inet_ntop(AF_INET6, addr->bytes, buf, ADDR_TEXT_MAX);
	ASSERT(text); /* the buffer has INET6_ADDRSTRLEN bytes */
	return text;
}

bool addr_is_v4(const struct addr *addr)
{
	return memcmp(addr->bytes, mapped_prefix, sizeof mapped_prefix) == 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

uint32_t addr_v4_be(const struct addr *addr)
{
	uint32_t v4_be;
	memcpy(&v4_be, addr->bytes + V4_OFFSET, sizeof v4_be);
	return v4_be;
}

struct addr addr_from_v4_be(uint32_t v4_be)
{
	struct addr addr;
	memcpy(addr.bytes, mapped_prefix, sizeof mapped_prefix);
	memcpy(addr.bytes + V4_OFFSET, &v4_be, sizeof v4_be);
	return addr;
}

int addr_from_sockaddr(const struct sockaddr *sa, struct addr *out)
{
	/* by memcpy: the caller's buffer need not be aligned for the larger type */
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof in);
		*out = addr_from_v4_be(in.sin_addr.s_addr);
		return 0;
	}
	if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof in6);
		memcpy(out->bytes, &in6.sin6_addr, sizeof out->bytes);
		return 0;
	}
	return ERR_UNSUPPORTED;
}

socklen_t addr_to_sockaddr(const struct addr *addr, uint16_t port, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof *ss);
	if (addr_is_v4(addr)) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
		in.sin_addr.s_addr = addr_v4_be(addr);
		memcpy(ss, &in, sizeof in);
		return sizeof in;
	}
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	memcpy(&in6.sin6_addr, addr->bytes, sizeof addr->bytes);
	memcpy(ss, &in6, sizeof in6);
	return sizeof in6;
}

struct addr addr_group(const struct addr *addr, unsigned v6_bits)
{
	struct addr group = *addr;
	if (addr_is_v4(addr)) {
		return group;
	}
	for (unsigned i = 0; i < sizeof group.bytes; i++) {
		unsigned kept = v6_bits > i * 8 ? v6_bits - i * 8 : 0;
		if (kept < 8) {
			group.bytes[i] &= (uint8_t)(0xff00U >> kept);
		}
	}
	return group;
}
