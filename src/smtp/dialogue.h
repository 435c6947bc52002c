/* The conversation's states in one table, what moves them in a second one, and the classes of
 * clients in a third. Commands are rows of cmd.h; everything else that can happen to a conversation
 * is an event here. dialogue_move is the only writer of session->state. Pure.
 *
 *   HELD ──▶ BANNER ──▶ START ⇄ READY ⇄ ENVELOPE ──▶ HEAD ──▶ BODY
 *                         └───────┴────────┴──────────┴────────┴──▶ DEFERRING ─▶ CLOSING ─▶ CLOSED
 *                         └───────┴────────┴── QUIT ──────────────▶ LEAVING ───▶ CLOSING
 *   from everywhere: timeout, EOF with nothing left to answer, reset ─▶ CLOSED
 *
 * An overlong line is no event: text.h ends it, and it is answered as any line. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "smtp/session.h"
#include "smtp/text.h"

enum dialogue_state {
	DIALOGUE_HELD,      /* the host is not looked up yet */
	DIALOGUE_BANNER,    /* says 220 */
	DIALOGUE_START,     /* takes commands; no HELO so far */
	DIALOGUE_READY,     /* takes commands; HELO said, no envelope */
	DIALOGUE_ENVELOPE,  /* takes commands; MAIL or RCPT said */
	DIALOGUE_HEAD,      /* after 354: header lines */
	DIALOGUE_BODY,      /* after the first empty line */
	DIALOGUE_DEFERRING, /* says the final deferral or list reply */
	DIALOGUE_LEAVING,   /* says 221 */
	DIALOGUE_CLOSING,   /* write side shut, discards input */
	DIALOGUE_CLOSED,
	DIALOGUE_STATE_COUNT
};

/* In the table of events. It can be 0 because nothing leads back to HELD. */
#define DIALOGUE_STAYS DIALOGUE_HELD

enum dialogue_event {
	DIALOGUE_CLASSIFIED,    /* the host is known */
	DIALOGUE_STORE_TIMEOUT, /* the host is not known after store-wait: treated as grey */
	DIALOGUE_SENT,          /* the reply went out completely */
	DIALOGUE_EMPTY_LINE,    /* of a mail: the header ends */
	DIALOGUE_MAIL_END,      /* `.`, or as many body lines as are read */
	DIALOGUE_QUIT,
	DIALOGUE_FINAL, /* DATA of a class that reads no mail, or too many bad commands */
	DIALOGUE_READ_TIMEOUT,
	DIALOGUE_WRITE_TIMEOUT,
	DIALOGUE_EOF,      /* and nothing is left to answer */
	DIALOGUE_DEAD,     /* reset */
	DIALOGUE_SHUTDOWN, /* the write side was shut */
	DIALOGUE_DRAINED,  /* enough discarded, or waited long enough for EOF */
	DIALOGUE_EVENT_COUNT
};

/* Whose turn the state is. Where commands are taken, each is answered before the next. */
enum dialogue_speaker {
	DIALOGUE_NOBODY,
	DIALOGUE_SERVER,
	DIALOGUE_BOTH,   /* commands and replies in turn */
	DIALOGUE_CLIENT, /* mail, or bytes to discard */
};

/* What ends the patience in a state while nothing is being said; while something is, it is always
 * the write timeout. */
enum dialogue_deadline {
	DIALOGUE_NO_DEADLINE,
	DIALOGUE_STORE_WAIT,
	DIALOGUE_READ_WAIT,
	DIALOGUE_CLOSE_WAIT,
};

struct dialogue_state_row {
	const char *name;
	uint16_t next; /* DIALOGUE_BIT of each allowed next state but itself */
	enum dialogue_speaker speaker;
	enum dialogue_deadline deadline;
};

#define DIALOGUE_BIT(state) ((uint16_t)(1U << (state)))
#define DIALOGUE_COMMANDS                                              \
	(DIALOGUE_BIT(DIALOGUE_START) | DIALOGUE_BIT(DIALOGUE_READY) | \
	 DIALOGUE_BIT(DIALOGUE_ENVELOPE))

/* What distinguishes the classes of clients (enum session_class). */
struct dialogue_class_row {
	const char *name;
	bool is_stuttered;
	bool stutter_ends; /* after grey-stutter */
	bool makes_tuples;
	bool tells_rcpt; /* each RCPT is an event, but no tuple */
	bool reads_mail; /* 354 and the first lines of the mail before the final reply */
};

extern const struct dialogue_state_row dialogue_states[DIALOGUE_STATE_COUNT];
extern const struct dialogue_class_row dialogue_classes[];
/* Next state of each (state, event); DIALOGUE_STAYS where the event changes nothing. */
extern const uint8_t dialogue_events[DIALOGUE_STATE_COUNT][DIALOGUE_EVENT_COUNT];

/* Puts a new session into its first state. */
void dialogue_start(struct session *session);
/* The one mover. ASSERTs that the table of states allows it. */
void dialogue_move(struct session *session, enum dialogue_state next);
/* Moves as the table of events says. */
void dialogue_event(struct session *session, enum dialogue_event event);
bool dialogue_takes_commands(const struct session *session);
bool dialogue_takes_mail(const struct session *session);

/* One line of the client with all that an answer may need. */
struct dialogue_line {
	struct session *session;
	const struct session_conf *conf;
	struct session_text *text;
	struct span line;            /* without its LF, in text */
	struct session_event *event; /* filled */
};

/* Ends the conversation with the deferral; a listed client's owner may replace its text. */
enum reply_id dialogue_defer(struct dialogue_line *in);
/* Takes one line of a mail. */
enum reply_id dialogue_mail_line(struct dialogue_line *in);
