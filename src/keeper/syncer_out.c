/* What began here leaves for the peers: rows of the journal become blocks by a table. A turn goes
 * these steps, and a crash between any two of them loses plain blocks at most and repeats own ones
 * at most, never the other way round:
 *
 *   read rows behind the cursor -> send own blocks, packed; keep plain ones -> the keeper stores
 *   the cursor (OUT_WAITING) -> send the plain ones
 *
 * Rows of which nobody is told move the cursor in memory; it is stored now and then. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "keeper/syncer_impl.h"

// clang-format off
static const struct change_row {
	uint8_t record_kind; /* enum record_kind */
	uint8_t origin;      /* enum change_origin */
	bool is_deleted;
	uint8_t type_v4; /* enum wire_type */
	uint8_t type_v6;
	uint8_t wire_kind;
} change_rows[] = {
	{RECORD_GREY, ORIGIN_ATTEMPT, false, WIRE_GREY, WIRE_GREY6, 0},
	{RECORD_WHITE, ORIGIN_PROMOTION, false, WIRE_PROMOTE, WIRE_PROMOTE, 0},
	{RECORD_TRAPPED, ORIGIN_TRAP, false, WIRE_TRAPPED, WIRE_TRAPPED6, 0},
	{RECORD_WHITE, ORIGIN_MANUAL, false, WIRE_MANUAL, WIRE_MANUAL, WIRE_KIND_WHITE},
	{RECORD_TRAPPED, ORIGIN_MANUAL, false, WIRE_MANUAL, WIRE_MANUAL, WIRE_KIND_TRAPPED},
	{RECORD_TRAP_ADDRESS, ORIGIN_MANUAL, false, WIRE_MANUAL, WIRE_MANUAL, WIRE_KIND_SPAMTRAP},
	{RECORD_WHITE, ORIGIN_MANUAL, true, WIRE_DELETE, WIRE_DELETE, WIRE_KIND_WHITE},
	{RECORD_TRAPPED, ORIGIN_MANUAL, true, WIRE_DELETE, WIRE_DELETE, WIRE_KIND_TRAPPED},
	{RECORD_TRAP_ADDRESS, ORIGIN_MANUAL, true, WIRE_DELETE, WIRE_DELETE, WIRE_KIND_SPAMTRAP},
};
// clang-format on

static const struct change_row *row_of(const struct journal_change *change)
{
	for (size_t i = 0; i < ARRAY_LEN(change_rows); i++) {
		const struct change_row *row = &change_rows[i];
		if (row->record_kind == change->kind && row->origin == change->origin &&
		    row->is_deleted == change->is_deleted) {
			return row;
		}
	}
	return NULL;
}

/* --- where the journal stands ----------------------------------------------------------------- */

/* The first start begins at the journal's end: what was there before is for a merge. */
int syncer_out_init(struct syncer *syncer)
{
	struct syncer_out *out = &syncer->out;
	uint64_t last = store_journal_last(syncer->reader);
	int ret = store_reader_cursor(syncer->reader, SYNCER_CURSOR, &out->saved);
	if (ret < 0) {
		return ret;
	}
	bool is_known = ret == 1 && out->saved <= last;
	out->cursor = is_known ? out->saved : last;
	out->state = is_known ? OUT_READING : OUT_POSTING;
	out->next = out->cursor;
	out->sender =
	        (struct sync_sender){.setup = syncer->env.setup, .socket = syncer->env.socket};
	wire_begin(&out->own);
	syncer_publish_cursor(syncer);
	return 0;
}

static void on_lost(struct syncer *syncer)
{
	struct syncer_out *out = &syncer->out;
	uint64_t last = store_journal_last(syncer->reader);
	log_error("sync: the journal no longer reaches back to change %llu, the last that was "
	          "sent; what came up to %llu is not told to peers: merge this host's export into "
	          "theirs (miredb import --merge)",
	          (unsigned long long)out->cursor, (unsigned long long)last);
	syncer_count(syncer, &syncer->figures.n_lost);
	out->cursor = last;
	out->next = last;
	out->state = OUT_POSTING;
}

static void on_failure(struct syncer *syncer, const char *what, int ret)
{
	struct syncer_out *out = &syncer->out;
	if (!out->is_failing) {
		log_error("sync: %s: %s; tried again each second", what, err_text(ret));
	}
	out->is_failing = true;
	out->state = OUT_READING;
	out->n_plain = 0;
	out->read_at = mono_add_ms(clock_mono(), SYNCER_RETRY_MS);
}

/* --- sending ---------------------------------------------------------------------------------- */

static void send_packet(struct syncer *syncer, struct wire_packet *packet,
                        const uint32_t blocks[static SYNCER_TYPES_MAX])
{
	struct sync_sender *sender = &syncer->out.sender;
	bool failed[CONF_SYNC_PEERS_MAX] = {false};
	uint64_t n_sent = sender->n_datagrams;
	uint64_t n_failed = sender->n_failures;
	sync_send(sender, packet, failed);
	for (size_t i = 0; i < syncer->env.setup->n_peers; i++) {
		n_failed += failed[i];
	}
	syncer_peers_sent(syncer, blocks, failed, sender->n_failures > n_failed);
	counters_add(&syncer->counters, COUNTER_sync_sent, sender->n_datagrams - n_sent);
}

static void send_own(struct syncer *syncer)
{
	struct syncer_out *out = &syncer->out;
	if (out->own.len > WIRE_HEADER_BYTES) {
		send_packet(syncer, &out->own, out->own_blocks);
	}
	wire_begin(&out->own);
	memset(out->own_blocks, 0, sizeof out->own_blocks);
}

static void send_plain(struct syncer *syncer)
{
	struct syncer_out *out = &syncer->out;
	for (size_t i = 0; i < out->n_plain; i++) {
		uint32_t blocks[SYNCER_TYPES_MAX] = {0};
		blocks[syncer_type_index(out->plain_types[i])] = 1;
		send_packet(syncer, &out->plain[i], blocks);
	}
	out->n_plain = 0;
}

/* --- rows to blocks --------------------------------------------------------------------------- */

/* Of a host's register the peers are told what it is by now: its stamp may be later than the row,
 * to win over what was there (store_write.c), and so must it at the peers. Of an attempt its own
 * time counts. */
static void take_stored(const struct journal_change *change, const struct store_row *stored,
                        struct wire_block *block)
{
	if (change->kind != RECORD_GREY) {
		block->at = stored->record.changed_at;
	}
	if (block->expire.secs != 0) {
		block->expire = stored->record.expire;
	}
	block->sender = stored->text.sender;
	block->recipient = stored->text.recipient;
	block->helo = stored->text.helo;
}

/* 1, 0 when there is nothing to tell any more, or a code of the store. The row of a host that has
 * ended or was undone since says what it was then, with its own time: that loses at the peers
 * against whatever undid it, which has a later stamp. */
static int make_block(struct syncer *syncer, const struct journal_change *change,
                      const struct change_row *row, struct wire_block *block)
{
	bool has_addr = change->kind != RECORD_TRAP_ADDRESS;
	bool has_end = change->kind == RECORD_WHITE || change->kind == RECORD_TRAPPED;
	struct store_row stored;
	*block = (struct wire_block){.kind = row->wire_kind, .at = change->at};
	block->type = addr_is_v4(&change->addr) ? row->type_v4 : row->type_v6;
	if (has_addr) {
		block->addr = change->addr;
	}
	if (has_end && !change->is_deleted) {
		block->expire = change->expire;
	}
	int ret = store_reader_changed(syncer->reader, change, syncer->out.texts, &stored);
	if (ret > 0) {
		take_stored(change, &stored, block);
	}
	return ret == 0 && has_end ? 1 : ret;
}

static void on_unsendable(struct syncer *syncer, const struct journal_change *change, int ret)
{
	struct syncer_out *out = &syncer->out;
	struct mono now = clock_mono();
	char text[ADDR_TEXT_MAX];
	syncer_count(syncer, &syncer->figures.n_too_long);
	if (now.ns >= out->log_too_long_at.ns) {
		out->log_too_long_at = mono_add_ms(now, SYNCER_LOG_AGAIN_MS);
		log_warning("sync: a tuple of %s fits no datagram: %s; peers are not told of it; "
		            "said once a minute at most",
		            addr_format(&change->addr, text), err_text(ret));
	}
}

static int add_own(struct syncer *syncer, const struct wire_block *block)
{
	struct syncer_out *out = &syncer->out;
	int ret = wire_add(&out->own, block);
	if (ret == ERR_FULL) {
		send_own(syncer);
		ret = wire_add(&out->own, block);
	}
	out->own_blocks[syncer_type_index(block->type)] += ret == 0;
	return ret;
}

static int add_plain(struct syncer_out *out, const struct wire_block *block)
{
	wire_begin(&out->plain[out->n_plain]);
	int ret = wire_add(&out->plain[out->n_plain], block);
	if (ret == 0) {
		out->plain_types[out->n_plain++] = block->type;
	}
	return ret;
}

static void log_trap(const struct journal_change *change)
{
	char ip[ADDR_TEXT_MAX];
	if (change->kind == RECORD_TRAPPED && !change->is_deleted &&
	    log_takes(LOG_EVENT_sync_trap)) {
		const struct log_fields fields = {.client = addr_format(&change->addr, ip),
		                                  .verdict = "TRAPPED"};
		log_event(LOG_EVENT_sync_trap, &fields, "sync_trap %s", ip);
	}
}

/* 0 or a code of the store. */
static int add_change(struct syncer *syncer, const struct journal_change *change)
{
	const struct change_row *row = row_of(change);
	struct wire_block block;
	int ret = row ? make_block(syncer, change, row, &block) : 0;
	if (ret <= 0) {
		return ret;
	}
	ret = wire_is_own(block.type) ? add_own(syncer, &block) : add_plain(&syncer->out, &block);
	if (ret != 0) {
		on_unsendable(syncer, change, ret);
	} else {
		log_trap(change);
	}
	return 0;
}

/* --- turns ------------------------------------------------------------------------------------ */

/* Whether something is to leave, so that the cursor must be stored first. */
static bool must_save(const struct syncer_out *out, bool has_own)
{
	return has_own || out->n_plain > 0 || out->next - out->saved >= SYNCER_UNSAVED_MAX;
}

static int send_changes(struct syncer *syncer, int n)
{
	struct syncer_out *out = &syncer->out;
	uint32_t n_before = out->sender.counter;
	for (int i = 0; i < n; i++) {
		int ret = add_change(syncer, &out->changes[i]);
		if (ret < 0) {
			return ret;
		}
	}
	send_own(syncer);
	out->next = out->changes[n - 1].seq;
	if (must_save(out, out->sender.counter != n_before)) {
		out->state = OUT_POSTING;
	} else {
		out->cursor = out->next;
	}
	return 0;
}

/* True when there may be more to do at once. */
static bool read_changes(struct syncer *syncer)
{
	struct syncer_out *out = &syncer->out;
	int n = store_journal_read(syncer->reader, out->cursor, out->changes, SYNCER_CHANGES_MAX);
	if (n == ERR_NOT_FOUND) {
		on_lost(syncer);
		return true;
	}
	int ret = n > 0 ? send_changes(syncer, n) : n;
	if (ret < 0) {
		on_failure(syncer, "the journal cannot be read", ret);
		return false;
	}
	out->is_failing = false;
	return n > 0;
}

static void post_cursor(struct syncer *syncer)
{
	struct change change = {.kind = CHANGE_CURSOR, .seq = syncer->out.next};
	if (syncer_post(syncer, &change, SYNCER_COOKIE_CURSOR)) {
		syncer->out.state = OUT_WAITING;
	}
}

void syncer_out_saved(struct syncer *syncer, int ret)
{
	struct syncer_out *out = &syncer->out;
	if (ret != 0) {
		on_failure(syncer, "the cursor cannot be stored", ret);
		return;
	}
	out->cursor = out->next;
	out->saved = out->next;
	out->state = OUT_READING;
	send_plain(syncer);
}

void syncer_out_turn(struct syncer *syncer)
{
	struct syncer_out *out = &syncer->out;
	bool goes_on = clock_mono().ns >= out->read_at.ns;
	while (goes_on && out->state == OUT_READING) {
		goes_on = read_changes(syncer);
	}
	if (out->state == OUT_POSTING) {
		post_cursor(syncer);
	}
	syncer_publish_cursor(syncer);
}
