/* RFC 791, RFC 9293. Without timestamps and window scaling: a ghost keeps nothing to answer them
 * from. */
#include "ghost_packet.h"

#include <netinet/in.h>
#include <string.h>

enum {
	IP_BYTES = 20,
	TCP_BYTES = 20,
	MSS_BYTES = 4,
	MSS = 1460,
	WINDOW = 65535,
	TTL = 64,
	DONT_FRAGMENT = 0x40,
	/* where things are in the IP header, then in the TCP header */
	IP_AT_TOTAL = 2,
	IP_AT_FLAGS = 6,
	IP_AT_TTL = 8,
	IP_AT_PROTOCOL = 9,
	IP_AT_SUM = 10,
	IP_AT_SOURCE = 12,
	IP_AT_TARGET = 16,
	TCP_AT_SOURCE = 0,
	TCP_AT_TARGET = 2,
	TCP_AT_SEQ = 4,
	TCP_AT_ACK = 8,
	TCP_AT_OFFSET = 12,
	TCP_AT_FLAGS = 13,
	TCP_AT_WINDOW = 14,
	TCP_AT_SUM = 16,
};

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static uint32_t add_up(uint32_t sum, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i + 1 < len; i += 2) {
		sum += get16(bytes + i);
	}
	return len % 2 == 0 ? sum : sum + (uint32_t)(bytes[len - 1] << 8);
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

/* Of the TCP part with the addresses before it; 0 over a packet whose checksum is right. */
static uint16_t tcp_sum(const uint8_t *ip, size_t tcp_len)
{
	uint32_t sum = add_up(IPPROTO_TCP + (uint32_t)tcp_len, ip + IP_AT_SOURCE, 8);
	return fold(add_up(sum, ip + IP_BYTES, tcp_len));
}

size_t packet_build(const struct packet *packet, uint8_t out[static PACKET_MAX])
{
	size_t option_len = packet->flags & PACKET_SYN ? MSS_BYTES : 0;
	size_t tcp_len = TCP_BYTES + option_len + packet->text.len;
	uint8_t *tcp = out + IP_BYTES;
	ASSERT(packet->text.len <= PACKET_TEXT_MAX);
	memset(out, 0, IP_BYTES + TCP_BYTES);
	out[0] = 0x45; /* version 4, five words */
	put16(out + IP_AT_TOTAL, (uint32_t)(IP_BYTES + tcp_len));
	out[IP_AT_FLAGS] = DONT_FRAGMENT;
	out[IP_AT_TTL] = TTL;
	out[IP_AT_PROTOCOL] = IPPROTO_TCP;
	put32(out + IP_AT_SOURCE, packet->source);
	put32(out + IP_AT_TARGET, packet->target);
	put16(out + IP_AT_SUM, fold(add_up(0, out, IP_BYTES)));
	put16(tcp + TCP_AT_SOURCE, packet->source_port);
	put16(tcp + TCP_AT_TARGET, packet->target_port);
	put32(tcp + TCP_AT_SEQ, packet->seq);
	put32(tcp + TCP_AT_ACK, packet->ack);
	tcp[TCP_AT_OFFSET] = (uint8_t)((TCP_BYTES + option_len) / 4 << 4);
	tcp[TCP_AT_FLAGS] = packet->flags;
	put16(tcp + TCP_AT_WINDOW, WINDOW);
	if (option_len > 0) {
		put32(tcp + TCP_BYTES, 2U << 24 | MSS_BYTES << 16 | MSS);
	}
	if (packet->text.len > 0) {
		memcpy(tcp + TCP_BYTES + option_len, packet->text.ptr, packet->text.len);
	}
	put16(tcp + TCP_AT_SUM, tcp_sum(out, tcp_len));
	return IP_BYTES + tcp_len;
}

bool packet_parse(struct span bytes, struct packet *out)
{
	const uint8_t *ip = bytes.ptr;
	if (bytes.len < IP_BYTES + TCP_BYTES || ip[0] != 0x45 ||
	    ip[IP_AT_PROTOCOL] != IPPROTO_TCP) {
		return false;
	}
	const uint8_t *tcp = ip + IP_BYTES;
	size_t header_len = (size_t)(tcp[TCP_AT_OFFSET] >> 4) * 4;
	size_t total = get16(ip + IP_AT_TOTAL);
	if (total > bytes.len || header_len < TCP_BYTES || total < IP_BYTES + header_len) {
		return false;
	}
	*out = (struct packet){
	        .source = get32(ip + IP_AT_SOURCE),
	        .target = get32(ip + IP_AT_TARGET),
	        .source_port = get16(tcp + TCP_AT_SOURCE),
	        .target_port = get16(tcp + TCP_AT_TARGET),
	        .seq = get32(tcp + TCP_AT_SEQ),
	        .ack = get32(tcp + TCP_AT_ACK),
	        .flags = tcp[TCP_AT_FLAGS],
	        .text = span_of(tcp + header_len, total - IP_BYTES - header_len),
	};
	return true;
}

static bool is_same(const struct packet *a, const struct packet *b)
{
	return a->source == b->source && a->target == b->target &&
	       a->source_port == b->source_port && a->target_port == b->target_port &&
	       a->seq == b->seq && a->ack == b->ack && a->flags == b->flags &&
	       span_equal(a->text, b->text);
}

bool packet_self_check(void)
{
	static const struct packet PACKETS[] = {
	        {0x0a400001, 0x0aff0001, 1024, 8025, 0xfffffffe, 0, PACKET_SYN, {NULL, 0}},
	        {0x0a7fffff, 0x0aff0001, 65535, 25, 7, 0xffffffff, PACKET_ACK, {NULL, 0}},
	        {1, UINT32_MAX, 1, 1, 0, 0, PACKET_RST | PACKET_ACK, {NULL, 0}},
	        {5, 6, 7, 8, 9, 10, PACKET_ACK | PACKET_PSH, SPAN("HELO x\r\n")},
	        {5, 6, 7, 8, 9, 10, PACKET_ACK | PACKET_PSH | PACKET_FIN, SPAN("odd")},
	};
	/* the example of RFC 1071, section 3, sums up to ddf2 */
	static const uint8_t EXAMPLE[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	bool is_right = fold(add_up(0, EXAMPLE, sizeof EXAMPLE)) == (uint16_t)~0xddf2;
	for (size_t i = 0; i < ARRAY_LEN(PACKETS); i++) {
		uint8_t bytes[PACKET_MAX];
		struct packet back;
		size_t len = packet_build(&PACKETS[i], bytes);
		is_right = is_right && packet_parse(span_of(bytes, len), &back) &&
		           is_same(&PACKETS[i], &back) &&
		           !packet_parse(span_of(bytes, len - 1), &back) &&
		           fold(add_up(0, bytes, IP_BYTES)) == 0 &&
		           tcp_sum(bytes, len - IP_BYTES) == 0;
	}
	return is_right;
}
