/* The tables of the conversation and the mover, see dialogue.h; and the few rules for the lines of
 * a mail (spamd.md §5, "Body"). Commands are in cmd.c. */
#include "smtp/dialogue.h"

enum { MAIL_LINES_MAX = 10 }; /* the tenth line after the header ends the mail */

// clang-format off
#define BIT(name) DIALOGUE_BIT(DIALOGUE_##name)
#define ENDS      (BIT(DEFERRING) | BIT(LEAVING) | BIT(CLOSED))

const struct dialogue_state_row dialogue_states[DIALOGUE_STATE_COUNT] = {
	[DIALOGUE_HELD]      = {"held",      BIT(BANNER) | BIT(CLOSED),
	                        DIALOGUE_NOBODY, DIALOGUE_STORE_WAIT},
	[DIALOGUE_BANNER]    = {"banner",    BIT(START) | BIT(CLOSED),
	                        DIALOGUE_SERVER, DIALOGUE_NO_DEADLINE},
	[DIALOGUE_START]     = {"start",     BIT(READY) | BIT(ENVELOPE) | BIT(HEAD) | ENDS,
	                        DIALOGUE_BOTH, DIALOGUE_READ_WAIT},
	[DIALOGUE_READY]     = {"ready",     BIT(ENVELOPE) | BIT(HEAD) | ENDS,
	                        DIALOGUE_BOTH, DIALOGUE_READ_WAIT},
	[DIALOGUE_ENVELOPE]  = {"envelope",  BIT(START) | BIT(READY) | BIT(HEAD) | ENDS,
	                        DIALOGUE_BOTH, DIALOGUE_READ_WAIT},
	[DIALOGUE_HEAD]      = {"head",      BIT(BODY) | BIT(DEFERRING) | BIT(CLOSED),
	                        DIALOGUE_CLIENT, DIALOGUE_READ_WAIT},
	[DIALOGUE_BODY]      = {"body",      BIT(DEFERRING) | BIT(CLOSED),
	                        DIALOGUE_CLIENT, DIALOGUE_READ_WAIT},
	[DIALOGUE_DEFERRING] = {"deferring", BIT(CLOSING) | BIT(CLOSED),
	                        DIALOGUE_SERVER, DIALOGUE_STORE_WAIT},
	[DIALOGUE_LEAVING]   = {"leaving",   BIT(CLOSING) | BIT(CLOSED),
	                        DIALOGUE_SERVER, DIALOGUE_NO_DEADLINE},
	[DIALOGUE_CLOSING]   = {"closing",   BIT(CLOSED),
	                        DIALOGUE_CLIENT, DIALOGUE_CLOSE_WAIT},
	[DIALOGUE_CLOSED]    = {"closed",    0,
	                        DIALOGUE_NOBODY, DIALOGUE_NO_DEADLINE},
};

const struct dialogue_class_row dialogue_classes[] = {
	/*                    name      stuttered ends   tuples tells  mail */
	[SESSION_UNKNOWN] = {"unknown", true,     true,  false, false, false},
	[SESSION_GREY]    = {"grey",    true,     true,  true,  false, false},
	[SESSION_WHITE]   = {"white",   false,    true,  false, true,  false},
	[SESSION_LISTED]  = {"listed",  true,     false, false, true,  true},
	[SESSION_PASSIVE] = {"passive", true,     false, false, true,  true},
};

/* What every state that talks to a client has in common. */
#define BREAKS \
	[DIALOGUE_READ_TIMEOUT] = DIALOGUE_CLOSED, [DIALOGUE_WRITE_TIMEOUT] = DIALOGUE_CLOSED, \
	[DIALOGUE_DEAD] = DIALOGUE_CLOSED
#define BREAKS_OR_EOF BREAKS, [DIALOGUE_EOF] = DIALOGUE_CLOSED

const uint8_t dialogue_events[DIALOGUE_STATE_COUNT][DIALOGUE_EVENT_COUNT] = {
	[DIALOGUE_HELD] = {BREAKS_OR_EOF,
		[DIALOGUE_CLASSIFIED] = DIALOGUE_BANNER, [DIALOGUE_STORE_TIMEOUT] = DIALOGUE_BANNER},
	[DIALOGUE_BANNER] = {BREAKS_OR_EOF,
		[DIALOGUE_SENT] = DIALOGUE_START},
	[DIALOGUE_START] = {BREAKS_OR_EOF,
		[DIALOGUE_QUIT] = DIALOGUE_LEAVING, [DIALOGUE_FINAL] = DIALOGUE_DEFERRING},
	[DIALOGUE_READY] = {BREAKS_OR_EOF,
		[DIALOGUE_QUIT] = DIALOGUE_LEAVING, [DIALOGUE_FINAL] = DIALOGUE_DEFERRING},
	[DIALOGUE_ENVELOPE] = {BREAKS_OR_EOF,
		[DIALOGUE_QUIT] = DIALOGUE_LEAVING, [DIALOGUE_FINAL] = DIALOGUE_DEFERRING},
	[DIALOGUE_HEAD] = {BREAKS_OR_EOF,
		[DIALOGUE_EMPTY_LINE] = DIALOGUE_BODY, [DIALOGUE_MAIL_END] = DIALOGUE_DEFERRING},
	[DIALOGUE_BODY] = {BREAKS_OR_EOF,
		[DIALOGUE_MAIL_END] = DIALOGUE_DEFERRING},
	/* EOF is no reason not to answer what came before it */
	[DIALOGUE_DEFERRING] = {BREAKS, [DIALOGUE_SHUTDOWN] = DIALOGUE_CLOSING},
	[DIALOGUE_LEAVING] = {BREAKS, [DIALOGUE_SHUTDOWN] = DIALOGUE_CLOSING},
	[DIALOGUE_CLOSING] = {BREAKS_OR_EOF,
		[DIALOGUE_DRAINED] = DIALOGUE_CLOSED},
};
// clang-format on

void dialogue_start(struct session *session)
{
	session->state = DIALOGUE_HELD;
}

void dialogue_move(struct session *session, enum dialogue_state next)
{
	ASSERT(next == session->state ||
	       (dialogue_states[session->state].next & DIALOGUE_BIT(next)));
	session->state = (uint8_t)next;
}

void dialogue_event(struct session *session, enum dialogue_event event)
{
	enum dialogue_state next = dialogue_events[session->state][event];
	dialogue_move(session, next == DIALOGUE_STAYS ? session->state : next);
}

bool dialogue_takes_commands(const struct session *session)
{
	return DIALOGUE_COMMANDS & DIALOGUE_BIT(session->state);
}

bool dialogue_takes_mail(const struct session *session)
{
	return (BIT(HEAD) | BIT(BODY)) & DIALOGUE_BIT(session->state);
}

static enum reply_id say_final(struct dialogue_line *in, enum dialogue_event event)
{
	dialogue_event(in->session, event);
	in->event->kind = SESSION_EVENT_DEFERRED;
	return REPLY_DEFER;
}

enum reply_id dialogue_defer(struct dialogue_line *in)
{
	return say_final(in, DIALOGUE_FINAL);
}

static bool is_logged_header(struct span line)
{
	return span_starts_nocase(line, SPAN("From:")) || span_starts_nocase(line, SPAN("To:")) ||
	       span_starts_nocase(line, SPAN("Subject:"));
}

static void log_mail_line(struct session_event *event, struct span line, bool is_body)
{
	if (is_body ? line.len > 0 : is_logged_header(line)) {
		event->kind = is_body ? SESSION_EVENT_BODY : SESSION_EVENT_HEADER;
		event->line = line;
	}
}

enum reply_id dialogue_mail_line(struct dialogue_line *in)
{
	struct span line = in->line;
	if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
		line.len--;
	}
	bool is_body = in->session->state == DIALOGUE_BODY;
	if (span_equal(line, SPAN(".")) ||
	    (is_body && ++in->session->body_lines == MAIL_LINES_MAX)) {
		return say_final(in, DIALOGUE_MAIL_END);
	}
	log_mail_line(in->event, line, is_body);
	if (line.len == 0) {
		dialogue_event(in->session, DIALOGUE_EMPTY_LINE);
	}
	return REPLY_NONE;
}
