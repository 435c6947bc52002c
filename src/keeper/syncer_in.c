/* What peers tell: datagrams are read, their blocks checked against the clock and turned into
 * changes for the keeper. A block for which the keeper has no room waits, and then the socket is
 * not read: the kernel keeps what fits its buffer and drops the rest, unseen by mired.
 *
 * Nothing is learnt from a block
 *   whose datagram has a fault before it (wire_decode; counted by reason),
 *   whose time is too far from ours (SKEW),
 *   that is about what it cannot mean (KIND),
 *   for which there was no room for SYNCER_FULL_MS (FULL). */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "keeper/knowledge.h"
#include "keeper/syncer_impl.h"
#include "policy/trap.h"
#include "store/dump.h"

enum { IPV6_BITS = 128 };

/* --- what a block says ------------------------------------------------------------------------ */

enum meaning { MEANS_ATTEMPT, MEANS_HOST, MEANS_DELETE, MEANS_MANUAL };

/* Which addresses a block can be about. */
enum families { FAMILY_V4, FAMILY_V6, FAMILY_ANY };

static const struct block_row {
	uint8_t type; /* enum wire_type */
	enum meaning meaning;
	enum families families;
	enum record_kind record_kind; /* 0: the block's own kind says */
} block_rows[] = {
        {WIRE_GREY, MEANS_ATTEMPT, FAMILY_V4, RECORD_GREY},
        {WIRE_WHITE, MEANS_HOST, FAMILY_V4, RECORD_WHITE},
        {WIRE_TRAPPED, MEANS_HOST, FAMILY_V4, RECORD_TRAPPED},
        {WIRE_DELETE_WHITE, MEANS_DELETE, FAMILY_V4, RECORD_WHITE},
        {WIRE_DELETE_TRAPPED, MEANS_DELETE, FAMILY_V4, RECORD_TRAPPED},
        {WIRE_GREY6, MEANS_ATTEMPT, FAMILY_V6, RECORD_GREY},
        {WIRE_WHITE6, MEANS_HOST, FAMILY_V6, RECORD_WHITE},
        {WIRE_TRAPPED6, MEANS_HOST, FAMILY_V6, RECORD_TRAPPED},
        {WIRE_PROMOTE, MEANS_HOST, FAMILY_ANY, RECORD_WHITE},
        {WIRE_DELETE, MEANS_DELETE, FAMILY_ANY, (enum record_kind)0},
        {WIRE_MANUAL, MEANS_MANUAL, FAMILY_ANY, (enum record_kind)0},
};

static const struct block_row *row_of(uint8_t type)
{
	for (size_t i = 0; i < ARRAY_LEN(block_rows); i++) {
		if (block_rows[i].type == type) {
			return &block_rows[i];
		}
	}
	return NULL;
}

static const struct {
	uint8_t wire;
	enum record_kind record;
} kinds[] = {
        {WIRE_KIND_WHITE, RECORD_WHITE},
        {WIRE_KIND_TRAPPED, RECORD_TRAPPED},
        {WIRE_KIND_SPAMTRAP, RECORD_TRAP_ADDRESS},
};

static bool kind_of(const struct wire_block *block, const struct block_row *row,
                    enum record_kind *out)
{
	if (row->record_kind != 0) {
		*out = row->record_kind;
		return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (kinds[i].wire == block->kind) {
			*out = kinds[i].record;
			return true;
		}
	}
	return false;
}

/* greyd sends 255.255.255.255 for IPv6 clients; nobody connects from the others. */
static bool can_be_host(const struct addr *addr, enum families families)
{
	static const struct addr unspecified = {{0}};
	bool is_v4 = addr_is_v4(addr);
	if (families != FAMILY_ANY && is_v4 != (families == FAMILY_V4)) {
		return false;
	}
	if (is_v4) {
		uint32_t v4 = ntohl(addr_v4_be(addr));
		return v4 != 0 && v4 < 0xE0000000U; /* multicast and above */
	}
	return !addr_equal(addr, &unspecified) && addr->bytes[0] != 0xFF;
}

static bool is_in_time(const struct syncer *syncer, const struct wire_block *block)
{
	const struct conf *conf = syncer->env.conf;
	int64_t ahead_secs = block->at.secs - syncer_now(syncer).secs;
	int64_t behind_max = wire_is_own(block->type) ? conf->sync_skew_secs : conf->greyexp_secs;
	return ahead_secs <= conf->sync_skew_secs && -ahead_secs <= behind_max;
}

/* A mailbox as dumps have it, or the host itself. */
static bool names_thing(const struct wire_block *block, const struct block_row *row,
                        struct change *change)
{
	if (change->record_kind != RECORD_TRAP_ADDRESS) {
		change->has_addr = true;
		change->addr = block->addr;
		return can_be_host(&block->addr, row->families);
	}
	uint8_t buf[TRAP_ADDRESS_MAX];
	struct span normal = trap_address_normalise(block->recipient, buf);
	change->text.recipient = block->recipient;
	return dump_can_be_spamtrap(block->recipient) && span_equal(normal, block->recipient);
}

/* Tuples go by the group, so a block of an IPv6 tuple names no host that could be trapped. */
static bool names_group_only(const struct syncer *syncer, const struct addr *addr)
{
	struct addr group = addr_group(addr, syncer->env.conf->ipv6_prefix);
	return !addr_is_v4(addr) && syncer->env.conf->ipv6_prefix < IPV6_BITS &&
	       addr_equal(addr, &group);
}

/* False: a hit of an unknown one of many hosts, which neither traps nor is an attempt that counts.
 */
static bool mean_attempt(const struct syncer *syncer, const struct wire_block *block,
                         struct change *change)
{
	const struct knowledge *knowledge = syncer->env.knowledge;
	change->text = (struct tuple_text){
	        .helo = block->helo, .sender = block->sender, .recipient = block->recipient};
	bool is_trap = knowledge && knowledge_is_trap(knowledge, block->recipient);
	change->kind = is_trap ? CHANGE_TRAP_HIT : CHANGE_PEER_GREY;
	change->is_peers = true;
	return !is_trap || !names_group_only(syncer, &block->addr);
}

/* False: it means nothing. Texts of *out are those of the block. */
static bool change_of(const struct syncer *syncer, const struct wire_block *block,
                      struct change *out)
{
	static const enum change_kind of[] = {
	        [MEANS_HOST] = CHANGE_PEER_HOST,
	        [MEANS_DELETE] = CHANGE_PEER_DELETE,
	        [MEANS_MANUAL] = CHANGE_PEER_MANUAL,
	};
	const struct block_row *row = row_of(block->type);
	*out = (struct change){.record = {.changed_at = block->at, .expire = block->expire}};
	if (!row || !kind_of(block, row, &out->record_kind) || !names_thing(block, row, out)) {
		return false;
	}
	if (row->meaning == MEANS_ATTEMPT) {
		return mean_attempt(syncer, block, out);
	}
	out->kind = of[row->meaning];
	out->is_peers = true;
	out->peer_be = syncer->in.addr_be;
	if (block->type == WIRE_PROMOTE) {
		out->record.pass = block->at;
	}
	return true;
}

/* --- handing on ------------------------------------------------------------------------------- */

/* True when the block is dealt with: handed on or refused. */
static bool wait_for_room(struct syncer *syncer)
{
	struct syncer_in *in = &syncer->in;
	struct mono now = clock_mono();
	if (!in->is_full) {
		in->is_full = true;
		in->full_since = now;
	}
	if (mono_diff_ms(now, in->full_since) < SYNCER_FULL_MS) {
		return false;
	}
	syncer_peer_refused(syncer, in->peer, in->addr_be, SYNCER_REFUSED_FULL);
	return true;
}

static bool hand_on(struct syncer *syncer, const struct wire_block *block)
{
	struct syncer_in *in = &syncer->in;
	struct change change;
	if (!is_in_time(syncer, block)) {
		syncer_peer_refused(syncer, in->peer, in->addr_be, SYNCER_REFUSED_SKEW);
		return true;
	}
	if (!change_of(syncer, block, &change)) {
		syncer_peer_refused(syncer, in->peer, in->addr_be, SYNCER_REFUSED_KIND);
		return true;
	}
	if (!syncer_post(syncer, &change, SYNCER_COOKIE_PEERS)) {
		return wait_for_room(syncer);
	}
	in->is_full = false;
	syncer_peer_took(syncer, in->peer, block->type);
	return true;
}

/* False: the rest waits. */
static bool hand_blocks_on(struct syncer *syncer)
{
	struct syncer_in *in = &syncer->in;
	while (in->block < in->n_blocks) {
		if (!hand_on(syncer, &in->blocks[in->block])) {
			return false;
		}
		in->block++;
	}
	return true;
}

bool syncer_in_has_room(const struct syncer *syncer)
{
	return !syncer->in.is_full;
}

/* --- datagrams -------------------------------------------------------------------------------- */

void syncer_in_init(struct syncer *syncer)
{
	struct syncer_in *in = &syncer->in;
	for (size_t i = 0; i < SYNCER_DATAGRAMS_MAX; i++) {
		in->vectors[i] = (struct iovec){in->bytes[i], WIRE_BYTES_MAX};
		in->messages[i].msg_hdr = (struct msghdr){
		        .msg_name = &in->from[i], .msg_iov = &in->vectors[i], .msg_iovlen = 1};
	}
}

/* False when none is there. */
static bool receive(struct syncer *syncer)
{
	struct syncer_in *in = &syncer->in;
	for (size_t i = 0; i < SYNCER_DATAGRAMS_MAX; i++) {
		in->messages[i].msg_hdr.msg_namelen = sizeof in->from[i];
	}
	int n = recvmmsg(syncer->env.socket, in->messages, SYNCER_DATAGRAMS_MAX, MSG_DONTWAIT,
	                 NULL);
	in->datagram = 0;
	in->n_datagrams = n > 0 ? (size_t)n : 0;
	return n > 0;
}

/* Own datagrams to the group come back from the interface's address (spamd drops them, too). */
static bool is_own(const struct syncer *syncer, uint32_t addr_be)
{
	uint32_t interface_be = syncer->env.setup->interface_be;
	return interface_be != 0 && addr_be == interface_be;
}

static void read_datagram(struct syncer *syncer)
{
	struct syncer_in *in = &syncer->in;
	size_t i = in->datagram++;
	in->addr_be = in->from[i].sin_addr.s_addr;
	in->block = 0;
	in->n_blocks = 0;
	if (is_own(syncer, in->addr_be)) {
		return;
	}
	enum wire_drop drop = wire_decode(span_of(in->bytes[i], in->messages[i].msg_len),
	                                  &syncer->env.setup->key, in->blocks, &in->n_blocks);
	bool has_key = drop == WIRE_OK || drop > WIRE_DROP_MAC;
	in->peer = syncer_peer_of(syncer, in->addr_be, has_key);
	if (has_key) {
		syncer_peer_contact(syncer, in->peer);
	}
	if (drop != WIRE_OK) {
		syncer_peer_dropped(syncer, in->peer, in->addr_be, drop);
	}
}

/* False: the rest waits for room. */
static bool hand_all_on(struct syncer *syncer)
{
	struct syncer_in *in = &syncer->in;
	bool is_done = hand_blocks_on(syncer);
	while (is_done && in->datagram < in->n_datagrams) {
		read_datagram(syncer);
		is_done = hand_blocks_on(syncer);
	}
	return is_done;
}

void syncer_in_turn(struct syncer *syncer)
{
	bool goes_on = hand_all_on(syncer); /* what the last turn left */
	for (int i = 0; goes_on && i < SYNCER_RECEIVES_MAX; i++) {
		goes_on = receive(syncer) && hand_all_on(syncer);
	}
}
