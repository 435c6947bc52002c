/* The fixed parts of the two IP headers (RFC 791, RFC 8200). IPv6 extension headers are not walked:
 * the rules log connections of TCP only, and the addresses stand before them. */
#include "mired-logd/packet.h"

#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>

#include "base/err.h"

enum { VERSION_SHIFT = 4, IPV4_MULTICAST_FIRST = 224, IPV6_MULTICAST = 0xff };

static bool is_extension(uint8_t next_header)
{
	static const uint8_t headers[] = {IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_FRAGMENT,
	                                  IPPROTO_DSTOPTS, IPPROTO_AH};
	return memchr(headers, next_header, sizeof headers) != NULL;
}

/* Unspecified, loopback, multicast: nobody to whitelist. */
static bool is_host(const struct addr *addr)
{
	static const struct addr unspecified;
	static const struct addr loopback = {.bytes = {[15] = 1}};
	if (addr_is_v4(addr)) {
		uint8_t first = addr->bytes[12];
		return first != 0 && first != IN_LOOPBACKNET && first < IPV4_MULTICAST_FIRST;
	}
	return addr->bytes[0] != IPV6_MULTICAST && !addr_equal(addr, &unspecified) &&
	       !addr_equal(addr, &loopback);
}

static int peer_v4(struct span packet, bool is_outbound, struct addr *out)
{
	struct iphdr header;
	if (packet.len < sizeof header) {
		return ERR_TRUNCATED;
	}
	memcpy(&header, packet.ptr, sizeof header);
	if (header.protocol != IPPROTO_TCP) {
		return ERR_UNSUPPORTED;
	}
	*out = addr_from_v4_be(is_outbound ? header.daddr : header.saddr);
	return 0;
}

static int peer_v6(struct span packet, bool is_outbound, struct addr *out)
{
	struct ip6_hdr header;
	if (packet.len < sizeof header) {
		return ERR_TRUNCATED;
	}
	memcpy(&header, packet.ptr, sizeof header);
	if (header.ip6_nxt != IPPROTO_TCP && !is_extension(header.ip6_nxt)) {
		return ERR_UNSUPPORTED;
	}
	memcpy(out->bytes, is_outbound ? &header.ip6_dst : &header.ip6_src, sizeof out->bytes);
	return 0;
}

int packet_peer(struct span packet, bool is_outbound, struct addr *out)
{
	struct addr addr;
	if (packet.len == 0) {
		return ERR_TRUNCATED;
	}
	int ret = ERR_SYNTAX;
	switch (packet.ptr[0] >> VERSION_SHIFT) {
	case IPVERSION:
		ret = peer_v4(packet, is_outbound, &addr);
		break;
	case 6:
		ret = peer_v6(packet, is_outbound, &addr);
		break;
	default:
		break;
	}
	if (ret != 0) {
		return ret;
	}
	if (!is_host(&addr)) {
		return ERR_SYNTAX;
	}
	*out = addr;
	return 0;
}
