/* What the feeder sends in a turn: a slice of a complete copy if the role asked for one, or the
 * ranges where it does not have them, then what is in `reasserts`, then the journal behind the
 * cursor. A decision therefore waits for one slice, not for the copy. The order matters: what a
 * slice or a re-assertion says of a host is read when it is sent, so a change committed later is
 * behind the cursor and goes out later. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "keeper/feeder_impl.h"
#include "keeper/keeper.h"

enum {
	REASSERTS_MAX = 1000, /* sent before the journal's turn */
	/* reads of the journal before the next slice of a copy: a copy ends under any load */
	FILL_READS_MAX = 16,
	BACKSTOP_SECS = 3600, /* the kernel keeps an element longer than the store its host */
	ELEMENT_WHITE = 0,    /* enum fw_set's numbers, see struct msg_element */
	ELEMENT_GREYTRAP = 1,
};

/* --- gathering elements ----------------------------------------------------------------------- */

static void out_begin(struct feeder *feeder, enum msg_type type)
{
	feeder->out.type = type;
	feeder->out.n_elements = 0;
	feeder->out.fd = -1;
}

/* Sends what was gathered and begins anew. The sequence number says how far the journal is covered.
 */
static int out_flush(struct feeder *feeder)
{
	if (feeder->out.n_elements == 0) {
		return 0;
	}
	feeder->out.seq = feeder->cursor;
	int ret = feeder_wait_send(feeder);
	if (ret == 0 && feeder->out.type == MSG_CHANGES) {
		feeder->n_sent = feeder->cursor;
		counters_add(&feeder->counters, COUNTER_fw_changes_sent, feeder->out.n_elements);
	} else if (feeder->out.type == MSG_CHANGES) {
		feeder_want_fill(
		        feeder,
		        FEEDER_RETRY_MS); /* these are lost, and the cursor is behind them */
	}
	feeder->out.n_elements = 0;
	return ret;
}

static int out_add(struct feeder *feeder, const struct msg_element *element)
{
	feeder->out.elements[feeder->out.n_elements++] = *element;
	return feeder->out.n_elements == MSG_ELEMENTS_MAX ? out_flush(feeder) : 0;
}

static int64_t life_now_secs(const struct feeder *feeder)
{
	/* relaxed: a turn's delay of this clock is nothing against the backstop */
	return feeder->env.life_now_secs
	               ? atomic_load_explicit(feeder->env.life_now_secs, memory_order_relaxed)
	               : clock_wall().secs;
}

/* The element of a host that lives until `expire`; false when it lives no more, or is of a kind the
 * kernel does not know. */
static bool live_element(const struct feeder *feeder, unsigned kind, struct wall expire,
                         struct msg_element *out)
{
	int64_t left_secs = expire.secs - life_now_secs(feeder);
	if ((kind != RECORD_WHITE && kind != RECORD_TRAPPED) || left_secs <= 0) {
		return false;
	}
	int64_t timeout = left_secs + BACKSTOP_SECS;
	out->timeout_secs = timeout > UINT32_MAX ? UINT32_MAX : (uint32_t)timeout;
	out->set = kind == RECORD_WHITE ? ELEMENT_WHITE : ELEMENT_GREYTRAP;
	out->is_deleted = false;
	return true;
}

/* --- complete copy ---------------------------------------------------------------------------- */

static int fill_rows(struct feeder *feeder, const struct store_row *rows, int n)
{
	int ret = 0;
	for (int i = 0; i < n && ret == 0; i++) {
		struct msg_element element = {.addr = rows[i].key.addr};
		if (live_element(feeder, rows[i].kind, rows[i].record.expire, &element)) {
			ret = out_add(feeder, &element);
		}
	}
	return ret;
}

void feeder_end_fill(struct feeder *feeder)
{
	store_walk_free(feeder->walk);
	feeder->walk = NULL;
}

static int send_mark(struct feeder *feeder, enum msg_type type)
{
	out_begin(feeder, type);
	feeder->out.seq = feeder->cursor;
	return feeder_wait_send(feeder);
}

/* What was committed since the copy was wanted is sent again behind the slices that may have seen
 * it, which changes nothing where they have. */
static int begin_fill(struct feeder *feeder)
{
	feeder->must_fill = false; /* a role that asks again meanwhile gets another one */
	feeder->cursor = feeder->fill_from;
	feeder->walk = store_walk_new(feeder->reader, STORE_WALK_HOSTS, NULL, NULL);
	return feeder->walk ? send_mark(feeder, MSG_FILL_BEGIN) : -ENOMEM;
}

static int finish_fill(struct feeder *feeder)
{
	feeder_end_fill(feeder);
	int ret = send_mark(feeder, MSG_FILL_END);
	if (ret == 0) {
		feeder->n_sent = feeder->cursor;
		feeder->has_copy = !feeder->must_fill;
		counters_add(&feeder->counters, COUNTER_fw_fills, 1);
	}
	return ret;
}

/* The next slice, or the end. Slices are copies: no transaction of the store is open while the
 * channel blocks. */
static int send_slice(struct feeder *feeder)
{
	const struct store_row *rows = NULL;
	int n = store_walk_next(feeder->walk, &rows, NULL);
	if (n <= 0) {
		return n < 0 ? n : finish_fill(feeder);
	}
	out_begin(feeder, MSG_FILL);
	int ret = fill_rows(feeder, rows, n);
	return ret ? ret : out_flush(feeder);
}

/* What fails begins anew later. */
static int fill(struct feeder *feeder)
{
	int ret = 0;
	if (feeder->must_fill) {
		feeder_end_fill(feeder);
		ret = begin_fill(feeder);
	}
	if (ret == 0 && feeder->walk) {
		ret = send_slice(feeder);
	}
	if (ret != 0) {
		feeder_end_fill(feeder);
		feeder_want_fill(feeder, FEEDER_RETRY_MS);
	}
	return ret;
}

/* --- ranges ----------------------------------------------------------------------------------- */

static int send_piece(struct feeder *feeder, size_t from)
{
	size_t left = feeder->n_ranges - from;
	out_begin(feeder, MSG_RANGES);
	feeder->out.n_ranges = (uint16_t)(left < MSG_RANGES_MAX ? left : MSG_RANGES_MAX);
	memcpy(feeder->out.ranges, feeder->ranges + from,
	       feeder->out.n_ranges * sizeof feeder->ranges[0]);
	return feeder_wait_send(feeder);
}

/* The role applies nothing before the end of them, and begins anew when they do. */
static int send_ranges(struct feeder *feeder)
{
	if (!feeder->must_send_ranges || feeder->walk) {
		return 0;
	}
	int ret = send_mark(feeder, MSG_RANGES_BEGIN);
	for (size_t at = 0; at < feeder->n_ranges && ret == 0; at += MSG_RANGES_MAX) {
		ret = send_piece(feeder, at);
	}
	ret = ret ? ret : send_mark(feeder, MSG_RANGES_END);
	feeder->must_send_ranges = ret != 0;
	return ret;
}

/* --- changes ---------------------------------------------------------------------------------- */

static int send_reassert(struct feeder *feeder, const struct addr *addr)
{
	struct msg_element element = {.addr = *addr};
	struct grey_record record;
	int ret = store_reader_host(feeder->reader, addr, RECORD_WHITE, &record);
	if (ret <= 0 || !live_element(feeder, RECORD_WHITE, record.expire, &element)) {
		return ret < 0 ? ret : 0;
	}
	return out_add(feeder, &element);
}

/* One whose host cannot be read is dropped: a host that stays unreadable must not hold up the
 * journal, and the keeper asks again. */
static int send_reasserts(struct feeder *feeder)
{
	size_t len = 0;
	int ret = 0;
	const struct keeper_reassert *reassert = mailbox_peek(feeder->env.reasserts, &len);
	for (int i = 0; i < REASSERTS_MAX && reassert && ret == 0; i++) {
		ret = send_reassert(feeder, &reassert->addr);
		mailbox_release(feeder->env.reasserts);
		reassert = mailbox_peek(feeder->env.reasserts, &len);
	}
	int flushed = out_flush(feeder); /* nothing is left to send where out_add failed */
	return flushed ? flushed : ret;
}

static bool is_host(const struct journal_change *change)
{
	return change->kind == RECORD_WHITE || change->kind == RECORD_TRAPPED;
}

static int send_change(struct feeder *feeder, const struct journal_change *change)
{
	struct msg_element element = {.addr = change->addr};
	feeder->cursor = change->seq;
	if (live_element(feeder, change->kind, change->expire, &element)) {
		element.is_deleted = change->is_deleted;
		return out_add(feeder, &element);
	}
	if (!is_host(change) || !change->is_deleted) {
		return 0; /* tuples; hosts whose life ended: the kernel's timeout ends them too */
	}
	element.set = change->kind == RECORD_WHITE ? ELEMENT_WHITE : ELEMENT_GREYTRAP;
	element.is_deleted = true;
	return out_add(feeder, &element);
}

static int send_changes(struct feeder *feeder, int n)
{
	int ret = 0;
	for (int i = 0; i < n && ret == 0; i++) {
		ret = send_change(feeder, &feeder->changes[i]);
	}
	return ret;
}

/* When the oldest change was committed that has not been read yet. */
static struct mono take_commit(struct feeder *feeder)
{
	int64_t ns = 0;
	if (feeder->env.committed_ns) {
		/* relaxed: a time for figures; partner in keeper_commit */
		ns = atomic_exchange_explicit(feeder->env.committed_ns, 0, memory_order_relaxed);
	}
	return ns > 0 ? (struct mono){ns} : clock_mono();
}

/* Changes that came before the kernel had a complete copy would tell how long that took. */
static void time_changes(struct feeder *feeder, int n, struct mono since)
{
	bool has_host = false;
	for (int i = 0; i < n; i++) {
		has_host |= is_host(&feeder->changes[i]);
	}
	if (has_host && feeder->has_done) {
		stopwatch_start(&feeder->stopwatch, feeder->changes[n - 1].seq, since);
	}
}

/* Whether the journal is read on in this turn. */
static bool goes_on(const struct feeder *feeder, int n_reads)
{
	return !feeder->must_fill && !feeder_must_stop(feeder) &&
	       !(feeder->walk && n_reads >= FILL_READS_MAX);
}

/* Everything behind the cursor, in the journal's order: a deletion and a later return of the same
 * host arrive as they happened. */
static int send_journal(struct feeder *feeder)
{
	int n = 0;
	int n_reads = 0;
	int ret = 0;
	do {
		struct mono since = take_commit(feeder);
		n = store_journal_read(feeder->reader, feeder->cursor, feeder->changes,
		                       FEEDER_CHANGES_MAX);
		time_changes(feeder, n, since);
		ret = send_changes(feeder, n);
		if (ret != 0) {
			return ret;
		}
		n_reads++;
	} while (n > 0 && goes_on(feeder, n_reads));
	ret = out_flush(feeder);
	if (n == ERR_NOT_FOUND) {
		log_warning("firewall: the journal no longer reaches back to change %llu: a "
		            "complete copy follows",
		            (unsigned long long)feeder->cursor);
		counters_add(&feeder->counters, COUNTER_fw_feed_behind, 1);
		feeder->has_done = false; /* what was done is no place to begin from */
		feeder_want_fill(feeder, 0);
		return ret;
	}
	return ret ? ret : n < 0 ? n : 0;
}

void feeder_forget_reasserts(struct feeder *feeder)
{
	size_t len = 0;
	while (mailbox_peek(feeder->env.reasserts, &len)) {
		mailbox_release(feeder->env.reasserts);
	}
}

int feeder_send_all(struct feeder *feeder)
{
	if (feeder->must_fill && clock_mono().ns < feeder->fill_at.ns) {
		return 0;
	}
	int ret = fill(feeder);
	ret = ret ? ret : send_ranges(feeder);
	out_begin(feeder, MSG_CHANGES);
	ret = ret ? ret : send_reasserts(feeder);
	ret = ret ? ret : send_journal(feeder);
	return ret;
}
