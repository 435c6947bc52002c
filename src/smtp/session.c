/* The course of a conversation: what is sent when, when patience ends, when input is looked for,
 * and how the connection closes. How long a byte takes is in session_pace.c. What is said is
 * decided in cmd.c and dialogue.c.
 *
 * At its due time a session is in one of these positions:
 *
 *   not looked up yet       hold; after store-wait it is grey                          wake_held
 *   something to say        one byte, or the rest once the stutter is over; the last   wake_saying
 *                           byte of a deferral waits for the store
 *   waiting for the client  look for input, more and more rarely, until it times out   wake_waiting
 *   final reply is out      shut the write side                                        wake_ended
 *   write side is shut      discard until EOF, a size or a time                        wake_closing
 *   closed                  say so again                                               wake_closed
 */
#include "smtp/session.h"

#include <assert.h>
#include <string.h>

#include "smtp/cmd.h"
#include "smtp/dialogue.h"
#include "smtp/session_impl.h"
#include "smtp/text.h"

static_assert(sizeof(struct session) <= 40, "a session lives in its connection's cache line");
static_assert(REPLY_LISTED_MAX <= UINT16_MAX && REPLY_TEXT_MAX <= UINT16_MAX, "out_len");

/* --- saying ---------------------------------------------------------------------------------- */

static void say(struct session *session, const struct session_conf *conf, enum reply_id id,
                struct mono_ms now)
{
	session->last_reply = session->reply;
	session->reply = said_make(id, conf->texts_now);
	struct span text = said_text(conf, session->reply);
	session->out = text.ptr;
	session->out_len = (uint16_t)text.len;
	session->out_pos = 0;
	pace_end_after(session, conf, now);
	session->due = pace_bound(session, conf, mono_ms_add(now, pace_stutter_ms(session, conf)));
}

static void say_banner(struct session *session, const struct session_conf *conf, struct mono_ms now)
{
	say(session, conf, REPLY_BANNER, now);
	/* due by the time of accept, not of the look-up's answer */
	struct mono_ms first = pace_first_byte(session, conf);
	session->due = mono_ms_diff(first, now) > 0 ? first : now;
	session->sent_bytes = 0; /* stagger is used up */
}

/* What is still to be sent, without a break between two replies: the taken back end of the last
 * one goes alone. */
static struct span next_bytes(const struct session *session, const struct session_conf *conf)
{
	if (session->owed_bytes > 0) {
		struct span last = said_text(conf, session->last_reply);
		return span_skip(last, last.len - session->owed_bytes);
	}
	return span_of(session->out + session->out_pos,
	               (size_t)(session->out_len - session->out_pos));
}

static void reply_done(struct session *session, const struct session_conf *conf, struct mono_ms now)
{
	dialogue_event(session, DIALOGUE_SENT);
	if (!has_flag(session, FLAG_RETRIED)) {
		session->since = now;
	}
	pace_reset_looks(session, conf);
	bool is_ended = dialogue_states[session->state].speaker == DIALOGUE_SERVER;
	if (is_ended || has_flag(session, FLAG_EOF)) {
		/* not in the breath of the send: its failure may still be on the way */
		session->due = mono_ms_add(now, 1);
	} else {
		session->due = pace_next_look(session, conf, now);
	}
}

/* The owner may report a send as done before the kernel has said so, and take it back afterwards.
 * So a success counts only when nothing was taken back until the next wake. */
static void forget_block(struct session *session, struct mono_ms now)
{
	if (has_flag(session, FLAG_RETRIED)) {
		set_flag(session, FLAG_RETRIED, false);
		set_flag(session, FLAG_BLOCKED, false);
		session->since = now;
	}
}

static void write_blocked(struct session *session, const struct session_conf *conf,
                          struct mono_ms now)
{
	set_flag(session, FLAG_RETRIED, false);
	if (!has_flag(session, FLAG_BLOCKED)) {
		set_flag(session, FLAG_BLOCKED, true);
		session->since = now;
		pace_reset_looks(session, conf);
	}
	session->due = earlier(pace_next_look(session, conf, now),
	                       mono_ms_add(session->since, conf->write_timeout_ms));
}

void session_sent(struct session *session, const struct session_conf *conf, size_t n,
                  struct mono_ms now)
{
	size_t n_offered = next_bytes(session, conf).len;
	ASSERT(n <= n_offered);
	if (n == 0) {
		write_blocked(session, conf, now);
		return;
	}
	set_flag(session, FLAG_RETRIED, has_flag(session, FLAG_BLOCKED));
	session->sent_bytes += (uint32_t)n;
	if (session->owed_bytes > 0) {
		session->owed_bytes = (uint16_t)(session->owed_bytes - n);
	} else {
		session->out_pos = (uint16_t)(session->out_pos + n);
	}
	if (unsent_bytes(session) == 0) {
		reply_done(session, conf, now);
	} else if (pace_stutter_ms(session, conf) == 0 && n < n_offered) {
		write_blocked(session, conf, now);
	} else if (pace_stutter_ms(session, conf) == 0) {
		session->due = now; /* what was taken back is out, the reply after it follows */
	}
}

void session_unsent(struct session *session, const struct session_conf *conf, size_t n,
                    struct mono_ms now)
{
	if (session->state == DIALOGUE_CLOSING || session->state == DIALOGUE_CLOSED) {
		return; /* too late to say it again */
	}
	size_t n_here = n < session->out_pos ? n : session->out_pos;
	session->out_pos = (uint16_t)(session->out_pos - n_here);
	session->owed_bytes = (uint16_t)(session->owed_bytes + (n - n_here));
	session->sent_bytes -= (uint32_t)n;
	ASSERT(session->owed_bytes <= said_text(conf, session->last_reply).len);
	write_blocked(session, conf, now);
}

uint32_t session_sent_bytes(const struct session *session)
{
	bool is_said = session->state != DIALOGUE_HELD && session->state != DIALOGUE_CLOSING &&
	               session->state != DIALOGUE_CLOSED;
	return is_said ? session->sent_bytes : 0;
}

/* Bytes of the client still matter, if only to be discarded. */
static bool takes_input(const struct session *session)
{
	enum dialogue_speaker speaker = dialogue_states[session->state].speaker;
	bool is_ending = speaker == DIALOGUE_SERVER && session->state != DIALOGUE_BANNER;
	return !has_flag(session, FLAG_EOF) && !has_flag(session, FLAG_DEAD) &&
	       speaker != DIALOGUE_NOBODY && !is_ending;
}

/* --- waking ---------------------------------------------------------------------------------- */

static struct session_step step_of(enum session_step_kind kind)
{
	return (struct session_step){.kind = kind};
}

static struct session_step step_close(struct session *session, enum dialogue_event event,
                                      enum session_end why, struct mono_ms now)
{
	dialogue_event(session, event);
	session->due = now;
	return (struct session_step){.kind = SESSION_STEP_CLOSE, .why = why};
}

static struct session_step step_look(struct session *session, const struct session_conf *conf,
                                     uint32_t wait_ms, struct mono_ms now)
{
	session->due =
	        earlier(pace_next_look(session, conf, now), mono_ms_add(session->since, wait_ms));
	return (struct session_step){.kind = SESSION_STEP_LOOK, .read = true};
}

static struct session_step wake_held(struct session *session, const struct session_conf *conf,
                                     struct mono_ms now)
{
	if (is_over(now, session->since, conf->store_wait_ms)) {
		session->cls = SESSION_GREY;
		dialogue_event(session, DIALOGUE_STORE_TIMEOUT);
		say_banner(session, conf, now);
	} else {
		session->due = mono_ms_add(session->since, conf->store_wait_ms);
	}
	return step_of(SESSION_STEP_HOLD);
}

/* Whether the last byte of a deferral has to wait for its tuples. *is_unstored is set once, when it
 * has waited for store-wait in vain. */
static bool waits_for_store(struct session *session, const struct session_conf *conf,
                            struct mono_ms now, bool *is_unstored)
{
	if (session->state != DIALOGUE_DEFERRING || session->n_pending == 0 ||
	    has_flag(session, FLAG_UNSTORED)) {
		return false;
	}
	if (!has_flag(session, FLAG_STORE_WAIT)) {
		set_flag(session, FLAG_STORE_WAIT, true);
		session->since = now;
	}
	if (is_over(now, session->since, conf->store_wait_ms)) {
		set_flag(session, FLAG_UNSTORED, true);
		*is_unstored = true;
		return false;
	}
	session->due = mono_ms_add(session->since, conf->store_wait_ms);
	return true;
}

static struct session_step wake_saying(struct session *session, const struct session_conf *conf,
                                       struct mono_ms now)
{
	if (has_flag(session, FLAG_BLOCKED) &&
	    is_over(now, session->since, conf->write_timeout_ms)) {
		return step_close(session, DIALOGUE_WRITE_TIMEOUT, SESSION_END_WRITE_TIMEOUT, now);
	}
	pace_end_after(session, conf, session->due);
	uint32_t stutter = pace_stutter_ms(session, conf);
	struct session_step step = {.kind = SESSION_STEP_SEND, .bytes = next_bytes(session, conf)};
	if (stutter > 0) {
		step.bytes.len = 1;
	}
	bool is_last = step.bytes.len == unsent_bytes(session);
	if (is_last && waits_for_store(session, conf, now, &step.is_unstored)) {
		return step_of(SESSION_STEP_HOLD);
	}
	/* After a whole reply the next commands are read at the next look: a client that pipelines
	 * without end would set the pace otherwise. */
	struct mono_ms next = stutter > 0 ? pace_next_byte(session, conf, now)
	                                  : mono_ms_add(now, session->look_ms);
	step.read = stutter > 0 && pace_is_look_due(session, stutter, next) && takes_input(session);
	session->due = next;
	return step;
}

static struct session_step wake_waiting(struct session *session, const struct session_conf *conf,
                                        struct mono_ms now)
{
	bool has_line = has_flag(session, FLAG_HAS_LINE);
	if (has_flag(session, FLAG_EOF) && !has_line) {
		return step_close(session, DIALOGUE_EOF, SESSION_END_PEER, now);
	}
	if (is_over(now, session->since, conf->read_timeout_ms)) {
		return step_close(session, DIALOGUE_READ_TIMEOUT, SESSION_END_READ_TIMEOUT, now);
	}
	struct session_step step = step_look(session, conf, conf->read_timeout_ms, now);
	if (has_flag(session, FLAG_EOF)) {
		step = step_of(SESSION_STEP_HOLD); /* its last lines wait for the store */
	}
	return step;
}

static struct session_step wake_ended(struct session *session, const struct session_conf *conf,
                                      struct mono_ms now)
{
	dialogue_event(session, DIALOGUE_SHUTDOWN);
	session->discarded_bytes = 0; /* it shares its place with sent_bytes */
	session->since = now;
	pace_reset_looks(session, conf);
	session->due =
	        earlier(pace_next_look(session, conf, now), mono_ms_add(now, conf->close_wait_ms));
	return step_of(SESSION_STEP_SHUTDOWN);
}

static struct session_step wake_closing(struct session *session, const struct session_conf *conf,
                                        struct mono_ms now)
{
	if (has_flag(session, FLAG_EOF)) {
		return step_close(session, DIALOGUE_EOF, SESSION_END_DONE, now);
	}
	if (session->discarded_bytes >= conf->close_discard_bytes ||
	    is_over(now, session->since, conf->close_wait_ms)) {
		return step_close(session, DIALOGUE_DRAINED, SESSION_END_DONE, now);
	}
	return step_look(session, conf, conf->close_wait_ms, now);
}

static struct session_step wake_closed(struct session *session, const struct session_conf *conf,
                                       struct mono_ms now)
{
	(void)session;
	(void)conf;
	(void)now;
	return (struct session_step){.kind = SESSION_STEP_CLOSE, .why = SESSION_END_DONE};
}

typedef struct session_step wake_fn(struct session *session, const struct session_conf *conf,
                                    struct mono_ms now);

/* By state, when nothing is left to say. A banner is said in BANNER and its end leads to START. */
static wake_fn *const wakes[DIALOGUE_STATE_COUNT] = {
        [DIALOGUE_HELD] = wake_held,        [DIALOGUE_BANNER] = wake_saying,
        [DIALOGUE_START] = wake_waiting,    [DIALOGUE_READY] = wake_waiting,
        [DIALOGUE_ENVELOPE] = wake_waiting, [DIALOGUE_HEAD] = wake_waiting,
        [DIALOGUE_BODY] = wake_waiting,     [DIALOGUE_DEFERRING] = wake_ended,
        [DIALOGUE_LEAVING] = wake_ended,    [DIALOGUE_CLOSING] = wake_closing,
        [DIALOGUE_CLOSED] = wake_closed,
};

struct session_step session_wake(struct session *session, const struct session_conf *conf,
                                 struct mono_ms now)
{
	forget_block(session, now);
	if (has_flag(session, FLAG_DEAD) && session->state != DIALOGUE_CLOSED) {
		bool is_done = session->state == DIALOGUE_CLOSING;
		return step_close(session, DIALOGUE_DEAD,
		                  is_done ? SESSION_END_DONE : SESSION_END_PEER, now);
	}
	bool is_saying = unsent_bytes(session) > 0 && session->state != DIALOGUE_CLOSING &&
	                 session->state != DIALOGUE_CLOSED;
	return (is_saying ? wake_saying : wakes[session->state])(session, conf, now);
}

/* --- beginning, input, answers --------------------------------------------------------------- */

void session_start(struct session *session, const struct session_conf *conf, enum session_class cls,
                   struct mono_ms now)
{
	memset(session, 0, sizeof *session);
	session->opened = now;
	session->since = now;
	session->due = mono_ms_add(now, conf->store_wait_ms);
	session->cls = SESSION_UNKNOWN;
	dialogue_start(session);
	pace_reset_looks(session, conf);
	session_classify(session, conf, cls, now);
}

void session_classify(struct session *session, const struct session_conf *conf,
                      enum session_class cls, struct mono_ms now)
{
	if (session->state != DIALOGUE_HELD || cls == SESSION_UNKNOWN) {
		return;
	}
	session->cls = (uint8_t)cls;
	dialogue_event(session, DIALOGUE_CLASSIFIED);
	say_banner(session, conf, now);
}

/* A reply that waits for its first byte. */
static bool is_unbegun(const struct session *session)
{
	return session->out_len > 0 && session->out_pos == 0 && session->owed_bytes == 0 &&
	       !has_flag(session, FLAG_BLOCKED) && session->state != DIALOGUE_CLOSED;
}

void session_stop_stutter(struct session *session)
{
	set_flag(session, FLAG_UNSTUTTERED, true);
	if (is_unbegun(session)) {
		session->due = session->since; /* that is past: at once */
	}
}

void session_list(struct session *session, const struct session_conf *conf, struct mono_ms now)
{
	if (session->cls != SESSION_GREY && session->cls != SESSION_WHITE) {
		return;
	}
	session->cls = SESSION_LISTED;
	set_flag(session, FLAG_UNSTUTTERED, false);
	if (is_unbegun(session)) {
		session->due = mono_ms_add(now, pace_stutter_ms(session, conf));
	}
}

bool session_say_listed(struct session *session, struct session_text *text,
                        const struct reply_lists *lists)
{
	ASSERT(session->state == DIALOGUE_DEFERRING && session->cls == SESSION_LISTED &&
	       session->out_pos == 0);
	bool is_cut;
	struct span reply = text_set_listed(text, lists, &is_cut);
	session->reply = said_make(REPLY_LISTED, 0);
	session->out = reply.ptr;
	session->out_len = (uint16_t)reply.len;
	set_flag(session, FLAG_HAS_LINE, false);
	return !is_cut;
}

size_t session_room(const struct session *session, const struct session_text *text)
{
	if (!takes_input(session)) {
		return 0;
	}
	if (session->state == DIALOGUE_CLOSING) {
		return SESSION_READ_MAX;
	}
	if (!text) {
		return SESSION_TEXT_SMALL - sizeof *text - 1;
	}
	size_t n_free = text_free(text);
	if (n_free == 0 && !has_flag(session, FLAG_HAS_LINE)) {
		return SESSION_READ_MAX; /* a long line in a SMALL text: session_input asks for more
		                          */
	}
	return n_free < SESSION_READ_MAX ? n_free : SESSION_READ_MAX;
}

bool session_discards(const struct session *session)
{
	return !takes_input(session) || session->state == DIALOGUE_CLOSING;
}

bool session_needs_text(const struct session *session, const struct session_text *text)
{
	bool is_read_on = dialogue_takes_commands(session) || dialogue_takes_mail(session) ||
	                  session->state == DIALOGUE_BANNER;
	bool is_said = said_id(session->reply) == REPLY_LISTED && unsent_bytes(session) > 0;
	return is_said || (is_read_on && !text_is_empty(text));
}

/* After the final reply: only the amount matters. */
static void discard(struct session *session, const struct session_conf *conf, size_t n,
                    struct mono_ms now)
{
	uint32_t rest = UINT32_MAX - session->discarded_bytes;
	session->discarded_bytes += n < rest ? (uint32_t)n : rest;
	if (session->discarded_bytes >= conf->close_discard_bytes) {
		session->due = now;
	} else {
		pace_reset_looks(session, conf);
		session->due = earlier(session->due, pace_next_look(session, conf, now));
	}
}

size_t session_input(struct session *session, const struct session_conf *conf,
                     struct session_text *text, struct span bytes, bool *is_long_line,
                     struct mono_ms now)
{
	if (session->state == DIALOGUE_CLOSING) {
		discard(session, conf, bytes.len, now);
		return bytes.len;
	}
	if (!takes_input(session) || bytes.len == 0) {
		return bytes.len; /* nothing that could be answered any more */
	}
	size_t n = text_add(text, bytes, is_long_line);
	set_flag(session, FLAG_HAS_LINE, text_has_line(text));
	if (unsent_bytes(session) > 0) {
		return n;
	}
	if (has_flag(session, FLAG_HAS_LINE)) {
		pace_reset_looks(session, conf);
	} else {
		pace_look_for_rest(session, conf);
	}
	session->due = earlier(session->due, pace_next_look(session, conf, now));
	if (dialogue_takes_mail(session)) {
		session->since = now; /* each piece of a mail begins the wait anew */
	}
	return n;
}

void session_eof(struct session *session)
{
	set_flag(session, FLAG_EOF, true);
	if (unsent_bytes(session) == 0 || session->state == DIALOGUE_CLOSING) {
		session->due = session->since; /* that is past: at once */
	}
}

void session_dead(struct session *session)
{
	set_flag(session, FLAG_DEAD, true);
	session->due = session->since;
}

static bool may_answer(const struct session *session)
{
	return has_flag(session, FLAG_HAS_LINE) && !has_flag(session, FLAG_DEAD) &&
	       unsent_bytes(session) == 0 && session->n_pending < SESSION_PENDING_MAX &&
	       (dialogue_takes_commands(session) || dialogue_takes_mail(session));
}

bool session_may_tell_rcpt(const struct session *session)
{
	const struct dialogue_class_row *row = &dialogue_classes[session->cls];
	return may_answer(session) && dialogue_takes_commands(session) &&
	       (row->makes_tuples || row->tells_rcpt);
}

bool session_may_await_store(const struct session *session, const struct session_conf *conf,
                             struct mono_ms now)
{
	return may_answer(session) && session->n_pending > 0 &&
	       !is_over(now, session->since, conf->store_wait_ms);
}

bool session_run(struct session *session, const struct session_conf *conf,
                 struct session_text *text, struct mono_ms now, struct session_event *event)
{
	*event = (struct session_event){.kind = SESSION_EVENT_NONE};
	if (!may_answer(session)) {
		return false;
	}
	struct dialogue_line in = {session, conf, text, text_take_line(text), event};
	set_flag(session, FLAG_HAS_LINE, text_has_line(text));
	enum reply_id id = dialogue_takes_mail(session) ? dialogue_mail_line(&in) : cmd_answer(&in);
	if (id != REPLY_NONE) {
		say(session, conf, id, now);
	}
	return true;
}

void session_pending(struct session *session)
{
	ASSERT(session->n_pending < SESSION_PENDING_MAX);
	session->n_pending++;
}

void session_stored(struct session *session, struct mono_ms now)
{
	ASSERT(session->n_pending > 0);
	session->n_pending--;
	if (session->n_pending == 0 && has_flag(session, FLAG_STORE_WAIT)) {
		set_flag(session, FLAG_STORE_WAIT, false);
		session->due = now;
	} else if (unsent_bytes(session) == 0 && has_flag(session, FLAG_HAS_LINE)) {
		session->due = now;
	}
}
